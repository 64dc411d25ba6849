//! Where the CHAP secret comes from.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};
use lunbox_iscsi::chap::{Credentials, Secret};

use crate::output::Output;

/// The variable that may hold the secret.
pub(super) const VARIABLE: &str = "LUNBOX_CHAP_SECRET";

/// Longest file that is read: no secret is longer, and a wrong file need not be read in full.
const MAX_FILE: u64 = 4096;

/// Longest CHAP_N (RFC 7143 6.1, text values).
const MAX_USER: usize = 255;

/// What initiators have to prove, if a user was named. `variable` is the value of [`VARIABLE`]; a file wins over it.
/// Warns of a file that others may read.
///
/// # Errors
/// No secret, or one that is too short, too long or can not be read.
pub(super) fn credentials(
    user: Option<&str>,
    file: Option<&Path>,
    variable: Option<OsString>,
    output: &Output,
) -> anyhow::Result<Option<Credentials>> {
    let Some(user) = user else {
        if variable.is_some() {
            output.warning(&format!(
                "{VARIABLE} is set but not used: nobody has to log in without --chap-user"
            ));
        }
        return Ok(None);
    };
    if user.is_empty() || user.len() > MAX_USER || user.chars().any(char::is_control) {
        bail!("--chap-user: 1 to {MAX_USER} bytes without control characters; choose another name");
    }
    let (secret, source) = match (file, variable) {
        (Some(path), _) => (from_file(path, output)?, format!("--chap-secret-file {}", path.display())),
        (None, Some(value)) => (value.into_vec(), VARIABLE.to_owned()),
        (None, None) => bail!(
            "--chap-user needs a secret; write it into a file that only you can read and name that with \
             --chap-secret-file, or set {VARIABLE}"
        ),
    };
    let secret = Secret::new(secret).with_context(|| source)?;
    Ok(Some(Credentials { user: user.to_owned(), secret }))
}

fn from_file(path: &Path, output: &Output) -> anyhow::Result<Vec<u8>> {
    let place = || format!("--chap-secret-file {}", path.display());
    // A FIFO is fine (`<(pass show …)`), so the file is not checked for being a regular one; it may block.
    let file = File::open(path)
        .with_context(|| format!("{}; create it with a secret of 12 bytes or more", place()))?;
    let mode = file.metadata().with_context(place)?.permissions().mode();
    if mode & 0o077 != 0 && fs::metadata(path).is_ok_and(|metadata| metadata.is_file()) {
        output.warning(&format!(
            "{} can be read by others (mode {:o}); chmod 600 it",
            path.display(),
            mode & 0o777
        ));
    }
    let mut secret = Vec::new();
    file.take(MAX_FILE).read_to_end(&mut secret).with_context(place)?;
    for end in [b'\n', b'\r'] {
        if secret.last() == Some(&end) {
            secret.pop();
        }
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(
        user: Option<&str>,
        file: Option<&[u8]>,
        variable: Option<&str>,
    ) -> Result<Option<String>, String> {
        let place = tempfile::NamedTempFile::new().unwrap();
        let path = file.map(|contents| {
            fs::write(place.path(), contents).unwrap();
            place.path()
        });
        credentials(user, path, variable.map(OsString::from), &Output::new(false))
            .map(|found| found.map(|credentials| credentials.user))
            .map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_secret_comes_from_a_file_or_a_variable() {
        assert_eq!(judge(None, None, Some("twelve bytes")), Ok(None));
        assert_eq!(judge(Some("me"), None, Some("twelve bytes")), Ok(Some("me".to_owned())));
        assert_eq!(judge(Some("me"), Some(b"twelve bytes\r\n"), Some("short")), Ok(Some("me".to_owned())));
        // Any bytes are a secret.
        let bytes = OsString::from_vec(b"\xff twelve bytes".to_vec());
        assert!(credentials(Some("me"), None, Some(bytes), &Output::new(false)).unwrap().is_some());
        // The line break does not count.
        assert!(judge(Some("me"), Some(b"eleven byte\n"), None).unwrap_err().contains("11 bytes"));
    }

    #[test]
    fn a_user_without_a_good_secret_is_refused_with_a_remedy() {
        let error = judge(Some("me"), None, None).unwrap_err();
        assert!(error.contains("--chap-secret-file") && error.contains(VARIABLE), "{error}");
        let error = judge(Some("me"), None, Some("short")).unwrap_err();
        assert!(error.contains(VARIABLE) && error.contains("12") && !error.contains("short;"), "{error}");
        assert!(judge(Some("me"), Some(&[b'x'; 300]), None).unwrap_err().contains("--chap-secret-file"));
        for user in ["", "a\nb"] {
            assert!(judge(Some(user), None, Some("twelve bytes")).unwrap_err().contains("--chap-user"));
        }
        let missing = credentials(Some("me"), Some(Path::new("/no/secret")), None, &Output::new(false));
        assert!(format!("{:#}", missing.unwrap_err()).contains("/no/secret"));
    }
}
