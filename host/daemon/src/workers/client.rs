//! One worker as the supervisor sees it: requests go out, answers come back to whoever waits, notices go to the
//! control thread. When the link ends, the process is killed and all its devices are lost.

mod notices;
mod question;
mod trace;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lunbox_tcmu::Minor;
use lunbox_wire::peer::Process;
use lunbox_wire::{Call, DeviceStatistics, DeviceStatus, Ending, Hello, Link, LinkError, Report, Request};

use super::dying::is_dying;
use super::greeting::GreetError;
use super::log::Owed;
use crate::service::{Condition, Notice};

use question::Pending;
pub use question::{Answer, AskError, ask_all, ask_for_status};
use trace::Traces;
pub use trace::Tracing;

/// How long a process that was killed may take to end before its devices are told: what it has begun in the kernel
/// may not let go of it. The fence waits for that.
const DEATH: Duration = Duration::from_secs(5);

/// How often a worker that says nothing is looked at: it may have died and not be able to end.
const LOOK: Duration = Duration::from_secs(2);

/// How long a worker that was told to leave may take to end behind the end of its link.
const LEAVING: Duration = Duration::from_secs(1);

/// How long to wait before a full link is tried again.
const FULL: Duration = Duration::from_millis(5);

/// How long whoever asks a worker that left a question unanswered waits for any word of it.
const MUTE: Duration = Duration::from_secs(1);

/// How often it is looked whether there was one.
const MUTE_LOOK: Duration = Duration::from_millis(10);

/// Most devices of one worker. A greeting that promises more is a lie.
pub const MOST_DEVICES: usize = 4096;

/// Room for the calls of a thread that only hands on messages.
const STACK: usize = 256 << 10;

/// Notices of one worker that are handed on in one second: more than a thousand devices in trouble have to say.
const NOTICES_PER_SECOND: u32 = 2000;

/// Who is told of notices and deaths.
pub type Listener = Arc<dyn Fn(Minor, Notice) + Send + Sync>;

/// Where a worker came from.
#[derive(Debug, Default)]
pub struct Origin {
    /// Its process id as this process sees it; 0 if it is a thread of this one.
    pub pid: i32,
    /// A handle of the process; none if it is a thread of this one.
    pub process: Option<Process>,
    /// To be waited for, if it is a child.
    pub child: Option<Child>,
    /// Its socket, for a successor of this supervisor.
    pub socket: Option<PathBuf>,
    /// `uid:gid` of the process; empty for a thread.
    pub user: String,
    /// A supervisor before this one started it.
    pub adopted: bool,
    /// It is of another build than this supervisor.
    pub outdated: bool,
}

/// A worker that runs, or has died.
#[derive(Debug)]
pub struct Worker {
    hello: Hello,
    pid: i32,
    process: Option<Process>,
    socket: Option<PathBuf>,
    user: String,
    adopted: bool,
    outdated: bool,
    started: SystemTime,
    link: Link,
    calls: AtomicU64,
    leaving: AtomicBool,
    /// It left a question unanswered and has said nothing since.
    mute: AtomicBool,
    state: Mutex<State>,
    traces: Mutex<Traces>,
    pub(super) log_owed: Owed,
}

#[derive(Debug, Default)]
struct State {
    lost: bool,
    waiting: HashMap<Call, Sender<Answer>>,
    /// What has come of answers in several parts; only of those that somebody waits for.
    status: HashMap<Call, BTreeMap<Minor, DeviceStatus>>,
    /// The same of answers with statistics.
    statistics: HashMap<Call, BTreeMap<Minor, DeviceStatistics>>,
    /// Devices that it runs or is about to run; the reason if the loop has ended.
    devices: BTreeMap<Minor, Option<String>>,
    /// Those of them that nobody here supervises.
    alone: BTreeSet<Minor>,
}

