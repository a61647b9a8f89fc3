//! valgrind, by which some benches count: found on the PATH, else installed where we know how, else refused with what to
//! install. Called by `bench`.

use std::process::Command;
use std::time::Duration;

use crate::apt;
use crate::servers::on_path;
use crate::shell::{self, Failure};

const VERSION_BOUND: Duration = Duration::from_secs(10);

const ADVICE: &str = "install valgrind so that it is on the PATH, then run this again:\n  \
                      Debian, Ubuntu   sudo apt-get install valgrind libc6-dbg\n  \
                      Fedora           sudo dnf install valgrind\n  \
                      Arch             sudo pacman -S valgrind\n\
                      or name the benches to run that do without: cargo xtask bench hot_path";

/// Sees to it that there is one, and says which version.
pub(crate) fn provide() -> Result<String, Failure> {
    if on_path("valgrind").next().is_none() {
        // It does not start without the symbols of the C library.
        apt::install(&["valgrind", "libc6-dbg"]).map_err(|failure| advise(&failure))?;
    }
    let version = shell::read(Command::new("valgrind").arg("--version"), VERSION_BOUND);
    version.map(|version| version.trim().to_owned()).map_err(|failure| advise(&failure))
}

fn advise(failure: &Failure) -> Failure {
    Failure::new(format!("no usable valgrind: {failure}\n{ADVICE}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_says_what_failed_and_what_to_install() {
        let advice = advise(&Failure::new("no apt-get")).to_string();
        assert!(advice.starts_with("no usable valgrind: no apt-get"), "{advice}");
        assert!(advice.contains("apt-get install valgrind"), "{advice}");
    }
}
