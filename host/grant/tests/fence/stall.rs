//! A disk and a file whose writes stall until they are let go.

use std::cell::RefCell;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::child;

/// Bytes of the file system around the disk.
const AROUND: u64 = 64 << 20;

/// Why there can be no such store here.
pub fn possible() -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("this needs root (mount, loop devices)".to_owned());
    }
    if !fs::exists("/dev/loop-control").unwrap_or(false) {
        return Err("there are no loop devices (modprobe loop)".to_owned());
    }
    for program in ["losetup", "mkfs.ext4", "mount", "umount", "fsfreeze"] {
        let found = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if found.is_err() {
            return Err(format!("there is no {program} (util-linux, e2fsprogs)"));
        }
    }
    Ok(())
}

/// A loop device on a file of a file system of its own, which can be frozen.
pub struct Stall {
    mount: PathBuf,
    file: String,
    disk: String,
    frozen: RefCell<Option<(Child, ChildStdin)>>,
    _directory: tempfile::TempDir,
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

impl Stall {
    /// All bytes of the disk are `fill`.
    pub fn new(fill: u8) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("image");
        let mount = directory.path().join("mount");
        fs::create_dir(&mount).unwrap();
        File::create(&image).unwrap().set_len(AROUND).unwrap();
        run("mkfs.ext4", &["-q", image.to_str().unwrap()]);
        run("mount", &["-o", "loop", image.to_str().unwrap(), mount.to_str().unwrap()]);
        let file = mount.join("disk");
        // Written, so that nothing has to be allocated later.
        fs::write(&file, vec![fill; usize::try_from(child::BYTES).unwrap()]).unwrap();
        File::open(&file).unwrap().sync_all().unwrap();
        let file = file.to_str().unwrap().to_owned();
        let disk = run("losetup", &["--find", "--show", &file]);
        Self { mount, file, disk, frozen: RefCell::default(), _directory: directory }
    }

    /// The path of the disk: its writes get lost nowhere, and stall behind the page cache.
    pub fn disk(&self) -> &str {
        &self.disk
    }

    /// The path of the file that the disk is made of: its writes stall in front of the page cache.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The disk is pulled, and another one comes in its place.
    pub fn replace_disk(&self) {
        let other = format!("{}-other", self.file);
        fs::write(&other, vec![0; usize::try_from(child::BYTES).unwrap()]).unwrap();
        run("losetup", &["--detach", &self.disk]);
        run("losetup", &[&self.disk, &other]);
    }

    /// From now on nothing is written. Ends with [`Self::thaw`], with this value, and with this process.
    pub fn freeze(&mut self) {
        let mount = self.mount.to_str().unwrap();
        run("fsfreeze", &["--freeze", mount]);
        // What thaws it is there before anything can go wrong, and waits for the end of its input.
        let mut thawer = Command::new("sh")
            .args(["-c", "read -r _; exec fsfreeze --unfreeze \"$1\"", "sh", mount])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let trigger = thawer.stdin.take().unwrap();
        *self.frozen.get_mut() = Some((thawer, trigger));
    }

    /// Lets all go.
    pub fn thaw(&self) {
        let frozen = self.frozen.borrow_mut().take();
        if let Some((mut thawer, trigger)) = frozen {
            drop(trigger);
            assert!(thawer.wait().unwrap().success(), "the file system stays frozen");
        }
    }

    /// What has been written to the disk.
    pub fn contents(&self) -> Vec<u8> {
        // By way of the file: the disk has a page cache of its own, in which there may be more.
        fs::read(&self.file).unwrap()
    }

    /// Everything that anybody has written to the disk is in [`Self::contents`] afterwards.
    pub fn flush(&self) {
        File::options().write(true).open(&self.disk).unwrap().sync_all().unwrap();
    }
}

impl Drop for Stall {
    fn drop(&mut self) {
        if let Some((mut thawer, trigger)) = self.frozen.get_mut().take() {
            drop(trigger);
            let _ = thawer.wait();
        }
        // Best effort: the test may have failed with children on the disk.
        for (program, argument) in [
            ("losetup", ["-d", self.disk.as_str()].as_slice()),
            ("umount", &["-l", self.mount.to_str().unwrap_or_default()]),
        ] {
            let _ = Command::new(program).args(argument).status();
        }
    }
}
