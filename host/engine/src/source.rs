//! Reads handlers' files and tells what they are.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;

use crate::container;
use crate::load::LoadError;

/// Largest component that is read, in bytes: two thousand times the size of the project's handlers.
pub(crate) const MAX_COMPONENT: u64 = 64 << 20;

/// Bits of a mode that let others than the owner write.
pub(crate) const WRITABLE_BY_OTHERS: u32 = 0o022;

/// What a handler's file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandlerFile {
    /// A component, to be compiled ([`crate::Engine::compile`]).
    Component(Vec<u8>),
    /// A container with machine code ([`crate::Engine::load_container`]), from a file that only its trusted owner can
    /// write.
    Precompiled(Vec<u8>),
}

impl HandlerFile {
    /// Reads a file once: what is checked is what is used. The contents decide what it is, not the name. Of a
    /// component only the first bytes are looked at, of a container the owner of its file.
    ///
    /// # Errors
    /// [`LoadError`]: the file can not be read, has more than 64 MiB (a container: 256 MiB), is something else, or is
    /// machine code that others than root and the own user could have written.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        // O_NONBLOCK: opening a FIFO that nobody writes would wait for ever.
        let mut options = OpenOptions::new();
        let file =
            options.read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path).map_err(LoadError::Read)?;
        let metadata = file.metadata().map_err(LoadError::Read)?;
        if !metadata.is_file() {
            return Err(LoadError::NotWasm { found: "no regular file".to_owned() });
        }
        let mut start = [0; 8];
        let known = file.read_at(&mut start, 0).map_err(LoadError::Read)?;
        let precompiled = container::is_one(&start[..known]);
        let limit = if precompiled { max_container() } else { MAX_COMPONENT };
        if metadata.len() > limit {
            return Err(LoadError::TooLarge { size: metadata.len(), limit });
        }
        let mut bytes = Vec::new();
        // One byte more shows a file that grew meanwhile.
        file.take(limit + 1).read_to_end(&mut bytes).map_err(LoadError::Read)?;
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > limit {
            return Err(LoadError::TooLarge { size: limit + 1, limit });
        }
        if precompiled {
            check_owner(metadata.uid(), metadata.mode())?;
            return Ok(Self::Precompiled(bytes));
        }
        check_format(&bytes)?;
        Ok(Self::Component(bytes))
    }
}

/// Largest container in bytes.
pub(crate) fn max_container() -> u64 {
    u64::try_from(container::MAX_BYTES).unwrap_or(u64::MAX)
}

/// Reads a container by a descriptor that somebody handed over ([`crate::Shelved::file`]), from its beginning: where
/// others who share the description are in it does not matter. Unchecked; [`crate::Engine::load_container`] checks.
///
/// # Errors
/// [`LoadError`]: it can not be read, is no regular file, or has more than 256 MiB.
pub fn read_container(file: &File) -> Result<Vec<u8>, LoadError> {
    let metadata = file.metadata().map_err(LoadError::Read)?;
    if !metadata.is_file() {
        return Err(LoadError::NotWasm { found: "no regular file".to_owned() });
    }
    let (size, limit) = (metadata.len(), max_container());
    if size > limit {
        return Err(LoadError::TooLarge { size, limit });
    }
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, 0).map_err(LoadError::Read)?;
    Ok(bytes)
}

/// Machine code is as trusted as this program: only root or the user that it runs as may have written it.
fn check_owner(owner: u32, mode: u32) -> Result<(), LoadError> {
    let own = geteuid().as_raw();
    if owner != own && owner != 0 {
        return Err(LoadError::Precompiled {
            problem: format!("the file belongs to user {owner}, and its machine code would run unchecked"),
            remedy: "chown it to root or to the user that runs Lunbox, or load the .wasm file",
        });
    }
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(LoadError::Precompiled {
            problem: format!(
                "others may write the file (mode {:o}), and its machine code would run unchecked",
                mode & 0o7777
            ),
            remedy: "chmod go-w it, or load the .wasm file",
        });
    }
    Ok(())
}

/// Wasm's preamble: magic, then version and layer (component-model binary format; a core module has layer 0).
pub(crate) fn check_format(bytes: &[u8]) -> Result<(), LoadError> {
    match bytes {
        [b'\0', b'a', b's', b'm', _, _, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule),
        [b'\0', b'a', b's', b'm', _, _, _, _, ..] => {
            Err(LoadError::NotWasm { found: "a Wasm binary of an unknown version".to_owned() })
        }
        [] => Err(LoadError::NotWasm { found: "an empty file".to_owned() }),
        [0x7f, b'E', b'L', b'F', ..] => Err(LoadError::NotWasm {
            found: "an ELF file (built for the host instead of for Wasm?)".to_owned(),
        }),
        [b'(' | b';', ..] => {
            Err(LoadError::NotWasm { found: "WebAssembly text; assemble it first".to_owned() })
        }
        [b'\0', b'a', b's', b'm', ..] => {
            Err(LoadError::Invalid { problem: "the file ends in its first 8 bytes".to_owned() })
        }
        other => {
            let first = &other[..other.len().min(8)];
            Err(LoadError::NotWasm { found: format!("a file that begins with {}", crate::text::hex(first)) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_told_apart() {
        let judged = |bytes: &[u8]| check_format(bytes).map_err(|error| error.to_string());
        assert_eq!(judged(b"\0asm\x0d\0\x01\0rest"), Ok(()));
        assert!(judged(b"\0asm\x01\0\0\0").unwrap_err().contains("wasm-component-ld"));
        assert!(judged(b"\0asm\x0d").unwrap_err().contains("damaged"));
        assert!(judged(b"").unwrap_err().contains("empty"));
        assert!(judged(b"\x7fELF\x02").unwrap_err().contains("ELF"));
        assert!(judged(b"(component)").unwrap_err().contains("text"));
        assert!(judged(b"#!/bin/sh\n").unwrap_err().contains("23212f62696e2f73"));
    }

    #[test]
    fn machine_code_of_strangers_is_refused() {
        let own = geteuid().as_raw();
        assert!(check_owner(own, 0o100_644).is_ok());
        assert!(check_owner(0, 0o100_755).is_ok());
        assert!(check_owner(own + 1, 0o100_600).unwrap_err().to_string().contains("chown"));
        assert!(check_owner(own, 0o100_664).unwrap_err().to_string().contains("chmod"));
        assert!(check_owner(own, 0o100_602).unwrap_err().to_string().contains("602"));
    }
}
