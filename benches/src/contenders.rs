//! The clients that are put through faults: each as its documentation has it used, and each with those of its documented
//! settings that help it to recover. All are given a host name and the system's resolver.
//!
//! What a tuned setting is, and why it has that value, stands beside it. Three values are common to all, so that no client is
//! judged by how patient somebody made it: a call may take 2 s; connecting may take 1 s; and from one
//! attempt to connect to the next there is at most half a second.

use std::time::Duration;

use fred::prelude::{Builder, ClientLike, ReconnectPolicy};
use fred::types::config::UnresponsiveConfig;
use redis::aio::ConnectionManagerConfig;
use redis_tether::{Config, Tether};

use crate::peers::{Bb8, Deadpool, Error, Fred, Redis};

/// How long a call may take, connecting included, where a client has a setting for it.
const CALL: Duration = Duration::from_secs(2);
/// How long an attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(1);
/// The longest pause between two attempts to connect, and the first.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// How often `ConnectionManager` tries to connect before it gives up: for about as long as the longest outage.
const RETRIES: usize = 80;
/// How long a pool keeps a connection. A pool asks DNS again only when it connects, so this is the one setting by which it
/// follows a name while the old server still answers. Shorter follows sooner and costs every connection a handshake more
/// often.
const LIFETIME: Duration = Duration::from_secs(10);

/// A kind of client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Kind {
    /// redis-tether.
    Tether,
    /// redis-rs's connection that recovers from nothing.
    Multiplexed,
    /// redis-rs's connection that reconnects.
    Manager,
    /// bb8-redis.
    Bb8,
    /// deadpool-redis.
    Deadpool,
    /// fred.
    Fred,
}

/// How a client is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Settings {
    /// As the first example of its documentation has it.
    Default,
    /// With what its documentation offers for recovery.
    Tuned,
}

/// A client, and how it is set up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Contender {
    /// Which client.
    pub kind: Kind,
    /// How it is set up.
    pub settings: Settings,
}

/// Where the server is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Endpoint {
    /// A name that the system's resolver knows.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The password, where one is needed.
    pub password: Option<String>,
}

impl Contender {
    /// All of them. The first is redis-tether, which is shown as it comes.
    #[must_use]
    pub fn all() -> Vec<Contender> {
        let one = |kind| vec![Contender { kind, settings: Settings::Default }];
        let both = |kind| [Settings::Default, Settings::Tuned].map(|settings| Contender { kind, settings }).to_vec();
        // What `MultiplexedConnection` lacks no setting gives it.
        let all =
            [one(Kind::Tether), one(Kind::Multiplexed), both(Kind::Manager), both(Kind::Bb8), both(Kind::Deadpool)];
        all.into_iter().flatten().chain(both(Kind::Fred)).collect()
    }

    /// What the client is called in the report.
    #[must_use]
    pub fn client(self) -> &'static str {
        match self.kind {
            Kind::Tether => "redis-tether",
            Kind::Multiplexed => "MultiplexedConnection",
            Kind::Manager => "ConnectionManager",
            Kind::Bb8 => "bb8-redis",
            Kind::Deadpool => "deadpool-redis",
            Kind::Fred => "fred",
        }
    }

    /// What its settings are called there.
    #[must_use]
    pub fn settings(self) -> &'static str {
        match self.settings {
            Settings::Default => "default",
            Settings::Tuned => "tuned",
        }
    }
}

impl Endpoint {
    /// A server behind a name.
    #[must_use]
    pub fn new(host: &str, port: u16, password: Option<&str>) -> Endpoint {
        Endpoint { host: host.to_owned(), port, password: password.map(str::to_owned) }
    }

    fn url(&self) -> String {
        let password = self.password.as_ref().map(|password| format!(":{password}@")).unwrap_or_default();
        format!("redis://{password}{}:{}", self.host, self.port)
    }
}

pub(crate) async fn tether(endpoint: &Endpoint) -> Result<Tether, Error> {
    let mut config = Config::new(&endpoint.host, endpoint.port);
    if let Some(password) = &endpoint.password {
        config = config.with_password(password.as_str());
    }
    let tether = Tether::start(config).await?;
    tether.ready(Duration::from_secs(10)).await?;
    Ok(tether)
}

pub(crate) async fn multiplexed(endpoint: &Endpoint) -> Result<Redis<redis::aio::MultiplexedConnection>, Error> {
    Ok(Redis(redis::Client::open(endpoint.url())?.get_multiplexed_async_connection().await?))
}

