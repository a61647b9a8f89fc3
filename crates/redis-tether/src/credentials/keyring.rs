//! The credentials in use: those of the configuration, or what a source answered last. Dials take theirs from here, and so does
//! whoever keeps the live link signed in. One question is open at a time, in a task of its own, so that a source which is slow
//! is waited for by nobody for longer than a moment, and its answer is there for the next who asks. What it answered
//! before is used until it expires.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_tether_core::FailureKind;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::file::Files;
use super::written::Written;
use super::{CredentialSource, Credentials, CredentialsError, Occasion};
use crate::config::{Config, Endpoint};
use crate::dial::Rejection;
use crate::foreign;
use crate::lock::lock;

/// A source that has not answered by then is given up, and asked anew when somebody needs to know.
const LONGEST_ANSWER: Duration = Duration::from_secs(10);

/// What is asked more often than this would be a load.
const SHORTEST_CHECK: Duration = Duration::from_millis(100);

/// Credentials, and when they were had.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) credentials: Credentials,
    at: Instant,
}

impl Issued {
    fn now(credentials: Credentials) -> Issued {
        Issued { credentials, at: Instant::now() }
    }

    /// When this part of their life has passed; `None` is never.
    pub(crate) fn aged(&self, part: f64) -> Option<Instant> {
        // A lifetime that no clock can count is none.
        self.at.checked_add(self.credentials.lifetime?.mul_f64(part))
    }

    fn has_expired(&self) -> bool {
        self.aged(1.0).is_some_and(|end| end <= Instant::now())
    }

    pub(crate) fn says_the_same_as(&self, other: &Issued) -> bool {
        self.credentials.says_the_same_as(&other.credentials)
    }
}

/// What a connection does with what was answered before and has not expired.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Older {
    /// It waits for a fresh answer first.
    InReserve,
    /// It signs in with that at once. What is answered meanwhile is there for the next, and for where that is refused.
    AtHand,
}

/// Who hears that a source has no credentials: each time, in one line.
pub(crate) struct Report {
    /// Whose credentials they are, for the log.
    endpoint: Arc<str>,
    tell: Box<dyn Fn(Arc<str>) + Send + Sync>,
}

impl Report {
    pub(crate) fn new(endpoint: Arc<str>, tell: impl Fn(Arc<str>) + Send + Sync + 'static) -> Report {
        Report { endpoint, tell: Box::new(tell) }
    }
}

/// See the head of this file.
pub(crate) enum Keyring {
    Fixed(Option<Arc<Issued>>),
    Asked(Arc<Asked>),
}

impl Keyring {
    /// Of a source, which goes before what the configuration says, or of the configuration's files, or of its credentials.
    pub(crate) fn new(
        config: &Config,
        source: Option<Arc<dyn CredentialSource>>,
        tasks: TaskTracker,
        ended: CancellationToken,
        report: Report,
    ) -> Keyring {
        let home = Home { tasks, ended, runtime: Handle::current() };
        Keyring::of(Written::at_servers(config), source, config.dial.timeout / 3, Older::InReserve, home, report)
    }

    /// The same for the sentinels of an endpoint. With servers in place of sentinels it is empty.
    pub(crate) fn at_sentinels(
        config: &Config,
        source: Option<Arc<dyn CredentialSource>>,
        tasks: TaskTracker,
        ended: CancellationToken,
        report: Report,
    ) -> Keyring {
        let Endpoint::Sentinel(endpoint) = &config.endpoint else { return Keyring::Fixed(None) };
        let home = Home { tasks, ended, runtime: Handle::current() };
        // Connecting to one and asking it have to be done within as much as connecting to a server has for itself, and
        // they are connected to every few seconds: a source that is slow must not take a third of that each time.
        let patience = config.dial.connect_timeout / 3;
        Keyring::of(Written::at_sentinels(endpoint), source, patience, Older::AtHand, home, report)
    }

    fn of(
        written: Written,
        source: Option<Arc<dyn CredentialSource>>,
        patience: Duration,
        older: Older,
        home: Home,
        report: Report,
    ) -> Keyring {
        let files = || Files::of(written.clone()).map(|files| Arc::new(files) as Arc<dyn CredentialSource>);
        match source.or_else(files) {
            None => Keyring::fixed(written),
            Some(source) => {
                let state = watch::Sender::default();
                Keyring::Asked(Arc::new(Asked { source, patience, older, home, report, state }))
            }
        }
    }

