//! Sharing blocking lookups: who asks for a name that is being looked up joins, who takes an older answer gets it. The system
//! resolver is one of these with `getaddrinfo` inside; tests put other functions in.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::watch;

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
    Other(String),
}

type Outcome = Result<Arc<[SocketAddr]>, Failure>;
type Blocking = dyn Fn(&str) -> Result<Vec<SocketAddr>, Failure> + Send + Sync;

/// Blocking lookups, shared by name.
#[derive(Clone)]
pub(super) struct Lookups {
    lookup: Arc<Blocking>,
    names: Arc<Mutex<BTreeMap<String, Name>>>,
    begun: Arc<AtomicU64>,
}

#[derive(Default)]
struct Name {
    // Set while a thread is at it.
    pending: Option<watch::Receiver<Option<Outcome>>>,
    answer: Option<Answer>,
    // When the last lookup began.
    begun: Option<Instant>,
}

struct Answer {
    // The real clock, not the runtime's: answers are shared between runtimes, and names are out in the world.
    since: Instant,
    addresses: Arc<[SocketAddr]>,
}

impl Lookups {
    pub(super) fn new(lookup: impl Fn(&str) -> Result<Vec<SocketAddr>, Failure> + Send + Sync + 'static) -> Lookups {
        Lookups { lookup: Arc::new(lookup), names: Arc::default(), begun: Arc::default() }
    }

    pub(super) fn resolve(&self, query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        if let Some(address) = query.literal() {
            return Box::pin(async move { Ok(vec![address]) });
        }
        let lookups = self.clone();
        Box::pin(async move {
            let asked = Instant::now();
            let outcome = loop {
                match lookups.find(&query, asked) {
                    Found::Answer(addresses) => break Ok(addresses),
                    Found::Pending(pending) => break outcome_of(pending).await,
                    Found::TooSoon(wait) => tokio::time::sleep(wait).await,
                }
            };
            let Query { host, port, .. } = query;
            match outcome {
                Ok(addresses) => Ok(with_port(&addresses, port)),
                Err(Failure::NotFound) => Err(ResolveError::NotFound { host }),
                Err(Failure::NoAddress) => Err(ResolveError::NoAddress { host }),
                Err(Failure::Other(message)) => Err(ResolveError::Failed { host, message }),
            }
        })
    }

    /// How many lookups were begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// An answer that is young enough, or the lookup in flight, which is begun if there is none and it is time.
    fn find(&self, query: &Query, asked: Instant) -> Found {
        let mut names = self.lock();
        let name = names.entry(query.host.clone()).or_default();
        // What came in while the question waited its turn is an answer to it, whatever age it takes.
        let is_young = |answer: &&Answer| {
            answer.since > asked || (!query.max_age.is_zero() && answer.since.elapsed() <= query.max_age)
        };
        if let Some(answer) = name.answer.as_ref().filter(is_young) {
            return Found::Answer(Arc::clone(&answer.addresses));
        }
        if let Some(pending) = &name.pending {
            return Found::Pending(pending.clone());
        }
        if let Some(wait) = name.begun.and_then(|begun| query.spacing.checked_sub(begun.elapsed())) {
            // Rounded up, since timers go by the millisecond.
            return Found::TooSoon(wait + Duration::from_millis(1));
        }
        let (sender, pending) = watch::channel(None);
        name.pending = Some(pending.clone());
        name.begun = Some(Instant::now());
        drop(names);
        self.begin(query.host.clone(), sender);
        Found::Pending(pending)
    }

    /// Looks `host` up on a thread of its own. Not one of the runtime's for blocking work: a resolver that does not answer
    /// would hold up the runtime's drop for as long.
    fn begin(&self, host: String, sender: watch::Sender<Option<Outcome>>) {
        self.begun.fetch_add(1, Ordering::Relaxed);
        let task = Task { lookups: self.clone(), host, sender };
        let spawned = thread::Builder::new().name("tether-resolve".to_owned()).spawn(move || task.run());
        // The task went down with the closure, and said so to whoever waits.
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a name lookup");
        }
    }

    fn finish(&self, host: &str, outcome: &Outcome) {
        let mut names = self.lock();
        // The name stays without an answer, too: its next lookup must not come too soon.
        let name = names.entry(host.to_owned()).or_default();
        name.pending = None;
        if let Ok(addresses) = outcome {
            name.answer = Some(Answer { since: Instant::now(), addresses: Arc::clone(addresses) });
        }
        if names.len() > CAPACITY {
            forget_oldest(&mut names);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Name>> {
        lock(&self.names)
    }
}

enum Found {
    Answer(Arc<[SocketAddr]>),
    Pending(watch::Receiver<Option<Outcome>>),
    /// It is this much too early for the next lookup.
    TooSoon(Duration),
}

/// One lookup. However it goes down, those who wait hear of it and the name is free for the next one.
struct Task {
    lookups: Lookups,
    host: String,
    sender: watch::Sender<Option<Outcome>>,
}

impl Task {
    fn run(self) {
        let outcome = (self.lookups.lookup)(&self.host);
        self.end(outcome.and_then(distinct));
    }

    fn end(&self, outcome: Outcome) {
        // The name first: whoever is woken may ask again at once.
        self.lookups.finish(&self.host, &outcome);
        self.sender.send_replace(Some(outcome));
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        if self.sender.borrow().is_none() {
            self.end(Err(Failure::Other("the lookup was given up".to_owned())));
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

fn with_port(addresses: &[SocketAddr], port: u16) -> Vec<SocketAddr> {
    let ported = addresses.iter().map(|address| {
        let mut address = *address;
        address.set_port(port);
        address
    });
    ported.collect()
}

fn forget_oldest(names: &mut BTreeMap<String, Name>) {
    let idle = names.iter().filter(|(_, name)| name.pending.is_none());
    let oldest = idle.min_by_key(|(_, name)| name.begun).map(|(host, _)| host.clone());
    if let Some(host) = oldest {
        names.remove(&host);
    }
}

#[cfg(test)]
mod tests;
