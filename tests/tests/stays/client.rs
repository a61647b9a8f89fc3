//! What our own process does: it is throttled, or its only worker is busy with something else. The server is well all the
//! time, so nothing may be held against it.

use std::io::{BufRead, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use redis_tether::redis::AsyncCommands;
use redis_tether_testkit::{Dns, Server, ServerKind};
use redis_tether_tests::report::Report;
use rustix::process::{Pid, Signal, kill_process};

use super::{CALLERS, SIDE_DIALS, SOON, Stay, is_suspicion, server};

/// One twentieth of a core, in turns as short as a busy machine keeps to.
#[tokio::test]
async fn a_process_throttled_to_five_percent_in_short_turns() {
    throttled(Duration::from_millis(5), Duration::from_millis(95)).await;
}

/// The same in turns of a second: what a container gets that has used up its quota of a long period.
#[tokio::test]
async fn a_process_throttled_to_five_percent_in_long_turns() {
    throttled(Duration::from_millis(50), Duration::from_millis(950)).await;
}

async fn throttled(on: Duration, off: Duration) {
    let server = server(ServerKind::Redis).await;
    let client = Client::start(&server, 6);
    let report = tokio::task::spawn_blocking(move || client.throttle(on, off)).await.expect("no panic");
    assert!(report.answered > 20, "it had no time to say anything: {report:?}");
    assert_eq!((report.failed, report.same_epoch), (0, 1), "{report:?}");
    // A side link now and then, while the sockets had not been read yet.
    assert!(report.dials <= 1 + 3, "{report:?}");
}

/// A virtual machine that is moved, with the client and the server on it: both stand still with commands in flight, for longer
/// than the deadline and the silence that ends a link. The client comes back a moment before the server has anything
/// to say: every one of its timers is overdue then, and none of them means anything.
#[tokio::test]
async fn a_machine_that_pauses_for_longer_than_any_deadline() {
    let server = server(ServerKind::Redis).await;
    let mut client = Client::start(&server, 2);
    client.is_ready();
    server.freeze().await.expect("it freezes");
    // Time for each caller to send a command that is not answered, and not enough to suspect anything.
    tokio::time::sleep(Duration::from_millis(100)).await;
    client.signal(Signal::STOP);
    tokio::time::sleep(Duration::from_secs(6)).await;
    client.signal(Signal::CONT);
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.thaw().expect("it thaws");
    let report = tokio::task::spawn_blocking(move || client.report()).await.expect("no panic");
    assert!(report.longest_ms >= 6000, "nothing was in flight: {report:?}");
    assert_eq!((report.failed, report.same_epoch), (0, 1), "{report:?}");
    assert!(report.dials <= 1 + 1, "{report:?}");
}

/// `bin/steady_client.rs`. Dropping it ends the process.
struct Client {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Client {
    fn start(server: &Server, seconds: u64) -> Client {
        let (ip, port) = (server.addr().ip().to_string(), server.addr().port().to_string());
        let mut process = Command::new(env!("CARGO_BIN_EXE_steady_client"))
            .args([ip, port, seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Client { process, lines }
    }

    /// Waits until its load is at work.
    fn is_ready(&mut self) {
        let line = self.lines.next().and_then(Result::ok);
        assert_eq!(line.as_deref(), Some("ready"));
    }

    /// Stops and continues it until it has done its seconds.
    fn throttle(mut self, on: Duration, off: Duration) -> Report {
        self.is_ready();
        let until = Instant::now() + Duration::from_secs(6);
        while Instant::now() < until {
            self.signal(Signal::STOP);
            std::thread::sleep(off);
            self.signal(Signal::CONT);
            std::thread::sleep(on);
        }
        self.report()
    }

    /// Waits for its end.
    fn report(mut self) -> Report {
        let rest: Vec<_> = self.lines.by_ref().map_while(Result::ok).collect();
        let report = rest.iter().find_map(|line| line.parse().ok());
        report.unwrap_or_else(|| panic!("it ended without a report: {rest:#?}"))
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.process.id().cast_signed()).expect("processes have ids");
        kill_process(pid, signal).expect("it has not been reaped");
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // One that has ended by itself cannot be killed any more.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The replies wait in the socket when it is over, and so do the timers that would have judged the server.
#[tokio::test]
async fn the_only_worker_blocked_for_two_seconds() {
    let server = server(ServerKind::Redis).await;
    let mut stay = Stay::at(&server, &Dns::new()).await;
    let mut handle = stay.tether.handle();
    let before = stay.diary.count(is_suspicion);
    let busy = async {
        // Until the command has left: each turn lets the others have theirs.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        std::thread::sleep(Duration::from_secs(2));
    };
    let (count, ()) = tokio::join!(biased; handle.incr::<_, _, u64>("blocked", 1), busy);
    assert_eq!(count, Ok(1));
    // Until everybody has had a turn, who may have drawn a conclusion.
    stay.load.goes_on(2 * CALLERS as u64, SOON).await;
    assert_eq!(stay.diary.count(is_suspicion), before, "{:#?}", stay.diary.so_far());
    let cost = stay.end().await;
    // Before and after, a loaded machine may give reason to suspect the server.
    assert!(cost.dials <= SIDE_DIALS * cost.suspicions() as u64, "{:#?}", cost.events);
}
