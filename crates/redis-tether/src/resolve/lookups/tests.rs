//! Shared lookups with functions that the tests control in the place of the system's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{CAPACITY, Failure, Found, Lookups, Name, Names, Task};
use crate::handle::rig::poll_once;
use crate::resolve::{Query, ResolveError};

const LIMIT: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3600);

/// A lookup function that waits until it is let go, and counts.
#[derive(Clone, Default)]
struct Gated(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    open: bool,
    begun: usize,
}

impl Gated {
    fn lookups(&self) -> Lookups {
        let gate = self.clone();
        Lookups::blocking(move |_| {
            let (state, changed) = &*gate.0;
            let mut state = state.lock().expect("no panic");
            state.begun += 1;
            changed.notify_all();
            let state = changed.wait_while(state, |state| !state.open).expect("no panic");
            drop(state);
            Ok(vec![address(0)])
        })
    }

    fn open(&self) {
        let (state, changed) = &*self.0;
        state.lock().expect("no panic").open = true;
        changed.notify_all();
    }

    fn begun(&self) -> usize {
        self.0.0.lock().expect("no panic").begun
    }

    fn wait_until_begun(&self, count: usize) {
        let (state, changed) = &*self.0;
        let state = state.lock().expect("no panic");
        let (state, waited) = changed.wait_timeout_while(state, LIMIT, |state| state.begun < count).expect("no panic");
        assert!(!waited.timed_out(), "{} of {count} lookups begun after {LIMIT:?}", state.begun);
    }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn query(host: &str) -> Query {
    Query::new(host, 6379)
}

#[tokio::test]
async fn those_who_ask_meanwhile_join_the_lookup_in_flight() {
    let gate = Gated::default();
    let lookups = gate.lookups();
    let mut asking: Vec<_> = (0..100u16).map(|port| lookups.resolve(Query::new("redis", port))).collect();
    for asked in &mut asking {
        let first = std::future::poll_fn(|cx| Poll::Ready(asked.as_mut().poll(cx))).await;
        assert!(first.is_pending());
    }
    gate.wait_until_begun(1);
    // One who leaves takes nothing away from the others.
    drop(asking.remove(0));
    gate.open();
    for (port, asked) in (1..100u16).zip(asking) {
        let answer = timeout(LIMIT, asked).await.expect("an answer");
        assert_eq!(answer, Ok(vec![address(port)]));
    }
    assert_eq!(gate.begun(), 1);
}

#[tokio::test]
async fn an_answer_is_shared_by_its_age() {
    let gate = Gated::default();
    gate.open();
    let lookups = gate.lookups();
    for (max_age, begun) in [(HOUR, 1), (HOUR, 1), (Duration::ZERO, 2), (Duration::ZERO, 3), (HOUR, 3)] {
        let answer = timeout(LIMIT, lookups.resolve(query("redis").with_max_age(max_age))).await;
        assert_eq!(answer.expect("an answer"), Ok(vec![address(6379)]));
        assert_eq!(gate.begun(), begun);
    }
    let old = Duration::from_millis(5);
    let answered = Instant::now();
    while answered.elapsed() <= old {
        std::thread::yield_now();
    }
    let answer = timeout(LIMIT, lookups.resolve(query("redis").with_max_age(old))).await;
    assert!(answer.expect("an answer").is_ok());
    assert_eq!(gate.begun(), 4, "the answer had become too old");
}

#[tokio::test]
async fn lookups_of_a_name_keep_their_distance_whatever_they_bring() {
    const SPACING: Duration = Duration::from_millis(20);
    let (begun, names) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(BTreeMap::<String, Name>::new())));
    let (counting, known) = (Arc::clone(&begun), Arc::clone(&names));
    let lookup = move |host: &str| {
        // By the note of it and not by this thread's clock: a thread may be slow to start, and the next one quick. None
        // of the name begins before this one is over.
        let noted = known.lock().expect("no panic").get(host).and_then(|name| name.begun);
        let mut begun = counting.lock().expect("no panic");
        begun.push(noted.expect("it has begun"));
        if begun.len() % 2 == 0 { Ok(vec![address(0)]) } else { Err(Failure::NotFound) }
    };
    let lookups = Lookups { names: Names(names), ..Lookups::blocking(lookup) };
    let before = Instant::now();
    for _ in 0..5 {
        let many = (0..20).map(|_| lookups.resolve(query("redis").with_spacing(SPACING)));
        let asked: Vec<_> = many.map(tokio::spawn).collect();
        for asked in asked {
            let answer = timeout(LIMIT, asked).await.expect("an answer").expect("no panic");
            assert!(matches!(answer, Ok(_) | Err(ResolveError::NotFound { .. })), "{answer:?}");
        }
    }
    let begun = begun.lock().expect("no panic");
    assert!(begun.len() >= 5, "who asks after an answer gets a newer one: {}", begun.len());
    assert!(begun.windows(2).all(|pair| pair[1] - pair[0] >= SPACING), "{begun:?}");
    assert!(before.elapsed() >= 4 * SPACING);
    assert_eq!(lookups.begun(), begun.len() as u64);
}

