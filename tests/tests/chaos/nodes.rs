//! The servers of a run: a primary and a replica that keep what they execute on disk, each behind a proxy, both proxies
//! behind one name. Here is what a failover is made of; which failover there is, and when, is `servers.rs`'s choice.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use redis_tether_testkit::server::{Info, allocate_addresses};
use redis_tether_testkit::{Dns, Proxy, Server, ServerBinary};
use tokio::time::{Instant, sleep};

use crate::history::{self, Mark};
use crate::judge::Branch;

/// The name of the primary.
pub(crate) const NAME: &str = "redis.test";

/// How long anything may take that servers do for each other.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longer than anything that writes are paused for. In milliseconds, as the server wants it.
const PAUSE: &str = "60000";

/// See the head of this file.
pub(crate) struct Nodes {
    pub(crate) servers: [Server; 2],
    /// The network's faults strike them while the servers change places.
    pub(crate) proxies: Arc<[Proxy; 2]>,
    dns: Dns,
    primary: usize,
}

/// When the servers' files are on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sync {
    /// Before a write is answered.
    Always,
    /// When the kernel likes; it keeps them whatever happens to the server. (Not `everysec`, where a write may be
    /// answered a second before it is even given to the kernel.)
    No,
}

impl Nodes {
    /// Starts both.
    pub(crate) async fn start(binary: &ServerBinary, sync: Sync, dns: Dns) -> Nodes {
        let own = allocate_addresses(2).expect("two addresses for the servers");
        let outside = allocate_addresses(2).expect("two addresses for the proxies");
        let servers = [start(binary, sync, own[0]).await, start(binary, sync, own[1]).await];
        let proxies = Arc::new([relay(outside[0], own[0]).await, relay(outside[1], own[1]).await]);
        let nodes = Nodes { servers, proxies, dns, primary: 0 };
        nodes.settle().await;
        nodes.point_name_at_primary();
        nodes
    }

    /// The port of both proxies.
    pub(crate) fn port(&self) -> u16 {
        self.proxies[0].addr().port()
    }

    pub(crate) fn primary(&self) -> &Server {
        &self.servers[self.primary]
    }

    pub(crate) fn replica(&self) -> &Server {
        &self.servers[1 - self.primary]
    }

    /// From now on the name means the primary alone.
    pub(crate) fn point_name_at_primary(&self) {
        self.dns.set(NAME, vec![self.proxies[self.primary].addr().ip()]);
    }

    /// From now on the name means both.
    pub(crate) fn point_name_at_both(&self) {
        self.dns.set(NAME, self.proxies.iter().map(|proxy| proxy.addr().ip()).collect());
    }

    /// Waits until the replica has what the primary has, and whichever of them is killed comes back with all of it.
    pub(crate) async fn settle(&self) {
        self.replica().replicate(self.primary()).await.expect("a replica in sync");
        for server in &self.servers {
            // While the file is being written anew, the new one is not the one that a restart reads.
            server.wait_for("a complete file of appended commands", PATIENCE, has_complete_file).await.expect("a file");
        }
    }

    /// Ends the connection over which the replica is told what the primary executes. It makes another one.
    pub(crate) async fn cut_replica_off(&self) {
        self.primary().command(&["CLIENT", "KILL", "TYPE", "replica"]).await.expect("the replica is cut off");
    }

    /// The replica takes over as it is, and the primary is not told. Returns what both have in common.
    pub(crate) async fn promote_replica(&mut self) -> Mark {
        let common = history::promote(self.replica()).await;
        self.primary = 1 - self.primary;
        common
    }

    /// The server that is not the primary any more becomes a replica. Returns what it has executed since `common`, which
    /// will be gone.
    pub(crate) async fn demote_old(&self, common: Mark) -> Branch {
        self.pause_writes(self.replica()).await;
        let branch = history::since(self.replica(), common).await;
        self.replica().demote_to(self.primary()).await.expect("the old primary steps down");
        self.resume_writes(self.replica()).await;
        branch
    }

    /// The replica takes over with all that the primary has, and the primary steps down.
    pub(crate) async fn hand_over(&mut self) {
        self.pause_writes(self.primary()).await;
        let held = history::mark(self.primary()).await;
        self.wait_until_caught_up().await;
        let common = self.promote_replica().await;
        assert_eq!(common, held, "the replica has caught up, and both hold the same");
        self.replica().demote_to(self.primary()).await.expect("the old primary steps down");
        self.resume_writes(self.replica()).await;
    }

    /// The same, by the server's own command.
    pub(crate) async fn hand_over_by_command(&mut self) {
        let to = self.replica().addr();
        let (ip, port) = (to.ip().to_string(), to.port().to_string());
        self.primary().command(&["FAILOVER", "TO", &ip, &port]).await.expect("the failover begins");
        let is_promoted = |info: &Info| info.field("role") == Some("master");
        self.replica().wait_for("the promotion", PATIENCE, is_promoted).await.expect("promoted");
        self.primary = 1 - self.primary;
        let is_demoted = |info: &Info| info.field("role") == Some("slave");
        self.replica().wait_for("the demotion", PATIENCE, is_demoted).await.expect("demoted");
    }

    /// Waits until all that clients have sent to the primary is executed, once they have left.
    pub(crate) async fn drain(&self) {
        for proxy in self.proxies.iter() {
            proxy.pass();
            proxy.wait_until_idle().await.expect("nobody is connected any more");
        }
        // The kit's own connection is left.
        let is_alone = |info: &Info| info.number("connected_clients") == Some(1);
        self.primary().wait_for("the clients to be gone", PATIENCE, is_alone).await.expect("they are gone");
    }

    async fn wait_until_caught_up(&self) {
        let goal =
            self.primary().full_info().await.expect("the offset").number("master_repl_offset").expect("an offset");
        let is_there = |info: &Info| info.number("slave_repl_offset").is_some_and(|offset| offset >= goal);
        self.replica().wait_for("the replica to catch up", PATIENCE, is_there).await.expect("caught up");
    }

    async fn pause_writes(&self, server: &Server) {
        // A server that has just been thawed may take a while for what waits in its buffers.
        let begun = Instant::now();
        while let Err(error) = server.command(&["CLIENT", "PAUSE", PAUSE, "WRITE"]).await {
            assert!(begun.elapsed() < PATIENCE, "writes cannot be paused: {error}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn resume_writes(&self, server: &Server) {
        server.command(&["CLIENT", "UNPAUSE"]).await.expect("writes go on");
    }
}

async fn start(binary: &ServerBinary, sync: Sync, addr: SocketAddr) -> Server {
    let sync = match sync {
        Sync::Always => "always",
        Sync::No => "no",
    };
    Server::builder(binary)
        .on(addr)
        .config_line("appendonly yes")
        .config_line(&format!("appendfsync {sync}"))
        .config_line("auto-aof-rewrite-percentage 0")
        // On loopback a connection comes from another address than the one that its server listens at.
        .config_line(&format!("replica-announce-ip {}", addr.ip()))
        .start()
        .await
        .expect("a server")
}

async fn relay(addr: SocketAddr, target: SocketAddr) -> Proxy {
    redis_tether_tests::servers::bind(async || Proxy::start_on(addr, target).await).await
}

fn has_complete_file(info: &Info) -> bool {
    let is = |field, value| info.number(field) == Some(value);
    is("aof_rewrite_in_progress", 0) && is("aof_rewrite_scheduled", 0)
}
