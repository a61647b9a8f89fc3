//! Listening to one sentinel for news of the primary, and to another one when that ends. What is heard is only a reason to ask:
//! the answers say where the primary is, and whether whoever announced it is alone with that.

use std::convert::Infallible;
use std::net::SocketAddr;

use redis::Value;
use redis_tether_core::Lane;
use redis_tether_core::pacing::{Pacing, PacingSettings};
use tokio::time::{Instant, sleep_until, timeout};

use super::{SentinelError, Sentinels};
use crate::question::{Line, failed, text};

/// The primary is another one: said by each sentinel when it learns of it.
const SWITCHED: &str = "+switch-master";
/// It will be another one: said by the sentinel that leads the failover, which announces the switch only when the other
/// replicas follow, and by then the old one may have taken writes that are lost.
const PROMOTED: &str = "+promoted-slave";

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
}

impl Sentinels {
    /// Listens for ever, and says what gives cause to ask. Cancel safe: dropping the future closes the socket.
    pub(crate) async fn listen(
        &self,
        pacing: PacingSettings,
        mut rng: fastrand::Rng,
        heard: impl Fn(News),
    ) -> Infallible {
        let origin = Instant::now();
        let mut pacing = Pacing::new(pacing);
        loop {
            let mut since = None;
            let Err(error) = self.subscribe(&heard, || since = Some(origin.elapsed())).await;
            tracing::debug!(%error, "no sentinel is listened to");
            let now = origin.elapsed();
            let next = match since {
                Some(since) => pacing.lost(since, now, &mut rng),
                None => pacing.failed(now, error.lane(), &mut rng),
            };
            sleep_until(origin + next).await;
        }
    }

    async fn subscribe(&self, heard: &impl Fn(News), begun: impl FnOnce()) -> Result<Infallible, SentinelError> {
        let (node, turn) = self.take_turn();
        let places = self.find(node, self.config.resolve.fast_interval).await?;
        let at = places[turn / self.nodes().len() % places.len()];
        let mut line = self.within_limit(at, self.begin(at)).await?;
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
            Some(Value::ServerError(error)) => {
                Err(failed::refused(line.at(), &error, self.endpoint.password.as_ref()).into())
            }
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