impl Worker {
    /// Listens to a worker that has greeted and runs `devices`. `died` is called once, when it has died and before anybody is told of it.
    ///
    /// # Errors
    /// [`GreetError::Thread`], [`GreetError::Link`].
    pub fn listen(
        link: Link,
        hello: Hello,
        devices: &[Minor],
        origin: Origin,
        listener: Listener,
        died: impl FnOnce(&Arc<Self>) + Send + 'static,
    ) -> Result<Arc<Self>, GreetError> {
        let Origin { pid, process, child, socket, user, adopted, outdated } = origin;
        let receiving = link.try_clone()?;
        let pid = if pid == 0 { hello.pid } else { pid };
        let worker = Arc::new(Self {
            hello,
            pid,
            process,
            socket,
            user,
            adopted,
            outdated,
            started: SystemTime::now(),
            link,
            calls: AtomicU64::new(1),
            leaving: AtomicBool::new(false),
            mute: AtomicBool::new(false),
            state: Mutex::new(State {
                devices: devices.iter().map(|&minor| (minor, None)).collect(),
                ..State::default()
            }),
            traces: Mutex::default(),
            log_owed: Owed::default(),
        });
        let heard = Arc::clone(&worker);
        std::thread::Builder::new().name(format!("from-{}", worker.hello.tenant)).stack_size(STACK).spawn(
            move || {
                heard.hear(&receiving, &listener);
                heard.bury(&listener, died, child);
            },
        )?;
        Ok(worker)
    }

    /// What it said of itself when it greeted.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Its process id as this process sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// `uid:gid`; empty for a thread.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// A supervisor before this one started it.
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// It is of another build: its devices are to go to another worker.
    pub fn outdated(&self) -> bool {
        self.outdated
    }

    /// When it was started or adopted.
    pub fn started(&self) -> SystemTime {
        self.started
    }

    /// It was told to end when no device is left.
    pub fn leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// It has died.
    pub fn is_lost(&self) -> bool {
        self.state().lost
    }

    /// How many devices it runs.
    pub fn devices(&self) -> usize {
        self.state().devices.len()
    }

    /// How a device of it is.
    pub fn condition(&self, minor: Minor) -> Condition {
        let state = self.state();
        match state.devices.get(&minor) {
            _ if state.lost => Condition::Lost,
            None => Condition::Lost,
            Some(None) => Condition::Serving,
            Some(Some(reason)) => Condition::Ended(reason.clone()),
        }
    }

    /// Notes that it runs a device, or is about to.
    ///
    /// # Errors
    /// [`AskError::Lost`].
    pub fn enlist(&self, minor: Minor) -> Result<(), AskError> {
        let mut state = self.state();
        if state.lost || self.leaving() {
            return Err(AskError::Lost);
        }
        state.devices.insert(minor, None);
        state.alone.remove(&minor);
        Ok(())
    }

    /// Notes that it does not run a device any more.
    pub fn delist(&self, minor: Minor) {
        {
            let mut state = self.state();
            state.devices.remove(&minor);
            state.alone.remove(&minor);
        }
        self.end_traces(minor);
    }

    /// It runs a device that nobody here supervises. When the loop ends, the worker is told to let go of its node.
    pub fn leave_alone(&self, minor: Minor) {
        let ended = {
            let mut state = self.state();
            state.alone.insert(minor);
            state.devices.get(&minor).is_some_and(Option::is_some)
        };
        if ended {
            self.release(minor);
        }
    }

    /// Has it forget a device whose loop has ended, if nobody here supervises that; false if somebody does.
    fn release(&self, minor: Minor) -> bool {
        let mut state = self.state();
        if !state.alone.remove(&minor) {
            return false;
        }
        state.devices.remove(&minor);
        drop(state);
        // Nobody waits for the answer.
        self.tell(&Request::Stop { call: 0, minor: minor.0, how: Ending::Cancel, patience_ms: 0 });
        true
    }

    /// Says something that has no answer; never blocks. Whoever has died hears nothing, nor does whoever has not
    /// listened for so long that the link is full.
    pub fn tell(&self, request: &Request) {
        self.tell_with(request, &[]);
    }

