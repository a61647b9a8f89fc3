//! What is told of replicas, and of those who say who they are.

use redis_tether_core::Address;

use super::*;

/// Nobody is there, and nobody needs to be.
async fn tether() -> Tether {
    Tether::start(Config::new("127.0.0.1", 1)).await.expect("a valid configuration")
}

/// On a thread of its own its tether may dial before whoever started it goes on.
#[tokio::test(start_paused = true)]
async fn the_first_that_is_told_of_a_replica_is_that_it_is_there() {
    let tether = tether().await;
    let control = &tether.control;
    let mut events = tether.events();
    let report = Report::new(control, "10.0.0.2:6379".to_owned());
    let address = Address::Tcp(([10, 0, 0, 2], 6379).into());
    assert!(report.tell(&Event::Dialling { epoch: Epoch::FIRST, address }));
    report.is_there(control);
    let mut told = std::iter::from_fn(|| events.try_recv().ok());
    assert!(matches!(told.next(), Some(Event::ReplicaAdded { .. })));
    assert!(matches!(told.next(), Some(Event::Replica { .. })));
    assert!(told.next().is_none(), "it is there once");
    tether.shutdown().await;
}

/// Each round asks another sentinel first, and tells of that one.
#[tokio::test(start_paused = true)]
async fn failures_of_one_kind_and_another_are_told_of_once() {
    let tether = tether().await;
    let (set, _) = tether.control.want_replicas();
    let mut keeper = Keeper::new(tether.control.clone());
    let mut events = tether.events();
    let mut told = |error: Option<SourceError>| {
        keeper.tell(&set, error.as_ref());
        let shown = set.rosters.borrow().error.as_ref().map(ToString::to_string);
        assert_eq!(shown, error.map(|error| error.to_string()));
        std::iter::from_fn(|| events.try_recv().ok()).count()
    };
    assert_eq!(told(Some(SourceError::NoPrimary)), 1);
    assert_eq!(told(Some(SourceError::TimedOut)), 0);
    assert_eq!(told(Some(SourceError::NotTold)), 1, "for people");
    assert_eq!(told(Some(SourceError::NoPrimary)), 0);
    assert_eq!(told(None), 0);
    assert_eq!(told(Some(SourceError::TimedOut)), 1);
    tether.shutdown().await;
}
