//! Fetching metrics as Prometheus and curl do, and as those do who mean no good.

#![allow(clippy::unwrap_used, reason = "helpers of tests may say what they expect, as tests may")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lunbox_metrics::{Address, CONTENT_TYPE, Endpoint, Family, Source, Value};

const LIMIT: Duration = Duration::from_secs(30);

/// Counts how often it is asked, and says as much as is wanted.
#[derive(Default)]
struct Counting {
    asked: AtomicU64,
    samples: u64,
}

impl Source for Counting {
    fn collect(&self) -> Vec<Family> {
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let mut family = Family::new("test_asked", "How often.").with(Vec::new(), Value::Counter(asked));
        for sample in 0..self.samples {
            family.push(vec![("number", format!("{sample:0>1000}"))], Value::Counter(sample));
        }
        vec![family]
    }
}

fn tcp(source: Counting) -> (Endpoint, std::net::SocketAddr) {
    let endpoint = Endpoint::start(
        &"127.0.0.1:0".parse().expect("the test can use sockets of this machine"),
        Arc::new(source),
    )
    .expect("the test can use sockets of this machine");
    let Address::Tcp(at) = endpoint.address().clone() else { panic!("a port was asked for") };
    assert_ne!(at.port(), 0);
    (endpoint, at)
}

fn connect(at: std::net::SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(at).expect("the test can use sockets of this machine");
    stream.set_read_timeout(Some(LIMIT)).expect("the test can use sockets of this machine");
    stream
}

fn fetch(mut stream: impl Read + Write, request: &[u8]) -> (String, String) {
    stream.write_all(request).expect("the test can use sockets of this machine");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the test can use sockets of this machine");
    let (head, body) = answer.split_once("\r\n\r\n").expect("the test can use sockets of this machine");
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("Content-Length: "))
        .expect("the test can use sockets of this machine");
    if !request.starts_with(b"HEAD") {
        assert_eq!(length.parse(), Ok(body.len()), "{head}");
    }
    (head.to_owned(), body.to_owned())
}

const GET: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n";

#[test]
fn over_a_unix_socket_that_is_its_owners_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("metrics.sock");
    let address: Address = format!("unix:{}", path.display()).parse().unwrap();
    let endpoint = Endpoint::start(&address, Arc::new(Counting::default())).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let (head, body) = fetch(UnixStream::connect(&path).unwrap(), GET);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains(CONTENT_TYPE), "{head}");
    assert!(body.contains("test_asked_total 1\n") && body.ends_with("# EOF\n"), "{body}");
    let error = Endpoint::start(&address, Arc::new(Counting::default())).unwrap_err().to_string();
    assert!(error.contains("metrics.sock") && error.contains("tcmu.conf"), "{error}");
    drop(endpoint);
    assert!(!path.exists(), "its socket goes with it");
}

#[test]
fn over_a_port_and_whatever_else_is_asked() {
    let (_endpoint, at) = tcp(Counting::default());
    assert!(fetch(connect(at), GET).1.contains("test_asked_total"));
    for (request, status) in [
        (&b"GET / HTTP/1.0\r\n\r\n"[..], "404"),
        (b"POST /metrics HTTP/1.1\r\nContent-Length: 0\r\n\r\n", "405"),
        (b"\x16\x03\x01\x02\n\n", "400"),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", "200"),
    ] {
        let (head, _) = fetch(connect(at), request);
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    let (head, _) = fetch(connect(at), &[b'x'; 8 << 10]);
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
}

#[test]
fn many_who_fetch_at_once_are_collected_for_once() {
    let (_endpoint, at) = tcp(Counting::default());
    let began = Instant::now();
    let mut last = String::new();
    for _ in 0..50 {
        last = fetch(connect(at), GET).1;
    }
    let asked: u64 =
        last.lines().find_map(|line| line.strip_prefix("test_asked_total ")).unwrap().parse().unwrap();
    let most = began.elapsed().as_secs() + 2;
    assert!(asked <= most, "{asked} collections in {:?}", began.elapsed());
}

#[test]
fn those_who_do_not_ask_or_read_hold_up_nobody() {
    // More than the sockets' buffers hold.
    let (_endpoint, at) = tcp(Counting { samples: 20_000, ..Counting::default() });
    let silent: Vec<TcpStream> = (0..20).map(|_| connect(at)).collect();
    let greedy: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(at);
            stream.write_all(GET).unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    let (head, body) = fetch(connect(at), GET);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.ends_with("# EOF\n") && body.len() > 20_000_000, "{}", body.len());
    assert!(
        began.elapsed() < Duration::from_secs(9),
        "{:?}: nobody's deadline was waited for",
        began.elapsed()
    );
    drop((silent, greedy));
}

#[test]
fn who_says_nothing_is_ended() {
    let (_endpoint, at) = tcp(Counting::default());
    let mut silent = connect(at);
    silent.write_all(b"GET /metr").unwrap();
    // Its end comes from the deadline alone: no other connection makes room for itself here.
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
}

#[test]
fn its_end_does_not_wait_for_peers() {
    let (endpoint, at) = tcp(Counting { samples: 20_000, ..Counting::default() });
    let mut greedy = connect(at);
    greedy.write_all(GET).unwrap();
    let mut first = [0];
    greedy.read_exact(&mut first).unwrap();
    let began = Instant::now();
    drop(endpoint);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
