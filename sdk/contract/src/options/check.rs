//! What a schema must be like, so that every text has one meaning and every message about it can be shown.

use std::fmt;

use super::{Field, FieldKind, Grammar, Schema};

/// Most fields of a schema.
pub const MAX_FIELDS: usize = 32;
/// Most words of a [`FieldKind::Choice`].
pub const MAX_CHOICES: usize = 64;
/// Longest name of a field and longest word of a choice, in bytes.
const MAX_WORD: usize = 32;
/// Longest help of a field, in bytes.
const MAX_HELP: usize = 256;

/// Why a schema can not be used: a mistake of the handler's author.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SchemaError {
    /// The name of the field at fault, or its number from 1 on if the name can not be shown; empty for the schema.
    pub field: String,
    /// What is wrong, and what is allowed. One line.
    pub problem: String,
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            f.write_str(&self.problem)
        } else {
            write!(f, "field {}: {}", self.field, self.problem)
        }
    }
}

impl std::error::Error for SchemaError {}

impl Schema {
    /// Whether the schema follows the contract.
    ///
    /// # Errors
    /// [`SchemaError`] tells the first mistake.
    pub fn check(&self) -> Result<(), SchemaError> {
        let whole = |problem: String| Err(SchemaError { field: String::new(), problem });
        let Some(first) = self.fields.first() else {
            return whole(format!("there is no field; 1 to {MAX_FIELDS} are allowed"));
        };
        if self.fields.len() > MAX_FIELDS {
            return whole(format!("{} fields; 1 to {MAX_FIELDS} are allowed", self.fields.len()));
        }
        if self.grammar == Grammar::Whole && self.fields.len() > 1 {
            return whole(format!(
                "{} fields, but of the grammar `whole` only the first one could get a value; leave one, or take \
                 another grammar",
                self.fields.len()
            ));
        }
        for (index, field) in self.fields.iter().enumerate() {
            let unnamed = index == 0 && self.grammar == Grammar::Whole && field.name.is_empty();
            if !unnamed && !is_name(&field.name) {
                let problem = format!("its name must be 1 to {MAX_WORD} of a-z, 0-9, _, and - inside");
                return Err(SchemaError { field: (index + 1).to_string(), problem });
            }
            let earlier = &self.fields[..index];
            let problem = if earlier.iter().any(|other| other.name == field.name) {
                Some("there are two fields of this name; rename one".to_owned())
            } else {
                field.problem()
            };
            if let Some(problem) = problem {
                return Err(SchemaError { field: field.name.clone(), problem });
            }
        }
        match (self.grammar, &first.kind) {
            (Grammar::Zbc | Grammar::Fbo, FieldKind::Path { .. } | FieldKind::Store { .. })
            | (
                Grammar::Whole | Grammar::Semicolon,
                FieldKind::Path { .. }
                | FieldKind::Store { .. }
                | FieldKind::Number { .. }
                | FieldKind::Choice(_)
                | FieldKind::Text,
            ) => Ok(()),
            (Grammar::Zbc | Grammar::Fbo, _) => Err(SchemaError {
                field: first.name.clone(),
                problem: "the first field of this grammar takes the path: its kind must be path or store"
                    .to_owned(),
            }),
            (_, FieldKind::Flag) => Err(SchemaError {
                field: first.name.clone(),
                problem: "the first field takes the text that has no key: it can not be a flag".to_owned(),
            }),
        }
    }
}

impl Field {
    fn problem(&self) -> Option<String> {
        if self.help.len() > MAX_HELP || self.help.chars().any(char::is_control) {
            return Some(format!("its help must be one line of at most {MAX_HELP} bytes"));
        }
        match &self.kind {
            FieldKind::Number { min, max } if min > max => {
                Some(format!("no number is at least {min} and at most {max}"))
            }
            FieldKind::Choice(words) => choice_problem(words),
            _ => None,
        }
    }
}

fn choice_problem(words: &[String]) -> Option<String> {
    if words.is_empty() || words.len() > MAX_CHOICES {
        return Some(format!("{} words to choose from; 1 to {MAX_CHOICES} are allowed", words.len()));
    }
    // The separators of the grammars and what rtslib refuses in a cfgstring can not be part of a value.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+');
    if let Some(place) =
        words.iter().position(|word| word.is_empty() || word.len() > MAX_WORD || !word.bytes().all(allowed))
    {
        return Some(format!(
            "word {} to choose from must be 1 to {MAX_WORD} letters, digits, _, -, . or +",
            place + 1
        ));
    }
    let twice = words.iter().enumerate().find(|(index, word)| words[..*index].contains(word))?;
    Some(format!("{:?} is twice among the words to choose from; remove one", twice.1))
}

