//! The guest's root image: built once from Debian packages, cached by a digest of all that it is made from.

use super::{files_under, initramfs, kernels};
use crate::apt;
use crate::paths;
use crate::process;
use crate::progress::Progress;
use crate::tools::{self, Missing};
use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

/// Changes whenever the steps below change what comes out of them.
const RECIPE: &str = "1";

/// Images that are kept beside the newest: going back to another branch needs no new build.
const KEPT_IMAGES: usize = 2;

/// Documentation and package lists: half of the root image, of no use in it.
const DROPPED: [&str; 7] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/i18n",
    "var/lib/apt/lists",
    "var/cache/apt",
];

/// Folders that must exist in the guest. The kernel's target writes reservations and ALUA state below /etc/target and
/// fails PERSISTENT RESERVE OUT when it cannot.
const ADDED: [&str; 3] = ["host", "etc/target/pr", "etc/target/alua"];

/// A finished image on disk.
#[derive(Debug)]
pub struct Image {
    folder: PathBuf,
}

impl Image {
    /// The ext4 root disk: shared by all guests, never written.
    pub fn root_disk(&self) -> PathBuf {
        self.folder.join("root.ext4")
    }

    /// The User-Mode Linux kernel, an ordinary program.
    pub fn uml(&self) -> PathBuf {
        self.folder.join("linux.uml")
    }

    /// Debian's kernel for qemu.
    pub fn vmlinux(&self) -> PathBuf {
        self.folder.join("vmlinux")
    }

    /// The initramfs that belongs to [`Image::vmlinux`].
    pub fn initramfs(&self) -> PathBuf {
        self.folder.join("initramfs.cpio")
    }
}

/// The image that belongs to the checkout's lists and scripts; built now if it is not there. Blocks while another
/// process builds it.
///
/// # Errors
/// When tools are missing, we are not root, or a package cannot be had or unpacked.
pub fn prepare(missing: Missing) -> anyhow::Result<Image> {
    let cache = paths::guest_cache();
    std::fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let image = Image { folder: cache.join(format!("image-{}", key()?)) };
    let lock = std::fs::File::create(cache.join("lock"))?;
    lock.lock().context("cannot lock the guest cache")?;
    if image.folder.exists() {
        return Ok(image);
    }
    tools::require(tools::IMAGE, missing)?;
    ensure!(
        tools::is_root(),
        "building the guest image needs root, once (file owners and depmod in its root): `sudo -E cargo xtask guest -- true`"
    );
    let work = tempfile::Builder::new().prefix("build.").tempdir_in(&cache)?;
    let _cleanup = crate::cleanup::Folder::register(work.path());
    build(work.path(), &image)?;
    drop_old_images(&cache)?;
    Ok(image)
}

