//! What is known about a handler without running it, and how that is written beside its machine code.

use lunbox_contract::{Description, Field, FieldKind, Grammar, Schema};
use serde::{Deserialize, Serialize};

use crate::load::LoadError;
use crate::{Abilities, description, schema};

/// What a handler said about itself when it was compiled. All texts are checked: they may be shown and used as names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Who it is.
    pub description: Description,
    /// Which optional interfaces it has.
    pub abilities: Abilities,
    /// Its options; `None` for one grant, the whole text.
    pub schema: Option<Schema>,
    /// It imports WASI 0.2: its calls are slower, and it may be granted directories.
    pub wasi: bool,
}

impl Manifest {
    /// Passes a manifest on if everything in it follows the contract.
    pub(crate) fn checked(self) -> Result<Self, LoadError> {
        let Self { description, abilities, schema, wasi } = self;
        let description = description::check(description)?;
        let schema = schema.map(schema::check).transpose()?;
        if schema.is_some() != abilities.options {
            let problem = "its presence does not follow from the exported interfaces".to_owned();
            return Err(LoadError::Description { field: "options", problem });
        }
        Ok(Self { description, abilities, schema, wasi })
    }

    /// As JSON, for [`Self::from_json`].
    pub(crate) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        let Description { subtype, name, version, config_help } = self.description.clone();
        let abilities = NAMES.iter().filter(|(_, ability)| {
            let mut copy = self.abilities;
            *ability(&mut copy)
        });
        serde_json::to_vec(&Written {
            subtype,
            name,
            version,
            config_help,
            abilities: abilities.map(|(name, _)| (*name).to_owned()).collect(),
            wasi: self.wasi,
            options: self.schema.clone().map(WrittenSchema::from),
        })
    }

    /// Reads and checks what [`Self::to_json`] wrote. Whoever wrote it is not trusted.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, LoadError> {
        let written: Written = serde_json::from_slice(bytes).map_err(|error| LoadError::Description {
            field: "manifest",
            problem: crate::text::one_line(&error.to_string(), 200),
        })?;
        let mut abilities = Abilities::default();
        for name in &written.abilities {
            // Of a later version: this one would not use it.
            if let Some((_, ability)) = NAMES.iter().find(|(known, _)| known == name) {
                *ability(&mut abilities) = true;
            }
        }
        let Written { subtype, name, version, config_help, wasi, options, .. } = written;
        let description = Description { subtype, name, version, config_help };
        Self { description, abilities, schema: options.map(Schema::from), wasi }.checked()
    }
}

/// Where an ability stands.
type Ability = fn(&mut Abilities) -> &mut bool;

