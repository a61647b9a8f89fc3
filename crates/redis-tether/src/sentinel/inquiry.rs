//! Asking sentinels where the primary is: one of them while all is well, all of them otherwise. All are asked at once, and the
//! answer is there as soon as one of them knows better than what stood, or most agree; those who are slow or dead hold up
//! nobody who has an answer.

use std::net::SocketAddr;
use std::time::Duration;

use redis::{Cmd, ServerError, Value};
use redis_tether_core::Address;
use tokio::time::timeout;

use super::claims::{Claim, is_majority, ranked, verdict};
use super::listener::News;
use super::{SentinelError, Sentinels};
use crate::lock::lock;
use crate::question::{Canvass, Hearing, Line, failed, text};
use crate::resolve::Lifetime;

/// A question to the sentinels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Inquiry {
    /// While it says what is known, one is enough.
    pub(crate) all_is_well: bool,
    /// How old the answers of the resolver may be.
    pub(crate) max_age: Duration,
    /// What their time to live is worth, while all is well. Where it is not, it is worth nothing.
    pub(crate) lifetime: Lifetime,
    /// What gave cause to ask: whoever it was is heard, whatever the others say.
    pub(crate) news: Option<News>,
}

/// What the sentinels say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Word {
    /// Where the primary is, the best guess first.
    pub(crate) addresses: Vec<Address>,
    /// It has moved there since they were asked before.
    pub(crate) has_moved: bool,
}

type Claims = Hearing<Claim, SentinelError>;

impl Sentinels {
    /// Asks. Bounded by the lookups of names and [`Sentinels::limit`]. Cancel safe: dropping the future closes every socket.
    pub(crate) async fn ask(&self, inquiry: Inquiry) -> Result<Word, SentinelError> {
        if inquiry.all_is_well
            && let Some(word) = self.ask_one(inquiry.max_age, inquiry.lifetime).await
        {
            return Ok(word);
        }
        let hearing = self.ask_all(inquiry).await;
        self.weigh(hearing, inquiry).await
    }

    /// The word of one of them, if it is what stands.
    async fn ask_one(&self, max_age: Duration, lifetime: Lifetime) -> Option<Word> {
        let standing = lock(&self.memory).standing.clone()?;
        let (node, turn) = self.take_turn();
        let places = self.find(node, max_age, lifetime).await.ok()?;
        let at = places.get(turn / self.nodes().len() % places.len())?;
        let claim = self.question(*at).await.ok()?;
        // An earlier epoch may be that of sentinels that were all set up anew.
        if claim != standing {
            return None;
        }
        let addresses = self.locate_within(&standing, max_age, lifetime).await.ok()?;
        Some(Word { addresses, has_moved: false })
    }

    async fn ask_all(&self, inquiry: Inquiry) -> Claims {
        let mut canvass = Canvass::new(|at| self.question(at));
        if let Some(news) = inquiry.news {
            canvass.ask(news.by());
        }
        for node in 0..self.nodes().len() {
            canvass.look_up(self.find(node, inquiry.max_age, Lifetime::Ignored));
        }
        let standing = lock(&self.memory).standing.clone();
        canvass.until(|hearing| is_decided(hearing, standing.as_ref(), inquiry.news)).await
    }

    async fn weigh(&self, hearing: Claims, inquiry: Inquiry) -> Result<Word, SentinelError> {
        let standing = lock(&self.memory).standing.clone();
        let mut places = verdict(hearing.answers(), hearing.size(), standing.as_ref());
        let announced = announced(&hearing, inquiry.news);
        if let Some(announced) = announced {
            places.retain(|place| !place.names_the_same(announced));
            places.insert(0, announced.clone());
        }
        let Some(best) = places.first().cloned() else {
            return Err(SentinelError::of_all(hearing.into_parts().1, SentinelError::NoPrimary));
        };
        let is_move =
            |standing: &Claim| best.supersedes(standing) || announced.is_some() && !best.names_the_same(standing);
        let has_moved = standing.as_ref().is_some_and(is_move);
        if has_moved {
            places.truncate(1);
        }
        let mut addresses: Vec<Address> = Vec::new();
        let mut error = None;
        for place in &places {
            match self.locate_within(place, inquiry.max_age, Lifetime::Ignored).await {
                Ok(located) => addresses.extend(located),
                Err(cause) => error = Some(cause),
            }
        }
        match error {
            Some(error) if addresses.is_empty() => Err(error),
            _ => {
                lock(&self.memory).standing = Some(best);
                Ok(Word { addresses, has_moved })
            }
        }
    }

