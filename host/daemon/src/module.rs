//! The kernel module without which there is nothing to serve.

use std::path::{Path, PathBuf};
use std::process::Command;

use lunbox_tcmu::Configfs;

/// The module's name.
const MODULE: &str = "target_core_user";

/// What the kernel lacks.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The module is not there and could not be loaded.
    #[error(
        "the kernel module {MODULE} is not loaded ({reason}); load it with `modprobe {MODULE}`, on the host if this is \
         a container"
    )]
    NotLoaded {
        /// What modprobe said.
        reason: String,
    },
    /// The module is there, its configuration is not.
    #[error(
        "the target subsystem does not show in configfs; mount it with `mount -t configfs configfs \
         /sys/kernel/config`, and give it to the container if this is one"
    )]
    NoConfigfs,
}

/// Makes sure that the module is there, with modprobe if need be. Blocks for modprobe.
///
/// # Errors
/// See [`ModuleError`].
pub fn ensure_loaded(configfs: &Configfs) -> Result<(), ModuleError> {
    ensure(Path::new("/sys/module"), configfs, || load("modprobe"))
}

fn ensure(
    modules: &Path,
    configfs: &Configfs,
    load: impl FnOnce() -> Result<(), String>,
) -> Result<(), ModuleError> {
    let place: PathBuf = modules.join(MODULE);
    if !place.is_dir() {
        // In a container modprobe may fail although the host is loading it this moment: what counts is the result.
        let loaded = load();
        if !place.is_dir() {
            let reason = loaded.err().unwrap_or_else(|| "modprobe did nothing".to_owned());
            return Err(ModuleError::NotLoaded { reason });
        }
    }
    if configfs.present() { Ok(()) } else { Err(ModuleError::NoConfigfs) }
}

/// Runs modprobe, which must respect a blacklist (`-b`).
fn load(program: &str) -> Result<(), String> {
    let output = Command::new(program).args(["-b", MODULE]).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let message = String::from_utf8_lossy(&output.stderr);
    let message = message.lines().next().unwrap_or("no message").trim().to_owned();
    Err(format!("{program}: {message}, {}", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_loaded_module_is_left_alone_and_a_missing_one_is_loaded() {
        let root = tempfile::tempdir().unwrap();
        let (modules, core) = (root.path().join("module"), root.path().join("core"));
        let configfs = Configfs::new(&core, modules.join("x"));
        fs::create_dir(&core).unwrap();
        let load = || fs::create_dir_all(modules.join(MODULE)).map_err(|error| error.to_string());
        ensure(&modules, &configfs, load).unwrap();
        ensure(&modules, &configfs, || panic!("must not be loaded again")).unwrap();
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_to_run() {
        let root = tempfile::tempdir().unwrap();
        let configfs = Configfs::new(root.path().join("core"), root.path());
        let error = ensure(root.path(), &configfs, || Err("modprobe: not found".into())).unwrap_err();
        assert!(error.to_string().contains("modprobe: not found"), "{error}");
        assert!(error.to_string().contains("`modprobe target_core_user`"), "{error}");
        fs::create_dir(root.path().join(MODULE)).unwrap();
        let error = ensure(root.path(), &configfs, || Ok(())).unwrap_err();
        assert!(matches!(error, ModuleError::NoConfigfs), "{error}");
    }

    #[test]
    fn modprobes_failure_is_told_in_one_line() {
        assert!(load("/no/such/modprobe").unwrap_err().contains("/no/such/modprobe"));
        assert!(load("false").unwrap_err().contains("exit status: 1"));
        load("true").unwrap();
    }
}