/// The abilities by the names of their interfaces.
const NAMES: [(&str, Ability); 11] = [
    ("block", |abilities| &mut abilities.block),
    ("block-batch", |abilities| &mut abilities.batch),
    ("cdb", |abilities| &mut abilities.cdb),
    ("resize", |abilities| &mut abilities.resize),
    ("block-unmap", |abilities| &mut abilities.unmap),
    ("block-write-zeroes", |abilities| &mut abilities.write_zeroes),
    ("block-compare-and-write", |abilities| &mut abilities.compare_and_write),
    ("block-lba-status", |abilities| &mut abilities.lba_status),
    ("state", |abilities| &mut abilities.state),
    ("events", |abilities| &mut abilities.events),
    ("options", |abilities| &mut abilities.options),
];

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct Written {
    subtype: String,
    name: String,
    version: String,
    config_help: String,
    abilities: Vec<String>,
    wasi: bool,
    options: Option<WrittenSchema>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WrittenSchema {
    grammar: WrittenGrammar,
    fields: Vec<WrittenField>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenGrammar {
    Whole,
    Semicolon,
    Zbc,
    Fbo,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct WrittenField {
    name: String,
    kind: WrittenKind,
    required: bool,
    help: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum WrittenKind {
    #[serde(rename_all = "kebab-case")]
    Path {
        read_only: bool,
        create: bool,
    },
    #[serde(rename_all = "kebab-case")]
    Store {
        read_only: bool,
        create: bool,
    },
    Number {
        min: u64,
        max: u64,
    },
    Choice(Vec<String>),
    Text,
    Flag,
}

impl From<Schema> for WrittenSchema {
    fn from(schema: Schema) -> Self {
        let grammar = match schema.grammar {
            Grammar::Whole => WrittenGrammar::Whole,
            Grammar::Semicolon => WrittenGrammar::Semicolon,
            Grammar::Zbc => WrittenGrammar::Zbc,
            Grammar::Fbo => WrittenGrammar::Fbo,
        };
        let field = |Field { name, kind, required, help }| {
            let kind = match kind {
                FieldKind::Path { read_only, create } => WrittenKind::Path { read_only, create },
                FieldKind::Store { read_only, create } => WrittenKind::Store { read_only, create },
                FieldKind::Number { min, max } => WrittenKind::Number { min, max },
                FieldKind::Choice(words) => WrittenKind::Choice(words),
                FieldKind::Text => WrittenKind::Text,
                FieldKind::Flag => WrittenKind::Flag,
            };
            WrittenField { name, kind, required, help }
        };
        Self { grammar, fields: schema.fields.into_iter().map(field).collect() }
    }
}

impl From<WrittenSchema> for Schema {
    fn from(schema: WrittenSchema) -> Self {
        let grammar = match schema.grammar {
            WrittenGrammar::Whole => Grammar::Whole,
            WrittenGrammar::Semicolon => Grammar::Semicolon,
            WrittenGrammar::Zbc => Grammar::Zbc,
            WrittenGrammar::Fbo => Grammar::Fbo,
        };
        let field = |WrittenField { name, kind, required, help }| {
            let kind = match kind {
                WrittenKind::Path { read_only, create } => FieldKind::Path { read_only, create },
                WrittenKind::Store { read_only, create } => FieldKind::Store { read_only, create },
                WrittenKind::Number { min, max } => FieldKind::Number { min, max },
                WrittenKind::Choice(words) => FieldKind::Choice(words),
                WrittenKind::Text => FieldKind::Text,
                WrittenKind::Flag => FieldKind::Flag,
            };
            Field { name, kind, required, help }
        };
        Self { grammar, fields: schema.fields.into_iter().map(field).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, kind: FieldKind) -> Field {
        Field { name: name.to_owned(), kind, required: name == "path", help: format!("\"{name}\" \\ grün") }
    }

    fn manifest() -> Manifest {
        let fields = vec![
            field("path", FieldKind::Path { read_only: false, create: true }),
            field("copy", FieldKind::Store { read_only: true, create: false }),
            field("count", FieldKind::Number { min: 1, max: u64::MAX }),
            field("mode", FieldKind::Choice(vec!["a".to_owned(), "b".to_owned()])),
            field("label", FieldKind::Text),
            field("lazy", FieldKind::Flag),
        ];
        Manifest {
            description: Description {
                subtype: "x".to_owned(),
                name: "Ä \"quoted\"".to_owned(),
                version: "1".to_owned(),
                config_help: "two\nlines".to_owned(),
            },
            abilities: Abilities { block: true, events: true, options: true, ..Abilities::default() },
            schema: Some(Schema { grammar: Grammar::Semicolon, fields }),
            wasi: true,
        }
    }

    #[test]
    fn what_is_written_comes_back() {
        let rich = manifest();
        assert_eq!(Manifest::from_json(&rich.to_json().unwrap()).unwrap(), rich);
        for grammar in [Grammar::Whole, Grammar::Zbc, Grammar::Fbo] {
            let mut other = manifest();
            let schema = other.schema.as_mut().unwrap();
            schema.grammar = grammar;
            schema.fields.truncate(1);
            assert_eq!(Manifest::from_json(&other.to_json().unwrap()).unwrap(), other);
        }
        let abilities = Abilities { options: false, ..rich.abilities };
        let plain = Manifest { abilities, schema: None, wasi: false, ..rich };
        assert_eq!(Manifest::from_json(&plain.to_json().unwrap()).unwrap(), plain);
    }

    #[test]
    fn each_ability_has_a_name_of_its_own() {
        for (index, (name, ability)) in NAMES.iter().enumerate() {
            let mut one = Abilities::default();
            *ability(&mut one) = true;
            let set: Vec<_> = NAMES.iter().filter(|(_, other)| *other(&mut one)).collect();
            assert_eq!(set.len(), 1, "{name}");
            assert_eq!(set[0].0, NAMES[index].0);
        }
    }

    #[test]
    fn nothing_is_taken_on_trust() {
        let changed = |from: &str, to: &str| {
            let json = String::from_utf8(manifest().to_json().unwrap()).unwrap();
            assert!(json.contains(from), "{json}");
            Manifest::from_json(json.replacen(from, to, 1).as_bytes()).unwrap_err().to_string()
        };
        assert!(changed(r#""subtype":"x""#, r#""subtype":"../x""#).contains("subtype"));
        assert!(changed(r#""version":"1""#, r#""version":"\u001b[2J""#).contains("version"));
        assert!(changed(r#""name":"copy""#, r#""name":"path""#).contains("two fields"));
        assert!(changed("\"min\":1", "\"min\":-1").contains("manifest"));
        assert!(changed("\"wasi\"", "\"wasm\"").contains("manifest"));
        assert!(changed(r#","options"]"#, "]").contains("options"));
        for foreign in [&b""[..], b"{}", b"[]", b"\xff", b"null"] {
            assert!(Manifest::from_json(foreign).is_err());
        }
    }
}
