//! Installing packages on Debian and Ubuntu, as root or through a sudo that asks nothing. Called by `servers`,
//! `wheel` and `valgrind` when something is missing; on any other system it refuses and changes nothing.

use std::process::Command;
use std::time::Duration;

use crate::servers::on_path;
use crate::shell::{self, Failure};

/// Bounds one apt-get command, a slow mirror included.
const APT_BOUND: Duration = Duration::from_secs(10 * 60);
const QUESTION_BOUND: Duration = Duration::from_secs(10);

/// A fresh machine is often still installing its updates; apt-get alone would give up at once.
const WAIT_FOR_LOCK: &str = "DPkg::Lock::Timeout=300";

/// Installs `packages` without their recommendations.
pub(crate) fn install(packages: &[&str]) -> Result<(), Failure> {
    if on_path("apt-get").next().is_none() {
        return Err(Failure::new("not found, and this system has no apt-get to install it with"));
    }
    let privilege = privilege()?;
    // A foreign repository that does not answer fails the update, though the package may well be there.
    if let Err(failure) = shell::run(apt_get(privilege, &["update"]).args(["-q"]), APT_BOUND) {
        eprintln!("going on without: {failure}");
    }
    let mut install = apt_get(privilege, &["install", "-y", "-q", "--no-install-recommends"]);
    shell::run(install.args(packages), APT_BOUND)
}

/// Who runs apt-get.
#[derive(Debug, Clone, Copy)]
enum Privilege {
    Root,
    Sudo,
}

fn privilege() -> Result<Privilege, Failure> {
    if shell::read(Command::new("id").arg("-u"), QUESTION_BOUND)?.trim() == "0" {
        return Ok(Privilege::Root);
    }
    // `-n`: fail rather than ask for a password nobody may be there to type.
    let sudo = on_path("sudo").next().map(|sudo| shell::read(Command::new(sudo).args(["-n", "true"]), QUESTION_BOUND));
    match sudo {
        Some(Ok(_)) => Ok(Privilege::Sudo),
        _ => Err(Failure::new("not found, and installing it takes root, or a sudo that needs no password")),
    }
}

fn apt_get(privilege: Privilege, arguments: &[&str]) -> Command {
    // Through env(1), since sudo does not pass our environment on.
    let mut command = match privilege {
        Privilege::Root => Command::new("env"),
        Privilege::Sudo => {
            let mut sudo = Command::new("sudo");
            sudo.args(["-n", "env"]);
            sudo
        }
    };
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", WAIT_FOR_LOCK]).args(arguments);
    // stdout belongs to the variables that `cargo xtask servers` prints.
    command.stdout(std::io::stderr());
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<String> {
        std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn apt_get_never_asks() {
        let root = words(&apt_get(Privilege::Root, &["update"]));
        assert_eq!(root[..3], ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]);
        let sudo = words(&apt_get(Privilege::Sudo, &["update"]));
        assert_eq!(sudo[..3], ["sudo", "-n", "env"]);
        assert_eq!(sudo[3..], root[1..]);
    }
}
