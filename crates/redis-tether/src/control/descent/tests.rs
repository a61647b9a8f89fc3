//! What keeps the question from being put, and what does not.

use std::io;
use std::net::SocketAddr;

use redis::AsyncCommands;
use redis_tether_core::Epoch;
use redis_tether_testkit::{FakeServer, Reply, SimNet};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use super::*;
use crate::transport::in_memory::InMemory;
use crate::{Config, Tether};

/// Virtual time.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than a dial may take: no question has an answer for as long.
const LONG: Duration = Duration::from_secs(4);

/// A server that tells which history it holds, and a tether that has heard of the first.
struct World {
    server: FakeServer,
    tether: Tether,
    events: Receiver<Event>,
}

impl World {
    async fn new() -> World {
        let (net, server) = (SimNet::new(), FakeServer::new());
        net.bind(SocketAddr::from(([10, 0, 0, 1], 6379)), server.clone());
        holds(&server, 1);
        let builder = Tether::builder(Config::new("10.0.0.1", 6379)).transport(InMemory(net)).seed(7);
        let tether = builder.start().await.expect("a valid configuration");
        let mut world = World { events: tether.events(), server, tether };
        world.until("a link", |event| matches!(event, Event::Connected { .. })).await;
        world.asked(4).await;
        world
    }

    async fn until(&mut self, what: &str, is_it: impl Fn(&Event) -> bool) {
        let found = timeout(PATIENCE, async { while !is_it(&self.events.recv().await.expect("the tether lives")) {} });
        found.await.unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"));
    }

    /// Waits until the question has been put so many times, in commands, and has its answer.
    async fn asked(&self, commands: u64) {
        let put = self.server.wait_for_command("INFO", commands);
        timeout(PATIENCE, put).await.expect("waited for the question").expect("it is counted");
        sleep(Duration::from_millis(1)).await;
    }

    /// Another link, upon which a command blocks that was held until then.
    async fn blocked_from_the_start(&mut self) {
        let before = self.server.commands("BLPOP");
        self.server.crash();
        self.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
        let mut handle = self.tether.handle();
        drop(tokio::spawn(async move { handle.blpop::<_, ()>("queue", 5.0).await }));
        sleep(Duration::from_millis(1)).await;
        assert_eq!(self.tether.stats().held_now, 1);
        self.server.restart();
        self.until("another link", |event| matches!(event, Event::Connected { .. })).await;
        sleep(LONG).await;
        assert_eq!(self.server.commands("BLPOP"), before + 1, "it is sent, and blocks");
    }
}

/// From now on the server holds this history.
fn holds(server: &FakeServer, history: u32) {
    let info = format!("run_id:{history:040x}\r\nmaster_replid:{history:040x}\r\nmaster_repl_offset:7\r\n");
    server.answer("INFO", Some(Reply::bulk(info)));
}

#[tokio::test(start_paused = true)]
async fn a_command_that_blocks_in_front_of_the_question_is_no_refusal_of_it() {
    let mut world = World::new().await;
    for _ in 0..2 {
        world.blocked_from_the_start().await;
    }
    holds(&world.server, 2);
    world.server.kill_connections();
    world.until("the change", |event| matches!(event, Event::LineageChanged { .. })).await;
    world.tether.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_question_is_put_when_nothing_blocks_any_more() {
    let mut world = World::new().await;
    holds(&world.server, 2);
    world.blocked_from_the_start().await;
    world.until("the change", |event| matches!(event, Event::LineageChanged { .. })).await;
    assert_eq!(world.server.commands("INFO"), 8);
    world.tether.shutdown().await;
}

#[test]
fn only_a_link_that_the_peer_ended_upon_the_question_counts() {
    let put = |descent: &Descent, end: Option<LinkEnd>| {
        let link = Ledger::aside(Epoch::FIRST);
        let question = Question { descent, link: &link, is_answered: false };
        end.map(|end| link.kill(end));
        drop(question);
    };
    for (end, counts) in [
        (None, false),
        (Some(LinkEnd::Retired), false),
        (Some(LinkEnd::DriverGone), false),
        (Some(LinkEnd::Closed), true),
        (Some(LinkEnd::Failed(io::ErrorKind::ConnectionReset, "reset".into())), true),
        (Some(LinkEnd::Protocol("garbage".into())), true),
        (Some(LinkEnd::Mute), true),
    ] {
        let descent = Descent::default();
        for _ in 0..UNANSWERED {
            assert!(descent.may_ask(), "{end:?}");
            put(&descent, end.clone());
        }
        assert_eq!(descent.may_ask(), !counts, "{end:?}");
        drop(Question { descent: &descent, link: &Ledger::aside(Epoch::FIRST), is_answered: true });
        assert!(descent.may_ask(), "what was answered once is asked again");
    }
}

/// What the links ended over may have been a slow script in front of the question.
#[tokio::test(start_paused = true)]
async fn what_was_put_in_vain_is_put_again_after_a_while_and_once_at_a_time() {
    let descent = Descent::default();
    let put_in_vain = || {
        let link = Ledger::aside(Epoch::FIRST);
        let question = Question { descent: &descent, link: &link, is_answered: false };
        link.kill(LinkEnd::Mute);
        drop(question);
    };
    (0..UNANSWERED).for_each(|_| put_in_vain());
    for _ in 0..3 {
        assert!(!descent.may_ask());
        tokio::time::advance(PUT_AGAIN_AFTER - Duration::from_secs(1)).await;
        assert!(!descent.may_ask());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(descent.may_ask());
        put_in_vain();
    }
}
