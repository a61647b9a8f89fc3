//! Crowds: many callers of one tether, while its primary changes (`planned.rs`), while there is none and nobody wants to wait
//! (`fail_fast.rs`), and while there is none and all of them wait (`waiting.rs`).
//!
//! What is counted is asserted wherever the tests run. What is timed is printed (`--nocapture`), and asserted in the full
//! sizes only (`cargo test --release -- --ignored`), which want a machine to themselves.

mod fail_fast;
mod figures;
mod planned;
mod waiting;

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use redis_tether::redis::{Cmd, RedisResult, Value};
use tokio::runtime::Builder;

/// One crowd at a time: two would share the processor and the process's memory, and neither would show what it does.
static ALONE: Mutex<()> = Mutex::new(());

fn on_a_runtime(test: impl Future<Output = ()>) {
    alone_on(Builder::new_multi_thread().worker_threads(2), test);
}

fn on_one_thread(test: impl Future<Output = ()>) {
    alone_on(&mut Builder::new_current_thread(), test);
}

fn in_virtual_time(test: impl Future<Output = ()>) {
    alone_on(Builder::new_current_thread().start_paused(true), test);
}

fn alone_on(runtime: &mut Builder, test: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    runtime.enable_all().build().expect("a runtime").block_on(test);
}

/// The command of these words.
fn words(words: &[&str]) -> Cmd {
    let mut cmd = Cmd::new();
    cmd.arg(words);
    cmd
}

type Call = Pin<Box<dyn Future<Output = RedisResult<Value>> + Send>>;

/// Lets it come to the gate, in this very moment.
async fn arrives(call: &mut Call) -> Poll<RedisResult<Value>> {
    poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await
}
