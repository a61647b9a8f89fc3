//! What a client in a process of its own tells the test that started it: one line of numbers, written by
//! `bin/steady_client.rs` and read by the test.

use std::fmt;
use std::str::FromStr;

/// The numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Commands that were answered.
    pub answered: u64,
    /// Commands that failed, or were executed other than once.
    pub failed: u64,
    /// 1 if the link at the end is the one of the beginning, else 0.
    pub same_epoch: u64,
    /// Attempts to make a link, the first one included.
    pub dials: u64,
    /// Commands that were held.
    pub held: u64,
    /// The longest that a command took, in milliseconds.
    pub longest_ms: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { answered, failed, same_epoch, dials, held, longest_ms } = self;
        write!(f, "report {answered} {failed} {same_epoch} {dials} {held} {longest_ms}")
    }
}

impl FromStr for Report {
    type Err = String;

    fn from_str(line: &str) -> Result<Report, String> {
        let numbers = line.strip_prefix("report ").map(|rest| rest.split(' ').map(str::parse).collect());
        let numbers: Option<Result<Vec<u64>, _>> = numbers;
        match numbers.and_then(Result::ok).as_deref() {
            Some(&[answered, failed, same_epoch, dials, held, longest_ms]) => {
                Ok(Report { answered, failed, same_epoch, dials, held, longest_ms })
            }
            _ => Err(format!("not a report: {line:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back() {
        let report = Report { answered: 1, failed: 2, same_epoch: 1, dials: 3, held: 4, longest_ms: 5 };
        assert_eq!(report.to_string().parse(), Ok(report));
        assert!("report 1 2".parse::<Report>().is_err());
        assert!("ready".parse::<Report>().is_err());
    }
}
