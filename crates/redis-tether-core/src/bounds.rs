//! How long recovery can take at worst, for each kind of failure, computed from the settings alone. Applications read it
//! through `Config::recovery_bounds()`; the tests and the simulation hold the code to it. Nothing here decides anything.

use std::time::Duration;

use crate::pacing::LanePace;
use crate::recovery::{Met, Settings};

/// How the endpoint's name is resolved.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct ResolveFigures {
    /// Between lookups while a link serves.
    pub interval: Duration,
    /// The part of `interval` by which a lookup may be earlier or later: 0.2 is 20 %. Taken as between 0 and 1.
    pub jitter: f64,
    /// The age of an answer that is still taken from another tether's lookup while a link serves. Zero where there is no
    /// other tether of this name in the process.
    pub settled_answer_age: Duration,
    /// The same while no link serves, for `urgent_for`.
    pub urgent_answer_age: Duration,
    /// The same after that.
    pub outage_answer_age: Duration,
    /// Between lookups while no link serves, for `urgent_for`. The first is made at once.
    pub urgent_interval: Duration,
    /// How long `urgent_interval` holds.
    pub urgent_for: Duration,
    /// Between lookups after that.
    pub outage_interval: Duration,
}

/// What an attempt may take at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DialFigures {
    /// Until the transport is connected.
    pub connect: Duration,
    /// Until the link is verified, everything included.
    pub total: Duration,
    /// Whether servers are asked, when they are dialled and by probes. One that is learned not to take any question counts
    /// as not asked.
    pub met: Met,
}

/// How a link is probed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProbeFigures {
    /// From the end of a probe to the next, at most.
    pub interval: Duration,
}

