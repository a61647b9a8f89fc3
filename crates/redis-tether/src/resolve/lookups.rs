//! Sharing lookups: who asks for a name that is being looked up joins, who takes an older answer gets it. The system
//! resolver is one of these with `getaddrinfo` on threads, the one that speaks DNS itself with tasks; tests put other functions in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::list::with_port;
use super::{Query, ResolveError};
use crate::lock::lock;
use crate::transport::BoxFuture;

/// How many names are remembered. The oldest goes when there are more; one whose lookup is in flight stays.
const CAPACITY: usize = 256;

/// Why a lookup failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    NotFound,
    NoAddress,
    #[cfg_attr(
        not(feature = "hickory"),
        expect(dead_code, reason = "the system does not tell this from other failures")
    )]
    TimedOut,
    Other(String),
}

/// What a lookup found.
pub(super) struct Found {
    /// Those without a port get that of the question.
    pub(super) addresses: Vec<SocketAddr>,
    /// How long the answer is good for, where that is known, else zero.
    pub(super) ttl: Duration,
}

type Outcome = Result<Arc<[SocketAddr]>, Failure>;
type Begin = dyn Fn(Task) + Send + Sync;

/// Lookups, shared by name.
#[derive(Clone)]
pub(super) struct Lookups {
    begin: Arc<Begin>,
    /// A lookup that takes longer has not been let run. `None`: there is never another one before it ends.
    limit: Option<Duration>,
    names: Names,
    begun: Arc<AtomicU64>,
}

#[derive(Clone, Default)]
struct Names(Arc<Mutex<BTreeMap<String, Name>>>);

#[derive(Default)]
struct Name {
    // Set while somebody is at it.
    pending: Weak<watch::Sender<Option<Outcome>>>,
    answer: Option<Answer>,
    // When the last lookup began.
    begun: Option<Instant>,
}

struct Answer {
    // The real clock, not the runtime's: answers are shared between runtimes, and names are out in the world.
    since: Instant,
    good_until: Instant,
    addresses: Arc<[SocketAddr]>,
}

impl Answer {
    /// Whether it answers a question that came at `asked`.
    fn serves(&self, query: &Query, asked: Instant) -> bool {
        // What came in while the question waited its turn is an answer to it, whatever age it takes.
        self.since > asked
            || (!query.max_age.is_zero() && self.since.elapsed() <= query.max_age)
            || (query.within_ttl && Instant::now() < self.good_until)
    }
}

impl Lookups {
    /// Lookups by a function that blocks, each on a thread of its own. Not one of the runtime's for blocking work: a resolver
    /// that does not answer would hold up the runtime's drop for as long.
    pub(super) fn blocking<F>(lookup: F) -> Lookups
    where
        F: Fn(&str) -> Result<Vec<SocketAddr>, Failure> + Send + Sync + 'static,
    {
        let lookup = Arc::new(lookup);
        Lookups::begun_by(move |task| {
            let lookup = lookup.clone();
            let run = move || {
                let found = lookup(task.host());
                task.end(found.map(|addresses| Found { addresses, ttl: Duration::ZERO }));
            };
            // Upon an error the task goes down with the closure, and says so to whoever waits.
            if let Err(error) = thread::Builder::new().name("tether-resolve".to_owned()).spawn(run) {
                tracing::warn!(%error, "no thread for a name lookup");
            }
        })
    }

    /// Lookups that `begin` sees to. It must not block, and may let the task go down: whoever waits hears of that.
    pub(super) fn begun_by(begin: impl Fn(Task) + Send + Sync + 'static) -> Lookups {
        Lookups { begin: Arc::new(begin), limit: None, names: Names::default(), begun: Arc::default() }
    }

    /// The same, of lookups that end within `limit` wherever their runtime runs: it is that of whoever asked first, and while it
    /// stands still those of other runtimes have one of their own. Not for threads: there would be one more each time.
    #[cfg(any(test, feature = "hickory"))]
    pub(super) fn ending_within(self, limit: Duration) -> Lookups {
        Lookups { limit: Some(limit), ..self }
    }

