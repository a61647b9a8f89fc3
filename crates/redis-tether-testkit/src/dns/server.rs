//! A DNS server on the loopback, over UDP and TCP, for resolvers that send packets. Tests script its answers as they do those
//! of [`Dns`](super::Dns), with times to live, services and aliases besides.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use super::key;
use super::wire::{Code, Data, Kind, Question, Record};
use crate::wait::{Signal, TimedOut};

/// How often it looks for a port that is free for both protocols.
const ATTEMPTS: usize = 20;

/// Aliases of aliases are followed so far, as by a resolver that recurses.
const LONGEST_CHAIN: usize = 8;

/// A DNS server. It ends when it is dropped.
///
/// A name that was never set does not exist (`NXDOMAIN`). Names are compared without regard to case and to a trailing dot.
/// What is set is what the next question gets.
///
/// ```
/// # use std::time::Duration;
/// # use redis_tether_testkit::DnsServer;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// let dns = DnsServer::start().await?;
/// dns.set("redis.test", Duration::from_secs(30), vec!["127.0.0.2".parse().unwrap()]);
/// println!("ask {}", dns.addr());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct DnsServer {
    addr: SocketAddr,
    table: Arc<Table>,
    _tasks: JoinSet<()>,
}

/// Where a service is: what an SRV record says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Srv {
    priority: u16,
    weight: u16,
    port: u16,
    target: String,
}

impl Srv {
    /// A service at `target`, with the lowest priority number of all and no weight.
    pub fn new(target: &str, port: u16) -> Srv {
        Srv { priority: 0, weight: 0, port, target: key(target) }
    }

    /// Those of a lower number go first.
    #[must_use]
    pub fn with_priority(self, priority: u16) -> Srv {
        Srv { priority, ..self }
    }

    /// Among those of one priority.
    #[must_use]
    pub fn with_weight(self, weight: u16) -> Srv {
        Srv { weight, ..self }
    }
}

#[derive(Debug, Default)]
struct Table {
    names: Mutex<BTreeMap<String, Entry>>,
    asked: Signal,
}

#[derive(Debug, Default)]
struct Entry {
    manner: Manner,
    /// Those that are given in turn.
    answers: Vec<Vec<(Duration, Data)>>,
    next: usize,
    delay: Duration,
    lookups: u64,
}

/// How a name is answered for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Manner {
    #[default]
    Missing,
    Truly,
    OverTcp,
    Forged,
    Garbled,
    Failing,
    Mute,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    Udp,
    Tcp,
}

impl DnsServer {
    /// Listens on a port of 127.0.0.1 that is free for UDP and TCP.
    ///
    /// # Errors
    /// When there is none.
    pub async fn start() -> io::Result<DnsServer> {
        let (tcp, udp) = bind().await?;
        let addr = udp.local_addr()?;
        let table = Arc::new(Table::default());
        let mut tasks = JoinSet::new();
        tasks.spawn(over_udp(udp, table.clone()));
        tasks.spawn(over_tcp(tcp, table.clone()));
        Ok(DnsServer { addr, table, _tasks: tasks })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on `name` has these addresses. With none it exists all the same. TTLs are in whole seconds.
    pub fn set(&self, name: &str, ttl: Duration, addresses: Vec<IpAddr>) {
        self.rotate(name, ttl, vec![addresses]);
    }

    /// From now on every lookup of `name` gets the next of these answers, and the first again after the last.
    pub fn rotate(&self, name: &str, ttl: Duration, answers: Vec<Vec<IpAddr>>) {
        let said = |addresses: Vec<IpAddr>| addresses.into_iter().map(|ip| (ttl, Data::Ip(ip))).collect();
        self.say(name, answers.into_iter().map(said).collect());
    }

    /// From now on `name` is a service at these places.
    pub fn set_srv(&self, name: &str, ttl: Duration, places: Vec<Srv>) {
        let said = |Srv { priority, weight, port, target }| (ttl, Data::Srv { priority, weight, port, target });
        self.say(name, vec![places.into_iter().map(said).collect()]);
    }

    /// From now on `name` is another name for `target`, whose records are in the answer, as a resolver that recurses gives it.
    pub fn alias(&self, name: &str, ttl: Duration, target: &str) {
        self.say(name, vec![vec![(ttl, Data::Alias(key(target)))]]);
    }

    /// From now on `name` does not exist.
    pub fn remove(&self, name: &str) {
        self.behave(name, Manner::Missing);
    }

    /// From now on questions about `name` are answered with `SERVFAIL`.
    pub fn fail(&self, name: &str) {
        self.behave(name, Manner::Failing);
    }

    /// From now on questions about `name` are dropped.
    pub fn mute(&self, name: &str) {
        self.behave(name, Manner::Mute);
    }

    /// From now on answers about `name` carry the number of another question, as those of somebody who guesses would.
    pub fn forge(&self, name: &str) {
        self.behave(name, Manner::Forged);
    }

    /// From now on answers about `name` are no DNS messages.
    pub fn garble(&self, name: &str) {
        self.behave(name, Manner::Garbled);
    }

    /// From now on what is said of `name` is said over TCP alone; over UDP, that it is too long.
    pub fn truncate(&self, name: &str) {
        self.behave(name, Manner::OverTcp);
    }

    /// From now on an answer about `name` takes this long. Default: zero. It is the one that is set when the question comes.
    pub fn delay(&self, name: &str, delay: Duration) {
        self.table.with(&key(name), |entry| entry.delay = delay);
    }

    /// How often `name` was asked about so far. Both families of addresses count as one question.
    pub fn lookups(&self, name: &str) -> u64 {
        self.table.with(&key(name), |entry| entry.lookups)
    }

    /// Waits until `name` was asked about `count` times altogether.
    ///
    /// # Errors
    /// When [`WAIT_LIMIT`](crate::WAIT_LIMIT) has passed.
    pub async fn looked_up(&self, name: &str, count: u64) -> Result<(), TimedOut> {
        let what = || format!("the questions about {name}");
        self.table.asked.until_at_least(what, count, || self.lookups(name)).await
    }

    fn say(&self, name: &str, answers: Vec<Vec<(Duration, Data)>>) {
        self.table.with(&key(name), |entry| {
            (entry.manner, entry.answers, entry.next) = (Manner::Truly, answers, 0);
        });
    }

    fn behave(&self, name: &str, manner: Manner) {
        self.table.with(&key(name), |entry| entry.manner = manner);
    }
}

impl Table {
    fn names(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, key: &str, act: impl FnOnce(&mut Entry) -> T) -> T {
        act(self.names().entry(key.to_owned()).or_default())
    }