    /// As [`Worker::tell`], with copies of descriptors. False if the link is full: it may be told later.
    pub fn tell_with(&self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> bool {
        let told = self.link.try_send(request, descriptors);
        let told = told.inspect_err(|error| tracing::debug!(worker = self.hello.tenant, "not told: {error}"));
        !matches!(told, Err(LinkError::WouldBlock))
    }

    /// Has it end when no device is left.
    pub fn leave(&self) {
        if !self.leaving.swap(true, Ordering::AcqRel) {
            self.tell(&Request::Leave);
        }
    }

    /// Ends it at once; its devices are lost.
    pub fn kill(&self) {
        if let Some(process) = &self.process
            && let Err(error) = process.kill()
        {
            tracing::error!(worker = self.hello.tenant, pid = self.pid, "can not be killed: {error}");
        }
        self.link.shut_down();
    }

    /// Waits until its process has ended; false if it has not in time, or if that can not be told. A thread is not
    /// waited for.
    pub fn ends_within(&self, patience: Duration) -> bool {
        self.process.as_ref().is_none_or(|process| process.ends_within(patience).unwrap_or(false))
    }

    /// Asks something and waits for the answer; for `patience` in all. A worker that left a question unanswered is not
    /// asked anything before it has said something again: that is waited for for a second, and then it is silent.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask(
        &self,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
        request: impl FnOnce(Call) -> Request,
    ) -> Result<Answer, AskError> {
        self.wait_for_a_word(patience)?;
        self.begin(descriptors, patience, request)?.wait()
    }

    /// Waits until a worker that left a question unanswered says something.
    fn wait_for_a_word(&self, patience: Duration) -> Result<(), AskError> {
        if !self.is_mute() {
            return Ok(());
        }
        let patience = patience.min(MUTE);
        let deadline = Instant::now() + patience;
        self.ping();
        while self.is_mute() {
            if self.is_lost() {
                return Err(AskError::Lost);
            }
            if Instant::now() >= deadline {
                return Err(AskError::Silent(patience));
            }
            std::thread::sleep(MUTE_LOOK);
        }
        Ok(())
    }

    fn is_mute(&self) -> bool {
        self.mute.load(Ordering::Acquire)
    }

    /// Asks something whose answer nobody waits for: that there is one is enough.
    fn ping(&self) {
        self.tell(&Request::Status { call: self.calls.fetch_add(1, Ordering::Relaxed) });
    }

