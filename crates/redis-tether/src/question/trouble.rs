//! Which failures of what is asked again and again are worth telling. Each may read differently, by who was asked and who failed
//! first: told one by one they would fill a log for as long as an outage lasts.

/// What is known of an outage; at first, that there is none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) enum Trouble {
    #[default]
    None,
    /// It may pass by itself.
    Passing,
    /// It will not.
    ForPeople,
}

impl Trouble {
    /// What came of asking, by the error if that failed.
    pub(crate) fn of<E>(error: Option<&E>, is_for_people: impl Fn(&E) -> bool) -> Trouble {
        match error.map(is_for_people) {
            None => Trouble::None,
            Some(false) => Trouble::Passing,
            Some(true) => Trouble::ForPeople,
        }
    }

    /// Whether to tell of what happened: of the first failure, and of the first that only people can mend, which may come to light
    /// later. A success ends the outage.
    pub(crate) fn is_news(&mut self, now: Trouble) -> bool {
        let is_news = now > *self;
        if is_news || now == Trouble::None {
            *self = now;
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::Trouble::{ForPeople, None, Passing};
    use super::*;

    #[test]
    fn an_outage_is_told_of_once_and_once_more_where_only_people_can_end_it() {
        let mut trouble = Trouble::default();
        let mut told = |happened: &[Trouble]| happened.iter().map(|now| trouble.is_news(*now)).collect::<Vec<_>>();
        assert_eq!(told(&[None, Passing, Passing, ForPeople]), [false, true, false, true]);
        assert_eq!(told(&[Passing, ForPeople, None]), [false, false, false]);
        assert_eq!(told(&[ForPeople, Passing, None, Passing]), [true, false, false, true]);
    }
}
