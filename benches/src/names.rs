//! Names that move under the system's resolver: peers take a host name and nothing else, so the name itself has to move. A
//! bench that needs this starts itself again in a mount namespace of its own, where `/etc/hosts` is a file that it may
//! write; the machine's own file is never touched.

use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, ToSocketAddrs};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

/// Where the system's resolver looks first.
const HOSTS: &str = "/etc/hosts";
/// The first line of our file, by which it is known.
const MARK: &str = "# names that move, for a bench of redis-tether";
/// Every address takes this much room, so that one write of the same length replaces it and no reader finds half a file.
const WIDTH: usize = "255.255.255.255".len();
/// How many names there are.
const COUNT: usize = 32;

/// Why names cannot be moved here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamesError {
    /// There is no namespace for us.
    #[error(
        "names cannot be moved on this machine: unshare(1) of util-linux must be there and be allowed to make a mount \
         namespace (as root, or for users where the kernel lets them); it said: {said}"
    )]
    NotAllowed {
        /// What `unshare` or `mount` wrote, or why it could not be run.
        said: String,
    },
    /// The system's resolver answers from elsewhere.
    #[error(
        "names cannot be moved on this machine: /etc/hosts has {name} at {written}, the system's resolver said {found} \
         (is `files` first in /etc/nsswitch.conf, and nscd off?)"
    )]
    NotFollowed {
        /// Which name.
        name: String,
        /// What the file says.
        written: IpAddr,
        /// What the resolver says.
        found: String,
    },
    /// A file could not be read or written.
    #[error("the file of names: {0}")]
    File(#[from] io::Error),
}

/// The names that this process may move.
#[derive(Debug)]
pub struct Names {
    file: Arc<File>,
    places: Vec<(String, u64)>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Name {
    name: String,
    file: Arc<File>,
    place: u64,
}

impl Names {
    /// The names, in a process that has such a file. In one that has none it starts the program anew, with the same
    /// arguments, where there is one; then it does not return.
    ///
    /// # Errors
    /// Where the machine does not allow it, or its resolver does not go by the file.
    pub fn take() -> Result<Names, NamesError> {
        let text = fs::read_to_string(HOSTS)?;
        if !text.starts_with(MARK) {
            return Err(start_again(&text));
        }
        let names = Names::open(Path::new(HOSTS), &text)?;
        names.name(0).check()?;
        Ok(names)
    }

    /// The names that stand in this file.
    fn open(path: &Path, text: &str) -> io::Result<Names> {
        Ok(Names { file: Arc::new(File::options().write(true).open(path)?), places: places(text) })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// One of them; beyond the last they begin anew.
    #[must_use]
    pub fn name(&self, index: usize) -> Name {
        let (name, place) = &self.places[index % self.places.len()];
        Name { name: name.clone(), file: self.file.clone(), place: *place }
    }
}

impl Name {
    /// What clients are given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// From now on the name has this address.
    ///
    /// # Errors
    /// Where the file cannot be written; `InvalidInput` for an address of version 6, for which there is no room.
    pub fn point_at(&self, address: IpAddr) -> io::Result<()> {
        if address.is_ipv6() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.file.write_all_at(format!("{address:<WIDTH$}").as_bytes(), self.place)
    }

