//! One bench's part of the report: headings, tables and charts in Markdown, printed as they come and left in the directory
//! `target/bench` (or `BENCH_DIR`), where `cargo xtask bench` puts the parts together.
#![allow(clippy::print_stdout, reason = "a bench talks to the person who started it")]

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::chart::Chart;
use crate::peers::Error;

/// The part of the report that one bench writes.
#[derive(Debug)]
pub struct Section {
    directory: PathBuf,
    name: &'static str,
    text: String,
    goals: Vec<(String, Vec<String>)>,
}

/// What a figure was to be.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Goal {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
    /// Less than this.
    Below(f64),
}

impl Goal {
    fn is_reached_by(self, figure: f64) -> bool {
        match self {
            Goal::AtLeast(goal) => figure >= goal,
            Goal::AtMost(goal) => figure <= goal,
            Goal::Below(goal) => figure < goal,
        }
    }
}

impl std::fmt::Display for Goal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Goal::AtLeast(goal) => write!(f, "≥ {goal}"),
            Goal::AtMost(goal) => write!(f, "≤ {goal}"),
            Goal::Below(goal) => write!(f, "< {goal}"),
        }
    }
}

impl Section {
    /// Begins a section, whose file is called `name`.
    #[must_use]
    pub fn new(name: &'static str, title: &str) -> Section {
        let mut section = Section { directory: directory(), name, text: String::new(), goals: Vec::new() };
        section.text(&format!("## {title}"));
        section
    }

    /// A smaller heading.
    pub fn heading(&mut self, heading: &str) {
        self.text(&format!("### {heading}"));
    }

    /// A paragraph.
    pub fn text(&mut self, text: &str) {
        println!("{text}\n");
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{text}\n");
    }

    /// A table, with what it shows in its upper left corner.
    pub fn table(&mut self, corner: &str, columns: &[&str], rows: &[(String, Vec<String>)]) {
        let mut table = format!("| {corner} | {} |\n|---|{}", columns.join(" | "), "---:|".repeat(columns.len()));
        for (name, cells) in rows {
            let _ = write!(table, "\n| {name} | {} |", cells.join(" | "));
        }
        self.text(&table);
    }

    /// Draws a chart and shows it here.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn chart(&mut self, file: &str, chart: &impl Chart) -> Result<(), Error> {
        fs::create_dir_all(&self.directory)?;
        chart.draw(&self.directory.join(file))?;
        self.text(&format!("![{}]({file})", chart.title()));
        Ok(())
    }

    /// Notes what was to be reached, and what was. Whether it was is judged by the figure as it is, not as it is shown.
    pub fn goal(&mut self, what: &str, goal: Goal, figure: f64) {
        let reached = if goal.is_reached_by(figure) { "reached" } else { "**not reached**" };
        self.goals.push((what.to_owned(), vec![goal.to_string(), format!("{figure:.2}"), reached.to_owned()]));
    }

    /// Writes it, with the goals at its end.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        let goals = std::mem::take(&mut self.goals);
        if !goals.is_empty() {
            self.heading("Goals");
            self.table("", &["goal", "this run", ""], &goals);
        }
        fs::create_dir_all(&self.directory)?;
        fs::write(self.directory.join(format!("{}.md", self.name)), self.text)
    }
}

fn directory() -> PathBuf {
    match std::env::var_os("BENCH_DIR") {
        Some(directory) => directory.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench"),
    }
}
