//! The way without a kernel: `lunbox serve`, and initiators that nobody here wrote.

use super::image;
use super::server::{Event, Server};
use super::show::{announce, heading, output, silent_step, step};
use crate::cleanup;
use crate::paths;
use anyhow::{Context, ensure};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Size of the LUN, and how much of the image is not a hole.
const LUN: u64 = 1 << 30;
const DATA: u64 = 192 << 20;

/// Seconds of each measurement.
const MEASURE: u32 = 3;

/// Serves a LUN, uses it, stops; `stay` serves until Ctrl-C first.
///
/// # Errors
/// When the server cannot be started, a step fails, or it does not end well.
pub fn run(stay: bool) -> anyhow::Result<()> {
    let base = paths::target().join("demo");
    std::fs::create_dir_all(&base).with_context(|| format!("cannot make {}", base.display()))?;
    let folder = tempfile::Builder::new().prefix("run.").tempdir_in(&base)?;
    let _cleanup = cleanup::Folder::register(folder.path());
    let disk = folder.path().join("disk.img");

    heading("A LUN, made and served by one command of an ordinary user");
    let mut serve = program(folder.path(), "lunbox");
    serve.args(["serve", &format!("file/{}", disk.display()), "--size", "1G", "--listen", "127.0.0.1:0"]);
    serve.args(["--no-status", "--stats-on-exit", "--cache-dir"]).arg(base.join("cache"));
    announce(&serve, "the handler `file` in a sandbox decides what commands mean; iSCSI on loopback");
    let server = Server::start(&mut serve)?;
    output(server.url());
    let url = Url::parse(server.url())?;

    look(folder.path(), &url)?;
    verify(folder.path(), &url)?;
    measure(folder.path(), &url)?;
    if stay {
        wait(&server, &url)?;
    }

    heading("It is stopped");
    println!("   # SIGTERM: commands in progress are finished, the file is flushed");
    output(&server.stop()?);
    ensure!(
        TcpStream::connect_timeout(&url.address, Duration::from_secs(5)).is_err(),
        "the server has ended, but {} still accepts connections",
        url.address
    );
    if !stay {
        // Whoever stayed may have written what they liked.
        step(
            program(folder.path(), "qemu-img").args([
                "compare",
                "-f",
                "raw",
                "-F",
                "raw",
                "image.raw",
                "disk.img",
            ]),
            "what was written through the LUN is in the file, without the server",
        )?;
    }
    Ok(())
}

/// A program of ours or of the system, run in `folder`.
fn program(folder: &Path, name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let ours = paths::lunbox().parent().map(Path::to_path_buf);
    // Joining fails only on a folder with a colon in its name, which PATH cannot have.
    let all = std::env::join_paths(ours.into_iter().chain(std::env::split_paths(&path)));
    command.current_dir(folder).env("PATH", all.unwrap_or(path));
    command
}

fn look(folder: &Path, url: &Url) -> anyhow::Result<()> {
    heading("What initiators see: libiscsi");
    step(program(folder, "iscsi-ls").args(["-s", &url.portal]), "discovery, and the LUNs of each target")?;
    step(program(folder, "iscsi-inq").arg(&url.lun), "who the disk says it is")?;
    let text = step(program(folder, "iscsi-readcapacity16").arg(&url.lun), "how large it is")?;
    ensure!(text.contains(&format!("Total size:{LUN}")), "the LUN should have {LUN} bytes");
    Ok(())
}

fn verify(folder: &Path, url: &Url) -> anyhow::Result<()> {
    heading("Written, read back, compared: qemu");
    let mut io = program(folder, "qemu-io");
    io.args(["-f", "raw"]);
    // Whole and odd places and sizes, one that overwrites a part of another.
    for line in [
        "write -P 0xa5 1M 8M",
        "write -P 0x3c 2560 7680",
        "write -P 0x5a 3M 64k",
        "flush",
        "read -P 0xa5 1M 2M",
        "read -P 0x5a 3M 64k",
        "read -P 0xa5 3136k 5M",
        "read -P 0x3c 2560 7680",
        "read -P 0 10240 64k",
    ] {
        io.args(["-c", line]);
    }
    let text = step(io.arg(&url.lun), "patterns, each verified by what reads it")?;
    ensure!(!text.contains("verification failed"), "a pattern was not read as it was written");

    image::write(&folder.join("image.raw"), DATA, LUN)?;
    step(
        program(folder, "qemu-img").args(["convert", "-n", "-f", "raw", "-O", "raw", "image.raw", &url.lun]),
        "an image of 1 GiB (192 MiB of noise, then zeroes) is copied into the LUN",
    )?;
    step(
        program(folder, "qemu-img").args(["compare", "-f", "raw", "-F", "raw", "image.raw", &url.lun]),
        "and compared with what the LUN gives back",
    )?;
    Ok(())
}

