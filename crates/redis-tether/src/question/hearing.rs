//! What has come in so far of several who are asked the same, and how many there are: names that lead nowhere yet count as much as
//! whoever has not answered, so that a majority is one of all. Pure; a canvass fills it, and whom to believe its caller decides.

use std::net::SocketAddr;

/// See the head of this file.
pub(crate) struct Hearing<A, E> {
    /// Names that have led to no address, be it that they are still looked up.
    unlocated: usize,
    asked: Vec<SocketAddr>,
    /// Of those asked, who has answered or failed to.
    heard: Vec<SocketAddr>,
    answers: Vec<(SocketAddr, A)>,
    /// Of names, and of whoever was asked: either stays one that gave no answer.
    errors: Vec<E>,
}

impl<A, E> Hearing<A, E> {
    pub(super) fn new() -> Self {
        Hearing { unlocated: 0, asked: Vec::new(), heard: Vec::new(), answers: Vec::new(), errors: Vec::new() }
    }

    /// A name is looked up.
    pub(super) fn sought(&mut self) {
        self.unlocated += 1;
    }

    /// A name leads to these places: those that are to be asked now. Some are known by another name.
    pub(super) fn located(&mut self, places: Vec<SocketAddr>) -> Vec<SocketAddr> {
        self.unlocated -= 1;
        places.into_iter().filter(|at| self.ask(*at)).collect()
    }

    /// A name leads nowhere.
    pub(super) fn not_located(&mut self, error: E) {
        self.errors.push(error);
    }

    /// Whoever is there is one of them. `false` if that was known.
    pub(super) fn ask(&mut self, at: SocketAddr) -> bool {
        let is_news = !self.asked.contains(&at);
        if is_news {
            self.asked.push(at);
        }
        is_news
    }

    pub(super) fn said(&mut self, at: SocketAddr, said: Result<A, E>) {
        self.heard.push(at);
        match said {
            Ok(answer) => self.answers.push((at, answer)),
            Err(error) => self.errors.push(error),
        }
    }

    /// How many there are, as far as is known.
    pub(crate) fn size(&self) -> usize {
        self.asked.len() + self.unlocated
    }

    /// Whether whoever is there was asked, and has neither answered nor failed to.
    pub(crate) fn awaits(&self, at: SocketAddr) -> bool {
        self.asked.contains(&at) && !self.heard.contains(&at)
    }

    /// In the order in which they came.
    pub(crate) fn answers(&self) -> impl Iterator<Item = &A> {
        self.answers.iter().map(|(_, answer)| answer)
    }

    pub(crate) fn answer_of(&self, at: SocketAddr) -> Option<&A> {
        self.answers.iter().find_map(|(by, answer)| (*by == at).then_some(answer))
    }

    /// Who answered what, and what the others met.
    pub(crate) fn into_parts(self) -> (Vec<(SocketAddr, A)>, Vec<E>) {
        (self.answers, self.errors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 6379))
    }

    fn hearing(names: usize) -> Hearing<&'static str, &'static str> {
        let mut hearing = Hearing::new();
        (0..names).for_each(|_| hearing.sought());
        hearing
    }

    #[test]
    fn names_that_lead_nowhere_count_as_nodes_that_were_not_heard() {
        let mut hearing = hearing(3);
        assert_eq!(hearing.located(vec![place(1)]), [place(1)]);
        hearing.said(place(1), Ok("a"));
        assert_eq!(hearing.size(), 3, "two are still looked up");
        hearing.not_located("no such host: b");
        hearing.not_located("no such host: c");
        assert_eq!(hearing.size(), 3, "two were not found");
        assert_eq!(hearing.into_parts(), (vec![(place(1), "a")], vec!["no such host: b", "no such host: c"]));
    }

    #[test]
    fn a_node_of_two_names_is_one_and_a_name_of_two_nodes_is_two() {
        let mut hearing = hearing(2);
        assert_eq!(hearing.located(vec![place(1)]), [place(1)]);
        assert_eq!(hearing.located(vec![place(2), place(1), place(3), place(3)]), [place(2), place(3)]);
        assert_eq!(hearing.size(), 3);
    }

    #[test]
    fn whoever_was_asked_before_the_names_were_known_is_one_of_them() {
        let mut hearing = hearing(2);
        assert!(hearing.ask(place(1)));
        assert_eq!(hearing.size(), 3, "it may be another one");
        assert_eq!(hearing.located(vec![place(2), place(1)]), [place(2)]);
        assert_eq!(hearing.size(), 3, "one name is still looked up");
    }

    #[test]
    fn one_is_awaited_until_it_has_answered_or_failed_to() {
        let mut hearing = hearing(0);
        assert!(!hearing.awaits(place(1)), "it is not asked");
        assert!(hearing.ask(place(1)) && hearing.ask(place(2)));
        assert!(hearing.awaits(place(1)) && hearing.awaits(place(2)));
        hearing.said(place(2), Ok("b"));
        hearing.said(place(1), Err("refused"));
        assert!(!hearing.awaits(place(1)) && !hearing.awaits(place(2)));
        assert_eq!((hearing.answer_of(place(1)), hearing.answer_of(place(2))), (None, Some(&"b")));
        assert!(hearing.answers().eq(&["b"]));
        assert_eq!(hearing.size(), 2);
    }
}
