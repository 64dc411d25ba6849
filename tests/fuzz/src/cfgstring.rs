//! Hostile cfgstrings, and schemas that no check has seen. Nothing panics, and what is granted stands in the text as a
//! whole and fits the schema.

use lunbox_contract::{Field, FieldKind, Grammar, Schema};
use lunbox_grant::{Cfgstring, Locator, MAX_TEXT, OptionError, Parsed, parse, whole_text};

/// The first two bytes choose the schema, the others are the text.
pub fn drive(bytes: &[u8]) {
    let [grammar, kinds, text @ ..] = bytes else { return };
    let text = String::from_utf8_lossy(text);
    let Cfgstring { text, .. } = Cfgstring::parse(&text);
    let schema = schema(*grammar, *kinds);
    match parse(&schema, &text) {
        Ok(parsed) => check(&schema, &text, &parsed),
        Err(OptionError::TooLong { bytes }) => assert!(bytes > MAX_TEXT && bytes == text.len()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn schema(grammar: u8, kinds: u8) -> Schema {
    let grammar = match grammar % 5 {
        0 => return whole_text(),
        1 => Grammar::Whole,
        2 => Grammar::Semicolon,
        3 => Grammar::Zbc,
        _ => Grammar::Fbo,
    };
    let bit = |number: u8| kinds >> number & 1 == 1;
    let (read_only, create) = (bit(0), bit(1));
    let field =
        |name: &str, kind, required| Field { name: name.to_owned(), kind, required, help: String::new() };
    let first = match kinds >> 6 {
        0 => FieldKind::Path { read_only, create },
        1 => FieldKind::Text,
        _ => FieldKind::Store { read_only, create },
    };
    let choices = ["HM", "HA", ""].map(str::to_owned).to_vec();
    let mut fields = vec![
        field("path", first, bit(2)),
        // Names that begin each other.
        field("a", FieldKind::Choice(choices), false),
        field("a-b", FieldKind::Number { min: 3, max: 70 }, bit(3)),
        field("ro", FieldKind::Flag, bit(4)),
        field("copy", FieldKind::Store { read_only: true, create }, false),
        field("label", FieldKind::Text, false),
    ];
    if bit(5) {
        // What a check would refuse.
        fields.push(field("ro", FieldKind::Number { min: 5, max: 1 }, false));
        fields.push(field("", FieldKind::Flag, false));
        fields.rotate_right(1);
    }
    Schema { grammar, fields }
}

fn check(schema: &Schema, text: &str, parsed: &Parsed) {
    assert!(text.len() <= MAX_TEXT && !text.contains('\0'));
    let fields =
        |name: &str| schema.fields.iter().filter(move |field| field.name == name).collect::<Vec<_>>();
    for store in &parsed.stores {
        let written = store.locator.to_string();
        assert!(text.contains(&written), "{store:?} is not in {text:?}");
        assert_eq!(written.parse::<Locator>().as_ref(), Ok(&store.locator));
        assert!(fields(&store.option).iter().any(|field| match field.kind {
            FieldKind::Path { read_only, create } => {
                store.locator.path().is_some() && (store.read_only, store.create) == (read_only, create)
            }
            FieldKind::Store { read_only, create } => (store.read_only, store.create) == (read_only, create),
            _ => false,
        }));
    }
    for (name, value) in &parsed.options {
        assert!(fields(name).iter().any(|field| {
            match &field.kind {
                FieldKind::Number { min, max } => value
                    .parse::<u64>()
                    .is_ok_and(|number| (*min..=*max).contains(&number) && number.to_string() == *value),
                FieldKind::Choice(choices) => choices.contains(value),
                FieldKind::Text => text.contains(value.as_str()),
                FieldKind::Flag => value == "true",
                FieldKind::Path { .. } | FieldKind::Store { .. } => false,
            }
        }));
    }
    let given = |name: &str| {
        parsed.stores.iter().any(|store| store.option == name)
            || parsed.options.iter().any(|(option, _)| option == name)
    };
    for field in schema.fields.iter().filter(|field| field.required) {
        assert!(given(&field.name), "{} is required, and {text:?} passed", field.name);
    }
}