    /// What is said to a question, if anything, and how late.
    fn answer(&self, question: &Question, over: Over) -> (Duration, Option<Vec<u8>>) {
        let is_counted = question.kind != Kind::Aaaa;
        let (manner, delay) = self.with(&question.name, |entry| {
            entry.lookups += u64::from(is_counted);
            (entry.manner, entry.delay)
        });
        let answer = match manner {
            Manner::Mute => None,
            Manner::Missing => Some(question.answer(Code::NxDomain, &[])),
            Manner::Failing => Some(question.answer(Code::ServFail, &[])),
            Manner::Garbled => Some(b"-ERR this is no name server\r\n".to_vec()),
            Manner::OverTcp if over == Over::Udp => Some(question.truncated()),
            Manner::Forged => Some(question.forged(&self.records(question))),
            Manner::Truly | Manner::OverTcp => Some(question.answer(Code::NoError, &self.records(question))),
        };
        self.asked.raise();
        (delay, answer)
    }

    fn records(&self, question: &Question) -> Vec<Record> {
        let (mut records, mut name) = (Vec::new(), question.name.clone());
        for _ in 0..LONGEST_CHAIN {
            let said = self.with(&name, |entry| entry.say(question.kind));
            let alias = said.iter().find_map(|(_, data)| match data {
                Data::Alias(target) => Some(target.clone()),
                _ => None,
            });
            records.extend(said.into_iter().map(|(ttl, data)| Record { name: name.clone(), ttl, data }));
            match alias {
                Some(target) => name = target,
                None => break,
            }
        }
        records
    }
}

impl Entry {
    fn say(&mut self, kind: Kind) -> Vec<(Duration, Data)> {
        let Some(index) = self.next.checked_rem(self.answers.len()) else { return Vec::new() };
        // Both families of addresses are asked for, and one of them takes the turn.
        if kind != Kind::Aaaa {
            self.next = index + 1;
        }
        self.answers[index].iter().filter(|(_, data)| kind.wants(data)).cloned().collect()
    }
}

async fn bind() -> io::Result<(TcpListener, UdpSocket)> {
    let mut attempts = 1;
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((tcp, udp)),
            Err(error) if attempts == ATTEMPTS => return Err(error),
            Err(_) => attempts += 1,
        }
    }
}

async fn over_udp(socket: UdpSocket, table: Arc<Table>) {
    let (socket, mut answers) = (Arc::new(socket), JoinSet::new());
    let mut buffer = [0; 4096];
    loop {
        // Who has gone meanwhile is reported here (as ICMP has it), and no reason to stop.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let Some(question) = Question::read(&buffer[..length]) else { continue };
        let (delay, answer) = table.answer(&question, Over::Udp);
        let Some(answer) = answer else { continue };
        let socket = socket.clone();
        while answers.try_join_next().is_some() {}
        answers.spawn(async move {
            tokio::time::sleep(delay).await;
            let _ = socket.send_to(&answer, from).await;
        });
    }
}

async fn over_tcp(listener: TcpListener, table: Arc<Table>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        let table = table.clone();
        connections.spawn(async move {
            // It ends as the client wants.
            let _ = converse(stream, &table).await;
        });
    }
}

async fn converse(mut stream: TcpStream, table: &Table) -> io::Result<()> {
    loop {
        let mut message = vec![0; usize::from(stream.read_u16().await?)];
        stream.read_exact(&mut message).await?;
        let Some(question) = Question::read(&message) else { return Ok(()) };
        let (delay, answer) = table.answer(&question, Over::Tcp);
        tokio::time::sleep(delay).await;
        if let Some(answer) = answer {
            stream.write_u16(u16::try_from(answer.len()).map_err(io::Error::other)?).await?;
            stream.write_all(&answer).await?;
        }
    }
}
