//! Real servers of every kind that is on this machine, through everything that a test may do to them.

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;
use std::time::Duration;

use redis_tether_testkit::server::{
    Deployment, Server, ServerBinary, ServerError, ServerKind, allocate_addresses, free_port,
};
use redis_tether_testkit::{Reply, TimedOut};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

const LIMIT: Duration = Duration::from_secs(20);

/// A variable that names a server means that it must be there; without any server these tests would be about nothing.
fn binaries() -> Vec<ServerBinary> {
    let named = ServerKind::ALL.into_iter().filter(|kind| std::env::var_os(kind.variable()).is_some());
    for kind in named {
        ServerBinary::require(kind).expect("the variable names a server");
    }
    let found = ServerBinary::all();
    assert!(!found.is_empty(), "neither redis-server nor valkey-server found: see ServerBinary::find");
    found
}

async fn get(server: &Server, key: &str) -> Option<String> {
    server.command(&["GET", key]).await.expect("GET is answered").text()
}

#[tokio::test]
async fn a_server_is_killed_restarted_and_stopped_at_its_address() {
    for binary in binaries() {
        let server = Server::start(&binary).await.expect("starts");
        assert!(server.addr().ip().is_loopback());
        server.command(&["SET", "k", "v"]).await.expect("a primary");
        assert_eq!(get(&server, "k").await.as_deref(), Some("v"));
        let first = server.pid().expect("runs");

        server.kill().await.expect("killed");
        assert!(TcpStream::connect(server.addr()).await.is_err());
        assert!(!Path::new(&format!("/proc/{first}")).exists(), "a zombie is left");
        let refused = server.command(&["PING"]).await;
        assert!(matches!(refused, Err(ServerError::Connection { .. })), "{refused:?}");
        assert!(matches!(server.thaw(), Err(ServerError::NotRunning { .. })));

        server.restart().await.expect("restarts");
        assert_ne!(server.pid(), Some(first));
        assert_eq!(get(&server, "k").await, None, "nothing was persisted");
        server.freeze().await.expect("frozen");
        server.stop().await.expect("stopped");
        assert_eq!(server.pid(), None);
        server.restart().await.expect("restarts after a stop");
    }
}

#[tokio::test]
async fn dropping_a_frozen_server_leaves_nothing() {
    for binary in binaries() {
        let server = Server::start(&binary).await.expect("starts");
        let (pid, socket) = (server.pid().expect("runs"), server.unix_socket());
        assert!(socket.exists());
        server.freeze().await.expect("frozen");
        drop(server);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        assert!(!socket.parent().expect("a directory").exists());
    }
}

