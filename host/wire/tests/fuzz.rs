//! The fuzzer's harness with random messages, so that it runs where no fuzzer does.

#[path = "../../../tests/fuzz/src/wire.rs"]
mod harness;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn messages_keep_the_rules_however_they_are_changed(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        harness::drive(&bytes);
    }

    #[test]
    fn foreign_words_keep_the_rules(
        text in r#"(\{|\[|\}|\]|,|:|"|null|-?[0-9]{1,20}|"(hello|stop|call|minor|how|drain|notice|ended|version)"){0,20}"#,
    ) {
        let mut bytes = vec![0];
        bytes.extend(text.bytes());
        harness::drive(&bytes);
    }
}
