//! Keeps one live link signed in, where credentials change: asks their source before they expire, and now and then whether they
//! have changed, and signs in with what is new over the link as it is. A refusal costs the link nothing, and is tried again at
//! the pace of rejections. Runs beside the probe, and ends with it.
//!
//! `AUTH` goes between the commands of callers as one of them: a transaction is one piece on a shared link, so it
//! is never in one. Connections of their own are not signed in anew, since a caller may have a `MULTI` open on one: `AUTH`
//! would be queued, and its reply come among those of the `EXEC`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};

use super::Control;
use crate::credentials::Occasion;
use crate::credentials::keyring::{Asked, Issued};
use crate::dial::setup::{SetupError, sign_in_again};
use crate::event::Event;
use crate::ledger::FlightKind;
use crate::link::Link;

/// The part of a lifetime after which a source is asked: a fifth of it is left to try again, and a fleet does not ask in step.
const DUE_AT: std::ops::Range<f64> = 0.7..0.8;

/// A source whose answers live for a moment is not asked more often than this.
const SHORTEST: Duration = Duration::from_millis(100);

/// How long to wait where a blocking command keeps the link from answering.
pub(super) const BLOCKED_FOR: Duration = Duration::from_secs(1);

/// Runs until the link is dead.
pub(super) async fn keep_signed_in(control: &Control, link: &Link, asked: &Arc<Asked>) {
    let mut renewal = Renewal { control, link, asked, interval: asked.check_interval(), rng: control.fork_rng() };
    let mut failures = Failures::default();
    let mut due = renewal.due();
    while !link.ledger().is_dead() {
        let Some(at) = due else { return };
        sleep_until(at).await;
        if link.ledger().blocked() {
            due = Some(Instant::now() + BLOCKED_FOR);
            continue;
        }
        due = match renewal.renew(failures.occasion).await {
            Ok(()) => {
                failures = Failures::default();
                renewal.due()
            }
            Err(NotRenewed::LinkOver) => return,
            Err(NotRenewed::NoCredentials) => Some(renewal.later(&mut failures)),
            Err(NotRenewed::Refused(error)) => {
                renewal.report(error.into(), &failures);
                failures.occasion = Occasion::Refused;
                Some(renewal.later(&mut failures))
            }
        };
    }
}

struct Renewal<'a> {
    control: &'a Control,
    link: &'a Link,
    asked: &'a Arc<Asked>,
    interval: Option<Duration>,
    rng: fastrand::Rng,
}

enum NotRenewed {
    LinkOver,
    /// The keyring has told why.
    NoCredentials,
    Refused(String),
}

/// Those since the link was signed in last.
struct Failures {
    first: Option<Instant>,
    number: u32,
    occasion: Occasion,
}

impl Default for Failures {
    fn default() -> Self {
        Failures { first: None, number: 0, occasion: Occasion::Renewal }
    }
}

impl Renewal<'_> {
    /// When to ask next; `None` where there is no reason to.
    fn due(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let part = DUE_AT.start + (DUE_AT.end - DUE_AT.start) * self.rng.f64();
        let expiry = self.link.signed_in().now().and_then(|issued| issued.aged(part));
        let check = self.interval.and_then(|interval| now.checked_add(interval));
        expiry.into_iter().chain(check).min().map(|due| due.max(now + SHORTEST))
    }

    async fn renew(&self, occasion: Occasion) -> Result<(), NotRenewed> {
        let issued = self.asked.ask(occasion).await.map_err(|_| NotRenewed::NoCredentials)?;
        let is_known = self.link.signed_in().now().is_some_and(|present| present.says_the_same_as(&issued));
        if !is_known {
            self.sign_in(&issued).await?;
            self.control.board.send(Event::Reauthenticated { epoch: self.link.epoch() });
        }
        self.link.signed_in().renew(issued);
        Ok(())
    }

    async fn sign_in(&self, issued: &Issued) -> Result<(), NotRenewed> {
        let (limit, mut multiplexer) = (self.control.config.dial.timeout, self.link.multiplexer());
        let mut flight = self.link.ledger().begin(FlightKind::Plain);
        let answer = timeout(limit, sign_in_again(&mut multiplexer, &issued.credentials)).await;
        match answer {
            Err(_) => return Err(NotRenewed::Refused(format!("AUTH was not answered in {limit:?}"))),
            Ok(Err(SetupError::Closed)) => return Err(NotRenewed::LinkOver),
            Ok(Ok(()) | Err(SetupError::Rejected(_))) => flight.answered(),
        }
        drop(flight);
        match answer {
            Ok(Err(SetupError::Rejected(rejection))) => {
                Err(NotRenewed::Refused(rejection.without(Some(issued.credentials.password())).line()))
            }
            _ => Ok(()),
        }
    }

    /// Each time to those who watch, and in the log once.
    fn report(&self, error: Arc<str>, before: &Failures) {
        self.control.board.update(|status| status.failed(&error));
        let event = Event::ReauthenticationFailed { epoch: self.link.epoch(), error };
        if before.occasion == Occasion::Renewal {
            tracing::warn!(endpoint = &*self.control.shared.endpoint, "{event}");
        }
        self.control.board.send(event);
    }

    /// At the pace of dials where somebody accepted and then said no.
    fn later(&mut self, failures: &mut Failures) -> Instant {
        let (pace, now) = (&self.control.settings.pacing.rejected, Instant::now());
        let age = now.saturating_duration_since(*failures.first.get_or_insert(now));
        let longest = pace.cap(failures.number, age);
        failures.number = failures.number.saturating_add(1);
        let shortest = pace.floor(longest);
        now + shortest + (longest - shortest).mul_f64(self.rng.f64())
    }
}
