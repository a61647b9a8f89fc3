//! The ledger of one link: what was written and read (`ledger/traffic.rs`), what is still outstanding
//! (`ledger/flights.rs`), and whether the link is dead. The stream writes it (`ledger/stream.rs`), handles and probes
//! enter their commands in it, the silence watch asks it (`ledger/silence.rs`), and whoever ends the link does so here,
//! once. It decides nothing: what silence means is the state machine's business.

mod blockers;
mod flights;
mod signal;
mod silence;
mod stamp;
mod stream;
mod traffic;

#[cfg(test)]
pub(crate) mod tests;

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};

use redis_tether_core::Epoch;
use tokio::sync::oneshot;
use tokio::time::Instant;

pub(crate) use self::flights::{Flight, FlightKind};
pub(crate) use self::stream::LedgerStream;

use self::flights::Flights;
use self::signal::Signal;
use self::silence::Findings;
use self::traffic::Traffic;
use crate::gate::{ClosedCause, Gate};
use crate::lock::lock;
#[cfg(feature = "tls-no-provider")]
use crate::tls::TlsFailure;
use crate::transport::BoxedStream;

/// Who is told of what a link sees. Its methods are called from the link's driver and from handles: they must not block.
pub(crate) trait LinkObserver: Send + Sync + 'static {
    /// The link ended. Once per link, from the latch, whoever sets it.
    fn link_ended(&self, epoch: Epoch, end: LinkEnd);
    /// Something was read. Once per [`Ledger::listen`].
    fn link_heard(&self, epoch: Epoch);
}

/// Why a link ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LinkEnd {
    /// The peer closed it.
    Closed,
    /// The transport failed.
    Failed(io::ErrorKind, String),
    /// We ended it: it was drained, or replaced.
    Retired,
    /// We gave it up: it had been silent for too long.
    Mute,
    /// What drove it is gone: its runtime was dropped.
    DriverGone,
    /// TLS failed, after the handshake.
    #[cfg(feature = "tls-no-provider")]
    Tls(String),
    /// The peer sent what is not the protocol.
    Protocol(String),
}

impl LinkEnd {
    /// Of an error of the transport's stream.
    pub(crate) fn by_io(error: &io::Error) -> LinkEnd {
        #[cfg(feature = "tls-no-provider")]
        if let Some(reason) = TlsFailure::inside(error) {
            return LinkEnd::Tls(reason);
        }
        LinkEnd::Failed(error.kind(), error.to_string())
    }
}

/// How a TLS server begins to answer who speaks plainly: with an alert.
pub(crate) const TLS_ALERT: &str = "\x15\x03";

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkEnd::Closed => f.write_str("closed by the peer"),
            LinkEnd::Failed(_, reason) => write!(f, "transport failed: {reason}"),
            #[cfg(feature = "tls-no-provider")]
            LinkEnd::Tls(reason) => write!(f, "tls failed: {reason}"),
            LinkEnd::Retired => f.write_str("retired"),
            LinkEnd::Mute => f.write_str("silent for too long"),
            LinkEnd::DriverGone => f.write_str("its runtime ended"),
            LinkEnd::Protocol(reason) => write!(f, "not the redis protocol: {reason}"),
        }
    }
}

/// The books of one link.
pub(crate) struct Ledger {
    epoch: Epoch,
    end: OnceLock<LinkEnd>,
    // Whether somebody was told of this link, whether it was replaced and whether it ended: one word, so that exactly one side
    // sees both announcement and end.
    standing: AtomicU8,
    // Weak, since the gate holds the link and the link its ledger: a cycle would keep the socket open for ever.
    gate: Weak<Gate>,
    observer: Arc<dyn LinkObserver>,
    traffic: Traffic,
    flights: Flights,
    findings: Findings,
    busy: Signal,
    listening: AtomicBool,
    first_words: OnceLock<String>,
    over: Signal,
    heir: Mutex<Option<oneshot::Sender<BoxedStream>>>,
}

