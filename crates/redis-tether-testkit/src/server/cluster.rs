//! A cluster of real servers: three shards of a primary and a replica each, made by the commands that cluster tools send.
//!
//! Nodes that a busy machine keeps from answering stay what they are: nobody is elected until
//! [that is asked for](ClusterDeployment::elect_after), and then a failover takes a second or two.

mod plan;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

pub use self::plan::Announced;
use self::plan::{Tls, plan};
use super::address::{allocate_addresses, allocate_at_port};
use super::{Server, ServerBinary, ServerError};
use crate::resp::Reply;
use crate::tls::TlsFiles;
use crate::wait::{TimedOut, WAIT_LIMIT};

const SHARDS: usize = 3;
const SLOTS: usize = 16384;

/// After so long without an answer a node takes another one for down.
const NODE_TIMEOUT: &str = "cluster-node-timeout";

/// While a cluster comes together, and of a node that was restarted: the shorter it is, the more they tell each other.
const TALKATIVE_MS: &str = "700";

/// Until another one is asked for.
const PATIENT_MS: &str = "60000";

/// Whether a replica takes over only where it is told to.
const NO_ELECTIONS: &str = "cluster-replica-no-failover";

/// Longer than a handshake lasts: the node timeout, and a second at least.
const HANDSHAKE: Duration = Duration::from_secs(2);

/// How often nodes are asked while something is waited for.
const ASK_EVERY: Duration = Duration::from_millis(5);

/// So many keys go to another node at a time.
const KEYS_AT_ONCE: &str = "100";

/// Three primaries and three replicas.
#[derive(Debug)]
pub struct ClusterDeployment {
    /// The nodes: those that were started as primaries, and then the replica of each, in the same order.
    pub nodes: Vec<Server>,
    ids: Vec<String>,
    tls: Option<Tls>,
}

impl ClusterDeployment {
    /// How many shards there are.
    pub const SHARDS: usize = SHARDS;

    /// How many slots there are.
    pub const SLOTS: usize = SLOTS;

    /// For [`elect_after`](Self::elect_after) just before a node is killed or frozen: far below what anybody would run nodes with.
    pub const QUICKLY: Duration = Duration::from_secs(1);

    /// Starts all nodes, at addresses that have a port in common, and waits until they agree on who has what. Replicas take over only
    /// where they are told to.
    ///
    /// # Errors
    /// As [`ServerBuilder::start`](super::ServerBuilder::start); [`ServerError::TimedOut`] when they do not come together.
    pub async fn start(binary: &ServerBinary) -> Result<Self, ServerError> {
        let addresses = allocate_addresses(2 * SHARDS).map_err(ServerError::machine("find free loopback addresses"))?;
        Self::start_at(binary, addresses, None).await
    }

