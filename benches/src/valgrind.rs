//! Counts what this program does when it is started again under valgrind, with other words: what the clock would tell on a
//! machine without noise.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::process::Command;

use crate::peers::Error;

/// How many instructions are from each source file, by its path as the compiler was given it. What was inlined counts where it
/// was written.
///
/// # Errors
/// Where valgrind cannot be started, or the program fails.
pub fn instructions(words: &[String]) -> Result<BTreeMap<String, u64>, Error> {
    let file = std::env::temp_dir().join(format!("callgrind.{}", std::process::id()));
    let profile = run("callgrind", &file, words).and_then(|_| Ok(std::fs::read_to_string(&file)?));
    // Where nothing was written, nothing is left to remove.
    let _ = std::fs::remove_file(&file);
    Ok(by_source(&profile?))
}

/// How many blocks of memory are allocated, from the start to the end.
///
/// # Errors
/// Likewise, and where no figure was given.
pub fn allocations(words: &[String]) -> Result<f64, Error> {
    told(&run("dhat", Path::new("/dev/null"), words)?, "Total:", "blocks")
}

/// How many bytes are on the heap at the end.
///
/// # Errors
/// Likewise.
pub fn heap_at_end(words: &[String]) -> Result<f64, Error> {
    told(&run("dhat", Path::new("/dev/null"), words)?, "At t-end:", "bytes")
}

/// What it and the program said.
fn run(tool: &str, file: &Path, words: &[String]) -> Result<String, Error> {
    let output = Command::new("valgrind")
        .args([&format!("--tool={tool}"), &format!("--{tool}-out-file={}", file.display())])
        .arg(std::env::current_exe()?)
        .args(words)
        .output()
        .map_err(|error| format!("valgrind did not start: {error}"))?;
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(said.into_owned()) } else { Err(format!("it failed under {tool}:\n{said}").into()) }
}

/// `==1== Total:     1,234 bytes in 56 blocks`
fn told(said: &str, line: &str, unit: &str) -> Result<f64, Error> {
    let figure = said.lines().find_map(|told| {
        let (_, after) = told.split_once(line)?;
        let words: Vec<_> = after.split_whitespace().collect();
        let figure = words.windows(2).find(|pair| pair[1] == unit)?[0];
        figure.replace(',', "").parse().ok()
    });
    figure.ok_or_else(|| format!("valgrind gave no figure:\n{said}").into())
}

/// Of callgrind's own format: `fl=`, `fi=` and `fe=` name the file that the lines after it are of, `cfi=` and `cfl=` one that is
/// called, in full at first and by its number in brackets from then on; the line after `calls=` has what was called, which counts
/// elsewhere.
fn by_source(profile: &str) -> BTreeMap<String, u64> {
    let (mut names, mut instructions) = (HashMap::new(), BTreeMap::<String, u64>::new());
    let (mut source, mut is_of_callee) = (String::new(), false);
    for line in profile.lines() {
        let key_and_file =
            ["fl=", "fi=", "fe=", "cfi=", "cfl="].iter().find_map(|key| Some((key, line.strip_prefix(key)?)));
        if let Some((key, file)) = key_and_file {
            let (number, name) = file.split_once(' ').unwrap_or((file, ""));
            if !name.is_empty() {
                names.insert(number.to_owned(), name.to_owned());
            }
            if key.starts_with('f') {
                source = names.get(number).cloned().unwrap_or_default();
            }
        } else if line.starts_with("calls=") {
            is_of_callee = true;
        } else if line.starts_with(|first: char| first.is_ascii_digit() || "+-*".contains(first)) {
            let cost = line.split(' ').nth(1).and_then(|cost| cost.parse::<u64>().ok());
            if !std::mem::take(&mut is_of_callee) {
                *instructions.entry(source.clone()).or_default() += cost.unwrap_or_default();
            }
        }
    }
    instructions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_count_where_they_were_written() {
        let profile = "version: 1\npositions: line\nevents: Ir\n\nfl=(1) /src/a.rs\nfn=(1) a\n10 5\nfi=(2) /src/b.rs\n+3 7\nfe=(1)\n\
                       12 1\ncfi=(3) /src/c.rs\ncfn=(2) b\ncalls=3 20\n* 900\n* 2\n\nfl=(3)\nfn=(2)\n20 890\n";
        let expected = [("/src/a.rs".to_owned(), 8), ("/src/b.rs".to_owned(), 7), ("/src/c.rs".to_owned(), 890)];
        assert_eq!(by_source(profile), BTreeMap::from(expected));
    }

    #[test]
    fn figures_have_their_units_behind_them() {
        let said = "==1== Total:     1,234 bytes in 56 blocks\n==1== At t-end:  99 bytes in 3 blocks\n";
        assert_eq!(told(said, "Total:", "blocks").ok(), Some(56.0));
        assert_eq!(told(said, "At t-end:", "bytes").ok(), Some(99.0));
        assert!(told(said, "At t-gmax:", "bytes").is_err());
    }
}
