//! What goes with a bug report.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use lunbox_control::Request;

use super::system::System;
use crate::output::Output;

/// Last bytes of the log that are taken.
const LOG_BYTES: u64 = 1 << 20;

/// Most bytes of one file of configfs.
const TEXT_BYTES: u64 = 64 << 10;

/// Most files of configfs, and how long reading them may take: one may hang while a device is being removed, and then
/// the next is not begun.
const TEXTS: usize = 50_000;
const TEXTS_TIME: Duration = Duration::from_secs(30);

/// Directories of configfs whose files are secrets, or do something, or are many and tell little: a device has about
/// forty in these, and hundreds of devices must fit.
const SKIPPED: [&str; 5] = ["auth", "action", "statistics", "fabric_statistics", "pr"];

/// Files of configfs with secrets elsewhere than in `auth`.
const SECRETS: [&str; 4] = ["password", "password_mutual", "userid", "userid_mutual"];

/// A directory for a while.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        // What can not be removed is in the directory for temporary files, and ours alone.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes a bundle, mode 0600, to a file that must not exist.
///
/// # Errors
/// The file is there, can not be made, or `tar` fails.
pub(super) fn write(path: &Path, system: &System, findings: &str, output: &Output) -> anyhow::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.with_context(|| {
        format!("making {}: name a file that does not exist, in a directory that does", path.display())
    })?;
    let written = collect(system, findings, output).and_then(|staging| pack(&staging.0, file));
    if written.is_err() {
        // It is ours, and worth nothing.
        let _ = fs::remove_file(path);
    }
    written?;
    output.note(&format!(
        "{} is written, for you alone to read; look at it before you send it: names and paths are in it",
        path.display()
    ));
    Ok(())
}

fn collect(system: &System, findings: &str, output: &Output) -> anyhow::Result<Staging> {
    let base =
        nix::unistd::mkdtemp(&std::env::temp_dir().join("lunbox-doctor-XXXXXX")).context("a directory")?;
    let staging = Staging(base);
    let top = staging.0.join("lunbox-report");
    fs::DirBuilder::new().mode(0o700).create(&top).context("a directory")?;
    let put = |name: &str, bytes: &[u8]| {
        fs::write(top.join(name), bytes).with_context(|| format!("writing {name}"))
    };
    output.note("collecting: what was found");
    put("findings.json", findings.as_bytes())?;
    put("versions.txt", versions(system).as_bytes())?;
    output.note("collecting: reports of lunboxd");
    for (name, request) in [
        ("status.json", Request::Status),
        ("workers.json", Request::WorkerList),
        ("devices.json", Request::DeviceList),
        ("statistics.json", Request::Statistics),
    ] {
        match system.ask(&request) {
            Ok(answer) => put(name, &serde_json::to_vec_pretty(&answer)?)?,
            Err(error) => {
                put(name, serde_json::json!({ "error": error.to_string() }).to_string().as_bytes())?
            }
        }
    }
    output.note("collecting: configuration and log");
    for (name, from) in [("tcmu.conf", lunbox_conf::PATH), ("policy.toml", lunbox_policy::PATH)] {
        if let Some(text) = system.text(from) {
            put(name, text.as_bytes())?;
        }
    }
    let directory =
        lunbox_conf::load(&system.path(lunbox_conf::PATH)).ok().and_then(|loaded| loaded.conf.log_dir);
    let directory = directory.unwrap_or_else(|| PathBuf::from("/var/log")).display().to_string();
    if let Some(bytes) = tail(&system.path(&directory).join("tcmu-runner.log")) {
        put("tcmu-runner.log", &bytes)?;
    }
    output.note("collecting: the target configuration");
    let mut texts = Texts::new(TEXTS, TEXTS_TIME);
    texts.walk(&system.path("/sys/kernel/config/target"), "");
    if let Some(cut) = &texts.cut {
        output.warning(&format!("target.txt is not complete: {cut}"));
    }
    put("target.txt", &texts.text)?;
    Ok(staging)
}

fn versions(system: &System) -> String {
    let mut text = format!("lunbox {}\n", env!("CARGO_PKG_VERSION"));
    if let Ok(kernel) = nix::sys::utsname::uname() {
        let word = |word: &std::ffi::OsStr| word.to_string_lossy().into_owned();
        // The machine's name is nobody's business.
        text += &format!(
            "{} {} {} {}\n",
            word(kernel.sysname()),
            word(kernel.release()),
            word(kernel.version()),
            word(kernel.machine())
        );
    }
    text + &system.text("/etc/os-release").unwrap_or_default() + "\n"
}

