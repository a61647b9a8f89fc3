//! What a reader of the report has to know of the machine: what it is, never which one it is. Neither its name nor any
//! path is in it. Called by `bench`; what the system does not tell is left out.

use std::fmt;
use std::process::Command;
use std::time::Duration;

use crate::shell;

/// Asking the system about itself, or version control about the source, takes no longer.
pub(super) const QUESTION_BOUND: Duration = Duration::from_secs(10);

/// Whatever could be learned, by name, in the order of the report.
#[derive(Debug)]
pub(super) struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// `programs` are the others that took part, with their versions.
    pub(super) fn read(programs: Vec<String>) -> Self {
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let ask = |program: &str, argument: &str| shell::read(Command::new(program).arg(argument), QUESTION_BOUND).ok();
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
        let facts = [
            ("CPU", model(&file("/proc/cpuinfo"))),
            ("cores", std::thread::available_parallelism().ok().map(|cores| cores.to_string())),
            ("memory", memory(&file("/proc/meminfo"))),
            ("kernel", ask("uname", "-sr").map(|told| kernel(&told))),
            ("compiler", ask(&rustc, "--version")),
            ("programs", Some(programs.join(", "))),
        ];
        let known = facts.into_iter().filter_map(|(name, fact)| Some((name, fact?.trim().to_owned())));
        Machine { facts: known.filter(|(_, fact)| !fact.is_empty()).collect() }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| machine | |\n|---|---|")?;
        self.facts.iter().try_for_each(|(name, fact)| writeln!(f, "| {name} | {fact} |"))
    }
}

/// `Linux 6.18.44-some-build` as `Linux 6.18`: what is built of it says more of the host than of the figures.
fn kernel(told: &str) -> String {
    told.trim().splitn(3, '.').take(2).collect::<Vec<_>>().join(".")
}

/// `model name : AMD EPYC`, with a tab
fn model(cpuinfo: &str) -> Option<String> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// `MemTotal:       24606424 kB`
fn memory(meminfo: &str) -> Option<String> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(format!("{:.0} GiB", kib / f64::from(1 << 20)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_known_by_two_numbers() {
        assert_eq!(kernel("Linux 6.18.44-some-build\n"), "Linux 6.18");
    }

    #[test]
    fn the_system_is_read_as_linux_writes_it() {
        assert_eq!(model("processor\t: 0\nmodel name\t: AMD EPYC: Rome\n").as_deref(), Some("AMD EPYC: Rome"));
        assert_eq!(memory("MemTotal:       24606424 kB\nMemFree: 1 kB\n").as_deref(), Some("23 GiB"));
        assert_eq!((model("garbage"), memory("MemTotal: much")), (None, None));
    }

    #[test]
    fn it_is_described_and_not_named() {
        let shown = Machine::read(vec!["Redis 7.0.15".to_owned()]).to_string();
        assert!(shown.contains("| compiler | rustc "), "{shown}");
        assert!(shown.contains("| programs | Redis 7.0.15 |"), "{shown}");
        assert!(!shown.contains(env!("CARGO_MANIFEST_DIR")), "{shown}");
        let name = shell::read(Command::new("uname").arg("-n"), QUESTION_BOUND).expect("every system has a name");
        assert!(!shown.split_whitespace().any(|word| word == name.trim()), "{shown}");
    }
}
