//! The fuzzer's harness for cfgstrings with random texts, so that it runs where no fuzzer does.

#[path = "../../../tests/fuzz/src/cfgstring.rs"]
mod harness;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8192))]

    #[test]
    fn random_texts_keep_the_rules(
        grammar in any::<u8>(),
        kinds in any::<u8>(),
        text in "((/|memory|rbd=|glfs=)[a-c@/]{0,6})?([;/@]{1,2}(a|a-b|ro|RO|copy|label|path|x)([-=](HM|7|/y|memory|[a-c0-9]{0,3}))?){0,4}([@/]{1,2}[a-c@/]{0,6})?",
    ) {
        let mut bytes = vec![grammar, kinds];
        bytes.extend(text.bytes());
        harness::drive(&bytes);
    }

    #[test]
    fn random_bytes_keep_the_rules(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        harness::drive(&bytes);
    }
}
