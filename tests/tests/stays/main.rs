//! It stays: what is merely slow, or none of the link's business, costs no command and no link. Each test puts a steady load
//! of a few callers on a tether with the default settings, makes something happen that a hasty client would reconnect
//! for, and holds the tether to this: no command failed or was executed twice, the link is the one of before, and dials
//! are bounded.
//!
//! `server.rs` has what the server does, `client.rs` what our own process does, `names.rs` what DNS does.

mod client;
mod names;
mod server;

use std::time::Duration;

use redis_tether::{Config, Epoch, Event, Phase, Tether, TetherBuilder};
use redis_tether_testkit::{Dns, Server, ServerKind};
use redis_tether_tests::rig;
use redis_tether_tests::servers::{server_binary, unsuspecting};
use redis_tether_tests::steady::{Met, Steady};
use redis_tether_tests::watch::Diary;

const NAME: &str = "redis.test";

/// A few.
const CALLERS: usize = 4;

/// What the load must manage before and after the fault, and how long it may take for it on a busy machine.
const SOME: u64 = 100;
const SOON: Duration = Duration::from_secs(10);

/// A side link is dialled for each suspicion, and another when that one has had its time.
const SIDE_DIALS: u64 = 2;

/// A tether under load, and what it was before the fault.
struct Stay {
    tether: Tether,
    diary: Diary,
    load: Steady,
    epoch: Epoch,
    dials: u64,
}

/// What the fault cost.
struct Cost {
    met: Met,
    /// Dials since the fault.
    dials: u64,
    events: Vec<Event>,
}

impl Stay {
    /// At the server under its name, as the DNS has it.
    async fn at(server: &Server, dns: &Dns) -> Stay {
        Stay::with(Config::new(NAME, server.addr().port()), server, dns).await
    }

    /// The same, where it is about names, and not about silence: a loaded machine that keeps an answer back is no matter.
    async fn trusting(server: &Server, dns: &Dns) -> Stay {
        Stay::with(unsuspecting(Config::new(NAME, server.addr().port())), server, dns).await
    }

    async fn with(config: Config, server: &Server, dns: &Dns) -> Stay {
        dns.set(NAME, vec![server.addr().ip()]);
        Stay::begin(Tether::builder(config).resolver(rig::resolver(dns))).await
    }

    async fn begin(tether: TetherBuilder) -> Stay {
        let tether = tether.start().await.expect("the configuration is valid");
        let status = tether.ready(SOON).await.expect("the server is well");
        let diary = Diary::of(&tether);
        let load = Steady::start(&tether.handle(), "load", CALLERS);
        load.goes_on(SOME, SOON).await;
        let epoch = status.epoch.expect("a link has a number");
        Stay { dials: tether.stats().dials, tether, diary, load, epoch }
    }

    /// Waits until the fault has been noticed.
    async fn suspected(&mut self) {
        self.diary.until("the suspicion", is_suspicion).await;
    }

    /// Waits until all is well again.
    async fn resumed(&mut self) {
        self.diary.until("the end of the suspicion", |event| matches!(event, Event::Resumed { .. })).await;
    }

    /// Says what the fault cost, after a look at how things go on without it.
    async fn end(mut self) -> Cost {
        self.load.goes_on(SOME, SOON).await;
        let met = self.load.finish().await;
        let status = self.tether.status().borrow().clone();
        assert_eq!(met.failures, [""; 0], "events: {:#?}", self.diary.so_far());
        assert_eq!((status.phase, status.epoch), (Phase::Connected, Some(self.epoch)), "{status}");
        let stats = self.tether.stats();
        assert_eq!((stats.links, stats.failed_not_sent, stats.failed_refused, stats.failed_ambiguous), (1, 0, 0, 0));
        let cost = Cost { met, dials: stats.dials - self.dials, events: self.diary.so_far().to_vec() };
        self.tether.shutdown().await;
        cost
    }
}

impl Cost {
    fn suspicions(&self) -> usize {
        self.events.iter().filter(|event| is_suspicion(event)).count()
    }

    /// It was suspected, once; a loaded machine may have given reason to suspect it again, once or twice. Each time cost so many dials
    /// at the most.
    fn was_suspicion(&self, most_dials_each: u64) {
        let suspicions = self.suspicions() as u64;
        assert!((1..=3).contains(&suspicions), "{suspicions} suspicions: {:#?}", self.events);
        assert!(self.dials <= suspicions * most_dials_each, "{} dials: {:#?}", self.dials, self.events);
    }
}

fn is_suspicion(event: &Event) -> bool {
    matches!(event, Event::Suspected { .. })
}

async fn server(kind: ServerKind) -> Server {
    Server::start(&server_binary(kind)).await.expect("the server starts")
}
