//! A primary with two replicas, and three sentinels that watch them: what takes over by itself when the primary fails.
//!
//! A server that a busy machine keeps from answering stays what it is: before one is to be taken for down, the sentinels are
//! [told](SentinelDeployment::take_for_down_after) to be quick about it, and then a failover takes a second or two. What they
//! announce, and when, is heard at a subscription of the test's own.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::address::{allocate_addresses, allocate_at_port};
use super::process::ServerBuilder;
use super::{Server, ServerBinary, ServerError};
use crate::resp::Reply;
use crate::tls::{ClientCertificates, ServerFiles, TlsFiles};
use crate::wait::{TimedOut, WAIT_LIMIT};

const NODES: usize = 3;
const SENTINELS: usize = 3;

/// After so long without an answer a sentinel takes a server for down, until it is told otherwise.
const DOWN_AFTER_MS: u32 = 60_000;
/// How long a failover may take before another is tried.
const FAILOVER_TIMEOUT_MS: &str = "3000";

/// The same for one that an operator asks for: after that it is given up for good. A sentinel that was kept from its work for two
/// seconds does nothing for thirty.
const PLANNED_TIMEOUT_MS: &str = "45000";

/// How often sentinels are asked while something is waited for.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// Three servers and three sentinels, who call the primary [`SentinelDeployment::MASTER`].
#[derive(Debug)]
pub struct SentinelDeployment {
    /// The servers. The first was started as the primary.
    pub nodes: Vec<Server>,
    /// The sentinels.
    pub sentinels: Vec<Server>,
    terms: Terms,
}

/// On which terms servers and sentinels let somebody in, each other among them.
#[derive(Clone, Default, Debug)]
struct Terms {
    password: Option<String>,
    tls: Option<ServerFiles>,
    to_clients: ToClients,
}

/// How sentinels let clients in.
#[derive(Clone, Default, Debug)]
enum ToClients {
    /// As servers do.
    #[default]
    Alike,
    /// In plain as well. This is the port at which they speak TLS with each other, as with the servers.
    Plainly(u16),
    /// Over TLS as well, at this port and with a certificate of their own.
    OverTls(u16, ServerFiles),
}

impl SentinelDeployment {
    /// What the sentinels call the primary.
    pub const MASTER: &str = "mymaster";

    /// For [`take_for_down_after`](Self::take_for_down_after) just before a server is killed or frozen: far below what anybody would
    /// run sentinels with, and long enough for the others to be heard on a busy machine, or nobody would be good enough.
    pub const QUICKLY: Duration = Duration::from_secs(1);

    /// Starts everything with the [defaults](ServerBuilder) and waits until the sentinels know all of it. They take a server for down
    /// that has said nothing for a minute.
    ///
    /// # Errors
    /// As [`ServerBuilder::start`]; [`ServerError::TimedOut`] when they do not come to know each other.
    pub async fn start(binary: &ServerBinary) -> Result<Self, ServerError> {
        Self::start_with(binary, None).await
    }

