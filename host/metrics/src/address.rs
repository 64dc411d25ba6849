//! Where metrics are fetched.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Where metrics are fetched. Never anywhere that another machine can reach: the endpoint knows no users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket, for whoever may open it (mode 0600).
    Unix(PathBuf),
    /// A port on a loopback address.
    Tcp(SocketAddr),
}

/// An address that can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is neither of the two forms.
    #[error(
        "metrics = {0:?} is no address; write unix:/run/lunbox/metrics.sock, 127.0.0.1:9287 or [::1]:9287"
    )]
    Malformed(String),
    /// The path of the socket is relative.
    #[error("metrics = {0:?}: the path of the socket must be absolute, as in unix:/run/lunbox/metrics.sock")]
    Relative(String),
    /// Other machines could reach it.
    #[error(
        "metrics = {0:?}: only loopback addresses (127.0.0.1:PORT, [::1]:PORT) are served, because whoever reaches them \
         may read everything; put a proxy before it that knows its users"
    )]
    NotLoopback(String),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let text = text.trim();
        if let Some(path) = text.strip_prefix("unix:") {
            return if !path.starts_with('/') {
                Err(AddressError::Relative(text.to_owned()))
            } else if path.ends_with('/') || path.contains('\0') {
                Err(AddressError::Malformed(text.to_owned()))
            } else {
                Ok(Self::Unix(PathBuf::from(path)))
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| AddressError::Malformed(text.to_owned()))?;
        if address.ip().to_canonical().is_loopback() {
            Ok(Self::Tcp(address))
        } else {
            Err(AddressError::NotLoopback(text.to_owned()))
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_understood_and_told_as_they_were_written() {
        for text in ["unix:/run/lunbox/metrics.sock", "127.0.0.1:9287", "127.8.0.1:1", "[::1]:0"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        assert_eq!(" 127.0.0.1:1 ".parse::<Address>().unwrap().to_string(), "127.0.0.1:1");
    }

    #[test]
    fn what_others_could_reach_is_refused_with_a_remedy() {
        for text in ["0.0.0.0:9287", "10.0.0.1:9287", "[::]:9287", "[::ffff:10.0.0.1]:1", "[fe80::1]:1"] {
            let error = text.parse::<Address>().unwrap_err();
            assert!(matches!(error, AddressError::NotLoopback(_)), "{text}: {error}");
            assert!(error.to_string().contains("127.0.0.1:PORT"), "{error}");
        }
        for text in
            ["", "9287", "localhost:9287", "127.0.0.1", "127.0.0.1:99999", "unix:/", "unix:/a\0b", "tcp:x"]
        {
            let error = text.parse::<Address>().unwrap_err();
            assert!(matches!(error, AddressError::Malformed(_)), "{text}: {error}");
        }
        for text in ["unix:", "unix:metrics.sock"] {
            assert!(matches!(text.parse::<Address>().unwrap_err(), AddressError::Relative(_)), "{text}");
        }
    }
}
