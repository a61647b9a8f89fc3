//! One probe: what its answer means, and what it means that there is none.

use redis_tether_core::Epoch;
use tokio::time::sleep;

use super::*;
use crate::gate::ClosedCause;
use crate::handle::rig::{Peer, Rig, epoch};

fn terms(detection: &DetectionSettings) -> Terms<'_> {
    static IS_STALE: AtomicBool = AtomicBool::new(false);
    Terms { wanted: Wanted::Primary, detection, is_stale: &IS_STALE, of_link: None }
}

fn detection() -> DetectionSettings {
    DetectionSettings::default()
}

async fn pinged(peer: &Peer) -> (Arc<Link>, Rig) {
    let rig = Rig::new();
    (rig.link_that_answers(VerifyLevel::Ping, 1, peer).await, rig)
}

fn suspected(message: Option<ConnectionMsg>) -> (Epoch, Duration) {
    match message {
        Some(ConnectionMsg::Suspected { epoch, silent_for }) => (epoch, silent_for),
        _ => panic!("no suspicion"),
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_shows_that_the_peer_lives_and_vouches_for_it() {
    let (link, _rig) = pinged(&Peer::saying("+PONG")).await;
    let _kept = link.ledger().begin(FlightKind::Plain);
    let message = probe(&link, terms(&detection())).await;
    assert!(matches!(message, Some(ConnectionMsg::Probed { sight: Sight::Unclear, .. })));
    assert!(!link.ledger().is_in_doubt());
}

#[tokio::test(start_paused = true)]
async fn no_answer_is_a_suspicion() {
    let (link, _rig) = pinged(&Peer::mute()).await;
    let limit = detection().probe_timeout;
    assert_eq!(suspected(probe(&link, terms(&detection())).await), (epoch(1), limit));
    assert!(!link.ledger().listen(), "it has not spoken since");
}

/// Shorter than the silence that counts: then that decides.
#[tokio::test(start_paused = true)]
async fn a_short_timeout_makes_no_hasty_suspicion() {
    let (link, _rig) = pinged(&Peer::mute()).await;
    let hasty = DetectionSettings { probe_timeout: Duration::from_millis(10), ..detection() };
    assert_eq!(suspected(probe(&link, terms(&hasty)).await).1, hasty.suspect_after);
}

/// The peer has much to say before it comes to the probe.
#[tokio::test(start_paused = true)]
async fn while_other_bytes_come_there_is_no_silence() {
    let peer = Peer::mute();
    let (link, _rig) = pinged(&peer).await;
    let asking = tokio::spawn(async move { probe(&link, terms(&detection())).await });
    for _ in 0..10 {
        sleep(Duration::from_millis(240)).await;
        peer.utter(">2\r\n+message\r\n+something");
    }
    assert!(!asking.is_finished(), "it waits on");
    peer.pay("+PONG");
    let message = asking.await.expect("no panic");
    assert!(matches!(message, Some(ConnectionMsg::Probed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_probe_ends_before_the_next_one_is_due() {
    let peer = Peer::mute();
    let (link, _rig) = pinged(&peer).await;
    let asked = Instant::now();
    let asking = tokio::spawn(async move { (probe(&link, terms(&detection())).await.is_none(), asked.elapsed()) });
    while !asking.is_finished() {
        sleep(Duration::from_millis(200)).await;
        peer.utter(">2\r\n+message\r\n+something");
        assert!(asked.elapsed() < Duration::from_secs(10), "it goes on");
    }
    let (is_silent, took) = asking.await.expect("no panic");
    assert!(is_silent && took <= detection().probe_interval, "{is_silent}, {took:?}");
}

/// By the bytes nothing is owed once something has come.
#[tokio::test(start_paused = true)]
async fn a_word_and_then_nothing_is_no_answer() {
    let peer = Peer::mute();
    let (link, _rig) = pinged(&peer).await;
    let asking = tokio::spawn(async move { probe(&link, terms(&detection())).await });
    sleep(Duration::from_millis(300)).await;
    peer.utter(">2\r\n+message\r\n+something");
    let start = Instant::now();
    let (_, silent_for) = suspected(asking.await.expect("no panic"));
    assert_eq!((start.elapsed(), silent_for.as_millis()), (detection().suspect_after, 250));
}

/// We were the ones who slept, and the answer may wait in the socket.
#[tokio::test(start_paused = true)]
async fn a_late_timer_is_no_suspicion() {
    let peer = Peer::mute();
    let (link, _rig) = pinged(&peer).await;
    let asking = tokio::spawn(async move { probe(&link, terms(&detection())).await });
    sleep(Duration::from_millis(1)).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    sleep(Duration::from_millis(1)).await;
    assert!(!asking.is_finished());
    peer.pay("+PONG");
    let message = asking.await.expect("no panic");
    assert!(matches!(message, Some(ConnectionMsg::Probed { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_a_blocking_command_explains_is_no_suspicion() {
    let (link, _rig) = pinged(&Peer::mute()).await;
    let _blocking = link.ledger().begin(FlightKind::Blocking(None));
    let asked = Instant::now();
    assert!(probe(&link, terms(&detection())).await.is_none());
    assert!(asked.elapsed() <= detection().probe_interval);
}

#[tokio::test(start_paused = true)]
async fn that_a_server_is_fit_is_news_of_a_link_that_is_held() {
    let (rig, peer) = (Rig::new(), Peer::mute());
    let link = rig.open(1, &peer).await;
    let fit = ConnectionMsg::Probed { epoch: link.epoch(), sight: Sight::Primary };
    let silent = ConnectionMsg::Suspected { epoch: link.epoch(), silent_for: Duration::ZERO };
    assert!(!is_news(&fit, rig.gate()) && is_news(&silent, rig.gate()));
    rig.gate().close_epoch(link.epoch(), ClosedCause::suspect("a test".into()));
    assert!(is_news(&fit, rig.gate()) && is_news(&silent, rig.gate()));
}
