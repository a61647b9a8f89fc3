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
}

impl Section {
    /// Begins a section, whose file is called `name`.
    #[must_use]
    pub fn new(name: &'static str, title: &str) -> Section {
        let mut section = Section { directory: directory(), name, text: String::new() };
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

    /// Writes it.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn finish(self) -> io::Result<()> {
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