#[tokio::test]
async fn a_frozen_server_accepts_and_answers_when_it_thaws() {
    for binary in binaries() {
        let server = Server::start(&binary).await.expect("starts");
        server.freeze().await.expect("frozen");
        let connected = timeout(LIMIT, TcpStream::connect(server.addr())).await.expect("the kernel accepts");
        connected.expect("accepted");
        {
            let mut asking = std::pin::pin!(server.command(&["PING"]));
            assert!(timeout(Duration::from_millis(100), &mut asking).await.is_err());
            server.thaw().expect("thawed");
            let reply = asking.await.expect("answered now");
            assert_eq!(reply, Reply::Simple("PONG".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_deployment_fails_over() {
    for binary in binaries() {
        let both = Deployment::start(&binary).await.expect("starts");
        assert_eq!(both.primary.addr().port(), both.replica.addr().port());
        assert_ne!(both.primary_ip(), both.replica_ip());
        let replicas = both.primary.info("slave0").await.expect("answers");
        assert!(replicas.contains("state=online"), "promoted now, it would lose what is written next: {replicas}");
        assert!(replicas.contains(&format!("ip={},", both.replica_ip())), "{replicas}");
        both.primary.command(&["SET", "k", "v"]).await.expect("a primary");
        both.replica.replicate(&both.primary).await.expect("in sync again");
        assert_eq!(get(&both.replica, "k").await.as_deref(), Some("v"));
        let refused = both.replica.command(&["SET", "k", "w"]).await.expect_err("a replica");
        assert!(refused.to_string().contains("READONLY"), "{refused}");

        both.replica.promote().await.expect("promoted");
        both.primary.demote_to(&both.replica).await.expect("demoted");
        assert!(both.replica.is_primary().await.expect("answers"));
        assert!(!both.primary.is_primary().await.expect("answers"));
        let refused = both.primary.command(&["SET", "k", "w"]).await.expect_err("demoted");
        assert!(refused.to_string().contains("READONLY"), "{refused}");
        both.replica.command(&["SET", "k", "w"]).await.expect("promoted");
        both.primary.replicate(&both.replica).await.expect("in sync");
        assert_eq!(get(&both.primary, "k").await.as_deref(), Some("w"));
    }
}

#[tokio::test]
async fn a_password_changes_and_the_kit_still_gets_in() {
    for binary in binaries() {
        let both =
            Deployment::start_with(&binary, |builder| builder.password("a \"first\" one")).await.expect("starts");
        both.primary.set_password(Some("second")).await.expect("changed");
        both.primary.kill_clients().await.expect("killed");
        both.primary.command(&["SET", "k", "v"]).await.expect("still in");
        both.replica.replicate(&both.primary).await.expect("the replica knows the new one");
        both.primary.restart().await.expect("back to the first");
        both.primary.set_password(None).await.expect("none");
        let text = format!("{:?}", both.primary);
        assert!(!text.contains("first") && !text.contains("second"), "{text}");
    }
}

#[tokio::test]
async fn scripts_and_stalls_keep_the_server_busy() {
    for binary in binaries() {
        let server = Server::start(&binary).await.expect("starts");
        let time = Duration::from_millis(300);
        let start = Instant::now();
        let script = server.spawn_script(time).await.expect("sent");
        script.finished().await.expect("runs to its end");
        assert!(start.elapsed() >= time, "{:?}", start.elapsed());
        let start = Instant::now();
        let stall = server.spawn_stall(time).await.expect("sent");
        stall.finished().await.expect("runs to its end");
        assert!(start.elapsed() >= time, "{:?}", start.elapsed());
        server.run_script(Duration::from_millis(1)).await.expect("runs");
    }
}

#[tokio::test]
async fn options_and_addresses_are_taken_and_errors_show_the_log() {
    for binary in binaries() {
        let addr = allocate_addresses(1).expect("an address")[0];
        let builder = Server::builder(&binary).on(addr).arg("--maxclients", "7").config_line("timeout 3");
        let server = builder.start().await.expect("starts");
        assert_eq!(server.addr(), addr);
        assert_eq!(server.info("maxclients").await.expect("answers"), "7");
        let timeout = server.command(&["CONFIG", "GET", "timeout"]).await.expect("answers");
        assert_eq!(timeout, Reply::Array(vec![Reply::bulk("timeout"), Reply::bulk("3")]));

        let taken = Server::builder(&binary).on(addr).start().await.expect_err("the address is taken");
        let text = taken.to_string();
        assert!(text.contains("ddress already in use") || text.contains("Could not create server TCP"), "{text}");
        let bad = Server::builder(&binary).config_line("no-such-option 1").start().await.expect_err("a bad option");
        assert!(bad.to_string().contains("no-such-option"), "{bad}");
    }
}

#[tokio::test]
async fn a_server_listens_on_ipv6_where_there_is_any() {
    let loopback = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let Ok(port) = free_port(loopback) else {
        return; // A machine without IPv6 has nothing to show here.
    };
    for binary in binaries() {
        let server = Server::builder(&binary).on((loopback, port).into()).start().await.expect("starts");
        assert_eq!(server.command(&["ECHO", "here"]).await.expect("answers"), Reply::bulk("here"));
        server.stop().await.expect("stopped");
    }
}

#[tokio::test]
async fn a_wait_says_what_it_waited_for() {
    for binary in binaries() {
        let server = Server::start(&binary).await.expect("starts");
        let limit = Duration::from_millis(20);
        let waited = server.wait_for("a miracle", limit, |_| false).await;
        let Err(ServerError::TimedOut(TimedOut { what, last, .. })) = waited else {
            panic!("no miracle is expected: {waited:?}");
        };
        assert!(what.contains("a miracle"), "{what}");
        assert!(last.contains("role:master"), "{last}");
    }
}