/// 1 to 32 of a-z, 0-9, `_`; `-` neither first nor last.
fn is_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    (1..=MAX_WORD).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('-')
        && !name.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, kind: FieldKind) -> Field {
        Field { name: name.to_owned(), kind, required: false, help: String::new() }
    }

    fn path() -> FieldKind {
        FieldKind::Path { read_only: false, create: true }
    }

    fn words(words: &[&str]) -> FieldKind {
        FieldKind::Choice(words.iter().map(|word| (*word).to_owned()).collect())
    }

    fn problem(grammar: Grammar, fields: Vec<Field>) -> SchemaError {
        Schema { grammar, fields }.check().unwrap_err()
    }

    #[test]
    fn usual_schemas_pass() {
        let semicolon = vec![
            field("path", path()),
            field("read-from", words(&["first", "HM", "1.5"])),
            field("size_mb", FieldKind::Number { min: 3, max: 3 }),
            field("lazy", FieldKind::Flag),
            field("label", FieldKind::Text),
        ];
        for grammar in [Grammar::Semicolon, Grammar::Zbc, Grammar::Fbo] {
            assert_eq!(Schema { grammar, fields: semicolon.clone() }.check(), Ok(()), "{grammar:?}");
        }
        for name in ["", "path"] {
            assert_eq!(Schema { grammar: Grammar::Whole, fields: vec![field(name, path())] }.check(), Ok(()));
        }
    }

    #[test]
    fn counts_are_bounded() {
        assert!(problem(Grammar::Semicolon, vec![]).problem.contains("no field"));
        let many = |count: usize| (0..count).map(|index| field(&format!("f{index}"), path())).collect();
        assert_eq!(Schema { grammar: Grammar::Zbc, fields: many(MAX_FIELDS) }.check(), Ok(()));
        assert!(problem(Grammar::Zbc, many(MAX_FIELDS + 1)).problem.contains("33 fields"));
        assert!(problem(Grammar::Whole, many(2)).problem.contains("whole"));
        let choices: Vec<String> = (0..=MAX_CHOICES).map(|index| format!("w{index}")).collect();
        let schema = |words: &[String]| vec![field("x", FieldKind::Choice(words.to_vec()))];
        assert!(problem(Grammar::Semicolon, schema(&choices)).problem.contains("65 words"));
        assert!(problem(Grammar::Semicolon, schema(&[])).problem.contains("0 words"));
        let most = Schema { grammar: Grammar::Semicolon, fields: schema(&choices[1..]) };
        assert_eq!(most.check(), Ok(()));
    }

    #[test]
    fn names_are_names_and_unique() {
        let long = "a".repeat(33);
        for name in ["", "A", "a b", "-a", "a-", "a=b", "a;b", "ä", "a\n", long.as_str()] {
            let error = problem(Grammar::Semicolon, vec![field("ok", path()), field(name, path())]);
            assert_eq!(error.field, "2", "{name:?}: the name itself is not shown");
        }
        let twice = problem(Grammar::Fbo, vec![field("a", path()), field("b", path()), field("a", path())]);
        assert_eq!(twice.to_string(), "field a: there are two fields of this name; rename one");
    }

    #[test]
    fn kinds_make_sense() {
        let of = |kind| problem(Grammar::Semicolon, vec![field("x", kind)]).problem;
        assert!(of(FieldKind::Number { min: 2, max: 1 }).contains("at least 2"));
        for word in ["", "a;b", "a/b", "a@b", "a=b", "a:b", "a b", "ä"] {
            assert!(of(words(&["ok", word])).contains("word 2"), "{word:?}");
        }
        assert!(of(words(&["a", "b", "a"])).contains("twice"));
        let help = |text: &str| Field { help: text.to_owned(), ..field("x", FieldKind::Text) };
        assert!(problem(Grammar::Semicolon, vec![help("two\nlines")]).problem.contains("one line"));
        assert!(problem(Grammar::Semicolon, vec![help(&"x".repeat(257))]).problem.contains("256"));
    }

    #[test]
    fn the_first_field_fits_its_grammar() {
        for kind in [FieldKind::Flag, FieldKind::Text, FieldKind::Number { min: 0, max: 1 }] {
            for grammar in [Grammar::Zbc, Grammar::Fbo] {
                assert!(problem(grammar, vec![field("x", kind.clone())]).problem.contains("path"));
            }
        }
        for grammar in [Grammar::Whole, Grammar::Semicolon] {
            assert!(problem(grammar, vec![field("x", FieldKind::Flag)]).problem.contains("flag"));
        }
    }
}
