//! What people see on a terminal: a live status line, and colours unless they do not want them.

mod support;

use std::fs;

use support::initiator::Initiator;
use support::terminal::Terminal;
use support::{file, handler};

#[test]
fn a_live_line_tells_the_status_and_makes_room_for_others() {
    let place = tempfile::tempdir().unwrap();
    let spec = file(&place.path().join("disk"));
    let arguments = [&spec, "--size", "1M", "--status-interval", "0.1", "--stats-on-exit"];
    let mut terminal = Terminal::serve(&arguments);
    terminal.shows("waiting for initiators");
    let shown = terminal.shows("0 sessions");
    let url = shown.lines().find(|line| line.starts_with("iscsi://")).expect("the URL has a line of its own");
    let mut initiator = Initiator::login(url.trim_end());
    assert_eq!(initiator.ready(), 0);
    assert_eq!(initiator.write(0, &[1; 512]), 0);
    terminal.shows("1 session ·");
    drop(initiator);
    terminal.interrupt();
    let (status, shown) = terminal.end();
    assert_eq!(status, Some(0), "{shown:?}");
    assert!(shown.contains(" IOPS ·") && shown.contains("0 traps"), "{shown:?}");
    let end = &shown[shown.find("stopping: ").expect("it says that it stops")..];
    assert!(end.contains("LUN 0: 0 reads") && end.contains("1 writes"), "{end:?}");
    assert!(!end.contains("session"), "the live line is gone: {end:?}");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_want_them() {
    let handler = handler();
    let wrong = ["serve", "fiel//x", "--handler", handler.to_str().unwrap()];
    let folder = tempfile::tempdir().unwrap();
    fs::copy(&handler, folder.path().join("handler_file.wasm")).unwrap();
    let list = ["handlers", "--handler-path", folder.path().to_str().unwrap()];
    for (arguments, status, coloured) in
        [(&wrong[..], 1, "\x1b[1;31merror:\x1b[0m LUN 0"), (&list[..], 0, "\x1b[1mSUBTYPE")]
    {
        let (ended, shown) = Terminal::run(arguments, &[]).end();
        assert_eq!(ended, Some(status), "{shown:?}");
        assert!(shown.contains(coloured), "{shown:?}");
        for unwanted in [("NO_COLOR", "1"), ("TERM", "dumb")] {
            let (ended, shown) = Terminal::run(arguments, &[unwanted]).end();
            assert_eq!(ended, Some(status), "{shown:?}");
            assert!(shown.contains("error: ") || shown.contains("SUBTYPE"), "{shown:?}");
            assert!(!shown.contains('\x1b'), "{unwanted:?}: {shown:?}");
        }
    }
}
