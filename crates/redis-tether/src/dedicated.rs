//! A dedicated connection for what a shared link cannot carry: made beside the published link (`dedicated/making.rs`), tied to
//! it (`dedicated/tie.rs`), and over when it is. Nothing sent over it is held or sent again. It can be made one for
//! subscriptions (`dedicated/subscription.rs`).

mod command;
mod lost;
mod making;
mod subscription;
mod tie;

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{ConnectionLike, PubSub};
use redis::{Cmd, Pipeline, RedisFuture, RedisResult, Value};
use redis_tether_core::{Address, Epoch};

pub use self::lost::{Loss, Lost};

use self::command::{Refused, demand_of_all_own, demand_of_own};
use self::tie::Tie;
use crate::control::Control;
use crate::handle::clock::Clock;
use crate::handle::command::Demand;
use crate::handle::flight_kind;
use crate::handle::request::{Many, One, Request};
use crate::handle::way::{Carried, LinkFacts, Trouble, Way, What};
use crate::ledger::LinkEnd;
use crate::link::Link;
use crate::outcome::{CommandError, Facts, Outcome, Reason};

/// A dedicated connection on the current primary, made by [`Tether::dedicated`](crate::Tether::dedicated): for `WATCH`,
/// blocking commands, `SELECT` and whatever else speaks of the connection. Clones are the same connection; it is closed when
/// the last of them is dropped.
///
/// It is a [`ConnectionLike`], as a [`Handle`](crate::Handle) is, with these differences:
/// - No command is held and none is sent again: `WATCH` and `SELECT` of a connection that is gone are gone with it. A server's
///   replies are handed out as they came, `READONLY` and the like as well. (The tether hears of those all the same.)
/// - It carries all that has one reply for each command: what changes the connection (`SELECT`, `CLIENT SETNAME`, `AUTH`,
///   `HELLO`, `RESET`, `ASKING`), and transactions of `WATCH`, `MULTI` and `EXEC` in single commands. `QUIT` ends it.
/// - It is signed in with the credentials of the moment at which it is made. Where these change it is left alone, since an `AUTH` of
///   ours would get into a `MULTI` of yours; servers keep whoever is signed in.
/// - [`get_db`](ConnectionLike::get_db) gives the configured database, whatever was selected since.
///
/// # When it is over
/// It is tied to the epoch of the tether's link. When the tether moves to another primary, makes a fresh link (also one that
/// replaces a link to the same server), loses its link or is shut down, the connection is [lost](Dedicated::lost): it takes no
/// commands from that moment on. What is in flight may finish within the drain limit (5 s) if the server is well, and
/// is ambiguous if it is not; blocking commands are not waited for. Then it is closed. While the tether is merely suspicious of
/// its link, the connection stays. Make another one then: `dedicated()` waits for the new primary.
///
/// A server that hangs is noticed by the tether's own link, so a `BLPOP key 0` over this connection does not wait for it for
/// ever, nor does it keep the tether from noticing. What happens to this connection alone (a balancer that
/// forgets it) shows by the transport's limits (`tcp_user_timeout`, keepalive), or when a command runs into its deadline and
/// nothing was read for as long as [`dead_after`](crate::DetectionSettings::dead_after) (5 s): then it is given up.
///
/// # Deadlines
/// Each command has the configuration's (5 s), or that of [`with_deadline`](Dedicated::with_deadline); blocking commands their
/// own timeout on top. One that blocks for ever waits until the connection is over.
///
/// # Errors
/// [`CommandError`](crate::CommandError)s inside the `redis::RedisError`, as with a handle: `NotSent` once the connection is
/// lost, `Ambiguous` if it was lost before the reply. Refused are `SUBSCRIBE` and its kin (see
/// [`into_pub_sub`](Dedicated::into_pub_sub)), `MONITOR`, `SYNC`, `PSYNC`, `REPLCONF`, `SCRIPT DEBUG`, `CLIENT REPLY`, and
/// commands set to no response: replies could not be told apart any more. (For `MONITOR`, redis 1.8 has a connection that only its own
/// client can make: `redis::Client::get_async_monitor`.) Invalidations of `CLIENT TRACKING` are handed to nobody here; with
/// `REDIRECT` they come to a subscription.
///
/// # Panics
/// As a [`Handle`](crate::Handle): where it has to wait outside a tokio runtime whose timers are enabled.
///
/// # Cancel safety
/// A command whose future is dropped may or may not be executed. The server is at it still if it is a blocking one, and
/// commands behind it wait for that: drop the connection to be rid of it.
#[derive(Clone)]
#[must_use = "it is closed when it is dropped"]
pub struct Dedicated {
    own: Arc<Own>,
    way: Way,
    deadline: Duration,
}

