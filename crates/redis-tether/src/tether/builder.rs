//! A tether before it is started: what it is given beside its configuration, and how its parts are put together. Applications
//! call it, once for each tether; nothing runs until `start`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use ractor::{Actor, ActorCell};
#[cfg(feature = "tls-no-provider")]
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_util::sync::CancellationToken;

use super::means::Means;
use super::{Lifeline, StartError, Tether};
use crate::cluster::ShardSource;
use crate::config::{Config, ConfigError, Endpoint};
use crate::control::ending;
use crate::control::supervisor::{SupervisorMsg, TetherSupervisor};
use crate::control::{Brought, Control, Reports};
use crate::credentials::CredentialSource;
use crate::dial::wanted::Wanted;
use crate::event::Event;
use crate::gate::Gate;
use crate::handle::Flags;
use crate::resolve::Resolve;
use crate::shared::Shared;
use crate::stats::Counters;
use crate::transport::Transport;
use crate::turnstile::Turnstile;

/// A tether that is about to be started.
#[must_use = "a builder does nothing until `start`"]
pub struct TetherBuilder {
    config: Config,
    means: Means,
    cancelled_by: Option<CancellationToken>,
    supervisor: Option<ActorCell>,
    part: Option<Part>,
}

/// What makes it a tether that is kept by another one, or by a cluster.
pub(crate) struct Part {
    pub(crate) of: Whole,
    /// What it is called.
    pub(crate) name: Arc<str>,
    pub(crate) brought: Brought,
    /// Is told of every event, from the first on.
    pub(crate) told: Box<dyn Fn(&Event) -> bool + Send + Sync>,
}

/// What it is a part of.
pub(crate) enum Whole {
    /// A cluster, of which it follows this shard.
    Cluster(Arc<ShardSource>),
    /// The replicas of a primary, of which it is one.
    Replicas(Wanted),
}

impl TetherBuilder {
    pub(super) fn new(config: Config) -> TetherBuilder {
        TetherBuilder { config, means: Means::default(), cancelled_by: None, supervisor: None, part: None }
    }

    /// Asks this resolver what the endpoint's name means. Default: the system's.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.means.resolver = Some(Arc::new(resolver));
        self
    }

    /// Signs in with what this source answers, in place of the configuration's username and password. Asked for every dial,
    /// before what it answered expires, and where that is refused; the live link is signed in anew, and stays. Default:
    /// the configuration's.
    pub fn credentials(mut self, source: impl CredentialSource) -> Self {
        self.means.credentials = Some(Arc::new(source));
        self
    }

    /// Signs in to the sentinels with what this source answers, in place of the username and password in their endpoint. Asked for
    /// every connection to one of them, of which there is one in each [`resolve.interval`](crate::ResolveSettings::interval)
    /// while all is well, and where that is refused. Each signs in with what was answered last, if that has not expired or been
    /// refused, and else waits for an answer for a third of [`dial.connect_timeout`](crate::DialSettings::connect_timeout) (333 ms by
    /// default); one that comes later is there for the next. Means nothing without sentinels. Default: the endpoint's.
    pub fn sentinel_credentials(mut self, source: impl CredentialSource) -> Self {
        self.means.sentinel_credentials = Some(Arc::new(source));
        self
    }

    /// Connects through this transport. Default: sockets of the operating system.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.means.transport = Some(Arc::new(transport));
        self
    }

    /// Shuts the tether down when `token` is cancelled.
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.cancelled_by = Some(token);
        self
    }

    /// Starts the tether under this actor.
    pub fn supervisor(mut self, supervisor: ActorCell) -> Self {
        self.supervisor = Some(supervisor);
        self
    }

    /// The seed of all random numbers of this tether, for tests that must replay. Default: a random one. Without it, what
    /// the idle tethers of a process do every few seconds is done at common moments.
    pub fn seed(mut self, seed: u64) -> Self {
        self.means.seed = Some(seed);
        self
    }

    /// Encrypts with this provider, where the configuration asks for TLS. Default: the process's
    /// ([`CryptoProvider::install_default`]) if it has one, else ring with the feature `tls`.
    #[cfg(feature = "tls-no-provider")]
    pub fn tls_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.means.tls.provider = Some(provider);
        self
    }

    /// Trusts the authorities whose certificates are in this PEM text and no others, where the configuration asks for TLS.
    /// Goes before [`tls.ca_file`](crate::TlsSettings::ca_file), and never changes. Sentinels with TLS settings
    /// [of their own](crate::SentinelTls::Own) have [roots of their own](TetherBuilder::sentinel_tls_roots).
    #[cfg(feature = "tls-no-provider")]
    pub fn tls_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.means.tls.roots = Some(pem.into());
        self
    }

    /// The same for sentinels with TLS settings [of their own](crate::SentinelTls::Own).
    #[cfg(feature = "tls-no-provider")]
    pub fn sentinel_tls_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.means.sentinel_roots = Some(pem.into());
        self
    }

    /// Is a part of what somebody else keeps.
    pub(crate) fn part(mut self, part: Part) -> Self {
        self.part = Some(part);
        self
    }

    /// Starts the tether.
    ///
    /// # Errors
    /// As [`Tether::start`].
    ///
    /// # Panics
    /// As [`Tether::start`].
    pub async fn start(self) -> Result<Tether, StartError> {
        let settings = self.config.recovery_settings()?;
        let (brought, name, whole) = match self.part {
            Some(Part { of, name, brought, told }) => (brought, name, Some((of, told))),
            None if matches!(self.config.endpoint, Endpoint::Cluster(_)) => {
                return Err(ConfigError::cluster_for_tether().into());
            }
            None => (self.means.bring(&self.config).await?, self.config.endpoint.to_string().into(), None),
        };
        let config = Arc::new(self.config);
        let reports = Arc::new(Reports::default());
        let counters = Arc::new(Counters::default());
        let shared = Arc::new(Shared {
            gate: Gate::new(&config.commands, counters.clone()),
            turnstile: Turnstile::new(),
            counters,
            commands: config.commands.clone(),
            db: i64::from(config.db),
            endpoint: name,
            refusals: reports.clone(),
            flags: Flags::default(),
            is_stale: AtomicBool::new(false),
        });
        let (wanted, shard, told) = match whole {
            Some((Whole::Cluster(shard), told)) => (Wanted::Primary, Some(shard), Some(told)),
            Some((Whole::Replicas(wanted), told)) => (wanted, None, Some(told)),
            None => (Wanted::Primary, None, None),
        };
        let mut control = Control::new(config, settings, wanted, shared, reports, brought);
        control.shard = shard;
        if let Some(told) = told {
            control.board.forward(told);
        }
        let control = Arc::new(control);

        let spawned = match self.supervisor {
            Some(above) => Actor::spawn_linked(None, TetherSupervisor, control.clone(), above).await,
            None => Actor::spawn(None, TetherSupervisor, control.clone()).await,
        };
        let (supervisor, actor) = spawned.map_err(|error| StartError::Spawn(error.to_string()))?;

        let released = CancellationToken::new();
        let lifeline = Arc::new(Lifeline(released.clone()));
        let cancelled_by = self.cancelled_by.unwrap_or_default();
        let asked = supervisor.clone();
        let ask = move || drop(asked.send_message(SupervisorMsg::ShutDown));
        tokio::spawn(ending::see_to(control.clone(), actor, ask, released, cancelled_by));
        Ok(Tether { control, supervisor, lifeline, reconnected_at: Arc::default() })
    }
}

impl fmt::Debug for TetherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TetherBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
