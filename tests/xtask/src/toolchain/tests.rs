use super::*;
use std::cell::Cell;
use std::path::Path;

fn failing() -> anyhow::Result<()> {
    anyhow::bail!("the target is missing")
}

fn debian() -> anyhow::Result<Debian> {
    Ok(Debian::at(Path::new("/somewhere/wasm-cargo")))
}

#[test]
fn the_own_toolchain_comes_first_and_debian_is_not_even_asked() {
    let asked = Cell::new(false);
    let ask = || {
        asked.set(true);
        debian()
    };
    assert!(matches!(select(Choice::Auto, || Ok(()), ask).unwrap(), Toolchain::Own));
    assert!(!asked.get());
}

#[test]
fn auto_falls_back_and_the_other_choices_do_not() {
    assert!(matches!(select(Choice::Auto, failing, debian).unwrap(), Toolchain::Debian(_)));
    let error = select(Choice::Rustup, failing, || unreachable!("not allowed")).unwrap_err();
    assert!(error.to_string().contains("target is missing"), "{error:#}");
    let forced = select(Choice::Debian, || unreachable!("not asked"), debian).unwrap();
    assert!(matches!(forced, Toolchain::Debian(_)));
}

#[test]
fn when_nothing_works_both_reasons_are_told() {
    let error = select(Choice::Auto, failing, || anyhow::bail!("no apt-get here")).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("target is missing") && text.contains("no apt-get here"), "{text}");
}

#[test]
fn a_compiler_that_is_not_to_be_had_is_told_from_one_that_was_not_got() {
    let old = || anyhow::Error::from(Unavailable::new("rustc-web is too old"));
    let reason = available::<()>(Err(old().context("apt's lists are what they are"))).unwrap().unwrap_err();
    assert!(reason.contains("too old") && reason.contains("apt's lists"), "{reason}");
    let error = available::<()>(Err(anyhow::anyhow!("no space left"))).unwrap_err();
    assert!(error.to_string().contains("no space left"), "{error:#}");
    assert_eq!(available(Ok(1)).unwrap(), Ok(1));
}

#[test]
fn debian_builds_in_a_folder_of_its_own_through_its_wrapper() {
    let (command, folder) = by_debian(&debian().unwrap(), &["build"]);
    assert_eq!(command.get_program(), "/somewhere/wasm-cargo");
    assert_ne!(folder, paths::target());
    let target = command.get_envs().find(|(name, _)| *name == "CARGO_TARGET_DIR").unwrap();
    assert_eq!(target.1, Some(folder.as_os_str()));
    assert!(command.get_args().any(|argument| argument == TARGET));
}
