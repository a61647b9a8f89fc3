//! Asking all of several the same at once: names are looked up, and whoever they lead to is asked, once. It is over when its caller
//! finds it decided, when everybody was heard, or soon after the first answer: those who are slow or dead hold up nobody who has one.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::{Fan, Hearing};

/// After the first answer the others are waited for no longer than this: most of them are on the same network, and recovery
/// waits for it where one is frozen and two disagree.
const GRACE: Duration = Duration::from_millis(50);

/// See the head of this file. Until somebody answers, the lookups and the questions bound the waiting: each must end.
pub(crate) struct Canvass<'a, A, E, Q> {
    hearing: Hearing<A, E>,
    // All at once, and none of them in the way of a question: where DNS hangs, those whose addresses are known are asked all the same.
    lookups: Fan<'a, Located<E>>,
    questions: Fan<'a, (SocketAddr, Result<A, E>)>,
    question: Q,
}

type Located<E> = Result<Vec<SocketAddr>, E>;

enum Report<A, E> {
    Located(Located<E>),
    Said(SocketAddr, Result<A, E>),
}

impl<'a, A, E, Q, F> Canvass<'a, A, E, Q>
where
    A: Send + 'a,
    E: Send + 'a,
    Q: FnMut(SocketAddr) -> F,
    F: Future<Output = Result<A, E>> + Send + 'a,
{
    /// The question to whoever is at an address.
    pub(crate) fn new(question: Q) -> Self {
        Canvass { hearing: Hearing::new(), lookups: Fan::wide(usize::MAX), questions: Fan::new(), question }
    }

    /// Asks whoever this name leads to.
    pub(crate) fn look_up(&mut self, lookup: impl Future<Output = Located<E>> + Send + 'a) {
        self.hearing.sought();
        self.lookups.add(lookup);
    }

    /// Asks whoever is there, if that is not done yet.
    pub(crate) fn ask(&mut self, at: SocketAddr) {
        if self.hearing.ask(at) {
            self.question(at);
        }
    }

    /// Hears them. Cancel safe: dropping the future drops every question that is under way.
    pub(crate) async fn until(mut self, is_decided: impl Fn(&Hearing<A, E>) -> bool) -> Hearing<A, E> {
        let mut end = None;
        while let Some(report) = self.next(end).await {
            self.note(report);
            if is_decided(&self.hearing) {
                break;
            }
            if self.hearing.answers().next().is_some() {
                end.get_or_insert_with(|| Instant::now() + GRACE);
            }
        }
        self.hearing
    }

    /// `None` if there is none to come, or not in time.
    async fn next(&mut self, end: Option<Instant>) -> Option<Report<A, E>> {
        match end {
            Some(end) => timeout_at(end, self.report()).await.unwrap_or_default(),
            None => self.report().await,
        }
    }

    async fn report(&mut self) -> Option<Report<A, E>> {
        tokio::select! {
            biased;
            Some((at, said)) = self.questions.next() => Some(Report::Said(at, said)),
            Some(located) = self.lookups.next() => Some(Report::Located(located)),
            else => None,
        }
    }

    fn note(&mut self, report: Report<A, E>) {
        match report {
            Report::Located(Ok(places)) => {
                for at in self.hearing.located(places) {
                    self.question(at);
                }
            }
            Report::Located(Err(error)) => self.hearing.not_located(error),
            Report::Said(at, said) => self.hearing.said(at, said),
        }
    }

    fn question(&mut self, at: SocketAddr) {
        let said = (self.question)(at);
        self.questions.add(async move { (at, said.await) });
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use tokio::time::{sleep, timeout};

    use super::*;

    type Heard = Hearing<u8, &'static str>;

    fn place(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6379))
    }

    /// Whoever is at 10.0.0.n says n after as many seconds; 0 never says anything, and those above 100 hang up at once.
    async fn says(at: SocketAddr) -> Result<u8, &'static str> {
        let SocketAddr::V4(v4) = at else { return Err("nobody is there") };
        match v4.ip().octets()[3] {
            0 => pending().await,
            n if n > 100 => Err("hung up"),
            n => {
                sleep(Duration::from_secs(n.into())).await;
                Ok(n)
            }
        }
    }

    /// Each name leads to these at once.
    async fn heard(names: Vec<Vec<u8>>, is_decided: impl Fn(&Heard) -> bool) -> (Heard, Duration) {
        let begun = Instant::now();
        let mut canvass = Canvass::new(says);
        for name in names {
            canvass.look_up(ready(Ok(name.into_iter().map(place).collect())));
        }
        let hearing = timeout(Duration::from_secs(1_000), canvass.until(is_decided)).await.expect("an end");
        (hearing, begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_it_is_decided() {
        let is_decided = |hearing: &Heard| hearing.answers().next().is_some();
        let (hearing, took) = heard(vec![vec![0], vec![3], vec![2]], is_decided).await;
        assert_eq!(hearing.into_parts(), (vec![(place(2), 2)], vec![]));
        // Timers fire on whole milliseconds.
        assert!(took < Duration::from_secs(2) + GRACE / 2, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_first_answer_others_are_waited_for_only_a_moment() {
        let (hearing, took) = heard(vec![vec![0, 3], vec![2]], |_| false).await;
        assert_eq!(hearing.into_parts(), (vec![(place(2), 2)], vec![]));
        let grace = took - Duration::from_secs(2);
        assert!((GRACE..GRACE * 2).contains(&grace), "{grace:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_fails_is_no_answer_and_when_all_were_heard_it_is_over() {
        let (hearing, took) = heard(vec![vec![101], vec![102]], |_| false).await;
        assert_eq!((hearing.size(), took), (2, Duration::ZERO));
        assert_eq!(hearing.into_parts(), (vec![], vec!["hung up", "hung up"]));
        let mut canvass = Canvass::new(says);
        canvass.look_up(ready(Err("no such host")));
        canvass.look_up(async {
            sleep(GRACE * 10).await;
            Ok(vec![place(1)])
        });
        let hearing = canvass.until(|_| false).await;
        assert_eq!(hearing.size(), 2);
        assert_eq!(hearing.into_parts(), (vec![(place(1), 1)], vec!["no such host"]));
    }

    /// No name server answers, but some names are addresses.
    #[tokio::test(start_paused = true)]
    async fn names_that_lead_nowhere_yet_keep_nobody_from_being_asked() {
        let begun = Instant::now();
        let mut canvass = Canvass::new(says);
        for node in [1, 2] {
            canvass.look_up(ready(Ok(vec![place(node)])));
        }
        for _ in 0..50 {
            canvass.look_up(async {
                sleep(Duration::from_secs(60)).await;
                Err("timed out")
            });
        }
        canvass.look_up(ready(Ok(vec![place(3)])));
        let hearing = canvass.until(|hearing| hearing.answers().count() == 1).await;
        assert_eq!(hearing.into_parts(), (vec![(place(1), 1)], vec![]));
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn everybody_is_asked_once() {
        let mut asked = Vec::new();
        let mut canvass = Canvass::new(|at| {
            asked.push(at);
            ready(Err::<u8, _>("hung up"))
        });
        canvass.ask(place(2));
        canvass.look_up(ready(Ok(vec![place(1), place(2)])));
        canvass.look_up(ready(Ok(vec![place(3), place(1)])));
        canvass.ask(place(2));
        assert_eq!(canvass.until(|_| false).await.size(), 3);
        assert_eq!(asked, [place(2), place(1), place(3)]);
    }
}
