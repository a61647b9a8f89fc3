//! When a tied connection stops taking commands, and when it is closed, in virtual time: of the link and the connection there
//! are only the books.

use std::net::{Ipv4Addr, SocketAddr};

use redis_tether_core::Epoch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;
use crate::config::CommandSettings;
use crate::gate::ClosedCause;
use crate::handle::rig::settle;
use crate::ledger::{Flight, FlightKind};

const LIMIT: Duration = Duration::from_secs(5);

struct Tied {
    gate: Arc<Gate>,
    link: Arc<Ledger>,
    own: Arc<Ledger>,
    tie: Arc<Tie>,
    ended: CancellationToken,
    watch: JoinHandle<Instant>,
}

impl Tied {
    async fn new() -> Tied {
        let gate = Gate::new(&CommandSettings::default(), Arc::default());
        let (link, own) = (Ledger::aside(Epoch::FIRST), Ledger::aside(Epoch::FIRST));
        let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 6379)));
        let tie = Arc::new(Tie::new(gate.clone(), link.clone(), own.clone(), address));
        let ended = CancellationToken::new();
        let announced = Announced { tie: tie.clone(), close: Some(Box::new(|| {})) };
        let watch = watch(announced, LIMIT, ended.clone());
        let watch = tokio::spawn(async move {
            watch.await;
            Instant::now()
        });
        settle().await;
        Tied { gate, link, own, tie, ended, watch }
    }

    fn in_flight(&self) -> Flight {
        self.own.begin(FlightKind::Plain)
    }

    fn loss(&self) -> Option<Loss> {
        self.tie.lost().map(Lost::loss)
    }

    async fn is_open(&self) -> bool {
        settle().await;
        !self.watch.is_finished()
    }

    /// How long from now it stays open.
    async fn open_for(self) -> Duration {
        let now = Instant::now();
        let closed = timeout(2 * LIMIT, self.watch).await.expect("it is closed").expect("no panic");
        closed.saturating_duration_since(now)
    }
}

/// What virtual timers round up to.
const AT_ONCE: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn nothing_happens_while_the_link_is_the_one() {
    let tied = Tied::new().await;
    tied.gate.close(ClosedCause::suspect("mute".into()));
    tokio::time::sleep(10 * LIMIT).await;
    assert!(tied.is_open().await, "a closed gate is no end");
    assert_eq!(tied.loss(), None);
}

#[tokio::test(start_paused = true)]
async fn when_the_link_is_replaced_what_is_in_flight_may_finish() {
    let tied = Tied::new().await;
    let flight = tied.in_flight();
    tied.link.retire();
    assert_eq!(tied.loss(), Some(Loss::Moved), "before anybody had a turn");
    tokio::time::sleep(LIMIT / 2).await;
    assert!(tied.is_open().await);
    drop(flight);
    assert!(tied.open_for().await <= AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn but_not_for_longer_than_the_limit() {
    let tied = Tied::new().await;
    let _flight = tied.in_flight();
    tied.link.retire();
    let open_for = tied.open_for().await;
    assert!(open_for >= LIMIT && open_for <= LIMIT + AT_ONCE, "{open_for:?}");
}

#[tokio::test(start_paused = true)]
async fn when_the_link_is_lost_it_is_closed_at_once() {
    for end in [LinkEnd::Mute, LinkEnd::Closed, LinkEnd::Failed(std::io::ErrorKind::TimedOut, "gone".into())] {
        let tied = Tied::new().await;
        let _flight = tied.in_flight();
        tied.link.kill(end.clone());
        assert_eq!(tied.loss(), Some(Loss::LinkLost));
        assert_eq!(tied.tie.lost().and_then(Lost::cause), Some(end.to_string().as_str()));
        assert!(tied.open_for().await <= AT_ONCE, "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_tether_stops_what_is_in_flight_may_finish_until_it_ends() {
    let tied = Tied::new().await;
    let _flight = tied.in_flight();
    tied.gate.stop();
    assert_eq!(tied.loss(), Some(Loss::Stopped));
    assert!(tied.is_open().await);
    tied.ended.cancel();
    assert!(tied.open_for().await <= AT_ONCE);
}

#[tokio::test(start_paused = true)]
async fn its_own_end_is_its_loss() {
    let tied = Tied::new().await;
    let waiting = tokio::spawn({
        let tie = Arc::clone(&tied.tie);
        async move { tie.until_lost().await.clone() }
    });
    settle().await;
    tied.own.kill(LinkEnd::Closed);
    let lost = timeout(LIMIT, waiting).await.expect("whoever waits is told").expect("no panic");
    assert_eq!(lost.to_string(), "dedicated connection to 127.0.0.1:6379 lost: it ended, closed by the peer; epoch 1");
    assert!(tied.open_for().await <= AT_ONCE);
}

/// What is known first stands: that it is closed afterwards is no news.
#[tokio::test(start_paused = true)]
async fn the_first_loss_stands() {
    let tied = Tied::new().await;
    tied.link.retire();
    settle().await;
    tied.own.kill(LinkEnd::Retired);
    tied.gate.stop();
    assert_eq!(tied.loss(), Some(Loss::Moved));
    assert_eq!(tied.tie.until_lost().await.loss(), Loss::Moved);
}

/// Its task is dropped with its runtime.
#[tokio::test(start_paused = true)]
async fn whoever_waits_is_told_when_the_runtime_goes() {
    let tied = Tied::new().await;
    let tie = Arc::clone(&tied.tie);
    tied.watch.abort();
    let lost = timeout(LIMIT, tie.until_lost()).await.expect("told");
    assert_eq!((lost.loss(), lost.cause()), (Loss::Stopped, None));
}

/// As when its runtime goes before the task has run.
#[tokio::test(start_paused = true)]
async fn a_watch_that_never_runs_tells_and_closes_all_the_same() {
    let gate = Gate::new(&CommandSettings::default(), Arc::default());
    let (link, own) = (Ledger::aside(Epoch::FIRST), Ledger::aside(Epoch::FIRST));
    let address = Address::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 6379)));
    let tie = Arc::new(Tie::new(gate, link, own, address));
    let waiting = tokio::spawn({
        let tie = tie.clone();
        async move { tie.until_lost().await.clone() }
    });
    settle().await;
    let closed = CancellationToken::new();
    let close = closed.clone();
    let announced = Announced { tie, close: Some(Box::new(move || close.cancel())) };
    drop(watch(announced, LIMIT, CancellationToken::new()));
    let lost = timeout(LIMIT, waiting).await.expect("it is told").expect("no panic");
    assert_eq!((lost.loss(), closed.is_cancelled()), (Loss::Stopped, true));
}

/// A runtime drops what drives the link, what drives the connection, and what ends the tether, in any order.
#[tokio::test(start_paused = true)]
async fn a_runtime_that_goes_is_the_end_of_the_tether_whatever_goes_first() {
    for first in 0..2 {
        let tied = Tied::new().await;
        [&tied.link, &tied.own][first].kill(LinkEnd::DriverGone);
        let lost = timeout(LIMIT, tied.tie.until_lost()).await.expect("told");
        assert_eq!((lost.loss(), lost.cause()), (Loss::Stopped, None), "{first}");
    }
}
