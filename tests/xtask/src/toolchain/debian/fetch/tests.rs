use super::*;

#[test]
fn status_lines_tell_how_far_the_download_is() {
    assert_eq!(percent_done("dlstatus:1:37.5:Retrieving file 1 of 4 (3s remaining)"), Some(37));
    for other in ["Get:1 http://example.org x", "dlstatus:1", "dlstatus:1:much:x", "dlstatus:1:900:x"] {
        assert_eq!(percent_done(other), None, "{other}");
    }
    assert_eq!(megabytes(1), 1);
    assert_eq!(megabytes(137_000_000), 137);
}

#[test]
fn the_compiler_starts_with_the_libraries_that_were_unpacked() {
    let root = tempfile::tempdir().unwrap();
    assert!(rustc_text(root.path()).is_err());
    for folder in ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/rustlib"] {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    let text = rustc_text(root.path()).unwrap();
    assert!(
        text.contains("LD_LIBRARY_PATH=$here/usr/lib/x86_64-linux-gnu:$here/lib/x86_64-linux-gnu exec"),
        "{text}"
    );
}
