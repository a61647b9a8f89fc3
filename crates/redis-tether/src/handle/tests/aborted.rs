//! Commands that are sent at the moment at which their link is ended.

use super::*;

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