    /// The same, where servers and sentinels each ask for this password.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(binary: &ServerBinary, password: Option<&str>) -> Result<Self, ServerError> {
        Self::start_on(binary, Terms { password: password.map(str::to_owned), ..Terms::default() }).await
    }

    /// The same over TLS and nothing else: clients, replicas and sentinels show each other certificates.
    ///
    /// # Errors
    /// As [`start`](Self::start); [`ServerError::Machine`] where the server was built without TLS.
    pub async fn start_over_tls(
        binary: &ServerBinary,
        files: &TlsFiles,
        password: Option<&str>,
    ) -> Result<Self, ServerError> {
        let terms = Terms { password: password.map(str::to_owned), tls: Some(files.server()), ..Terms::default() };
        Self::start_on(binary, terms).await
    }

    /// Servers that speak TLS and nothing else, and sentinels that speak it with them and each other, and with clients in plain.
    ///
    /// # Errors
    /// As [`start_over_tls`](Self::start_over_tls).
    pub async fn start_with_plain_sentinels(binary: &ServerBinary, files: &TlsFiles) -> Result<Self, ServerError> {
        let to_clients = ToClients::Plainly(free_port()?);
        let terms = Terms { tls: Some(files.server()), to_clients, ..Terms::default() };
        Self::start_on(binary, terms).await
    }

    /// Plain servers, and sentinels that speak TLS beside their plain ports: [`sentinel_tls_addrs`](Self::sentinel_tls_addrs). Their
    /// clients have to show a certificate there.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with_tls_sentinels(binary: &ServerBinary, files: &TlsFiles) -> Result<Self, ServerError> {
        let to_clients = ToClients::OverTls(free_port()?, files.server());
        Self::start_on(binary, Terms { to_clients, ..Terms::default() }).await
    }

    async fn start_on(binary: &ServerBinary, terms: Terms) -> Result<Self, ServerError> {
        let addresses = allocate_addresses(NODES).map_err(ServerError::machine("find free loopback addresses"))?;
        let mut nodes = Vec::new();
        for addr in addresses {
            let announce = format!("replica-announce-ip {}", addr.ip());
            let mut builder = terms.put_to(Server::builder(binary), addr).config_line(&announce);
            if let Some(password) = &terms.password {
                builder = builder.config_line(&format!("masterauth {password}"));
            }
            nodes.push(builder.start().await?);
        }
        for replica in &nodes[1..] {
            replica.replicate(&nodes[0]).await?;
        }
        let addresses = allocate_addresses(SENTINELS).map_err(ServerError::machine("find free loopback addresses"))?;
        let sentinels = start_sentinels(addresses, &nodes[0], &terms).await?;
        let deployment = Self { nodes, sentinels, terms };
        deployment.wait_until_known().await?;
        Ok(deployment)
    }

    /// Ends all sentinels and starts as many new ones at other addresses, with the same port, who know nothing of those before. They watch the
    /// primary of the present, once all other nodes follow it.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn replace_sentinels(&mut self) -> Result<(), ServerError> {
        let primary = self.settled_primary().await?;
        let primary = &self.nodes[primary];
        // Before the new ones come: they would hear of the old ones, and count them among themselves for ever.
        let port = self.sentinels[0].addr().port();
        self.sentinels.clear();
        let addresses =
            allocate_at_port(SENTINELS, port).map_err(ServerError::machine("find free loopback addresses"))?;
        self.sentinels = start_sentinels(addresses, primary, &self.terms).await?;
        self.wait_until_known().await
    }

    /// The primary, once all others follow it. The sentinels may have appointed it just now, and bring everybody round in their own
    /// time.
    async fn settled_primary(&self) -> Result<usize, ServerError> {
        let begun = Instant::now();
        let followers = i64::try_from(NODES - 1).unwrap_or(i64::MAX);
        loop {
            let primary = self.primary().await?;
            let info = self.nodes[primary].full_info().await?;
            if info.number("connected_slaves") == Some(followers) {
                return Ok(primary);
            }
            if begun.elapsed() >= WAIT_LIMIT {
                let (what, last) = ("all others to follow the primary".to_owned(), info.replication());
                return Err(TimedOut { what, after: WAIT_LIMIT, last }.into());
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// So long must a server have said nothing from now on before the sentinels take it for down. Those of
    /// [`replace_sentinels`](Self::replace_sentinels) have to be told anew.
    ///
    /// # Errors
    /// As [`Server::command`].
    pub async fn take_for_down_after(&self, silence: Duration) -> Result<(), ServerError> {
        let ms = silence.as_millis().to_string();
        for sentinel in &self.sentinels {
            set(sentinel, "down-after-milliseconds", &ms).await?;
            set(sentinel, "failover-timeout", FAILOVER_TIMEOUT_MS).await?;
        }
        Ok(())
    }

    /// Which of the nodes the first sentinel takes for the primary.
    ///
    /// # Errors
    /// As [`Server::command`].
    pub async fn primary(&self) -> Result<usize, ServerError> {
        let told = self.sentinels[0].command(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::MASTER]).await?;
        let at = read_address(&told);
        let position = self.nodes.iter().position(|node| Some(node.addr()) == at);
        position.ok_or_else(|| {
            TimedOut {
                what: "a primary that is one of the nodes".to_owned(),
                after: Duration::ZERO,
                last: format!("{at:?}"),
            }
            .into()
        })
    }

    /// The node at this address.
    pub fn node(&self, addr: SocketAddr) -> Option<&Server> {
        self.nodes.iter().find(|node| node.addr() == addr)
    }

    /// Where the sentinels are.
    pub fn sentinel_addrs(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().map(Server::addr).collect()
    }

    /// Where the sentinels speak TLS, if they do.
    pub fn sentinel_tls_addrs(&self) -> Vec<SocketAddr> {
        self.sentinels.iter().filter_map(Server::tls_addr).collect()
    }

    /// A planned failover, as an operator asks for it at one of the sentinels. Returns when it has begun.
    ///
    /// # Errors
    /// [`ServerError::Refused`] where no replica is good enough, or another failover is under way.
    pub async fn failover(&self) -> Result<(), ServerError> {
        set(&self.sentinels[0], "failover-timeout", PLANNED_TIMEOUT_MS).await?;
        self.sentinels[0].command(&["SENTINEL", "FAILOVER", Self::MASTER]).await.map(drop)
    }

    /// Listens to every sentinel from now on.
    ///
    /// # Errors
    /// When a sentinel cannot be subscribed to.
    pub async fn announcements(&self) -> Result<Announcements, ServerError> {
        let (sender, announced) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        for sentinel in &self.sentinels {
            let lost =
                |source| ServerError::Connection { addr: sentinel.addr(), command: "SUBSCRIBE".to_owned(), source };
            let mut client = sentinel.connect().await.map_err(lost)?;
            client.command(&["SUBSCRIBE", "+switch-master"]).await.map_err(lost)?;
            let sender = sender.clone();
            tasks.spawn(async move {
                while let Ok(message) = client.receive().await {
                    if let Some(to) = switched_to(&message) {
                        let _ = sender.send((Instant::now(), to));
                    }
                }
            });
        }
        Ok(Announcements { announced, _tasks: tasks })
    }

    /// Waits until every sentinel knows every server and every other sentinel, and each has answered it.
    async fn wait_until_known(&self) -> Result<(), ServerError> {
        let begun = Instant::now();
        loop {
            let mut last = String::new();
            for sentinel in &self.sentinels {
                let reply = sentinel.command(&["SENTINEL", "CKQUORUM", Self::MASTER]).await;
                let known = sentinel.command(&["SENTINEL", "MASTER", Self::MASTER]).await?;
                let field = |name| read_field(&known, name).unwrap_or_default();
                let (replicas, others) = (field("num-slaves"), field("num-other-sentinels"));
                let usable = self.usable_replicas(sentinel).await?;
                // The last words of one that is gone may reach it through a server that was busy. As many votes as there are
                // sentinels are a majority all the same.
                let has_all = |others: &String| others.parse().is_ok_and(|others: usize| others >= SENTINELS - 1);
                let is_known = replicas == (NODES - 1).to_string() && has_all(&others);
                if !is_known || usable < NODES - 1 || reply.is_err() {
                    last =
                        format!("{} knows {replicas} replicas, {usable} usable, and {others} others", sentinel.addr());
                }
            }
            if last.is_empty() {
                return Ok(());
            }
            if begun.elapsed() >= WAIT_LIMIT {
                let what = "the sentinels to know everybody".to_owned();
                return Err(TimedOut { what, after: WAIT_LIMIT, last }.into());
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// The replicas that this sentinel would promote.
    async fn usable_replicas(&self, sentinel: &Server) -> Result<usize, ServerError> {
        let reply = sentinel.command(&["SENTINEL", "REPLICAS", Self::MASTER]).await?;
        let Reply::Array(replicas) = reply else { return Ok(0) };
        let is_usable = |replica: &&Reply| {
            read_field(replica, "master-link-status").as_deref() == Some("ok")
                && read_field(replica, "flags").as_deref() == Some("slave")
        };
        Ok(replicas.iter().filter(is_usable).count())
    }
}

/// What the sentinels of a deployment announce.
#[derive(Debug)]
pub struct Announcements {
    announced: mpsc::UnboundedReceiver<(Instant, SocketAddr)>,
    _tasks: JoinSet<()>,
}

impl Announcements {
    /// The next `+switch-master` of any sentinel: when it was heard, and where the primary is.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`] has passed.
    pub async fn next(&mut self) -> Result<(Instant, SocketAddr), TimedOut> {
        let failed = |last: &str| TimedOut {
            what: "a new primary to be announced".to_owned(),
            after: WAIT_LIMIT,
            last: last.to_owned(),
        };
        match timeout(WAIT_LIMIT, self.announced.recv()).await {
            Ok(Some(announced)) => Ok(announced),
            Ok(None) => Err(failed("no sentinel is left")),
            Err(_) => Err(failed("")),
        }
    }
}

async fn set(sentinel: &Server, option: &str, value: &str) -> Result<(), ServerError> {
    sentinel.command(&["SENTINEL", "SET", SentinelDeployment::MASTER, option, value]).await.map(drop)
}

/// On any address, at the time of the call.
fn free_port() -> Result<u16, ServerError> {
    Ok(allocate_addresses(1).map_err(ServerError::machine("find a free port for TLS"))?[0].port())
}

async fn start_sentinels(
    addresses: Vec<SocketAddr>,
    primary: &Server,
    terms: &Terms,
) -> Result<Vec<Server>, ServerError> {
    const MASTER: &str = SentinelDeployment::MASTER;
    let (ip, port) = (primary.addr().ip(), primary.addr().port());
    let mut sentinels = Vec::new();
    for addr in addresses {
        let mut builder = terms
            .put_to_sentinel(Server::builder(primary.binary()).sentinel(), addr)
            .config_line(&format!("sentinel monitor {MASTER} {ip} {port} {}", SENTINELS / 2 + 1))
            .config_line(&format!("sentinel down-after-milliseconds {MASTER} {DOWN_AFTER_MS}"))
            .config_line(&format!("sentinel failover-timeout {MASTER} {FAILOVER_TIMEOUT_MS}"))
            .config_line(&format!("sentinel parallel-syncs {MASTER} {NODES}"));
        if let Some(password) = &terms.password {
            builder = builder
                .config_line(&format!("sentinel auth-pass {MASTER} {password}"))
                .config_line(&format!("sentinel sentinel-pass {password}"));
        }
        sentinels.push(builder.start().await?);
    }
    Ok(sentinels)
}

impl Terms {
    /// The same of a sentinel.
    fn put_to_sentinel(&self, builder: ServerBuilder, addr: SocketAddr) -> ServerBuilder {
        match &self.to_clients {
            ToClients::Alike => self.put_to(builder, addr),
            ToClients::Plainly(port) => {
                let files = self.tls.iter().cloned();
                let builder = files.fold(builder.on(addr), |builder, files| {
                    builder
                        .tls_with(*port, files, ClientCertificates::Required)
                        .config_line("tls-replication yes")
                        .config_line(&format!("sentinel announce-port {port}"))
                });
                self.put_password(builder)
            }
            ToClients::OverTls(port, files) => {
                self.put_password(builder.on(addr).tls_with(*port, files.clone(), ClientCertificates::Required))
            }
        }
    }

    /// Has this process listen there on these terms.
    fn put_to(&self, builder: ServerBuilder, addr: SocketAddr) -> ServerBuilder {
        let builder = match &self.tls {
            Some(files) => builder.alone(addr, files.clone()),
            None => builder.on(addr),
        };
        self.put_password(builder)
    }

    fn put_password(&self, builder: ServerBuilder) -> ServerBuilder {
        match &self.password {
            Some(password) => builder.password(password),
            None => builder,
        }
    }
}

/// `[ip, port]`.
fn read_address(reply: &Reply) -> Option<SocketAddr> {
    let Reply::Array(parts) = reply else { return None };
    let [ip, port] = parts.as_slice() else { return None };
    Some(SocketAddr::new(ip.text()?.parse().ok()?, port.text()?.parse().ok()?))
}

/// Of a flat list of pairs.
fn read_field(reply: &Reply, name: &str) -> Option<String> {
    let Reply::Array(fields) = reply else { return None };
    let pair = fields.chunks_exact(2).find(|pair| pair[0].text().as_deref() == Some(name))?;
    pair[1].text()
}

/// Of a message of `+switch-master`: `mymaster OLD PORT NEW PORT`.
fn switched_to(message: &Reply) -> Option<SocketAddr> {
    let Reply::Array(parts) = message else { return None };
    let payload = parts.get(2)?.text()?;
    let mut words = payload.split(' ').skip(3);
    Some(SocketAddr::new(words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
