//! Scenarios on fake servers, with two clients at the ends of the scale: one that connects anew for every write, and one
//! that keeps its connection whatever happens.

use std::io;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::Dns;
use crate::resp::{Reply, encode_request, parse_reply};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Nothing,
    Connection,
}

struct RawClient {
    dns: Dns,
    name: &'static str,
    port: u16,
    password: Option<&'static str>,
    keeps: Keeps,
    stream: Option<TcpStream>,
}

impl RawClient {
    fn of(stage: &Stage, keeps: Keeps) -> Self {
        let (dns, name, port) = (stage.dns().clone(), stage.name(), stage.port());
        Self { dns, name, port, password: stage.password(), keeps, stream: None }
    }

    async fn try_set(&mut self, n: u64) -> io::Result<Reply> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().await?,
        };
        let reply = ask(&mut stream, &["SET", &key(n), &n.to_string()]).await?;
        if self.keeps == Keeps::Connection {
            self.stream = Some(stream);
        }
        Ok(reply)
    }

    async fn connect(&self) -> io::Result<TcpStream> {
        let addresses: Vec<SocketAddr> = self.dns.lookup(self.name, self.port).await?;
        let mut stream = TcpStream::connect(&addresses[..]).await?;
        if let Some(password) = self.password {
            ask(&mut stream, &["AUTH", password]).await?;
        }
        Ok(stream)
    }
}

impl Client for RawClient {
    async fn set(&mut self, n: u64) -> Result<(), Failed> {
        let limit = Duration::from_millis(100);
        match tokio::time::timeout(limit, self.try_set(n)).await {
            Ok(Ok(Reply::Error(text))) => Err(Failed::new(Failure::Refused, text)),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failed::new(Failure::Other, error)),
            Err(_) => Err(Failed::new(Failure::Ambiguous, "no answer")),
        }
    }
}

async fn ask(stream: &mut TcpStream, words: &[&str]) -> io::Result<Reply> {
    stream.write_all(&encode_request(words)).await?;
    let mut input = Vec::new();
    loop {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some((reply, _)) = parse_reply(&input).map_err(|bad| io::Error::other(bad.to_string()))? {
            return Ok(reply);
        }
    }
}

/// A tenth of the usual times.
fn hasty() -> Timings {
    Timings {
        warm_up: Duration::from_millis(100),
        period: Duration::from_millis(5),
        promote_after: Duration::from_millis(100),
        restart_after: Duration::from_millis(200),
        outage: Duration::from_millis(300),
        password_away: Duration::from_millis(300),
        script: Duration::from_millis(300),
        patience: Duration::from_millis(500),
        observe: Duration::from_millis(100),
    }
}

async fn play(scenario: Scenario, keeps: Keeps) -> Report {
    let stage = Stage::set(&Servers::Fake, scenario).await.expect("fake servers start anywhere");
    let mut client = RawClient::of(&stage, keeps);
    stage.play(&hasty(), &mut client, &()).await.expect("fake servers do their part")
}

#[test]
fn every_name_reads_back_and_a_wrong_one_lists_them() {
    for scenario in Scenario::ALL {
        assert_eq!(scenario.to_string().parse(), Ok(scenario));
    }
    let error = "crush".parse::<Scenario>().expect_err("no such scenario");
    let list = "crash, demote, hang, move, restart, outage, auth, slow";
    assert_eq!(error.to_string(), format!("no scenario is called \"crush\"; there are {list}"));
}

#[tokio::test]
async fn a_client_that_connects_anew_recovers_from_everything() {
    for scenario in Scenario::ALL {
        let report = play(scenario, Keeps::Nothing).await;
        let recovered = report.recovered_after();
        assert!(recovered.is_some_and(|after| after < hasty().patience), "{scenario}: {recovered:?}");
        assert!(report.reachable >= report.fault && report.fault >= hasty().warm_up, "{scenario}: {report:?}");
        assert_eq!(report.done() + report.failed(), report.operations.len(), "{scenario}");
        assert_eq!(report.repeated, Some(0), "{scenario}");
    }
}

#[tokio::test]
async fn what_fails_on_the_way_is_what_the_fault_is_about() {
    let crash = play(Scenario::Crash, Keeps::Nothing).await;
    assert!(crash.failed_as(Failure::Other) > 5, "refused connections: {crash:?}");
    let hang = play(Scenario::Hang, Keeps::Nothing).await;
    assert!(hang.failed_as(Failure::Ambiguous) >= 1, "unanswered writes: {hang:?}");
    let auth = play(Scenario::Auth, Keeps::Nothing).await;
    assert!(auth.failures().any(|(_, failed)| failed.message.starts_with("NOAUTH")), "{auth:?}");
    let slow = play(Scenario::Slow, Keeps::Connection).await;
    assert!(slow.max_took() >= Duration::from_millis(100), "one write waits for the script: {slow:?}");
}

#[tokio::test]
async fn a_client_that_stays_behind_has_not_recovered_and_its_writes_are_missing() {
    let report = play(Scenario::Move, Keeps::Connection).await;
    assert_eq!((report.recovered, report.failed()), (None, 0), "the old primary took everything");
    let acknowledged_in_vain = report.missing.expect("a failover");
    assert!(acknowledged_in_vain > 50, "half a second of writes: {acknowledged_in_vain}");

    let report = play(Scenario::Demote, Keeps::Connection).await;
    assert_eq!(report.recovered, None, "the old primary refuses");
    assert!(report.failed_as(Failure::Refused) > 50, "{report:?}");
}

#[tokio::test]
async fn the_observer_sees_the_steps_in_order_and_every_write() {
    #[derive(Default)]
    struct Log(Mutex<(Vec<&'static str>, usize)>);
    impl Observer for Log {
        fn stepped(&self, _: tokio::time::Instant, step: &Step) {
            let word = match step {
                Step::Started { .. } => "started",
                Step::Fault { .. } => "fault",
                Step::Reachable { .. } => "reachable",
                Step::Recovered { .. } => "recovered",
                Step::NotRecovered => "not recovered",
                Step::Ended => "ended",
            };
            self.0.lock().expect("no panic while it is held").0.push(word);
        }

        fn wrote(&self, _: &Operation) {
            self.0.lock().expect("no panic while it is held").1 += 1;
        }
    }
    let log = Log::default();
    let stage = Stage::set(&Servers::Fake, Scenario::Restart).await.expect("a fake server");
    let mut client = RawClient::of(&stage, Keeps::Nothing);
    let report = stage.play(&hasty(), &mut client, &log).await.expect("played");
    let (steps, writes) = log.0.into_inner().expect("no panic while it was held");
    assert_eq!(steps, ["started", "fault", "reachable", "recovered", "ended"]);
    assert_eq!(writes, report.operations.len());
}
