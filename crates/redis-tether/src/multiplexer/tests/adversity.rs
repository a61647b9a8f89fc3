//! What the others have to suffer where one does harm: a peer that says what cannot be, a peer that takes nothing, code of
//! the application's that panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Wake;

use super::*;

/// What a caller's own executor may do.
struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("a waker of the application's");
    }
}

/// Waits for it as somebody would whose waker panics.
fn poll_panicking(sent: &mut Sent<'_>) -> Poll<News> {
    let waker = Waker::from(Arc::new(Panicking));
    sent.call.poll(&mut Context::from_waker(&waker))
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_when_a_reply_comes_costs_nobody_the_link() {
    let Rig { mut multiplexer, driver: _driver, mut peer, ledger } = rig(1024);
    let other = multiplexer.clone();
    let mut sent = ping(&mut multiplexer);
    assert!(poll_panicking(&mut sent).is_pending());
    let other = pinging(&other);
    answer(&mut peer, 2 * PING.len(), b":1\r\n:2\r\n").await;
    assert!(matches!(other.await, Ok(News::Done(Ok(Value::Int(2))))));
    assert!(matches!(news(sent).await, News::Done(Ok(Value::Int(1)))));
    assert!(!ledger.is_dead());
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_at_the_end_keeps_it_from_nobody() {
    let Rig { mut multiplexer, driver, peer: _peer, .. } = rig(1024);
    let other = multiplexer.clone();
    let mut sent = ping(&mut multiplexer);
    assert!(poll_panicking(&mut sent).is_pending());
    let other = pinging(&other);
    settle().await;
    drop(driver);
    let other = timeout(LIMIT, other).await.expect("told");
    assert!(matches!(other, Ok(News::Done(Err(Failure::Lost)))));
}

#[tokio::test(start_paused = true)]
async fn a_waker_that_panics_at_its_deadline_keeps_it_from_nobody() {
    let Rig { mut multiplexer, driver: _driver, peer: _peer, .. } = rig(1024);
    let mut other = multiplexer.clone();
    let due = Some(Instant::now() + Duration::from_millis(10));
    let mut sent = ping_due(&mut multiplexer, due);
    assert!(poll_panicking(&mut sent).is_pending());
    assert!(matches!(news(ping_due(&mut other, due)).await, News::Overdue));
    let later = Some(Instant::now() + Duration::from_millis(10));
    assert!(matches!(news(ping_due(&mut other, later)).await, News::Overdue));
}

/// Panics when it is dropped.
struct Fragile(Recording);

impl AsyncRead for Fragile {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Fragile {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        panic!("a stream of the application's");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_panics_at_the_end_keeps_it_from_nobody() {
    let (multiplexer, _, driver) = over(Fragile(Recording { writes: Arc::default() }));
    let call = pinging(&multiplexer);
    settle().await;
    drop(driver);
    assert!(matches!(call.await, Ok(News::Done(Err(Failure::Lost)))));
}

#[tokio::test(start_paused = true)]
async fn half_a_request_of_an_encoder_that_panicked_is_not_sent() {
    let Rig { mut multiplexer, driver: _driver, mut peer, .. } = rig(1024);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _sent = multiplexer.send(Wants::One, None, |bytes| {
            bytes.extend_from_slice(b"*2\r\n");
            panic!("an encoder");
        });
    }));
    assert!(panicked.is_err());
    settle().await;
    let call = pinging(&multiplexer);
    assert_eq!(receive(&mut peer, PING.len()).await, PING);
    peer.write_all(b":1\r\n").await.expect("written");
    assert!(matches!(call.await, Ok(News::Done(Ok(Value::Int(1))))));
}

/// A length is quickly said: what is set aside follows what comes.
#[tokio::test(start_paused = true)]
async fn a_length_that_nothing_follows_is_not_made_room_for() {
    for length in ["9223372036854775807", "4611686018427387904", "99999999999999"] {
        let Rig { multiplexer, driver, mut peer, ledger } = rig(1024);
        let call = pinging(&multiplexer);
        answer(&mut peer, PING.len(), format!("${length}\r\n").as_bytes()).await;
        settle().await;
        assert!(!ledger.is_dead(), "{length}: {:?}", ledger.end());
        drop(driver);
        assert!(matches!(call.await, Ok(News::Done(Err(Failure::Lost)))));
    }
}

/// As long as something blocks the peer, callers may come and go without an end.
#[tokio::test(start_paused = true)]
async fn what_waits_for_a_peer_that_takes_nothing_is_what_somebody_waits_for() {
    const VALUE: usize = 1000;
    let Rig { mut multiplexer, driver, peer: _peer, .. } = rig(16);
    let stays = pinging(&multiplexer);
    settle().await;
    let last = pinging(&multiplexer);
    settle().await;
    for _ in 0..10_000 {
        drop(multiplexer.send(Wants::One, None, |bytes| bytes.resize(bytes.len() + VALUE, b'x')));
    }
    let kept = multiplexer.line.queue.waiting_bytes();
    assert!(kept < 3 * 64 * 1024, "{kept} bytes are kept");
    assert!(!stays.is_finished() && !last.is_finished());
    // Those of callers who stay are there, and those who leave after them are found as well.
    let mut callers: Vec<_> = (0..200).map(|_| multiplexer.clone()).collect();
    let _stay: Vec<_> = callers
        .iter_mut()
        .map(|caller| caller.send(Wants::One, None, |bytes| bytes.resize(bytes.len() + VALUE, b'x')))
        .collect();
    for _ in 0..10_000 {
        drop(multiplexer.send(Wants::One, None, |bytes| bytes.resize(bytes.len() + VALUE, b'x')));
    }
    let kept = multiplexer.line.queue.waiting_bytes();
    assert!((200 * VALUE..3 * 200 * VALUE).contains(&kept), "{kept} bytes are kept");
    drop(driver);
    settle().await;
    assert_eq!(multiplexer.line.queue.waiting_bytes(), 0, "after the end");
}
