//! Sentinels and servers over TLS alike.

use redis_tether::{Tether, TlsSettings};
use redis_tether_testkit::tls::{Authority, Validity, acceptor};
use redis_tether_tests::rig::{self, InMemory};
use tokio::time::{Instant, sleep};

use crate::world::{World, at, ms, sentinel, server};

#[tokio::test(start_paused = true)]
async fn sentinels_are_asked_over_tls_where_servers_are() {
    let world = World::new();
    let authority = Authority::new().expect("an authority");
    let addresses: Vec<_> = (0..3).flat_map(|n| [server(n), sentinel(n)]).map(|addr| addr.ip().to_string()).collect();
    let names: Vec<_> = addresses.iter().map(String::as_str).collect();
    let pair = authority.issue_valid(Validity::Now, &names).expect("a certificate");
    let accept = acceptor(&pair, None).expect("a sound pair");
    for n in 0..3 {
        let (accept_server, node) = (accept.clone(), world.servers[usize::from(n)].clone());
        world.net.bind_with(server(n), move |io| {
            let (accept, node) = (accept_server.clone(), node.clone());
            tokio::spawn(async move { accept.accept(io).await.map(|stream| node.serve(stream)) });
        });
        let (accept_sentinel, one) = (accept.clone(), world.sentinels[usize::from(n)].clone());
        world.net.bind_with(sentinel(n), move |io| {
            let (accept, one) = (accept_sentinel.clone(), one.clone());
            tokio::spawn(async move { accept.accept(io).await.map(|stream| one.serve(stream)) });
        });
    }
    let start = async |config| {
        let builder = Tether::builder(config).resolver(rig::resolver(&world.dns)).seed(7);
        let builder = builder.transport(InMemory(world.net.clone())).tls_roots(authority.pem());
        builder.start().await.expect("a valid configuration")
    };

    let tether = start(world.config().with_tls(TlsSettings::new())).await;
    tether.ready(ms(5_000)).await.expect("both speak TLS");
    sleep(ms(500)).await;
    world.promote(1);
    world.announce(world.listened_to().expect("one is listened to"), 1, 2);
    let begun = Instant::now();
    while at(&tether) != Some(server(1)) {
        assert!(begun.elapsed() < ms(1_000), "not moved: {}", *tether.status().borrow());
        sleep(ms(5)).await;
    }
    tether.shutdown().await;

    // In plain nobody is understood, and that is said.
    let plain = start(world.config()).await;
    sleep(ms(2_000)).await;
    let said = plain.status().borrow().last_error.clone().expect("something is wrong");
    assert!(said.contains("none of 3 sentinels says where the primary is"), "{said}");
    assert!(said.contains("the server speaks TLS at this port: use rediss"), "{said}");
    plain.shutdown().await;
}
