//! What one command costs in instructions and allocations, through a handle and through redis-rs's own connection, over a
//! stream in memory that answers at once. Counted by valgrind on one thread, so that the same build gives the same figures.
//!
//! `cargo bench -p redis-tether-benches --bench instructions`. It starts itself under valgrind, once for each figure.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use redis_tether::redis::aio::{ConnectionLike, MultiplexedConnection};
use redis_tether::redis::{self, AsyncConnectionConfig, RedisConnectionInfo};
use redis_tether::{Address, BoxFuture, BoxedStream, Config, Tether, Transport, Verify};
use redis_tether_benches::peers::Error;
use redis_tether_benches::section::{Goal, Section};
use redis_tether_benches::valgrind::{allocations, instructions};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Builder;
use tokio::task::JoinSet;

/// Figures are differences between so many commands and so many more, without what comes before and after them.
const FEW: usize = 1_024;
const MANY: usize = 11_264;

/// The clients, by the words that start this program as the one that is counted.
const CLIENTS: [(&str, &str); 3] =
    [("tether", "redis-tether"), ("timed", "MultiplexedConnection"), ("untimed", "the same without timeout")];

fn main() -> Result<(), Error> {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    match words.as_slice() {
        [client, callers, commands] => Builder::new_current_thread().enable_time().build()?.block_on(send(
            client,
            callers.parse()?,
            commands.parse()?,
        )),
        _ => report(),
    }
}

fn report() -> Result<(), Error> {
    let mut section = Section::new("instructions", "Instructions and allocations");
    section.text(
        "For each SET of 16 B over a stream in memory that answers at once, on one thread, counted by valgrind (callgrind and \
         dhat): the whole way, with building the command, the multiplexer, its driver and the stream. Instructions count where \
         they were written, so that what is inlined of the standard library is the standard library's.",
    );
    for callers in [1, 64] {
        let costs = CLIENTS.iter().map(|(client, _)| Cost::of(client, callers)).collect::<Result<Vec<_>, _>>()?;
        let corner = if callers == 1 { "1 caller".to_owned() } else { format!("{callers} callers") };
        let rows = |cells: &dyn Fn(&Cost) -> Vec<String>| -> Vec<_> {
            CLIENTS.iter().zip(&costs).map(|((_, name), cost)| ((*name).to_owned(), cells(cost))).collect()
        };
        let totals = |cost: &Cost| vec![format!("{:.0}", cost.instructions()), format!("{:.2}", cost.allocations)];
        section.table(&corner, &["instructions", "allocations"], &rows(&totals));
        let parts = |cost: &Cost| PARTS.iter().map(|(part, _)| format!("{:.0}", cost.of_part(part))).collect();
        section.table(&format!("{corner}, instructions"), &PARTS.map(|(part, _)| part), &rows(&parts));
        let [ours, timed, _] = costs.as_slice() else { continue };
        let goal = |what: &str| format!("{what}, beside MultiplexedConnection's, {corner}");
        section.goal(
            &goal("instructions of a command"),
            Goal::Below(timed.instructions().round()),
            ours.instructions(),
        );
        let theirs = (timed.allocations * 100.0).round() / 100.0;
        section.goal(&goal("allocations of a command"), Goal::AtMost(theirs), ours.allocations);
        section.table(&format!("{corner}, ours by source file"), &["instructions"], &ours.by_our_files());
    }
    section.finish()?;
    Ok(())
}

/// Whose instructions they are, by what the path of a source file has in it. The first that fits is it.
const PARTS: [(&str, &[&str]); 7] = [
    (
        "our link",
        &["redis-tether/src/multiplexer", "redis-tether/src/frame", "redis-tether/src/ledger", "redis-tether/src/lock"],
    ),
    ("our handle and the rest", &["redis-tether/src", "redis-tether-core/src"]),
    ("the bench", &["benches/"]),
    ("redis-rs", &["/redis-"]),
    ("tokio", &["/tokio-"]),
    ("the standard library", &["/rustc/", "library/"]),
    ("the allocator, others", &[""]),
];

/// What one command takes.
struct Cost {
    by_source: BTreeMap<String, f64>,
    allocations: f64,
}

