//! The text after `<subtype>/`, taken apart by the handler's option schema. Handlers never see it: they get values,
//! and ids of the stores that whole values named.

use lunbox_contract::{Field, FieldKind, Grammar, Schema};

use crate::locator::{Locator, LocatorError};
use crate::open::Access;

mod split;

/// Longest text in bytes: what the kernel keeps of a device's configuration (`TCMU_CONFIG_LEN` less the end, Linux
/// `drivers/target/target_core_user.c`).
pub const MAX_TEXT: usize = 255;

/// A text that was taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// What is to be opened, in the order of the schema: the index becomes the store id.
    pub stores: Vec<StoreRequest>,
    /// Name and value of what else was given, in the order of the text. Numbers are in their shortest form; the
    /// value of a flag is `true`.
    pub options: Vec<(String, String)>,
}

/// One store that a text asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreRequest {
    /// The field; empty for the whole text of a handler without a schema.
    pub option: String,
    /// Where.
    pub locator: Locator,
    /// It is only read.
    pub read_only: bool,
    /// A missing file is made.
    pub create: bool,
}

impl StoreRequest {
    /// How it is to be opened.
    #[must_use]
    pub fn access(&self) -> Access {
        match (self.read_only, self.create) {
            (true, _) => Access::ReadOnly,
            (false, true) => Access::Create,
            (false, false) => Access::Existing,
        }
    }
}

/// Why a text does not fit the schema: one line for whoever wrote it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// Longer than the kernel keeps.
    #[error("the configuration has {bytes} bytes, and {MAX_TEXT} are allowed; use shorter paths")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// It holds what no path can hold.
    #[error("the configuration holds a NUL byte; remove it")]
    Nul,
    /// No such option.
    #[error("there is no option {option:?}; {}", listed(.known))]
    Unknown {
        /// As it was written.
        option: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// The first field's value stands first, without a name.
    #[error("{option} is not written with its name; its value stands {place}")]
    Misplaced {
        /// Its name.
        option: String,
        /// Where its value stands.
        place: &'static str,
    },
    /// Given twice.
    #[error("option {option} is there twice; remove one of them")]
    Twice {
        /// Its name.
        option: String,
    },
    /// Not given.
    #[error("{} is missing ({help}); {place}", named(.option))]
    Missing {
        /// Its name.
        option: String,
        /// What the handler says of it.
        help: String,
        /// What to write.
        place: String,
    },
    /// Its name, and nothing else.
    #[error("option {option} has no value; write {option}{separator}VALUE")]
    NoValue {
        /// Its name.
        option: String,
        /// What stands between name and value.
        separator: char,
    },
    /// A flag has no value.
    #[error("option {option} is there or not, and takes no value; write {option} instead of {written:?}")]
    FlagValue {
        /// Its name.
        option: String,
        /// As it was written.
        written: String,
    },
    /// Nothing where an option should be.
    #[error("there is an empty option; remove one {separator:?}")]
    Empty {
        /// What stands around it.
        separator: char,
    },
    /// A value without a name.
    #[error("{written:?} has no name; write NAME{written}, {}", listed(.known))]
    NoName {
        /// As it was written.
        written: String,
        /// Options that there are.
        known: Vec<String>,
    },
    /// Options, and then no path.
    #[error("{text:?} is neither a path nor options with a path behind them; write {form}")]
    NoPath {
        /// As it was written.
        text: String,
        /// What it should look like.
        form: &'static str,
    },
    /// Not an absolute path.
    #[error("{} is {value:?}, which is not an absolute path; write one that begins with /", named(.option))]
    Relative {
        /// Its name.
        option: String,
        /// As it was written.
        value: String,
    },
    /// No locator.
    #[error("{}: {source}", named(.option))]
    Locator {
        /// Its name.
        option: String,
        /// Why not.
        source: LocatorError,
    },
    /// Not a number.
    #[error("{} is {value:?}, which is not a number; write one from {min} to {max}", named(.option))]
    NotANumber {
        /// Its name.
        option: String,
        /// As it was written.
        value: String,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// Too small or too large.
    #[error("{} is {value}, which is out of bounds; write a number from {min} to {max}", named(.option))]
    OutOfBounds {
        /// Its name.
        option: String,
        /// As it was written.
        value: String,
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// None of the words.
    #[error("{} is {value:?}; write {}", named(.option), one_of(.choices))]
    NotAChoice {
        /// Its name.
        option: String,
        /// As it was written.
        value: String,
        /// The words.
        choices: Vec<String>,
    },
}

/// What an option is called in a message.
fn named(option: &str) -> String {
    if option.is_empty() { "the text after the subtype".to_owned() } else { format!("option {option}") }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "there are none".to_owned() } else { format!("there is: {}", names.join(", ")) }
}

fn one_of(words: &[String]) -> String {
    match words {
        [word] => word.clone(),
        words => format!("one of {}", words.join(", ")),
    }
}

/// The schema of a handler that declares none: the whole text is the path of a file or block device, created if it is
/// missing; an empty text grants nothing.
#[must_use]
pub fn whole_text() -> Schema {
    Schema {
        grammar: Grammar::Whole,
        fields: vec![Field {
            name: String::new(),
            kind: FieldKind::Path { read_only: false, create: true },
            required: false,
            help: "path of a file or block device".to_owned(),
        }],
    }
}

/// Takes `text` (a [`crate::Cfgstring`] without its host arguments) apart. A value is taken whole: nothing is
/// unescaped, expanded or trimmed. Opens nothing and looks at no file. Copes with any schema; one that passes
/// [`Schema::check`] has no fields that nobody can write.
///
/// # Errors
/// [`OptionError`] names the option, what was written and what to write instead.
pub fn parse(schema: &Schema, text: &str) -> Result<Parsed, OptionError> {
    if text.len() > MAX_TEXT {
        return Err(OptionError::TooLong { bytes: text.len() });
    }
    if text.contains('\0') {
        return Err(OptionError::Nul);
    }
    let mut values = split::values(schema, text)?;
    let given = |index: usize| values.iter().any(|&(given, _)| given == index);
    let mut fields = schema.fields.iter().enumerate();
    if let Some((index, field)) = fields.find(|&(index, field)| field.required && !given(index)) {
        return Err(missing(schema.grammar, index, field));
    }
    let mut parsed = Parsed::default();
    for (field, value) in with_fields(schema, &values) {
        if let Some(option) = plain(field, value)? {
            parsed.options.push((field.name.clone(), option));
        }
    }
    values.sort_unstable_by_key(|&(index, _)| index);
    for (field, value) in with_fields(schema, &values) {
        parsed.stores.extend(store(field, value)?);
    }
    Ok(parsed)
}

fn missing(grammar: Grammar, index: usize, field: &Field) -> OptionError {
    let name = &field.name;
    let help = if field.help.is_empty() { "it is required" } else { &field.help };
    let place = match (index, grammar) {
        (0, _) => format!("write its value {}", split::first_place(grammar)),
        (_, Grammar::Whole | Grammar::Semicolon) => match field.kind {
            FieldKind::Flag => format!("add ;{name}"),
            _ => format!("add ;{name}=VALUE"),
        },
        (_, Grammar::Zbc | Grammar::Fbo) => match field.kind {
            FieldKind::Flag => format!("put {name}/ in front"),
            _ => format!("put {name}-VALUE/ in front"),
        },
    };
    OptionError::Missing { option: name.clone(), help: help.to_owned(), place }
}

fn with_fields<'a>(
    schema: &'a Schema,
    values: &'a [(usize, &'a str)],
) -> impl Iterator<Item = (&'a Field, &'a str)> {
    values.iter().filter_map(|&(index, value)| Some((schema.fields.get(index)?, value)))
}

