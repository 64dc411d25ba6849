//! Writes the qemu guest's initramfs: a cpio archive in the "newc" format (kernel,
//! Documentation/driver-api/early-userspace/buffer-format.rst), uncompressed because decompressing under emulation
//! costs more than reading.

use anyhow::Context;
use std::io::{self, Write};
use std::path::Path;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const SYMLINK: u32 = 0o120_777;

/// Folders that `initramfs-init.sh` mounts on or reads from.
const FOLDERS: [&str; 7] = ["bin", "dev", "proc", "modules", "lower", "upper", "newroot"];

/// A cpio archive under construction.
struct Archive<W> {
    out: W,
    next_inode: u32,
}

impl<W: Write> Archive<W> {
    fn new(out: W) -> Self {
        Self { out, next_inode: 1 }
    }

    /// Appends one member: header, name and content, each padded to 4 bytes.
    fn add(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::other(format!("{name}: too long for a newc archive"));
        let size = u32::try_from(content.len()).map_err(too_long)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_long)?;
        // inode, mode, uid, gid, links, mtime, size, device major/minor, rdev major/minor, name size, checksum
        let fields = [self.next_inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.next_inode += 1;
        write!(self.out, "070701")?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        write!(self.out, "{name}\0")?;
        self.pad(110 + name.len() + 1)?;
        self.out.write_all(content)?;
        self.pad(content.len())
    }

    fn pad(&mut self, written: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..written.next_multiple_of(4) - written])
    }

    fn finish(mut self) -> io::Result<()> {
        self.add("TRAILER!!!", 0, &[])?;
        self.out.flush()
    }
}

/// Writes the archive to `to`: `init` is the script that the kernel starts, `busybox` a static busybox, `modules` the
/// kernel modules in loading order.
///
/// # Errors
/// When a file cannot be read or the archive cannot be written.
pub fn write(to: &Path, init: &Path, busybox: &Path, modules: &[std::path::PathBuf]) -> anyhow::Result<()> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let file = std::fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    let mut archive = Archive::new(io::BufWriter::new(file));
    for folder in FOLDERS {
        archive.add(folder, DIRECTORY, &[])?;
    }
    archive.add("init", PROGRAM, &read(init)?)?;
    archive.add("bin/busybox", PROGRAM, &read(busybox)?)?;
    archive.add("bin/sh", SYMLINK, b"busybox")?;
    let mut order = String::new();
    for module in modules {
        let name = module.file_name().context("module without a name")?.to_string_lossy();
        archive.add(&format!("modules/{name}"), FILE, &read(module)?)?;
        order.push_str(&name);
        order.push('\n');
    }
    archive.add("modules/order", FILE, order.as_bytes())?;
    archive.finish().with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_aligned_and_named() {
        let mut out = Vec::new();
        let mut archive = Archive::new(&mut out);
        archive.add("a", DIRECTORY, &[]).unwrap();
        archive.add("bb", FILE, b"hello").unwrap();
        archive.finish().unwrap();
        // Read it back with the format's own rules.
        let mut at = 0;
        let mut seen = Vec::new();
        while at < out.len() {
            assert_eq!(at % 4, 0);
            assert_eq!(&out[at..at + 6], b"070701");
            let field = |n: usize| {
                let text = std::str::from_utf8(&out[at + 6 + 8 * n..at + 14 + 8 * n]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6), field(11));
            let name = String::from_utf8(out[at + 110..at + 110 + name_size - 1].to_vec()).unwrap();
            let body = at + (110 + name_size).next_multiple_of(4);
            seen.push((name, mode, out[body..body + size].to_vec()));
            at = body + size.next_multiple_of(4);
        }
        assert_eq!(seen[0], ("a".to_owned(), 0o040_755, Vec::new()));
        assert_eq!(seen[1], ("bb".to_owned(), 0o100_644, b"hello".to_vec()));
        assert_eq!(seen[2].0, "TRAILER!!!");
        assert_eq!(seen.len(), 3);
    }
}
