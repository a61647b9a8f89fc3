//! What sentinels say, and what becomes of it: scripted ones that lie, disagree, lag, say nothing or are none at all, on a
//! network in memory and a clock that stands still in between. What real ones do is in `sentinels.rs`.

mod credentials;
mod errors;
mod moves;
mod tls;
mod world;
