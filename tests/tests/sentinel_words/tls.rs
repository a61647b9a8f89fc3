//! Sentinels over TLS: as the servers behind them, and with settings of their own.

use redis_tether::{Endpoint, SentinelTls, Tether, TlsSettings};
use redis_tether_testkit::tls::{Authority, Issued, Validity, acceptor};
use redis_tether_tests::rig::{self, InMemory};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
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
    assert!(said.contains("it speaks TLS at this port: use rediss+sentinel://"), "{said}");
    plain.shutdown().await;
}

/// Certificates of an authority of their own, for what each sentinel is listed as; and none for the servers.
#[tokio::test(start_paused = true)]
async fn sentinels_may_have_settings_of_their_own() {
    let world = World::new();
    let (of_sentinels, of_servers) = (Authority::new().expect("an authority"), Authority::new().expect("another"));
    for n in 0..3 {
        let name = ["one.test", "two.test", "three.test"][usize::from(n)];
        over_tls(&world, n, &of_sentinels.issue_valid(Validity::Now, &[name]).expect("a certificate"));
        let pair = of_servers.issue_valid(Validity::Now, &[&server(n).ip().to_string()]).expect("a certificate");
        let (accept, node) = (acceptor(&pair, None).expect("a sound pair"), world.servers[usize::from(n)].clone());
        world.net.bind_with(server(n), move |io| {
            let (accept, node) = (accept.clone(), node.clone());
            tokio::spawn(async move { accept.accept(io).await.map(|stream| node.serve(stream)) });
        });
    }
    let start = async |tls: SentinelTls, roots: &Authority| {
        let mut config = world.config().with_tls(TlsSettings::new());
        let Endpoint::Sentinel(sentinels) = &mut config.endpoint else { panic!("sentinels") };
        sentinels.tls = tls;
        let builder = Tether::builder(config).resolver(rig::resolver(&world.dns)).seed(7);
        let builder = builder.transport(InMemory(world.net.clone())).tls_roots(of_servers.pem());
        builder.sentinel_tls_roots(roots.pem()).start().await.expect("a valid configuration")
    };
    let own = || SentinelTls::own(TlsSettings::new());

    let tether = start(own(), &of_sentinels).await;
    tether.ready(ms(5_000)).await.expect("each has what it is asked for");
    sleep(ms(500)).await;
    assert!(world.listened_to().is_some(), "nobody is listened to");
    tether.shutdown().await;

    // Whoever is not told so tries the servers' authority, or another name, and says which setting is wrong.
    let named = SentinelTls::own(TlsSettings::new().with_server_name("other.test"));
    let cases = [
        (SentinelTls::AsServers, "nobody in tls.ca_file issued the server's certificate"),
        (own(), "nobody in endpoint.tls.ca_file issued the server's certificate"),
        (named, "not for other.test: set endpoint.tls.server_name"),
        (SentinelTls::Off, "it speaks TLS at this port: use rediss+sentinel://, or sentinel_tls=true"),
    ];
    for (place, (tls, expected)) in cases.into_iter().enumerate() {
        let tether = start(tls, if place == 1 { &of_servers } else { &of_sentinels }).await;
        sleep(ms(2_000)).await;
        let said = tether.status().borrow().last_error.clone().expect("something is wrong");
        assert!(said.contains(expected), "{said}");
        tether.shutdown().await;
    }
}

/// Sentinels that speak plainly take the greeting of TLS for the beginning of a line, and wait for its end. Each has
/// `dial.connect_timeout` to be found out, however long a dial has and far as they are.
#[tokio::test(start_paused = true)]
async fn plain_sentinels_are_told_of_before_their_time_is_over() {
    for (dial_timeout, round_trip) in [(ms(3_000), ms(150)), (ms(10_000), ms(0))] {
        let world = World::new();
        for n in 0..3 {
            world.net.bind_with(sentinel(n), |io| drop(tokio::spawn(answer_plainly(io))));
            world.net.connect_delay(sentinel(n), round_trip);
            world.net.latency(sentinel(n), round_trip / 2);
        }
        let mut config = world.config().with_tls(TlsSettings::new());
        config.dial.timeout = dial_timeout;
        let builder = Tether::builder(config).resolver(rig::resolver(&world.dns)).seed(7);
        let builder = builder.tls_roots(Authority::new().expect("an authority").pem());
        let tether = builder.transport(InMemory(world.net.clone())).start().await.expect("a valid configuration");
        sleep(ms(2_000)).await;
        let said = tether.status().borrow().last_error.clone().expect("something is wrong");
        assert!(said.contains("it does not speak TLS at this port: use redis+sentinel://"), "{dial_timeout:?}: {said}");
        tether.shutdown().await;
    }
}

/// Answers once it has heard a line that it understands.
async fn answer_plainly(mut io: impl AsyncRead + AsyncWrite + Unpin) {
    let mut heard = Vec::new();
    while !heard.ends_with(b"PING\r\n") {
        if io.read_buf(&mut heard).await.is_ok_and(|size| size == 0) {
            return;
        }
    }
    // Whoever asked may have left.
    let _ = io.write_all(b"+PONG\r\n").await;
    let _ = io.read(&mut [0]).await;
}

/// Has this sentinel speak TLS, with this certificate.
fn over_tls(world: &World, n: u8, pair: &Issued) {
    let (accept, one) = (acceptor(pair, None).expect("a sound pair"), world.sentinels[usize::from(n)].clone());
    world.net.bind_with(sentinel(n), move |io| {
        let (accept, one) = (accept.clone(), one.clone());
        tokio::spawn(async move { accept.accept(io).await.map(|stream| one.serve(stream)) });
    });
}
