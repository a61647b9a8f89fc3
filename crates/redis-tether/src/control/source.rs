//! Where an endpoint's addresses come from: a name that a resolver is asked for, sentinels, or the slot map of a cluster. The endpoint watcher asks one of
//! these and decides when; what else may answer, or speak up by itself, belongs here.

use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::Address;
use redis_tether_core::recovery::ResolvePace;

use super::Control;
use crate::cluster::{ShardSource, SurveyError, Whereabouts};
use crate::config::Endpoint;
use crate::dial::Connector;
use crate::dial::wanted::Wanted;
use crate::resolve::{Lifetime, Query, Resolve, ResolveError};
use crate::sentinel::{Inquiry, News, SentinelError, Sentinels, Word};

/// Where to ask.
#[derive(Clone)]
pub(crate) enum Source {
    Name {
        host: String,
        port: u16,
        resolver: Arc<dyn Resolve>,
        /// Of a replica, whose certificate may be for what it is announced as: to be told which addresses that is.
        announced_to: Option<Connector>,
    },
    Sentinels(Arc<Sentinels>),
    Shard(Arc<ShardSource>),
}

/// How to ask.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking {
    pub(crate) pace: ResolvePace,
    /// How old an answer may be that somebody else was given.
    pub(crate) max_age: Duration,
    /// How soon after the last lookup of anybody the next may begin.
    pub(crate) spacing: Duration,
    pub(crate) lifetime: Lifetime,
    /// What a sentinel gave cause to ask.
    pub(crate) news: Option<News>,
}

/// What the endpoint means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) addresses: Vec<Address>,
    pub(crate) evidence: Evidence,
}

/// What an answer proves against an address that it does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Evidence {
    /// Little: resolvers rotate, lag and lose records.
    Named,
    /// Whoever appoints primaries has appointed another one.
    Announced,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum SourceError {
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    #[error(transparent)]
    Sentinel(#[from] SentinelError),
    #[error(transparent)]
    Cluster(#[from] SurveyError),
}

impl Source {
    /// That of the configured endpoint; `None` where there is nothing to ask.
    pub(crate) fn of(control: &Control) -> Option<Source> {
        let resolver = control.resolver.clone();
        match &control.config.endpoint {
            Endpoint::Tcp { host, port } => {
                let announced_to = (control.wanted != Wanted::Primary).then(|| control.connector.clone());
                Some(Source::Name { host: host.clone(), port: *port, resolver, announced_to })
            }
            Endpoint::Sentinel(endpoint) => {
                let (config, entrance) = (control.config.clone(), control.sentinels.clone());
                let turn = usize::from(control.fork_rng().u16(..));
                Some(Source::Sentinels(Arc::new(Sentinels::new(config, endpoint.clone(), entrance, resolver, turn))))
            }
            Endpoint::Cluster(_) => control.shard.clone().map(Source::Shard),
            Endpoint::Unix { .. } => None,
        }
    }

    /// The sentinels that may have something to announce.
    pub(crate) fn announcers(&self) -> Option<Arc<Sentinels>> {
        match self {
            Source::Name { .. } | Source::Shard(_) => None,
            Source::Sentinels(sentinels) => Some(sentinels.clone()),
        }
    }

    /// The shard whose place may change by what others found out.
    pub(crate) fn shard(&self) -> Option<Arc<ShardSource>> {
        match self {
            Source::Shard(shard) => Some(shard.clone()),
            Source::Name { .. } | Source::Sentinels(_) => None,
        }
    }

    /// Asks. Its caller bounds the waiting. Cancel safe. Idle tethers keep this future, and most ask for a name: what others need is on
    /// the heap while it is needed.
    pub(crate) async fn ask(&self, asking: Asking) -> Result<Answer, SourceError> {
        match self {
            Source::Name { host, port, resolver, announced_to } => {
                let query = Query::new(host, *port).with_max_age(asking.max_age).with_spacing(asking.spacing);
                let query = query.with_lifetime(asking.lifetime);
                // Asked in here and not before, since it may panic while it is asked as well as while it answers.
                let addresses = resolver.resolve(query).await?;
                if addresses.is_empty() {
                    return Err(ResolveError::NoAddress { host: host.clone() }.into());
                }
                if let Some(connector) = announced_to {
                    addresses.iter().for_each(|address| connector.announce(*address, host));
                }
                let addresses = addresses.into_iter().map(Address::Tcp).collect();
                Ok(Answer { addresses, evidence: Evidence::Named })
            }
            Source::Sentinels(sentinels) => {
                let Asking { max_age, lifetime, news, .. } = asking;
                let all_is_well = asking.pace == ResolvePace::Settled && news.is_none();
                let inquiry = Inquiry { all_is_well, max_age, lifetime, news };
                let Word { addresses, has_moved } = Box::pin(sentinels.ask(inquiry)).await?;
                let evidence = if has_moved { Evidence::Announced } else { Evidence::Named };
                Ok(Answer { addresses, evidence })
            }
            Source::Shard(shard) => {
                let asked = Box::pin(shard.ask(asking.pace, asking.max_age, asking.lifetime));
                let Whereabouts { addresses, has_moved } = asked.await?;
                let evidence = if has_moved { Evidence::Announced } else { Evidence::Named };
                Ok(Answer { addresses, evidence })
            }
        }
    }

    /// What is reported when asking took too long.
    pub(crate) fn timed_out(&self) -> SourceError {
        match self {
            Source::Name { host, .. } => ResolveError::TimedOut { host: host.clone() }.into(),
            Source::Sentinels(_) => SentinelError::TimedOut.into(),
            Source::Shard(_) => SurveyError::TimedOut.into(),
        }
    }

    /// What is reported when asking died of a panic.
    pub(crate) fn panicked(&self) -> SourceError {
        match self {
            Source::Name { host, .. } => {
                ResolveError::Failed { host: host.clone(), message: "the resolver panicked".to_owned() }.into()
            }
            Source::Sentinels(_) => SentinelError::Panicked.into(),
            Source::Shard(_) => SurveyError::Panicked.into(),
        }
    }
}

impl SourceError {
    /// Whether asking again cannot help until somebody has changed a configuration.
    pub(crate) fn is_for_people(&self) -> bool {
        match self {
            SourceError::Resolve(_) => false,
            SourceError::Sentinel(error) => error.is_for_people(),
            SourceError::Cluster(error) => error.is_for_people(),
        }
    }
}
