//! Who has a name on the system bus.

use std::io;
use std::process::{Command, Stdio};

/// Who has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// Nobody.
    Nobody,
    /// A process.
    Process(i32),
    /// There is no busctl to ask with.
    NoTool,
    /// Asking failed: why.
    Unknown(String),
}

/// What a program said.
#[derive(Debug, Default)]
struct Said {
    success: bool,
    stdout: String,
    stderr: String,
}

impl Said {
    /// The value behind busctl's word for its type.
    fn value(&self, kind: &str) -> Result<&str, String> {
        let value = self.stdout.trim().strip_prefix(kind).map(str::trim).filter(|_| self.success);
        value.ok_or_else(|| match (self.stderr.trim(), self.stdout.trim()) {
            ("", said) => format!("busctl said {said:?}"),
            (trouble, _) => trouble.to_owned(),
        })
    }
}

/// Asks the bus; ten seconds at the most.
pub(super) fn owner(name: &str) -> Owner {
    ask(|method| {
        let asked = Command::new("busctl")
            .args(["--system", "--timeout=5", "call", "org.freedesktop.DBus", "/org/freedesktop/DBus"])
            .args(["org.freedesktop.DBus", method, "s", name])
            .stdin(Stdio::null())
            .output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Said { success: asked.status.success(), stdout: text(&asked.stdout), stderr: text(&asked.stderr) })
    })
}

/// Two questions: what the bus says of a process that is not there is a sentence, and each bus has its own.
fn ask(mut call: impl FnMut(&str) -> io::Result<Said>) -> Owner {
    let said = match call("NameHasOwner") {
        Ok(said) => said,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Owner::NoTool,
        Err(error) => return Owner::Unknown(error.to_string()),
    };
    match said.value("b") {
        Ok("false") => return Owner::Nobody,
        Ok("true") => {}
        Ok(other) => return Owner::Unknown(format!("busctl said {other:?}")),
        Err(trouble) => return Owner::Unknown(trouble),
    }
    match call("GetConnectionUnixProcessID") {
        Ok(said) => match said.value("u").map(str::parse) {
            Ok(Ok(pid)) => Owner::Process(pid),
            Ok(Err(_)) => Owner::Unknown(format!("busctl said {:?}", said.stdout.trim())),
            Err(trouble) => Owner::Unknown(trouble),
        },
        Err(error) => Owner::Unknown(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(stdout: &str) -> io::Result<Said> {
        Ok(Said { success: true, stdout: stdout.to_owned(), ..Said::default() })
    }

    fn bad(stderr: &str) -> io::Result<Said> {
        Ok(Said { stderr: stderr.to_owned(), ..Said::default() })
    }

    #[test]
    fn a_name_that_nobody_has_is_found() {
        let answer = ask(|method| {
            assert_eq!(method, "NameHasOwner", "there is no process to ask for");
            good("b false\n")
        });
        assert_eq!(answer, Owner::Nobody);
    }

    #[test]
    fn the_process_that_has_a_name_is_found() {
        let answer = ask(|method| good(if method == "NameHasOwner" { "b true\n" } else { "u 1234\n" }));
        assert_eq!(answer, Owner::Process(1234));
    }

    #[test]
    fn a_question_that_fails_is_not_taken_for_an_answer() {
        let text = "Could not get PID of name 'org.kernel.TCMUService1': no such name";
        let gone = ask(|method| if method == "NameHasOwner" { good("b true\n") } else { bad(text) });
        assert_eq!(gone, Owner::Unknown(text.to_owned()), "it has just gone");
        let text = "Failed to connect to bus: No such file or directory";
        assert_eq!(ask(|_| bad(text)), Owner::Unknown(text.to_owned()));
        assert_eq!(ask(|_| Err(io::ErrorKind::NotFound.into())), Owner::NoTool);
        assert!(matches!(ask(|_| Err(io::ErrorKind::PermissionDenied.into())), Owner::Unknown(_)));
        assert!(matches!(ask(|_| good("s \"x\"")), Owner::Unknown(_)));
        assert!(matches!(ask(|_| good("")), Owner::Unknown(_)));
    }
}