const ANNOUNCED: u8 = 1;
const ENDED: u8 = 2;
const RETIRED: u8 = 4;

/// Is told of links that are nobody's but their owner's.
struct Nobody;

impl LinkObserver for Nobody {
    fn link_ended(&self, _epoch: Epoch, _end: LinkEnd) {}

    fn link_heard(&self, _epoch: Epoch) {}
}

impl Ledger {
    /// The books of a link that somebody knows of: its end is reported.
    #[cfg(test)]
    pub(crate) fn new(epoch: Epoch, gate: Arc<Gate>, observer: Arc<dyn LinkObserver>) -> Arc<Ledger> {
        let ledger = Ledger::unannounced(epoch, &gate, observer);
        ledger.announce();
        ledger
    }

    /// The books of a link that is still being dialled: its end is the dial's failure and is not reported otherwise, until
    /// it is announced.
    pub(crate) fn unannounced(epoch: Epoch, gate: &Arc<Gate>, observer: Arc<dyn LinkObserver>) -> Arc<Ledger> {
        Ledger::reporting_to(epoch, Arc::downgrade(gate), observer)
    }

    /// The books of a connection beside the link of this epoch. It was never published, so that its end closes no gate and is
    /// reported to nobody.
    pub(crate) fn aside(epoch: Epoch) -> Arc<Ledger> {
        Ledger::reporting_to(epoch, Weak::new(), Arc::new(Nobody))
    }

    fn reporting_to(epoch: Epoch, gate: Weak<Gate>, observer: Arc<dyn LinkObserver>) -> Arc<Ledger> {
        Arc::new(Ledger {
            epoch,
            end: OnceLock::new(),
            standing: AtomicU8::new(0),
            gate,
            observer,
            traffic: Traffic::new(),
            flights: Flights::new(),
            findings: Findings::none(),
            busy: Signal::new(),
            listening: AtomicBool::new(false),
            first_words: OnceLock::new(),
            over: Signal::new(),
            heir: Mutex::default(),
        })
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// From now on the link's end is reported. `false` if it has ended already, and then it never is.
    pub(crate) fn announce(&self) -> bool {
        self.standing.fetch_or(ANNOUNCED, Ordering::AcqRel) & ENDED == 0
    }

    /// Whether the link has ended. One atomic load.
    pub(crate) fn is_dead(&self) -> bool {
        self.end.get().is_some()
    }

    /// Why the link ended, once it has.
    pub(crate) fn end(&self) -> Option<&LinkEnd> {
        self.end.get()
    }

    /// Marks the link dead. The first caller wins, is told `true`, and what it said is what everybody gets to know.
    ///
    /// The order is the point: dead first, then the gate, then the report, so that nobody who hears of the death can find the
    /// gate open, and nobody who fails because of it finds the link alive.
    pub(crate) fn kill(&self, end: LinkEnd) -> bool {
        if self.end.set(end.clone()).is_err() {
            return false;
        }
        let announced = self.standing.fetch_or(ENDED, Ordering::SeqCst) & ANNOUNCED != 0;
        self.busy.raise();
        self.over.raise();
        if let Some(gate) = self.gate.upgrade() {
            gate.close_epoch(self.epoch, ClosedCause::lost(end.clone()));
        }
        if announced {
            self.observer.link_ended(self.epoch, end);
        }
        true
    }

    /// The link was replaced: what is outstanding on it may finish, and nobody is to begin anything that rests on it.
    pub(crate) fn retire(&self) {
        self.standing.fetch_or(RETIRED, Ordering::SeqCst);
        self.over.raise();
    }

    /// Whether the link was replaced or has ended. As with a drain of the gate, a command that is entered in a ledger before
    /// this is looked at is seen by whoever looks at that ledger after the replacement.
    pub(crate) fn is_over(&self) -> bool {
        self.standing.load(Ordering::SeqCst) & (ENDED | RETIRED) != 0
    }

    /// Waits until it is. Cancel safe; any number may wait.
    pub(crate) async fn over(&self) {
        self.over.until(|| self.is_over()).await;
    }

    /// The transport's stream, once the driver lets go of it, instead of having it closed: for a connection that is to speak
    /// otherwise from now on. To be called while nothing is outstanding, or a part of the conversation is lost.
    pub(crate) fn reclaim(&self) -> oneshot::Receiver<BoxedStream> {
        let (heir, stream) = oneshot::channel();
        *lock(&self.heir) = Some(heir);
        stream
    }

    fn heir(&self) -> Option<oneshot::Sender<BoxedStream>> {
        lock(&self.heir).take()
    }

    /// The bytes that the transport has accepted. A command across which this did not change was never sent.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.traffic.written()
    }

