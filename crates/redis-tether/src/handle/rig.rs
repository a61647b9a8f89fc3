//! The bench on which handle and gate are tested: scripted peers over in-memory streams, links to them, and recorders of
//! what is reported. No dialer and no actor: the tests open and close the gate themselves.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use redis_tether_core::reply::Refusal;
use redis_tether_core::{Address, Epoch, Role};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

use super::{Flags, Handle, Policy};
use crate::config::CommandSettings;
use crate::dial::verify::{Verdict, VerifyLevel};
use crate::gate::Gate;
use crate::ledger::{Ledger, LedgerStream, LinkEnd, LinkObserver};
use crate::link::Link;
use crate::lock::lock;
use crate::multiplexer::Multiplexer;
use crate::shared::{RefusalObserver, Shared};
use crate::stats::Counters;
use crate::turnstile::Turnstile;

pub(crate) const READONLY: &str = "-READONLY You can't write against a read only replica.";

/// So much a peer takes before it reads any of it.
pub(crate) const TAKEN_UNREAD: usize = 1 << 20;

pub(crate) fn epoch(number: u64) -> Epoch {
    Epoch::new(number).expect("not zero")
}

/// What was reported by links and handles.
#[derive(Default)]
pub(crate) struct Recorder {
    ends: Mutex<Vec<(Epoch, LinkEnd)>>,
    refusals: Mutex<Vec<(Epoch, Refusal)>>,
}

impl Recorder {
    pub(crate) fn refusals(&self) -> Vec<(Epoch, Refusal)> {
        lock(&self.refusals).clone()
    }
}

impl LinkObserver for Recorder {
    fn link_ended(&self, epoch: Epoch, end: LinkEnd) {
        lock(&self.ends).push((epoch, end));
    }

    fn link_heard(&self, _epoch: Epoch) {}
}

impl RefusalObserver for Recorder {
    fn refused(&self, epoch: Epoch, refusal: Refusal) {
        lock(&self.refusals).push((epoch, refusal));
    }
}

/// A tether without its control side.
pub(crate) struct Rig {
    pub(crate) shared: Arc<Shared>,
    pub(crate) recorder: Arc<Recorder>,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        Rig::with(CommandSettings::default())
    }

    pub(crate) fn with(commands: CommandSettings) -> Rig {
        let recorder = Arc::new(Recorder::default());
        let counters = Arc::new(Counters::default());
        let shared = Shared {
            gate: Gate::new(&commands, Arc::clone(&counters)),
            turnstile: Turnstile::new(),
            counters,
            commands,
            db: 3,
            endpoint: Arc::from("redis:6379"),
            refusals: recorder.clone(),
            flags: Flags::default(),
            is_stale: AtomicBool::new(false),
        };
        Rig { shared: Arc::new(shared), recorder }
    }

    pub(crate) fn gate(&self) -> &Arc<Gate> {
        &self.shared.gate
    }

    pub(crate) fn handle(&self) -> Handle {
        Handle::new(Arc::clone(&self.shared), Arc::new(()))
    }

    /// What an application begins with, too.
    pub(crate) fn policy(&self) -> Policy {
        self.handle().policy()
    }

    pub(crate) fn handle_with(&self, policy: Policy) -> Handle {
        self.handle().with_policy(policy)
    }

    /// A link to `peer`, not yet published. It is asked nothing.
    pub(crate) async fn link(&self, number: u64, peer: &Peer) -> Arc<Link> {
        self.link_that_answers(VerifyLevel::None, number, peer).await
    }

    /// A link to `peer` that was found to answer this much, not yet published.
    pub(crate) async fn link_that_answers(&self, level: VerifyLevel, number: u64, peer: &Peer) -> Arc<Link> {
        let (ours, theirs) = duplex(TAKEN_UNREAD);
        let serving = tokio::spawn(peer.clone().serve(theirs));
        drop(serving);
        let ledger = Ledger::new(epoch(number), Arc::clone(self.gate()), self.recorder.clone());
        let stream = LedgerStream::new(Box::new(ours), Arc::clone(&ledger));
        let (multiplexer, driver) = Multiplexer::start(stream, &TaskTracker::new());
        let verdict = Verdict {
            role: Role::Primary,
            role_word: None,
            loading: false,
            is_of_cluster: false,
            sync: None,
            version: None,
            level,
        };
        let address = Address::Unix(PathBuf::from("/rig"));
        Arc::new(Link::new(address, &verdict, ledger, multiplexer, driver))
    }

    /// A published link to `peer`.
    pub(crate) async fn open(&self, number: u64, peer: &Peer) -> Arc<Link> {
        let link = self.link(number, peer).await;
        assert!(self.gate().open(Arc::clone(&link)), "a fresh link is published");
        link
    }
}

