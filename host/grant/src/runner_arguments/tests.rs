use proptest::prelude::*;

use super::*;

fn timeout(found: &Cfgstring) -> Option<u32> {
    found.command_timeout.map(NonZeroU32::get)
}

/// DEV-4.
#[test]
fn the_daemons_argument_is_cut_out_with_the_right_semicolons() {
    let cases = [
        ("/tmp/x", "/tmp/x", None),
        ("", "", None),
        // The three places.
        (";tcmur_cmd_time_out=20;pool/img;osd_op_timeout=30", "pool/img;osd_op_timeout=30", Some(20)),
        ("volume@host/x;tcmur_cmd_time_out=43", "volume@host/x", Some(43)),
        ("volume@host/x;tcmur_cmd_time_out=43;", "volume@host/x", Some(43)),
        ("a;tcmur_cmd_time_out=5;b", "a;b", Some(5)),
        // The other spelling.
        ("x;tcmur_cmd_timeout=5", "x", Some(5)),
        (";tcmur_cmd_timeout=7;a;b", "a;b", Some(7)),
        (";tcmur_cmd_time_out=0", "", None),
        (";tcmur_cmd_time_out=1;", "", Some(1)),
        // One semicolon between two of them.
        (";tcmur_cmd_time_out=1;tcmur_cmd_time_out=2;b", "b", Some(2)),
        ("a;tcmur_cmd_time_out=1;tcmur_cmd_timeout=2", "a", Some(2)),
        // What is not the daemon's.
        ("tcmur_cmd_time_out=5", "tcmur_cmd_time_out=5", None),
        ("a;tcmur_other=5;b", "a;tcmur_other=5;b", None),
        ("a;tcmur_cmd_time_out", "a;tcmur_cmd_time_out", None),
        ("a;;b;", "a;;b;", None),
        ("a;;tcmur_cmd_time_out=5;;b;", "a;;;b;", Some(5)),
    ];
    for (text, expected, seconds) in cases {
        let found = Cfgstring::parse(text);
        assert_eq!((found.text.as_str(), timeout(&found)), (expected, seconds), "{text:?}");
    }
}

#[test]
fn numbers_are_read_as_by_atoi_and_what_is_odd_about_them_is_told() {
    let cases = [
        ("30", Some(30), ""),
        (" 30", Some(30), ""),
        ("+30", Some(30), ""),
        ("0", None, ""),
        ("-0", None, ""),
        ("30s", Some(30), "read as 30 seconds"),
        ("", None, "off"),
        ("soon", None, "off"),
        ("-1", None, "negative"),
        ("-99999999999999999999", None, "negative"),
        ("2147483647", Some(2_147_483_647), ""),
        ("2147483648", Some(2_147_483_647), "read as 2147483647 seconds"),
        ("99999999999999999999", Some(2_147_483_647), "read as 2147483647 seconds"),
    ];
    for (value, expected, warning) in cases {
        let found = Cfgstring::parse(&format!("x;tcmur_cmd_time_out={value}"));
        assert_eq!((found.text.as_str(), timeout(&found)), ("x", expected), "{value:?}");
        assert_eq!(found.warnings.is_empty(), warning.is_empty(), "{value:?}: {:?}", found.warnings);
        assert!(found.warnings.iter().all(|text| text.contains(warning)), "{value:?}: {:?}", found.warnings);
    }
    let twice = Cfgstring::parse("x;tcmur_cmd_time_out=1;y;tcmur_cmd_timeout=2");
    assert_eq!((timeout(&twice), twice.warnings.len()), (Some(2), 1));
}

proptest! {
    /// What is left never holds the argument, and everything else stands there byte for byte.
    #[test]
    fn the_rest_is_untouched(parts in proptest::collection::vec("(tcmur_cmd_time_?out=[-0-9a-z ]{0,4}|[a-z/=@\\PC]{0,6})", 0..6)) {
        let text = parts.join(";");
        let argument = |part: &&str| TIMEOUTS.iter().any(|name| part.starts_with(name));
        let found = Cfgstring::parse(&text);
        let left: Vec<&str> = found.text.split(';').collect();
        prop_assert!(!left.iter().skip(1).any(argument), "{text:?} {found:?}");
        let others = |parts: Vec<&str>| parts.into_iter().enumerate()
            .filter(|(index, part)| *index == 0 || !argument(part))
            .map(|(_, part)| part.to_owned()).collect::<String>();
        prop_assert_eq!(others(text.split(';').collect()), others(left));
        if !text.split(';').skip(1).any(|part| argument(&part)) {
            prop_assert_eq!(&found.text, &text);
            prop_assert_eq!(found.command_timeout, None);
            prop_assert!(found.warnings.is_empty());
        }
    }
}
