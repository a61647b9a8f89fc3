//! A DNS whose answers the test decides, and moves while the client runs.
//!
//! Tests call it from both sides: they script the answers, and the client under test asks through
//! [`Dns::lookup`] (put it behind whatever resolver seam your client has). It never sends a packet and keeps no cache:
//! an answer that was set is what the next lookup gets.

mod server;
mod wire;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::server::{DnsServer, Srv};
use crate::wait::{Signal, TimedOut};

/// A table of names, shared by all its clones.
///
/// A name that was never set does not exist (`NotFound`). Names are compared without regard to case and to one trailing
/// dot. Time is tokio's, so everything works under a paused clock.
///
/// ```
/// # use redis_tether_testkit::Dns;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let dns = Dns::new();
/// dns.set("redis.test", vec!["127.0.0.2".parse().unwrap()]);
/// assert_eq!(dns.lookup("redis.test", 6379).await?, ["127.0.0.2:6379".parse().unwrap()]);
/// dns.set("redis.test", vec!["127.0.0.3".parse().unwrap()]); // the failover
/// assert_eq!(dns.lookup("redis.test", 6379).await?, ["127.0.0.3:6379".parse().unwrap()]);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Dns {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    names: Mutex<BTreeMap<String, Name>>,
    changed: Signal,
    asked: Signal,
}

#[derive(Debug)]
struct Name {
    answer: Answer,
    delay: Duration,
    lookups: u64,
    in_flight: u64,
    most_in_flight: u64,
}

#[derive(Clone, Debug)]
enum Answer {
    Missing,
    Fail,
    Hang,
    Rotate { answers: Vec<Vec<IpAddr>>, next: usize },
}

impl Dns {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `name` has these addresses. An empty list means that the name exists and has none, which a lookup
    /// reports as `NotFound`, as the system's resolver does.
    pub fn set(&self, name: &str, addresses: Vec<IpAddr>) {
        self.rotate(name, vec![addresses]);
    }

    /// From now on every lookup of `name` gets the next of these answers, and the first again after the last.
    pub fn rotate(&self, name: &str, answers: Vec<Vec<IpAddr>>) {
        self.change(name, |entry| entry.answer = Answer::Rotate { answers, next: 0 });
    }

    /// From now on lookups of `name` fail at once, as if the resolver were out of order.
    pub fn fail(&self, name: &str) {
        self.change(name, |entry| entry.answer = Answer::Fail);
    }

    /// From now on lookups of `name` get no answer, until something else is set for it: then the waiting lookups get
    /// that.
    pub fn hang(&self, name: &str) {
        self.change(name, |entry| entry.answer = Answer::Hang);
    }

    /// From now on `name` does not exist.
    pub fn remove(&self, name: &str) {
        self.change(name, |entry| entry.answer = Answer::Missing);
    }

    /// From now on a lookup of `name` takes this long. Default: zero. The answer is the one that is set when the time
    /// has passed.
    pub fn delay(&self, name: &str, delay: Duration) {
        self.change(name, |entry| entry.delay = delay);
    }

    /// Lookups of `name` that were started so far.
    pub fn lookups(&self, name: &str) -> u64 {
        self.names().get(&key(name)).map_or(0, |entry| entry.lookups)
    }

    /// Lookups of `name` that wait for their answer right now.
    pub fn lookups_in_flight(&self, name: &str) -> u64 {
        self.names().get(&key(name)).map_or(0, |entry| entry.in_flight)
    }

    /// The largest number of lookups of `name` that ever waited at the same time.
    pub fn most_lookups_in_flight(&self, name: &str) -> u64 {
        self.names().get(&key(name)).map_or(0, |entry| entry.most_in_flight)
    }

    /// Looks `name` up: what the client under test calls in place of the system's resolver.
    ///
    /// Cancel safe: a lookup that is dropped no longer counts as in flight.
    ///
    /// # Errors
    /// `NotFound` for a name without addresses, `Other` while it is scripted to [`fail`](Self::fail).
    pub async fn lookup(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let key = key(name);
        let _in_flight = InFlight::begin(&self.shared, &key);
        let delay = self.with(&key, |entry| entry.delay);
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let answer = self.shared.changed.until(|| self.with(&key, Name::answer)).await;
        answer.map(|addresses| addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    /// Waits for the next change of any name. A change made after this call is seen even if the future was not polled
    /// yet.
    pub fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.shared.changed.next()
    }

    /// Waits until `name` was looked up `count` times altogether.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn looked_up(&self, name: &str, count: u64) -> Result<(), TimedOut> {
        let what = || format!("the lookups of {name}");
        self.shared.asked.until_at_least(what, count, || self.lookups(name)).await
    }

    fn change(&self, name: &str, change: impl FnOnce(&mut Name)) {
        self.with(&key(name), change);
        self.shared.changed.raise();
    }

    fn with<T>(&self, key: &str, act: impl FnOnce(&mut Name) -> T) -> T {
        act(self.names().entry(key.to_owned()).or_insert_with(Name::missing))
    }

    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Name>> {
        self.shared.names()
    }
}

