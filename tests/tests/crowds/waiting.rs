//! Callers who wait for a link that is down for two seconds: all of them are answered, in the order in which they came, in
//! bounded memory, and the link is back as soon as with one caller.

use std::net::SocketAddr;
use std::time::Duration;

use redis_tether::redis::{RedisResult, Value};
use redis_tether::{Event, Handle, Outcome, OutcomeExt, PacingSettings, Reason, Tether};
use redis_tether_testkit::{FakeServer, Proxy, Reply, Server, ServerKind};
use redis_tether_tests::fakes::{config, connected_in_memory};
use redis_tether_tests::servers::{patient, server_binary};
use redis_tether_tests::watch::{Diary, PATIENCE, within};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::figures::{Spread, resident, say};
use super::{Call, arrives, in_virtual_time, on_a_runtime, on_one_thread, words};

/// How long the link is down.
const DOWN: Duration = Duration::from_secs(2);

/// What one waiting caller may take up, its task and all, so that ten thousand stay far below what they may hold.
const MOST_EACH: u64 = 16 * 1024;

/// How often the full size is measured.
const ROUNDS: u64 = 11;

/// What a dial may take beside the wait before it, on a machine that also runs the server and the proxy.
const DIAL: Duration = Duration::from_millis(50);

/// On one thread nothing else can hold a caller up. (On several the order is the same, unless a task is kept waiting for so long
/// that the others go without it.)
#[test]
fn callers_are_served_in_the_order_in_which_they_came() {
    on_one_thread(async {
        let wait = Wait::of(ServerKind::Redis, 1_000, 1).await;
        assert_eq!(wait.misplaced(), 0, "{:?}", &wait.executed[..100]);
        wait.check();
    });
}

#[test]
fn a_thousand_callers_of_redis_wait() {
    on_a_runtime(async { Wait::of(ServerKind::Redis, 1_000, 1).await.check() });
}

#[test]
fn a_thousand_callers_of_valkey_wait() {
    on_a_runtime(async { Wait::of(ServerKind::Valkey, 1_000, 1).await.check() });
}

#[test]
#[ignore = "the full size, for a machine that has nothing else to do"]
fn ten_thousand_callers_wait() {
    on_a_runtime(compare(10_000));
}

#[test]
fn ten_thousand_callers_wait_in_vain() {
    in_virtual_time(wait_in_vain());
}

/// The link stays down: everybody is told so when the hold window ends, and nothing was sent.
async fn wait_in_vain() {
    let server = FakeServer::new();
    let tether = connected_in_memory(&server, |_| {}).await;
    let mut diary = Diary::of(&tether);
    server.crash();
    diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
    let began = Instant::now();
    let calling = all_arrive(&tether.handle(), 10_000).await;
    assert_eq!(tether.stats().held_now, 10_000);
    let mut one_more = call(tether.handle(), 10_000);
    let full = match arrives(&mut one_more).await {
        std::task::Poll::Ready(reply) => reply.expect_err("there is no room"),
        std::task::Poll::Pending => panic!("more are held than may be"),
    };
    assert_eq!(full.command_error().map(|error| error.reason()), Some(Reason::HoldFull), "{full}");
    for (reply, _) in within(PATIENCE, "everybody to be told", calling.join_all()).await {
        let error = reply.expect_err("there is no link");
        assert_eq!(error.outcome(), Some(Outcome::NotSent), "{error}");
    }
    assert!(began.elapsed() <= Duration::from_millis(3_100), "after {:?}", began.elapsed());
    assert_eq!((tether.stats().held_now, server.commands("RPUSH")), (0, 0));
    tether.shutdown().await;
}

/// The link is back as soon with many callers as with one, and serves as soon.
///
/// When it is back is a matter of chance, within the wait between two dials, and of the same chance for both: each is held to
/// that wait. What callers could make slower is what comes then, so only that is compared, behind a wait of median length.
async fn compare(callers: usize) {
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        alone.push(Wait::of(ServerKind::Redis, 1, round).await);
        together.push(Wait::of(ServerKind::Redis, callers, round).await);
    }
    for wait in alone.iter().chain(&together) {
        wait.check();
    }
    let median = |waits: &[Wait], time: fn(&Wait) -> Duration| Spread::of(waits.iter().map(time).collect()).at(0.5);
    for (who, waits) in [("one caller", &alone), ("all callers", &together)] {
        let times: [fn(&Wait) -> Duration; 3] = [|wait| wait.up, |wait| wait.first, |wait| wait.last];
        let [up, first, last] = times.map(|time| median(waits, time));
        say(&format!("{who}: link up after {up:.1?}, first answer after {first:.1?}, last after {last:.1?} (medians)"));
    }
    let busy = Spread::of(vec![unheld(callers).await, unheld(callers).await, unheld(callers).await]).at(0.5);
    say(&format!("all of them at once, over a link that was never down: {busy:.1?} until the last answer (median)"));
    let up = Spread::of(alone.iter().chain(&together).map(|wait| wait.up).collect());
    let [one, many] =
        [&alone, &together].map(|waits| up.at(0.5) + median(waits, |wait| wait.first.saturating_sub(wait.up)));
    say(&format!(
        "until the first answer, after a wait of median length: {one:.1?} with one caller, {many:.1?} with all"
    ));
    if !cfg!(debug_assertions) {
        let longest = PacingSettings::default().unreachable.early_cap + DIAL;
        assert!(up.at(1.0) <= longest, "a link was up after {:?}, not within {longest:?}", up.at(1.0));
        assert!(many <= one.mul_f64(1.5), "recovered after {many:?} with {callers} callers, {one:?} with one");
    }
}

