//! Sources that are slow, fail, hang, panic, and answer with what has been refused.

use std::collections::VecDeque;

use tokio::sync::Notify;

use super::*;
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
        let report: Report = Arc::new(move |line| lock(&noted).push(line));
        let config = Arc::new(Config::default());
        let source: Arc<dyn CredentialSource> = Arc::new(source);
        let keyring = Keyring::new(&config, Some(source), tasks.clone(), ended.clone(), report);
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