    pub(super) fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        if let Some(address) = query.literal() {
            return Box::pin(async move { Ok(vec![address]) });
        }
        let lookups = self.clone();
        Box::pin(async move {
            let asked = Instant::now();
            let outcome = loop {
                match lookups.look(&query, asked) {
                    Look::Answer(addresses) => break Ok(addresses),
                    Look::Pending(pending) => break outcome_of(pending).await,
                    Look::TooSoon(wait) => tokio::time::sleep(wait).await,
                }
            };
            let Query { host, port, .. } = query;
            match outcome {
                Ok(addresses) => Ok(with_port(&addresses, port)),
                Err(Failure::NotFound) => Err(ResolveError::NotFound { host }),
                Err(Failure::NoAddress) => Err(ResolveError::NoAddress { host }),
                Err(Failure::TimedOut) => Err(ResolveError::TimedOut { host }),
                Err(Failure::Other(message)) => Err(ResolveError::Failed { host, message }),
            }
        })
    }

    /// How many lookups were begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// An answer that is young enough, or the lookup in flight, which is begun if there is none and it is time.
    fn look(&self, query: &Query, asked: Instant) -> Look {
        let mut names = self.names.lock();
        let name = names.entry(query.host.clone()).or_default();
        if let Some(answer) = name.answer.as_ref().filter(|answer| answer.serves(query, asked)) {
            return Look::Answer(Arc::clone(&answer.addresses));
        }
        if let Some(pending) = name.pending.upgrade().filter(|_| !self.is_overdue(name)) {
            return Look::Pending(pending.subscribe());
        }
        if let Some(wait) = name.begun.and_then(|begun| query.spacing.checked_sub(begun.elapsed())) {
            // Rounded up, since timers go by the millisecond.
            return Look::TooSoon(wait + Duration::from_millis(1));
        }
        let (sender, pending) = watch::channel(None);
        let sender = Arc::new(sender);
        name.pending = Arc::downgrade(&sender);
        name.begun = Some(Instant::now());
        drop(names);
        self.begun.fetch_add(1, Ordering::Relaxed);
        (self.begin)(Task { names: self.names.clone(), host: query.host.clone(), sender });
        Look::Pending(pending)
    }

    fn is_overdue(&self, name: &Name) -> bool {
        let took = name.begun.map(|begun| begun.elapsed());
        self.limit.zip(took).is_some_and(|(limit, took)| took > limit)
    }
}

enum Look {
    Answer(Arc<[SocketAddr]>),
    Pending(watch::Receiver<Option<Outcome>>),
    /// It is this much too early for the next lookup.
    TooSoon(Duration),
}

impl Names {
    /// There was an answer, good for so long, or none.
    fn finish(&self, host: &str, sender: &Arc<watch::Sender<Option<Outcome>>>, outcome: &Outcome, ttl: Duration) {
        let mut names = self.lock();
        // Where another one was begun meanwhile, that one is the name's: nobody knows how old the outcome of this one is.
        let is_its_own = |name: &&mut Name| Weak::ptr_eq(&name.pending, &Arc::downgrade(sender));
        let Some(name) = names.get_mut(host).filter(is_its_own) else { return };
        // The name stays without an answer, too: its next lookup must not come too soon.
        name.pending = Weak::new();
        if let Ok(addresses) = outcome {
            let since = Instant::now();
            name.answer = Some(Answer { since, good_until: since + ttl, addresses: Arc::clone(addresses) });
        }
        if names.len() > CAPACITY {
            forget_oldest(&mut names);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Name>> {
        lock(&self.0)
    }
}

/// One lookup. However it goes down, those who wait hear of it and the name is free for the next one.
pub(super) struct Task {
    names: Names,
    host: String,
    sender: Arc<watch::Sender<Option<Outcome>>>,
}

impl Task {
    /// What to look up.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Waits until nobody waits for the outcome any more. Cancel safe.
    #[cfg(feature = "hickory")]
    pub(super) async fn is_abandoned(&self) {
        self.sender.closed().await;
    }

    /// Tells whoever waits.
    pub(super) fn end(self, found: Result<Found, Failure>) {
        match found {
            Ok(Found { addresses, ttl }) => self.tell(distinct(addresses), ttl),
            Err(failure) => self.tell(Err(failure), Duration::ZERO),
        }
    }

    fn tell(&self, outcome: Outcome, ttl: Duration) {
        // The name first: whoever is woken may ask again at once.
        self.names.finish(&self.host, &self.sender, &outcome, ttl);
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.sender.borrow().is_none() {
            self.tell(Err(Failure::Other("the lookup was given up".to_owned())), Duration::ZERO);
        }
    }
}

async fn outcome_of(mut pending: watch::Receiver<Option<Outcome>>) -> Outcome {
    let outcome = match pending.wait_for(Option::is_some).await {
        Ok(outcome) => outcome.clone(),
        Err(_) => None,
    };
    outcome.unwrap_or_else(|| Err(Failure::Other("the lookup was given up".to_owned())))
}

/// Each address once, in the resolver's order.
fn distinct(addresses: Vec<SocketAddr>) -> Outcome {
    let mut kept = Vec::with_capacity(addresses.len());
    for address in addresses {
        if !kept.contains(&address) {
            kept.push(address);
        }
    }
    if kept.is_empty() {
        return Err(Failure::NoAddress);
    }
    Ok(kept.into())
}

fn forget_oldest(names: &mut BTreeMap<String, Name>) {
    let idle = names.iter().filter(|(_, name)| name.pending.strong_count() == 0);
    let oldest = idle.min_by_key(|(_, name)| name.begun).map(|(host, _)| host.clone());
    if let Some(host) = oldest {
        names.remove(&host);
    }
}

#[cfg(test)]
mod tests;
