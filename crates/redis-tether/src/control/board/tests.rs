//! What subscribers see of a board, also where their own code panics or comes back to it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use redis_tether_core::{Address, Epoch};

use super::*;

fn board() -> Arc<Board> {
    Arc::new(Board::new("redis.test".into()))
}

/// Events that can be told apart.
fn event(number: usize) -> Event {
    Event::Dialling { epoch: Epoch::FIRST, address: Address::Unix(number.to_string().into()) }
}

fn number(event: &Event) -> Option<usize> {
    match event {
        Event::Dialling { address: Address::Unix(path), .. } => path.to_str()?.parse().ok(),
        _ => None,
    }
}

/// What a forward was handed.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<Event>>>);

impl Log {
    fn of(board: &Board) -> Log {
        let log = Log::default();
        board.forward(log.forward());
        log
    }

    fn forward(&self) -> impl Fn(&Event) -> bool + Send + 'static {
        let log = self.clone();
        move |event| {
            log.0.lock().expect("no panic").push(event.clone());
            true
        }
    }

    fn numbers(&self) -> Vec<usize> {
        self.0.lock().expect("no panic").iter().filter_map(number).collect()
    }
}

/// An idle tether has no backlog for readers that it does not have.
#[test]
fn room_for_events_is_made_for_the_first_who_subscribes() {
    let board = board();
    board.send(event(1));
    assert!(board.events.get().is_none());
    let (mut first, mut second) = (board.events(), board.events());
    board.send(event(2));
    for events in [&mut first, &mut second] {
        assert_eq!(events.try_recv().ok().as_ref().and_then(number), Some(2));
        assert!(events.try_recv().is_err(), "only what happened since");
    }
}

/// A conversion is the application's code: it may send, subscribe, and look at the status.
#[test]
fn a_forward_may_come_back_to_its_board() {
    let board = board();
    let (late, has_come_back) = (Log::default(), AtomicBool::new(false));
    let (again, late_forward) = (Arc::downgrade(&board), late.clone());
    let before = Log::of(&board);
    board.forward(move |_| {
        let board = again.upgrade().expect("the test holds it");
        if !has_come_back.swap(true, Ordering::Relaxed) {
            board.send(event(2));
            board.forward(late_forward.forward());
            board.update(|status| status.failed_rounds = 7);
        }
        true
    });
    let after = Log::of(&board);
    let (sender, receiver) = std::sync::mpsc::channel();
    let sending = board.clone();
    thread::spawn(move || {
        sending.send(event(1));
        let _ = sender.send(());
    });
    let sent = receiver.recv_timeout(std::time::Duration::from_secs(20));
    sent.expect("waited 20 s for the event to be sent: a forward that comes back must not meet a lock");
    board.send(event(3));
    assert_eq!((before.numbers(), after.numbers()), (vec![1, 2, 3], vec![1, 2, 3]));
    assert_eq!(late.numbers(), [2, 3], "added in the middle of the first");
    assert_eq!(board.status().borrow().failed_rounds, 7);
}

#[test]
fn forwards_keep_their_order_also_those_that_are_added_meanwhile() {
    let board = board();
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = order.clone();
        move |_: &Event| {
            order.lock().expect("no panic").push(name);
            true
        }
    };
    board.forward(note("first"));
    let (adding, third) = (Arc::downgrade(&board), Mutex::new(Some(note("third"))));
    board.forward(move |_| {
        if let Some(third) = third.lock().expect("no panic").take() {
            adding.upgrade().expect("the test holds it").forward(third);
        }
        true
    });
    board.forward(note("second"));
    board.send(event(1));
    board.send(event(2));
    assert_eq!(*order.lock().expect("no panic"), ["first", "second", "first", "second", "third"]);
}

/// Two actors on two threads.
#[test]
fn everybody_sees_all_events_in_one_order() {
    const EACH: usize = 100;
    let board = board();
    let (one, other) = (Log::of(&board), Log::of(&board));
    let mut receiver = board.events();
    let start = Barrier::new(2);
    thread::scope(|scope| {
        for sender in 0..2 {
            let (board, start) = (&board, &start);
            scope.spawn(move || {
                start.wait();
                (0..EACH).for_each(|nth| board.send(event(sender * EACH + nth)));
            });
        }
    });
    let numbers = one.numbers();
    assert_eq!(numbers.len(), 2 * EACH, "none is lost");
    assert_eq!(other.numbers(), numbers);
    let received: Vec<_> = std::iter::from_fn(|| receiver.try_recv().ok()).filter_map(|event| number(&event)).collect();
    assert_eq!(received, numbers);
}

#[test]
fn a_forward_that_panics_ends_alone() {
    let board = board();
    let before = Log::of(&board);
    board.forward(|_| panic!("a test asked for it"));
    let after = Log::of(&board);
    board.send(event(1));
    board.send(event(2));
    assert_eq!((before.numbers(), after.numbers()), (vec![1, 2], vec![1, 2]));
}

#[test]
fn nothing_follows_the_end() {
    let board = board();
    let mut receiver = board.events();
    board.send(Event::Stopped);
    board.send(event(1));
    board.send(Event::Stopped);
    assert_eq!(receiver.try_recv(), Ok(Event::Stopped));
    assert!(receiver.try_recv().is_err());
}

/// It may hold what holds the board.
#[test]
fn a_forward_is_let_go_after_the_end() {
    let board = board();
    let held = Arc::new(());
    let forward = || {
        let held = held.clone();
        move |_: &Event| Arc::strong_count(&held) > 0
    };
    board.forward(forward());
    board.send(event(1));
    assert_eq!(Arc::strong_count(&held), 2);
    board.send(Event::Stopped);
    assert_eq!(Arc::strong_count(&held), 1);
    board.forward(forward());
    assert_eq!(Arc::strong_count(&held), 1, "nothing will come for this one");
}

#[test]
fn what_is_stopping_stays_so_until_it_has_stopped() {
    let board = board();
    let phase = |phase| {
        board.update(|status| status.phase = phase);
        board.status().borrow().phase
    };
    assert_eq!(phase(Phase::Connected), Phase::Connected);
    assert_eq!(phase(Phase::Stopping), Phase::Stopping);
    assert_eq!(phase(Phase::Connected), Phase::Stopping);
    assert_eq!(phase(Phase::Stopped), Phase::Stopped);
    assert_eq!(phase(Phase::Stopping), Phase::Stopped);
}

/// Lookups and dials fail many times a second while an outage lasts.
#[tokio::test(start_paused = true)]
async fn who_watches_the_status_is_not_woken_by_the_same_error_again_and_finds_when_it_was() {
    let board = board();
    let mut status = board.status();
    let failed = |error: &str| board.update(|status| status.failed(&error.into()));
    failed("no such host");
    assert!(status.has_changed().expect("the board lives"));
    status.mark_unchanged();
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    failed("no such host");
    assert!(!status.has_changed().expect("the board lives"));
    assert_eq!(status.borrow().last_error_at, Some(tokio::time::Instant::now()));
    failed("refused");
    assert!(status.has_changed().expect("the board lives"));
}
