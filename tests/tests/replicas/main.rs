//! Reads that go to replicas: which server is asked shows by what each of them counts.

mod credentials;
mod faults;
mod reader;
mod reads;
mod sentinel;
mod tls;
mod world;
