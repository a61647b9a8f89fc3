//! A fake sentinel in this process, which says whatever the test wants: the truth, a lie, what was true yesterday, or nothing.
//!
//! Tests serve it over a [`SimNet`](crate::SimNet) ([`SimNet::bind_with`](crate::SimNet::bind_with)) or over any stream. It knows
//! what clients ask sentinels: `SENTINEL GET-MASTER-ADDR-BY-NAME`, `SENTINEL MASTER`, `SUBSCRIBE`, `AUTH`, `PING`. It watches
//! nobody; what it announces, the test has it announce.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::select;
use tokio::sync::broadcast;

use crate::resp::{Protocol, Reply, Request, encode_reply, parse_request};
use crate::wait::{Signal, TimedOut};

/// So many announcements may wait for a client that does not read.
const ANNOUNCEMENTS: usize = 64;

/// A handle to a fake sentinel; clones are handles to the same one.
///
/// ```
/// # use redis_tether_testkit::{FakeSentinel, SimNet};
/// let (net, sentinel) = (SimNet::new(), FakeSentinel::new("mymaster"));
/// sentinel.say("10.0.0.1", 6379, 1);
/// let served = sentinel.clone();
/// net.bind_with("10.0.0.9:26379".parse().unwrap(), move |io| served.serve(io));
/// ```
#[derive(Clone)]
pub struct FakeSentinel {
    inner: Arc<Inner>,
}

struct Inner {
    master: String,
    state: Mutex<State>,
    changed: Signal,
    announcements: broadcast::Sender<String>,
}

#[derive(Default)]
struct State {
    place: Option<Place>,
    password: Option<String>,
    attention: Attention,
    epochs: Epochs,
    questions: u64,
    subscribers: u64,
    life: u64,
}

#[derive(Clone)]
struct Place {
    host: String,
    port: u16,
    epoch: u64,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Attention {
    #[default]
    Awake,
    Hung,
}

/// Whether it lets clients see the epoch of its configuration.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Epochs {
    #[default]
    Told,
    Denied,
}

impl FakeSentinel {
    /// One that knows of this master, and not where it is.
    pub fn new(master: &str) -> Self {
        let (announcements, _) = broadcast::channel(ANNOUNCEMENTS);
        let (state, changed) = (Mutex::default(), Signal::default());
        Self { inner: Arc::new(Inner { master: master.to_owned(), state, changed, announcements }) }
    }

    /// From now on this is where the primary is, by the configuration of this epoch.
    pub fn say(&self, host: &str, port: u16, epoch: u64) {
        self.change(|state| state.place = Some(Place { host: host.to_owned(), port, epoch }));
    }

    /// The same, and everybody who listens is told (`+switch-master`).
    pub fn announce(&self, host: &str, port: u16, epoch: u64) {
        self.say(host, port, epoch);
        let master = &self.inner.master;
        // Fails where nobody listens.
        let _ = self.inner.announcements.send(format!("{master} 0.0.0.0 0 {host} {port}"));
    }

    /// From now on it knows of no master.
    pub fn forget(&self) {
        self.change(|state| state.place = None);
    }

    /// From now on it reads and answers nothing, until [`resume`](Self::resume).
    pub fn hang(&self) {
        self.change(|state| state.attention = Attention::Hung);
    }

    /// Ends [`hang`](Self::hang).
    pub fn resume(&self) {
        self.change(|state| state.attention = Attention::Awake);
    }

    /// From now on asks for this password.
    pub fn require_password(&self, password: &str) {
        self.change(|state| state.password = Some(password.to_owned()));
    }

    /// From now on denies `SENTINEL MASTER`, which tells the epoch.
    pub fn deny_epochs(&self) {
        self.change(|state| state.epochs = Epochs::Denied);
    }

    /// Ends all connections.
    pub fn kill_connections(&self) {
        self.change(|state| state.life += 1);
    }

    /// How often it was asked where the primary is.
    pub fn questions(&self) -> u64 {
        self.state().questions
    }

    /// How many listen.
    pub fn subscribers(&self) -> u64 {
        self.state().subscribers
    }

    /// Waits until so many listen.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn wait_for_subscribers(&self, count: u64) -> Result<(), TimedOut> {
        let what = || "the subscribers of a sentinel".to_owned();
        self.inner.changed.until_at_least(what, count, || self.subscribers()).await
    }

    /// Serves one client over `io`, in a task of its own that ends with the connection.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn serve<T>(&self, io: T)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let sentinel = self.clone();
        tokio::spawn(async move {
            let life = sentinel.state().life;
            let ended = sentinel.inner.changed.until(|| (sentinel.state().life != life).then_some(()));
            select! {
                biased;
                () = ended => {}
                () = Session::new(&sentinel).serve(io) => {}
            }
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.inner.changed.raise();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FakeSentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeSentinel").field("master", &self.inner.master).finish_non_exhaustive()
    }
}

