//! What goes wrong in a random schedule: faults of servers, of the network, of the DNS, of the operators and of our own
//! runtime. A fault is drawn from the schedule's generator and acts on the world at once; what it does not take back itself
//! is taken back by [`heal`] at the end.

use std::time::Duration;

use redis_tether::Tether;
use tokio::time::advance;

use crate::scissors::Cut;
use crate::trace::Trace;
use crate::world::{NAME, World, address, ip};

/// The password that the tether signs in with.
pub(crate) const PASSWORD: &str = "open sesame";

/// What servers refuse commands with. The last one is of a script that was refused half-way.
const REFUSALS: [&str; 5] = [
    "TRYAGAIN try again",
    "MASTERDOWN link down",
    "OOM out of memory",
    "LOADING loading",
    "READONLY You can't write against a read only replica. script: 4ca238f6, on @user_script:1.",
];

/// A stretch of virtual time in which our own runtime stood still: from when, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stall {
    pub(crate) from: Duration,
    pub(crate) length: Duration,
}

/// What acts on the world in one schedule.
pub(crate) struct Mischief<'a> {
    pub(crate) world: &'a World,
    pub(crate) tether: &'a Tether,
    pub(crate) trace: &'a Trace,
    pub(crate) rng: fastrand::Rng,
    pub(crate) stalls: Vec<Stall>,
    /// A new link was asked for by hand at these moments.
    pub(crate) reconnects: Vec<Duration>,
}