pub(crate) async fn manager(
    endpoint: &Endpoint,
    settings: Settings,
) -> Result<Redis<redis::aio::ConnectionManager>, Error> {
    let (url, config) = match settings {
        Settings::Default => (endpoint.url(), ConnectionManagerConfig::new()),
        Settings::Tuned => (
            // `ConnectionManager`, "Behavior": with RESP3 it "actively listens to updates from the server, and so it will
            // cause the manager to reconnect after a disconnection, even if the manager was unused at the time".
            format!("{}/?protocol=resp3", endpoint.url()),
            // `ConnectionManager::new_with_config`: the pause is "min(max_delay, rand(0 .. min_delay * (exponent_base ^
            // current-try)))"; the default has no `max_delay`.
            ConnectionManagerConfig::new()
                .set_min_delay(FIRST_PAUSE)
                .set_max_delay(LONGEST_PAUSE)
                // "the manager will retry reconnection number_of_retries times", and "if reconnecting fails, all pending
                // commands will be failed as well. A new reconnection attempt will be triggered if the error is an I/O
                // error": after any other it stays failed. So it must not run out of retries; the price is that a call waits
                // for as long as they take, which no setting bounds.
                .set_number_of_retries(RETRIES)
                // "The new connection will time out operations after `response_timeout` has passed": the default.
                .set_response_timeout(Some(Duration::from_millis(500)))
                // "Each connection attempt to the server will time out after `connection_timeout`": the default.
                .set_connection_timeout(Some(CONNECT)),
        ),
    };
    Ok(Redis(redis::Client::open(url)?.get_connection_manager_with_config(config).await?))
}

pub(crate) async fn bb8(endpoint: &Endpoint, settings: Settings) -> Result<Bb8, Error> {
    let manager = bb8_redis::RedisConnectionManager::new(endpoint.url())?;
    let builder = match settings {
        Settings::Default => bb8::Pool::builder(),
        // `test_on_check_out` and `retry_connection` are on by default.
        Settings::Tuned => bb8::Pool::builder()
            // `Builder::connection_timeout`: "Futures returned by `Pool::get` will wait this long before giving up"; the
            // default is 30 s.
            .connection_timeout(CALL)
            // `Builder::max_lifetime`: the default is 30 minutes.
            .max_lifetime(LIFETIME),
    };
    Ok(Bb8(builder.build(manager).await?))
}

pub(crate) fn deadpool(endpoint: &Endpoint, settings: Settings) -> Result<Deadpool, Error> {
    let builder = deadpool_redis::Config::from_url(endpoint.url()).builder()?;
    let builder = match settings {
        Settings::Default => builder,
        Settings::Tuned => builder
            // The README: "The runtime features are only needed if you need support for timeouts".
            .runtime(deadpool_redis::Runtime::Tokio1)
            // `Timeouts`: "when waiting for a slot to become available", "when creating a new object", "when recycling an
            // object"; by default there is none. Recycling is a PING.
            .wait_timeout(Some(CALL))
            .create_timeout(Some(CONNECT))
            .recycle_timeout(Some(Duration::from_millis(500)))
            // `PoolBuilder::pre_recycle` and `Metrics::age`: what a hook refuses is replaced by a new connection.
            .pre_recycle(deadpool_redis::Hook::sync_fn(|_, metrics| {
                if metrics.age() < LIFETIME { Ok(()) } else { Err(deadpool_redis::HookError::message("too old")) }
            })),
    };
    Ok(Deadpool(builder.build()?))
}

pub(crate) async fn fred(endpoint: &Endpoint, settings: Settings) -> Result<Fred, Error> {
    let mut builder = Builder::from_config(fred::prelude::Config::from_url(&endpoint.url())?);
    match settings {
        // The README's example has no `ReconnectPolicy`, and without the feature `custom-reconnect-errors`, which this
        // package turns on for the other one, no error of the server's means a reconnect.
        Settings::Default => {
            builder.with_connection_config(|config| config.reconnect_errors = Vec::new());
        }
        Settings::Tuned => {
            builder
                .with_connection_config(|config| {
                    config.connection_timeout = CONNECT;
                    // "The timeout to apply when sending internal commands such as `AUTH`"; the default is 10 s.
                    config.internal_command_timeout = CONNECT;
                    // "the amount of time a frame can wait without a response before the associated connection is
                    // considered unresponsive", checked at an interval that "should usually be less than half of" it; the
                    // default is never. The example `misc.rs` has 10 s.
                    config.unresponsive = UnresponsiveConfig {
                        max_timeout: Some(Duration::from_millis(500)),
                        interval: Duration::from_millis(200),
                    };
                    // "An unexpected `NOAUTH` error is treated the same as a general connection failure"; `misc.rs`.
                    config.reconnect_on_auth_error = true;
                    // `misc.rs`; the default is 3.
                    config.max_command_attempts = 5;
                    // READONLY, LOADING and CLUSTERDOWN are in `reconnect_errors` with the feature
                    // `custom-reconnect-errors`: "errors that should trigger reconnection logic".
                })
                // "An optional timeout to apply to all commands"; the default is none.
                .with_performance_config(|config| config.default_command_timeout = CALL)
                // As in `misc.rs` and in the documentation of `Builder`: exponential, and without end (0).
                .set_policy(ReconnectPolicy::new_exponential(0, millis(FIRST_PAUSE), millis(LONGEST_PAUSE), 2));
        }
    }
    let client = builder.build()?;
    client.init().await?;
    Ok(Fred(client))
}

/// As fred counts.
fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}
