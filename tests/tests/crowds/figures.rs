//! The figures that crowds are measured by: how durations are spread, how much memory is in use.

use std::time::Duration;

/// Durations, to be sorted once.
pub(crate) struct Spread {
    sorted: Vec<Duration>,
}

impl Spread {
    pub(crate) fn of(mut durations: Vec<Duration>) -> Spread {
        durations.sort_unstable();
        Spread { sorted: durations }
    }

    /// The duration that this share of them does not exceed.
    pub(crate) fn at(&self, share: f64) -> Duration {
        let place = (self.sorted.len().saturating_sub(1) as f64 * share).ceil() as usize;
        self.sorted.get(place).copied().unwrap_or_default()
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most, nearly, all] = [0.5, 0.99, 0.999, 1.0].map(|share| self.at(share));
        write!(f, "median {half:.1?}, 99 % {most:.1?}, 99.9 % {nearly:.1?}, longest {all:.1?} ({})", self.sorted.len())
    }
}

/// The memory of this process, in bytes. Where the system does not say, it is zero: it is shown, and bounded from above.
pub(crate) fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
    kib.unwrap_or(0u64) * 1024
}

#[expect(clippy::print_stdout, reason = "the figures are what the full run is for")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
