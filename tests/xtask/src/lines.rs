//! A stream of bytes as lines.

/// Cuts `bytes` into lines, without their ends; the first continues what `rest` holds, and what has no end yet is left
/// there. Bytes that are not UTF-8 are replaced.
pub fn cut(rest: &mut Vec<u8>, bytes: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    for &byte in bytes {
        match byte {
            b'\n' => lines.push(String::from_utf8_lossy(&std::mem::take(rest)).into_owned()),
            // A terminal's line ends have one.
            b'\r' => {}
            _ => rest.push(byte),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_joined_across_pieces_and_the_rest_is_kept() {
        let mut rest = Vec::new();
        assert_eq!(cut(&mut rest, b"on"), Vec::<String>::new());
        assert_eq!(cut(&mut rest, b"e\r\ntwo\n\nthr"), ["one", "two", ""]);
        assert_eq!(rest, b"thr");
        assert_eq!(cut(&mut rest, b"\xff\n"), ["thr\u{fffd}"]);
        assert!(rest.is_empty());
    }
}
