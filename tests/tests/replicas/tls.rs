//! Replicas that speak TLS. Each announces itself to the primary by a name of its own, and has a certificate for that name and for no
//! other; so has the primary.

use redis_tether::{Config, Event, FailureKind, Protocol};
use redis_tether_testkit::server::{Info, allocate_addresses, free_common_port};
use redis_tether_testkit::tls::ClientCertificates;
use redis_tether_testkit::{ServerKind, TlsFiles};
use redis_tether_tests::on_each_server;
use redis_tether_tests::servers::{protocol_for, unsuspecting};
use redis_tether_tests::tls::settings;
use redis_tether_tests::watch::{Diary, PATIENCE};

use crate::world::{READER, REPLICAS, Readers, World, gets_at, serving};

on_each_server!(
    reads_go_to_the_names_that_replicas_announce,
    a_certificate_for_another_name,
    a_reader_endpoint_with_a_certificate_of_its_own,
);

/// The primary's, and those of its replicas.
const NAMES: [&str; 1 + REPLICAS] = ["primary.test", "replica-1.test", "replica-2.test"];

struct Secure {
    world: World,
    files: Vec<TlsFiles>,
    port: u16,
}

impl Secure {
    async fn start(kind: ServerKind) -> Secure {
        let addresses = allocate_addresses(NAMES.len()).expect("free loopback addresses");
        let port = free_common_port(&addresses).expect("a free port");
        let mut files = vec![TlsFiles::create(&NAMES[..1]).expect("certificates")];
        for name in &NAMES[1..] {
            files.push(files[0].of_another(&[*name]).expect("certificates"));
        }
        let world = World::of_strangers(kind, addresses, |number, builder| {
            let builder = builder.tls(port, &files[number], ClientCertificates::Required);
            let announced = [("ip", NAMES[number].to_owned()), ("port", port.to_string())];
            announced
                .iter()
                .fold(builder, |builder, (what, said)| builder.config_line(&format!("replica-announce-{what} {said}")))
        })
        .await;
        let primary = world.primary.addr();
        for (replica, name) in world.replicas.iter().zip(&NAMES[1..]) {
            let follow = ["REPLICAOF", &primary.ip().to_string(), &primary.port().to_string()];
            replica.command(&follow).await.expect("it obeys");
            let said = |place: &str| place.contains(&format!("ip={name},")) && place.contains("state=online");
            let is_known = |info: &Info| ["slave0", "slave1"].iter().any(|field| info.field(field).is_some_and(said));
            world.primary.wait_for(&format!("{name} to be online"), PATIENCE, is_known).await.expect("a replica");
        }
        for (server, name) in std::iter::once(&world.primary).chain(&world.replicas).zip(NAMES) {
            world.dns.set(name, vec![server.tls_addr().expect("it speaks TLS").ip()]);
        }
        Secure { world, files, port }
    }

    fn config(&self, protocol: Protocol) -> Config {
        let mut config = Config::new(NAMES[0], self.port);
        config.protocol = protocol;
        config.tls = Some(settings(&self.files[0]));
        unsuspecting(config)
    }

    fn name(&self, replica: usize) -> String {
        format!("{}:{}", NAMES[1 + replica], self.port)
    }

    /// The replica shows a certificate for this name from its next handshake on.
    async fn certify(&self, replica: usize, name: &str) {
        let files = &self.files[1 + replica];
        files.put_server(&files.authority().issue(&[name]).expect("a certificate")).expect("written");
        self.world.replicas[replica].reload_tls().await.expect("the server takes it");
    }
}

async fn reads_go_to_the_names_that_replicas_announce(kind: ServerKind) {
    let secure = Secure::start(kind).await;
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let tether = secure.world.tether(secure.config(protocol)).await;
        let replicas = tether.replicas();
        serving(&replicas, &tether, REPLICAS).await;
        let mut names: Vec<_> = replicas.members().iter().map(|replica| replica.name.to_string()).collect();
        names.sort_unstable();
        assert_eq!(names, [secure.name(0), secure.name(1)]);
        let before = secure.world.gets().await;
        let readers = Readers::start(&replicas, 4);
        readers.go_on_for(100).await;
        assert!(readers.finish().await.is_empty());
        let after = secure.world.gets().await;
        assert_eq!(after[0], before[0], "the primary was spared");
        assert!(after[1] >= before[1] + 40 && after[2] >= before[2] + 40, "{after:?} after {before:?}");
        tether.shutdown().await;
    }
}

/// It is not read from, and tried again until its certificate is its own. The other one serves meanwhile: its certificate is for the
/// name of the endpoint, as where all share one.
async fn a_certificate_for_another_name(kind: ServerKind) {
    let secure = Secure::start(kind).await;
    secure.certify(0, "other.test").await;
    secure.certify(1, NAMES[0]).await;
    let tether = secure.world.tether(secure.config(protocol_for(kind))).await;
    let (replicas, mut diary) = (tether.replicas(), Diary::of(&tether));
    let (name, other) = (secure.name(0), &secure.world.replicas[0]);
    let refused = |event: &Event| {
        let is_of_it = |event: &Event| matches!(event, Event::DialFailed { kind: FailureKind::Tls, .. });
        matches!(event, Event::Replica { replica, event, .. } if **replica == *name && is_of_it(event))
    };
    let told = diary.until("a handshake to fail", refused).await.to_string();
    assert!(told.contains(&format!("is for other.test, not for {}", NAMES[1])), "{told}");
    serving(&replicas, &tether, 1).await;
    let readers = Readers::start(&replicas, 4);
    readers.go_on_for(50).await;
    assert_eq!(gets_at(other).await, 0, "nothing is read from whom nobody vouches for");
    secure.certify(0, NAMES[1]).await;
    serving(&replicas, &tether, REPLICAS).await;
    readers.go_on_for(50).await;
    assert!(gets_at(other).await > 0, "it is read from again");
    assert!(readers.finish().await.is_empty());
    assert_eq!(tether.stats().fallbacks, 0);
    tether.shutdown().await;
}

/// As a managed service has it: one certificate for the name of the primary, one for that of all replicas.
async fn a_reader_endpoint_with_a_certificate_of_its_own(kind: ServerKind) {
    let secure = Secure::start(kind).await;
    for replica in 0..REPLICAS {
        secure.certify(replica, READER).await;
    }
    secure.world.dns.set(READER, secure.world.replicas.iter().map(|replica| replica.addr().ip()).collect());
    let mut config = secure.config(protocol_for(kind));
    (config.replicas.host, config.replicas.port) = (Some(READER.to_owned()), secure.port);
    let tether = secure.world.tether(config).await;
    let replicas = tether.replicas();
    serving(&replicas, &tether, REPLICAS).await;
    let readers = Readers::start(&replicas, 4);
    readers.go_on_for(50).await;
    assert!(readers.finish().await.is_empty());
    assert_eq!(tether.stats().fallbacks, 0);
    tether.shutdown().await;
}