/// Lets everything run until nothing can go on by itself. In virtual time that is exact.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_micros(1)).await;
}

/// The output, if there is no need to wait for it.
pub(crate) async fn poll_once<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// A scripted server. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Peer {
    script: Arc<Script>,
    reads: bool,
}

type Answer = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

struct Script {
    reply: Answer,
    received: Mutex<Vec<String>>,
    /// How many replies were put off.
    owed: Mutex<usize>,
    pay: Mutex<VecDeque<String>>,
    go: Notify,
}

impl Peer {
    /// Answers each command (its words, joined by blanks) with a line, or with nothing: then [`pay`](Peer::pay) answers.
    pub(crate) fn new(reply: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Peer {
        let script = Script {
            reply: Box::new(reply),
            received: Mutex::default(),
            owed: Mutex::default(),
            pay: Mutex::default(),
            go: Notify::new(),
        };
        Peer { script: Arc::new(script), reads: true }
    }

    /// Answers every command with this line.
    pub(crate) fn saying(line: &'static str) -> Peer {
        Peer::new(move |_| Some(line.to_owned()))
    }

    /// Answers nothing by itself.
    pub(crate) fn mute() -> Peer {
        Peer::new(|_| None)
    }

    /// Takes [`TAKEN_UNREAD`] bytes and no more.
    pub(crate) fn deaf() -> Peer {
        Peer { reads: false, ..Peer::mute() }
    }

    /// Answers what it owes with this line.
    pub(crate) fn pay(&self, line: &str) {
        let owed = std::mem::take(&mut *lock(&self.script.owed));
        lock(&self.script.pay).extend(std::iter::repeat_n(line.to_owned(), owed));
        self.script.go.notify_one();
    }

    /// Says a line unasked.
    pub(crate) fn utter(&self, line: &str) {
        lock(&self.script.pay).push_back(line.to_owned());
        self.script.go.notify_one();
    }

    /// Everything that was received, in order.
    pub(crate) fn received(&self) -> Vec<String> {
        lock(&self.script.received).clone()
    }

    async fn serve(self, mut stream: DuplexStream) {
        let mut buffer = Vec::new();
        if !self.reads {
            return std::future::pending().await;
        }
        loop {
            tokio::select! {
                biased;
                read = stream.read_buf(&mut buffer) => {
                    if !matches!(read, Ok(1..)) {
                        return;
                    }
                    while let Some((words, used)) = parse(&buffer) {
                        buffer.drain(..used);
                        lock(&self.script.received).push(words.clone());
                        match (self.script.reply)(&words) {
                            Some(line) => self.say(&mut stream, &line).await,
                            None => *lock(&self.script.owed) += 1,
                        }
                    }
                }
                () = self.script.go.notified() => {
                    let lines = std::mem::take(&mut *lock(&self.script.pay));
                    for line in lines {
                        self.say(&mut stream, &line).await;
                    }
                }
            }
        }
    }

    async fn say(&self, stream: &mut DuplexStream, line: &str) {
        // A client that has gone takes no replies.
        let _ = stream.write_all(format!("{line}\r\n").as_bytes()).await;
    }
}

/// The first command in the buffer, if it is whole: its words, and its length in bytes.
fn parse(buffer: &[u8]) -> Option<(String, usize)> {
    let (count, mut at) = header(buffer, 0)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let (length, start) = header(buffer, at)?;
        at = start + length + 2;
        // Whole only with the line end behind it.
        let word = &buffer.get(start..at)?[..length];
        words.push(String::from_utf8_lossy(word).into_owned());
    }
    Some((words.join(" "), at))
}

/// The number in the line that begins at `at`, behind its type, and where the next line begins.
fn header(buffer: &[u8], at: usize) -> Option<(usize, usize)> {
    let line = buffer.get(at..)?;
    let length = line.windows(2).position(|pair| pair == b"\r\n")?;
    let number = std::str::from_utf8(&line[1..length]).ok()?.parse().ok()?;
    Some((number, at + length + 2))
}
