//! A cluster before it is started: what it is given beside its configuration, and how its parts are put together.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use ractor::{Actor, ActorCell};
use tokio::sync::{broadcast, watch};
#[cfg(feature = "tls-no-provider")]
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::roster::Roster;
use super::stats::Counts;
use super::supervisor::{ClusterMsg, ClusterSupervisor};
use super::survey::Surveyor;
use super::{ClusterTether, Common, EVENT_BACKLOG, Lifeline};
use crate::config::{Config, ConfigError, Endpoint};
use crate::control::ending;
use crate::credentials::CredentialSource;
use crate::credentials::keyring::{Keyring, Report};
use crate::resolve::Resolve;
use crate::tether::StartError;
use crate::tether::means::Means;
use crate::transport::Transport;

/// A cluster that is about to be started.
#[must_use = "a builder does nothing until `start`"]
pub struct ClusterTetherBuilder {
    config: Config,
    means: Means,
    cancelled_by: Option<CancellationToken>,
    supervisor: Option<ActorCell>,
}

impl ClusterTetherBuilder {
    pub(super) fn new(config: Config) -> ClusterTetherBuilder {
        ClusterTetherBuilder { config, means: Means::default(), cancelled_by: None, supervisor: None }
    }

    /// Asks this resolver what names mean: those of the endpoint, and those that nodes announce. Default: the system's.
    pub fn resolver(mut self, resolver: impl Resolve) -> Self {
        self.means.resolver = Some(Arc::new(resolver));
        self
    }

    /// Signs in at every node with what this source answers, as [`TetherBuilder::credentials`](crate::TetherBuilder::credentials) does
    /// at one. Default: the configuration's.
    pub fn credentials(mut self, source: impl CredentialSource) -> Self {
        self.means.credentials = Some(Arc::new(source));
        self
    }

    /// Connects through this transport. Default: sockets of the operating system.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.means.transport = Some(Arc::new(transport));
        self
    }

    /// Shuts the cluster down when `token` is cancelled.
    pub fn cancelled_by(mut self, token: CancellationToken) -> Self {
        self.cancelled_by = Some(token);
        self
    }

    /// Starts under this actor.
    pub fn supervisor(mut self, supervisor: ActorCell) -> Self {
        self.supervisor = Some(supervisor);
        self
    }

    /// The seed of all random numbers, for tests that must replay. Default: a random one.
    pub fn seed(mut self, seed: u64) -> Self {
        self.means.seed = Some(seed);
        self
    }

    /// Encrypts with this provider, where the configuration asks for TLS. Default: as that of a tether.
    #[cfg(feature = "tls-no-provider")]
    pub fn tls_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.means.tls.provider = Some(provider);
        self
    }

    /// Trusts the authorities whose certificates are in this PEM text and no others, where the configuration asks for TLS.
    #[cfg(feature = "tls-no-provider")]
    pub fn tls_roots(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.means.tls.roots = Some(pem.into());
        self
    }

    /// Starts the cluster.
    ///
    /// # Errors
    /// As [`ClusterTether::start`].
    ///
    /// # Panics
    /// As [`ClusterTether::start`].
    pub async fn start(self) -> Result<ClusterTether, StartError> {
        let Endpoint::Cluster(endpoint) = &self.config.endpoint else {
            return Err(ConfigError::no_cluster().into());
        };
        let (endpoint, pacing) = (endpoint.clone(), self.config.recovery_settings()?.pacing);
        let brought = self.means.bring(&self.config).await?;
        let seed = brought.seed.unwrap_or_else(|| RandomState::new().hash_one(()));
        let mut rng = fastrand::Rng::with_seed(seed);
        let (config, turn) = (Arc::new(self.config), usize::from(rng.u16(..)));
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        // The shards have keyrings of their own, and tell of the same failure.
        let name: Arc<str> = config.endpoint.to_string().into();
        let whose = name.clone();
        let report = Report::new(name.clone(), move |error| {
            tracing::debug!(endpoint = &*whose, %error, "no credentials to ask the nodes with");
        });
        let keyring = Keyring::new(&config, brought.credentials.clone(), tasks.clone(), ended.clone(), report);
        let surveyor = Surveyor::new(config.clone(), endpoint, &brought, keyring, turn);
        let common = Arc::new(Common {
            endpoint: name,
            config,
            pacing,
            brought,
            surveyor: Arc::new(surveyor),
            rosters: watch::Sender::new(Arc::new(Roster::empty())),
            events: broadcast::Sender::new(EVENT_BACKLOG),
            tasks,
            ended,
            stopped: CancellationToken::new(),
            rng: Mutex::new(rng),
            counts: Counts::default(),
        });
        let spawned = match self.supervisor {
            Some(above) => Actor::spawn_linked(None, ClusterSupervisor, common.clone(), above).await,
            None => Actor::spawn(None, ClusterSupervisor, common.clone()).await,
        };
        let (supervisor, actor) = spawned.map_err(|error| StartError::Spawn(error.to_string()))?;
        let released = CancellationToken::new();
        let lifeline = Arc::new(Lifeline(released.clone()));
        let cancelled_by = self.cancelled_by.unwrap_or_default();
        let asked = supervisor.clone();
        let ask = move || drop(asked.send_message(ClusterMsg::ShutDown));
        tokio::spawn(ending::see_to(common.clone(), actor, ask, released, cancelled_by));
        Ok(ClusterTether { common, supervisor, lifeline })
    }
}

impl fmt::Debug for ClusterTetherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterTetherBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
