//! One attempt at one address: connect, sign in, ask what the peer is. The Connection actor's dial tasks call it with the
//! epoch that the link will have. It either returns a link that is fit to be published or says why not, within a bound; it
//! never tries again (pacing is decided elsewhere), never publishes, and leaves nothing behind when it is dropped.

pub(crate) mod cluster;
mod connector;
mod error;
mod levels;
mod rejection;
pub(crate) mod setup;
pub(crate) mod verify;
pub(crate) mod wanted;
mod within;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::{Address, Epoch, FailureKind, Role};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

pub(crate) use self::connector::Connector;
pub(crate) use self::error::DialError;
pub(crate) use self::rejection::Rejection;

use self::cluster::Membership;
use self::levels::{Levels, Stage};
use self::setup::{SetupError, demands, read_replica, set_up};
use self::verify::{Verdict, VerifyError, VerifyLevel};
use self::wanted::Wanted;
use self::within::within;
use crate::config::Config;
use crate::credentials::keyring::{Issued, Keyring};
use crate::gate::Gate;
use crate::ledger::{Ledger, LedgerStream, LinkObserver};
use crate::link::Link;
use crate::multiplexer::Multiplexer;

/// How long a connection that is asked nothing must at least stay open to count: the time in which a peer on the same
/// network hangs up on whoever connects.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(50);

/// Makes links.
pub(crate) struct Dialer {
    /// Whose links they are, for the log.
    endpoint: Arc<str>,
    config: Arc<Config>,
    wanted: Wanted,
    connector: Connector,
    keyring: Arc<Keyring>,
    books: Books,
    tasks: TaskTracker,
    // What one dialer learns of an address, the other one knows.
    levels: Arc<Levels>,
}

/// Whose books its links have.
pub(crate) enum Books {
    /// Those of links that are to be published, and whose end these hear of.
    Published(Arc<Gate>, Arc<dyn LinkObserver>),
    /// Those of connections beside the published link.
    Aside,
}

impl Dialer {
    /// The drivers of its links run as tasks of `tasks`.
    pub(crate) fn new(
        endpoint: Arc<str>,
        config: Arc<Config>,
        wanted: Wanted,
        connector: Connector,
        keyring: Arc<Keyring>,
        books: Books,
        tasks: TaskTracker,
    ) -> Dialer {
        let levels = Arc::new(Levels::new(config.verify));
        Dialer { endpoint, config, wanted, connector, keyring, books, tasks, levels }
    }

    /// A dialer for connections beside the published link, whose end concerns nobody but their owner.
    pub(crate) fn aside(&self) -> Dialer {
        let Dialer { endpoint, config, wanted, connector, keyring, tasks, levels, .. } = self;
        let (endpoint, config) = (Arc::clone(endpoint), Arc::clone(config));
        let (wanted, connector) = (*wanted, connector.clone());
        let (keyring, tasks, levels) = (Arc::clone(keyring), tasks.clone(), Arc::clone(levels));
        Dialer { endpoint, config, wanted, connector, keyring, books: Books::Aside, tasks, levels }
    }

    /// Dials `address` once, within `dial.timeout`. The link's end is reported to the observer from the moment it is returned.
    ///
    /// Must be called on a tokio runtime, which will drive the link. Cancel safe: dropping the future closes the socket and
    /// ends the driver.
    pub(crate) async fn dial(&self, epoch: Epoch, address: Address) -> Result<Link, DialError> {
        let limit = self.config.dial.timeout;
        let outcome = within(limit, self.dial_down(epoch, &address)).await;
        outcome.unwrap_or_else(|| {
            let detail = format!("not ready after {limit:?}");
            Err(DialError::new(FailureKind::TimedOut, &address, detail))
        })
    }