/// The end of a file, from the beginning of a line.
fn tail(path: &Path) -> Option<Vec<u8>> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let from = length.saturating_sub(LOG_BYTES);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.take(LOG_BYTES).read_to_end(&mut bytes).ok()?;
    if from > 0 {
        let line = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| end + 1);
        bytes.drain(..line);
    }
    Some(bytes)
}

/// Files of configfs in one text.
struct Texts {
    deadline: Instant,
    left: usize,
    text: Vec<u8>,
    /// What was left out, if it was too much.
    cut: Option<String>,
}

impl Texts {
    fn new(files: usize, time: Duration) -> Self {
        Self { deadline: Instant::now() + time, left: files, text: Vec::new(), cut: None }
    }

    /// There is no room for this one, nor for any behind it.
    fn is_full(&mut self, name: &str) -> bool {
        if self.cut.is_some() {
            return true;
        }
        let why = if self.left == 0 {
            "there are too many files"
        } else if Instant::now() >= self.deadline {
            "reading took too long"
        } else {
            return false;
        };
        let cut = format!("left out from {name} on, because {why}");
        self.say(&format!("{cut}\n"));
        self.cut = Some(cut);
        true
    }

    fn walk(&mut self, directory: &Path, name: &str) {
        let mut entries: Vec<_> = fs::read_dir(directory).into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let own = entry.file_name().to_string_lossy().into_owned();
            let inner = format!("{name}/{own}");
            let Ok(kind) = entry.file_type() else { continue };
            let skipped: &[&str] = if kind.is_dir() { &SKIPPED } else { &SECRETS };
            if skipped.contains(&own.as_str()) {
                continue;
            }
            if self.is_full(&inner) {
                return;
            }
            if kind.is_dir() {
                self.walk(&entry.path(), &inner);
            } else if kind.is_file() {
                self.left -= 1;
                self.add(&entry.path(), &inner);
            } else if kind.is_symlink() {
                let to = fs::read_link(entry.path()).unwrap_or_default();
                self.say(&format!("{inner} -> {}\n", to.display()));
            }
        }
    }

    fn add(&mut self, path: &Path, name: &str) {
        let mut bytes = Vec::new();
        match File::open(path).and_then(|file| file.take(TEXT_BYTES).read_to_end(&mut bytes)) {
            Ok(_) => {
                self.say(&format!("{name}: "));
                self.text.extend_from_slice(&bytes);
                if bytes.last() != Some(&b'\n') {
                    self.say("\n");
                }
            }
            // Some are only for writing, and some have just gone.
            Err(error) => self.say(&format!("{name} ({error})\n")),
        }
    }

    fn say(&mut self, text: &str) {
        self.text.extend_from_slice(text.as_bytes());
    }
}

fn pack(staging: &Path, file: File) -> anyhow::Result<()> {
    let mut sync = file.try_clone().context("the bundle")?;
    let packed = Command::new("tar")
        .args(["--create", "--gzip", "--owner=root:0", "--group=root:0", "--directory"])
        .arg(staging)
        .arg("lunbox-report")
        .stdin(Stdio::null())
        .stdout(file)
        .output()
        .context("running tar; install it")?;
    if !packed.status.success() {
        bail!("tar failed ({}): {}", packed.status, String::from_utf8_lossy(&packed.stderr).trim());
    }
    sync.flush().context("the bundle")?;
    sync.sync_all().context("writing the bundle")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_said_once_and_statistics_are_no_part_of_it() {
        let place = tempfile::tempdir().unwrap();
        for path in ["core/a/pr/x", "core/a/info", "core/b/info", "core/b/statistics/y", "iscsi/z"] {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "text\n").unwrap();
        }
        let told = |files, time| {
            let mut texts = Texts::new(files, time);
            texts.walk(place.path(), "");
            (String::from_utf8(texts.text).unwrap(), texts.cut)
        };
        let all = "/core/a/info: text\n/core/b/info: text\n/iscsi/z: text\n";
        assert_eq!(told(4, TEXTS_TIME), (all.to_owned(), None));
        let (text, cut) = told(1, TEXTS_TIME);
        let cut = cut.unwrap();
        assert!(cut.contains("from /core/b on") && cut.contains("too many"), "{cut}");
        assert_eq!(text, format!("/core/a/info: text\n{cut}\n"));
        let (text, cut) = told(4, Duration::ZERO);
        assert!(cut.is_some_and(|cut| cut.contains("from /core on") && cut.contains("too long")), "{text}");
    }
}
