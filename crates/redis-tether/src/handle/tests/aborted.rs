//! Commands that are sent at the moment at which their link is ended.

use std::future::{Future, pending};

use tokio::io::duplex;

use super::super::clock::{Clock, Ran};
use super::super::command::Demand;
use super::*;
use crate::ledger::{Ledger, LedgerStream};

/// A command that nobody will ever answer, over a link whose stream redis-rs has or has not let go.
struct Orphan {
    ledger: Arc<Ledger>,
    stream: LedgerStream,
}

impl Orphan {
    fn new(rig: &Rig) -> Orphan {
        let ledger = Ledger::new(epoch(1), Arc::clone(rig.gate()), rig.recorder.clone());
        let stream = LedgerStream::new(Box::new(duplex(64).0), Arc::clone(&ledger));
        Orphan { ledger, stream }
    }
}

async fn run(rig: &Rig, demand: Demand, ledger: &Ledger, sending: impl Future<Output = ()>) -> Ran<()> {
    let mut clock = Clock::new(DEADLINE, demand);
    let sending = pin!(sending);
    let running = clock.run(sending, None, ledger, &rig.shared.counters);
    timeout(LIMIT, running).await.expect("it ends")
}

/// tokio's channel takes a message behind what its receiver has emptied, if both happen at once.
#[tokio::test(start_paused = true)]
async fn a_command_that_nobody_will_answer_ends_with_its_link() {
    for demand in [Demand::Plain, Demand::Blocking(None), Demand::Acknowledgement(None)] {
        let rig = Rig::new();
        let Orphan { ledger, stream } = Orphan::new(&rig);
        ledger.kill(LinkEnd::Mute);
        drop(stream);
        let start = Instant::now();
        assert!(matches!(run(&rig, demand, &ledger, pending()).await, Ran::LinkGone), "{demand:?}");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}

/// What is said of it may depend on what the driver still does.
#[tokio::test(start_paused = true)]
async fn a_dead_link_is_waited_for_until_its_driver_is_gone() {
    let rig = Rig::new();
    let Orphan { ledger, stream } = Orphan::new(&rig);
    ledger.kill(LinkEnd::Mute);
    let answered = sleep(Duration::from_millis(30));
    assert!(matches!(run(&rig, Demand::Blocking(None), &ledger, answered).await, Ran::Reply(())));
    let gone = async {
        sleep(Duration::from_millis(30)).await;
        drop(stream);
    };
    let start = Instant::now();
    let (ran, ()) = tokio::join!(run(&rig, Demand::Blocking(None), &ledger, pending()), gone);
    assert!(matches!(ran, Ran::LinkGone));
    assert!(start.elapsed() <= Duration::from_millis(32), "{:?}", start.elapsed());
}

/// Whichever comes first, on threads of their own.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_abort_ends_everything() {
    let rig = Rig::with(CommandSettings { hold: crate::config::HoldMode::FailFast, ..CommandSettings::default() });
    let peer = Peer::mute();
    for number in 1..=500 {
        let link = rig.open(number, &peer).await;
        let mut calls = JoinSet::new();
        for _ in 0..16 {
            let mut handle = rig.handle();
            calls.spawn(async move {
                let mut pop = redis::cmd("BLPOP");
                pop.arg("list").arg(0).query_async::<String>(&mut handle).await
            });
        }
        // A different moment each time.
        for _ in 0..number % 64 * 5 {
            std::hint::spin_loop();
        }
        link.abort(LinkEnd::Mute);
        let ended = timeout(LIMIT, calls.join_all()).await;
        assert!(ended.is_ok(), "link {number}: {} commands go on", link.ledger().in_flight());
    }
}
