//! `lunbox serve` from its start to its end.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use serde_json::Value;

use support::initiator::Initiator;
use support::{LIMIT, Running, file};

#[test]
fn the_first_line_is_a_url_that_can_be_used_and_sigterm_ends_it_flushed() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("disk");
    let mut server = Running::serve(&[&file(&path), "--size", "1M", "--name", "iqn.2026-11.org.lunbox:t1"]);
    let url = server.line();
    assert!(url.starts_with("iscsi://127.0.0.1:") && url.ends_with("/iqn.2026-11.org.lunbox:t1/0"), "{url}");
    let mut initiator = Initiator::login(&url);
    assert_eq!(initiator.ready(), 0);
    assert_eq!(initiator.write(3, &[0x5a; 512]), 0);
    assert_eq!(initiator.read(3, 512), (vec![0x5a; 512], 0));
    assert_eq!(initiator.read(0, 512), (vec![0; 512], 0));
    drop(initiator);
    assert_eq!(server.terminate(), Some(0));
    let contents = fs::read(&path).unwrap();
    assert_eq!(contents[3 * 512..4 * 512], [0x5a; 512]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // And again, with the size that it has now: the same, although only its beginning was written to.
    let mut server = Running::serve(&[&file(&path), "--json"]);
    let told: Value = serde_json::from_str(&server.line()).unwrap();
    assert_eq!(told["luns"][0]["size"], 1 << 20);
    let mut initiator = Initiator::login(told["luns"][0]["url"].as_str().unwrap());
    assert_eq!(initiator.read(3, 512), (vec![0x5a; 512], 0));
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_file_without_data_becomes_as_long_as_the_lun_and_one_with_data_stays() {
    let place = tempfile::tempdir().unwrap();
    let [new, empty, data] = ["new", "empty", "data"].map(|name| place.path().join(name));
    fs::write(&empty, "").unwrap();
    fs::write(&data, [7; 512]).unwrap();
    let mut server = Running::serve(&[&file(&new), &file(&empty), &file(&data), "--size", "1G"]);
    server.line();
    for path in [&new, &empty] {
        let metadata = fs::metadata(path).unwrap();
        assert_eq!(metadata.len(), 1 << 30);
        assert!(metadata.blocks() < 2048, "sparse: {} blocks", metadata.blocks());
    }
    assert_eq!(fs::read(&data).unwrap(), [7; 512]);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn compiled_handlers_are_kept_where_it_was_asked_for() {
    let place = tempfile::tempdir().unwrap();
    let cache = place.path().join("cache");
    let spec = file(&place.path().join("disk"));
    let mut server = Running::serve(&[&spec, "--size", "1M", "--cache-dir", cache.to_str().unwrap()]);
    server.line();
    assert_eq!(server.terminate(), Some(0));
    assert_eq!(fs::read_dir(&cache).unwrap().count(), 1);
}

#[test]
fn a_signal_ends_a_start_that_waits() {
    let place = tempfile::tempdir().unwrap();
    let [disk, secret] = ["disk", "secret"].map(|name| place.path().join(name));
    nix::unistd::mkfifo(&secret, Mode::S_IRWXU).unwrap();
    let path = secret.to_str().unwrap();
    let mut server =
        Running::serve(&[&file(&disk), "--size", "1M", "--chap-user", "me", "--chap-secret-file", path]);
    // Opens only when somebody reads; then that one waits for what is never written.
    let deadline = Instant::now() + LIMIT;
    let nonblocking = OFlag::O_NONBLOCK.bits();
    let _writer = loop {
        match fs::File::options().write(true).custom_flags(nonblocking).open(&secret) {
            Ok(file) => break file,
            Err(error) => assert_eq!(error.raw_os_error(), Some(Errno::ENXIO as i32), "{error}"),
        }
        assert!(Instant::now() < deadline, "nobody reads the secret");
        std::thread::sleep(Duration::from_millis(5));
    };
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(143));
    let errors = server.errors();
    assert!(errors.contains("error: ended by a signal before anything was served"), "{errors}");
    assert!(!disk.exists());
}

#[test]
fn a_program_that_does_not_read_keeps_nobody_from_ending_it() {
    let place = tempfile::tempdir().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let set = |flags| {
        fcntl(&reader, FcntlArg::F_SETPIPE_SZ(4096)).and_then(|_| fcntl(&writer, FcntlArg::F_SETFL(flags)))
    };
    set(OFlag::O_NONBLOCK).unwrap();
    while (&writer).write(&[b'\n'; 4096]).is_ok() {}
    set(OFlag::empty()).unwrap();
    writer.flush().unwrap();
    let spec = file(&place.path().join("disk"));
    let arguments = [
        &spec,
        "--size",
        "1M",
        "--json",
        "--status-interval",
        "0.1",
        "--stats-on-exit",
        "--log-level",
        "info",
    ];
    let mut server = Running::serve_writing_to(writer.into(), &arguments);
    server.error_with(" serving ");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(0));
    assert!(server.errors().contains("nobody reads stdout"));
    drop(reader);
}

#[test]
fn every_ending_signal_ends_it() {
    let place = tempfile::tempdir().unwrap();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let mut server = Running::serve(&[&file(&place.path().join("disk")), "--size", "1M"]);
        server.line();
        server.signal(signal);
        assert_eq!(server.wait().code(), Some(0), "{signal}");
    }
}

