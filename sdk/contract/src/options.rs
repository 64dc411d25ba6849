//! What may be written after `<subtype>/`: the option schema of a handler, as data. The host parses the text by it,
//! opens what is granted, and gives the handler values and store ids: a handler never chooses a name.

mod check;

pub use check::{MAX_CHOICES, MAX_FIELDS, SchemaError};

/// How the text is divided. The host knows these grammars by name; a handler can not bring one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    /// The whole text is the value of the first field.
    Whole,
    /// The value of the first field, then any number of `;key=value`.
    Semicolon,
    /// `[option/…@]path`, each option `key-value`: the form of tcmu-runner's zbc handler. The path is the value of the
    /// first field.
    Zbc,
    /// `[option/…]/path`, each option a word or `key-value`: the form of tcmu-runner's fbo handler. The path is the
    /// value of the first field.
    Fbo,
}

/// The options of a handler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    /// How the text is divided.
    pub grammar: Grammar,
    /// What may stand in it, the first field first; 1 to 32.
    pub fields: Vec<Field>,
}

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// 1 to 32 of a-z, 0-9, `_`, and `-` inside. The one field of a [`Grammar::Whole`] schema may have no name.
    pub name: String,
    /// What its value is.
    pub kind: FieldKind,
    /// It must be there.
    pub required: bool,
    /// For people, one line of at most 256 bytes.
    pub help: String,
}

/// What the value of an option is. The first three are *grants*: the whole value is a locator that the host opens;
/// it becomes a store and not a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// The path of a file or block device.
    Path {
        /// It is only read.
        read_only: bool,
        /// A missing file is made.
        create: bool,
    },
    /// Any locator: a path, `memory`, `rbd=pool/image`, `glfs=volume@host/path`.
    Store {
        /// It is only read.
        read_only: bool,
        /// A missing file is made.
        create: bool,
    },
    /// A decimal number.
    Number {
        /// Smallest value.
        min: u64,
        /// Largest value.
        max: u64,
    },
    /// One of these words.
    Choice(Vec<String>),
    /// Any text.
    Text,
    /// Present or not; the value is "true".
    Flag,
}