    fn fixed(written: Written) -> Keyring {
        let credentials = written.password.map(|password| {
            let username = written.username.unwrap_or_default();
            Credentials::new(password).with_username(username)
        });
        Keyring::Fixed(credentials.map(Issued::now).map(Arc::new))
    }

    /// What a connection that was just made signs in with.
    pub(crate) async fn for_dial(&self) -> Result<Option<Arc<Issued>>, Rejection> {
        match self {
            Keyring::Fixed(issued) => Ok(issued.clone()),
            Keyring::Asked(asked) => asked.for_dial().await.map(Some),
        }
    }

    /// What to sign in with in place of what a server has refused.
    pub(crate) async fn in_place_of(&self, refused: &Issued) -> Option<Arc<Issued>> {
        match self {
            Keyring::Fixed(_) => None,
            Keyring::Asked(asked) => asked.in_place_of(refused).await,
        }
    }

    /// Where there is somebody to ask again.
    pub(crate) fn asked(&self) -> Option<&Arc<Asked>> {
        match self {
            Keyring::Fixed(_) => None,
            Keyring::Asked(asked) => Some(asked),
        }
    }
}

/// A source, and what it has answered.
pub(crate) struct Asked {
    source: Arc<dyn CredentialSource>,
    /// For how long a dial waits.
    patience: Duration,
    older: Older,
    home: Home,
    report: Report,
    state: watch::Sender<State>,
}

/// Where questions are asked.
struct Home {
    tasks: TaskTracker,
    ended: CancellationToken,
    runtime: Handle,
}

#[derive(Default)]
struct State {
    /// How many questions were begun. The last of them is open since then, if it is.
    begun: u64,
    open_since: Option<Instant>,
    /// Why the last one was not answered.
    failure: Option<CredentialsError>,
    held: Option<Arc<Issued>>,
}

impl State {
    fn is_over(&self, number: u64) -> bool {
        self.begun > number || self.open_since.is_none()
    }

    fn valid(&self) -> Option<Arc<Issued>> {
        self.held.clone().filter(|held| !held.has_expired())
    }
}

impl Asked {
    /// How often to see whether the credentials have changed.
    pub(crate) fn check_interval(&self) -> Option<Duration> {
        let interval = foreign::run("a source of credentials", || self.source.check_interval()).flatten();
        interval.map(|interval| interval.max(SHORTEST_CHECK))
    }

    /// Asks, and waits for as long as the source is given.
    pub(crate) async fn ask(self: &Arc<Self>, occasion: Occasion) -> Result<Arc<Issued>, CredentialsError> {
        let (number, _) = self.begin(occasion);
        self.answer(number, Instant::now() + LONGEST_ANSWER).await
    }

    async fn for_dial(self: &Arc<Self>) -> Result<Arc<Issued>, Rejection> {
        let (number, begun_at) = self.begin(Occasion::Dial);
        if let Some(held) = self.at_hand() {
            return Ok(held);
        }
        // Whoever was waited for in vain once is not waited for again.
        let answer = self.answer(number, begun_at + self.patience).await;
        answer.or_else(|error| self.state.borrow().valid().ok_or_else(|| self.none(&error)))
    }

    fn at_hand(&self) -> Option<Arc<Issued>> {
        match self.older {
            Older::InReserve => None,
            Older::AtHand => self.state.borrow().valid(),
        }
    }

    async fn in_place_of(self: &Arc<Self>, refused: &Issued) -> Option<Arc<Issued>> {
        // Where it was answered since, what was refused is not what the source said last, and it need not be asked.
        let newer = self.state.borrow().valid().filter(|held| !held.says_the_same_as(refused));
        if newer.is_some() {
            return newer;
        }
        let due = Instant::now() + self.patience;
        // A question that was open already may be answered as the one before was.
        for _ in 0..2 {
            let (number, _) = self.begin(Occasion::Refused);
            let issued = self.answer(number, due).await.ok()?;
            if !issued.says_the_same_as(refused) {
                return Some(issued);
            }
        }
        None
    }

    fn none(&self, error: &CredentialsError) -> Rejection {
        Rejection { kind: FailureKind::Auth, detail: format!("no credentials to sign in with: {error}") }
    }