impl Mischief<'_> {
    /// Something goes wrong.
    pub(crate) async fn strike(&mut self) {
        let node = self.rng.usize(..self.world.nodes.len());
        let time = self.random(Duration::from_millis(10), Duration::from_secs(4));
        match self.rng.u8(..6) {
            0..=2 => self.strike_server(node, time),
            3 => self.strike_network(node, time),
            4 => self.strike_dns(node, time),
            _ => self.strike_elsewhere(node, time).await,
        }
    }

    fn strike_server(&mut self, node: usize, time: Duration) {
        let server = &self.world.nodes[node];
        let what = match self.rng.u8(..24) {
            0 | 1 => {
                server.crash();
                "crashes"
            }
            2 | 3 => {
                server.restart();
                "restarts"
            }
            4 => {
                server.freeze();
                "freezes"
            }
            5 => {
                server.hang();
                "hangs"
            }
            6 | 7 => {
                server.thaw();
                "thaws"
            }
            8 => {
                server.busy_for(time);
                "is busy"
            }
            9 => {
                server.load_for(time);
                "loads"
            }
            10 | 11 => {
                self.world.promote(node);
                "is promoted"
            }
            12 => {
                server.demote();
                "is demoted"
            }
            13 => {
                self.world.nodes.iter().for_each(|server| server.demote());
                "is demoted with all others"
            }
            14 => {
                server.kill_connections();
                "kills its connections"
            }
            15 => {
                server.close_after_reply();
                "closes after every reply"
            }
            16 => {
                server.close_after_bytes(Some(self.rng.u64(..2_000)));
                "closes after some bytes"
            }
            17 => {
                server.garbage();
                "answers garbage"
            }
            18 => {
                server.drip(Some(time / 10));
                "drips"
            }
            19 => {
                server.max_clients(Some(0));
                "is full"
            }
            20 => {
                server.slow(time / 20);
                "is slow"
            }
            21 => {
                server.delay_next_ping(time);
                "loses a probe"
            }
            22 => {
                let command = ["SET", "INCR", "PING", "LPUSH", "GET"][self.rng.usize(..5)];
                let error = REFUSALS[self.rng.usize(..REFUSALS.len())];
                server.refuse(command, Some(error));
                self.trace.note(format!("fault: node {node} refuses {command} with {error}"));
                return;
            }
            _ => {
                server.require_password(Some("another"));
                server.kill_connections();
                "changes its password"
            }
        };
        self.trace.note(format!("fault: node {node} {what} ({time:?})"));
    }

    fn strike_network(&mut self, node: usize, time: Duration) {
        let (net, at) = (&self.world.net, address(node));
        let what = match self.rng.u8(..11) {
            0 => {
                net.refuse(at);
                "refuses"
            }
            1 => {
                net.unreachable(at);
                "is unreachable"
            }
            2 => {
                net.black_hole(at);
                "is a black hole"
            }
            3 => {
                net.reset(at);
                "resets"
            }
            4 => {
                net.latency(at, time / 20);
                "is far away"
            }
            5 => {
                net.connect_delay(at, time / 2);
                "connects slowly"
            }
            6 => {
                self.world.scissors.cut(at, Cut::BeforeReply);
                "is cut before a reply"
            }
            7 => {
                let bytes = self.rng.usize(..400);
                self.world.scissors.cut(at, Cut::AfterRequestBytes(bytes));
                "is cut within a request"
            }
            _ => {
                net.heal(at);
                net.latency(at, Duration::ZERO);
                net.connect_delay(at, Duration::ZERO);
                "is within reach"
            }
        };
        self.trace.note(format!("fault: address {node} {what} ({time:?})"));
    }

    fn strike_dns(&mut self, node: usize, time: Duration) {
        let dns = &self.world.dns;
        let other = (node + 1) % self.world.nodes.len();
        let what = match self.rng.u8(..8) {
            0 => {
                dns.hang(NAME);
                "hangs"
            }
            1 => {
                dns.fail(NAME);
                "fails"
            }
            2 => {
                dns.remove(NAME);
                "does not know the name"
            }
            3 => {
                dns.rotate(NAME, vec![vec![ip(node)], vec![ip(other)]]);
                "rotates its answers"
            }
            4 => {
                dns.set(NAME, vec![ip(node), ip(other)]);
                "names two"
            }
            5 => {
                dns.delay(NAME, time);
                "is slow"
            }
            _ => {
                dns.set(NAME, vec![ip(node)]);
                "names one"
            }
        };
        self.trace.note(format!("fault: the DNS {what} (node {node}, {time:?})"));
    }

    async fn strike_elsewhere(&mut self, node: usize, time: Duration) {
        match self.rng.u8(..8) {
            0 => {
                let asked = self.tether.reconnect();
                self.reconnects.push(self.trace.now());
                self.trace.note(format!("fault: a reconnect by hand: {asked:?}"));
            }
            1 => self.kill_an_actor(),
            2 => {
                self.world.promote(node);
                self.world.name_means(&[node]);
                self.trace.note(format!("fault: a failover to node {node}"));
            }
            3 => {
                let pinned = self.tether.pin();
                self.trace.note(format!("fault: pinned: {pinned:?}"));
            }
            4 => {
                let unpinned = self.tether.unpin();
                self.trace.note(format!("fault: unpinned: {unpinned:?}"));
            }
            _ => self.stall(time).await,
        }
    }

    /// Our own runtime stands still: time passes, and nobody had a turn.
    async fn stall(&mut self, time: Duration) {
        self.trace.note(format!("fault: our runtime stands still for {time:?}"));
        self.stalls.push(Stall { from: self.trace.now(), length: time });
        advance(time).await;
    }

    /// As a panic would: one of the supervisor's children ends without a last word.
    fn kill_an_actor(&mut self) {
        let mut children = self.tether.actor().get_children();
        if children.is_empty() {
            return;
        }
        // ractor keeps them in a hash map; their ids tell who was started first.
        children.sort_by_key(|child| child.get_id().pid());
        let which = self.rng.usize(..children.len());
        self.trace.note(format!("fault: child {which} of the supervisor is killed"));
        children[which].kill();
    }

    pub(crate) fn random(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_millis()).expect("a short span");
        least + Duration::from_millis(self.rng.u64(..=span))
    }
}

/// All is well again: `primary` is the primary, the others replicas, and the name means the primary.
pub(crate) fn heal(world: &World, primary: usize) {
    for (node, server) in world.nodes.iter().enumerate() {
        server.heal();
        server.require_password(Some(PASSWORD));
        if !server.is_up() {
            server.restart();
        }
        world.net.heal(address(node));
        world.net.latency(address(node), Duration::ZERO);
        world.net.connect_delay(address(node), Duration::ZERO);
    }
    world.scissors.put_away();
    world.promote(primary);
    world.dns.delay(NAME, Duration::ZERO);
    world.name_means(&[primary]);
}
