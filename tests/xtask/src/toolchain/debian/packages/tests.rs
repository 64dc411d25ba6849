use super::*;

fn compiler(version: &str) -> Package {
    Package { name: COMPILER.into(), version: version.into(), size: 1 }
}

#[test]
fn an_old_compiler_is_refused_with_both_versions() {
    assert!(ensure_new_enough(&compiler("1.95.0-1")).is_ok());
    assert!(ensure_new_enough(&compiler("2.0~rc1")).is_ok());
    let error = ensure_new_enough(&compiler("1.85.0+dfsg3-1~deb12u3")).unwrap_err();
    assert!(error.is::<Unavailable>(), "{error:#}");
    let text = error.to_string();
    assert!(text.contains("1.85.0") && text.contains(env!("CARGO_PKG_RUST_VERSION")), "{text}");
}

#[test]
fn a_version_that_nobody_understands_is_a_failure() {
    assert!(!ensure_new_enough(&compiler("unknown")).unwrap_err().is::<Unavailable>());
}
