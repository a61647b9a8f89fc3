//! Everything at once, for as long as one likes: a crowd of callers sends all kinds of commands through shared handles to
//! real servers, while the network (`network.rs`) and the servers (`servers.rs`) fail at random. Then what each caller was
//! told (`calls.rs`) is held against what each server executed (`history.rs`), by the rules in `judge.rs`.
//!
//! Beside it, `kills.rs` measures what one SIGKILL costs.
//!
//! `CHAOS_SEED=17` makes the same choices again (real servers and threads keep their own time), `CHAOS_SECONDS=300` goes on
//! for so long.

// The seed, and what a run has met, are printed for people.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod calls;
mod crowd;
mod history;
mod judge;
mod kills;
mod network;
mod nodes;
mod run;
mod servers;

use redis_tether_testkit::ServerKind;
use redis_tether_tests::on_each_server;

use crate::servers::Losses;

on_each_server!(on several threads: without_loss, with_failovers_that_may_lose);

/// Cuts, stalls, restarts, demotions of a primary whose replica has caught up: whatever was acknowledged is there.
async fn without_loss(kind: ServerKind) {
    run::run(kind, Losses::None).await;
}

/// Failovers to a replica that may not have everything, too. What was acknowledged and is gone was executed by a server
/// whose history ended there, and by no other.
async fn with_failovers_that_may_lose(kind: ServerKind) {
    run::run(kind, Losses::AtFailovers).await;
}
