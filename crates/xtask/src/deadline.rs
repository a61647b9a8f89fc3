//! Waiting for a child with a bound, and what happens when the bound passes: the child and everything it started is
//! killed, so that a hung test binary does not live on as an orphan with its servers. Called by `shell`.

use std::io;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// How often a child is looked at. Short against any step, long against the cost of a look.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a child came to its end.
#[derive(Debug)]
pub(crate) enum Ended {
    Itself(ExitStatus),
    Killed,
}

/// Waits for `child`, at most for `bound`.
pub(crate) fn wait(child: &mut Child, bound: Duration) -> io::Result<Ended> {
    let begun = Instant::now();
    while begun.elapsed() < bound {
        if let Some(status) = child.try_wait()? {
            return Ok(Ended::Itself(status));
        }
        std::thread::sleep(LOOK_EVERY);
    }
    // A process group would be simpler to kill, but Ctrl-C in a terminal would no longer reach it.
    let offspring = descendants(child.id(), &parents());
    child.kill()?;
    child.wait()?;
    kill(&offspring)?;
    Ok(Ended::Killed)
}

fn kill(processes: &[u32]) -> io::Result<()> {
    if processes.is_empty() {
        return Ok(());
    }
    // The shell's own `kill`: minimal systems have no other. One that is gone already is no failure.
    Command::new("/bin/sh")
        .args(["-c", "kill -KILL \"$@\" 2>/dev/null || true", "sh"])
        .args(processes.iter().map(u32::to_string))
        .status()
        .map(drop)
}

/// Every process below `ancestor`, given pairs of process and parent.
fn descendants(ancestor: u32, parents: &[(u32, u32)]) -> Vec<u32> {
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = parents.iter().filter(|&&(_, of)| of == parent).map(|&(process, _)| process);
        let unseen: Vec<u32> = children.filter(|child| !found.contains(child)).collect();
        found.extend(unseen);
        next += 1;
    }
    found.split_off(1)
}

/// All processes with their parents, where `/proc` tells; elsewhere none, and only the child itself is killed.
fn parents() -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let process = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            Some((process, parent_in(&stat)?))
        })
        .collect()
}

/// The parent in a line of `/proc/PID/stat`: the second field after the name, which is in parentheses and may itself
/// contain spaces and parentheses.
fn parent_in(stat: &str) -> Option<u32> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_name() {
        assert_eq!(parent_in("7 (sh) S 5 7 7 0"), Some(5));
        assert_eq!(parent_in("7 (a) b (c)) R 12 7 7 0"), Some(12));
        assert_eq!(parent_in("garbage"), None);
    }

    #[test]
    fn descendants_are_children_and_their_children() {
        let parents = [(2, 1), (3, 2), (4, 3), (5, 1), (6, 9), (1, 1)];
        assert_eq!(descendants(2, &parents), [3, 4]);
        assert_eq!(descendants(1, &parents), [2, 5, 3, 4]);
        assert_eq!(descendants(6, &parents), Vec::<u32>::new());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_grandchild_dies_with_a_child_that_is_too_slow() {
        let mut child = Command::new("/bin/sh")
            .args(["-c", "sleep 600 & echo $!; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("sh starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("piped");
        io::BufRead::read_line(&mut io::BufReader::new(stdout), &mut line).expect("sh says the process");
        let grandchild: u32 = line.trim().parse().expect("a process number");

        let ended = wait(&mut child, Duration::from_millis(1)).expect("waiting works");

        assert!(matches!(ended, Ended::Killed));
        let begun = Instant::now();
        while is_running(grandchild) {
            assert!(begun.elapsed() < Duration::from_secs(10), "process {grandchild} lives on");
            std::thread::yield_now();
        }
    }

    /// A zombie waits for its parent to look, but runs no more.
    #[cfg(target_os = "linux")]
    fn is_running(process: u32) -> bool {
        std::fs::read_to_string(format!("/proc/{process}/stat"))
            .is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
    }
}
