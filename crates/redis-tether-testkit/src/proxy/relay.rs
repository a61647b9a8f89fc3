//! One connection through the proxy, from its acceptance to its end.
//!
//! The accepting task of `proxy.rs` spawns [`run`]; the two directions are [`Pump`]s. Here is what concerns both at once:
//! dialling the server, resets, half-open connections.

use std::io;
use std::sync::Arc;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::select;

use super::pump::{Direction, Pump};
use super::{Mode, Shared};

/// How a relay ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Close,
    Reset,
    /// Not the end for the client.
    HalfOpen,
}

pub(super) async fn run(shared: Arc<Shared>, mut client: TcpStream) {
    // Read before anybody can know of this connection: whoever has waited for it, and then resets, resets it.
    let resets = shared.lock().resets;
    let _live = Live::begin(&shared);
    // A proxy that gathers small writes would add delay of its own.
    let _ = client.set_nodelay(true);
    let reset = shared.changed.until(|| (shared.lock().resets != resets).then_some(()));
    let end = select! {
        biased;
        () = reset => End::Reset,
        end = relay(&shared, &mut client) => end,
    };
    if end == End::Reset {
        let _ = client.set_zero_linger();
    }
}

async fn relay(shared: &Shared, client: &mut TcpStream) -> End {
    let half_open = shared.changed.until(|| (shared.lock().mode == Mode::HalfOpen).then_some(()));
    let end = select! {
        biased;
        () = half_open => End::HalfOpen,
        end = connect_and_pass(shared, client) => end,
    };
    match end {
        End::HalfOpen => stay_half_open(shared, client).await,
        end => end,
    }
}

async fn connect_and_pass(shared: &Shared, client: &mut TcpStream) -> End {
    // In a black hole not even the handshake gets through.
    let target = shared.changed.until(|| {
        let state = shared.lock();
        (state.mode != Mode::BlackHole).then_some(state.target)
    });
    let Ok(mut server) = TcpStream::connect(target.await).await else {
        return End::Reset;
    };
    let _ = server.set_nodelay(true);
    let passed = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let mut requests = Pump::new(shared, Direction::Requests);
        let mut replies = Pump::new(shared, Direction::Replies);
        tokio::try_join!(requests.run(&mut from_client, &mut to_server), replies.run(&mut from_server, &mut to_client),)
    };
    match passed {
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
            // Passed on to whichever side has not had it yet.
            let _ = server.set_zero_linger();
            End::Reset
        }
        Ok(_) | Err(_) => End::Close,
    }
}

/// Swallows what the client sends, until it has left or the mode has changed and it speaks again.
async fn stay_half_open(shared: &Shared, client: &mut TcpStream) -> End {
    let mut swallowed = [0; 4096];
    loop {
        match client.read(&mut swallowed).await {
            Ok(0) | Err(_) => return End::Close,
            Ok(_) if shared.lock().mode == Mode::HalfOpen => {}
            Ok(_) => return End::Reset,
        }
    }
}

/// Counts a connection for as long as it lives.
struct Live<'a> {
    shared: &'a Shared,
}

impl<'a> Live<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.count(|counts| {
            counts.accepted += 1;
            counts.live += 1;
        });
        Self { shared }
    }
}

impl Drop for Live<'_> {
    fn drop(&mut self) {
        self.shared.count(|counts| counts.live -= 1);
    }
}