/// Digest of everything that decides what is in the image.
fn key() -> anyhow::Result<String> {
    let scripts = paths::guest_scripts();
    let mut digest = Sha256::new();
    digest.update(RECIPE);
    digest.update(apt::release()?);
    for name in ["packages.list", "modules.list", "image-init.sh", "initramfs-init.sh"] {
        let path = scripts.join(name);
        digest.update(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
        digest.update([0]);
    }
    let mut text = String::new();
    for byte in digest.finalize().iter().take(8) {
        write!(text, "{byte:02x}")?;
    }
    Ok(text)
}

/// Entries of a list file without comments and blank lines.
fn list(name: &str) -> anyhow::Result<Vec<String>> {
    let path = paths::guest_scripts().join(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let entry = |line: &str| line.split('#').next().unwrap_or_default().trim().to_owned();
    Ok(text.lines().map(entry).filter(|line| !line.is_empty()).collect())
}

fn build(work: &Path, image: &Image) -> anyhow::Result<()> {
    let (packages, root, result) = (work.join("packages"), work.join("root"), work.join("result"));
    let unpacked = work.join("unpacked");
    for folder in [&packages, &unpacked, &result] {
        std::fs::create_dir_all(folder)?;
    }

    download(&packages).context("cannot download the guest's kernels and mmdebstrap")?;

    let progress = Progress::start("guest: unpacking them");
    for package in files_under(&packages)? {
        process::run_quietly(Command::new("dpkg").arg("-x").arg(&package).arg(&unpacked), &progress)?;
    }
    progress.done();

    let progress = Progress::start("guest: installing packages into its root file system");
    bootstrap(&unpacked, &root, &progress)?;
    progress.done();

    let progress = Progress::start("guest: kernel modules");
    let wanted = list("modules.list")?;
    install_tree(&unpacked.join("usr/lib/uml/modules"), &root, &wanted, &progress)?;
    let early = install_tree(&unpacked.join("lib/modules"), &root, &wanted, &progress)?;
    progress.done();

    let progress = Progress::start("guest: kernels, initramfs and root disk");
    let kernel = only_entry(&unpacked.join("boot"), "vmlinuz-")?;
    kernels::extract_vmlinux(&kernel, &result.join("vmlinux"))?;
    std::fs::copy(unpacked.join("usr/bin/linux.uml"), result.join("linux.uml"))?;
    let scripts = paths::guest_scripts();
    let busybox = root.join("bin/busybox");
    initramfs::write(&result.join("initramfs.cpio"), &scripts.join("initramfs-init.sh"), &busybox, &early)?;
    make_disk(&root, &result.join("root.ext4"), &progress)?;
    std::fs::rename(&result, &image.folder)?;
    progress.done();
    Ok(())
}

/// Downloads mmdebstrap, User-Mode Linux and the newest kernel of this machine's release.
fn download(to: &Path) -> anyhow::Result<()> {
    apt::with_fresh_lists(|| {
        let progress = Progress::start("guest: downloading kernels and mmdebstrap");
        let kernel = kernel_package()?;
        let mut command = apt::get(&["-o", "APT::Sandbox::User=root", "download"]);
        command.args(["mmdebstrap", "user-mode-linux"]).arg(kernel);
        process::run_quietly(command.current_dir(to), &progress)?;
        progress.done();
        Ok(())
    })
}

/// Name of the package that the metapackage of this machine's kernel depends on.
fn kernel_package() -> anyhow::Result<String> {
    let text = process::output(Command::new("apt-cache").args(["depends", "linux-image-amd64"]))?;
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|name| name.starts_with("linux-image-"))
        .map(str::to_owned)
        .context("apt-cache knows no kernel package; `apt-get update` as root fetches the package lists")
}

fn bootstrap(unpacked: &Path, root: &Path, progress: &Progress) -> anyhow::Result<()> {
    let mut command = Command::new("perl");
    command.arg(unpacked.join("usr/bin/mmdebstrap"));
    command.args(["--mode=root", "--variant=essential", "--format=directory", "--skip=cleanup/apt"]);
    command.args([r#"--aptopt=APT::Install-Recommends "false""#, "--dpkgopt=force-unsafe-io"]);
    command.arg(format!("--include={}", list("packages.list")?.join(",")));
    command.arg(apt::release()?).arg(root).args(apt::package_sources()?);
    process::run_quietly(&mut command, progress)?;

    for folder in DROPPED {
        match std::fs::remove_dir_all(root.join(folder)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot remove {folder}"));
            }
            _ => {}
        }
    }
    for folder in ADDED {
        std::fs::create_dir_all(root.join(folder))?;
    }
    let init = root.join("sbin/image-init");
    std::fs::copy(paths::guest_scripts().join("image-init.sh"), &init)?;
    std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// Installs the only module tree below `trees`.
fn install_tree(
    trees: &Path,
    root: &Path,
    wanted: &[String],
    progress: &Progress,
) -> anyhow::Result<Vec<PathBuf>> {
    kernels::install_modules(&only_entry(trees, "")?, root, wanted, progress)
}

/// The one entry of `folder` whose name starts with `prefix`.
fn only_entry(folder: &Path, prefix: &str) -> anyhow::Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    ensure!(found.len() == 1, "{}: expected one entry {prefix}*, found {found:?}", folder.display());
    found.pop().context("unreachable: one entry was found")
}

fn make_disk(root: &Path, disk: &Path, progress: &Progress) -> anyhow::Result<()> {
    let mut bytes = 0;
    for file in files_under(root)? {
        bytes += std::fs::symlink_metadata(&file)?.len();
    }
    // A quarter for block rounding and metadata, the rest for what a guest writes; the file is sparse.
    let size = bytes + bytes / 4 + (512 << 20);
    std::fs::File::create(disk)?.set_len(size)?;
    let mkfs = tools::find("mkfs.ext4").context("mkfs.ext4 vanished")?;
    let mut command = Command::new(mkfs);
    // No journal and no checksums: the image is never recovered, and they cost time under emulation.
    command.args(["-q", "-F", "-O", "^has_journal,^metadata_csum,^64bit", "-m", "0", "-b", "4096"]);
    command.args(["-E", "lazy_itable_init=1,nodiscard", "-d"]).arg(root).arg(disk);
    process::run_quietly(&mut command, progress)?;
    Ok(())
}

fn drop_old_images(cache: &Path) -> anyhow::Result<()> {
    let mut images: Vec<(SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(cache)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("image-") {
            images.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    images.sort();
    for (_, old) in images.iter().rev().skip(1 + KEPT_IMAGES) {
        std::fs::remove_dir_all(old)?;
    }
    Ok(())
}
