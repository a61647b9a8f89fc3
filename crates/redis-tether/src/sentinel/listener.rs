//! Listening to sentinels for news of the primary: to several, since the one that leads a failover knows first, before the other
//! replicas follow and up to two seconds before it has told the other sentinels, and the old primary takes writes until then that
//! are lost. What is heard is only a reason to ask: the answers say where the primary is, and whether whoever announced it is
//! alone with that.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use redis::Value;
use redis_tether_core::Lane;
use redis_tether_core::pacing::{Pacing, PacingSettings};
use tokio::time::{Instant, sleep_until, timeout};

use super::{SentinelError, Sentinels};
use crate::lock::lock;
use crate::question::{Fan, Line, failed, text};
use crate::resolve::Lifetime;

/// The primary is another one: said by each sentinel when it learns of it.
const SWITCHED: &str = "+switch-master";
/// It will be another one: said by the sentinel that leads the failover, which announces the switch only when the other
/// replicas follow, and by then the old one may have taken writes that are lost.
const PROMOTED: &str = "+promoted-slave";

/// So many are listened to at most: all of them, almost everywhere.
const MOST_LISTENED_TO: usize = 5;

/// How soon an ear that found nobody left to listen to looks around again. Sentinels are rarely added.
const LOOK_AROUND: Duration = Duration::from_secs(30);

/// Cause to ask, and the sentinel that gave it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum News {
    /// It is listened to from now on: what it announced before was missed.
    Began(SocketAddr),
    /// It has announced something about the primary.
    Announced(SocketAddr),
}

impl News {
    pub(super) fn by(self) -> SocketAddr {
        match self {
            News::Began(at) | News::Announced(at) => at,
        }
    }

    /// What is left to ask about after this, where there was something before.
    pub(crate) fn after(self, pending: Option<News>) -> News {
        match (pending, self) {
            (Some(announced @ News::Announced(_)), News::Began(_)) => announced,
            _ => self,
        }
    }
}

/// What hears one sentinel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ear {
    /// It is being subscribed to.
    Opening,
    Open,
}

/// How an ear came off.
enum Deaf {
    Failed(SentinelError),
    /// Every sentinel that was found is listened to, or another ear sees to it.
    NobodyLeft,
}

