//! The two kernels: Debian's User-Mode Linux and Debian's own, both unpacked from their packages, not installed.

use crate::process;
use crate::progress::Progress;
use anyhow::{Context, bail, ensure};
use std::collections::HashSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Without these a guest is of no use.
const ESSENTIAL: [&str; 2] = ["target_core_user", "tcm_loop"];

/// What the qemu guest needs before its root disk is there, in no particular order.
const INITRAMFS: [&str; 6] = ["virtio_pci", "virtio_blk", "ext4", "overlay", "9pnet_virtio", "9p"];

/// Trailer of a signed module (kernel, include/linux/module_signature.h): 8 bytes of type information, 4 bytes of
/// big-endian signature length, then this text.
const SIGNATURE_MAGIC: &[u8] = b"~Module signature appended~\n";
const SIGNATURE_INFO: usize = 12;

/// Moves the module tree `tree` (named after its kernel version) into the root file system, keeps what `wanted` names
/// with dependencies, and indexes it. Returns the initramfs's modules in loading order.
///
/// # Errors
/// When depmod or modprobe fail in the root file system, or an essential module is missing.
pub fn install_modules(
    tree: &Path,
    root: &Path,
    wanted: &[String],
    progress: &Progress,
) -> anyhow::Result<Vec<PathBuf>> {
    let version = tree.file_name().and_then(|name| name.to_str()).context("module tree without a version")?;
    progress.detail(version);
    let home = root.join("lib/modules");
    std::fs::create_dir_all(&home)?;
    let installed = home.join(version);
    std::fs::rename(tree, &installed).with_context(|| format!("cannot move {}", tree.display()))?;
    depmod(root, version, progress)?;

    let keep = load_order(root, version, wanted, progress)?;
    let early = load_order(root, version, &INITRAMFS.map(str::to_owned), progress)?;
    for name in ESSENTIAL {
        let file = format!("{name}.ko");
        ensure!(
            keep.iter().any(|path| path.file_name().is_some_and(|found| *found == *file)),
            "kernel {version} has no module {name}: LUNs cannot be made with it"
        );
    }
    let keep: HashSet<PathBuf> = keep.into_iter().chain(early.iter().cloned()).collect();
    for file in super::files_under(&installed)? {
        if file.extension().is_some_and(|extension| extension == "ko") {
            if keep.contains(&file) { drop_signature(&file)? } else { std::fs::remove_file(&file)? }
        }
    }
    depmod(root, version, progress)?;
    Ok(early)
}

fn depmod(root: &Path, version: &str, progress: &Progress) -> anyhow::Result<()> {
    process::run_quietly(Command::new("chroot").arg(root).args(["/sbin/depmod", version]), progress)?;
    Ok(())
}

/// Files of `modules` and of what they depend on, dependencies first. Modules that the kernel has built in, or does
/// not have at all, give nothing.
fn load_order(
    root: &Path,
    version: &str,
    modules: &[String],
    progress: &Progress,
) -> anyhow::Result<Vec<PathBuf>> {
    let script =
        r#"v=$1; shift; for m; do /sbin/modprobe -S "$v" --show-depends --ignore-install "$m"; done; true"#;
    let mut command = Command::new("chroot");
    command.arg(root).args(["/bin/sh", "-c", script, "sh", version]).args(modules);
    let text = process::run_quietly(&mut command, progress)?;
    // modprobe names files by the root's own /lib, which may be a link to usr/lib there.
    let under = format!("/{version}/");
    let mut order = Vec::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("insmod ")) {
        let path = line.split_whitespace().next().unwrap_or_default();
        let (_, relative) =
            path.split_once(&under).with_context(|| format!("odd modprobe answer: {line}"))?;
        let file = root.join("lib/modules").join(version).join(relative);
        if !order.contains(&file) {
            order.push(file);
        }
    }
    Ok(order)
}

/// Cuts the appended signature off a module: checking it costs a public-key operation per module, which is dear under
/// emulation, and nothing in the guest insists on it.
fn drop_signature(file: &Path) -> anyhow::Result<()> {
    let content = std::fs::read(file)?;
    if let Some(length) = unsigned_length(&content) {
        std::fs::write(file, &content[..length])?;
    }
    Ok(())
}

/// Length of the module without its signature; `None` if it has none.
fn unsigned_length(module: &[u8]) -> Option<usize> {
    let rest = module.strip_suffix(SIGNATURE_MAGIC)?;
    let info = rest.len().checked_sub(SIGNATURE_INFO)?;
    let length = rest[info..].last_chunk::<4>().copied().map(u32::from_be_bytes)?;
    info.checked_sub(usize::try_from(length).ok()?)
}

/// Takes the ELF kernel out of an xz-compressed bzImage: qemu starts it directly (PVH) and the guest is spared the
/// decompression. A kernel compressed otherwise is used as it is.
///
/// # Errors
/// When a file cannot be read or written or xz fails.
pub fn extract_vmlinux(bz_image: &Path, to: &Path) -> anyhow::Result<()> {
    const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";
    let image = std::fs::read(bz_image).with_context(|| format!("cannot read {}", bz_image.display()))?;
    let Some(at) = image.windows(XZ_MAGIC.len()).position(|window| window == XZ_MAGIC) else {
        std::fs::write(to, &image)?;
        return Ok(());
    };
    let mut xz = Command::new("xz")
        .args(["-dc", "--single-stream"])
        .stdin(Stdio::piped())
        .stdout(std::fs::File::create(to)?)
        .spawn()
        .context("cannot start xz")?;
    if let Some(mut stdin) = xz.stdin.take() {
        // xz stops reading after the stream; what follows in the image is not for it.
        match stdin.write_all(&image[at..]) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => {}
        }
    }
    let status = xz.wait()?;
    let magic = super::first_bytes(to, 4)?;
    if !status.success() || magic != b"\x7fELF" {
        bail!("{}: no ELF kernel in it (xz ended with {status})", bz_image.display());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signature_is_cut_exactly() {
        let mut module = b"ELF body".to_vec();
        assert_eq!(unsigned_length(&module), None);
        module.extend_from_slice(&[0xAA; 300]);
        module.extend_from_slice(&[0, 0, 2, 0, 0, 0, 0, 0]);
        module.extend_from_slice(&300u32.to_be_bytes());
        module.extend_from_slice(SIGNATURE_MAGIC);
        assert_eq!(unsigned_length(&module), Some(8));
    }

    #[test]
    fn impossible_signature_length_leaves_the_module_alone() {
        let mut module = vec![0; 8];
        module.extend_from_slice(&u32::MAX.to_be_bytes());
        module.extend_from_slice(SIGNATURE_MAGIC);
        assert_eq!(unsigned_length(&module), None);
        assert_eq!(unsigned_length(SIGNATURE_MAGIC), None);
    }
}
