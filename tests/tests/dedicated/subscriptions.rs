//! Subscriptions on dedicated connections, on real servers: the messages end with the epoch, and the next connection leads
//! to the new primary.

use futures_util::StreamExt;
use redis_tether::Protocol;
use redis_tether::redis::aio::PubSub;

use super::*;

on_each_server!(messages_end_with_the_primary_and_come_again_from_the_next, the_messages_end_when_the_tether_does,);

async fn subscribed(tether: &Tether) -> PubSub {
    let mut pub_sub = dedicated(tether).await.into_pub_sub().await.expect("the server is well");
    pub_sub.subscribe("news").await.expect("the server is well");
    pub_sub
}

async fn next(pub_sub: &mut PubSub) -> Option<String> {
    let message = within(PATIENCE, "a message, or the end of them", async { pub_sub.on_message().next().await }).await;
    message.map(|message| message.get_payload().expect("text"))
}

async fn publish(server: &Server, text: &str) {
    server.command(&["PUBLISH", "news", text]).await.expect("the server is well");
}

async fn messages_end_with_the_primary_and_come_again_from_the_next(kind: ServerKind) {
    for protocol in [Protocol::Resp2, Protocol::Resp3] {
        let (nodes, tether) = served_with(kind, |config| config.protocol = protocol).await;
        let mut pub_sub = subscribed(&tether).await;
        publish(&nodes.primary, "one").await;
        publish(&nodes.primary, "two").await;
        assert_eq!(next(&mut pub_sub).await.as_deref(), Some("one"), "{protocol:?}");
        assert_eq!(next(&mut pub_sub).await.as_deref(), Some("two"), "{protocol:?}");
        pub_sub.ping::<redis::Value>().await.expect("the server is well");

        fail_over(&nodes).await;
        assert_eq!(next(&mut pub_sub).await, None, "{protocol:?}");
        let mut pub_sub = subscribed(&tether).await;
        publish(&nodes.replica, "three").await;
        assert_eq!(next(&mut pub_sub).await.as_deref(), Some("three"), "{protocol:?}");
        tether.shutdown().await;
    }
}

async fn the_messages_end_when_the_tether_does(kind: ServerKind) {
    let (server, tether) = one_server(kind).await;
    let mut pub_sub = subscribed(&tether).await;
    within(PATIENCE, "the shutdown", tether.shutdown()).await;
    // By the time that it returns, whoever reads the messages.
    until_clients(&server, 1).await;
    assert_eq!(next(&mut pub_sub).await, None);
    assert!(pub_sub.subscribe("more").await.is_err());
}
