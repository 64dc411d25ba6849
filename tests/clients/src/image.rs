//! Files to serve and to compare with.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::sys::statvfs::statvfs;
use tempfile::TempDir;

/// Where there is memory for files, if anywhere.
const MEMORY: &str = "/dev/shm";

/// Free bytes without which [`MEMORY`] is left alone: what tests that run at the same time write. A container has 64 MiB
/// there unless it was asked for more.
const ROOM: u64 = 2 << 30;

/// A scratch folder, in memory where `/dev/shm` may be written and has 2 GiB free, else where temporary files go. It
/// goes when it is dropped.
///
/// # Errors
/// When it cannot be made.
pub fn scratch() -> Result<TempDir> {
    scratch_in(Path::new(MEMORY), ROOM)
}

fn scratch_in(memory: &Path, room: u64) -> Result<TempDir> {
    let make = |place: &Path| tempfile::Builder::new().prefix("lunbox-clients-").tempdir_in(place);
    // Whether it may be written shows when it is tried.
    if has_room(memory, room)
        && let Ok(folder) = make(memory)
    {
        return Ok(folder);
    }
    make(&std::env::temp_dir()).context("make a scratch folder")
}

fn has_room(folder: &Path, room: u64) -> bool {
    statvfs(folder)
        .is_ok_and(|status| status.blocks_available().saturating_mul(status.fragment_size()) >= room)
}

/// A file of `size` bytes that is one hole.
///
/// # Errors
/// When it cannot be made.
pub fn hole(folder: &Path, name: &str, size: u64) -> Result<PathBuf> {
    let path = folder.join(name);
    File::create(&path)
        .and_then(|file| file.set_len(size))
        .with_context(|| format!("make {} of {size} bytes", path.display()))?;
    Ok(path)
}

/// Bytes that look random and are the same for the same seed (xorshift64*).
#[derive(Clone, Copy, Debug)]
pub struct Noise(u64);

impl Noise {
    /// A sequence of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Fills `bytes`.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for eight in bytes.chunks_mut(8) {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            let word = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes();
            eight.copy_from_slice(&word[..eight.len()]);
        }
    }
}

/// A file of `size` bytes: stretches of noise of 1 to 256 KiB, and holes of the same sizes between them.
///
/// # Errors
/// When it cannot be written.
pub fn noise_and_holes(folder: &Path, name: &str, size: u64, seed: u64) -> Result<PathBuf> {
    let path = hole(folder, name, size)?;
    let mut noise = Noise::new(seed);
    let mut write = || -> std::io::Result<()> {
        let mut file = BufWriter::new(File::options().write(true).open(&path)?);
        let mut at = 0;
        let mut bytes = Vec::new();
        while at < size {
            let mut dice = [0; 2];
            noise.fill(&mut dice);
            let length = ((u64::from(dice[0]) + 1) * 1024).min(size - at);
            if dice[1] % 2 == 0 {
                bytes.resize(usize::try_from(length).unwrap_or(0), 0);
                noise.fill(&mut bytes);
                file.seek(SeekFrom::Start(at))?;
                file.write_all(&bytes)?;
            }
            at += length;
        }
        file.flush()
    };
    write().with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn noise_is_the_same_for_the_same_seed_and_no_other() {
        let of = |seed| {
            let mut bytes = [0; 100];
            Noise::new(seed).fill(&mut bytes);
            bytes
        };
        assert_eq!(of(3), of(3));
        assert_ne!(of(3), of(4));
        assert_ne!(of(3)[..8], of(3)[8..16]);
    }

    #[test]
    fn memory_with_too_little_room_is_left_alone() {
        let memory = tempfile::tempdir().unwrap();
        let with_room = scratch_in(memory.path(), 1).unwrap();
        assert_eq!(with_room.path().parent(), Some(memory.path()));
        for (place, room) in [(memory.path(), u64::MAX), (Path::new("/no/such/folder"), 1)] {
            let elsewhere = scratch_in(place, room).unwrap();
            assert_eq!(elsewhere.path().parent(), Some(std::env::temp_dir().as_path()));
        }
    }

    #[test]
    fn an_image_has_noise_and_holes() {
        let folder = scratch().unwrap();
        let path = noise_and_holes(folder.path(), "image", 8 << 20, 1).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!(meta.len(), 8 << 20);
        let kept = meta.blocks() * 512;
        assert!(kept > 1 << 20 && kept < 7 << 20, "{kept} of {} bytes are no holes", meta.len());
    }
}