#[tokio::test]
async fn errors_are_not_kept() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&asked);
    let lookups = Lookups::blocking(move |_| match counting.fetch_add(1, Ordering::SeqCst) {
        0 => Err(Failure::NotFound),
        1 => Err(Failure::Other("try again".to_owned())),
        2 => Ok(vec![]),
        3 => panic!("a resolver that panics"),
        _ => Ok(vec![address(1), address(2), address(1)]),
    });
    let host = || "redis".to_owned();
    let given_up = "the lookup was given up".to_owned();
    for expected in [
        Err(ResolveError::NotFound { host: host() }),
        Err(ResolveError::Failed { host: host(), message: "try again".to_owned() }),
        Err(ResolveError::NoAddress { host: host() }),
        Err(ResolveError::Failed { host: host(), message: given_up }),
        // Each address once; one that has a port keeps it.
        Ok(vec![address(1), address(2)]),
    ] {
        let answer = timeout(LIMIT, lookups.resolve(query("redis").with_max_age(HOUR))).await;
        assert_eq!(answer.expect("an answer"), expected);
    }
    assert_eq!(asked.load(Ordering::SeqCst), 5);
}

#[test]
fn a_mute_resolver_costs_one_thread_a_name_and_holds_up_no_runtime() {
    let gate = Gated::default();
    let lookups = gate.lookups();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for _ in 0..50 {
            for host in ["one", "two"] {
                let asked = timeout(Duration::from_millis(1), lookups.resolve(query(host))).await;
                assert!(asked.is_err(), "it is mute");
            }
        }
    });
    gate.wait_until_begun(2);
    let dropped = Instant::now();
    drop(runtime);
    assert!(dropped.elapsed() < Duration::from_secs(1), "{:?}", dropped.elapsed());
    assert_eq!(gate.begun(), 2);
    gate.open();
}

/// A runtime that stands still has begun it, and those of another one ask.
#[tokio::test]
async fn a_lookup_that_is_not_let_run_is_nobodys_after_its_limit() {
    let begun: Arc<Mutex<Vec<Task>>> = Arc::default();
    let begin = begun.clone();
    let lookups = Lookups::begun_by(move |task| begin.lock().expect("no panic").push(task));
    let lookups = lookups.ending_within(LIMIT);
    let end = |which: usize, port: u16| {
        let task = begun.lock().expect("no panic").remove(which);
        task.end(Ok(Found { addresses: vec![address(port)], ttl: Duration::ZERO }));
    };
    let ask = || lookups.resolve(query("redis").with_max_age(HOUR));
    let (mut first, mut second, mut third) = (ask(), ask(), ask());
    assert!(poll_once(first.as_mut()).await.is_none());
    if let Some(name) = lookups.names.lock().get_mut("redis") {
        name.begun = Instant::now().checked_sub(2 * LIMIT);
    }
    assert!(poll_once(second.as_mut()).await.is_none());
    assert_eq!(lookups.begun(), 2, "nobody waits for one that is overdue");
    end(0, 1);
    assert_eq!(timeout(LIMIT, first).await.expect("an answer"), Ok(vec![address(1)]), "its own, late as it is");
    assert!(poll_once(third.as_mut()).await.is_none(), "what came late is no answer to those who ask now");
    end(0, 2);
    for asked in [second, third, ask()] {
        assert_eq!(timeout(LIMIT, asked).await.expect("an answer"), Ok(vec![address(2)]));
    }
}

#[tokio::test]
async fn names_with_a_trailing_dot_are_asked_for_as_they_are() {
    let lookups =
        Lookups::blocking(|host| if host == "redis." { Ok(vec![address(0)]) } else { Err(Failure::NotFound) });
    assert!(timeout(LIMIT, lookups.resolve(query("redis."))).await.expect("an answer").is_ok());
}

#[tokio::test]
async fn literals_ask_nobody() {
    let lookups = Lookups::blocking(|_| panic!("a literal was looked up"));
    let answer = timeout(LIMIT, lookups.resolve(query("2001:db8::1"))).await.expect("an answer");
    assert_eq!(answer, Ok(vec!["[2001:db8::1]:6379".parse().expect("an address")]));
}

#[tokio::test]
async fn a_bounded_number_of_names_is_remembered() {
    let lookups =
        Lookups::blocking(|host| if host.starts_with("gone") { Err(Failure::NotFound) } else { Ok(vec![address(0)]) });
    for number in 0..CAPACITY + 20 {
        for prefix in ["here", "gone"] {
            let _ = timeout(LIMIT, lookups.resolve(query(&format!("{prefix}{number}")))).await.expect("an answer");
        }
    }
    assert_eq!(lookups.names.lock().len(), CAPACITY);
}
