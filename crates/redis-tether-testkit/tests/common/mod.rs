//! What the tests of this crate share: connecting redis-rs to a fake server, and reading its errors.

// Each test file is a crate of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

use std::net::SocketAddr;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo, RedisResult};
use redis_tether_testkit::FakeServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

pub type Session = MultiplexedConnection;

/// A connection that has no credentials and speaks RESP2.
pub async fn connect(server: &FakeServer) -> Session {
    let connected = connect_as(server, ProtocolVersion::RESP2, None).await;
    connected.expect("a server in good health accepts")
}

pub async fn connect_as(
    server: &FakeServer,
    protocol: ProtocolVersion,
    credentials: Option<(&str, &str)>,
) -> RedisResult<Session> {
    let (client, io) = tokio::io::duplex(64 * 1024);
    server.serve(io);
    over(client, protocol, credentials).await
}

pub async fn connect_tcp(addr: SocketAddr, protocol: ProtocolVersion) -> RedisResult<Session> {
    over(TcpStream::connect(addr).await?, protocol, None).await
}

async fn over<S>(stream: S, protocol: ProtocolVersion, credentials: Option<(&str, &str)>) -> RedisResult<Session>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut settings = RedisConnectionInfo::default().set_protocol(protocol);
    if let Some((user, password)) = credentials {
        settings = settings.set_username(user).set_password(password);
    }
    // Deadlines are the tests' own; redis-rs's would fire under the paused clock.
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let (connection, driver) = MultiplexedConnection::new_with_config(&settings, stream, config).await?;
    tokio::spawn(driver);
    Ok(connection)
}

/// The code of a refusal and what redis-rs says about it.
pub fn error_text<T>(result: RedisResult<T>) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(error) => format!("{} {error}", error.code().unwrap_or_default()),
    }
}

/// Fails the test unless this is an error that contains `wanted`.
#[track_caller]
pub fn assert_refused<T>(result: RedisResult<T>, wanted: &str) {
    let text = error_text(result);
    assert!(text.contains(wanted), "{text:?} lacks {wanted:?}");
}
