//! The clients that are compared: redis-tether, and what a user would pick instead, each as its documentation has it used.
//! They differ in what they do when a server fails; here all do the same work.

use std::net::SocketAddr;
use std::time::Duration;

use fred::prelude::{Client as FredClient, ClientLike, KeysInterface, ReconnectPolicy};
use redis::aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig, MultiplexedConnection};
use redis::{AsyncConnectionConfig, Client as RedisClient};
use redis_tether::{Config, Handle, Tether};

/// How many connections a pool holds, which is bb8's default and what deadpool comes to on small machines.
pub const POOL: u32 = 10;

/// Why a client could not do its work. The benches only ever print it.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// One caller's view of a client.
pub trait Session: Clone + Send + Sync + 'static {
    /// Sets `key`.
    fn set(&mut self, key: &str, value: &[u8]) -> impl Future<Output = Result<(), Error>> + Send;
    /// Gets `key`, and says how long its value is.
    fn get(&mut self, key: &str) -> impl Future<Output = Result<usize, Error>> + Send;
    /// Sets `key` so many times in one pipeline.
    fn pipeline(&mut self, key: &str, value: &[u8], length: usize) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A client that is connected.
#[derive(Clone)]
#[non_exhaustive]
pub enum Peer {
    /// redis-tether, with default settings.
    Tether(Redis<Handle>, Tether),
    /// redis-rs's connection that recovers from nothing; with its default response timeout of 500 ms.
    Multiplexed(Redis<MultiplexedConnection>),
    /// The same without a timeout.
    MultiplexedUntimed(Redis<MultiplexedConnection>),
    /// redis-rs's connection that reconnects.
    Manager(Redis<ConnectionManager>),
    /// A pool of redis-rs's connections.
    Bb8(Bb8),
    /// Another.
    Deadpool(Deadpool),
    /// A client of its own kind.
    Fred(Fred),
}

impl Peer {
    /// All of them, connected to the server at this address. The first is redis-tether.
    ///
    /// # Errors
    /// Where one of them is not let in.
    pub async fn all(addr: SocketAddr) -> Result<Vec<Peer>, Error> {
        let client = RedisClient::open(format!("redis://{addr}"))?;
        let untimed = AsyncConnectionConfig::new().set_response_timeout(None);
        Ok(vec![
            Peer::tether(addr).await?,
            Peer::Multiplexed(Redis(client.get_multiplexed_async_connection().await?)),
            Peer::MultiplexedUntimed(Redis(client.get_multiplexed_async_connection_with_config(&untimed).await?)),
            Peer::Manager(Redis(ConnectionManager::new_with_config(client, ConnectionManagerConfig::new()).await?)),
            Peer::Bb8(Bb8::connect(addr).await?),
            Peer::Deadpool(Deadpool::connect(addr)?),
            Peer::Fred(Fred::connect(addr).await?),
        ])
    }

    async fn tether(addr: SocketAddr) -> Result<Peer, Error> {
        let tether = Tether::start(Config::new(addr.ip().to_string(), addr.port())).await?;
        tether.ready(Duration::from_secs(5)).await?;
        Ok(Peer::Tether(Redis(tether.handle()), tether))
    }

    /// What it is called in the report.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Peer::Tether(..) => "redis-tether",
            Peer::Multiplexed(_) => "MultiplexedConnection",
            Peer::MultiplexedUntimed(_) => "the same without timeout",
            Peer::Manager(_) => "ConnectionManager",
            Peer::Bb8(_) => "bb8-redis",
            Peer::Deadpool(_) => "deadpool-redis",
            Peer::Fred(_) => "fred",
        }
    }
}

/// Anything that speaks redis-rs.
#[derive(Clone)]
pub struct Redis<C>(pub C);

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Session for Redis<C> {
    async fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        set(&mut self.0, key, value).await
    }

    async fn get(&mut self, key: &str) -> Result<usize, Error> {
        get(&mut self.0, key).await
    }

    async fn pipeline(&mut self, key: &str, value: &[u8], length: usize) -> Result<(), Error> {
        pipeline(&mut self.0, key, value, length).await
    }
}