/// The value of a field that is no store.
fn plain(field: &Field, value: &str) -> Result<Option<String>, OptionError> {
    Ok(Some(match &field.kind {
        FieldKind::Path { .. } | FieldKind::Store { .. } => return Ok(None),
        &FieldKind::Number { min, max } => number(field, value, min, max)?.to_string(),
        FieldKind::Choice(choices) => {
            if !choices.iter().any(|choice| choice == value) {
                return Err(OptionError::NotAChoice {
                    option: field.name.clone(),
                    value: value.to_owned(),
                    choices: choices.clone(),
                });
            }
            value.to_owned()
        }
        FieldKind::Text => value.to_owned(),
        FieldKind::Flag => "true".to_owned(),
    }))
}

/// What a field asks to be opened.
fn store(field: &Field, value: &str) -> Result<Option<StoreRequest>, OptionError> {
    let option = field.name.clone();
    let (locator, read_only, create) = match field.kind {
        FieldKind::Path { read_only, create } => {
            if !value.starts_with('/') {
                return Err(OptionError::Relative { option, value: value.to_owned() });
            }
            (Locator::Path(value.to_owned()), read_only, create)
        }
        FieldKind::Store { read_only, create } => match value.parse() {
            Ok(locator) => (locator, read_only, create),
            Err(source) => return Err(OptionError::Locator { option, source }),
        },
        _ => return Ok(None),
    };
    Ok(Some(StoreRequest { option, locator, read_only, create }))
}

fn number(field: &Field, value: &str, min: u64, max: u64) -> Result<u64, OptionError> {
    let option = || field.name.clone();
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(OptionError::NotANumber { option: option(), value: value.to_owned(), min, max });
    }
    // Digits that are no u64 are too many.
    match value.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(OptionError::OutOfBounds { option: option(), value: value.to_owned(), min, max }),
    }
}

#[cfg(test)]
mod tests;
