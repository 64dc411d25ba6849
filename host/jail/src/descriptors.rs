//! Descriptors that would lead out of the jail.

use crate::JailError;

/// Refuses open directories: `openat(2)` and `fchdir(2)` start from them, whatever the root directory is.
pub(crate) fn refuse_directories(required: bool) -> Result<(), JailError> {
    let listing = match std::fs::read_dir("/proc/self/fd") {
        Ok(listing) => listing,
        Err(error) if required => return Err(JailError::Proc(error)),
        Err(error) => {
            tracing::warn!("can not look for open directories: {error}; mount /proc");
            return Ok(());
        }
    };
    // The listing is an open directory itself, and is gone when its names are looked at.
    let names: Vec<_> = listing.filter_map(Result::ok).map(|entry| entry.file_name()).collect();
    for name in names {
        let Ok(behind) = std::fs::metadata(std::path::Path::new("/proc/self/fd").join(&name)) else {
            continue;
        };
        if behind.is_dir() {
            return Err(JailError::OpenDirectory { descriptor: name.to_string_lossy().into_owned() });
        }
    }
    Ok(())
}

/// Closes every descriptor but standard input, output and error.
///
/// A daemon inherits whatever its starter left open: a terminal, a log of somebody else, a lock. None of it may reach a
/// jail. Call it first thing in `main`, before anything was opened: what is closed here belongs to nobody.
/// Without /proc nothing is closed.
pub fn close_inherited() {
    let Ok(listing) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers: Vec<i32> =
        listing.filter_map(Result::ok).filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers.into_iter().filter(|&number| number > 2) {
        // The listing's own descriptor is among them, and closed already.
        let _ = nix::unistd::close(number);
    }
}
