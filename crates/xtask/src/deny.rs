//! `cargo xtask deny`: licences, advisories, bans and sources, as `deny.toml` has them. Its own chore and no step of
//! `test`, because building cargo-deny takes longer than all steps together and advisories need the network.

use std::path::PathBuf;
use std::process::Command;

use crate::checks::CARGO_BOUND;
use crate::servers::on_path;
use crate::shell::{self, Failure, cargo};
use crate::workspace::Workspace;

/// Runs `cargo-deny check`, having installed it under `target/tools` where it is missing.
pub(crate) fn run() -> Result<(), Failure> {
    let workspace = Workspace::read()?;
    let mut command = Command::new(cargo_deny(&workspace)?);
    command.args(["--locked", "check"]).current_dir(workspace.root());
    shell::run(&mut command, CARGO_BOUND)
}

fn cargo_deny(workspace: &Workspace) -> Result<PathBuf, Failure> {
    if let Some(installed) = on_path("cargo-deny").next() {
        return Ok(installed);
    }
    let tools = workspace.target().join("tools");
    let binary = tools.join("bin/cargo-deny");
    if !binary.is_file() {
        let mut install = cargo(&["install", "--locked", "cargo-deny", "--root"]);
        shell::run(install.arg(&tools), CARGO_BOUND)?;
    }
    Ok(binary)
}
