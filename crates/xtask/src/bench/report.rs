//! The report of the benches in Markdown: a head that says where and how it was made, then the section of each. Called by
//! `bench`. It reads and runs nothing.

use std::fmt;

use super::machine::Machine;

/// What belongs together in one file.
#[derive(Debug)]
pub(super) struct Report {
    /// What made it.
    pub(super) command: String,
    /// Of which source, where that is under version control.
    pub(super) revision: Option<String>,
    pub(super) machine: Machine,
    /// The versions of what is compared.
    pub(super) clients: Vec<String>,
    pub(super) sections: Vec<Section>,
}

/// What came of one bench.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) bench: String,
    /// Its Markdown, or why there is none.
    pub(super) outcome: Result<String, String>,
}

impl Report {
    /// The benches that have no section.
    pub(super) fn failed(&self) -> Vec<&str> {
        let failed = self.sections.iter().filter(|section| section.outcome.is_err());
        failed.map(|section| section.bench.as_str()).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = self.revision.as_ref().map(|revision| format!(" at revision {revision}")).unwrap_or_default();
        writeln!(f, "# Benches\n\nMade by `{}`{of}.\n\n{}", self.command, self.machine)?;
        if !self.clients.is_empty() {
            writeln!(f, "Built with {}.\n", self.clients.join(", "))?;
        }
        self.sections.iter().try_for_each(|section| match &section.outcome {
            Ok(text) => writeln!(f, "{}\n", text.trim()),
            Err(reason) => writeln!(f, "## {}\n\nFailed, and has no figures: {reason}\n", section.bench),
        })
    }
}

/// Reads what `cargo tree` prints: the package itself, then what it depends on. Packages of the workspace are shown with
/// their path, which is nobody's business.
pub(super) fn clients_in(tree: &str) -> Vec<String> {
    let dependencies = tree.lines().skip(1).filter(|line| !line.contains('('));
    dependencies.filter_map(|line| line.split_once(" v")).map(|(name, version)| format!("{name} {version}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(sections: Vec<Section>) -> Report {
        let machine = Machine::read(Vec::new());
        let (command, revision) = ("cargo xtask bench".to_owned(), Some("1a2b3c".to_owned()));
        Report { command, revision, machine, clients: vec!["redis 1.8.1".to_owned()], sections }
    }

    fn section(bench: &str, outcome: Result<&str, &str>) -> Section {
        Section { bench: bench.to_owned(), outcome: outcome.map(str::to_owned).map_err(str::to_owned) }
    }

    #[test]
    fn the_head_comes_first_and_sections_follow_in_order() {
        let text = report(vec![section("a", Ok("## First\n\n")), section("b", Ok("## Second"))]).to_string();
        let places = [
            "# Benches\n\nMade by `cargo xtask bench` at revision 1a2b3c.\n",
            "| compiler |",
            "redis 1.8.1",
            "## First",
            "## Second",
        ]
        .map(|part| text.find(part).unwrap_or_else(|| panic!("no {part:?} in {text}")));
        assert!(places.is_sorted(), "{text}");
        // A paragraph each, or the second heading is part of the first section's last table.
        assert!(text.contains("## First\n\n## Second\n"), "{text}");
    }

    #[test]
    fn a_bench_that_failed_is_named_and_the_others_are_there() {
        let report = report(vec![section("a", Err("`it` ended with 1")), section("b", Ok("## Second"))]);
        assert_eq!(report.failed(), ["a"]);
        let text = report.to_string();
        assert!(text.contains("## a\n\nFailed, and has no figures: `it` ended with 1\n\n## Second"), "{text}");
    }

    #[test]
    fn clients_are_what_came_from_a_registry() {
        let tree =
            "benches v0.1.0 (/w/benches)\nfred v10.1.0\nredis v1.8.1\nours v0.1.0 (/w/ours)\nmacros v1 (proc-macro)\n";
        assert_eq!(clients_in(tree), ["fred 10.1.0", "redis 1.8.1"]);
    }
}