/// What so many commands take that nobody holds, for comparison.
async fn unheld(callers: usize) -> Duration {
    let server = Server::start(&server_binary(ServerKind::Redis)).await.expect("a server");
    let proxy = Proxy::start(server.addr()).await.expect("a free address");
    let tether = started(proxy.addr(), 0).await;
    let calls: Vec<_> = (0..callers).map(|number| call(tether.handle(), number)).collect();
    let began = Instant::now();
    let calling: JoinSet<_> = calls.into_iter().collect();
    let replies = within(PATIENCE, "the answers", calling.join_all()).await;
    let took = began.elapsed();
    assert!(replies.iter().all(Result::is_ok));
    tether.shutdown().await;
    took
}

/// What came of it.
struct Wait {
    callers: usize,
    replies: Vec<RedisResult<Value>>,
    /// The callers' numbers, in the order in which the server has executed their commands.
    executed: Vec<usize>,
    /// Memory for each caller while all of them waited.
    each: u64,
    /// From the moment at which the server could be reached.
    up: Duration,
    first: Duration,
    last: Duration,
}

impl Wait {
    async fn of(kind: ServerKind, callers: usize, seed: u64) -> Wait {
        let server = Server::start(&server_binary(kind)).await.expect("a server");
        let proxy = Proxy::start(server.addr()).await.expect("a free address");
        let tether = started(proxy.addr(), seed).await;
        let mut diary = Diary::of(&tether);
        proxy.refuse();
        proxy.wait_until_closed().await.expect("nobody listens");
        proxy.reset();
        diary.until("the loss", |event| matches!(event, Event::Lost { .. })).await;
        let back = Instant::now() + DOWN;

        let before = resident();
        let calling = all_arrive(&tether.handle(), callers).await;
        assert_eq!(tether.stats().held_now, callers as u64, "not everybody is held");
        let each = resident().saturating_sub(before) / callers as u64;
        sleep_until(back).await;
        proxy.pass();
        proxy.wait_until_open().await.expect("it accepts");
        let reachable = Instant::now();
        let answered = within(PATIENCE, "everybody to be answered", calling.join_all()).await;
        diary.until("the link", |event| matches!(event, Event::Connected { .. })).await;
        let since = tether.status().borrow().since;
        let after = |at: Instant| at.saturating_duration_since(reachable);
        let ends: Vec<_> = answered.iter().map(|(_, at)| after(*at)).collect();
        let wait = Wait {
            callers,
            executed: executed(&server).await,
            each,
            up: after(since),
            first: ends.iter().min().copied().unwrap_or_default(),
            last: ends.iter().max().copied().unwrap_or_default(),
            replies: answered.into_iter().map(|(reply, _)| reply).collect(),
        };
        assert_eq!(tether.stats().held_now, 0);
        tether.shutdown().await;
        wait
    }

    /// How many were executed at another place than that in which they came.
    fn misplaced(&self) -> usize {
        self.executed.iter().enumerate().filter(|(place, number)| place != *number).count()
    }

    /// The farthest that anybody was from that place.
    fn farthest(&self) -> usize {
        self.executed.iter().enumerate().map(|(place, number)| place.abs_diff(*number)).max().unwrap_or_default()
    }

    fn check(&self) {
        let Wait { callers, each, up, first, last, .. } = self;
        say(&format!(
            "{callers} waited, {each} bytes each; link up after {up:.1?}, answers from {first:.1?} to {last:.1?}"
        ));
        say(&format!("  {} out of their place, {} places at most", self.misplaced(), self.farthest()));
        for reply in &self.replies {
            assert!(reply.is_ok(), "the link was back in time: {reply:?}");
        }
        let mut all = self.executed.clone();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..*callers), "somebody was lost, or executed twice");
        assert!(*callers < 1_000 || *each <= MOST_EACH, "{each} bytes for each caller");
    }
}

async fn started(addr: SocketAddr, seed: u64) -> Tether {
    let tether = Tether::builder(patient(config(addr))).seed(seed).start().await.expect("a valid configuration");
    tether.ready(PATIENCE).await.expect("the server is well");
    tether
}

/// One after another, so that their numbers are the order in which they came. Each then waits in a task of its own, and
/// comes back with the moment at which it was answered.
async fn all_arrive(handle: &Handle, callers: usize) -> JoinSet<(RedisResult<Value>, Instant)> {
    let mut calling = JoinSet::new();
    for number in 0..callers {
        let mut call = call(handle.clone(), number);
        assert!(arrives(&mut call).await.is_pending(), "caller {number} was not held");
        calling.spawn(async move { (call.await, Instant::now()) });
    }
    calling
}

fn call(mut handle: Handle, number: usize) -> Call {
    Box::pin(async move { words(&["RPUSH", "list", &number.to_string()]).query_async(&mut handle).await })
}

async fn executed(server: &Server) -> Vec<usize> {
    let list = server.command(&["LRANGE", "list", "0", "-1"]).await.expect("a list");
    let Reply::Array(list) = list else { panic!("{list:?}") };
    list.iter().filter_map(|reply| reply.text()?.parse().ok()).collect()
}
