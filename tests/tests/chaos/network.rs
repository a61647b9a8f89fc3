//! What happens to the network between callers and servers: requests that are delivered and whose replies are not, links
//! that are cut, that say nothing, of which one end is gone. One fault after the other, on both proxies, whatever
//! happens to the servers meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use redis_tether_testkit::Proxy;
use tokio::time::{Instant, sleep, sleep_until};

/// Between two faults at most.
const PAUSE: Duration = Duration::from_millis(2_000);

/// How often each fault struck.
pub(crate) type Struck = BTreeMap<&'static str, u64>;

/// Strikes until `end`, and leaves the network well.
pub(crate) async fn strike_until(end: Instant, proxies: Arc<[Proxy; 2]>, mut rng: fastrand::Rng) -> Struck {
    let mut struck = Struck::new();
    while Instant::now() < end {
        sleep_until(end.min(Instant::now() + PAUSE.mul_f64(rng.f64()))).await;
        let (fault, longest) = strike(&proxies, &mut rng);
        *struck.entry(fault).or_default() += 1;
        // Squared: most are short, so that much gets through in between.
        sleep(longest.mul_f64(rng.f64().powi(2))).await;
        proxies.iter().for_each(Proxy::pass);
    }
    struck
}

/// Says what it is, and how long it may last.
fn strike(proxies: &[Proxy; 2], rng: &mut fastrand::Rng) -> (&'static str, Duration) {
    let each = |fault: &dyn Fn(&Proxy)| proxies.iter().for_each(fault);
    let ms = Duration::from_millis;
    match rng.u8(..11) {
        0 | 1 => {
            each(&Proxy::cut_before_reply);
            ("cut before the reply", ms(100))
        }
        2 => {
            let bytes = rng.u64(1..500);
            each(&|proxy| proxy.cut_reply_after(bytes));
            ("cut within a reply", ms(200))
        }
        3 | 4 => {
            each(&Proxy::reset);
            ("reset", ms(0))
        }
        5 => {
            each(&Proxy::black_hole);
            ("black hole", ms(2_500))
        }
        6 => {
            each(&Proxy::black_hole_replies);
            ("black hole for replies", ms(2_500))
        }
        7 => {
            each(&Proxy::half_open);
            ("half open", ms(1_000))
        }
        8 => {
            each(&Proxy::refuse);
            each(&Proxy::reset);
            ("refused", ms(500))
        }
        9 => {
            let delay = ms(rng.u64(1..60));
            each(&|proxy| proxy.delay(delay));
            ("far away", ms(500))
        }
        _ => {
            each(&|proxy| proxy.drip(Duration::from_micros(200)));
            ("dripping", ms(300))
        }
    }
}
