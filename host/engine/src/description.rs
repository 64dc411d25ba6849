//! Checks what a handler says about itself.

use lunbox_contract::Description;

use crate::load::LoadError;
use crate::text::is_harmless;

/// Longest subtype (`handler.description` in the WIT).
const MAX_SUBTYPE: usize = 32;
const MAX_NAME: usize = 128;
const MAX_VERSION: usize = 64;
const MAX_CONFIG_HELP: usize = 4096;

/// Passes a description on if every field may be shown and used as a name.
pub(crate) fn check(description: Description) -> Result<Description, LoadError> {
    let subtype = &description.subtype;
    let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if subtype.is_empty() || subtype.len() > MAX_SUBTYPE || !subtype.bytes().all(valid) {
        return Err(LoadError::Description {
            field: "subtype",
            problem: format!("it must be 1 to {MAX_SUBTYPE} of a-z, 0-9 and _"),
        });
    }
    text("name", &description.name, 1, MAX_NAME, false)?;
    text("version", &description.version, 1, MAX_VERSION, false)?;
    text("config-help", &description.config_help, 0, MAX_CONFIG_HELP, true)?;
    Ok(description)
}

fn text(field: &'static str, value: &str, min: usize, max: usize, lines: bool) -> Result<(), LoadError> {
    if !(min..=max).contains(&value.len()) {
        let problem = format!("it has {} bytes, {min} to {max} are allowed", value.len());
        return Err(LoadError::Description { field, problem });
    }
    if !value.chars().all(|character| is_harmless(character) || (lines && character == '\n')) {
        let what = if lines { "control characters other than line feeds" } else { "control characters" };
        return Err(LoadError::Description { field, problem: format!("it must not contain {what}") });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description() -> Description {
        Description {
            subtype: "zbc_2".to_owned(),
            name: "Zöned".to_owned(),
            version: "0.1.0".to_owned(),
            config_help: "first line\nsecond".to_owned(),
        }
    }

    #[test]
    fn good_descriptions_pass_unchanged() {
        assert_eq!(check(description()).unwrap(), description());
        let help = Description { config_help: String::new(), ..description() };
        assert!(check(help).is_ok());
    }

    #[test]
    fn a_subtype_is_a_name_in_configfs() {
        let long = "a".repeat(33);
        for subtype in ["", "a/b", "..", "A", "a-b", "ä", "a\n", long.as_str()] {
            let judged = check(Description { subtype: subtype.to_owned(), ..description() });
            assert!(matches!(judged, Err(LoadError::Description { field: "subtype", .. })), "{subtype:?}");
        }
        assert!(check(Description { subtype: "a".repeat(32), ..description() }).is_ok());
    }

    #[test]
    fn texts_are_bounded_and_printable() {
        let field = |description| match check(description) {
            Err(LoadError::Description { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(Description { name: "a\nb".to_owned(), ..description() }), "name");
        assert_eq!(field(Description { name: String::new(), ..description() }), "name");
        assert_eq!(field(Description { version: "1".repeat(65), ..description() }), "version");
        assert_eq!(field(Description { config_help: "\x1b[2J".to_owned(), ..description() }), "config-help");
    }
}
