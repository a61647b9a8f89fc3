//! Replicas whose passwords change: each link to one signs in with what the source of the tether says, and again before that is over.

use std::sync::Arc;

use redis_tether::{Event, Tether};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::servers::protocol_for;
use redis_tether_tests::tokens::{Issuer, LIFETIME};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use redis_tether_tests::{on_each_server, rig};

use crate::world::{REPLICAS, Readers, World, serving};

on_each_server!(tokens_rotate_under_reads);

/// So many tokens later the links are the same, and after each of them the one before is worth nothing; nor is it to a link that is made
/// anew.
async fn tokens_rotate_under_reads(kind: ServerKind) {
    let world = Arc::new(World::new(kind).await);
    // No replica is told of its primary's users.
    let issuer =
        Issuer::new(&world, |world| std::iter::once(&world.primary).chain(&world.replicas).collect(), "holder");
    // Whoever has not signed in reads nothing.
    issuer.order(&["ACL", "SETUSER", "default", "-get"]).await;
    let mut config = world.config(protocol_for(kind)).with_client_name("holder");
    config.replicas.fallback = redis_tether::Fallback::None;
    // A third of it is how long a dial waits for a token before it comes with one from before, which may be revoked.
    config.dial.timeout = PATIENCE;
    let builder = Tether::builder(config).resolver(rig::resolver(&world.dns));
    let tether = builder.credentials(issuer.source(LIFETIME)).start().await.expect("valid");
    tether.ready(PATIENCE).await.expect("it is let in");
    let replicas = tether.replicas();
    serving(&replicas, &tether, REPLICAS).await;
    let links = || replicas.members().iter().map(|replica| replica.status.epoch).collect::<Vec<_>>();
    let at_first = issuer.signed_in().await;
    let (readers, first, mut diary) = (Readers::start(&replicas, 4), links(), Diary::of(&tether));
    for _ in 0..3 {
        for replica in replicas.members() {
            diary.until("a link to sign in again", |event| has_signed_in(event, &replica.name)).await;
        }
        issuer.revoke_all_but_the_last().await;
        readers.go_on_for(50).await;
    }
    assert_eq!(links(), first, "the links are the same");
    while diary.count(is_renewal) < 2 {
        diary.until("the link to the primary to sign in again", is_renewal).await;
    }
    let now = issuer.signed_in().await;
    assert!(!at_first.is_empty() && now.is_disjoint(&at_first), "signed in as {now:?}, at first as {at_first:?}");
    let failed = |event: &Event| matches!(event, Event::Replica { event, .. } if is_trouble(event));
    assert_eq!(diary.count(failed), 0, "{:?}", diary.so_far());
    assert!(readers.finish().await.is_empty());

    let server = &world.replicas[0];
    let (name, before) = (server.addr().to_string(), server.info("total_connections_received").await.expect("INFO"));
    server.kill_clients().await.expect("killed");
    let is_back = |event: &Event| matches!(event, Event::Replica { replica, event, .. } if **replica == *name && matches!(**event, Event::Connected { .. }));
    diary.until("another link", is_back).await;
    assert_ne!(server.info("total_connections_received").await.expect("INFO"), before);
    serving(&replicas, &tether, REPLICAS).await;
    let readers = Readers::start(&replicas, 4);
    readers.go_on_for(50).await;
    assert!(readers.finish().await.is_empty());
    assert_eq!(diary.count(failed), 0, "{:?}", diary.so_far());
    within(PATIENCE, "the shutdown", tether.shutdown()).await;
}

fn has_signed_in(event: &Event, name: &str) -> bool {
    matches!(event, Event::Replica { replica, event, .. } if **replica == *name && is_renewal(event))
}

fn is_renewal(event: &Event) -> bool {
    matches!(event, Event::Reauthenticated { .. })
}

fn is_trouble(event: &Event) -> bool {
    matches!(event, Event::DialFailed { .. } | Event::ReauthenticationFailed { .. })
}
