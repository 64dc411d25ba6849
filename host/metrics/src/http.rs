//! As much of HTTP/1.1 (RFC 9112) as one resource needs: a head comes, an answer goes, the connection ends.

use crate::family::CONTENT_TYPE;

/// Longest head of a request, in bytes.
pub(crate) const HEAD_BYTES: usize = 8 << 10;

/// What a head asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// There is more to come.
    Unfinished,
    /// The metrics.
    Metrics {
        /// Only how long they are.
        head_only: bool,
    },
    /// Nothing that is here: the status to say so.
    Refused(&'static str),
}

/// Understands what has come so far.
pub(crate) fn understand(come: &[u8]) -> Asked {
    let ended = come.windows(4).any(|end| end == b"\r\n\r\n") || come.windows(2).any(|end| end == b"\n\n");
    if !ended {
        return if come.len() >= HEAD_BYTES {
            Asked::Refused("431 Request Header Fields Too Large")
        } else {
            Asked::Unfinished
        };
    }
    let line = come.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next()) else {
        return Asked::Refused("400 Bad Request");
    };
    if !version.starts_with(b"HTTP/1.") {
        return Asked::Refused("400 Bad Request");
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    match (method, path) {
        (b"GET", b"/metrics") => Asked::Metrics { head_only: false },
        (b"HEAD", b"/metrics") => Asked::Metrics { head_only: true },
        (b"GET" | b"HEAD", _) => Asked::Refused("404 Not Found"),
        _ => Asked::Refused("405 Method Not Allowed"),
    }
}

/// An answer with the metrics.
pub(crate) fn metrics(text: &str, head_only: bool) -> Vec<u8> {
    answer("200 OK", CONTENT_TYPE, text, head_only)
}

/// An answer without.
pub(crate) fn refusal(status: &str) -> Vec<u8> {
    answer(
        status,
        "text/plain; charset=utf-8",
        &format!("{status}; the metrics are at GET /metrics\n"),
        false,
    )
}

fn answer(status: &str, kind: &str, body: &str, head_only: bool) -> Vec<u8> {
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}Cache-Control: no-store\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes();
    if !head_only {
        answer.extend_from_slice(body.as_bytes());
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_understood() {
        let plain = Asked::Metrics { head_only: false };
        for (come, asked) in [
            (&b""[..], Asked::Unfinished),
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\n", Asked::Unfinished),
            (b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", plain),
            (b"GET /metrics HTTP/1.0\n\n", plain),
            (b"GET /metrics?name=x HTTP/1.1\r\n\r\n", plain),
            (b"HEAD /metrics HTTP/1.1\r\n\r\n", Asked::Metrics { head_only: true }),
            (b"GET / HTTP/1.1\r\n\r\n", Asked::Refused("404 Not Found")),
            (b"GET /metrics/../x HTTP/1.1\r\n\r\n", Asked::Refused("404 Not Found")),
            (b"POST /metrics HTTP/1.1\r\n\r\n", Asked::Refused("405 Method Not Allowed")),
            (b"GET /metrics\r\n\r\n", Asked::Refused("400 Bad Request")),
            (b"GET /metrics HTTP/2 x\r\n\r\n", Asked::Refused("400 Bad Request")),
            (b"GET /metrics HTTP/2\r\n\r\n", Asked::Refused("400 Bad Request")),
            (b"\0\xff\n\n", Asked::Refused("400 Bad Request")),
            (b"\n\n", Asked::Refused("400 Bad Request")),
        ] {
            assert_eq!(understand(come), asked, "{}", come.escape_ascii());
        }
        assert_eq!(understand(&[b'x'; HEAD_BYTES - 1]), Asked::Unfinished);
        assert!(
            matches!(understand(&[b'x'; HEAD_BYTES]), Asked::Refused(status) if status.starts_with("431"))
        );
    }

    #[test]
    fn answers_have_their_length() {
        let text = String::from_utf8(metrics("abc\n", false)).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("\r\n\r\nabc\n"), "{text}");
        assert!(text.contains("Content-Length: 4\r\n") && text.contains(CONTENT_TYPE), "{text}");
        let head = String::from_utf8(metrics("abc\n", true)).unwrap();
        assert!(head.contains("Content-Length: 4\r\n") && head.ends_with("\r\n\r\n"), "{head}");
        let refused = String::from_utf8(refusal("405 Method Not Allowed")).unwrap();
        assert!(refused.contains("Allow: GET") && refused.contains("/metrics\n"), "{refused}");
    }
}
