//! `lunbox top`: what devices do, as it changes.

mod rates;

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::thread;
use std::time::{Duration, Instant};

use lunbox_control::{Answer, Client, ClientError, Request, StatisticsReport};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;

use crate::cli::{SortKey, Top};
use crate::exit::Exit;
use crate::human;
use crate::output::{Output, print_json, print_line};
use crate::table::{self, Align};

use rates::{Rates, between};

/// One look, in JSON.
#[derive(Serialize)]
struct Look<'a> {
    at: u64,
    devices: &'a [Rates],
    unanswered: &'a [String],
}

/// Prints rates again and again, until somebody has seen enough.
///
/// # Errors
/// A daemon that does not answer at the beginning, or refuses; stdout's.
pub fn run(options: &Top, output: &Output) -> anyhow::Result<Exit> {
    // Whoever names a wrong socket wants to know it at once; a daemon that is restarted later is waited for.
    let mut before = ask(options)?;
    let live = !options.once && !output.is_json() && io::stdout().is_terminal();
    let mut looks = 0_u64;
    let mut waiting = false;
    loop {
        if wait(options.interval, live) {
            return Ok(Exit::Ok);
        }
        let now = match ask(options) {
            Ok(now) => now,
            Err(error) if options.once || !may_come_back(&error) => return Err(error.into()),
            Err(error) => {
                if !std::mem::replace(&mut waiting, true) {
                    output.warning(&format!("{error}; waiting for it"));
                }
                continue;
            }
        };
        waiting = false;
        let mut rates = between(&before, &now);
        sort(&mut rates, options.sort);
        show(&now, &rates, live, output)?;
        before = now;
        looks += 1;
        if options.once || options.count == Some(looks) {
            return Ok(Exit::Ok);
        }
    }
}

fn ask(options: &Top) -> Result<StatisticsReport, ClientError> {
    let mut client = Client::connect(&options.daemon.socket)?;
    match client.ask(&Request::Statistics)? {
        Answer::Statistics(report) => Ok(*report),
        other => Err(client.unexpected(&Request::Statistics, &other)),
    }
}

/// The daemon is being restarted, or has much to do.
fn may_come_back(error: &ClientError) -> bool {
    matches!(error, ClientError::NotRunning(_) | ClientError::Gone | ClientError::Silent | ClientError::Io(_))
}

/// Waits until it is time for the next look; true if somebody wants no more. The terminal is left in its mode, so that
/// nothing is to be put right whatever ends us; hence the Enter behind the q.
fn wait(interval: Duration, live: bool) -> bool {
    let stdin = io::stdin();
    if !live || !stdin.is_terminal() {
        thread::sleep(interval);
        return false;
    }
    let deadline = Instant::now() + interval;
    loop {
        let rest = deadline.saturating_duration_since(Instant::now());
        if rest.is_zero() {
            return false;
        }
        let mut fds = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        let ready = poll(&mut fds, PollTimeout::try_from(rest).unwrap_or(PollTimeout::MAX));
        if ready.is_ok_and(|ready| ready > 0) {
            let mut line = String::new();
            // The end of stdin is an end, too.
            match stdin.lock().read_line(&mut line) {
                Ok(length) if length > 0 && !line.trim().eq_ignore_ascii_case("q") => {}
                _ => return true,
            }
        }
    }
}

fn sort(rates: &mut [Rates], key: SortKey) {
    // The largest first; those that are equal stay in the order of their names.
    rates.sort_by_cached_key(|rates| super::device::order(&rates.device));
    match key {
        SortKey::Name => {}
        SortKey::Iops => rates.sort_by_key(|rates| std::cmp::Reverse(rates.iops)),
        SortKey::Bandwidth => {
            rates.sort_by_key(|rates| {
                std::cmp::Reverse(rates.read_bytes_per_s.saturating_add(rates.write_bytes_per_s))
            });
        }
        SortKey::Latency => rates.sort_by_key(|rates| std::cmp::Reverse(rates.service.p99_ns)),
        SortKey::Errors => rates.sort_by_key(|rates| std::cmp::Reverse(rates.errors)),
        SortKey::Cpu => rates.sort_by_key(|rates| std::cmp::Reverse(rates.cpu_permille)),
    }
}

fn show(now: &StatisticsReport, rates: &[Rates], live: bool, output: &Output) -> anyhow::Result<()> {
    if output.is_json() {
        return print_json(&Look { at: now.at, devices: rates, unanswered: &now.unanswered });
    }
    if live {
        // From the top, and nothing below.
        let mut out = io::stdout().lock();
        out.write_all(b"\x1b[H\x1b[J")?;
        out.flush()?;
    }
    let silent = if now.unanswered.is_empty() {
        String::new()
    } else {
        format!(", no answer from the workers of {}", now.unanswered.join(", "))
    };
    let quit = if live { " (q and Enter ends)" } else { "" };
    let silent = crate::output::printable(&silent);
    print_line(&format!(
        "{}  {} devices{silent}{quit}",
        human::time(now.at),
        human::count(to_u64(rates.len()))
    ))?;
    let heads = [
        ("DEVICE", Align::Left),
        ("HEALTH", Align::Left),
        ("IOPS", Align::Right),
        ("READ/s", Align::Right),
        ("WRITE/s", Align::Right),
        ("QUEUE", Align::Right),
        ("p99", Align::Right),
        ("SERVICE", Align::Right),
        ("p99", Align::Right),
        ("IN FLIGHT", Align::Right),
        ("ERRORS", Align::Right),
        ("CPU", Align::Right),
    ];
    table::print(heads, &rates.iter().map(row).collect::<Vec<_>>(), output)
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn row(rates: &Rates) -> [String; 12] {
    let time = |time: Option<u64>| time.map_or_else(|| "-".to_owned(), human::latency);
    [
        rates.device.clone(),
        rates.health.to_string(),
        human::count(rates.iops),
        human::bytes(rates.read_bytes_per_s),
        human::bytes(rates.write_bytes_per_s),
        time(rates.queue.mean_ns),
        time(rates.queue.p99_ns),
        time(rates.service.mean_ns),
        time(rates.service.p99_ns),
        human::count(rates.in_flight),
        human::count(rates.errors),
        format!("{}.{} %", rates.cpu_permille / 10, rates.cpu_permille % 10),
    ]
}
