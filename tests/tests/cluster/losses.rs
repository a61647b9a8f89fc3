//! What servers lose by themselves: a primary confirms what its replica does not have yet, and is killed. Exactly that is excused. What the
//! replica had is all that its primary had done up to some moment, so that of one caller's writes, done one after the other, the last
//! ones before the death may be missing, and none of which a later one is there.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::world::Done;

/// What is missing of these writes of one caller to one shard, other than by the deaths of its primaries, in the order in which they were
/// done. Each moment is one at which the primary was dead already, and its successor had not begun.
pub(crate) fn unexplained<'a>(done: &'a [Done], held: &BTreeMap<String, u32>, deaths: &[Instant]) -> Vec<&'a str> {
    let is_there = |write: &&Done| held.contains_key(&write.value);
    let (mut rest, mut missing) = (done, Vec::new());
    for death in deaths {
        let (before, after) = rest.split_at(rest.partition_point(|write| write.begun <= *death));
        rest = after;
        // The last one may have been on its way: then it is the successor's.
        let Some((_, before)) = before.split_last() else { continue };
        let kept = before.iter().rposition(|write| is_there(&write)).map_or(0, |last| last + 1);
        missing.extend(&before[..kept]);
    }
    missing.extend(rest);
    missing.into_iter().filter(|write| !is_there(write)).map(|write| &*write.value).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Writes at the seconds 1, 2, and so on, of which these are there, and deaths half a second after these.
    fn missing(count: u64, there: &[u64], deaths: &[u64]) -> Vec<String> {
        let start = Instant::now();
        let at = |second: u64| start + Duration::from_secs(second);
        let done: Vec<_> = (1..=count).map(|write| Done { value: write.to_string(), begun: at(write) }).collect();
        let held = there.iter().map(|write| (write.to_string(), 1)).collect();
        let deaths: Vec<_> = deaths.iter().map(|second| at(*second) + Duration::from_millis(500)).collect();
        unexplained(&done, &held, &deaths).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn only_the_last_before_a_death_may_be_missing() {
        assert_eq!(missing(5, &[1, 2, 3, 4, 5], &[]), [""; 0]);
        assert_eq!(missing(5, &[1, 2, 3, 5], &[]), ["4"], "nobody died");
        assert_eq!(missing(6, &[1, 2, 5, 6], &[4]), [""; 0], "the last two before it");
        assert_eq!(missing(6, &[1, 2, 4, 5, 6], &[4]), [""; 0], "the last was on its way");
        assert_eq!(missing(6, &[1, 3, 5, 6], &[4]), ["2"], "what came later is there");
        assert_eq!(missing(6, &[1, 2, 3, 4, 6], &[4]), ["5"], "nobody died since");
        assert_eq!(missing(6, &[], &[3, 6]), [""; 0], "one death after the other");
        assert_eq!(missing(6, &[5], &[3, 6]), ["4"]);
        assert_eq!(missing(2, &[], &[0]), ["1", "2"]);
    }
}
