//! `lunbox` on a terminal of its own, which script(1) makes.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::{LIMIT, LUNBOX, complete, handler, serve, undisturbed};

/// A command whose stdin, stdout and stderr are one terminal, 200 columns wide; killed when dropped.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    /// Runs a command with variables set.
    pub fn run(arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let arguments = complete(arguments).into_iter().map(str::to_owned).collect::<Vec<_>>();
        Self::spawn(&arguments, variables)
    }

    /// Starts `lunbox serve` with the `file` handler on a free port.
    pub fn serve(arguments: &[&str]) -> Self {
        Self::spawn(&serve(&handler(), arguments), &[])
    }

    fn spawn(arguments: &[String], variables: &[(&str, &str)]) -> Self {
        let mut line = format!("stty cols 200 && exec '{LUNBOX}'");
        for argument in arguments {
            assert!(!argument.contains('\''), "{argument} can not be quoted so simply");
            line.push_str(&format!(" '{argument}'"));
        }
        let mut command = undisturbed("script");
        command.env("TERM", "xterm").envs(variables.iter().copied());
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("script (of bsdutils or util-linux) is installed");
        let keys = child.stdin.take().expect("it is piped");
        let mut stream = child.stdout.take().expect("it is piped");
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                if send.send(bytes[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, keys, output, seen: String::new() }
    }

    /// Waits until a text has been shown; returns everything that was shown so far.
    pub fn shows(&mut self, text: &str) -> &str {
        let deadline = Instant::now() + LIMIT;
        while !self.seen.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("{text:?} was not shown: {:?}", self.seen),
            }
        }
        &self.seen
    }

    /// Presses Ctrl-C.
    pub fn interrupt(&mut self) {
        self.keys.write_all(b"\x03").expect("script reads keys");
    }

    /// Waits for the end; the status and everything that was shown.
    pub fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(5));
        };
        while let Ok(bytes) = self.output.recv_timeout(LIMIT) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (status.code(), std::mem::take(&mut self.seen))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended. The terminal goes with script, and that ends what runs on it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