    /// Tries with a fresh connection at the next lower level for as long as the peer hangs up on what it is asked.
    ///
    /// That makes six connections at most, where a peer stands no question at all, and once a second at most; three where it
    /// takes `PING` and nothing else, as twemproxy does. What is learned spares the next dial all but one, or three.
    ///
    /// A TLS server hangs up on everything that is said in plain, and stays if nothing is said: so before a peer is taken
    /// without an answer, or given up, it is asked whether that is what it is.
    async fn dial_down(&self, epoch: Epoch, address: &Address) -> Result<Link, DialError> {
        let mut level = self.levels.at(address);
        let mut hung_up_on = None;
        let mut patience = None;
        let mut attempt = Attempt { epoch, address, issued: None };
        let link = loop {
            let begun = Instant::now();
            let (stage, error) = match self.dial_at(&mut attempt, level, patience).await {
                Ok(link) => break link,
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::HungUp(stage, error)) => (stage, error),
            };
            let may_go_on = hung_up_on.is_some() || self.levels.may_lower(address);
            let next = self.levels.below(level, stage).filter(|_| may_go_on);
            let would_ask_no_more = stage != Stage::Done && next.is_none_or(|next| next == VerifyLevel::None);
            if may_go_on
                && would_ask_no_more
                && let Some(rejection) = self.connector.why_hung_up(address, begun).await
            {
                return Err(rejection.at(address));
            }
            let Some(next) = next else { return Err(error) };
            hung_up_on = Some(level);
            level = next;
            patience = Some(SHORTEST_PATIENCE.max(begun.elapsed() * 2));
        };
        let link = match hung_up_on {
            Some(above) if !self.levels.has_learned(address, level) => {
                self.ask_again(&mut attempt, above, link).await?
            }
            _ => link,
        };
        if link.verify_level() < level {
            // It answered that it does not know the question, or denies it.
            self.learn(address, link.verify_level());
        }
        self.announced(link)
    }

    /// A balancer may hang up once because a server behind it went away, and then the next question is answered by another,
    /// perhaps a replica that `PING` cannot tell from a primary. So `lower` is taken, and what it stands learned, only if the
    /// peer hangs up on the level above once more.
    async fn ask_again(&self, attempt: &mut Attempt<'_>, above: VerifyLevel, lower: Link) -> Result<Link, DialError> {
        match self.dial_at(attempt, above, None).await {
            Ok(link) => Ok(link),
            Err(Failure::Final(error)) => Err(error),
            Err(Failure::HungUp(..)) => {
                // One that hangs up on everybody hung up on this link as well.
                if !lower.ledger().is_dead() {
                    self.learn(attempt.address, lower.verify_level());
                }
                Ok(lower)
            }
        }
    }

    fn learn(&self, address: &Address, level: VerifyLevel) {
        tracing::debug!(endpoint = &*self.endpoint, %address, ?level, "the peer is asked less from now on");
        self.levels.learn(address, level);
    }

    /// From here on the link is somebody's, and its end is reported.
    fn announced(&self, link: Link) -> Result<Link, DialError> {
        if link.ledger().announce() {
            Ok(link)
        } else {
            Err(self.closed_when_ready(link.address(), link.ledger()).into())
        }
    }

    fn closed_when_ready(&self, address: &Address, ledger: &Ledger) -> Failure {
        self.explain(Stage::Done, Problem::Closed, address, ledger, None)
    }

    /// Makes one connection, at this level. `patience` is for a peer that hung up on a question and is now asked nothing.
    async fn dial_at(
        &self,
        attempt: &mut Attempt<'_>,
        level: VerifyLevel,
        patience: Option<Duration>,
    ) -> Result<Link, Failure> {
        let address = attempt.address;
        let stream = self.connector.connect(address).await.map_err(|rejection| rejection.at(address))?;
        let ledger = self.books.begin(attempt.epoch);
        let stream = LedgerStream::new(stream, Arc::clone(&ledger));
        // What it is to be told and asked is said below and not by redis-rs, whose own setup loses the server's words where
        // signing in fails, so that 'no room' or 'loading' would read as a wrong password.
        let (mut multiplexer, driver) = Multiplexer::start(stream, &self.tasks);

        self.take_credentials(attempt).await?;
        let set_up = self.set_up(&mut multiplexer, level, attempt).await;
        let issued = attempt.issued.clone().flatten();
        let failure = |stage, error| self.explain(stage, error, address, &ledger, issued.as_deref());
        set_up.map_err(|error| failure(Stage::Setup, error.into()))?;
        let verdict = self.wanted.verify(&mut multiplexer, level).await;
        let verdict = verdict.map_err(|error| failure(Stage::Verify, error.into()))?;
        self.admit(address, &verdict)?;
        let mut membership = Membership::Unknown;
        if verdict.is_of_cluster {
            let member = Membership::of_node(&mut multiplexer, &self.config, self.wanted).await;
            membership = member.map_err(|error| failure(Stage::Verify, error.into()))?;
            if self.wanted == Wanted::Replica {
                let told = read_replica(&mut multiplexer).await;
                told.map_err(|error| failure(Stage::Setup, error.into()))?;
            }
        }
        if let (VerifyLevel::None, Some(patience)) = (level, patience) {
            stays_open(&ledger, patience).await;
        }
        if ledger.is_dead() {
            return Err(self.closed_when_ready(address, &ledger));
        }
        let link = Link::new(address.clone(), &verdict, ledger, multiplexer, driver);
        Ok(link.signed_in_with(issued).in_cluster(membership))
    }

    fn admit(&self, address: &Address, verdict: &Verdict) -> Result<(), DialError> {
        self.wanted.admit(address, verdict)?;
        if let (Role::Unknown, Some(role)) = (verdict.role, &verdict.role_word) {
            let endpoint = &*self.endpoint;
            tracing::warn!(endpoint, %address, role, "the server's role is none that we know; taking it for what was wanted");
        }
        Ok(())
    }

    /// Once there is a connection: a source of credentials is not asked for those that cannot be made.
    async fn take_credentials(&self, attempt: &mut Attempt<'_>) -> Result<(), Failure> {
        if attempt.issued.is_none() {
            let issued = self.keyring.for_dial().await.map_err(|rejection| rejection.at(attempt.address))?;
            attempt.issued = Some(issued);
        }
        Ok(())
    }

    /// Whatever is refused may have been replaced a moment ago: with others, if there are any, it is tried once more at once.
    async fn set_up(
        &self,
        multiplexer: &mut Multiplexer,
        level: VerifyLevel,
        attempt: &mut Attempt<'_>,
    ) -> Result<(), SetupError> {
        let issued = attempt.issued.clone().flatten();
        let credentials = issued.as_deref().map(|issued| &issued.credentials);
        let outcome = set_up(multiplexer, &self.config, self.wanted, level, credentials).await;
        let is_refused =
            matches!(&outcome, Err(SetupError::Rejected(rejection)) if rejection.kind == FailureKind::Auth);
        let (true, Some(refused)) = (is_refused, &issued) else { return outcome };
        let Some(other) = self.keyring.in_place_of(refused).await else { return outcome };
        match set_up(multiplexer, &self.config, self.wanted, level, Some(&other.credentials)).await {
            // It hung up on whoever was refused.
            Err(SetupError::Closed) => outcome,
            again => {
                attempt.issued = Some(Some(other));
                again
            }
        }
    }

    /// Why setting up or verifying failed. What the server said before it hung up counts for more than that it did.
    fn explain(
        &self,
        stage: Stage,
        problem: Problem,
        address: &Address,
        ledger: &Ledger,
        issued: Option<&Issued>,
    ) -> Failure {
        let password = issued.map(|issued| issued.credentials.password());
        match (problem, ledger.first_words().and_then(Rejection::by_greeting)) {
            // To whoever speaks plainly this is what a TLS server says, and to the parser it is noise.
            (_, Some(greeting)) if greeting.kind == FailureKind::Tls => Failure::Final(greeting.at(address)),
            (Problem::Rejected(rejection), _) | (Problem::Closed, Some(rejection)) => {
                Failure::Final(rejection.without(password).at(address))
            }
            (Problem::Closed, None) => {
                let mut rejection = match ledger.end() {
                    Some(end) => Rejection::by_end(end),
                    None => Rejection { kind: FailureKind::Closed, detail: String::new() },
                };
                let demands = demands(&self.config, issued.map(|issued| &issued.credentials));
                if let (Stage::Setup, true, Some(demands)) = (stage, rejection.detail.is_empty(), demands) {
                    rejection.detail = format!("it was told {demands}, which proxies may not know");
                }
                match rejection.kind {
                    FailureKind::Closed | FailureKind::Reset => Failure::HungUp(stage, rejection.at(address)),
                    _ => Failure::Final(rejection.at(address)),
                }
            }
        }
    }
}

