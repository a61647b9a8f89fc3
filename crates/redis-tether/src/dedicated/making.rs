//! Making a dedicated connection. It waits for a link as a command does, dials where that leads to, and hands the connection
//! out if the link is still the published one then. The dial runs on the tether's runtime, and the connection is tied to the
//! link before it is anybody's, so that a caller who does not look keeps nothing open.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use redis_tether_core::FailureKind;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::tie::Tie;
use super::{Dedicated, Own};
use crate::config::HoldMode;
use crate::control::Control;
use crate::control::connection::ConnectionMsg;
use crate::dial::DialError;
use crate::gate::hold::Ticket;
use crate::gate::{Admission, Ask, NotAdmitted};
use crate::ledger::FlightKind;
use crate::link::Link;
use crate::outcome::{CommandError, Facts, Outcome, Reason};
use crate::patience::Patience;
use crate::tether::Tether;

impl Tether {
    /// Makes a dedicated connection on the current primary: for `WATCH`, blocking commands, `SELECT`, subscriptions, and
    /// whatever else a shared link cannot carry. It is signed in, set up and verified as the link is, and tied to the epoch of
    /// that link: see [`Dedicated`].
    ///
    /// While there is no link this waits for one as a command does (`commands.hold`), within the hold window (3 s from the start
    /// of the outage) and the deadline of the configuration (5 s), which covers the dial as well; then it **fails**. In an outage that is
    /// longer it fails at once: who needs a connection for as long as the application runs asks again a moment later, as in the
    /// examples. A dial that fails in a way
    /// that passes (refused, timed out, closed, loading, not a primary any more) is tried again within the deadline, at the
    /// pace of the tether's own dials, and makes the tether look at its link. With `commands.hold` set to fail fast it is
    /// not tried again.
    ///
    /// # Examples
    ///
    /// Watched keys. What [`transaction_async`](redis::aio::transaction_async) runs is repeated while others change the key; an
    /// error ends it, and its [outcome](crate::OutcomeExt) says whether the transaction can have been executed.
    /// ```no_run
    /// # use redis_tether::{Tether, redis::{self, AsyncCommands}};
    /// # async fn example(tether: Tether) -> redis::RedisResult<()> {
    /// let connection = tether.dedicated().await?;
    /// let total: (u64,) = redis::aio::transaction_async(connection, &["total"], |mut connection, mut pipe| async move {
    ///     let total: Option<u64> = connection.get("total").await?;
    ///     pipe.set("total", total.unwrap_or(0) * 2 + 1).ignore().get("total").query_async(&mut connection).await
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A queue. The connection is over when the primary changes, and then another one is made; in an outage that outlasts the hold
    /// window, and where the server refuses the command (`WRONGTYPE`, `NOPERM`), it is tried again a moment later.
    /// ```no_run
    /// # use redis_tether::{Outcome, OutcomeExt, Phase, Tether, redis::{RedisResult, AsyncCommands}};
    /// # use std::convert::Infallible;
    /// # async fn example(tether: Tether) {
    /// loop {
    ///     let worked = async {
    ///         let mut connection = tether.dedicated().await?;
    ///         loop {
    ///             let (_, job): (String, String) = connection.blpop("jobs", 0.0).await?;
    ///             println!("{job}");
    ///         }
    ///     };
    ///     let Err(error): RedisResult<Infallible> = worked.await;
    ///     match error.outcome() {
    ///         // It may have taken a job that nobody got: `BLMOVE` into a list of one's own is safe against that.
    ///         Some(Outcome::Ambiguous) => println!("a job may be lost: {error}"),
    ///         _ => println!("took nothing: {error}"),
    ///     }
    ///     if tether.status().borrow().phase == Phase::Stopped {
    ///         return;
    ///     }
    ///     tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    /// }
    /// # }
    /// ```
    ///
    /// For subscriptions see [`Dedicated::into_pub_sub`].
    ///
    /// # Errors
    /// [`NotSent`](crate::Outcome::NotSent) in any case, with the [reason](crate::Reason): there was no link for as long as
    /// the hold window or the deadline, the server would not have another connection (`NotDialled`: no room, credentials
    /// refused), or the tether was shut down. The cause is what the last dial met.
    ///
    /// # Panics
    /// Outside a tokio runtime whose timers are enabled. It need not be the tether's, which is where the connection lives.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the attempt and leaves nothing behind.
    pub async fn dedicated(&self) -> Result<Dedicated, CommandError> {
        // Boxed, since it is made rarely, and callers keep the room for its future.
        Box::pin(Making::new(&self.control, self.lifeline.clone()).run()).await
    }
}

