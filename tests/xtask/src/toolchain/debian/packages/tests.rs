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
    assert_eq!((packages[0].name.as_str(), packages[0].size), (COMPILER, 4_450_500));
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

fn compiler(version: &str) -> Package {
    Package { name: COMPILER.into(), version: version.into(), size: 1 }
}

#[test]
fn an_old_compiler_is_refused_with_both_versions() {
    assert!(ensure_new_enough(&compiler("1.95.0-1")).is_ok());
    assert!(ensure_new_enough(&compiler("2.0~rc1")).is_ok());
    let error = ensure_new_enough(&compiler("1.85.0+dfsg3-1~deb12u3")).unwrap_err().to_string();
    assert!(error.contains("1.85.0") && error.contains(env!("CARGO_PKG_RUST_VERSION")), "{error}");
    assert!(ensure_new_enough(&compiler("unknown")).is_err());
}