    /// The question that is open, or a new one, and when it was begun.
    fn begin(self: &Arc<Self>, occasion: Occasion) -> (u64, Instant) {
        let mut question = (0, Instant::now());
        let is_new = self.state.send_if_modified(|state| {
            let is_new = state.open_since.is_none();
            state.begun += u64::from(is_new);
            question = (state.begun, *state.open_since.get_or_insert(question.1));
            is_new
        });
        if is_new {
            let open = Open { asked: Arc::clone(self), answer: None };
            self.home.tasks.spawn_on(open.ask(occasion), &self.home.runtime);
        }
        question
    }

    async fn answer(&self, number: u64, due: Instant) -> Result<Arc<Issued>, CredentialsError> {
        let mut state = self.state.subscribe();
        let over = timeout_at(due, state.wait_for(|state| state.is_over(number))).await;
        match over {
            Ok(Ok(state)) => match (&state.failure, &state.held) {
                (None, Some(held)) => Ok(Arc::clone(held)),
                (failure, _) => Err(failure.clone().unwrap_or_else(slow)),
            },
            Ok(Err(_)) | Err(_) => Err(slow()),
        }
    }
}

fn slow() -> CredentialsError {
    CredentialsError::new("their source has not answered in time")
}

/// A question that is open. It is over when this is dropped, however that comes about.
struct Open {
    asked: Arc<Asked>,
    answer: Option<Result<Credentials, CredentialsError>>,
}

impl Open {
    async fn ask(mut self, occasion: Occasion) {
        let (source, ended) = (Arc::clone(&self.asked.source), self.asked.home.ended.clone());
        // Called in there and not before, since it may panic while it is called as well.
        let asking = foreign::caught(Box::pin(async move { source.credentials(occasion).await }));
        let answer = tokio::select! {
            biased;
            () = ended.cancelled() => return,
            answer = timeout(LONGEST_ANSWER, asking) => answer,
        };
        self.answer = Some(match answer {
            Ok(Some(answer)) => answer.and_then(checked),
            Ok(None) => Err(CredentialsError::new("their source panicked")),
            Err(_) => Err(CredentialsError::new(format_args!("their source has not answered in {LONGEST_ANSWER:?}"))),
        });
    }
}

fn checked(credentials: Credentials) -> Result<Credentials, CredentialsError> {
    if credentials.password.expose().is_empty() {
        return Err(CredentialsError::new("their source answered with an empty password"));
    }
    Ok(credentials)
}

impl Drop for Open {
    fn drop(&mut self) {
        let asked = &self.asked;
        let (answer, mut news) = (self.answer.take(), None);
        asked.state.send_modify(|state| {
            state.open_since = None;
            let before = state.failure.take();
            match answer {
                Some(Ok(credentials)) => state.held = Some(Arc::new(Issued::now(credentials))),
                Some(Err(error)) => {
                    let line = told(&error, state.held.as_deref());
                    news = Some((line, before.as_ref() != Some(&error)));
                    state.failure = Some(error);
                }
                None => state.failure = Some(slow()),
            }
        });
        let Some((line, is_new)) = news else { return };
        if is_new {
            let endpoint = &*asked.report.endpoint;
            tracing::warn!(endpoint, error = %line, "no fresh credentials; what was had before is used until it expires");
        }
        foreign::run("a subscriber's waker", || (asked.report.tell)(line));
    }
}

/// One line, without the password should the source have repeated it.
fn told(error: &CredentialsError, held: Option<&Issued>) -> Arc<str> {
    let rejection = Rejection { kind: FailureKind::Auth, detail: error.to_string() };
    rejection.without(held.map(|held| held.credentials.password())).line().into()
}

/// What a link is signed in with.
#[derive(Default)]
pub(crate) struct SignedIn(Mutex<Option<Arc<Issued>>>);

impl SignedIn {
    pub(crate) fn with(issued: Option<Arc<Issued>>) -> SignedIn {
        SignedIn(Mutex::new(issued))
    }

    pub(crate) fn now(&self) -> Option<Arc<Issued>> {
        lock(&self.0).clone()
    }

    pub(crate) fn renew(&self, issued: Arc<Issued>) {
        *lock(&self.0) = Some(issued);
    }
}

#[cfg(test)]
mod tests;