struct Making<'a> {
    control: &'a Arc<Control>,
    lifeline: Arc<dyn Any + Send + Sync>,
    due: Option<Instant>,
    patience: Patience,
    ticket: Option<Ticket>,
    failures: Failures,
}

/// Those of this making, which decide when the next dial is due.
#[derive(Default)]
struct Failures {
    first: Option<Instant>,
    number: u32,
    last: Option<DialError>,
}

/// How a dial did not end with a connection.
enum NotMade {
    Failed(DialError),
    /// The link that it was made beside is over.
    LinkOver,
    DeadlinePassed,
}

impl<'a> Making<'a> {
    fn new(control: &'a Arc<Control>, lifeline: Arc<dyn Any + Send + Sync>) -> Making<'a> {
        let deadline = control.shared.commands.deadline;
        Making {
            control,
            lifeline,
            due: Instant::now().checked_add(deadline),
            patience: Patience::new(deadline),
            ticket: None,
            failures: Failures::default(),
        }
    }

    async fn run(&mut self) -> Result<Dedicated, CommandError> {
        let mut spare: Option<Dedicated> = None;
        loop {
            // Its turn lasts until the dial is done: many who wait for a link do not all dial at once.
            let Admission { link, flight, ticket, turn, baton } = self.admission().await?;
            // Nothing of it goes over the link.
            drop((flight, baton));
            self.ticket = ticket;
            let kept = spare.take().filter(|spare| spare.epoch() == link.epoch() && !spare.is_lost());
            let made = match kept {
                Some(kept) => Ok(kept),
                None => self.dial(&link).await,
            };
            drop(turn);
            match made {
                Ok(made) if self.control.gate().publishes(made.epoch()) => return Ok(made),
                // Held, perhaps only for a moment: then it serves after all.
                Ok(made) => spare = Some(made),
                Err(NotMade::LinkOver) => {}
                Err(NotMade::DeadlinePassed) => return Err(self.give_up(Reason::DeadlinePassed, &link)),
                Err(NotMade::Failed(error)) => self.pause(error, &link).await?,
            }
        }
    }

    async fn admission(&mut self) -> Result<Admission, CommandError> {
        let mode = self.control.shared.commands.hold;
        let ask = Ask { kind: FlightKind::Plain, bytes: 0, mode, deadline: self.due, ticket: self.ticket };
        let admitted = self.control.gate().admit(ask, &mut self.patience).await;
        admitted.map_err(|not_admitted| self.not_admitted(not_admitted))
    }

    async fn dial(&self, link: &Arc<Link>) -> Result<Dedicated, NotMade> {
        let (control, lifeline, published) = (Arc::clone(self.control), Arc::clone(&self.lifeline), Arc::clone(link));
        let dialling = async move {
            let ended = control.ended.clone();
            tokio::select! {
                biased;
                () = ended.cancelled() => Err(NotMade::LinkOver),
                () = published.ledger().over() => Err(NotMade::LinkOver),
                dialled = control.aside.dial(published.epoch(), published.address().clone()) => match dialled {
                    Ok(own) => Ok(tied(&control, own, &published, lifeline)),
                    Err(error) => Err(NotMade::Failed(error)),
                },
            }
        };
        let dialling = AbortOnDropHandle::new(self.control.tasks.spawn_on(dialling, &self.control.runtime));
        let dialled = match self.due {
            Some(due) => timeout_at(due, dialling).await.map_err(|_| NotMade::DeadlinePassed)?,
            None => dialling.await,
        };
        dialled.unwrap_or_else(|_| {
            let detail = "the dial panicked, or its runtime ended";
            Err(NotMade::Failed(DialError::new(FailureKind::Other, link.address(), detail)))
        })
    }

    /// Waits until another dial is due. What fails in passing is a sign that the link will be over soon, and the tether is
    /// told to ask.
    async fn pause(&mut self, error: DialError, link: &Link) -> Result<(), CommandError> {
        let (kind, now) = (error.kind(), Instant::now());
        self.failures.last = Some(error);
        if !passes(kind) || self.control.shared.commands.hold == HoldMode::FailFast {
            return Err(self.give_up(Reason::NotDialled, link));
        }
        self.control.reports.send(ConnectionMsg::Doubted { epoch: link.epoch() });
        let delay = self.delay(now);
        if self.due.is_some_and(|due| due <= now + delay) {
            return Err(self.give_up(Reason::NotDialled, link));
        }
        tokio::select! {
            biased;
            () = link.ledger().over() => {}
            () = self.control.gate().stopped() => {}
            () = sleep(delay) => {}
        }
        Ok(())
    }

    /// At the pace of the tether's own dials where somebody accepted and then said no, and jittered likewise: one tether may
    /// have many callers at this.
    fn delay(&mut self, now: Instant) -> Duration {
        let pace = &self.control.settings.pacing.rejected;
        let age = now.saturating_duration_since(*self.failures.first.get_or_insert(now));
        let longest = pace.cap(self.failures.number, age);
        self.failures.number = self.failures.number.saturating_add(1);
        let shortest = pace.floor(longest);
        shortest + (longest - shortest).mul_f64(self.control.fork_rng().f64())
    }

    fn give_up(&self, reason: Reason, link: &Link) -> CommandError {
        let cause = self.failures.last.as_ref().map(ToString::to_string);
        let facts = Facts::new(Outcome::NotSent, reason, &self.control.shared.endpoint);
        self.control.shared.fail(Facts { epoch: Some(link.epoch()), cause, ..facts })
    }

    fn not_admitted(&self, NotAdmitted { reason, outage }: NotAdmitted) -> CommandError {
        let cause = outage.failure.as_deref().map(str::to_owned);
        self.control.shared.fail(Facts {
            down_for: outage.down_for,
            held: outage.held,
            state: outage.state.map(|state| state.to_string()),
            failed_rounds: outage.failed_rounds,
            cause: cause.or_else(|| self.failures.last.as_ref().map(ToString::to_string)),
            ..Facts::new(Outcome::NotSent, reason, &self.control.shared.endpoint)
        })
    }
}

/// Nobody's yet, and tied already.
fn tied(control: &Arc<Control>, own: Link, published: &Link, lifeline: Arc<dyn Any + Send + Sync>) -> Dedicated {
    let (link, books) = (Arc::clone(published.ledger()), Arc::clone(own.ledger()));
    let tie = Tie::bind(control, link, books, own.address().clone(), own.retirement());
    Dedicated::new(Arc::new(Own { link: own, tie, control: Arc::clone(control), lifeline }))
}

/// Whether another dial may fare better, here or at the next primary.
fn passes(kind: FailureKind) -> bool {
    match kind {
        FailureKind::Refused
        | FailureKind::Unreachable
        | FailureKind::TimedOut
        | FailureKind::Reset
        | FailureKind::Closed
        | FailureKind::Loading
        | FailureKind::NotPrimary
        | FailureKind::NotReplica
        | FailureKind::OutOfSync => true,
        FailureKind::MaxClients
        | FailureKind::Auth
        | FailureKind::Denied
        | FailureKind::Tls
        | FailureKind::Protocol
        | FailureKind::Resolve
        | FailureKind::Config
        | FailureKind::Other => false,
        _ => false,
    }
}