    /// Sees the resolver follow two moves: one could be what it would have said anyway.
    fn check(&self) -> Result<(), NamesError> {
        for last in [2, 3] {
            let written = IpAddr::from([127, 0, 0, last]);
            self.point_at(written)?;
            let found =
                (self.as_str(), 0).to_socket_addrs().map(|found| found.map(|addr| addr.ip()).collect::<Vec<_>>());
            match found {
                Ok(found) if found.iter().all(|ip| *ip == written) && !found.is_empty() => {}
                found => {
                    return Err(NamesError::NotFollowed {
                        name: self.name.clone(),
                        written,
                        found: format!("{found:?}"),
                    });
                }
            }
        }
        Ok(())
    }
}

/// Becomes this program again, with a file of ours in the place of the machine's. Returns only where that fails.
fn start_again(machines: &str) -> NamesError {
    let ours = std::env::temp_dir().join(format!("names-that-move-{}", std::process::id()));
    let failure = become_again(machines, &ours);
    // Where it went well, the new process has removed it.
    let _ = fs::remove_file(&ours);
    failure
}

fn become_again(machines: &str, ours: &Path) -> NamesError {
    let program = match fs::write(ours, text(machines)).and_then(|()| std::env::current_exe()) {
        Ok(program) => program,
        Err(error) => return error.into(),
    };
    match allowed(ours) {
        Ok(mut unshare) => {
            let step = unshare.arg(r#"mount --bind "$0" /etc/hosts && rm "$0" && exec "$@""#);
            NamesError::File(step.arg(ours).arg(program).args(std::env::args_os().skip(1)).exec())
        }
        Err(said) => NamesError::NotAllowed { said },
    }
}

/// `unshare`, with those options with which it was seen to work, up to where the script comes.
fn allowed(ours: &Path) -> Result<Command, String> {
    let mut said = Vec::new();
    // As root; and as a user, who is root in a user namespace only.
    for options in [["--mount"].as_slice(), &["--mount", "--map-root-user"]] {
        let unshare = || {
            let mut unshare = Command::new("unshare");
            unshare.args(options).args(["--", "sh", "-c"]);
            unshare
        };
        match unshare().arg(r#"mount --bind "$0" /etc/hosts"#).arg(ours).output() {
            Ok(output) if output.status.success() => return Ok(unshare()),
            Ok(output) => said.push(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => said.push(error.to_string()),
        }
    }
    Err(said.join("; "))
}

/// Our file: the mark, what the machine's has, and our names with room for their addresses.
fn text(machines: &str) -> String {
    let mut text = format!("{MARK}\n{}\n", machines.trim_end());
    for index in 0..COUNT {
        text += &format!("{:<WIDTH$} {}\n", "127.0.0.1", name(index));
    }
    text
}

fn name(index: usize) -> String {
    format!("redis-{index:02}.test")
}

/// Our names, with where their addresses stand.
fn places(text: &str) -> Vec<(String, u64)> {
    let ours: Vec<String> = (0..COUNT).map(name).collect();
    let mut place = 0;
    let mut places = Vec::new();
    for line in text.split_inclusive('\n') {
        let name = line.get(WIDTH..).map(str::trim).filter(|name| ours.iter().any(|ours| ours == name));
        places.extend(name.map(|name| (name.to_owned(), place)));
        place += line.len() as u64;
    }
    places
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    const MACHINES: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n# a comment\n\n";

    /// A file of names that no resolver reads.
    pub(crate) struct NamesInFile {
        path: PathBuf,
        pub(crate) names: Names,
    }

    impl NamesInFile {
        pub(crate) fn new() -> NamesInFile {
            static COUNTER: AtomicU32 = AtomicU32::new(0);
            let count = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("names-test-{}-{count}", std::process::id()));
            let text = text(MACHINES);
            fs::write(&path, &text).expect("a temporary file");
            let names = Names::open(&path, &text).expect("the same file");
            NamesInFile { path, names }
        }

        pub(crate) fn text(&self) -> String {
            fs::read_to_string(&self.path).expect("the file")
        }
    }

    impl Drop for NamesInFile {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.path);
        }
    }

    #[test]
    fn a_move_replaces_one_address_and_nothing_else() {
        let file = NamesInFile::new();
        let before = file.text();
        file.names.name(1).point_at(IpAddr::from([127, 254, 255, 255])).expect("a write");
        file.names.name(1).point_at(IpAddr::from([127, 1, 2, 3])).expect("a write");
        assert_eq!(file.text(), before.replace("127.0.0.1       redis-01.test", "127.1.2.3       redis-01.test"));
        assert_ne!(file.text(), before);
    }

    #[test]
    fn an_address_that_does_not_fit_is_refused() {
        let file = NamesInFile::new();
        let before = file.text();
        let refused = file.names.name(0).point_at("2001:db8::1:2:3:4".parse().expect("an address"));
        assert_eq!(refused.expect_err("refused").kind(), io::ErrorKind::InvalidInput);
        assert_eq!(file.text(), before);
    }

    #[test]
    fn the_names_of_the_machine_are_kept_and_are_none_of_ours() {
        let text = text(MACHINES);
        assert!(text.starts_with(MARK) && text.contains(MACHINES.trim_end()), "{text}");
        let places = places(&text);
        assert_eq!(places.len(), COUNT);
        for (name, place) in places {
            let line = text[place as usize..].lines().next().expect("a line");
            assert_eq!(line, format!("127.0.0.1       {name}"));
        }
    }
}
