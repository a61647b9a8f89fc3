//! What answers of the resolver do while all is well.

use std::sync::Mutex;

use tokio::time::Instant;

use super::*;
use crate::{Query, ResolveError};

/// Answers with what it is set to, and counts.
#[derive(Clone, Default)]
struct Named(Arc<Mutex<(Vec<SocketAddr>, u64)>>);

impl Named {
    fn set(&self, answer: &[SocketAddr]) {
        self.0.lock().expect("no panic").0 = answer.to_vec();
    }

    fn asked(&self) -> u64 {
        self.0.lock().expect("no panic").1
    }
}

impl Resolve for Named {
    fn resolve(&self, _query: Query) -> BoxFuture<'static, Result<Vec<SocketAddr>, ResolveError>> {
        let mut named = self.0.lock().expect("no panic");
        named.1 += 1;
        let answer = named.0.clone();
        Box::pin(async move { Ok(answer) })
    }
}

/// However long nothing new was heard.
#[tokio::test(start_paused = true)]
async fn the_first_answer_that_differs_is_acted_upon() {
    let (here, there) = (SocketAddr::from(([10, 0, 0, 1], 6379)), SocketAddr::from(([10, 0, 0, 2], 6379)));
    let named = Named::default();
    named.set(&[here]);
    let world = World::resolving(named.clone()).await;
    world.net.bind(there, FakeServer::new());
    let (before, config) = (named.asked(), world.tether.control.config.clone());
    sleep(config.resolve.interval * 50).await;
    let asked = named.asked() - before;
    assert!((40..=60).contains(&asked), "at the settled pace: {asked}");
    assert_eq!(world.tether.stats().lookups, named.asked(), "each is counted");

    let mut events = world.tether.events();
    named.set(&[there]);
    let changed = Instant::now();
    until(&mut events, "the move", |event| matches!(event, Event::Connected { .. })).await;
    let bound = config.recovery_bounds().expect("valid").moved_on_dns_evidence;
    assert!(changed.elapsed() <= bound + ms(10), "{:?}", changed.elapsed());
    world.tether.shutdown().await;
}
