use super::*;

const SHOWN: &str = "\
Package: rustc-web
Source: rustc
Version: 1.96.0+dfsg1-1~deb12u2
Size: 4450500
Description-en: Rust systems programming language
 Size: of a thing in a text is no field

Package: rust-web-src
Version: 1.96.0+dfsg1-1~deb12u2
Size: 45012756
";

#[test]
fn packages_are_read_with_version_and_size() {
    let packages = parse_packages(SHOWN).unwrap();
    assert_eq!(packages.len(), 2);
    assert_eq!((packages[0].name.as_str(), packages[0].size), ("rustc-web", 4_450_500));
    assert_eq!(packages[1].version, "1.96.0+dfsg1-1~deb12u2");
    assert!(parse_packages("").is_err());
    let error = parse_packages("Package: a\nVersion: 1\nSize: big\n").unwrap_err();
    assert!(format!("{error:#}").contains("big"), "{error:#}");
    assert!(parse_packages("Package: a\nVersion: 1\n").unwrap_err().to_string().contains("Size"));
}

#[test]
fn dependencies_are_the_lines_that_begin_a_package() {
    let text = "libllvm22\n  Depends: libc6\n |Depends: libx\n  Depends: <virtual>\nlibc6\n<virtual>\n  zlib1g\nzlib1g:amd64\n";
    let names: Vec<String> = needed(text).into_iter().collect();
    assert_eq!(names, ["libc6", "libllvm22", "zlib1g"]);
}

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
fn a_program_starts_with_the_libraries_that_were_unpacked() {
    let root = tempfile::tempdir().unwrap();
    assert!(launcher(root.path(), "usr/bin/rustc", true).is_err());
    let bare = launcher(root.path(), "usr/sbin/tgtd", false).unwrap();
    assert!(bare.ends_with("\nexec \"$here/usr/sbin/tgtd\" \"$@\"\n"), "{bare}");
    for folder in ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu", "usr/lib/rustlib"] {
        std::fs::create_dir_all(root.path().join(folder)).unwrap();
    }
    let text = launcher(root.path(), "usr/bin/rustc", true).unwrap();
    let libraries = "LD_LIBRARY_PATH=$here/usr/lib/x86_64-linux-gnu:$here/lib/x86_64-linux-gnu exec \"$here/usr/bin/rustc\"";
    assert!(text.contains(libraries), "{text}");
}
