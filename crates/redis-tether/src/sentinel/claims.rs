//! What sentinels say, put in order. Each configuration that sentinels agree on has an epoch, which grows with every failover:
//! whoever knows of a later one is right, and of those who know of the same one most are. Pure; the inquiry calls it.

/// Where somebody says that the primary is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Claim {
    /// An address or, if the sentinels announce them, a name.
    pub(super) host: String,
    pub(super) port: u16,
    /// The epoch of the configuration that says so; `None` where the sentinel would not tell.
    pub(super) epoch: Option<u64>,
}

impl Claim {
    pub(super) fn names_the_same(&self, other: &Claim) -> bool {
        self.host == other.host && self.port == other.port
    }

    /// Whether this says something else than `standing`, and knows better.
    pub(super) fn supersedes(&self, standing: &Claim) -> bool {
        !self.names_the_same(standing) && self.epoch > standing.epoch
    }
}

/// A claim, and how many make it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Ranked {
    pub(super) claim: Claim,
    pub(super) votes: usize,
}

/// Each place that is claimed once, the best first.
pub(super) fn ranked<'a>(claims: impl IntoIterator<Item = &'a Claim>) -> Vec<Ranked> {
    let mut ranked: Vec<Ranked> = Vec::new();
    for claim in claims {
        match ranked.iter_mut().find(|known| known.claim.names_the_same(claim)) {
            Some(known) => {
                known.votes += 1;
                known.claim.epoch = known.claim.epoch.max(claim.epoch);
            }
            None => ranked.push(Ranked { claim: claim.clone(), votes: 1 }),
        }
    }
    // Stable: among equals, who answered first.
    ranked.sort_by_key(|known| std::cmp::Reverse((known.claim.epoch, known.votes)));
    ranked
}

/// What the claims of so many sentinels come to, given what stood before: the places to try, the best first.
pub(super) fn verdict<'a>(
    claims: impl IntoIterator<Item = &'a Claim>,
    sentinels: usize,
    standing: Option<&Claim>,
) -> Vec<Claim> {
    let ranked = ranked(claims);
    let Some(best) = ranked.first() else { return Vec::new() };
    // Those who know of a later configuration may just be away; but most of them cannot have forgotten it, unless they were all
    // set up anew.
    let remembered =
        standing.filter(|standing| standing.epoch > best.claim.epoch && !is_majority(best.votes, sentinels));
    let mut places: Vec<Claim> = remembered.into_iter().cloned().collect();
    for Ranked { claim, .. } in ranked {
        if !places.iter().any(|place| place.names_the_same(&claim)) {
            places.push(claim);
        }
    }
    places
}

pub(super) fn is_majority(votes: usize, sentinels: usize) -> bool {
    votes * 2 > sentinels
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(host: &str, epoch: u64) -> Claim {
        Claim { host: host.to_owned(), port: 6379, epoch: Some(epoch) }
    }

    fn hosts(claims: &[Claim], sentinels: usize, standing: Option<&Claim>) -> Vec<String> {
        verdict(claims, sentinels, standing).into_iter().map(|claim| claim.host).collect()
    }

    #[test]
    fn a_later_epoch_counts_for_more_than_numbers() {
        let claims = [claim("old", 1), claim("old", 1), claim("new", 2)];
        assert_eq!(hosts(&claims, 3, None), ["new", "old"]);
        assert!(claims[2].supersedes(&claims[0]) && !claims[0].supersedes(&claims[2]));
    }

    #[test]
    fn of_one_epoch_most_are_right_and_whoever_tells_none_comes_last() {
        let silent = Claim { epoch: None, ..claim("silent", 0) };
        let claims = [silent.clone(), claim("few", 1), silent, claim("many", 1), claim("many", 1)];
        assert_eq!(hosts(&claims, 5, None), ["many", "few", "silent"]);
    }

    #[test]
    fn what_stood_with_a_later_epoch_is_kept_until_most_say_otherwise() {
        let standing = claim("new", 5);
        assert_eq!(hosts(&[claim("old", 4)], 3, Some(&standing)), ["new", "old"]);
        assert_eq!(hosts(&[claim("other", 0), claim("other", 0)], 3, Some(&standing)), ["other"]);
        assert_eq!(hosts(&[claim("next", 6)], 3, Some(&standing)), ["next"]);
        assert_eq!(hosts(&[], 3, Some(&standing)), [""; 0]);
    }
}
