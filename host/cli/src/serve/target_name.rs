//! Names of targets.

use std::fmt;
use std::str::FromStr;

/// Longest name in bytes (RFC 7143 4.2.7.1).
const MAX_BYTES: usize = 223;

/// What a name begins with unless another is given; this machine's name follows.
const DEFAULT: &str = "iqn.2026-11.org.lunbox:";

/// A name in one of the three formats of RFC 7143 4.2.7: `iqn.`, `eui.` or `naa.`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetName(String);

/// Why a text is no name of a target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Another format.
    #[error("a name begins with iqn., eui. or naa.; for example {DEFAULT}disk")]
    Format,
    /// A character that names do not have. Initiators compare names byte by byte, so there is one spelling.
    #[error("{0:?} does not belong into a name; use a-z, 0-9, dash, dot and colon")]
    Character(char),
    /// Not the form of an iqn name.
    #[error(
        "write iqn.YYYY-MM.DOMAIN:TEXT with a month in which the domain was yours (written in reverse), for example {DEFAULT}disk"
    )]
    Iqn,
    /// Not the form of an eui name.
    #[error("write eui. and 16 hexadecimal digits")]
    Eui,
    /// Not the form of an naa name.
    #[error("write naa. and 16 or 32 hexadecimal digits")]
    Naa,
    /// Too long.
    #[error("the name has {0} bytes; at most {MAX_BYTES} are allowed")]
    TooLong(usize),
}

impl TargetName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name for a machine: the same at each start. What the machine's name has that names of targets can not
    /// have becomes a dash.
    #[must_use]
    pub fn of_machine(machine: &str) -> Self {
        let machine = machine.trim();
        let allowed =
            |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, '.' | '-');
        let machine: String = machine
            .chars()
            .map(|byte| byte.to_ascii_lowercase())
            .map(|byte| if allowed(byte) { byte } else { '-' })
            .take(MAX_BYTES - DEFAULT.len())
            .collect();
        Self(format!("{DEFAULT}{}", if machine.is_empty() { "serve" } else { &machine }))
    }

    /// The name for this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        // Without /proc there is no name to be had, and the default for nameless machines will do.
        Self::of_machine(&std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default())
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TargetName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.len() > MAX_BYTES {
            return Err(NameError::TooLong(text.len()));
        }
        let hexadecimal = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        match text.get(..4) {
            Some("iqn.") => check_iqn(&text[4..])?,
            Some("eui.") if text.len() == 20 && hexadecimal(&text[4..]) => {}
            Some("eui.") => return Err(NameError::Eui),
            Some("naa.") if matches!(text.len(), 20 | 36) && hexadecimal(&text[4..]) => {}
            Some("naa.") => return Err(NameError::Naa),
            _ => return Err(NameError::Format),
        }
        Ok(Self(text.to_owned()))
    }
}

/// What follows `iqn.`: `YYYY-MM.DOMAIN` and perhaps `:TEXT`.
fn check_iqn(rest: &str) -> Result<(), NameError> {
    let allowed =
        |byte: char| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, '.' | '-' | ':');
    if let Some(character) = rest.chars().find(|character| !allowed(*character)) {
        return Err(NameError::Character(character));
    }
    let (authority, text) = match rest.split_once(':') {
        Some((authority, text)) => (authority, Some(text)),
        None => (rest, None),
    };
    let (date, domain) = authority.split_once('.').ok_or(NameError::Iqn)?;
    let number = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    let month = match date.split_once('-') {
        Some((year, month)) if year.len() == 4 && month.len() == 2 && number(year) && number(month) => month,
        _ => return Err(NameError::Iqn),
    };
    let labels = domain.split('.').all(|label| !label.is_empty());
    if !("01"..="12").contains(&month) || !labels || text == Some("") {
        return Err(NameError::Iqn);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_formats() {
        let long = format!("iqn.2026-11.org.lunbox:{}", "a".repeat(200));
        for text in [
            "iqn.2026-11.org.lunbox:disk",
            "iqn.2001-04.com.example",
            "iqn.2001-04.com.example:a:b.c-d",
            "eui.02004567a425678d",
            "naa.52004567BA64678D",
            "naa.62004567BA64678D0123456789ABCDEF",
            &long,
        ] {
            assert_eq!(text.parse::<TargetName>().unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_name_hears_why() {
        let refused = |text: &str| text.parse::<TargetName>().unwrap_err();
        for text in ["", "disk", "IQN.2026-11.org.lunbox:x", "iqn", "ipn.2026-11.a"] {
            assert_eq!(refused(text), NameError::Format, "{text}");
        }
        for text in [
            "iqn.2026-13.org.x",
            "iqn.2026-00.org.x",
            "iqn.26-11.org.x",
            "iqn.2026-11",
            "iqn.2026-11.",
            "iqn.2026-11.org..x",
            "iqn.2026-11.org.x:",
            "iqn.2026-1.org",
            "iqn.",
        ] {
            assert_eq!(refused(text), NameError::Iqn, "{text}");
        }
        assert_eq!(refused("iqn.2026-11.org.x:Disk"), NameError::Character('D'));
        assert_eq!(refused("iqn.2026-11.org.x:a/b"), NameError::Character('/'));
        assert_eq!(refused("iqn.2026-11.org.x:ä"), NameError::Character('ä'));
        assert_eq!(refused("eui.0200"), NameError::Eui);
        assert_eq!(refused("naa.02004567a425678dab"), NameError::Naa);
        assert_eq!(refused(&"i".repeat(224)), NameError::TooLong(224));
    }

    #[test]
    fn machines_have_names_that_are_names() {
        for (machine, expected) in [
            ("Host.Example\n", "iqn.2026-11.org.lunbox:host.example"),
            ("under_score", "iqn.2026-11.org.lunbox:under-score"),
            ("", "iqn.2026-11.org.lunbox:serve"),
        ] {
            let name = TargetName::of_machine(machine);
            assert_eq!(name.as_str(), expected);
            assert_eq!(name.as_str().parse::<TargetName>(), Ok(name.clone()));
        }
        let longest = TargetName::of_machine(&"x".repeat(500));
        assert_eq!(longest.as_str().parse::<TargetName>(), Ok(longest.clone()));
        assert_eq!(TargetName::of_this_machine(), TargetName::of_this_machine());
    }
}