    async fn locate_within(
        &self,
        claim: &Claim,
        max_age: Duration,
        lifetime: Lifetime,
    ) -> Result<Vec<Address>, SentinelError> {
        let host = || claim.host.clone();
        let located = timeout(self.limit(), self.locate(claim, max_age, lifetime)).await;
        located
            .unwrap_or_else(|_| Err(SentinelError::NotLocated(crate::resolve::ResolveError::TimedOut { host: host() })))
    }

    /// Asks the sentinel at this address.
    async fn question(&self, at: SocketAddr) -> Result<Claim, SentinelError> {
        let limit = self.limit();
        let said = async {
            let mut line = self.open(at).await?;
            let master = &self.endpoint.master;
            let questions = [sentinel("GET-MASTER-ADDR-BY-NAME", master), sentinel("MASTER", master)];
            let mut replies = line.ask(&questions).await?.into_iter();
            let mut claim = self.read_address(&line, replies.next().unwrap_or_default())?;
            claim.epoch = replies.next().as_ref().and_then(config_epoch);
            Ok(claim)
        };
        timeout(limit, said).await.unwrap_or_else(|_| Err(failed::timed_out(&Address::Tcp(at), limit).into()))
    }

    fn read_address(&self, line: &Line, reply: Value) -> Result<Claim, SentinelError> {
        let at = line.at();
        match reply {
            Value::Nil => {
                Err(SentinelError::UnknownMaster { at: at.to_string(), master: self.endpoint.master.clone() })
            }
            Value::ServerError(error) if is_unknown(&error) => Err(SentinelError::NotASentinel { at: at.to_string() }),
            Value::ServerError(error) => Err(line.refused(&error).into()),
            Value::Array(parts) => read_claim(&parts).ok_or_else(|| failed::protocol(at, NO_ADDRESS).into()),
            _ => Err(failed::protocol(at, NO_ADDRESS).into()),
        }
    }
}

/// Whether what others may say would change little.
fn is_decided(hearing: &Claims, standing: Option<&Claim>, news: Option<News>) -> bool {
    let ranked = ranked(hearing.answers());
    let Some(best) = ranked.first() else { return false };
    let knows_better = standing.is_some_and(|standing| best.claim.supersedes(standing));
    let is_awaited = news.is_some_and(|news| hearing.awaits(news.by()));
    knows_better || !is_awaited && is_majority(best.votes, hearing.size())
}

/// What whoever announced something says, if it would not tell the epoch.
fn announced(hearing: &Claims, news: Option<News>) -> Option<&Claim> {
    let Some(News::Announced(by)) = news else { return None };
    hearing.answer_of(by).filter(|claim| claim.epoch.is_none())
}

const NO_ADDRESS: &str = "its answer is no address of a primary";

pub(super) fn sentinel(subcommand: &str, master: &str) -> Cmd {
    let mut command = redis::cmd("SENTINEL");
    command.arg(subcommand).arg(master);
    command
}

/// A server's answer to a sentinel's command. Some proxies say so in other words, and their answer is shown as it is.
pub(super) fn is_unknown(error: &ServerError) -> bool {
    error.details().is_some_and(|detail| detail.starts_with("unknown command"))
}

fn read_claim(parts: &[Value]) -> Option<Claim> {
    let [host, port] = parts else { return None };
    let (host, port) = (text(host)?, text(port)?.parse().ok()?);
    (!host.is_empty() && port != 0).then(|| Claim { host: host.to_owned(), port, epoch: None })
}

/// Of the pairs that `SENTINEL MASTER` answers with. Where that is denied, only the place is known.
fn config_epoch(reply: &Value) -> Option<u64> {
    let Value::Array(fields) = reply else { return None };
    let pair = fields.chunks_exact(2).find(|pair| text(&pair[0]) == Some("config-epoch"))?;
    text(&pair[1])?.parse().ok()
}
