//! Who is woken, when, and what they find.

use std::task::Wake;

use super::*;

/// Notes how often it is woken, and whether the link was dead each time.
struct Witness {
    ledger: Arc<Ledger>,
    found_dead: Mutex<Vec<bool>>,
}

impl Wake for Witness {
    fn wake(self: Arc<Self>) {
        lock(&self.found_dead).push(self.ledger.is_dead());
    }
}

/// Also where nobody had marked it dead, since what drove it was dropped with its runtime.
#[tokio::test(start_paused = true)]
async fn whoever_hears_of_the_end_finds_the_link_dead() {
    let Rig { mut multiplexer, driver, peer: _peer, ledger } = rig(1024);
    let witness = Arc::new(Witness { ledger, found_dead: Mutex::default() });
    let sent = ping(&mut multiplexer);
    assert!(sent.call.poll(&mut Context::from_waker(&Arc::clone(&witness).into())).is_pending());
    settle().await;
    drop(driver);
    settle().await;
    assert_eq!(*lock(&witness.found_dead), [true]);
}

#[tokio::test(start_paused = true)]
async fn whoever_asked_last_is_woken() {
    let Rig { mut multiplexer, driver: _driver, mut peer, .. } = rig(1024);
    let asking = tokio::spawn(async move {
        let mut sent = ping(&mut multiplexer);
        assert!(sent.call.poll(&mut Context::from_waker(Waker::noop())).is_pending());
        sent.news().await
    });
    answer(&mut peer, PING.len(), b":1\r\n").await;
    let news = timeout(LIMIT, asking).await.expect("it is woken");
    assert!(matches!(news, Ok(News::Done(Ok(Value::Int(1))))));
}

/// The timer of a link fires for all of its requests.
#[tokio::test(start_paused = true)]
async fn what_was_put_off_is_not_overdue_with_somebody_else() {
    let Rig { mut multiplexer, driver: _driver, peer: _peer, .. } = rig(1024);
    let (mut other, start) = (multiplexer.clone(), Instant::now());
    let after = |millis| start.checked_add(Duration::from_millis(millis));
    let mut sent = ping_due(&mut multiplexer, after(10));
    assert!(matches!(sent.news().await, News::Overdue));
    sent.put_off(start + Duration::from_millis(50));
    assert!(matches!(news(ping_due(&mut other, after(30))).await, News::Overdue));
    assert!(matches!(news(sent).await, News::Overdue));
    assert_eq!(start.elapsed().as_millis(), 50);
}