async fn set(connection: &mut (impl ConnectionLike + Send), key: &str, value: &[u8]) -> Result<(), Error> {
    Ok(redis::cmd("SET").arg(key).arg(value).exec_async(connection).await?)
}

async fn get(connection: &mut (impl ConnectionLike + Send), key: &str) -> Result<usize, Error> {
    let value: Vec<u8> = redis::cmd("GET").arg(key).query_async(connection).await?;
    Ok(value.len())
}

async fn pipeline(
    connection: &mut (impl ConnectionLike + Send),
    key: &str,
    value: &[u8],
    length: usize,
) -> Result<(), Error> {
    let mut pipeline = redis::Pipeline::with_capacity(length);
    for _ in 0..length {
        pipeline.cmd("SET").arg(key).arg(value).ignore();
    }
    Ok(pipeline.exec_async(connection).await?)
}

/// bb8-redis.
#[derive(Clone)]
pub struct Bb8(pub bb8::Pool<bb8_redis::RedisConnectionManager>);

impl Bb8 {
    async fn connect(addr: SocketAddr) -> Result<Bb8, Error> {
        let manager = bb8_redis::RedisConnectionManager::new(format!("redis://{addr}"))?;
        Ok(Bb8(bb8::Pool::builder().max_size(POOL).build(manager).await?))
    }
}

impl Session for Bb8 {
    async fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        set(&mut *self.0.get().await?, key, value).await
    }

    async fn get(&mut self, key: &str) -> Result<usize, Error> {
        get(&mut *self.0.get().await?, key).await
    }

    async fn pipeline(&mut self, key: &str, value: &[u8], length: usize) -> Result<(), Error> {
        pipeline(&mut *self.0.get().await?, key, value, length).await
    }
}

/// deadpool-redis.
#[derive(Clone)]
pub struct Deadpool(pub deadpool_redis::Pool);

impl Deadpool {
    fn connect(addr: SocketAddr) -> Result<Deadpool, Error> {
        let config = deadpool_redis::Config::from_url(format!("redis://{addr}"));
        let builder = config.builder()?.max_size(POOL as usize).runtime(deadpool_redis::Runtime::Tokio1);
        Ok(Deadpool(builder.build()?))
    }
}

impl Session for Deadpool {
    async fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        set(&mut self.0.get().await?, key, value).await
    }

    async fn get(&mut self, key: &str) -> Result<usize, Error> {
        get(&mut self.0.get().await?, key).await
    }

    async fn pipeline(&mut self, key: &str, value: &[u8], length: usize) -> Result<(), Error> {
        pipeline(&mut self.0.get().await?, key, value, length).await
    }
}

/// fred.
#[derive(Clone)]
pub struct Fred(pub FredClient);

impl Fred {
    async fn connect(addr: SocketAddr) -> Result<Fred, Error> {
        let config = fred::prelude::Config::from_url(&format!("redis://{addr}"))?;
        let client = FredClient::new(config, None, None, Some(ReconnectPolicy::default()));
        client.init().await?;
        Ok(Fred(client))
    }
}

impl Session for Fred {
    async fn set(&mut self, key: &str, value: &[u8]) -> Result<(), Error> {
        Ok(self.0.set(key, value, None, None, false).await?)
    }

    async fn get(&mut self, key: &str) -> Result<usize, Error> {
        let value: Vec<u8> = self.0.get(key).await?;
        Ok(value.len())
    }

    async fn pipeline(&mut self, key: &str, value: &[u8], length: usize) -> Result<(), Error> {
        let pipeline = self.0.pipeline();
        for _ in 0..length {
            pipeline.set::<(), _, _>(key, value, None, None, false).await?;
        }
        Ok(pipeline.all().await?)
    }
}