/// One client.
struct Session<'a> {
    sentinel: &'a FakeSentinel,
    is_known: bool,
    /// Counts as a subscriber for as long as there are any.
    channels: Vec<String>,
    news: broadcast::Receiver<String>,
}

impl<'a> Session<'a> {
    fn new(sentinel: &'a FakeSentinel) -> Self {
        Self { sentinel, is_known: false, channels: Vec::new(), news: sentinel.inner.announcements.subscribe() }
    }

    /// Until the client leaves, or sends what is none.
    async fn serve(mut self, mut io: impl AsyncRead + AsyncWrite + Unpin) {
        let mut input = Vec::new();
        loop {
            let mut output = Vec::new();
            select! {
                biased;
                read = io.read_buf(&mut input) => if !matches!(read, Ok(1..)) { return },
                Ok(news) = self.news.recv() => {
                    if self.channels.iter().any(|channel| channel == "+switch-master") {
                        let message = ["message", "+switch-master", &news].map(Reply::bulk);
                        encode_reply(&Reply::Array(message.into()), Protocol::Resp2, &mut output);
                    }
                }
            }
            self.sentinel.inner.changed.until(|| self.is_awake()).await;
            while let Ok(Some((request, used))) = parse_request(&input) {
                input.drain(..used);
                for reply in self.answer(&request) {
                    encode_reply(&reply, Protocol::Resp2, &mut output);
                }
            }
            if io.write_all(&output).await.is_err() {
                return;
            }
        }
    }

    fn is_awake(&self) -> Option<()> {
        (self.sentinel.state().attention == Attention::Awake).then_some(())
    }

    fn answer(&mut self, request: &Request) -> Vec<Reply> {
        let words: Vec<String> = request.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let upper: Vec<String> = words.iter().map(|word| word.to_uppercase()).collect();
        let password = self.sentinel.state().password.clone();
        match upper.first().map(String::as_str) {
            Some("AUTH") => vec![match password {
                None => {
                    Reply::error("ERR AUTH <password> called without any password configured for the default user.")
                }
                Some(password) if words.last() == Some(&password) => {
                    self.is_known = true;
                    Reply::ok()
                }
                Some(_) => Reply::error("WRONGPASS invalid username-password pair or user is disabled."),
            }],
            _ if password.is_some() && !self.is_known => vec![Reply::error("NOAUTH Authentication required.")],
            Some("PING") if self.channels.is_empty() => vec![Reply::Simple("PONG".to_owned())],
            Some("PING") => vec![Reply::Array(vec![Reply::bulk("pong"), Reply::bulk("")])],
            Some("SUBSCRIBE") => self.subscribe(&words[1..]),
            Some("SENTINEL") if upper.len() == 3 => vec![self.tell(&upper[1], &words[2])],
            _ => vec![Reply::error(format!("ERR unknown command '{}'", words.first().map_or("", String::as_str)))],
        }
    }

    fn subscribe(&mut self, channels: &[String]) -> Vec<Reply> {
        if self.channels.is_empty() {
            self.sentinel.change(|state| state.subscribers += 1);
        }
        let confirm = |channel: &String| {
            self.channels.push(channel.clone());
            let count = i64::try_from(self.channels.len()).unwrap_or(i64::MAX);
            Reply::Array(vec![Reply::bulk("subscribe"), Reply::bulk(channel), Reply::Int(count)])
        };
        channels.iter().map(confirm).collect()
    }

    fn tell(&self, subcommand: &str, master: &str) -> Reply {
        let mut state = self.sentinel.state();
        let place = state.place.clone().filter(|_| self.sentinel.inner.master == master);
        match (subcommand, place) {
            ("GET-MASTER-ADDR-BY-NAME", place) => {
                state.questions += 1;
                let of =
                    |place: Place| Reply::Array(vec![Reply::bulk(place.host), Reply::bulk(place.port.to_string())]);
                place.map_or(Reply::Nil, of)
            }
            ("MASTER", _) if state.epochs == Epochs::Denied => Reply::error("NOPERM this user has no permissions"),
            ("MASTER", Some(place)) => {
                let fields = ["name", master, "ip", &place.host, "config-epoch", &place.epoch.to_string()];
                Reply::Array(fields.into_iter().map(Reply::bulk).collect())
            }
            ("MASTER", None) => Reply::error("ERR No such master with that name"),
            _ => Reply::error("ERR Unknown sentinel subcommand"),
        }
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if !self.channels.is_empty() {
            self.sentinel.change(|state| state.subscribers -= 1);
        }
    }
}
