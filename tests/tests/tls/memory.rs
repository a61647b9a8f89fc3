//! TLS over a transport of the application's own, with roots that are in no file: what a simulation has.

use redis_tether::redis::AsyncCommands;
use redis_tether::{Config, Tether, TlsSettings};
use redis_tether_testkit::tls::{Authority, acceptor};
use redis_tether_testkit::{FakeServer, SimNet};
use redis_tether_tests::rig::InMemory;
use redis_tether_tests::watch::PATIENCE;

#[tokio::test(start_paused = true)]
async fn a_transport_of_ones_own_can_have_it() {
    let authority = Authority::new().expect("an authority");
    let acceptor = acceptor(&authority.issue(&["10.0.0.1"]).expect("a certificate"), None).expect("a sound pair");
    let (net, server) = (SimNet::new(), FakeServer::new());
    let behind = server.clone();
    net.bind_with("10.0.0.1:6379".parse().expect("an address"), move |io| {
        let (server, acceptor) = (behind.clone(), acceptor.clone());
        tokio::spawn(async move { acceptor.accept(io).await.map(|stream| server.serve(stream)) });
    });
    let config = Config::new("10.0.0.1", 6379).with_tls(TlsSettings::new());
    let tether = Tether::builder(config)
        .transport(InMemory(net))
        .tls_roots(authority.pem())
        .start()
        .await
        .expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    let () = tether.handle().set("key", "value").await.expect("written");
    assert_eq!(server.executions("SET"), 1);

    // Abort and retry, since every transport ends some day.
    server.kill_connections();
    let () = tether.handle().set("key", "again").await.expect("written over the next link");
    tether.shutdown().await;
}