fn measure(folder: &Path, url: &Url) -> anyhow::Result<()> {
    heading("How fast, over loopback (iscsi-perf, one connection)");
    for (name, blocks, depth, random) in [
        ("4 KiB random read, 1 in flight", 8, 1, true),
        ("4 KiB random read, 32 in flight", 8, 32, true),
        ("128 KiB read, 8 in flight", 256, 8, false),
    ] {
        let mut perf = program(folder, "iscsi-perf");
        perf.args(["-t", &MEASURE.to_string(), "-b", &blocks.to_string(), "-m", &depth.to_string()]);
        if random {
            perf.arg("-r");
        }
        let text = silent_step(perf.arg(&url.lun), name)?;
        let (iops, mebibytes) = average(&text)
            .with_context(|| format!("iscsi-perf printed no average:\n{}", text.replace('\r', "\n")))?;
        println!("     {iops:>9} IOPS {mebibytes:>8} MiB/s");
    }
    Ok(())
}

/// The last average that iscsi-perf printed, over the whole time: `iops average N (M MB/s)`, where its MB are 2^20
/// bytes. It redraws one line with carriage returns.
fn average(text: &str) -> Option<(u64, u64)> {
    let (_, last) = text.rsplit_once("iops average ")?;
    let (iops, rest) = last.split_once(" (")?;
    let (mebibytes, _) = rest.split_once(" MB/s)")?;
    Some((iops.parse().ok()?, mebibytes.parse().ok()?))
}

fn wait(server: &Server, url: &Url) -> anyhow::Result<()> {
    heading("It stays: try it, and press Ctrl-C here when you are done");
    println!(
        "   {lun}\n\n\
         \x20  iscsi-inq -e 1 -c 0xb0 {lun}\n\
         \x20  qemu-io -f raw -c 'write -P 7 0 1M' -c 'read -P 7 0 1M' {lun}\n\
         \x20  qemu-img convert -n -O raw YOUR-IMAGE {lun}\n\
         \x20  iscsi-perf -r -b 8 -m 32 -t 10 {lun}\n",
        lun = url.lun
    );
    let events = server.events_in();
    cleanup::on_next_interrupt(move || {
        // The server is gone then, and so is who waits.
        let _ = events.send(Event::Interrupted);
    });
    loop {
        match server.next()? {
            Event::Line(line) => output(&line),
            Event::Interrupted => return Ok(()),
            Event::Ended => anyhow::bail!("the server ended by itself"),
        }
    }
}

/// The parts of `iscsi://ADDRESS:PORT/TARGET/LUN` that clients want.
#[derive(Debug, PartialEq, Eq)]
struct Url {
    /// All of it.
    lun: String,
    /// Without target and LUN.
    portal: String,
    address: SocketAddr,
}

impl Url {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let wrong = || format!("`{text}` is not iscsi://ADDRESS:PORT/TARGET/LUN");
        let rest = text.strip_prefix("iscsi://").with_context(wrong)?;
        let (address, target) = rest.split_once('/').with_context(wrong)?;
        ensure!(target.split('/').count() == 2, wrong());
        Ok(Self {
            lun: text.to_owned(),
            portal: format!("iscsi://{address}"),
            address: address.parse().with_context(wrong)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_taken_apart() {
        let url = Url::parse("iscsi://127.0.0.1:33445/iqn.2026-11.org.lunbox:x/0").unwrap();
        assert_eq!(url.portal, "iscsi://127.0.0.1:33445");
        assert_eq!(url.address.port(), 33445);
        for wrong in [
            "http://127.0.0.1:1/t/0",
            "iscsi://127.0.0.1:1/t",
            "iscsi://host:1/t/0",
            "iscsi://127.0.0.1:1/t/0/1",
        ] {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_average_counts() {
        let text = "will run for 3 seconds.\n\n\r00:00:02 - lba 3, iops current 45046 (175 MB/s), iops average 45046 \
                    (175 MB/s), in_flight 32\riops average 43848 (171 MB/s)      \n\nfinished.\n";
        assert_eq!(average(text), Some((43848, 171)));
        assert_eq!(average("Read16 failed"), None);
    }
}
