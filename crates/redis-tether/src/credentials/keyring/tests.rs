//! Sources that are slow, fail, hang, panic, and answer with what has been refused.

use std::collections::VecDeque;

use tokio::sync::Notify;

use super::*;
use crate::config::SentinelNode;
use crate::credentials::credentials_fn;

type Answer = Result<Credentials, CredentialsError>;

/// What a source does when it is asked.
enum Act {
    Answer(Answer),
    /// Answers when it is told to.
    Wait(Arc<Notify>, &'static str),
    Hang,
    Panic,
}

fn password(text: &str) -> Act {
    Act::Answer(Ok(Credentials::new(text)))
}

fn failure(text: &str) -> Act {
    Act::Answer(Err(CredentialsError::new(text)))
}

/// A keyring over a source that does these one after another, and then fails.
struct World {
    keyring: Arc<Keyring>,
    tasks: TaskTracker,
    ended: CancellationToken,
    asked: Arc<Mutex<Vec<Occasion>>>,
    reports: Arc<Mutex<Vec<Arc<str>>>>,
}

impl World {
    fn of(acts: impl IntoIterator<Item = Act>) -> World {
        World::with(acts, |source, tasks, ended, report| {
            Keyring::new(&Config::default(), Some(source), tasks, ended, report)
        })
    }

    /// One for connections to sentinels.
    fn at_sentinels(acts: impl IntoIterator<Item = Act>) -> World {
        let config = Config::sentinel([SentinelNode::new("sentinel", 26379)], "mymaster");
        World::with(acts, |source, tasks, ended, report| {
            Keyring::at_sentinels(&config, Some(source), tasks, ended, report)
        })
    }

    fn with(
        acts: impl IntoIterator<Item = Act>,
        keyring: impl FnOnce(Arc<dyn CredentialSource>, TaskTracker, CancellationToken, Report) -> Keyring,
    ) -> World {
        let acts = Mutex::new(acts.into_iter().collect::<VecDeque<_>>());
        let (asked, reports) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(Vec::new())));
        let noted = asked.clone();
        let source = credentials_fn(move |occasion| {
            lock(&noted).push(occasion);
            let act = lock(&acts).pop_front().unwrap_or_else(|| failure("nothing left"));
            async move {
                match act {
                    Act::Answer(answer) => answer,
                    Act::Wait(told, text) => {
                        told.notified().await;
                        Ok(Credentials::new(text))
                    }
                    Act::Hang => std::future::pending().await,
                    Act::Panic => panic!("a test asked for it"),
                }
            }
        });
        let (tasks, ended) = (TaskTracker::new(), CancellationToken::new());
        let noted = reports.clone();
        let report = Report::new("redis:6379".into(), move |line| lock(&noted).push(line));
        let keyring = keyring(Arc::new(source), tasks.clone(), ended.clone(), report);
        World { keyring: Arc::new(keyring), tasks, ended, asked, reports }
    }

    async fn dial(&self) -> Result<String, String> {
        let issued = self.keyring.for_dial().await.map_err(|rejection| rejection.detail)?;
        Ok(text(&issued.expect("a source has answered")))
    }

    fn times_asked(&self) -> usize {
        lock(&self.asked).len()
    }
}

fn text(issued: &Issued) -> String {
    issued.credentials.password().expose().to_owned()
}

#[tokio::test(start_paused = true)]
async fn every_dial_asks_anew_and_those_at_the_same_time_once() {
    let told = Arc::new(Notify::new());
    let world = World::of([password("one"), Act::Wait(told.clone(), "two")]);
    assert_eq!(world.dial().await.as_deref(), Ok("one"));
    let (first, second, ()) = tokio::join!(world.dial(), world.dial(), async { told.notify_one() });
    assert_eq!((first.as_deref(), second.as_deref()), (Ok("two"), Ok("two")));
    assert_eq!(*lock(&world.asked), [Occasion::Dial, Occasion::Dial]);
}

