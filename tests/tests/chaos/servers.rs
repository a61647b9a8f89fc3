//! What happens to the servers: stalls, restarts, demotions and failovers, one after the other, each seen through until there
//! is a primary with a replica again. Where a failover cuts a server's history off, what it had executed beyond is kept
//! for the judge.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::judge::Branch;
use crate::network::Struck;
use crate::nodes::Nodes;

/// Between two faults at most.
const PAUSE: Duration = Duration::from_millis(1_000);

/// What faults there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Losses {
    /// Those after which all data is still there.
    None,
    /// These, and failovers to a replica that may not have everything.
    AtFailovers,
}

/// What strikes the servers of one run.
pub(crate) struct Mischief<'a> {
    nodes: &'a mut Nodes,
    rng: fastrand::Rng,
    struck: Struck,
    branches: Vec<Branch>,
}

impl<'a> Mischief<'a> {
    pub(crate) fn new(nodes: &'a mut Nodes, rng: fastrand::Rng) -> Mischief<'a> {
        Mischief { nodes, rng, struck: Struck::new(), branches: Vec::new() }
    }

    /// Strikes until `end`, and leaves the servers well. Returns how often each fault struck, and what was cut off.
    pub(crate) async fn strike_until(mut self, end: Instant, losses: Losses) -> (Struck, Vec<Branch>) {
        while Instant::now() < end {
            let pause = self.random_below(PAUSE);
            sleep_until(end.min(Instant::now() + pause)).await;
            let fault = match losses {
                Losses::AtFailovers if self.rng.bool() => self.fail_over().await,
                _ => self.strike_without_loss().await,
            };
            *self.struck.entry(fault).or_default() += 1;
            self.nodes.settle().await;
        }
        (self.struck, self.branches)
    }

    async fn strike_without_loss(&mut self) -> &'static str {
        match self.rng.u8(..6) {
            0 => {
                self.stall(Duration::from_millis(800)).await;
                "stall"
            }
            1 => {
                self.stall(Duration::from_millis(3_000)).await;
                "long stall"
            }
            2 | 3 => {
                let away = self.random_below(Duration::from_millis(1_000));
                self.nodes.primary().kill().await.expect("killed");
                sleep(away).await;
                self.nodes.primary().restart().await.expect("the server comes back");
                "restart"
            }
            4 => {
                self.nodes.hand_over().await;
                self.move_name().await;
                "demotion"
            }
            _ => {
                if self.rng.bool() {
                    self.nodes.point_name_at_both();
                }
                self.nodes.hand_over_by_command().await;
                self.move_name().await;
                "failover by command"
            }
        }
    }

    /// To a replica that may lag.
    async fn fail_over(&mut self) -> &'static str {
        let (before, after) =
            (self.random_below(Duration::from_millis(800)), self.random_below(Duration::from_secs(2)));
        if self.rng.bool() {
            // It comes back after a second; what is written until then is what it does not have.
            self.nodes.cut_replica_off().await;
            let lag = self.random_below(Duration::from_millis(800));
            sleep(lag).await;
        }
        let fault = match self.rng.u8(..4) {
            0 | 1 => {
                self.nodes.primary().kill().await.expect("killed");
                "crash and failover"
            }
            2 => {
                self.nodes.primary().freeze().await.expect("frozen");
                "hang and failover"
            }
            _ => "failover from a primary that is well",
        };
        sleep(before).await;
        let common = self.nodes.promote_replica().await;
        self.nodes.point_name_at_primary();
        sleep(after).await;
        let old = self.nodes.replica();
        match fault {
            "crash and failover" => old.restart().await.expect("the old primary comes back"),
            "hang and failover" => old.thaw().expect("the old primary goes on"),
            _ => {}
        }
        let branch = self.nodes.demote_old(common).await;
        self.branches.push(branch);
        fault
    }

    async fn stall(&mut self, longest: Duration) {
        let time = self.random_below(longest);
        self.nodes.primary().freeze().await.expect("frozen");
        sleep(time).await;
        self.nodes.primary().thaw().expect("thawed");
    }

    async fn move_name(&mut self) {
        let later = self.random_below(Duration::from_millis(600));
        sleep(later).await;
        self.nodes.point_name_at_primary();
    }

    fn random_below(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.rng.f64())
    }
}
