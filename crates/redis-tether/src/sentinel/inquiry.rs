//! Asking sentinels where the primary is: one of them while all is well, all of them otherwise. All are asked at once, and the
//! answer is there as soon as one of them knows better than what stood, or most agree; those who are slow or dead hold up
//! nobody who has an answer.

use std::net::SocketAddr;
use std::time::Duration;

use redis::{Cmd, ServerError, Value};
use redis_tether_core::Address;
use tokio::time::{Instant, timeout, timeout_at};

use super::claims::{Claim, is_majority, ranked, verdict};
use super::listener::News;
use super::{SentinelError, Sentinels};
use crate::lock::lock;
use crate::question::{Fan, Line, failed, text};
use crate::resolve::Lifetime;

/// After the first answer the others are waited for no longer than this: most of them are on the same network, and recovery
/// waits for it where one is frozen and two disagree.
const GRACE: Duration = Duration::from_millis(50);

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

/// What has come in so far.
struct Hearing {
    /// How many sentinels there are, as far as is known.
    sentinels: usize,
    asked: Vec<SocketAddr>,
    claims: Vec<Claim>,
    errors: Vec<SentinelError>,
    /// Whose word is waited for.
    awaited: Option<News>,
    /// What whoever announced something says, if it would not tell the epoch.
    announced: Option<Claim>,
}

enum Report {
    Found(Result<Vec<SocketAddr>, SentinelError>),
    Said(SocketAddr, Result<Claim, SentinelError>),
}

impl Sentinels {
    /// Asks. Bounded by the lookups of names and [`Sentinels::limit`]. Cancel safe: dropping the future closes every socket.
    pub(crate) async fn ask(&self, inquiry: Inquiry) -> Result<Word, SentinelError> {
        if inquiry.all_is_well
            && let Some(word) = self.ask_one(inquiry.max_age, inquiry.lifetime).await
        {
            return Ok(word);
        }
        let hearing = self.ask_all(inquiry).await;
        self.weigh(hearing, inquiry.max_age).await
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

    async fn ask_all(&self, inquiry: Inquiry) -> Hearing {
        let mut hearing = Hearing::new(self.nodes().len(), inquiry.news);
        let mut fan = Fan::new();
        if let Some(at) = inquiry.news.map(News::by) {
            fan.add(async move { Report::Said(at, self.question(at).await) });
        }
        for node in 0..self.nodes().len() {
            fan.add(async move { Report::Found(self.find(node, inquiry.max_age, Lifetime::Ignored).await) });
        }
        let standing = lock(&self.memory).standing.clone();
        let mut until = None;
        loop {
            let report = match until {
                Some(until) => timeout_at(until, fan.next()).await.unwrap_or_default(),
                None => fan.next().await,
            };
            let Some(report) = report else { return hearing };
            for at in hearing.note(report) {
                fan.add(async move { Report::Said(at, self.question(at).await) });
            }
            if hearing.is_decided(standing.as_ref()) {
                return hearing;
            }
            if !hearing.claims.is_empty() {
                until.get_or_insert_with(|| Instant::now() + GRACE);
            }
        }
    }

    async fn weigh(&self, hearing: Hearing, max_age: Duration) -> Result<Word, SentinelError> {
        let standing = lock(&self.memory).standing.clone();
        let mut places = verdict(&hearing.claims, hearing.sentinels, standing.as_ref());
        if let Some(announced) = &hearing.announced {
            places.retain(|place| !place.names_the_same(announced));
            places.insert(0, announced.clone());
        }
        let Some(best) = places.first().cloned() else {
            return Err(SentinelError::of_all(hearing.errors, SentinelError::NoPrimary));
        };
        let is_move = |standing: &Claim| {
            best.supersedes(standing) || hearing.announced.is_some() && !best.names_the_same(standing)
        };
        let has_moved = standing.as_ref().is_some_and(is_move);
        if has_moved {
            places.truncate(1);
        }
        let mut addresses: Vec<Address> = Vec::new();
        let mut error = None;
        for place in &places {
            match self.locate_within(place, max_age, Lifetime::Ignored).await {
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

impl Hearing {
    fn new(nodes: usize, news: Option<News>) -> Self {
        Hearing {
            sentinels: nodes + news.iter().len(),
            asked: news.map(News::by).into_iter().collect(),
            claims: Vec::new(),
            errors: Vec::new(),
            awaited: news,
            announced: None,
        }
    }

    /// Takes in a report, and says who else is to be asked.
    fn note(&mut self, report: Report) -> Vec<SocketAddr> {
        match report {
            Report::Found(Ok(places)) => {
                // A name turns out to be so many sentinels, some of which may be known by another name.
                let news: Vec<_> = places.into_iter().filter(|place| !self.asked.contains(place)).collect();
                self.sentinels = self.sentinels + news.len() - 1;
                self.asked.extend(&news);
                return news;
            }
            // It counts as one that does not answer.
            Report::Found(Err(error)) => self.errors.push(error),
            Report::Said(at, said) => {
                let news = self.awaited.take_if(|awaited| awaited.by() == at);
                match said {
                    Ok(claim) => {
                        if matches!(news, Some(News::Announced(_))) && claim.epoch.is_none() {
                            self.announced = Some(claim.clone());
                        }
                        self.claims.push(claim);
                    }
                    Err(error) => self.errors.push(error),
                }
            }
        }
        Vec::new()
    }

    /// Whether what others may say would change little.
    fn is_decided(&self, standing: Option<&Claim>) -> bool {
        let ranked = ranked(&self.claims);
        let Some(best) = ranked.first() else { return false };
        let knows_better = standing.is_some_and(|standing| best.claim.supersedes(standing));
        knows_better || self.awaited.is_none() && is_majority(best.votes, self.sentinels)
    }
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
