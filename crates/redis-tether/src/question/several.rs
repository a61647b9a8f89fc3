//! What is told of the errors of several who were asked the same, where none of them could say it.

/// See the head of this file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Several<E> {
    asked: usize,
    for_people: usize,
    told: Box<E>,
}

impl<E> Several<E> {
    /// Of one error at least, one for each who was asked or could not be found. The one that is told is the first that only people
    /// can mend, or else what came first.
    pub(crate) fn of(mut errors: Vec<E>, is_for_people: impl Fn(&E) -> bool) -> Option<Several<E>> {
        let asked = errors.len();
        let for_people = errors.iter().filter(|error| is_for_people(error)).count();
        let told = errors.iter().position(is_for_people).unwrap_or_default();
        (asked > 0).then(|| Several { asked, for_people, told: Box::new(errors.swap_remove(told)) })
    }

    /// How many.
    pub(crate) fn asked(&self) -> usize {
        self.asked
    }

    pub(crate) fn told(&self) -> &E {
        &self.told
    }

    /// Whether only people can mend what any of them met. Else the others may answer at any moment.
    pub(crate) fn is_for_people(&self) -> bool {
        self.for_people == self.asked
    }

    /// The error of the one that was asked, if it was only one.
    pub(crate) fn only(self) -> Result<E, Several<E>> {
        if self.asked == 1 { Ok(*self.told) } else { Err(self) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn several(errors: &[&'static str]) -> Option<Several<&'static str>> {
        Several::of(errors.to_vec(), |error| error.starts_with("for people"))
    }

    #[test]
    fn what_people_can_mend_is_told_first_and_counts_where_all_met_it() {
        let some = several(&["a", "for people: b", "for people: c"]).expect("three");
        assert_eq!((some.asked(), *some.told(), some.is_for_people()), (3, "for people: b", false));
        let all = several(&["for people: b", "for people: c"]).expect("two");
        assert_eq!((all.asked(), *all.told(), all.is_for_people()), (2, "for people: b", true));
        let none = several(&["a", "b"]).expect("two");
        assert_eq!((none.asked(), *none.told(), none.is_for_people()), (2, "a", false));
    }

    #[test]
    fn one_speaks_for_itself() {
        assert_eq!(several(&["a"]).map(Several::only), Some(Ok("a")));
        assert_eq!(several(&["a", "b"]).map(|several| several.only().is_err()), Some(true));
        assert_eq!(several(&[]), None);
    }
}