impl Sentinels {
    /// Listens for ever, and says what gives cause to ask. Cancel safe: dropping the future closes the sockets.
    pub(crate) async fn listen(
        &self,
        pacing: PacingSettings,
        mut rng: fastrand::Rng,
        heard: impl Fn(News) + Sync,
    ) -> Infallible {
        let mut ears = Fan::wide(MOST_LISTENED_TO);
        for _ in 0..MOST_LISTENED_TO {
            ears.add(self.keep_listening(pacing, rng.fork(), &heard));
        }
        // None of them ends.
        match ears.next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// Listens to one, and to another one when that ends.
    async fn keep_listening(
        &self,
        pacing: PacingSettings,
        mut rng: fastrand::Rng,
        heard: &(impl Fn(News) + Sync),
    ) -> Infallible {
        let origin = Instant::now();
        let mut pacing = Pacing::new(pacing);
        loop {
            let mut since = None;
            let Err(deaf) = self.listen_to_one(heard, || since = Some(origin.elapsed())).await;
            let now = origin.elapsed();
            let next = match (&deaf, since) {
                (Deaf::NobodyLeft, _) => now + LOOK_AROUND.mul_f64(1.0 - rng.f64() / 2.0),
                (Deaf::Failed(_), Some(since)) => pacing.lost(since, now, &mut rng),
                (Deaf::Failed(error), None) => {
                    let by_pace = pacing.failed(now, error.lane(), &mut rng);
                    // As long as somebody is listened to, nothing presses.
                    let settled = now + self.config.resolve.interval.mul_f64(1.0 - rng.f64() / 2.0);
                    if self.listens_to_nobody() { by_pace } else { by_pace.max(settled) }
                }
            };
            if let Deaf::Failed(error) = deaf {
                let endpoint = self.config.endpoint.to_string();
                tracing::debug!(endpoint, %error, "a sentinel is not listened to");
            }
            sleep_until(origin + next).await;
        }
    }

    async fn listen_to_one(&self, heard: &(impl Fn(News) + Sync), begun: impl FnOnce()) -> Result<Infallible, Deaf> {
        let mut failure = None;
        for _ in self.nodes() {
            match self.next_unheard().await {
                Ok(Some(seat)) => {
                    let Err(error) = self.subscribe(&seat, heard, begun).await;
                    lock(&self.memory).failed_at.insert(seat.at, Instant::now());
                    return Err(Deaf::Failed(error));
                }
                Ok(None) => {}
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.map_or(Deaf::NobodyLeft, Deaf::Failed))
    }

    /// A place of the node whose turn it is to which nobody listens yet; it is ours until the seat is dropped.
    async fn next_unheard(&self) -> Result<Option<Seat<'_>>, SentinelError> {
        let (node, turn) = self.take_turn();
        let presses = self.listens_to_nobody();
        let lifetime = if presses { Lifetime::Ignored } else { Lifetime::Kept };
        let mut places = self.find(node, self.config.resolve.fast_interval, lifetime).await?;
        let first = turn / self.nodes().len() % places.len();
        places.rotate_left(first);
        let mut memory = lock(&self.memory);
        let (now, interval) = (Instant::now(), self.config.resolve.interval);
        // What one ear failed at is not tried by the next.
        memory.failed_at.retain(|_, at| now < *at + interval / 2);
        let is_free =
            |place: &SocketAddr| !memory.ears.contains_key(place) && (presses || !memory.failed_at.contains_key(place));
        let free = places.into_iter().find(is_free);
        Ok(free.map(|at| {
            memory.ears.insert(at, Ear::Opening);
            Seat { sentinels: self, at }
        }))
    }

    fn listens_to_nobody(&self) -> bool {
        !lock(&self.memory).ears.values().any(|ear| *ear == Ear::Open)
    }

    async fn subscribe(
        &self,
        Seat { at, .. }: &Seat<'_>,
        heard: &(impl Fn(News) + Sync),
        begun: impl FnOnce(),
    ) -> Result<Infallible, SentinelError> {
        let at = *at;
        let mut line = self.within_limit(at, self.begin(at)).await?;
        lock(&self.memory).ears.insert(at, Ear::Open);
        begun();
        heard(News::Began(at));
        loop {
            let value = match timeout(self.config.detection.probe_interval, line.next()).await {
                Ok(value) => value?,
                // Nothing happens for days; a sentinel that is frozen, or behind a cut, would be taken for a quiet one.
                Err(_) => self.within_limit(at, ping(&mut line)).await?,
            };
            if is_about(&value, &self.endpoint.master) {
                heard(News::Announced(at));
            }
        }
    }

    async fn begin(&self, at: SocketAddr) -> Result<Line, SentinelError> {
        let mut line = self.open(at).await?;
        let mut subscribe = redis::cmd("SUBSCRIBE");
        subscribe.arg(SWITCHED).arg(PROMOTED);
        // One confirmation for each channel comes; news may come in between, and the first inquiry will tell them.
        match line.ask(&[subscribe]).await?.pop() {
            Some(Value::ServerError(error)) => Err(line.refused(&error).into()),
            _ => Ok(line),
        }
    }

    async fn within_limit<T>(
        &self,
        at: SocketAddr,
        work: impl Future<Output = Result<T, SentinelError>>,
    ) -> Result<T, SentinelError> {
        let limit = self.limit();
        timeout(limit, work).await.unwrap_or_else(|_| Err(failed::timed_out(&at.into(), limit).into()))
    }
}

/// A sentinel that one ear has to itself.
struct Seat<'a> {
    sentinels: &'a Sentinels,
    at: SocketAddr,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        lock(&self.sentinels.memory).ears.remove(&self.at);
    }
}

impl SentinelError {
    fn lane(&self) -> Lane {
        match self {
            SentinelError::Failed(error) => error.kind().lane(),
            SentinelError::NotFound(_) => Lane::Unreachable,
            _ => Lane::Rejected,
        }
    }
}

/// Whatever comes next shows that somebody is there.
async fn ping(line: &mut Line) -> Result<Value, SentinelError> {
    line.send(&[redis::cmd("PING")]).await?;
    Ok(line.next().await?)
}

/// Whether this is news of this master: `NAME IP PORT IP PORT`, or `slave ... @ NAME IP PORT`.
fn is_about(message: &Value, master: &str) -> bool {
    let Value::Array(parts) = message else { return false };
    let [kind, channel, payload] = parts.as_slice() else { return false };
    let (Some("message"), Some(channel), Some(payload)) = (text(kind), text(channel), text(payload)) else {
        return false;
    };
    let mut words = payload.split(' ');
    let name = match channel {
        SWITCHED => words.next(),
        PROMOTED => words.skip_while(|word| *word != "@").nth(1),
        _ => None,
    };
    name == Some(master)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(channel: &str, payload: &str) -> Value {
        let bulk = |text: &str| Value::BulkString(text.into());
        Value::Array(vec![bulk("message"), bulk(channel), bulk(payload)])
    }

    #[test]
    fn news_of_other_masters_is_none() {
        let switched = |payload| message(SWITCHED, payload);
        let promoted = |payload| message(PROMOTED, payload);
        assert!(is_about(&switched("mymaster 10.0.0.1 6379 10.0.0.2 6379"), "mymaster"));
        assert!(is_about(&promoted("slave 10.0.0.2:6379 10.0.0.2 6379 @ mymaster 10.0.0.1 6379"), "mymaster"));
        assert!(!is_about(&switched("other 10.0.0.1 6379 10.0.0.2 6379"), "mymaster"));
        assert!(!is_about(&promoted("slave mymaster 10.0.0.2 6379 @ other 10.0.0.1 6379"), "mymaster"));
        assert!(!is_about(&message("+sdown", "master mymaster"), "mymaster"));
        assert!(!is_about(&Value::Array(Vec::new()), "mymaster"));
    }
}
