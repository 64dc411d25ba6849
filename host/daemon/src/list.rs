//! What `--list-handlers` prints.

use std::io::{self, Write};

use lunbox_contract::{Field, FieldKind, Grammar, Schema};

use crate::handlers::{Handlers, Installed};

/// Prints all handlers, and how their devices are configured, to stdout.
///
/// # Errors
/// Those of stdout.
pub fn print(handlers: &Handlers) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for handler in handlers.iter() {
        describe(&handler, &mut out)?;
    }
    Ok(())
}

fn describe(handler: &Installed, out: &mut impl Write) -> io::Result<()> {
    let description = &handler.manifest.description;
    writeln!(out, "{} {}: {}", description.subtype, description.version, description.name)?;
    for line in description.config_help.lines() {
        writeln!(out, "    {line}")?;
    }
    handler.manifest.schema.as_ref().map_or(Ok(()), |schema| options(&description.subtype, schema, out))
}

fn options(subtype: &str, schema: &Schema, out: &mut impl Write) -> io::Result<()> {
    let first = schema.fields.first().map_or("", |field| field.name.as_str());
    let form = match schema.grammar {
        Grammar::Whole => format!("{subtype}/<{first}>"),
        Grammar::Semicolon => format!("{subtype}/<{first}>[;<option>=<value>…]"),
        Grammar::Zbc => format!("{subtype}/[<option>-<value>/…@]<{first}>"),
        Grammar::Fbo => format!("{subtype}/[<option>[-<value>]/…]/<{first}>"),
    };
    writeln!(out, "    dev_config={form}")?;
    for field in &schema.fields {
        let need = if field.required { ", required" } else { "" };
        writeln!(out, "    {}: {}{need}. {}", field.name, kind(field), field.help)?;
    }
    Ok(())
}

fn kind(field: &Field) -> String {
    match &field.kind {
        FieldKind::Path { read_only, create } => format!("path{}", access(*read_only, *create)),
        FieldKind::Store { read_only, create } => format!("store{}", access(*read_only, *create)),
        FieldKind::Number { min, max } => format!("number from {min} to {max}"),
        FieldKind::Choice(words) => words.join(" | "),
        FieldKind::Text => "text".to_owned(),
        FieldKind::Flag => "present or not".to_owned(),
    }
}

fn access(read_only: bool, create: bool) -> &'static str {
    match (read_only, create) {
        (true, _) => ", only read",
        (false, true) => ", made if missing",
        (false, false) => ", must exist",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_shown_in_the_handlers_grammar() {
        let field = |name: &str, kind, required| Field {
            name: name.to_owned(),
            kind,
            required,
            help: format!("About {name}."),
        };
        let schema = Schema {
            grammar: Grammar::Semicolon,
            fields: vec![
                field("path", FieldKind::Path { read_only: false, create: true }, true),
                field("size", FieldKind::Number { min: 1, max: 9 }, false),
                field("mode", FieldKind::Choice(vec!["a".to_owned(), "b".to_owned()]), false),
            ],
        };
        let mut out = Vec::new();
        options("x", &schema, &mut out).unwrap();
        let expected = "    dev_config=x/<path>[;<option>=<value>…]\n    path: path, made if missing, required. About path.\n\
                        \x20   size: number from 1 to 9. About size.\n    mode: a | b. About mode.\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
