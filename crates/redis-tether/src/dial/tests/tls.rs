//! Dials over TLS, in memory: what is accepted, what each failure is told as, and that the end of TLS is an end like any other.

use std::time::Duration;

use redis_tether_core::{FailureKind, Role};
use redis_tether_testkit::tls::{Authority, Issued, TlsFiles, Validity, acceptor};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout};

use super::rig::World;
use super::{LIMIT, PASSWORD};
use crate::config::{Config, Endpoint, Protocol, TlsSettings, TlsVerify};
use crate::ledger::LinkEnd;

/// The endpoint's name in these worlds.
const NAME: &str = "redis";

fn files() -> TlsFiles {
    TlsFiles::create(&[NAME, "10.0.0.1"]).expect("certificates")
}

fn trusting(files: &TlsFiles) -> TlsSettings {
    TlsSettings::new().with_ca_file(files.ca_file())
}

fn good(files: &TlsFiles) -> Issued {
    files.authority().issue(&[NAME, "10.0.0.1"]).expect("a certificate")
}

impl World {
    /// A world whose server shows `pair` at its port, and is dialled with these settings.
    fn over_tls(tls: TlsSettings, pair: &Issued, clients: Option<&Authority>) -> World {
        World::over_tls_with(|config| config.tls = Some(tls), pair, clients)
    }

