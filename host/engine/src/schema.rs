//! Checks the option schema that a handler declares.

use lunbox_contract::{Schema, SchemaError};

use crate::load::LoadError;
use crate::text::is_harmless;

/// Passes a schema on if it follows the contract and every text of it may be shown.
pub(crate) fn check(schema: Schema) -> Result<Schema, LoadError> {
    schema.check().map_err(LoadError::Schema)?;
    // Names and words are ASCII by the contract; the help is any text.
    if let Some(field) = schema.fields.iter().find(|field| !field.help.chars().all(is_harmless)) {
        let problem = "its help must not contain control characters or direction marks".to_owned();
        return Err(LoadError::Schema(SchemaError { field: field.name.clone(), problem }));
    }
    Ok(schema)
}

#[cfg(test)]
mod tests {
    use lunbox_contract::{Field, FieldKind, Grammar};

    use super::*;

    fn schema(name: &str, help: &str) -> Schema {
        let field =
            Field { name: name.to_owned(), kind: FieldKind::Text, required: true, help: help.to_owned() };
        Schema { grammar: Grammar::Semicolon, fields: vec![field] }
    }

    #[test]
    fn good_schemas_pass_unchanged() {
        assert_eq!(check(schema("label", "für Menschen")).unwrap(), schema("label", "für Menschen"));
    }

    #[test]
    fn the_contracts_rules_hold_and_help_can_not_steer_a_terminal() {
        for (name, help) in [("a b", ""), ("label", "\x1b[2J"), ("label", "\u{202e}gnp.exe")] {
            let error = check(schema(name, help)).unwrap_err();
            assert!(matches!(error, LoadError::Schema(_)), "{error}");
            assert!(error.to_string().starts_with("options: field "), "{error}");
        }
    }
}