/// The worst case for each kind of failure: from the moment a primary is reachable under the name, to the moment its link
/// is published. Or, where nothing about the name or the server changes, from the moment the link went bad.
///
/// | what happened | bound | by default |
/// |---|---|---|
/// | refused or unreachable, back at the same address, in the first 5 s | [`same_address_young`](Self::same_address_young) | 100 ms |
/// | the same, later | [`same_address_old`](Self::same_address_old) | 200 ms |
/// | the same, and the resolver is mute | [`same_address_unresolved_young`](Self::same_address_unresolved_young), [`same_address_unresolved_old`](Self::same_address_unresolved_old) | 250 ms, 250 ms |
/// | accepted and rejected (LOADING, AUTH, replica, maxclients), until it is well, in the first 10 s | [`rejected_young`](Self::rejected_young) | 250 ms |
/// | the same, later | [`rejected_old`](Self::rejected_old) | 5 s |
/// | the name moves to another address, within 5 s of the loss | [`moved_young`](Self::moved_young) | 50 ms |
/// | the same, later | [`moved_old`](Self::moved_old) | 1 s |
/// | packets vanish, then the same address is back | [`black_holed_young`](Self::black_holed_young), [`black_holed_old`](Self::black_holed_old) | 1.1 s, 1.2 s |
/// | accepts and never speaks, then is well | [`mute_server_young`](Self::mute_server_young), [`mute_server_old`](Self::mute_server_old) | 3.1 s, 3.2 s |
/// | the primary hangs under load, the name moves | [`hung_under_load`](Self::hung_under_load) | 250 ms |
/// | the primary hangs, nothing is sent, the name moves | [`hung_idle`](Self::hung_idle) | 3.25 s |
/// | the link alone is dead (a firewall forgot it), under load | [`half_open_under_load`](Self::half_open_under_load) | 1.5 s |
/// | the same, and nothing is sent | [`half_open_idle`](Self::half_open_idle) | 4.5 s |
/// | demoted in place, the name moves, writes go on | [`demoted_writing`](Self::demoted_writing) | 50 ms |
/// | demoted in place, the name moves, nothing but reads | [`demoted_reading`](Self::demoted_reading) | 3 s |
/// | the name moves, the old primary goes on serving | [`moved_on_dns_evidence`](Self::moved_on_dns_evidence) | 2.65 s |
/// | the same again, right after such a move | [`moved_again_on_dns_evidence`](Self::moved_again_on_dns_evidence) | 12.65 s |
///
/// # What is not included
///
/// - Network round trips: of a lookup, of connecting and verifying, of a refused attempt, of a command's own reply.
/// - The resolution of timers (1 ms each) and stalls of the runtime.
/// - An `early_for` that ends meanwhile. It counts from the lane's first failure; where an attempt began to hang before its
///   end and timed out after it, `black_holed_old` and `mute_server_old` apply.
/// - A name that moves later than `urgent_for` after the suspicion or the demotion: then `moved_old` applies where the
///   bounds of a hang or a demotion say `moved_young`. Where the name had the new primary's address all along, there is no
///   news to act on, and it is found by asking: `rejected_young` or `rejected_old`, from its promotion. So is the old one
///   that is promoted again in place.
/// - Moves on DNS evidence where the name has led elsewhere in vain shortly before: they have a pace of their own, that of
///   rejections, which begins anew once a move succeeded or the name has meant the present address for `swap_interval`.
/// - What is in flight. On a link that is lost or abandoned for another address it ends at once. On one that is replaced at
///   its own address it is waited for, within the drain's limit and its own deadlines, since the server may only be pausing
///   writes: where the link was dead, those callers learn of it that much later than others get a new link.
/// - Where other addresses of the name hang, [`each_hanging_address`](Self::each_hanging_address) for each of them.
/// - A link that was lost before it had lived `settled_after` (5 s): its loss counts as a rejection, so that a server which
///   accepts everybody and keeps nobody is not met by a storm. Then `rejected_young` or `rejected_old` applies. So it does
///   where some addresses reject and others are unreachable, and where an address had been tried less than `fresh_after`
///   before the name came back to it.
/// - Blocking commands: their wait explains silence, and puts off probes.
/// - Crashes of our own actors that repeat within a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RecoveryBounds {
    /// Nobody was met, and the server is back at its address while the lane's `early_for` lasts: the pace's `early_cap`.
    pub same_address_young: Duration,
    /// The same after that: the pace's `late_cap`.
    pub same_address_old: Duration,
    /// As `same_address_young`, and no lookup is answered: an incarnation that gives up just then waits for an answer in
    /// vain, beside the pace. The longer of the two.
    pub same_address_unresolved_young: Duration,
    /// As `same_address_old`, likewise.
    pub same_address_unresolved_old: Duration,
    /// A server accepted and said no, and is well again while the lane's `early_for` lasts: the pace's `early_cap`.
    pub rejected_young: Duration,
    /// The same after that: the pace's `late_cap`.
    pub rejected_old: Duration,
    /// The name moves to an address that it did not have, within `urgent_for` of the loss: the lookup just missed it, and
    /// the next may be given an answer of `urgent_answer_age`. The address is tried at once, whatever the pace.
    pub moved_young: Duration,
    /// The same after that: `outage_interval` and `outage_answer_age` instead.
    pub moved_old: Duration,
    /// An attempt had just begun to hang in connecting, and counts as unreachable: `connect`, and `same_address_young`. It
    /// holds for an attempt that ends while the lane's `early_for` lasts, not for one that merely begins in it.
    pub black_holed_young: Duration,
    /// Likewise with `same_address_old`.
    pub black_holed_old: Duration,
    /// An attempt had just begun to hang after it had been accepted: `total`, and `same_address_young`, if it ends while the
    /// lane's `early_for` lasts.
    pub mute_server_young: Duration,
    /// Likewise with `same_address_old`.
    pub mute_server_old: Duration,
    /// What hangs beside the address that answers costs this much each: a round's attempts are staggered. Once an address
    /// is known to hang it is tried after the others, and costs nothing.
    pub each_hanging_address: Duration,
    /// From the first command that is sent to a server which has fallen silent to the suspicion: `suspect_after`. Twice that
    /// where it fell silent half-way through what it had been sent, and nothing is sent after that: it is probed first.
    pub suspected_under_load: Duration,
    /// From its falling silent while nothing is sent: a whole probe interval, and `suspect_after`, however long the probe is
    /// waited for. Never (`Duration::MAX`, here and in what rests on it) where servers are not asked.
    pub suspected_idle: Duration,
    /// The longer of `suspected_under_load` (suspicion looks the name up at once) and `moved_young`.
    pub hung_under_load: Duration,
    /// The longer of `suspected_idle` and `moved_young`.
    pub hung_idle: Duration,
    /// `suspected_under_load`, and then the bound on a link that is replaced at its own address: `replace_after`, or, right
    /// after a suspicion that proved wrong, `side_dial_interval` until a new link is dialled and `suspect_after` in which
    /// the old one may still speak. Never more than `dead_after`, and not less where servers are not asked: what accepts a new
    /// link may be as dead as the old one.
    pub half_open_under_load: Duration,
    /// The same after `suspected_idle`.
    pub half_open_idle: Duration,
    /// From the first refused write, or the name's move if that is later: the refusal has the name looked up at once, and after
    /// that it is `moved_young`.
    pub demoted_writing: Duration,
    /// The longer of the probe interval and `moved_young`. Never where servers are not asked.
    pub demoted_reading: Duration,
    /// The longest lookup interval, an answer of `settled_answer_age`, and `confirm_absence_after`.
    pub moved_on_dns_evidence: Duration,
    /// As `moved_on_dns_evidence`, and `swap_interval` before it.
    pub moved_again_on_dns_evidence: Duration,
}

