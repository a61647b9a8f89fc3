//! Replicas whose passwords change: each link to one signs in with what the source of the tether says, and again before that is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis_tether::{CredentialSource, Credentials, Event, Tether, credentials_fn};
use redis_tether_testkit::ServerKind;
use redis_tether_tests::servers::protocol_for;
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use redis_tether_tests::{on_each_server, rig};

use crate::world::{REPLICAS, Readers, World, serving};

on_each_server!(tokens_rotate_under_reads);

/// Who the tether is at all of them.
const USER: &str = "app";

/// Servers that take the passwords of one user, and whoever gives these out.
#[derive(Clone)]
struct Issuer {
    world: Arc<World>,
    issued: Arc<AtomicU64>,
}

impl Issuer {
    async fn start(kind: ServerKind) -> Issuer {
        let issuer = Issuer { world: Arc::new(World::new(kind).await), issued: Arc::default() };
        issuer.order(&["ACL", "SETUSER", USER, "on", "~*", "&*", "+@all", "resetpass"]).await;
        // Whoever has not signed in reads nothing.
        issuer.order(&["ACL", "SETUSER", "default", "-get"]).await;
        issuer
    }

    /// To each of them: no replica is told of its primary's users.
    async fn order(&self, words: &[&str]) {
        for server in std::iter::once(&self.world.primary).chain(&self.world.replicas) {
            server.command(words).await.expect("the server is well");
        }
    }

    /// A password of its own for whoever asks, which all servers take beside those before.
    fn source(&self, lifetime: Duration) -> impl CredentialSource + use<> {
        let issuer = self.clone();
        credentials_fn(move |_| {
            let issuer = issuer.clone();
            async move {
                let password = format!("token-{}", issuer.issued.fetch_add(1, Ordering::SeqCst) + 1);
                issuer.order(&["ACL", "SETUSER", USER, &format!(">{password}")]).await;
                Ok(Credentials::new(password).with_username(USER).with_lifetime(lifetime))
            }
        })
    }

    /// They take the last one only.
    async fn revoke_all_but_the_last(&self) {
        let last = format!(">token-{}", self.issued.load(Ordering::SeqCst));
        self.order(&["ACL", "SETUSER", USER, "resetpass", &last]).await;
    }
}

/// So many passwords later the links are the same, and after each of them the one before is worth nothing; nor is it to a link that is
/// made anew.
async fn tokens_rotate_under_reads(kind: ServerKind) {
    let issuer = Issuer::start(kind).await;
    let mut config = issuer.world.config(protocol_for(kind));
    config.replicas.fallback = redis_tether::Fallback::None;
    let builder = Tether::builder(config).resolver(rig::resolver(&issuer.world.dns));
    let tether = builder.credentials(issuer.source(Duration::from_secs(2))).start().await.expect("valid");
    tether.ready(PATIENCE).await.expect("it is let in");
    let replicas = tether.replicas();
    serving(&replicas, &tether, REPLICAS).await;
    let links = || replicas.members().iter().map(|replica| replica.status.epoch).collect::<Vec<_>>();
    let (readers, first, mut diary) = (Readers::start(&replicas, 4), links(), Diary::of(&tether));
    for _ in 0..3 {
        for replica in replicas.members() {
            diary.until("a link to sign in again", |event| has_signed_in(event, &replica.name)).await;
        }
        issuer.revoke_all_but_the_last().await;
        readers.go_on_for(50).await;
    }
    assert_eq!(links(), first, "the links are the same");
    let failed = |event: &Event| matches!(event, Event::Replica { event, .. } if is_trouble(event));
    assert_eq!(diary.count(failed), 0, "{:?}", diary.so_far());
    assert!(readers.finish().await.is_empty());

    let server = &issuer.world.replicas[0];
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
    let is_so = |event: &Event| matches!(event, Event::Reauthenticated { .. });
    matches!(event, Event::Replica { replica, event, .. } if **replica == *name && is_so(event))
}

fn is_trouble(event: &Event) -> bool {
    matches!(event, Event::DialFailed { .. } | Event::ReauthenticationFailed { .. })
}
