//! What a tether is given to speak TLS with: which files are refused as what, and when those that changed are taken.

use std::fs::{self, File};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use redis_tether_testkit::tls::{Authority, TlsFiles};
use tokio::time::timeout;
use tokio_rustls::rustls::ClientConfig;

use super::names::{OF_SENTINELS, OF_SERVERS};
use super::whom::{Whom, server_name};
use super::{TlsError, TlsParts, TlsStage};
use crate::config::TlsSettings;

const LIMIT: Duration = Duration::from_secs(10);

fn files() -> TlsFiles {
    TlsFiles::create(&["redis"]).expect("certificates")
}

fn settings(files: &TlsFiles) -> TlsSettings {
    let settings = TlsSettings::new().with_ca_file(files.ca_file());
    settings.with_client_certificate(files.client_cert_file(), files.client_key_file())
}

fn redis() -> Whom {
    Whom::Named(server_name("redis").expect("a name"))
}

fn stage(settings: &TlsSettings) -> Result<TlsStage, TlsError> {
    TlsStage::new("redis:6379".into(), settings, &OF_SERVERS, redis(), TlsParts::default())
}

fn refusal(settings: &TlsSettings) -> TlsError {
    stage(settings).err().expect("these files should have been refused")
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let files = files();
    let write = |text: &str| fs::write(files.ca_file(), text).expect("written");
    let with_ca = TlsSettings::new().with_ca_file(files.ca_file());
    for (text, expected) in [
        ("", "no certificate in it"),
        ("hello", "no certificate in it"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n", "damaged"),
        ("-----BEGIN CERTIFICATE-----\n%%\n-----END CERTIFICATE-----\n", "damaged"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not the certificate of an authority"),
    ] {
        write(text);
        let error = refusal(&with_ca);
        assert!(matches!(error, TlsError::File { setting: "tls.ca_file", .. }), "{error:?}");
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
    for path in ["/does/not/exist.pem", "/dev/zero", "/"] {
        let error = refusal(&TlsSettings::new().with_ca_file(path));
        assert!(error.to_string().starts_with(&format!("tls.ca_file {path}: ")), "{error}");
    }
}

#[test]
fn a_pair_must_be_one() {
    let files = files();
    let other = files.authority().issue(&["other"]).expect("a certificate");
    fs::write(files.client_key_file(), &other.key).expect("written");
    let error = refusal(&settings(&files));
    assert!(matches!(error, TlsError::Mismatch { .. }), "{error:?}");

    let secret = other.key.lines().nth(1).expect("a line of the key").to_owned();
    let encrypted = other.key.replace("PRIVATE", "ENCRYPTED PRIVATE");
    let cut = other.key.replace("-----END PRIVATE KEY-----", "");
    for (key, expected) in [
        (encrypted.as_str(), "its key is encrypted"),
        ("", "no private key in it"),
        (&other.certificate, "no private key in it"),
        (&cut, "damaged"),
    ] {
        fs::write(files.client_key_file(), key).expect("written");
        let error = refusal(&settings(&files));
        assert!(matches!(error, TlsError::File { setting: "tls.key_file", .. }), "{error:?}");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains(expected) && !shown.contains(&secret), "{shown}");
    }
}

#[test]
fn roots_that_are_handed_in_go_before_the_file() {
    let roots = |pem: &str| TlsParts { roots: Some(pem.as_bytes().to_vec()), provider: None };
    let pem = Authority::new().expect("an authority").pem();
    let settings = TlsSettings::new().with_ca_file("/does/not/exist.pem");
    assert!(TlsStage::new("redis:6379".into(), &settings, &OF_SERVERS, Whom::TheAddress, roots(&pem)).is_ok());
    let error = TlsStage::new("redis:6379".into(), &settings, &OF_SERVERS, Whom::TheAddress, roots("nothing")).err();
    assert!(matches!(error, Some(TlsError::Roots { .. })), "{error:?}");
}

/// The system's authorities are found through the environment of the process, so this is another one of the same test.
#[test]
fn without_authorities_it_is_told_where_to_name_them() {
    const BARE: &str = "REDIS_TETHER_TEST_HAS_NO_AUTHORITIES";
    if std::env::var_os(BARE).is_some() {
        for (names, expected) in
            [(&OF_SERVERS, ", or set tls.ca_file"), (&OF_SENTINELS, ", or set endpoint.tls.ca_file")]
        {
            let stage =
                TlsStage::new("redis:6379".into(), &TlsSettings::new(), names, Whom::TheAddress, TlsParts::default());
            let error = stage.err().expect("there are none");
            assert!(matches!(error, TlsError::NoSystemRoots { .. }), "{error:?}");
            assert!(error.to_string().ends_with(expected), "{error}");
        }
        return;
    }
    let files = files();
    fs::write(files.ca_file(), "").expect("written");
    let mut again = Command::new(std::env::current_exe().expect("this program"));
    again.args(["--exact", "tls::tests::without_authorities_it_is_told_where_to_name_them"]);
    let ended = again.env(BARE, "1").env("SSL_CERT_FILE", files.ca_file()).env_remove("SSL_CERT_DIR").output();
    let said = String::from_utf8(ended.expect("it runs").stdout).expect("text");
    assert!(said.contains("1 passed"), "{said}");
}

/// As old as files in use usually are: fresh ones are read each time.
fn age(files: &TlsFiles) {
    let earlier = SystemTime::now() - Duration::from_secs(60);
    for path in [files.ca_file(), files.client_cert_file(), files.client_key_file()] {
        File::options().write(true).open(path).and_then(|file| file.set_modified(earlier)).expect("an older file");
    }
}

async fn current(stage: &TlsStage) -> Arc<ClientConfig> {
    timeout(LIMIT, stage.material.current()).await.expect("the files are looked at, or somebody else is looking")
}

fn same(one: &Arc<ClientConfig>, other: &Arc<ClientConfig>) -> bool {
    Arc::ptr_eq(one, other)
}

#[tokio::test]
async fn files_that_change_are_taken_before_the_next_handshake() {
    for is_old in [false, true] {
        let files = files();
        if is_old {
            age(&files);
        }
        let stage = stage(&settings(&files)).expect("sound files");
        let first = current(&stage).await;
        assert!(same(&first, &current(&stage).await), "nothing has changed, and sessions are kept");

        files.renew_client().expect("written");
        let second = current(&stage).await;
        assert!(!same(&first, &second), "the client's pair was renewed");
        assert!(same(&second, &current(&stage).await));

        fs::write(files.ca_file(), Authority::new().expect("another authority").pem()).expect("written");
        assert!(!same(&second, &current(&stage).await), "the roots were");
    }
}

#[tokio::test]
async fn what_is_not_sound_is_not_taken_and_looked_at_again() {
    let files = files();
    age(&files);
    let stage = stage(&settings(&files)).expect("sound files");
    let first = current(&stage).await;
    let new = files.authority().issue(&["client.test"]).expect("a certificate");

    // Half of a pair, then a moment in which a file is missing, then rubbish: nothing of it is used.
    fs::write(files.client_cert_file(), &new.certificate).expect("written");
    age(&files);
    assert!(same(&first, &current(&stage).await), "a certificate without its key");
    fs::remove_file(files.client_key_file()).expect("removed");
    assert!(same(&first, &current(&stage).await), "no key");
    fs::write(files.client_key_file(), "rubbish").expect("written");
    age(&files);
    assert!(same(&first, &current(&stage).await), "rubbish");

    fs::write(files.client_key_file(), &new.key).expect("written");
    age(&files);
    assert!(!same(&first, &current(&stage).await), "the other half");
}

/// A file system that hangs must not take a thread for each dial.
#[tokio::test]
async fn whoever_finds_somebody_looking_uses_what_is_there() {
    let files = files();
    let stage = stage(&settings(&files)).expect("sound files");
    let first = current(&stage).await;
    let looking = stage.material.hold().await;
    files.renew_client().expect("written");
    assert!(same(&first, &current(&stage).await));
    drop(looking);
    assert!(!same(&first, &current(&stage).await));
}