/// The bounds that these settings promise. Not a function of the type, which applications see: to them the figures mean nothing.
#[must_use]
pub fn recovery_bounds(
    settings: &Settings,
    resolve: &ResolveFigures,
    dial: &DialFigures,
    probe: &ProbeFigures,
) -> RecoveryBounds {
    let (unreachable, rejected) = (&settings.pacing.unreachable, &settings.pacing.rejected);
    let (same_address_young, same_address_old) = (young(unreachable), old(unreachable));
    let moved_young = resolve.urgent_interval.saturating_add(resolve.urgent_answer_age);
    let moved_old = moved_young.max(resolve.outage_interval.saturating_add(resolve.outage_answer_age));
    let suspected_under_load = settings.suspect_after;
    let probed = match dial.met {
        Met::Answered => probe.interval,
        Met::Unasked => Duration::MAX,
    };
    let suspected_idle = probed.saturating_add(settings.suspect_after);
    let replaced = replaced(settings, dial.met);
    let half_open = |suspected: Duration| suspected.saturating_add(replaced);
    let moved_on_dns_evidence = moved_on_dns_evidence(settings, resolve);
    RecoveryBounds {
        same_address_young,
        same_address_old,
        same_address_unresolved_young: same_address_young.max(settings.fresh_answer_wait),
        same_address_unresolved_old: same_address_old.max(settings.fresh_answer_wait),
        rejected_young: young(rejected),
        rejected_old: old(rejected),
        moved_young,
        moved_old,
        black_holed_young: dial.connect.saturating_add(same_address_young),
        black_holed_old: dial.connect.saturating_add(same_address_old),
        mute_server_young: dial.total.saturating_add(same_address_young),
        mute_server_old: dial.total.saturating_add(same_address_old),
        each_hanging_address: settings.stagger,
        suspected_under_load,
        suspected_idle,
        hung_under_load: suspected_under_load.max(moved_young),
        hung_idle: suspected_idle.max(moved_young),
        half_open_under_load: half_open(suspected_under_load),
        half_open_idle: half_open(suspected_idle),
        demoted_writing: moved_young,
        demoted_reading: probed.max(moved_young),
        moved_on_dns_evidence,
        moved_again_on_dns_evidence: settings.swap_interval.saturating_add(moved_on_dns_evidence),
    }
}

fn young(pace: &LanePace) -> Duration {
    pace.early_cap
}

/// A late cap below the early one is refused by the configuration; here it does no harm.
fn old(pace: &LanePace) -> Duration {
    pace.late_cap.max(pace.early_cap)
}

/// From the suspicion to the replacement of a link at its own address, if it stays mute and a new one is verified.
fn replaced(settings: &Settings, met: Met) -> Duration {
    let after_a_false_one = settings.side_dial_interval.saturating_add(settings.suspect_after);
    let dead = settings.dead_after.saturating_sub(settings.suspect_after).max(settings.suspect_after);
    match met {
        Met::Answered => settings.replace_after.max(after_a_false_one).min(dead),
        Met::Unasked => dead,
    }
}

