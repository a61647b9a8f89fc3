//! The lines of the timeline: aligned columns, and colours where a person looks on. Only the timeline writes here; where
//! nobody reads any more it goes on in silence, and `main` notices.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use crate::arguments::Output;

/// What a line is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tone {
    Plain,
    Fault,
    Doubt,
    Good,
}

/// How the writes fare, so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Writes that the writer has begun.
    pub(crate) writes: u64,
    /// Of these, held now.
    pub(crate) held: u64,
    /// Replies by which a server refused a write that is sent again elsewhere.
    pub(crate) refused: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

#[derive(Debug)]
pub(crate) struct Screen {
    output: Output,
    is_coloured: bool,
}

impl Screen {
    pub(crate) fn new(output: Output) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { output, is_coloured: stdout().is_terminal() && !no_colour }
    }

    pub(crate) fn head(&self) {
        let columns =
            format!("{:>8}  {:<9}  {}", "seconds", "what", columns(["writes", "held", "refused", "done", "failed"]));
        self.write(columns.trim_end());
    }

    pub(crate) fn line(&self, at: Duration, tone: Tone, what: &str, counts: Counts, detail: &str) {
        let (on, off) = match (self.is_coloured, tone) {
            (false, _) | (_, Tone::Plain) => ("", ""),
            (true, Tone::Fault) => ("\u{1b}[31m", "\u{1b}[0m"),
            (true, Tone::Doubt) => ("\u{1b}[33m", "\u{1b}[0m"),
            (true, Tone::Good) => ("\u{1b}[32m", "\u{1b}[0m"),
        };
        let counts = [counts.writes, counts.held, counts.refused, counts.done, counts.failed].map(|n| n.to_string());
        let counts = columns(counts.each_ref().map(String::as_str));
        let line = format!("{:>8.3}  {on}{what:<9}{off}  {counts}  {detail}", at.as_secs_f64());
        self.write(line.trim_end());
    }

    fn write(&self, line: &str) {
        if self.output == Output::Timeline {
            // A reader that has left is no reason to leave servers behind.
            let _ = writeln!(stdout(), "{line}");
        }
    }
}

fn columns([writes, held, refused, done, failed]: [&str; 5]) -> String {
    format!("{writes:>6} {held:>5} {refused:>7} {done:>6} {failed:>6}")
}