    /// The same, where clients speak TLS and have to show a certificate; so do the nodes among themselves, if they can.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_over_tls(binary: &ServerBinary, announced: Announced) -> Result<Self, ServerError> {
        Self::start_with(binary, |addresses| Tls::new(binary, announced, None, addresses)).await
    }

    /// The same, where nodes announce names, and certificates are also for this one: that of a configuration endpoint.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_over_tls_behind(binary: &ServerBinary, endpoint: &str) -> Result<Self, ServerError> {
        Self::start_with(binary, |addresses| Tls::new(binary, Announced::Names, Some(endpoint), addresses)).await
    }

    async fn start_with(
        binary: &ServerBinary,
        tls: impl FnOnce(&[SocketAddr]) -> io::Result<Tls>,
    ) -> Result<Self, ServerError> {
        let addresses = allocate_addresses(2 * SHARDS).map_err(ServerError::machine("find free loopback addresses"))?;
        let tls = tls(&addresses).map_err(ServerError::machine("make room for a cluster that speaks TLS"))?;
        Self::start_at(binary, addresses, Some(tls)).await
    }

    /// Another one at other addresses, with the same ports: what one name may come to mean. It speaks TLS where the other does, with
    /// certificates for the same names by the same authority.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_beside(binary: &ServerBinary, other: &ClusterDeployment) -> Result<Self, ServerError> {
        let port = other.nodes[0].addr().port();
        let addresses =
            allocate_at_port(2 * SHARDS, port).map_err(ServerError::machine("find free loopback addresses"))?;
        let tls = other.tls.as_ref().map(|tls| tls.beside(&addresses)).transpose();
        let tls = tls.map_err(ServerError::machine("make room for a cluster that speaks TLS"))?;
        Self::start_at(binary, addresses, tls).await
    }

    async fn start_at(
        binary: &ServerBinary,
        addresses: Vec<SocketAddr>,
        tls: Option<Tls>,
    ) -> Result<Self, ServerError> {
        let (mut nodes, mut ids) = (Vec::new(), Vec::new());
        for (number, addr) in addresses.into_iter().enumerate() {
            let plan = plan(binary, addr);
            let plan = match &tls {
                Some(tls) => tls.add_to(plan, number),
                None => plan,
            };
            nodes.push(plan.start().await?);
        }
        for node in &nodes {
            ids.push(node.command(&["CLUSTER", "MYID"]).await?.text().unwrap_or_default());
        }
        let cluster = Self { nodes, ids, tls };
        cluster.assign().await?;
        for node in &cluster.nodes {
            Self::elect_nobody(node).await?;
        }
        Ok(cluster)
    }

    /// Has the first node meet the others until everybody knows everybody. Whoever is kept from answering for a second is forgotten
    /// again, since a handshake lasts no longer.
    async fn introduce(&self) -> Result<(), ServerError> {
        let (begun, all) = (Instant::now(), format!("cluster_known_nodes:{}", 2 * SHARDS));
        loop {
            for node in &self.nodes[1..] {
                let at = self.addr_for_nodes(node);
                let (ip, port) = (at.ip().to_string(), at.port().to_string());
                self.nodes[0].command(&["CLUSTER", "MEET", &ip, &port]).await?;
            }
            let met = Instant::now();
            while met.elapsed() < HANDSHAKE {
                let Some(lonely) = self.first_whose_info_lacks(&all).await? else { return Ok(()) };
                if begun.elapsed() >= WAIT_LIMIT {
                    return Err(
                        TimedOut { what: "everybody to be known".to_owned(), after: WAIT_LIMIT, last: lonely }.into()
                    );
                }
                sleep(ASK_EVERY).await;
            }
        }
    }

    async fn first_whose_info_lacks(&self, words: &str) -> Result<Option<String>, ServerError> {
        for node in &self.nodes {
            let info = node.command(&["CLUSTER", "INFO"]).await?.text().unwrap_or_default();
            if !info.contains(words) {
                return Ok(Some(format!("{}: {info}", node.addr())));
            }
        }
        Ok(None)
    }

    async fn assign(&self) -> Result<(), ServerError> {
        for shard in 0..SHARDS {
            let (first, last) = (SLOTS * shard / SHARDS, SLOTS * (shard + 1) / SHARDS - 1);
            let range = ["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()];
            self.nodes[shard].command(&range).await?;
            // Where two nodes have the same, one of them would give its slots up.
            self.nodes[shard].command(&["CLUSTER", "SET-CONFIG-EPOCH", &(shard + 1).to_string()]).await?;
        }
        self.introduce().await?;
        for shard in 0..SHARDS {
            let replica = &self.nodes[SHARDS + shard];
            // It learns of its primary's slots a moment after it has learnt of its primary.
            let known = |told: &str| told.contains(&self.ids[shard]);
            until(replica, "the primary to be known", &["CLUSTER", "NODES"], known).await?;
            replica.command(&["CLUSTER", "REPLICATE", &self.ids[shard]]).await?;
        }
        // Who has not heard the name of a node shows clients a `?` for it.
        let names = self.tls.as_ref().map_or_else(Vec::new, Tls::names);
        for node in &self.nodes {
            let is_whole = |told: &str| {
                let ok = told.lines().filter(|line| line.contains("connected") && !is_down(line));
                let replicas = ok.clone().filter(|line| line.contains("slave")).count();
                let primaries = ok.filter(|line| line.contains("master") && line.contains('-')).count();
                (replicas, primaries) == (SHARDS, SHARDS) && names.iter().all(|name| told.contains(name))
            };
            until(node, "all roles and names to be known", &["CLUSTER", "NODES"], is_whole).await?;
            let is_ok = |info: &str| info.contains("cluster_state:ok");
            until(node, "the cluster to be healthy", &["CLUSTER", "INFO"], is_ok).await?;
        }
        for replica in &self.nodes[SHARDS..] {
            let is_up = |info: &super::Info| info.field("master_link_status") == Some("up");
            replica.wait_for("the replica to be in sync", WAIT_LIMIT, is_up).await?;
        }
        Ok(())
    }

    /// Nodes that have said nothing for so long are taken for down from now on, and the replica of one that was a primary is elected.
    ///
    /// # Errors
    /// As [`Server::command`].
    pub async fn elect_after(&self, silence: Duration) -> Result<(), ServerError> {
        let ms = silence.as_millis().to_string();
        for node in &self.nodes {
            node.command(&["CONFIG", "SET", NODE_TIMEOUT, &ms]).await?;
            node.command(&["CONFIG", "SET", NO_ELECTIONS, "no"]).await?;
        }
        Ok(())
    }

    /// This node takes nobody for down from now on, until it is restarted.
    ///
    /// # Errors
    /// As [`Server::command`].
    pub async fn elect_nobody(node: &Server) -> Result<(), ServerError> {
        node.command(&["CONFIG", "SET", NODE_TIMEOUT, PATIENT_MS]).await.map(drop)
    }

    /// The node that was started as the primary of this shard.
    pub fn primary(&self, shard: usize) -> &Server {
        &self.nodes[shard]
    }

    /// The node that was started as the replica of this shard.
    pub fn replica(&self, shard: usize) -> &Server {
        &self.nodes[SHARDS + shard]
    }

    /// What the node with this number announces itself as, where nodes announce names.
    #[must_use]
    pub fn hostname(node: usize) -> String {
        format!("node-{node}.cluster.test")
    }

    /// What the node with this number shows, where nodes speak TLS; clients are given the authority of any, and its client's pair.
    #[must_use]
    pub fn tls_files(&self, node: usize) -> Option<&TlsFiles> {
        self.tls.as_ref()?.files.get(node)
    }

    /// Where clients are to connect to this node: where it speaks TLS, if it does.
    #[must_use]
    pub fn client_addr(node: &Server) -> SocketAddr {
        node.tls_addr().unwrap_or(node.addr())
    }

    /// Where other nodes connect to this one, to replicate or to hand on keys.
    fn addr_for_nodes(&self, node: &Server) -> SocketAddr {
        match &self.tls {
            Some(tls) if tls.is_spoken_by_nodes => Self::client_addr(node),
            _ => node.addr(),
        }
    }

    /// A key that this shard had when the cluster was started, made of a tag and `name`: keys of one shard are all in one slot.
    pub fn key_in(&self, shard: usize, name: &str) -> String {
        // The slots of these are 5061, 9084 and 11641.
        const TAGS: [&str; SHARDS] = ["bar", "one", "q2"];
        format!("{{{}}}{name}", TAGS[shard])
    }

    /// Waits until this node takes writes; says when that was seen.
    ///
    /// # Errors
    /// [`ServerError::TimedOut`]; else as [`Server::command`].
    pub async fn taken_over(&self, node: &Server) -> Result<Instant, ServerError> {
        until(node, "the replica to take over", &["INFO", "replication"], |info| info.contains("role:master")).await?;
        Ok(Instant::now())
    }

    /// A planned failover of this shard, to its replica. Returns when it has begun.
    ///
    /// # Errors
    /// As [`Server::command`].
    pub async fn failover(&self, shard: usize) -> Result<(), ServerError> {
        self.replica(shard).command(&["CLUSTER", "FAILOVER"]).await.map(drop)
    }

    /// Moves these slots, with their keys, from one of the nodes to another, one after another, as resharding does.
    ///
    /// # Errors
    /// As [`Server::command`].
    pub async fn reshard(&self, slots: std::ops::Range<u16>, from: usize, to: usize) -> Result<(), ServerError> {
        let (source, target) = (&self.nodes[from], &self.nodes[to]);
        let (source_id, target_id) = (&*self.ids[from], &*self.ids[to]);
        // Failovers get around by gossip.
        let is_primary = |told: &str| told.lines().any(|line| line.starts_with(target_id) && line.contains("master"));
        until(source, "the target to be known as a primary", &["CLUSTER", "NODES"], is_primary).await?;
        for slot in slots {
            let slot = &*slot.to_string();
            set_slot(target, slot, "IMPORTING", source_id).await?;
            set_slot(source, slot, "MIGRATING", target_id).await?;
            while self.move_keys(slot, source, target).await? {}
            // The new owner first, or a command that is sent on would find nobody who has the slot.
            set_slot(target, slot, "NODE", target_id).await?;
            set_slot(source, slot, "NODE", target_id).await?;
        }
        Ok(())
    }

    async fn move_keys(&self, slot: &str, source: &Server, target: &Server) -> Result<bool, ServerError> {
        let Reply::Array(keys) = source.command(&["CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_ONCE]).await? else {
            return Ok(false);
        };
        let keys: Vec<String> = keys.iter().filter_map(Reply::text).collect();
        if keys.is_empty() {
            return Ok(false);
        }
        let at = self.addr_for_nodes(target);
        let (ip, port) = (at.ip().to_string(), at.port().to_string());
        let mut migrate = vec!["MIGRATE", &*ip, &*port, "", "0", "5000", "KEYS"];
        migrate.extend(keys.iter().map(String::as_str));
        source.command(&migrate).await?;
        Ok(true)
    }
}

/// Whether a line of `CLUSTER NODES` says so, or thinks so. (`nofailover` is none of that.)
fn is_down(line: &str) -> bool {
    let mut flags = line.split(' ').nth(2).unwrap_or_default().split(',');
    flags.any(|flag| matches!(flag, "fail" | "fail?"))
}

/// Valkey has its replicas confirm this, and refuses where one is late. To say it twice does no harm.
async fn set_slot(node: &Server, slot: &str, what: &str, whose: &str) -> Result<(), ServerError> {
    let begun = Instant::now();
    loop {
        match node.command(&["CLUSTER", "SETSLOT", slot, what, whose]).await {
            Err(ServerError::Refused { reply, .. })
                if reply.starts_with("NOREPLICAS") && begun.elapsed() < WAIT_LIMIT =>
            {
                sleep(ASK_EVERY).await;
            }
            done => return done.map(drop),
        }
    }
}

/// Asks until the answer's text is as it should be.
async fn until(node: &Server, what: &str, question: &[&str], is_so: impl Fn(&str) -> bool) -> Result<(), ServerError> {
    let begun = Instant::now();
    loop {
        let told = node.command(question).await?.text().unwrap_or_default();
        if is_so(&told) {
            return Ok(());
        }
        if begun.elapsed() >= WAIT_LIMIT {
            let what = format!("{what} at {}", node.addr());
            return Err(TimedOut { what, after: WAIT_LIMIT, last: told }.into());
        }
        sleep(ASK_EVERY).await;
    }
}