fn moved_on_dns_evidence(settings: &Settings, resolve: &ResolveFigures) -> Duration {
    // Whole microseconds are exact enough, and the product of two such figures cannot overflow.
    let jitter = if resolve.jitter.is_nan() { 0.0 } else { resolve.jitter.clamp(0.0, 1.0) };
    let later = Duration::try_from_secs_f64(resolve.interval.as_secs_f64() * jitter).unwrap_or(resolve.interval);
    [resolve.interval, later, resolve.settled_answer_age, settings.confirm_absence_after]
        .into_iter()
        .fold(Duration::ZERO, Duration::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn resolve() -> ResolveFigures {
        ResolveFigures {
            interval: ms(2_000),
            jitter: 0.2,
            settled_answer_age: Duration::ZERO,
            urgent_answer_age: Duration::ZERO,
            outage_answer_age: Duration::ZERO,
            urgent_interval: ms(50),
            urgent_for: ms(5_000),
            outage_interval: ms(1_000),
        }
    }

    fn bounds(settings: &Settings, resolve: &ResolveFigures) -> RecoveryBounds {
        bounds_where(Met::Answered, settings, resolve)
    }

    fn bounds_where(met: Met, settings: &Settings, resolve: &ResolveFigures) -> RecoveryBounds {
        let dial = DialFigures { connect: ms(1_000), total: ms(3_000), met };
        recovery_bounds(settings, resolve, &dial, &ProbeFigures { interval: ms(3_000) })
    }

    #[test]
    fn the_table_is_what_the_defaults_give() {
        let bounds = bounds(&Settings::default(), &resolve());
        let expected = RecoveryBounds {
            same_address_young: ms(100),
            same_address_old: ms(200),
            same_address_unresolved_young: ms(250),
            same_address_unresolved_old: ms(250),
            rejected_young: ms(250),
            rejected_old: ms(5_000),
            moved_young: ms(50),
            moved_old: ms(1_000),
            black_holed_young: ms(1_100),
            black_holed_old: ms(1_200),
            mute_server_young: ms(3_100),
            mute_server_old: ms(3_200),
            each_hanging_address: ms(250),
            suspected_under_load: ms(250),
            suspected_idle: ms(3_250),
            hung_under_load: ms(250),
            hung_idle: ms(3_250),
            half_open_under_load: ms(1_500),
            half_open_idle: ms(4_500),
            demoted_writing: ms(50),
            demoted_reading: ms(3_000),
            moved_on_dns_evidence: ms(2_650),
            moved_again_on_dns_evidence: ms(12_650),
        };
        assert_eq!(bounds, expected);
    }

    #[test]
    fn answers_of_other_tethers_make_moves_later() {
        let shared = ResolveFigures {
            settled_answer_age: ms(1_000),
            urgent_answer_age: ms(25),
            outage_answer_age: ms(250),
            ..resolve()
        };
        let bounds = bounds(&Settings::default(), &shared);
        assert_eq!((bounds.moved_young, bounds.moved_old), (ms(75), ms(1_250)));
        assert_eq!(bounds.moved_on_dns_evidence, ms(3_650));
    }

    #[test]
    fn without_questions_there_is_no_probe_and_no_early_replacement() {
        let bounds = bounds_where(Met::Unasked, &Settings::default(), &resolve());
        assert_eq!((bounds.suspected_under_load, bounds.hung_under_load), (ms(250), ms(250)));
        assert_eq!(bounds.half_open_under_load, ms(5_000));
        let never = [bounds.suspected_idle, bounds.hung_idle, bounds.half_open_idle, bounds.demoted_reading];
        assert_eq!(never, [Duration::MAX; 4]);
    }

    #[test]
    fn absurd_figures_do_no_harm() {
        let settings = Settings { swap_interval: Duration::MAX, dead_after: ms(1), ..Settings::default() };
        for jitter in [f64::NAN, f64::INFINITY, -1.0] {
            let bounds = bounds(&settings, &ResolveFigures { interval: Duration::MAX, jitter, ..resolve() });
            assert_eq!(bounds.moved_again_on_dns_evidence, Duration::MAX);
            assert_eq!(bounds.half_open_under_load, ms(500));
        }
    }
}