/// What the clones share. Dropping it closes the connection.
struct Own {
    link: Link,
    tie: Arc<Tie>,
    control: Arc<Control>,
    // What must live as long as any connection does. It is kept, and never looked at.
    lifeline: Arc<dyn Any + Send + Sync>,
}

impl Dedicated {
    fn new(own: Arc<Own>) -> Dedicated {
        let (way, deadline) = (Way::over(&own.link), own.control.shared.commands.deadline);
        Dedicated { own, way, deadline }
    }

    /// This connection with another deadline for each command that is sent through this clone of it. Default: the
    /// configuration's, 5 s unless it says otherwise.
    pub fn with_deadline(mut self, deadline: Duration) -> Dedicated {
        self.deadline = deadline;
        self
    }

    /// Waits until the connection takes no commands any more, and says why. Returns at once if that is so already.
    ///
    /// Cancel safe; any number may wait.
    pub async fn lost(&self) -> Lost {
        self.own.tie.until_lost().await.clone()
    }

    /// Whether the connection takes no commands any more.
    #[must_use]
    pub fn is_lost(&self) -> bool {
        self.own.tie.lost().is_some()
    }

    /// The epoch of the link that it is tied to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.own.link.epoch()
    }

    /// The server that it leads to.
    #[must_use]
    pub fn address(&self) -> &Address {
        self.own.link.address()
    }

    /// Makes the connection one for subscriptions, signed in and verified as it is, with RESP2 and RESP3 alike. It stays tied
    /// to its epoch: when that is over, the stream of messages ends, and it is time for another connection.
    ///
    /// Messages that are published while there is no subscription are lost, as Redis has it; so are those of a moment in which
    /// one primary follows another. Silence is normal here: a connection that broke without a word, while the tether's
    /// own link to that server is well, is noticed by keepalive (30 s as configured by default). Whoever must know sooner sends
    /// [`PubSub::ping`] now and then, with a limit: the methods of `PubSub` have no deadline, but end with the connection.
    ///
    /// Clones of this connection take no commands any more. What they have in flight is waited for first, but for blocking
    /// commands, which end at once as ambiguous.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use redis_tether::{Reason, Tether};
    /// use futures_util::StreamExt;
    ///
    /// # async fn example(tether: Tether) {
    /// loop {
    ///     // Waits for a primary; fails when the hold window is over, or the tether was shut down.
    ///     let subscribed = async {
    ///         let mut pub_sub = tether.dedicated().await?.into_pub_sub().await?;
    ///         pub_sub.subscribe("news").await?;
    ///         Ok::<_, redis_tether::redis::RedisError>(pub_sub)
    ///     };
    ///     match subscribed.await {
    ///         Ok(mut pub_sub) => {
    ///             let mut messages = pub_sub.on_message();
    ///             while let Some(message) = messages.next().await {
    ///                 println!("{}", message.get_channel_name());
    ///             }
    ///             // The connection is over: once more.
    ///         }
    ///         Err(error) => {
    ///             println!("{error}");
    ///             if tether.status().borrow().phase == redis_tether::Phase::Stopped {
    ///                 return;
    ///             }
    ///             tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    ///         }
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`NotSent`](Outcome::NotSent) if the connection is over, or if it was busy for longer than the deadline: behind a blocking
    /// command whose caller went away, for instance. It is closed then.
    ///
    /// # Panics
    /// As any command.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection, if there are no clones of it.
    pub async fn into_pub_sub(self) -> Result<PubSub, CommandError> {
        subscription::begin(self).await
    }

    async fn run<R: Request>(&mut self, request: R, demand: Result<Demand, Refused>) -> RedisResult<R::Reply> {
        let demand = demand.map_err(|Refused { command, hint }| {
            self.fail(Facts::new(Outcome::NotSent, Reason::NotOnDedicated { command, hint }, self.endpoint()))
        })?;
        // Entered before the tie is looked at: either its drain sees the command, or we see that it is over.
        let flight = self.way.ledger.begin(flight_kind(demand));
        if let Some(lost) = self.own.tie.lost() {
            return Err(self.over(lost).into());
        }
        let mut clock = Clock::new(self.deadline, demand);
        let carrying = self.way.carry(request, flight, None, &mut clock, &self.own.control.shared.counters);
        let carried = match demand {
            Demand::Blocking(_) => tokio::select! {
                biased;
                carried = carrying => Some(carried),
                // It is not waited for, and whether it took anything nobody can tell.
                _ = self.own.tie.until_lost() => None,
            },
            _ => Some(carrying.await),
        };
        match carried {
            Some(Carried::Answer(reply)) => reply,
            Some(Carried::Trouble(trouble)) => self.consider(trouble),
            None => Err(self.cut().into()),
        }
    }

    fn consider<T>(&self, Trouble { link, what }: Trouble<T>) -> RedisResult<T> {
        Err(match what {
            What::Shortly(reply) => return reply,
            What::Elsewhere(refusal, reply) | What::WrongServer(refusal, reply) => {
                self.own.control.shared.report(link.epoch, refusal);
                return reply;
            }
            What::HalfRun(refusal, words) => {
                self.own.control.shared.report(link.epoch, refusal);
                let facts = self.on_link(Outcome::Ambiguous, Reason::RefusedInScript, link);
                self.fail(Facts { cause: Some(words), ..facts })
            }
            What::Unbegun(refusal, words) => {
                refusal.into_iter().for_each(|refusal| self.own.control.shared.report(link.epoch, refusal));
                let facts = self.on_link(Outcome::Ambiguous, Reason::MultiRefused, link);
                self.fail(Facts { cause: Some(words), ..facts })
            }
            What::NeverLeft => self.fail(self.on_link(Outcome::NotSent, Reason::LinkLost, link)),
            What::Lost => self.fail(self.on_link(Outcome::Ambiguous, Reason::LinkLost, link)),
            What::Unsent => self.fail(self.on_link(Outcome::NotSent, Reason::DeadlinePassed, link)),
            What::Overdue => {
                let dead_after = self.own.control.config.detection.dead_after;
                if link.silent_for.is_some_and(|silent_for| silent_for >= dead_after) {
                    self.own.link.abort(LinkEnd::Mute);
                }
                self.fail(self.on_link(Outcome::Ambiguous, Reason::DeadlinePassed, link))
            }
        }
        .into())
    }

    fn over(&self, lost: &Lost) -> CommandError {
        let reason = if lost.loss() == Loss::Stopped { Reason::Stopped } else { Reason::ConnectionOver };
        let facts = Facts::new(Outcome::NotSent, reason, self.endpoint());
        self.fail(Facts { epoch: Some(self.epoch()), cause: Some(lost.brief()), ..facts })
    }

    fn cut(&self) -> CommandError {
        let facts = Facts::new(Outcome::Ambiguous, Reason::LinkLost, self.endpoint());
        let cause = self.own.tie.lost().map(Lost::brief);
        self.fail(Facts { epoch: Some(self.epoch()), times_sent: 1, cause, ..facts })
    }

    fn on_link(&self, outcome: Outcome, reason: Reason, link: LinkFacts) -> Facts {
        Facts {
            epoch: Some(link.epoch),
            silent_for: link.silent_for,
            in_flight: link.in_flight,
            times_sent: u32::from(outcome != Outcome::NotSent),
            cause: self.own.tie.lost().map(Lost::brief).or(link.end),
            ..Facts::new(outcome, reason, self.endpoint())
        }
    }

    fn endpoint(&self) -> &Arc<str> {
        &self.own.control.shared.endpoint
    }

    fn fail(&self, facts: Facts) -> CommandError {
        self.own.control.shared.fail(facts)
    }
}

impl ConnectionLike for Dedicated {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(self.run(One(cmd), demand_of_own(cmd)))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let many = Many { pipeline, offset, count };
        Box::pin(self.run(many, demand_of_all_own(many)))
    }

    fn get_db(&self) -> i64 {
        self.own.control.shared.db
    }
}

impl fmt::Debug for Dedicated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dedicated")
            .field("epoch", &self.epoch())
            .field("address", self.address())
            .field("lost", &self.own.tie.lost())
            .finish_non_exhaustive()
    }
}