/// One dial, whatever number of connections it makes.
struct Attempt<'a> {
    epoch: Epoch,
    address: &'a Address,
    /// What it signs in with, once that is known.
    issued: Option<Option<Arc<Issued>>>,
}

impl Books {
    fn begin(&self, epoch: Epoch) -> Arc<Ledger> {
        match self {
            Books::Published(gate, observer) => Ledger::unannounced(epoch, gate, Arc::clone(observer)),
            Books::Aside => Ledger::aside(epoch),
        }
    }
}

/// How one connection of a dial failed.
enum Failure {
    Final(DialError),
    /// The peer closed the connection, which may be what it does to commands it does not know.
    HungUp(Stage, DialError),
}

impl From<Failure> for DialError {
    fn from(failure: Failure) -> DialError {
        match failure {
            Failure::Final(error) | Failure::HungUp(_, error) => error,
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Failure {
        Failure::Final(error)
    }
}

/// What setting up and verifying fail with, alike.
enum Problem {
    Closed,
    Rejected(Rejection),
}

impl From<SetupError> for Problem {
    fn from(error: SetupError) -> Problem {
        match error {
            SetupError::Closed => Problem::Closed,
            SetupError::Rejected(rejection) => Problem::Rejected(rejection),
        }
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Problem {
        match error {
            VerifyError::Closed => Problem::Closed,
            VerifyError::Failed(rejection) => Problem::Rejected(rejection),
        }
    }
}

/// Waits whether a peer that hung up on every question stays if it is asked nothing. If it hangs up on everybody, as a
/// balancer without a backend does, it will do so in about the time that it took before.
async fn stays_open(ledger: &Ledger, patience: Duration) {
    // Nothing is sent yet, so the only thing that this waits for is the end.
    let _ = timeout(patience, ledger.busy()).await;
}
