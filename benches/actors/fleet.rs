//! A thousand tethers in one process, idle on one real server that they find by name: the memory and CPU time that they
//! take, how often they probe and how often they ask for the name. The fleet has a process of its own, so that no memory
//! that something else has given back passes for its own; another one, under valgrind, tells how much of it is heap.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use redis_tether::{Config, SystemResolver, Tether, redis};
use redis_tether_benches::peers::Error;
use redis_tether_benches::rounds::cpu_time;
use redis_tether_benches::section::{Goal, Section};
use redis_tether_benches::valgrind::heap_at_end;
use redis_tether_testkit::server::{Server, ServerBinary, free_port};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::Extent;

/// The word by which it is asked for.
pub(crate) const NAME: &str = "fleet";

const TETHERS: usize = 1_000;

/// What the first tethers cost counts for no one else: the runtime's threads, the resolver's, the allocator's arenas.
const FIRST: usize = 10;

/// The heap is the difference between so many and so many more. Fewer, since valgrind is slow.
const FEW: usize = 10;
const MANY: usize = 60;

/// By then each link has been probed, and lookups have come down to the slow pace.
const SETTLED_AFTER: Duration = Duration::from_secs(8);

/// Longer than a thousand links take to be made on a machine that is busy, or under valgrind.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) async fn measure(section: &mut Section, binary: &ServerBinary, extent: Extent) -> Result<(), Error> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port(Ipv4Addr::LOCALHOST.into())?));
    let server = Server::builder(binary).on(address).start().await?;
    let port = server.addr().port();
    // Several probes of each link, so that where they begin and end tells little.
    let seconds = if extent == Extent::Quick { 15 } else { 60 };
    let order = Order { task: Task::Idle, port, tethers: TETHERS, seconds };
    let idle = Idle::parse(&itself(&order)?)?;
    let heap = (heap(port, MANY)? - heap(port, FEW)?) / (MANY - FEW) as f64;

    section.heading("A thousand idle tethers in one process");
    section.text(&format!(
        "{TETHERS} tethers with default settings follow one name on one server, and nobody calls; {seconds} s of that. Resident \
         memory is what the process has grown by for each; what the kernel holds for its sockets is not in it. The heap is what \
         is allocated for each of {} tethers, counted by valgrind (dhat). CPU time is the process's own, user and system.",
        MANY - FEW,
    ));
    let kib = |bytes: f64| format!("{:.1} KiB", bytes / 1024.0);
    let row = |what: &str, figure: String| (what.to_owned(), vec![figure]);
    let rows = [
        row("resident memory, each", kib(idle.resident)),
        row("heap, each", kib(heap)),
        row("socket buffers in the kernel, each, both ends", kib(idle.buffers)),
        row("CPU time, of one core, all together", format!("{:.2} %", idle.cpu * 100.0)),
        row("probes per second, all together", format!("{:.0}", idle.probes)),
        row("lookups of the name per second, all together", format!("{:.1}", idle.lookups)),
        row("until all were ready", format!("{:.2} s", idle.ready)),
    ];
    section.table("", &[""], &rows);
    section.goal("resident memory of an idle tether, KiB", Goal::Below(64.0), idle.resident / 1024.0);
    section.goal("CPU time of a thousand idle tethers, % of a core", Goal::Below(3.0), idle.cpu * 100.0);
    Ok(())
}

/// Starts this program again, as a process that does what is ordered.
fn itself(order: &Order) -> Result<String, Error> {
    let output = Command::new(std::env::current_exe()?).args(order.words()).output()?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() {
        Ok(said.into_owned())
    } else {
        Err(format!("no figures of the fleet:\n{said}").into())
    }
}

/// The bytes on the heap of a process with so many tethers.
fn heap(port: u16, tethers: usize) -> Result<f64, Error> {
    heap_at_end(&Order { task: Task::Heap, port, tethers, seconds: SETTLED_AFTER.as_secs() }.words())
}

/// What a process with a fleet is started for.
pub(crate) struct Order {
    task: Task,
    port: u16,
    tethers: usize,
    seconds: u64,
}

#[derive(Clone, Copy)]
enum Task {
    /// Be idle for so long, and tell the figures.
    Idle,
    /// Be idle for so long, and exit with all of them on the heap.
    Heap,
}

impl Order {
    /// `None` where the words are somebody else's.
    pub(crate) fn parse(words: &[String]) -> Option<Order> {
        let [name, task, port, tethers, seconds] = words else { return None };
        let task = match (name.as_str(), task.as_str()) {
            (NAME, "idle") => Task::Idle,
            (NAME, "heap") => Task::Heap,
            _ => return None,
        };
        Some(Order { task, port: port.parse().ok()?, tethers: tethers.parse().ok()?, seconds: seconds.parse().ok()? })
    }

