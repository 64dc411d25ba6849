//! What a handler that imports WASI may reach beyond time and randomness.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::sys::stat::{SFlag, fstat};
use wasmtime_wasi::filesystem::Dir;
use wasmtime_wasi::{FsPerms, OpenMode};

/// What the instances of one handler may reach through WASI. The default is nothing: no directory, and there is no
/// way to grant arguments, environment variables, standard input or sockets. Clocks and random numbers need no
/// grant. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WasiGrants {
    /// Directories, in the order in which `wasi:filesystem/preopens.get-directories` tells them.
    pub directories: Vec<GrantedDirectory>,
}

/// A directory with everything below it. Names in it are resolved beneath it only: neither `..` nor a symbolic link
/// leads out.
///
/// File operations run on threads of their own, at most four per instance. One that hangs in the kernel (a dead NFS
/// server) can not be ended: the call is given up after its wall time, the thread goes when the kernel returns.
#[derive(Clone)]
pub struct GrantedDirectory {
    directory: Arc<OwnedFd>,
    guest_path: Arc<str>,
    read_only: bool,
}

impl GrantedDirectory {
    /// Grants an open directory under the name `guest_path`. It is used by its descriptor, never by a name, so a
    /// process without any name space can use it.
    ///
    /// # Errors
    /// `ENOTDIR` if the descriptor is something else; what `fstat` says.
    pub fn new(directory: OwnedFd, guest_path: &str, read_only: bool) -> std::io::Result<Self> {
        let mode = fstat(directory.as_fd())?.st_mode;
        if SFlag::from_bits_truncate(mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
            return Err(nix::Error::ENOTDIR.into());
        }
        Ok(Self { directory: Arc::new(directory), guest_path: guest_path.into(), read_only })
    }

    /// The directory as an instance has it: a descriptor of its own, and the name.
    pub(super) fn open(&self) -> std::io::Result<(Dir, String)> {
        let (access, mode) = if self.read_only {
            (FsPerms::ReadOnly, OpenMode::READ)
        } else {
            (FsPerms::ReadWrite, OpenMode::READ | OpenMode::WRITE)
        };
        let directory = File::from(self.directory.try_clone()?);
        // Not on the device's thread: there a file operation could not be ended.
        let on_this_thread = false;
        Ok((Dir::new(directory, access, mode, on_this_thread), self.guest_path.to_string()))
    }
}

impl std::fmt::Debug for GrantedDirectory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrantedDirectory")
            .field("guest_path", &self.guest_path)
            .field("read_only", &self.read_only)
            .finish_non_exhaustive()
    }
}
