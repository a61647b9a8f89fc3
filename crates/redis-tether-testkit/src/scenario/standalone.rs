//! The scenarios of a primary behind a DNS name, step by step. What a step does to a server is in `node.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tokio::time::{Duration, Instant, sleep_until};

use super::Scenario;
use super::client::Client;
use super::observer::Observer;
use super::play::{self, Course, Drama, ScenarioError, count, fault, mended};
use super::report::Report;
use super::stage::Stage;
use super::timings::Timings;

/// What the password is changed to for a while.
const OTHER_PASSWORD: &str = "second-password";

impl Stage {
    /// Plays the scenario that the stage is set for, once, while `client` writes every [`period`](Timings::period).
    ///
    /// It takes as long as its [`Timings`] say, at most [`patience`](Timings::patience) longer for a client that does not
    /// recover; that is no error. Not cancel safe: a stage on which a scenario was begun is not as it was set.
    ///
    /// # Errors
    /// Where a server or the machine does not do its part.
    pub async fn play(
        &self,
        timings: &Timings,
        client: &mut impl Client,
        observer: &impl Observer,
    ) -> Result<Report, ScenarioError> {
        play::play(&mut &*self, timings, client, observer).await
    }

    async fn fail_over(&self, fault: Instant, observer: &impl Observer) -> Result<Course, ScenarioError> {
        self.last_primary().promote().await?;
        Ok(self.move_name(fault, Instant::now(), observer))
    }

    fn move_name(&self, fault: Instant, new_order: Instant, observer: &impl Observer) -> Course {
        let new = self.last_primary();
        self.point_name_at(new);
        Course { new_order: Some(new_order), ..mended(fault, observer, "promoted, and DNS moved to it", new.addr()) }
    }

    async fn take_down(&self, time: Duration, observer: &impl Observer) -> Result<Course, ScenarioError> {
        let node = self.first_primary();
        let fault = fault(observer, "killed", node.addr());
        node.kill().await?;
        sleep_until(fault + time).await;
        node.restart().await?;
        Ok(mended(fault, observer, "back at the same address", node.addr()))
    }
}

impl Drama for &Stage {
    fn name(&self) -> &'static str {
        self.scenario().name()
    }

    fn primary(&self) -> SocketAddr {
        self.first_primary().addr()
    }

    async fn strike_and_mend(&mut self, timings: &Timings, observer: &impl Observer) -> Result<Course, ScenarioError> {
        let old = self.first_primary();
        let strike = |what| fault(observer, what, old.addr());
        match self.scenario() {
            Scenario::Crash => {
                let fault = strike("killed");
                old.kill().await?;
                sleep_until(fault + timings.promote_after).await;
                self.fail_over(fault, observer).await
            }
            Scenario::Hang => {
                let fault = strike("frozen");
                old.freeze().await?;
                sleep_until(fault + timings.promote_after).await;
                self.fail_over(fault, observer).await
            }
            Scenario::Demote => {
                let fault = strike("demoted: the replica is promoted, and this becomes its replica");
                let new = self.last_primary();
                new.promote().await?;
                let new_order = Instant::now();
                old.demote_to(new).await?;
                Ok(self.move_name(fault, new_order, observer))
            }
            Scenario::Move => {
                let fault = strike("replaced: the replica is promoted, and this still takes writes");
                self.fail_over(fault, observer).await
            }
            Scenario::Restart => self.take_down(timings.restart_after, observer).await,
            Scenario::Outage => self.take_down(timings.outage, observer).await,
            Scenario::Auth => {
                let password = self.password().unwrap_or_default();
                let fault = strike("password changed and clients killed");
                old.set_password(OTHER_PASSWORD).await?;
                old.kill_clients().await?;
                sleep_until(fault + timings.password_away).await;
                old.set_password(password).await?;
                Ok(mended(fault, observer, "the old password is back", old.addr()))
            }
            Scenario::Slow => {
                let fault = strike("busy, as with a slow script");
                old.keep_busy(timings.script).await?;
                Ok(mended(fault, observer, "it answers again", old.addr()))
            }
        }
    }

    async fn arrived(&self, writes: &[u64]) -> Result<Option<Vec<bool>>, ScenarioError> {
        if !self.scenario().is_failover() {
            return Ok(None);
        }
        self.last_primary().has(writes).await.map(Some)
    }

    fn repeated(&self) -> Option<u64> {
        let nodes = if self.scenario().is_failover() {
            vec![self.first_primary(), self.last_primary()]
        } else {
            vec![self.first_primary()]
        };
        let mut times = BTreeMap::<Vec<u8>, u64>::new();
        for node in nodes {
            for value in node.written_values()? {
                *times.entry(value).or_default() += 1;
            }
        }
        Some(count(times.into_values().filter(|times| *times > 1)))
    }
}
