//! Arguments for the daemon inside of a cfgstring. They begin with `tcmur_`, stand behind a semicolon, and the
//! handler must not see them.

/// The one argument that there is.
pub(crate) const TIMEOUT: &str = "tcmur_cmd_time_out";

/// A cfgstring (what follows `<subtype>/`) taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cfgstring {
    /// What the handler's grants are made from.
    pub text: String,
    /// Seconds that a command may take, as asked for; absent if not asked for or not a number.
    pub command_timeout: Option<i64>,
}

impl Cfgstring {
    /// Cuts the daemon's argument out. Both of its semicolons go when it stands at the beginning (`;tcmur…=20;pool/img`
    /// becomes `pool/img`), the one before it goes when it stands at the end, and one of the two stays between
    /// two other arguments.
    pub fn parse(text: &str) -> Self {
        let marker = format!(";{TIMEOUT}=");
        let Some(start) = text.find(&marker) else {
            return Self { text: text.to_owned(), command_timeout: None };
        };
        let behind = &text[start + marker.len()..];
        let (value, rest) = match behind.split_once(';') {
            Some((value, rest)) => (value, Some(rest)),
            None => (behind, None),
        };
        let before = &text[..start];
        let text = match rest {
            None => before.to_owned(),
            Some(rest) if before.is_empty() => rest.to_owned(),
            Some(rest) => format!("{before};{rest}"),
        };
        Self { text, command_timeout: value.trim().parse().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_argument_is_cut_out_with_the_right_semicolons() {
        let cases = [
            ("/tmp/x", "/tmp/x", None),
            ("", "", None),
            (";tcmur_cmd_time_out=20;pool/img;osd_op_timeout=30", "pool/img;osd_op_timeout=30", Some(20)),
            ("volume@host/x;tcmur_cmd_time_out=43", "volume@host/x", Some(43)),
            ("a;tcmur_cmd_time_out=5;b", "a;b", Some(5)),
            (";tcmur_cmd_time_out=0", "", Some(0)),
            (";tcmur_cmd_time_out=-1;x", "x", Some(-1)),
            ("x;tcmur_cmd_time_out=soon", "x", None),
            ("x;tcmur_cmd_timeout=5", "x;tcmur_cmd_timeout=5", None),
            ("tcmur_cmd_time_out=5", "tcmur_cmd_time_out=5", None),
        ];
        for (text, expected, command_timeout) in cases {
            let found = Cfgstring::parse(text);
            assert_eq!(found, Cfgstring { text: expected.into(), command_timeout }, "{text:?}");
        }
    }
}
