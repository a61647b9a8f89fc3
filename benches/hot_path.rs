//! What the handle costs beside the raw multiplexed connection of redis-rs, over the same server in the same run. Needs a
//! real server: a fake one would be the slower side.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redis_tether::redis::aio::ConnectionLike;
use redis_tether::{Config, Tether, redis};
use redis_tether_testkit::server::{Server, ServerBinary};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Commands of one measured round, whatever the number of callers.
const COMMANDS: u64 = 2_048;

fn hot_path(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime for the bench");
    let binary = ServerBinary::any().expect("a server: `cargo xtask servers` provides one");
    let server = runtime.block_on(Server::start(&binary)).expect("the server starts");
    let url = format!("redis://{}", server.addr());
    let tether = runtime
        .block_on(Tether::start(Config::from_url(&url).expect("the server's own URL")))
        .expect("a valid configuration");
    let client = redis::Client::open(url).expect("the server's own URL");
    let raw = runtime.block_on(client.get_multiplexed_async_connection()).expect("the server is up");

    let mut group = criterion.benchmark_group("set_16_bytes");
    group.throughput(Throughput::Elements(COMMANDS));
    for callers in [1, 64, 512] {
        group.bench_with_input(BenchmarkId::new("tether", callers), &callers, |bencher, &callers| {
            bencher.to_async(&runtime).iter(|| round(tether.handle(), callers));
        });
        group.bench_with_input(BenchmarkId::new("multiplexed", callers), &callers, |bencher, &callers| {
            bencher.to_async(&runtime).iter(|| round(raw.clone(), callers));
        });
    }
    group.finish();
    runtime.block_on(tether.shutdown());
}

/// `callers` tasks share the commands, each sending one after another.
async fn round<C>(connection: C, callers: u64)
where
    C: ConnectionLike + Clone + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let mut connection = connection.clone();
        tasks.spawn(async move {
            for _ in 0..COMMANDS / callers {
                redis::cmd("SET")
                    .arg(caller)
                    .arg("sixteen bytes ..")
                    .exec_async(&mut connection)
                    .await
                    .expect("the server is up");
            }
        });
    }
    tasks.join_all().await;
}

criterion_group!(benches, hot_path);
criterion_main!(benches);
