//! Real sentinels over real servers: they fail over, and their successors do as well.

mod common;

use redis_tether_testkit::{SentinelDeployment, ServerBinary};

#[tokio::test]
async fn sentinels_fail_over_and_so_do_their_successors() {
    for binary in ServerBinary::all() {
        let mut deployment = SentinelDeployment::start(&binary).await.expect("servers and sentinels");
        assert_eq!(deployment.primary().await.expect("an answer"), 0);
        let mut announcements = deployment.announcements().await.expect("subscriptions");
        deployment.take_for_down_after(SentinelDeployment::QUICKLY).await.expect("told");
        deployment.nodes[0].kill().await.expect("killed");
        let (_, to) = announcements.next().await.expect("announced");
        let promoted = deployment.node(to).expect("one of the nodes");
        assert!(promoted.is_primary().await.expect("an answer"));
        deployment.nodes[0].restart().await.expect("restarted");
        deployment.nodes[0].replicate(promoted).await.expect("in sync");

        let before = deployment.sentinel_addrs();
        deployment.replace_sentinels().await.expect("new sentinels");
        assert!(deployment.sentinel_addrs().iter().all(|addr| !before.contains(addr)));
        let from = deployment.nodes[deployment.primary().await.expect("an answer")].addr();
        let mut announcements = deployment.announcements().await.expect("subscriptions");
        deployment.failover().await.expect("begun");
        let (_, to) = announcements.next().await.expect("announced");
        assert_ne!(to, from);
    }
}