    fn over_tls_with(change: impl FnOnce(&mut Config), pair: &Issued, clients: Option<&Authority>) -> World {
        let world = World::with(change);
        let (server, acceptor) = (world.server.clone(), acceptor(pair, clients).expect("a sound pair"));
        world.net.bind_with(world.address, move |io| {
            let (server, acceptor) = (server.clone(), acceptor.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(io).await {
                    server.serve(stream);
                }
            });
        });
        world
    }

    async fn refused(&self, expected: &str) {
        let error = self.failure().await;
        assert_eq!(error.kind(), FailureKind::Tls, "{error}");
        assert!(error.to_string().contains(expected), "{error}");
        assert!(self.dials() <= 2, "nothing is tried again, but the other language may be: {error}");
        self.until_no_stream_is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_primary_is_accepted_over_tls() {
    let files = files();
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let change = |config: &mut Config| {
            config.tls = Some(trusting(&files));
            config.protocol = protocol;
            config.password = Some(PASSWORD.into());
        };
        let world = World::over_tls_with(change, &good(&files), None);
        world.server.require_password(Some(PASSWORD));
        let link = world.dial().await.expect("a link");
        assert_eq!(link.role(), Role::Primary);
        let reply = link.multiplexer().ask(redis::pipe().set("k", "v")).await;
        assert_eq!(reply, Some(vec![redis::Value::Okay]));
        assert_eq!((world.server.writes().len(), world.dials()), (1, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn the_name_is_the_endpoints_unless_another_is_set() {
    let files = files();
    let internal = files.authority().issue(&["redis.internal"]).expect("a certificate");
    let named = |name: &str| trusting(&files).with_server_name(name);
    for (host, settings, pair) in [
        ("redis", trusting(&files), good(&files)),
        ("redis.", trusting(&files), good(&files)),
        ("10.0.0.1", trusting(&files), good(&files)),
        ("redis", named("redis.internal"), internal.clone()),
        ("redis", named("redis.internal."), internal),
        ("elsewhere", named("10.0.0.1"), good(&files)),
    ] {
        let what = format!("{host} with {settings:?}");
        let change = |config: &mut Config| {
            config.endpoint = Endpoint::tcp(host, 6379);
            config.tls = Some(settings);
        };
        let world = World::over_tls_with(change, &pair, None);
        world.dial().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    let change = |config: &mut Config| {
        config.endpoint = Endpoint::tcp("elsewhere.", 6379);
        config.tls = Some(trusting(&files));
    };
    World::over_tls_with(change, &good(&files), None).refused(", not for elsewhere: set").await;
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_is_no_good_is_told_why() {
    let (files, stranger) = (files(), Authority::new().expect("an authority"));
    let authority = files.authority();
    let issue = |names: &[&str]| authority.issue(names).expect("a certificate");
    let valid = |validity| authority.issue_valid(validity, &[NAME]).expect("a certificate");
    let cases = [
        (
            issue(&["a.test", "b.test", "10.0.0.9"]),
            "is for a.test, b.test, 10.0.0.9, not for redis: set tls.server_name",
        ),
        (issue(&[]), "is for no name at all, let alone redis"),
        (valid(Validity::Expired), "the server's certificate expired "),
        (valid(Validity::NotYet), "the server's certificate is not valid for another "),
        (stranger.issue(&[NAME]).expect("a certificate"), "nobody in tls.ca_file issued the server's certificate"),
    ];
    for (pair, expected) in cases {
        World::over_tls(trusting(&files), &pair, None).refused(expected).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_authority_that_was_made_anew_under_its_name_is_another() {
    let (files, name) = (files(), "internal authority");
    let (old, new) = (Authority::named(name).expect("an authority"), Authority::named(name).expect("an authority"));
    std::fs::write(files.ca_file(), old.pem()).expect("written");
    let pair = new.issue(&[NAME]).expect("a certificate");
    World::over_tls(trusting(&files), &pair, None)
        .refused("another authority than the trusted one of the same name")
        .await;
}

#[tokio::test(start_paused = true)]
async fn client_certificates_are_shown_where_they_are_set() {
    let (files, stranger) = (files(), Authority::new().expect("an authority"));
    let pair = good(&files);
    let with_client = trusting(&files).with_client_certificate(files.client_cert_file(), files.client_key_file());
    let world = World::over_tls(with_client.clone(), &pair, Some(files.authority()));
    world.dial().await.expect("a link");

    let without = World::over_tls(trusting(&files), &pair, Some(files.authority()));
    without.refused("the server wants a client certificate: set tls.cert_file and tls.key_file").await;

    let refused = World::over_tls(with_client, &pair, Some(&stranger));
    refused.refused("the server refused the certificate in tls.cert_file").await;
}

#[tokio::test(start_paused = true)]
async fn anybody_will_do_where_that_was_asked_for() {
    let stranger = Authority::new().expect("an authority");
    let pair = stranger.issue_valid(Validity::Expired, &["somebody"]).expect("a certificate");
    let mut insecure = TlsSettings::new();
    insecure.verify = TlsVerify::Insecure;
    World::over_tls(insecure, &pair, None).dial().await.expect("a link");
}

const NOT_TLS: &str = "the server does not speak TLS at this port: use redis://";

#[tokio::test(start_paused = true)]
async fn a_plain_server_is_known_by_its_answer() {
    let files = files();
    // It has no room, and says so before it is asked.
    let world = World::with(|config| config.tls = Some(trusting(&files)));
    world.server.max_clients(Some(0));
    world.refused(NOT_TLS).await;

    // It waits for more, as Redis does; and answers what it understands.
    let patient = World::with(|config| config.tls = Some(trusting(&files)));
    patient.net.bind_with(patient.address, |mut io| {
        tokio::spawn(async move {
            let mut heard = Vec::new();
            while !heard.ends_with(b"PING\r\n") {
                if io.read_buf(&mut heard).await.is_ok_and(|size| size == 0) {
                    return;
                }
            }
            io.write_all(b"-NOAUTH Authentication required.\r\n").await.expect("it is read");
            let _ = io.read(&mut [0]).await;
        });
    });
    let begun = Instant::now();
    patient.refused(NOT_TLS).await;
    assert_eq!(begun.elapsed(), Duration::from_millis(750), "a quarter of a dial's time");
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_from_a_refusal() {
    let files = files();
    let silent = World::with(|config| config.tls = Some(trusting(&files)));
    silent.server.hang();
    let begun = Instant::now();
    let error = silent.failure().await;
    assert_eq!(error.kind(), FailureKind::TimedOut, "{error}");
    assert!(error.to_string().contains("no answer to the TLS handshake"), "{error}");
    assert_eq!(begun.elapsed(), Duration::from_millis(2700), "nine tenths of a dial's time");
    silent.until_no_stream_is_left().await;

    let leaving = World::with(|config| config.tls = Some(trusting(&files)));
    leaving.net.bind_with(leaving.address, drop);
    let error = leaving.failure().await;
    assert!(matches!(error.kind(), FailureKind::Closed | FailureKind::Reset), "{error}");
    assert_eq!(leaving.dials(), 1, "that is not for lower questions");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_tls_is_known_by_a_plain_client() {
    let files = files();
    let world = World::over_tls_with(|_| {}, &good(&files), None);
    world.refused("the server speaks TLS at this port: use rediss://").await;
}

/// Redis in TLS says nothing to who speaks plainly: it hangs up, and stays only where nothing is said. Such a peer must not be taken for
/// one that stands no questions.
#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_tls_and_hangs_up_is_known_as_well() {
    let files = files();
    for change in [(|_| {}) as fn(&mut Config), |config| config.password = Some(PASSWORD.into())] {
        let world = World::with(change);
        let acceptor = acceptor(&good(&files), None).expect("a sound pair");
        world.net.bind_with(world.address, move |io| {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut io = tokio::io::BufReader::new(io);
                if io.fill_buf().await.is_ok_and(|heard| heard.first() == Some(&b'\x16')) {
                    let _ = acceptor.accept(io).await;
                }
            });
        });
        let error = world.failure().await;
        assert_eq!(error.kind(), FailureKind::Tls, "{error}");
        assert!(error.to_string().contains("the server speaks TLS at this port: use rediss://"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_farewell_is_an_end() {
    let files = files();
    let world = World::over_tls(trusting(&files), &good(&files), None);
    let link = world.dial().await.expect("a link");
    world.server.crash();
    let ended = async {
        while link.ledger().end().is_none() {
            tokio::task::yield_now().await;
        }
    };
    timeout(LIMIT, ended).await.expect("the link ends");
    let ends = world.ends.seen();
    assert!(
        matches!(ends[..], [LinkEnd::Closed | LinkEnd::Failed(std::io::ErrorKind::ConnectionReset, _)]),
        "{ends:?}"
    );
}