#[tokio::test(start_paused = true)]
async fn what_was_had_before_is_used_until_it_expires() {
    let lived = Credentials::new("token").with_lifetime(Duration::from_secs(60));
    let world = World::of([Act::Answer(Ok(lived)), failure("down"), Act::Panic, failure("still down")]);
    assert_eq!(world.dial().await.as_deref(), Ok("token"));
    tokio::time::advance(Duration::from_secs(30)).await;
    assert_eq!(world.dial().await.as_deref(), Ok("token"), "the source fails");
    assert_eq!(world.dial().await.as_deref(), Ok("token"), "the source panics");
    tokio::time::advance(Duration::from_secs(31)).await;
    let refused = world.dial().await.expect_err("it has expired");
    assert_eq!(refused, "no credentials to sign in with: still down");
    assert_eq!(
        lock(&world.reports).iter().map(|line| &**line).collect::<Vec<_>>(),
        ["down", "their source panicked", "still down"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_is_waited_for_by_one_dial() {
    let world = World::of([password("one"), Act::Hang, password("two")]);
    assert_eq!(world.dial().await.as_deref(), Ok("one"));
    let begun = Instant::now();
    assert_eq!(world.dial().await.as_deref(), Ok("one"));
    assert_eq!(begun.elapsed(), Duration::from_secs(1), "a third of the dial's limit");
    assert_eq!(world.dial().await.as_deref(), Ok("one"));
    assert_eq!(begun.elapsed(), Duration::from_secs(1), "it was waited for in vain before");
    tokio::time::sleep_until(begun + LONGEST_ANSWER + Duration::from_millis(1)).await;
    assert_eq!(lock(&world.reports).len(), 1, "it is told of once it is given up");
    assert_eq!(world.dial().await.as_deref(), Ok("two"));
    assert_eq!(world.times_asked(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_slow_is_of_use_to_the_next_dial() {
    let told = Arc::new(Notify::new());
    let world = World::of([Act::Wait(told.clone(), "late"), Act::Hang]);
    assert!(world.dial().await.expect_err("nothing is had yet").contains("has not answered in time"));
    told.notify_one();
    tokio::task::yield_now().await;
    assert_eq!(world.dial().await.as_deref(), Ok("late"));
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_not_handed_out_again() {
    let told = Arc::new(Notify::new());
    let acts = [password("old"), Act::Wait(told.clone(), "old"), password("new"), password("new"), password("new")];
    let world = World::of(acts);
    let refused = world.keyring.for_dial().await.expect("answered").expect("asked");
    // A question is open that is answered by what has been refused meanwhile.
    let other = tokio::spawn({
        let keyring = world.keyring.clone();
        async move { keyring.for_dial().await.is_ok() }
    });
    tokio::task::yield_now().await;
    let (issued, ()) = tokio::join!(world.keyring.in_place_of(&refused), async { told.notify_one() });
    let issued = issued.expect("the source has another");
    assert_eq!(text(&issued), "new");
    assert!(other.await.expect("no panic"));
    assert_eq!(*lock(&world.asked), [Occasion::Dial, Occasion::Dial, Occasion::Refused]);
    assert!(world.keyring.in_place_of(&issued).await.is_none(), "it has no other");
}

#[tokio::test(start_paused = true)]
async fn what_was_answered_since_is_used_in_place_of_what_is_refused_without_asking() {
    let world = World::of([password("old"), password("new")]);
    let refused = world.keyring.for_dial().await.expect("answered").expect("asked");
    assert_eq!(world.dial().await.as_deref(), Ok("new"));
    let newer = world.keyring.in_place_of(&refused).await.expect("there is another");
    assert_eq!((text(&newer).as_str(), world.times_asked()), ("new", 2));
}

/// A third of what one has to be connected to and asked would be gone each time.
#[tokio::test(start_paused = true)]
async fn at_sentinels_a_slow_source_is_not_waited_for_while_there_is_something_to_sign_in_with() {
    let told = Arc::new(Notify::new());
    let lived = Credentials::new("one").with_lifetime(Duration::from_secs(60));
    let world = World::at_sentinels([Act::Answer(Ok(lived)), Act::Wait(told.clone(), "two"), Act::Hang]);
    assert_eq!(world.dial().await.as_deref(), Ok("one"));
    let begun = Instant::now();
    let refused = world.keyring.for_dial().await.expect("it is held").expect("asked");
    assert_eq!((text(&refused).as_str(), begun.elapsed()), ("one", Duration::ZERO));

    // It was asked nevertheless, and what it says is there for where that is refused, and for the next.
    let (newer, ()) = tokio::join!(world.keyring.in_place_of(&refused), async { told.notify_one() });
    assert_eq!(text(&newer.expect("it was replaced")), "two");
    assert_eq!(*lock(&world.asked), [Occasion::Dial, Occasion::Dial]);
    assert_eq!(world.dial().await.as_deref(), Ok("two"));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn at_sentinels_a_source_is_waited_for_where_there_is_nothing_that_has_not_expired() {
    let lived = Credentials::new("token").with_lifetime(Duration::from_secs(60));
    let world = World::at_sentinels([Act::Answer(Ok(lived)), Act::Hang]);
    assert_eq!(world.dial().await.as_deref(), Ok("token"));
    tokio::time::advance(Duration::from_secs(61)).await;
    let begun = Instant::now();
    assert!(world.dial().await.expect_err("it has expired").contains("has not answered in time"));
    let third = Config::default().dial.connect_timeout / 3;
    // Timers have a grain of a millisecond.
    assert!((third..third + Duration::from_millis(2)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_repeats_the_password_or_answers_nonsense_is_told_of_without_it() {
    let world = World::of([password("correct-horse"), failure("401 for correct-horse\nsecond line"), password("")]);
    assert_eq!(world.dial().await.as_deref(), Ok("correct-horse"));
    for _ in 0..2 {
        assert_eq!(world.dial().await.as_deref(), Ok("correct-horse"));
    }
    assert_eq!(
        *lock(&world.reports),
        ["401 for *** second line".into(), Arc::<str>::from("their source answered with an empty password")]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_when_the_tether_ends() {
    let world = World::of([Act::Hang]);
    let keyring = world.keyring.clone();
    let waiting = tokio::spawn(async move { keyring.for_dial().await.is_err() });
    tokio::task::yield_now().await;
    world.ended.cancel();
    world.tasks.close();
    let begun = Instant::now();
    world.tasks.wait().await;
    assert!(waiting.await.expect("no panic"), "whoever waits hears of it");
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn credentials_that_never_change_are_those_of_the_configuration() {
    let config = Config::default().with_username("app").with_password("secret");
    let issued = Keyring::fixed(Written::at_servers(&config)).for_dial().await.expect("no source").expect("a password");
    assert_eq!((issued.credentials.username(), text(&issued).as_str()), (Some("app"), "secret"));
    assert!(Keyring::fixed(Written::at_servers(&config)).in_place_of(&issued).await.is_none());
    assert!(Keyring::fixed(Written::at_servers(&Config::default())).for_dial().await.expect("no source").is_none());
}
