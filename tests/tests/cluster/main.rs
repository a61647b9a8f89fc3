//! Clusters of real servers, under load: primaries that are killed, frozen or asked to step down, slots that move, nodes that are all
//! replaced, and what each kind of command does on several shards. One cluster at a time: six servers on as little as two cores.

mod chaos;
mod commands;
mod credentials;
mod defaults;
mod detours;
mod faults;
mod kills;
mod losses;
mod mistakes;
mod moves;
mod replicas;
mod scenarios;
mod tls;
mod world;
mod yardstick;