    /// Sends a question.
    fn begin(
        &self,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
        request: impl FnOnce(Call) -> Request,
    ) -> Result<Pending<'_>, AskError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = channel();
        {
            let mut state = self.state();
            if state.lost {
                return Err(AskError::Lost);
            }
            state.waiting.insert(call, sender);
        }
        let request = request(call);
        let deadline = Instant::now() + patience;
        let sent = loop {
            match self.link.try_send(&request, descriptors) {
                // A worker that does not listen must not hold up whoever asks for longer than one that does.
                Err(LinkError::WouldBlock) if Instant::now() < deadline => std::thread::sleep(FULL),
                sent => break sent,
            }
        };
        if let Err(error) = sent {
            self.forget(call);
            return Err(match error {
                LinkError::Gone => AskError::Lost,
                LinkError::WouldBlock => AskError::Silent(patience),
                error => AskError::Link(error.to_string()),
            });
        }
        Ok(Pending { worker: self, call, answer, patience, deadline })
    }

    /// Nobody waits for this answer any more.
    fn forget(&self, call: Call) {
        let mut state = self.state();
        state.waiting.remove(&call);
        state.status.remove(&call);
        state.statistics.remove(&call);
    }

    /// Asks for something that is done or not.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn ask_for(
        &self,
        descriptors: &[BorrowedFd<'_>],
        patience: Duration,
        request: impl FnOnce(Call) -> Request,
    ) -> Result<(), AskError> {
        match self.ask(descriptors, patience, request)? {
            Answer::Done => Ok(()),
            answer => Err(AskError::Link(format!("{answer:?} is no answer to that"))),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands on what the worker says until it has gone.
    fn hear(&self, link: &Link, listener: &Listener) {
        let (mut second, mut notices) = (Instant::now(), 0);
        loop {
            self.log_owed.pay(self);
            let (report, descriptors) = match link.receive_within::<Report>(LOOK) {
                Ok(Some(packet)) => {
                    self.mute.store(false, Ordering::Release);
                    packet
                }
                Ok(None) => return,
                Err(LinkError::WouldBlock) if self.process.is_some() && is_dying(self.pid) => {
                    let (worker, pid) = (&self.hello.tenant, self.pid);
                    tracing::error!(
                        worker,
                        pid,
                        "has died, and operations of it on its storage have not ended (dmesg): its devices wait for that"
                    );
                    return;
                }
                Err(LinkError::WouldBlock) => continue,
                // This process may have too many open files: that is not the worker's fault.
                Err(LinkError::TooManyDescriptors) if self.refuse_waiting() => continue,
                Err(error) => {
                    // Whoever garbles messages is broken or in somebody else's hands.
                    let error = one_line(&error.to_string());
                    tracing::error!(worker = self.hello.tenant, "{error}; ending it");
                    return;
                }
            };
            let (call, answer) = match report {
                Report::Notice { minor, notice } => {
                    if second.elapsed() >= Duration::from_secs(1) {
                        (second, notices) = (Instant::now(), 0);
                    }
                    notices += 1;
                    if notices > NOTICES_PER_SECOND {
                        // Whoever floods us waits for us: the link fills up.
                        std::thread::sleep(Duration::from_secs(1).saturating_sub(second.elapsed()));
                    }
                    self.note(Minor(minor), notice, listener);
                    continue;
                }
                Report::Done { call } => (call, Answer::Done),
                Report::Refused { call, kind, reason } => (call, Answer::Refused(kind, one_line(&reason))),
                Report::Handles { call } => (call, Answer::Handles(descriptors)),
                Report::Status { call, devices, more } => match self.note_status(call, devices, more) {
                    Some(devices) => (call, Answer::Status(devices)),
                    None => continue,
                },
                Report::Statistics { call, devices, more } => {
                    match self.note_statistics(call, devices, more) {
                        Some(devices) => (call, Answer::Statistics(devices)),
                        None => continue,
                    }
                }
                Report::Trace { minor, records, lost } => {
                    self.note_trace(Minor(minor), records, lost);
                    continue;
                }
                Report::Hello(_) | Report::Device(_) => {
                    tracing::error!(worker = self.hello.tenant, "greets a second time; ending it");
                    return;
                }
            };
            // Who does not wait any more needs no answer.
            if let Some(waiting) = self.state().waiting.remove(&call) {
                drop(waiting.send(answer));
            }
        }
    }

    /// Ends the process, if it has not ended, and tells that its devices are lost.
    fn bury(self: Arc<Self>, listener: &Listener, died: impl FnOnce(&Arc<Self>), child: Option<Child>) {
        if !(self.leaving() && self.ends_within(LEAVING)) {
            self.kill();
        }
        if !self.ends_within(DEATH) {
            tracing::error!(
                worker = self.hello.tenant,
                pid = self.pid,
                "was killed and has not ended: its storage does not let go of it (dmesg)"
            );
        }
        let devices: Vec<Minor> = {
            let mut state = self.state();
            state.lost = true;
            state.devices.keys().copied().collect()
        };
        died(&self);
        // Whoever waits learns of it by the end of the channel, and not before the death has been noted: it may go for
        // the next worker at once.
        {
            let mut state = self.state();
            state.waiting.clear();
            state.status.clear();
            state.statistics.clear();
        }
        self.end_all_traces();
        if let Some(path) = &self.socket
            && let Err(error) = std::fs::remove_file(path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!("{}: {error}", path.display());
        }
        for minor in devices {
            listener(minor, Notice::Lost);
        }
        if let Some(mut child) = child {
            match child.wait() {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::warn!(worker = self.hello.tenant, pid = self.pid, "ended: {status}"),
                Err(error) => tracing::warn!(worker = self.hello.tenant, "not waited for: {error}"),
            }
        }
    }
}

/// What a worker says may have been said by a guest, or by whoever took the worker over.
pub(crate) fn one_line(text: &str) -> String {
    const MOST: usize = 500;
    let shown: String = text
        .chars()
        .take(MOST)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect();
    if text.chars().count() > MOST { format!("{shown}…") } else { shown }
}

#[cfg(test)]
mod tests;
