//! How bytes get to an address: the seam between a dial and the operating system's sockets. The dialer asks a [`Transport`]
//! for a stream; simulations give it in-memory streams instead, and nothing above can tell. A transport makes one
//! connection when asked and no more: it never resolves names, never tries again, and bounds no waiting (its caller does).

#[cfg(test)]
pub(crate) mod in_memory;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;

use redis_tether_core::Address;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::config::DialSettings;

/// A future on the heap, as the object-safe traits of this crate return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A two-way stream of bytes to a server.
///
/// A write that fails says that none of its bytes will be seen by the server: commands that were in it count as never sent,
/// and are sent again. A stream that cannot know takes less at a time.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for S {}

/// Any [`Stream`].
pub type BoxedStream = Box<dyn Stream>;

/// Makes connections to addresses.
pub trait Transport: Send + Sync + 'static {
    /// Connects to `address`. The dialer bounds the waiting, so that a connection that never comes about may pend for ever;
    /// dropping the future must give up the attempt and leave no socket behind.
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxedStream>>;
}

/// The operating system's TCP and unix sockets.
#[derive(Clone, Debug)]
pub(crate) struct SocketTransport {
    settings: DialSettings,
}

impl SocketTransport {
    pub(crate) fn new(settings: &DialSettings) -> SocketTransport {
        SocketTransport { settings: settings.clone() }
    }
}

impl Transport for SocketTransport {
    fn connect(&self, address: &Address) -> BoxFuture<'static, io::Result<BoxedStream>> {
        match address {
            Address::Tcp(address) => {
                let (address, settings) = (*address, self.settings.clone());
                Box::pin(async move { connect_tcp(address, &settings).await })
            }
            Address::Unix(path) => {
                let path = path.clone();
                Box::pin(connect_unix(path))
            }
        }
    }
}

async fn connect_tcp(address: SocketAddr, settings: &DialSettings) -> io::Result<BoxedStream> {
    let stream = TcpStream::connect(address).await?;
    if is_self_connection(&stream) {
        return Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "nobody listens there: the socket had connected to itself",
        ));
    }
    // Commands leave in batches that the driver puts together, so the kernel must not hold them back any more.
    stream.set_nodelay(true)?;
    set_liveness(&stream, settings);
    Ok(Box::new(stream))
}

/// On one host, a connect to a port of the ephemeral range where nobody listens can meet itself (TCP's simultaneous open).
/// Such a socket would echo our commands as replies, and keep the port from the server that is about to come back.
fn is_self_connection(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(local), Ok(peer)) => local == peer,
        _ => false,
    }
}

/// Sets what lets the kernel notice a dead peer. A platform that denies an option costs only that way of noticing, so it
/// fails no dial.
fn set_liveness(stream: &TcpStream, settings: &DialSettings) {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(settings.keepalive_idle);
    #[cfg(any(target_os = "linux", target_os = "macos", windows))]
    let keepalive = keepalive.with_interval(settings.keepalive_interval).with_retries(settings.keepalive_retries);
    note("keepalive", socket.set_tcp_keepalive(&keepalive));
    #[cfg(target_os = "linux")]
    note("TCP_USER_TIMEOUT", socket.set_tcp_user_timeout(Some(settings.tcp_user_timeout)));
}

fn note(option: &'static str, outcome: io::Result<()>) {
    if let Err(error) = outcome {
        tracing::debug!(option, %error, "a socket option was denied");
    }
}

#[cfg(unix)]
async fn connect_unix(path: PathBuf) -> io::Result<BoxedStream> {
    let stream = tokio::net::UnixStream::connect(path).await?;
    Ok(Box::new(stream))
}

#[cfg(not(unix))]
async fn connect_unix(_path: PathBuf) -> io::Result<BoxedStream> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "unix sockets do not exist on this platform"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn transport() -> SocketTransport {
        SocketTransport::new(&DialSettings::default())
    }

    #[tokio::test]
    async fn tcp_connections_carry_bytes_over_both_families() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let listener = TcpListener::bind(host).await.expect("a port");
            let address = listener.local_addr().expect("an address");
            let (connected, accepted) = tokio::join!(transport().connect(&Address::Tcp(address)), listener.accept());
            let (mut ours, (mut theirs, _)) = (connected.expect("connected"), accepted.expect("accepted"));
            ours.write_all(b"PING").await.expect("written");
            let mut bytes = [0; 4];
            timeout(LIMIT, theirs.read_exact(&mut bytes)).await.expect("four bytes").expect("read");
            assert_eq!(&bytes, b"PING");
        }
    }

    #[tokio::test]
    async fn sockets_are_set_up_to_notice_dead_peers() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let stream = TcpStream::connect(listener.local_addr().expect("an address")).await.expect("connected");
        set_liveness(&stream, &DialSettings::default());
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().expect("readable"));
        #[cfg(target_os = "linux")]
        {
            let settings = DialSettings::default();
            assert_eq!(socket.tcp_keepalive_time().expect("readable"), settings.keepalive_idle);
            assert_eq!(socket.tcp_keepalive_interval().expect("readable"), settings.keepalive_interval);
            assert_eq!(socket.tcp_keepalive_retries().expect("readable"), settings.keepalive_retries);
            assert_eq!(socket.tcp_user_timeout().expect("readable"), Some(settings.tcp_user_timeout));
        }
    }

    #[tokio::test]
    async fn nobody_listening_is_a_refusal() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let outcome = timeout(LIMIT, transport().connect(&Address::Tcp(address))).await.expect("in time");
        assert_eq!(outcome.err().map(|error| error.kind()), Some(io::ErrorKind::ConnectionRefused));
    }

    #[tokio::test]
    async fn a_socket_that_meets_itself_is_recognised() {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let own = socket.local_addr().expect("an address");
        // Connecting a socket to its own address is how the kernel comes to such a connection by chance.
        let stream = timeout(LIMIT, socket.connect(own)).await.expect("in time").expect("connected to itself");
        assert!(is_self_connection(&stream));
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn unix_sockets_work_and_a_missing_one_is_not_found() {
        let directory = std::env::temp_dir().join(format!("tether-transport-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let path = directory.join("redis.sock");
        let missing = transport().connect(&Address::Unix(path.clone())).await;
        let listener = tokio::net::UnixListener::bind(&path).expect("a socket");
        let (connected, accepted) = tokio::join!(transport().connect(&Address::Unix(path)), listener.accept());
        std::fs::remove_dir_all(&directory).expect("removed");
        assert_eq!(missing.err().map(|error| error.kind()), Some(io::ErrorKind::NotFound));
        assert!(connected.is_ok() && accepted.is_ok());
    }
}
