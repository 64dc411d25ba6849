//! A TOML document whose problems are gathered instead of ending the reading.

use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::Problem;

/// A key that is planned and does nothing yet. Whoever writes it must not believe that something is granted.
const DIRECTORIES: &str = "directories";

/// A value with its place.
pub(crate) type Value<'i> = Spanned<DeValue<'i>>;

/// Problems of a text so far.
pub(crate) struct Problems<'a> {
    path: &'a Path,
    text: &'a str,
    list: Vec<Problem>,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(path: &'a Path, text: &'a str) -> Self {
        Self { path, text, list: Vec::new() }
    }

    pub(crate) fn add(&mut self, place: Range<usize>, key: impl Display, message: impl Into<String>) {
        let problem = Problem::at(self.path, self.text, place.start, key.to_string(), message.into());
        self.list.push(problem);
    }

    /// The line of a place, from 1.
    pub(crate) fn line(&self, place: &Range<usize>) -> usize {
        Problem::at(self.path, self.text, place.start, String::new(), String::new()).line
    }

    pub(crate) fn count(&self) -> usize {
        self.list.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them in the order of the text.
    pub(crate) fn into_list(mut self) -> Vec<Problem> {
        self.list.sort_by_key(|problem| (problem.line, problem.column));
        self.list
    }

    fn wrong_type(&mut self, value: &Value<'_>, key: impl Display, wanted: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.add(value.span(), key, format!("is {found}; write {wanted}"));
    }

    pub(crate) fn text<'v>(&mut self, value: &'v Value<'_>, key: impl Display) -> Option<&'v str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.wrong_type(value, key, "a text in quotes");
        }
        text
    }

    pub(crate) fn flag(&mut self, value: &Value<'_>, key: impl Display) -> Option<bool> {
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong_type(value, key, "true or false");
        }
        flag
    }

    /// A whole number; those that no u64 can hold are reported.
    pub(crate) fn number(&mut self, value: &Value<'_>, key: impl Display) -> Option<u64> {
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(value, key, "a whole number");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str().trim_start_matches('+'), integer.radix()).ok();
        if number.is_none() {
            self.add(value.span(), key, "is out of bounds; write a whole number that is not negative");
        }
        number
    }

    pub(crate) fn list<'v, 'i>(
        &mut self,
        value: &'v Value<'i>,
        key: impl Display,
        example: &str,
    ) -> &'v [Value<'i>] {
        match value.get_ref().as_array() {
            Some(array) => array,
            None => {
                self.wrong_type(value, key, &format!("a list: {example}"));
                &[]
            }
        }
    }

    /// A table, whose keys must be known.
    pub(crate) fn table<'v, 'i>(
        &mut self,
        value: &'v Value<'i>,
        key: impl Display,
        known: &[&str],
    ) -> Option<&'v DeTable<'i>> {
        match value.get_ref().as_table() {
            Some(table) => {
                self.known(table, key, known);
                Some(table)
            }
            None => {
                self.wrong_type(value, key, "a table");
                None
            }
        }
    }

    pub(crate) fn known(&mut self, table: &DeTable<'_>, above: impl Display, known: &[&str]) {
        for name in table.keys().filter(|name| !known.contains(&name.get_ref().as_ref())) {
            let above = above.to_string();
            let key = if above.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{above}.{}", name.get_ref())
            };
            let message = if name.get_ref() == DIRECTORIES {
                "is not possible in this version: handlers see no directories; leave it out".to_owned()
            } else {
                format!("is no key of this table; there is: {}", known.join(", "))
            };
            self.add(name.span(), key, message);
        }
    }
}
