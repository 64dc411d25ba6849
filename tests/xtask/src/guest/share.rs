//! The folder that a guest sees as /host: the current build, the guest's scripts, the command to run.

use crate::install;
use crate::package;
use crate::paths;
use crate::process::quoted;
use anyhow::Context;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// What goes into the folder besides the build.
#[derive(Debug, Default)]
pub struct Contents {
    /// Shell command lines that the guest runs.
    pub command: String,
    /// Environment of the command.
    pub environment: Vec<(String, String)>,
    /// Files and folders that appear under their own names.
    pub extra: Vec<PathBuf>,
}

/// Fills `share`. Parts of the build that are not there yet are left out: a guest without a daemon is of use, too.
///
/// # Errors
/// When something cannot be copied; the message names it.
pub fn fill(share: &Path, contents: &Contents) -> anyhow::Result<()> {
    let scripts = paths::guest_scripts();
    copy_into(&scripts.join("guest-init.sh"), share)?;
    copy_folder(&scripts, &share.join("tests"))?;
    for (from, name) in [(paths::handlers(), "handlers"), (paths::test_handlers(), "handlers-test")] {
        if from.is_dir() {
            copy_folder(&from, &share.join(name))?;
        }
    }
    let install = paths::root().join("host/daemon/install");
    if install.is_dir() {
        copy_folder(&install, &share.join("install"))?;
    }
    for program in [paths::daemon(), paths::lunbox(), paths::suite()] {
        if program.is_file() {
            copy_into(&program, share)?;
        }
    }
    copy_folder(&install::sources(), &share.join("install"))?;
    if package::file().is_file() {
        copy_into(&package::file(), share)?;
    }
    for path in &contents.extra {
        if path.is_dir() {
            let name = path.file_name().with_context(|| format!("--share {}: no name", path.display()))?;
            copy_folder(path, &share.join(name))?;
        } else {
            copy_into(path, share)?;
        }
    }
    let mut script = String::new();
    for (name, value) in &contents.environment {
        script.push_str(&format!("export {name}={}\n", quoted(value)));
    }
    script.push_str(&contents.command);
    script.push('\n');
    std::fs::write(share.join("command"), script)?;
    Ok(())
}

fn copy_into(file: &Path, folder: &Path) -> anyhow::Result<()> {
    let name = file.file_name().with_context(|| format!("{}: no name", file.display()))?;
    let to = folder.join(name);
    std::fs::copy(file, &to)
        .with_context(|| format!("cannot copy {} to {}", file.display(), to.display()))?;
    if file.extension().is_some_and(|extension| extension == "sh") {
        // A checkout may have lost the mode; the guest starts these directly.
        std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            copy_folder(&path, &to.join(path.file_name().context("folder without a name")?))?;
        } else {
            copy_into(&path, to)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_gets_its_environment_and_extras_their_names() {
        let share = tempfile::tempdir().unwrap();
        let extra = tempfile::tempdir().unwrap();
        std::fs::create_dir(extra.path().join("data")).unwrap();
        std::fs::write(extra.path().join("data/x"), "1").unwrap();
        let contents = Contents {
            command: "echo \"$A\"".into(),
            environment: vec![("A".into(), "two words".into())],
            extra: vec![extra.path().join("data")],
        };
        fill(share.path(), &contents).unwrap();
        let out = std::process::Command::new("sh").arg(share.path().join("command")).output().unwrap();
        assert_eq!(out.stdout, b"two words\n");
        assert_eq!(std::fs::read(share.path().join("data/x")).unwrap(), b"1");
        let init = std::fs::metadata(share.path().join("guest-init.sh")).unwrap();
        assert_eq!(init.permissions().mode() & 0o111, 0o111);
        assert!(share.path().join("tests/packages.list").is_file());
        assert!(share.path().join("install/lunboxd.service").is_file());
        assert!(share.path().join("install").is_dir(), "the files to install are not there");
    }

    #[test]
    fn missing_extra_is_named() {
        let share = tempfile::tempdir().unwrap();
        let contents = Contents { extra: vec!["/no/such/thing".into()], ..Contents::default() };
        let error = format!("{:#}", fill(share.path(), &contents).unwrap_err());
        assert!(error.contains("/no/such/thing"), "{error}");
    }
}
