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
use crate::table::{self, Align, cut};

use rates::{History, Rates};

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
    let mut history = History::new(&ask(options)?);
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
        let mut rates = history.rates(&now);
        sort(&mut rates, options.sort);
        show(&now, &rates, live, output)?;
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
    matches!(
        error,
        ClientError::NotRunning(_) | ClientError::Gone | ClientError::Silent(_) | ClientError::Io(_)
    )
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
                let moved = rates.read_bytes_per_s.zip(rates.write_bytes_per_s);
                std::cmp::Reverse(moved.map(|(read, written)| read.saturating_add(written)))
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
    let silent = if now.unanswered.is_empty() {
        String::new()
    } else {
        format!(", no answer from the workers of {}", now.unanswered.join(", "))
    };
    let quit = if live { " (q and Enter ends)" } else { "" };
    let silent = crate::output::printable(&silent);
    let title =
        format!("{}  {} devices{silent}{quit}", human::time(now.at), human::count(to_u64(rates.len())));
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
    if !live {
        print_line(&title)?;
        return table::print(heads, &rates.iter().map(row).collect::<Vec<_>>(), output);
    }
    let screen = Screen::now();
    let shown = screen.rows_of(rates.len());
    let rows: Vec<_> = rates.iter().take(shown).map(row).collect();
    let mut lines = vec![cut(&title, screen.width)];
    lines.extend(table::to_width(heads, &rows, screen.width, output));
    if shown < rates.len() {
        let more = format!("… and {} more (--sort chooses, --json tells all)", rates.len() - shown);
        lines.push(cut(&more, screen.width));
    }
    // From the top, and nothing below; no line break behind the last line, which would scroll.
    let mut out = io::stdout().lock();
    out.write_all(b"\x1b[H\x1b[J")?;
    out.write_all(lines.join("\n").as_bytes())?;
    out.flush()?;
    Ok(())
}

/// How much a terminal shows.
#[derive(Clone, Copy, Debug)]
struct Screen {
    width: usize,
    height: usize,
}

impl Screen {
    /// As it is at the moment. A terminal that does not know is taken for one that shows everything.
    fn now() -> Self {
        let size = terminal_size::terminal_size_of(io::stdout());
        size.map_or(Self { width: usize::MAX, height: usize::MAX }, |(width, height)| Self {
            width: width.0.into(),
            height: height.0.into(),
        })
    }

    /// How many of so many rows there is room for, beside the title, the heads, the line that tells of the others, and
    /// the one into which people type.
    fn rows_of(self, all: usize) -> usize {
        let beside = if all.saturating_add(3) <= self.height { 3 } else { 4 };
        all.min(self.height.saturating_sub(beside).max(1))
    }
}

fn to_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn row(rates: &Rates) -> [String; 12] {
    let or_dash = |number: Option<u64>, text: fn(u64) -> String| number.map_or_else(|| "-".to_owned(), text);
    let time = |time: Option<u64>| or_dash(time, human::latency);
    [
        rates.device.clone(),
        rates.health.to_string(),
        or_dash(rates.iops, human::count),
        or_dash(rates.read_bytes_per_s, human::bytes),
        or_dash(rates.write_bytes_per_s, human::bytes),
        time(rates.queue.mean_ns),
        time(rates.queue.p99_ns),
        time(rates.service.mean_ns),
        time(rates.service.p99_ns),
        human::count(rates.in_flight),
        or_dash(rates.errors, human::count),
        or_dash(rates.cpu_permille, |permille| format!("{}.{} %", permille / 10, permille % 10)),
    ]
}

#[cfg(test)]
mod tests {
    use lunbox_control::{CountersReport, DeviceStatistics};

    use super::*;

    #[test]
    fn no_more_rows_than_a_screen_has_room_for() {
        let screen = Screen { width: 80, height: 24 };
        assert_eq!(screen.rows_of(0), 0);
        assert_eq!(screen.rows_of(21), 21, "title, heads, and where people type");
        assert_eq!(screen.rows_of(22), 20, "and one that tells of the others");
        assert_eq!(screen.rows_of(500), 20);
        assert_eq!(Screen { width: 80, height: 2 }.rows_of(500), 1);
        assert_eq!(Screen { width: usize::MAX, height: usize::MAX }.rows_of(500), 500);
    }

    #[test]
    fn what_is_not_known_stands_at_the_end_and_is_no_number() {
        let report = |at, pid, devices: &[(&str, u64)]| {
            let device = |(name, commands): &(&str, u64)| {
                let counters = CountersReport { commands: *commands, ..CountersReport::default() };
                DeviceStatistics { name: (*name).to_owned(), counters, ..DeviceStatistics::default() }
            };
            let devices = devices.iter().map(device).collect();
            StatisticsReport { at, pid, devices, ..StatisticsReport::default() }
        };
        let mut history = History::new(&report(1000, 1, &[("user_0/known", 0)]));
        let mut rates = history.rates(&report(2000, 2, &[("user_0/found", 1 << 40), ("user_0/known", 7)]));
        sort(&mut rates, SortKey::Iops);
        let cells: Vec<_> = rates.iter().map(row).collect();
        assert_eq!((cells[0][0].as_str(), cells[0][2].as_str()), ("user_0/known", "7"));
        assert_eq!(
            (cells[1][0].as_str(), cells[1][2].as_str(), cells[1][11].as_str()),
            ("user_0/found", "-", "-")
        );
    }
}