impl Cost {
    fn of(client: &str, callers: usize) -> Result<Cost, Error> {
        let words = |commands: usize| [client.to_owned(), callers.to_string(), commands.to_string()];
        let each = |few: f64, many: f64| (many - few) / (MANY - FEW) as f64;
        let few = instructions(&words(FEW))?;
        let many = instructions(&words(MANY))?;
        let by_source = many.into_iter().map(|(source, many)| {
            let few = few.get(&source).copied().unwrap_or_default();
            (source, each(few as f64, many as f64))
        });
        let by_source = by_source.collect();
        Ok(Cost { by_source, allocations: each(allocations(&words(FEW))?, allocations(&words(MANY))?) })
    }

    fn instructions(&self) -> f64 {
        self.by_source.values().sum()
    }

    /// What is worth the mention, the largest first.
    fn by_our_files(&self) -> Vec<(String, Vec<String>)> {
        let ours =
            self.by_source.iter().filter_map(|(source, each)| Some((source.split_once("redis-tether/src/")?.1, each)));
        let mut ours: Vec<_> = ours.filter(|(_, each)| **each >= 1.0).collect();
        ours.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        ours.into_iter().map(|(file, each)| (file.to_owned(), vec![format!("{each:.0}")])).collect()
    }

    fn of_part(&self, part: &str) -> f64 {
        let is_of_part = |source: &str| {
            let fits = |words: &[&str]| words.iter().any(|word| source.contains(word));
            PARTS.iter().find(|(_, words)| fits(words)).is_some_and(|(name, _)| *name == part)
        };
        // A sum of none is a negative zero.
        self.by_source.iter().filter(|(source, _)| is_of_part(source)).map(|(_, each)| each).sum::<f64>() + 0.0
    }
}

async fn send(client: &str, callers: usize, commands: usize) -> Result<(), Error> {
    match client {
        "tether" => {
            let mut config = Config::new("127.0.0.1", 6379);
            config.verify = Verify::None;
            let tether = Tether::builder(config).transport(InMemory).start().await?;
            let handle = tether.handle();
            rounds(handle, callers, commands).await
        }
        _ => {
            let config = AsyncConnectionConfig::new();
            let config = if client == "timed" { config } else { config.set_response_timeout(None) };
            let info = RedisConnectionInfo::default().set_skip_set_lib_name();
            let (connection, driver) =
                MultiplexedConnection::new_with_config(&info, Answering::default(), config).await?;
            tokio::spawn(driver);
            rounds(connection, callers, commands).await
        }
    }
}

async fn rounds<C>(connection: C, callers: usize, commands: usize) -> Result<(), Error>
where
    C: ConnectionLike + Clone + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let mut connection = connection.clone();
        tasks.spawn(async move {
            for _ in 0..commands / callers {
                redis::cmd("SET").arg("key").arg("sixteen bytes ..").exec_async(&mut connection).await?;
            }
            Ok::<_, redis::RedisError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// The bytes of that command on the wire.
const COMMAND: usize = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$16\r\nsixteen bytes ..\r\n".len();
const REPLY: &[u8] = b"+OK\r\n";

/// Answers each command with `OK` as soon as it was written, and knows no other.
#[derive(Default)]
struct Answering {
    /// The bytes of a command that has not come in full.
    begun: usize,
    /// The bytes of replies that were not read yet.
    owed: usize,
    reader: Option<Waker>,
}

impl AsyncRead for Answering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.owed == 0 {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        while self.owed > 0 && buf.remaining() > 0 {
            let rest = &REPLY[REPLY.len() - (self.owed - 1) % REPLY.len() - 1..];
            let taken = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..taken]);
            self.owed -= taken;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Answering {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.begun += buf.len();
        self.owed += self.begun / COMMAND * REPLY.len();
        self.begun %= COMMAND;
        if self.owed > 0
            && let Some(reader) = self.reader.take()
        {
            reader.wake();
        }
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct InMemory;

impl Transport for InMemory {
    fn connect(&self, _: &Address) -> BoxFuture<'static, io::Result<BoxedStream>> {
        Box::pin(async { Ok(Box::new(Answering::default()) as BoxedStream) })
    }
}
