//! What help and manual say besides the options: examples, variables and exit statuses.

use std::fmt::Write as _;

use crate::exit::MEANINGS;

/// Command, what it does, and an example; the empty name is `lunbox` itself.
pub const EXAMPLES: &[(&str, &str, &str)] = &[
    ("", "lunbox serve file//tmp/disk.img --size 1G", "a disk in a file, for iSCSI clients of this machine"),
    ("", "lunbox handlers", "what can be written before the slash"),
    ("", "lunbox inspect handler_mine.wasm", "what a component is, and whether it can be served"),
    ("", "lunbox device list", "the kernel's devices that lunboxd serves"),
    ("serve", "lunbox serve file//tmp/disk.img --size 1G", "make the file if it is missing, and serve it"),
    ("serve", "lunbox serve --read-only file//srv/cd.iso --block-size 2048", "what is there, as it is"),
    ("serve", "lunbox serve file//tmp/a file//tmp/b --size 1G,2G", "two LUNs, 0 and 1"),
    ("serve", "lunbox serve --handler handler_mine.wasm mine//tmp/x --size 64M", "a handler of one's own"),
    (
        "serve",
        "lunbox serve --listen 0.0.0.0:3260 --chap-user me --chap-secret-file secret file//srv/disk.img",
        "for other machines",
    ),
    (
        "serve",
        "lunbox serve --json --listen 127.0.0.1:0 file//tmp/disk.img",
        "for scripts: read the URL, send SIGTERM",
    ),
    (
        "inspect",
        "lunbox inspect target/wasm32-unknown-unknown/release/mine.wasm",
        "a component that was just built",
    ),
    ("inspect", "lunbox inspect --json file", "the handler of subtype file, for scripts"),
    ("handlers", "lunbox handlers", "those that are found without being told where"),
    ("handlers", "lunbox handlers --handler-path ./handlers", "those of one directory"),
    ("status", "lunbox status", "is it running, and are all devices served?"),
    (
        "status",
        "lunbox status --json --socket /run/lunbox-test/control.sock",
        "one with --run-dir /run/lunbox-test",
    ),
    ("device", "lunbox device list", "what there is"),
    ("device", "lunbox device show disk", "one of them, with what it was granted"),
    ("device list", "lunbox device list", "for people"),
    ("device list", "lunbox device list --json", "for programs: all that is known of each"),
    ("device show", "lunbox device show user_0/disk", "by its name in configfs"),
    ("device show", "lunbox device show --json disk", "for programs"),
    ("device reset", "lunbox device reset user_0/disk", "it hangs"),
    ("worker", "lunbox worker list", "what there is"),
    ("worker list", "lunbox worker list", "for people"),
    ("worker list", "lunbox worker list --json", "for programs"),
    ("events", "lunbox events", "watch"),
    ("events", "lunbox events --json >> events.log", "keep"),
    ("top", "lunbox top", "watch"),
    ("top", "lunbox top --sort latency --interval 5", "the slowest devices first"),
    ("top", "lunbox top --once --json", "for programs"),
    ("trace", "lunbox trace user_0/disk", "what initiators ask of it"),
    ("trace", "lunbox trace disk --count 1000 --json > commands.json", "some of it, for programs"),
    ("doctor", "lunbox doctor", "what is wrong, and what to do"),
    ("doctor", "lunbox doctor --bundle lunbox.tar.gz", "for a bug report"),
    ("handover", "lunbox handover", "before another version is started"),
    ("policy", "lunbox policy check", "the file that lunboxd reads"),
    ("policy check", "lunbox policy check", "the file that lunboxd reads"),
    (
        "policy check",
        "lunbox policy check new.toml --device 3/disk=file//srv/acme/disk",
        "another, and whose a device is",
    ),
    ("policy example", "lunbox policy example > policy.toml", "to begin with"),
    (
        "completions",
        "lunbox completions bash > ~/.local/share/bash-completion/completions/lunbox",
        "for one user",
    ),
    ("completions", "lunbox completions zsh > \"${fpath[1]}/_lunbox\"", "zsh"),
    ("man", "lunbox man | man -l -", "read the page"),
    ("man", "lunbox man --dir /usr/local/share/man/man1", "install all of them"),
];

/// Variables that matter to any of the commands.
pub const ENVIRONMENT: &[(&str, &str)] = &[
    ("LUNBOX_HANDLER_PATH", "directories with handlers, as --handler-path"),
    ("LUNBOX_CHAP_SECRET", "serve: the CHAP secret, unless --chap-secret-file is given"),
    ("LUNBOX_SOCKET", "the control socket of lunboxd, unless --socket is given"),
    ("RUST_LOG", "what is logged, unless --log-level is given"),
    ("NO_COLOR", "if not empty, no colours; there are none on a pipe anyway"),
    ("XDG_CACHE_HOME", "serve: where compiled handlers are kept (lunbox in it), unless --cache-dir is given"),
];

/// The examples of a command.
pub fn examples(command: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    EXAMPLES.iter().filter(move |example| example.0 == command).map(|example| (example.1, example.2))
}

/// What `--help` of a command ends with.
pub(super) fn help(command: &str) -> String {
    let mut text = "Examples:\n".to_owned();
    for (line, meaning) in examples(command) {
        // Writing into a String can not fail.
        let _ = writeln!(text, "  {line}\n      {meaning}");
    }
    if command.is_empty() {
        text.push_str("\nEnvironment:\n");
        for (name, meaning) in ENVIRONMENT {
            let _ = writeln!(text, "  {name}\n      {meaning}");
        }
    }
    text.push_str("\nExit status:\n");
    for (codes, meaning) in MEANINGS {
        let _ = writeln!(text, "  {codes}\n      {meaning}");
    }
    text.pop();
    text
}