#[test]
fn under_nohup_it_survives_its_terminal() {
    let place = tempfile::tempdir().unwrap();
    let mut server = Running::serve_under_nohup(&file(&place.path().join("disk")));
    let url = server.line();
    server.signal(Signal::SIGHUP);
    // Had the signal been taken, it would have been the one that ends it, and the next one would give up.
    assert_eq!(Initiator::login(&url).ready(), 0);
    assert_eq!(server.terminate(), Some(0));
}

#[test]
fn a_second_signal_gives_up() {
    let place = tempfile::tempdir().unwrap();
    let mut server = Running::serve(&[&file(&place.path().join("disk")), "--size", "1M"]);
    // An initiator that does not log out when it is asked to: the server waits for it.
    let _initiator = Initiator::login(&server.line());
    server.signal(Signal::SIGINT);
    server.error_with("stopping");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait().code(), Some(143));
    let errors = server.errors();
    assert!(errors.contains("error: ended by a second signal") && errors.contains("0 (file/"), "{errors}");
}

#[test]
fn an_initiator_that_stays_does_not_make_the_end_a_failure() {
    let place = tempfile::tempdir().unwrap();
    let mut server = Running::serve(&[&file(&place.path().join("disk")), "--size", "1M"]);
    let mut initiator = Initiator::login(&server.line());
    assert_eq!(initiator.ready(), 0);
    assert_eq!(initiator.write(0, &[7; 512]), 0);
    assert_eq!(server.terminate(), Some(0), "{}", server.errors());
}

#[test]
fn json_tells_everything_and_then_the_status_and_the_totals() {
    let place = tempfile::tempdir().unwrap();
    let paths = [place.path().join("a"), place.path().join("b")];
    let mut server = Running::serve(&[
        &file(&paths[0]),
        &file(&paths[1]),
        "--json",
        "--size",
        "1M,2M",
        "--block-size",
        "4096",
        "--tmr",
        "--status-interval",
        "0.1",
        "--stats-on-exit",
    ]);
    let first: Value = serde_json::from_str(&server.line()).unwrap();
    let luns = first["luns"].as_array().unwrap();
    assert_eq!(luns.len(), 2);
    for (number, lun) in luns.iter().enumerate() {
        assert_eq!(lun["lun"], number);
        assert_eq!(lun["size"], (number + 1) << 20);
        assert_eq!(lun["block_size"], 4096);
        assert_eq!(lun["read_only"], false);
        assert_eq!(lun["created"], true);
        assert_eq!(lun["subtype"], "file");
        assert_eq!(lun["config"], file(&paths[number]));
        let url = lun["url"].as_str().unwrap();
        assert_eq!(
            url,
            format!(
                "iscsi://{}/{}/{number}",
                first["address"].as_str().unwrap(),
                first["target"].as_str().unwrap()
            )
        );
        let mut initiator = Initiator::login(url);
        assert_eq!(initiator.ready(), 0);
        assert_eq!(initiator.write(1, &[1; 4096]), 0);
        assert_eq!(initiator.serial(), lun["serial"].as_str().unwrap());
    }
    assert_ne!(luns[0]["serial"], luns[1]["serial"]);
    let status: Value = serde_json::from_str(&server.line()).unwrap();
    assert_eq!(status["status"]["luns"].as_array().unwrap().len(), 2);
    assert_eq!(status["status"]["luns"][1]["health"], "serving");
    assert_eq!(server.terminate(), Some(0));
    let rest = server.rest();
    let totals: Value = serde_json::from_str(rest.lines().last().unwrap()).unwrap();
    for lun in totals["totals"]["luns"].as_array().unwrap() {
        assert_eq!(
            (&lun["writes"], &lun["bytes_written"], &lun["faults"]),
            (&1.into(), &4096.into(), &0.into())
        );
    }
    assert_eq!(fs::metadata(&paths[1]).unwrap().len(), 2 << 20);
}

#[test]
fn read_only_luns_refuse_writes_and_may_share_a_file() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("disk");
    fs::write(&path, [9; 4096]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    let mut server = Running::serve(&[&file(&path), &file(&path), "--read-only"]);
    let (first, second) = (server.line(), server.line());
    for url in [first, second] {
        let mut initiator = Initiator::login(&url);
        assert_eq!(initiator.ready(), 0);
        assert_eq!(initiator.write(0, &[1; 512]), 2, "CHECK CONDITION");
        assert_eq!(initiator.read(7, 512), (vec![9; 512], 0));
    }
    // Another process may read it, too.
    let mut other = Running::serve(&[&file(&path), "--read-only"]);
    other.line();
    assert_eq!((server.terminate(), other.terminate()), (Some(0), Some(0)));
    assert_eq!(fs::read(&path).unwrap(), [9; 4096]);
}

#[test]
fn totals_are_told_to_people_on_stderr() {
    let place = tempfile::tempdir().unwrap();
    let mut server = Running::serve(&[&file(&place.path().join("disk")), "--size", "1M", "--stats-on-exit"]);
    let mut initiator = Initiator::login(&server.line());
    assert_eq!(initiator.ready(), 0);
    assert_eq!(initiator.read(0, 512).1, 0);
    drop(initiator);
    assert_eq!(server.terminate(), Some(0));
    let errors = server.errors();
    assert!(errors.contains("LUN 0: 1 reads (0.0 MB), 0 writes"), "{errors}");
    assert!(!errors.contains('\x1b'), "no colours and no live line on a pipe: {errors:?}");
}
