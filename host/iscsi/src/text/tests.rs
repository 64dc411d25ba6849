use super::*;

fn all(text: &[u8]) -> Vec<Result<(&str, &str), TextError>> {
    pairs(text).map(|pair| pair.map(|pair| (pair.key, pair.value))).collect()
}

#[test]
fn pairs_are_separated_by_nul() {
    assert_eq!(all(b"A=1\0B=\0CHAP_N=a=b\0"), [Ok(("A", "1")), Ok(("B", "")), Ok(("CHAP_N", "a=b"))]);
    assert_eq!(all(b"\0\0A=1\0\0\0B=2"), [Ok(("A", "1")), Ok(("B", "2"))], "spare and missing NULs");
    assert_eq!(all(b""), []);
    assert_eq!(all(b"\0\0"), []);
    assert_eq!(all(b"X#NodeArchitecture=?\0iSCSIProtocolLevel=1\0X-com.example=\xc3\xa9\0").len(), 3);
}

#[test]
fn a_broken_item_ends_the_text() {
    for (text, error) in [
        (&b"Key\0A=1\0"[..], TextError::NoEquals),
        (b"=1\0A=1\0", TextError::BadKey),
        (b"1A=1\0A=1\0", TextError::BadKey),
        (b"A B=1\0A=1\0", TextError::BadKey),
        (b"\xff=1\0A=1\0", TextError::BadKey),
        (b"A=\xff\0A=1\0", TextError::BadValue),
    ] {
        assert_eq!(all(text), [Err(error)]);
    }
}

#[test]
fn keys_and_values_are_bounded() {
    let text = |key: &str, value: usize| format!("{key}={}\0", "v".repeat(value)).into_bytes();
    assert!(all(&text(&"K".repeat(KEY_MAX), VALUE_MAX))[0].is_ok());
    assert_eq!(all(&text(&"K".repeat(KEY_MAX + 1), 1)), [Err(TextError::KeyTooLong)]);
    assert_eq!(all(&text("K", VALUE_MAX + 1)), [Err(TextError::ValueTooLong)]);
    assert!(all(&text("CHAP_C", BINARY_VALUE_MAX))[0].is_ok());
    assert_eq!(all(&text("CHAP_C", BINARY_VALUE_MAX + 1)), [Err(TextError::ValueTooLong)]);
}

#[test]
fn a_written_text_reads_back() {
    let mut writer = TextWriter::new();
    writer.push("MaxBurstLength", 262_144);
    writer.push_binary("CHAP_C", &[0, 0xab]);
    assert_eq!(writer.as_bytes(), b"MaxBurstLength=262144\0CHAP_C=0x00ab\0");
    assert_eq!(all(&writer.into_bytes()), [Ok(("MaxBurstLength", "262144")), Ok(("CHAP_C", "0x00ab"))]);
}

#[test]
fn an_assembled_text_is_bounded_and_may_be_cut_anywhere() {
    let mut assembler = TextAssembler::new();
    for byte in b"Key=value\0" {
        assembler.push(&[*byte]).unwrap();
    }
    assert!(!assembler.is_empty());
    assert_eq!(assembler.take(), b"Key=value\0");
    assert!(assembler.is_empty());

    assembler.push(&vec![b'x'; TEXT_MAX]).unwrap();
    assert_eq!(assembler.push(b"x"), Err(TextError::TextTooLong));
    assert!(assembler.is_empty());
}