    fn words(&self) -> [String; 5] {
        let task = match self.task {
            Task::Idle => "idle",
            Task::Heap => "heap",
        };
        [NAME, task, &self.port.to_string(), &self.tethers.to_string(), &self.seconds.to_string()].map(str::to_owned)
    }

    pub(crate) async fn carry_out(&self) -> Result<(), Error> {
        match self.task {
            Task::Idle => Idle::measure(self).await?.print(),
            Task::Heap => {
                let _fleet = start(self.port, self.tethers).await?;
                sleep(Duration::from_secs(self.seconds)).await;
                // With everything in its place: what is dropped before the end is no longer on the heap.
                std::process::exit(0);
            }
        }
        Ok(())
    }
}

/// The figures of a fleet.
struct Idle {
    /// Bytes for each tether.
    resident: f64,
    /// Bytes for each tether.
    buffers: f64,
    /// Of one core.
    cpu: f64,
    /// In a second.
    probes: f64,
    /// In a second.
    lookups: f64,
    /// Seconds.
    ready: f64,
}

impl Idle {
    async fn measure(order: &Order) -> Result<Idle, Error> {
        let first = start(order.port, FIRST).await?;
        sleep(SETTLED_AFTER).await;
        let (resident, buffers, began) = (resident()?, socket_buffers()?, Instant::now());
        let fleet = start(order.port, order.tethers.saturating_sub(FIRST)).await?;
        let ready = began.elapsed().as_secs_f64();
        sleep(SETTLED_AFTER).await;
        let each = |before: u64, after: u64| (after as f64 - before as f64) / fleet.len() as f64;
        let (resident, buffers) = (each(resident, self::resident()?), each(buffers, socket_buffers()?));

        let resolver = SystemResolver::new();
        let (probes, lookups) = (probes(&first).await?, resolver.lookups());
        let (began, cpu) = (Instant::now(), cpu_time());
        sleep(Duration::from_secs(order.seconds)).await;
        let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_time() - cpu);
        let lookups = resolver.lookups() - lookups;
        let probes = self::probes(&first).await? - probes;
        Ok(Idle {
            resident,
            buffers,
            cpu: cpu.as_secs_f64() / seconds,
            probes: probes as f64 / seconds,
            lookups: lookups as f64 / seconds,
            ready,
        })
    }

    fn print(&self) {
        let Idle { resident, buffers, cpu, probes, lookups, ready } = self;
        println!("{resident} {buffers} {cpu} {probes} {lookups} {ready}");
    }

    fn parse(said: &str) -> Result<Idle, Error> {
        let figures: Vec<f64> = said.split_whitespace().map_while(|word| word.parse().ok()).collect();
        match figures[..] {
            [resident, buffers, cpu, probes, lookups, ready] => {
                Ok(Idle { resident, buffers, cpu, probes, lookups, ready })
            }
            _ => Err(format!("no figures of the fleet:\n{said}").into()),
        }
    }
}

/// So many tethers whose links serve, all started at once.
async fn start(port: u16, tethers: usize) -> Result<Vec<Tether>, Error> {
    let mut starting = JoinSet::new();
    for _ in 0..tethers {
        // A name, so that lookups cost what they cost.
        let config = Config::new("localhost", port);
        starting.spawn(async move {
            let tether = Tether::start(config).await?;
            tether.ready(PATIENCE).await?;
            Ok::<_, Error>(tether)
        });
    }
    starting.join_all().await.into_iter().collect()
}

/// How many probes the server has answered: only they, and the verification of a link that is being made, say `HELLO`.
async fn probes(fleet: &[Tether]) -> Result<u64, Error> {
    let asked = fleet.first().ok_or("an empty fleet")?;
    let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut asked.handle()).await?;
    // `cmdstat_hello:calls=1234,usec=...`
    let calls = stats.lines().find_map(|line| line.strip_prefix("cmdstat_hello:calls=")?.split(',').next());
    Ok(calls.ok_or("the server counts no HELLO")?.parse()?)
}

/// The bytes of this process that are in memory.
fn resident() -> Result<u64, Error> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
    let kib: u64 = line.ok_or("no VmRSS in /proc/self/status")?.trim().parse()?;
    Ok(kib * 1024)
}

/// The bytes that the kernel holds in buffers of TCP sockets, of all processes.
fn socket_buffers() -> Result<u64, Error> {
    const PAGE: u64 = 4096;
    let stat = std::fs::read_to_string("/proc/net/sockstat")?;
    let line = stat.lines().find(|line| line.starts_with("TCP:")).ok_or("no TCP in /proc/net/sockstat")?;
    let pages: Option<u64> = line.rsplit_once("mem ").and_then(|(_, pages)| pages.trim().parse().ok());
    Ok(pages.ok_or("no mem in /proc/net/sockstat")? * PAGE)
}