    /// Enters a command (or a pipeline) that is about to be sent. It counts as outstanding until the [`Flight`] is dropped,
    /// which must not be before the future that sends it.
    ///
    /// The count is incremented with sequential consistency: a drain that flips the gate and then finds the ledger idle
    /// is sure that whoever enters a command later sees the flip.
    pub(crate) fn begin(self: &Arc<Self>, kind: FlightKind) -> Flight {
        Flight::begin(self, kind)
    }

    /// How many commands are outstanding.
    pub(crate) fn in_flight(&self) -> u64 {
        self.flights.count()
    }

    /// Waits until nothing is outstanding. Cancel safe; any number may wait.
    pub(crate) async fn idle(&self) {
        self.flights.idle().await;
    }

    /// Whether a blocking command keeps the peer from answering. `false` also where one explains silence whose caller went away,
    /// and something was read since: that may have been its answer, and only a question can tell.
    pub(crate) fn blocked(&self) -> bool {
        self.flights.block(Instant::now(), self.reads())
    }

    /// Until when a blocking command may explain silence at the latest. `None` if none does now, or one does for ever.
    pub(crate) fn blocked_until(&self) -> Option<Instant> {
        self.flights.blocked_until(Instant::now(), self.reads())
    }

    /// The error line with which the peer began the conversation, if it did: a server without room for another client says
    /// so unasked and hangs up, and a reply that answers nothing is dropped.
    pub(crate) fn first_words(&self) -> Option<&str> {
        self.first_words.get().map(String::as_str)
    }

    fn has_ended(&self) -> bool {
        self.standing.load(Ordering::SeqCst) & ENDED != 0
    }

    fn reads(&self) -> u64 {
        self.traffic.reads()
    }

    pub(crate) fn note_written(&self, bytes: usize) {
        if self.traffic.note_written(bytes) {
            self.busy.raise();
        }
    }

    pub(crate) fn note_read(&self, bytes: &[u8]) {
        if self.traffic.note_read() {
            self.note_first_words(bytes);
        }
        // The load spares every read the write; only the swap decides.
        if self.listening.load(Ordering::SeqCst) && self.listening.swap(false, Ordering::SeqCst) {
            self.observer.link_heard(self.epoch);
        }
    }

    fn note_first_words(&self, bytes: &[u8]) {
        // Longer than any refusal a server greets with, short enough to keep.
        const LONGEST: usize = 256;
        if let Some(line) = bytes.strip_prefix(b"-") {
            let line = line.split(|byte| matches!(byte, b'\r' | b'\n')).next().unwrap_or_default();
            let line = &line[..line.len().min(LONGEST)];
            // Nobody else sets it: only the first read comes here.
            let _ = self.first_words.set(String::from_utf8_lossy(line).into_owned());
        } else if bytes.starts_with(TLS_ALERT.as_bytes()) {
            let _ = self.first_words.set(TLS_ALERT.to_owned());
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger")
            .field("epoch", &self.epoch)
            .field("end", &self.end.get())
            .field("bytes_written", &self.bytes_written())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}
