//! The grammars: which part of a text is the value of which field.

use lunbox_contract::{Field, FieldKind, Grammar, Schema};

use super::OptionError;
use crate::locator::{GLFS, MEMORY, RBD};

/// Where the value of the first field stands.
pub(super) const fn first_place(grammar: Grammar) -> &'static str {
    match grammar {
        Grammar::Whole => "after the subtype",
        Grammar::Semicolon => "first, in front of the first ;",
        Grammar::Zbc => "last, behind the @ that ends the options",
        Grammar::Fbo => "last, behind the options",
    }
}

/// The fields that were given, by their index, and their values, in the order of the text. A flag's value is empty. No
/// field is there twice.
pub(super) fn values<'t>(schema: &Schema, text: &'t str) -> Result<Vec<(usize, &'t str)>, OptionError> {
    let mut values = Values { schema, found: Vec::new() };
    let form = match schema.grammar {
        Grammar::Whole => {
            values.first(text)?;
            return Ok(values.found);
        }
        Grammar::Semicolon => {
            let (first, options) =
                text.split_once(';').map_or((text, None), |(first, rest)| (first, Some(rest)));
            values.first(first)?;
            for option in options.into_iter().flat_map(|options| options.split(';')) {
                values.option(option, '=', ';', false)?;
            }
            return Ok(values.found);
        }
        Grammar::Zbc | Grammar::Fbo if text.is_empty() || stands_alone(schema, text) => {
            values.first(text)?;
            return Ok(values.found);
        }
        Grammar::Zbc => "[option-value/...@]/path",
        Grammar::Fbo => "[option/...]//path",
    };
    let no_path = || OptionError::NoPath { text: text.to_owned(), form };
    let (options, path) = if schema.grammar == Grammar::Zbc {
        text.split_once('@').ok_or_else(no_path)?
    } else {
        // The second of the two slashes belongs to the path.
        let end = text.find("//").ok_or_else(no_path)?;
        (&text[..end], &text[end + 1..])
    };
    for option in options.split('/') {
        // `ro` of fbo has always been taken in any case.
        values.option(option, '-', '/', schema.grammar == Grammar::Fbo)?;
    }
    values.first(path)?;
    Ok(values.found)
}

/// A text without options: a path, or a locator where one may stand. No option looks like one: their names have no
/// `=`, and `memory` has no path behind it.
fn stands_alone(schema: &Schema, text: &str) -> bool {
    let any_store = schema.fields.first().is_some_and(|field| matches!(field.kind, FieldKind::Store { .. }));
    text.starts_with('/')
        || (any_store && (text == MEMORY || text.starts_with(RBD) || text.starts_with(GLFS)))
}

struct Values<'s, 't> {
    schema: &'s Schema,
    found: Vec<(usize, &'t str)>,
}

impl<'t> Values<'_, 't> {
    /// Nothing is no value: whether that is enough is judged when all is known.
    fn first(&mut self, text: &'t str) -> Result<(), OptionError> {
        if text.is_empty() {
            return Ok(());
        }
        if self.schema.fields.is_empty() {
            return Err(OptionError::Unknown { option: text.to_owned(), known: Vec::new() });
        }
        self.found.push((0, text));
        Ok(())
    }

    fn option(
        &mut self,
        text: &'t str,
        separator: char,
        between: char,
        any_case: bool,
    ) -> Result<(), OptionError> {
        if text.is_empty() {
            return Err(OptionError::Empty { separator: between });
        }
        if text.starts_with(separator) {
            return Err(OptionError::NoName { written: text.to_owned(), known: self.known() });
        }
        let fields = self.schema.fields.iter().enumerate();
        let fitting = fields.filter_map(|(index, field)| {
            let rest = behind(text, &field.name, separator, any_case)?;
            Some((index, field, rest))
        });
        // Names may hold the separator of zbc and fbo, so one may begin another one: the longer one is meant.
        let Some((index, field, rest)) = fitting.max_by_key(|(_, field, _)| field.name.len()) else {
            let option = text.split(separator).next().unwrap_or(text).to_owned();
            return Err(OptionError::Unknown { option, known: self.known() });
        };
        if index == 0 {
            let place = first_place(self.schema.grammar);
            return Err(OptionError::Misplaced { option: field.name.clone(), place });
        }
        let value = match (&field.kind, rest) {
            (FieldKind::Flag, None) => "",
            (FieldKind::Flag, Some(_)) => {
                return Err(OptionError::FlagValue { option: field.name.clone(), written: text.to_owned() });
            }
            (_, None) => return Err(OptionError::NoValue { option: field.name.clone(), separator }),
            (_, Some(value)) => value,
        };
        if self.found.iter().any(|&(found, _)| found == index) {
            return Err(OptionError::Twice { option: field.name.clone() });
        }
        self.found.push((index, value));
        Ok(())
    }

    /// Names that may be written: all but the first.
    fn known(&self) -> Vec<String> {
        self.schema.fields.iter().skip(1).map(|Field { name, .. }| name.clone()).collect()
    }
}

/// What stands behind a name: nothing at all, or something behind the separator.
fn behind<'t>(text: &'t str, name: &str, separator: char, any_case: bool) -> Option<Option<&'t str>> {
    let (head, rest) = text.split_at_checked(name.len())?;
    let same = if any_case { head.eq_ignore_ascii_case(name) } else { head == name };
    if !same {
        return None;
    }
    if rest.is_empty() { Some(None) } else { rest.strip_prefix(separator).map(Some) }
}
