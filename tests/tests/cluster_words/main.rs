//! What the nodes of a cluster say, and what becomes of it: scripted ones that lie, disagree, lag or send commands in circles, on a
//! network in memory and a clock that stands still in between. What real ones do is in `cluster/`.

mod endings;
mod holding;
mod maps;
mod members;
mod notices;
mod pipelines;
mod redirections;
mod scans;
mod world;
