//! Room on disk: a build that runs out of it fails late and in strange ways.

use crate::paths;
use crate::test::steps::Verdict;
use anyhow::{Context, ensure};
use nix::sys::statvfs::statvfs;

/// What a run from nothing writes below `target` at the least, without incremental compilation.
const FROM_NOTHING: u64 = 6 << 30;

/// What a run writes where everything was built before.
const AGAIN: u64 = 2 << 30;

/// Bytes that can still be written below `target`.
///
/// # Errors
/// When the folder cannot be made or asked.
pub fn free() -> anyhow::Result<u64> {
    let folder = paths::target();
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let found = statvfs(&folder).with_context(|| format!("statvfs of {}", folder.display()))?;
    Ok(found.blocks_available().saturating_mul(found.fragment_size()))
}

/// Looks whether there is enough.
///
/// # Errors
/// When there is not.
pub fn check() -> anyhow::Result<Verdict> {
    let (free, needed) = (free()?, needed(guest_image_is_there()));
    println!("   {} free, {} needed", gib(free), gib(needed));
    ensure!(
        free >= needed,
        "{} has room for {} only, and this run writes {} and more; free some (`cargo clean` drops earlier builds), or set \
         CARGO_TARGET_DIR to a larger disk",
        paths::target().display(),
        gib(free),
        gib(needed)
    );
    Ok(Verdict::Passed)
}

/// The image comes late in a run, so whoever has it has built all the rest.
fn guest_image_is_there() -> bool {
    let found = std::fs::read_dir(paths::guest_cache());
    found.is_ok_and(|mut found| {
        found
            .any(|entry| entry.is_ok_and(|entry| entry.file_name().as_encoded_bytes().starts_with(b"image-")))
    })
}

const fn needed(built_before: bool) -> u64 {
    if built_before { AGAIN } else { FROM_NOTHING }
}

/// For people: with one digit behind the point.
pub fn gib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) >> 30;
    format!("{}.{} GiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_with_one_digit() {
        assert_eq!(gib(0), "0.0 GiB");
        assert_eq!(gib((3 << 30) + (1 << 29)), "3.5 GiB");
        assert!(needed(false) > needed(true));
    }

    #[test]
    fn the_disk_of_the_checkout_can_be_asked() {
        assert!(free().unwrap() > 0);
    }
}