impl Shared {
    /// A poisoned table is still a table: the panic that poisoned it is the test's own and is reported as such.
    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Name>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Name {
    fn missing() -> Self {
        Self { answer: Answer::Missing, delay: Duration::ZERO, lookups: 0, in_flight: 0, most_in_flight: 0 }
    }

    /// What a lookup gets now; `None` while it gets nothing.
    fn answer(&mut self) -> Option<io::Result<Vec<IpAddr>>> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "no such name");
        match &mut self.answer {
            Answer::Hang => None,
            Answer::Fail => Some(Err(io::Error::other("temporary failure in name resolution"))),
            Answer::Missing => Some(Err(missing())),
            Answer::Rotate { answers, next } => {
                let index = next.checked_rem(answers.len()).unwrap_or_default();
                *next = index + 1;
                let addresses = answers.get(index).cloned().unwrap_or_default();
                Some(if addresses.is_empty() { Err(missing()) } else { Ok(addresses) })
            }
        }
    }
}

/// Counts a lookup for as long as it lives.
struct InFlight<'a> {
    shared: &'a Shared,
    key: &'a str,
}

impl<'a> InFlight<'a> {
    fn begin(shared: &'a Shared, key: &'a str) -> Self {
        {
            let mut names = shared.names();
            let entry = names.entry(key.to_owned()).or_insert_with(Name::missing);
            entry.lookups += 1;
            entry.in_flight += 1;
            entry.most_in_flight = entry.most_in_flight.max(entry.in_flight);
        }
        shared.asked.raise();
        Self { shared, key }
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(entry) = self.shared.names().get_mut(self.key) {
            entry.in_flight -= 1;
        }
    }
}

fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const NAME: &str = "redis.test";

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    async fn ask(dns: &Dns) -> io::Result<Vec<IpAddr>> {
        dns.lookup(NAME, 6379).await.map(|found| found.into_iter().map(|addr| addr.ip()).collect())
    }

    #[tokio::test]
    async fn an_answer_holds_until_the_next_is_set() {
        let dns = Dns::new();
        assert_eq!(ask(&dns).await.expect_err("unset").kind(), io::ErrorKind::NotFound);
        dns.set(NAME, vec![ip(2), ip(3)]);
        assert_eq!(ask(&dns).await.expect("set"), [ip(2), ip(3)]);
        assert_eq!(ask(&dns).await.expect("still set"), [ip(2), ip(3)]);
        dns.fail(NAME);
        assert_eq!(ask(&dns).await.expect_err("failing").kind(), io::ErrorKind::Other);
        dns.set(NAME, vec![]);
        assert_eq!(ask(&dns).await.expect_err("empty").kind(), io::ErrorKind::NotFound);
        dns.remove(NAME);
        assert_eq!(ask(&dns).await.expect_err("removed").kind(), io::ErrorKind::NotFound);
        assert_eq!(dns.lookups(NAME), 6);
        assert_eq!(dns.lookups_in_flight(NAME), 0);
    }

    #[tokio::test]
    async fn rotating_answers_come_in_turn() {
        let dns = Dns::new();
        dns.rotate(NAME, vec![vec![ip(2)], vec![ip(3)]]);
        for last in [2, 3, 2, 3] {
            assert_eq!(ask(&dns).await.expect("set"), [ip(last)]);
        }
        dns.rotate(NAME, vec![]);
        assert!(ask(&dns).await.is_err());
    }

    #[tokio::test]
    async fn case_and_a_trailing_dot_make_no_other_name() {
        let dns = Dns::new();
        dns.set("Redis.Test.", vec![ip(2)]);
        assert_eq!(ask(&dns).await.expect("the same name"), [ip(2)]);
        assert_eq!(dns.lookups("redis.TEST"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lookup_that_hangs_is_released_by_the_next_answer() {
        let dns = Dns::new();
        dns.hang(NAME);
        let asking = tokio::spawn({
            let dns = dns.clone();
            async move { ask(&dns).await }
        });
        dns.looked_up(NAME, 1).await.expect("the lookup starts");
        assert_eq!(dns.lookups_in_flight(NAME), 1);
        assert!(!asking.is_finished());
        dns.set(NAME, vec![ip(9)]);
        assert_eq!(asking.await.expect("no panic").expect("released"), [ip(9)]);
        assert_eq!((dns.lookups_in_flight(NAME), dns.most_lookups_in_flight(NAME)), (0, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_lookup_is_no_longer_in_flight() {
        let dns = Dns::new();
        dns.hang(NAME);
        let gave_up = tokio::time::timeout(Duration::from_secs(1), ask(&dns)).await;
        assert!(gave_up.is_err());
        assert_eq!((dns.lookups(NAME), dns.lookups_in_flight(NAME)), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_delayed_lookup_takes_as_long_as_it_was_told() {
        let dns = Dns::new();
        dns.set(NAME, vec![ip(2)]);
        dns.delay(NAME, Duration::from_millis(700));
        let start = Instant::now();
        ask(&dns).await.expect("an answer");
        assert_eq!(start.elapsed(), Duration::from_millis(700));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_announced() {
        let dns = Dns::new();
        let changed = dns.changed();
        dns.set(NAME, vec![ip(2)]);
        tokio::time::timeout(Duration::from_secs(1), changed).await.expect("the change");
    }
}
