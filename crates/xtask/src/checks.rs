//! `cargo xtask test`: the steps, their order, and what each one runs. Called by `main`. A step that fails ends the
//! run; nothing is skipped because something is missing on the machine.

use std::fmt;
use std::time::{Duration, Instant};

use crate::features;
use crate::servers::{self, Product, Servers};
use crate::shell::{self, Failure, cargo};
use crate::workspace::Workspace;

/// Bounds one cargo command: a cold build on two cores takes minutes, so an hour of silence is a hang.
pub(crate) const CARGO_BOUND: Duration = Duration::from_secs(60 * 60);

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Servers,
    Fmt,
    Clippy,
    Test,
    Doc,
    Features,
}

impl Step {
    /// Cheap before expensive, so that a forgotten `cargo fmt` does not cost a build. The servers come first, so that
    /// a machine without them says so at once.
    pub(crate) const ALL: [Self; 6] = [Self::Servers, Self::Fmt, Self::Clippy, Self::Test, Self::Doc, Self::Features];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    pub(crate) fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }

    fn name(self) -> &'static str {
        match self {
            Self::Servers => "servers",
            Self::Fmt => "fmt",
            Self::Clippy => "clippy",
            Self::Test => "test",
            Self::Doc => "doc",
            Self::Features => "features",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Runs `steps` one after another until one fails.
pub(crate) fn run(steps: &[Step]) -> Result<(), Failure> {
    let mut run = Run { workspace: Workspace::read()?, servers: None };
    let mut done: Vec<(Step, Duration)> = Vec::new();
    for &step in steps {
        eprintln!("\n== {step} ==");
        let begun = Instant::now();
        let outcome = run.step(step);
        let took = begun.elapsed();
        match outcome {
            Ok(()) => eprintln!("== {step}: ok in {:.1} s", took.as_secs_f64()),
            Err(failure) => {
                summarise(&done);
                eprintln!("  {step:<9} FAILED after {:.1} s", took.as_secs_f64());
                return Err(Failure::new(format!("step '{step}' failed: {failure}")));
            }
        }
        done.push((step, took));
    }
    summarise(&done);
    Ok(())
}

fn summarise(done: &[(Step, Duration)]) {
    eprintln!("\n== summary ==");
    for (step, took) in done {
        eprintln!("  {step:<9} ok {:>7.1} s", took.as_secs_f64());
    }
}

/// What the steps hand to one another.
struct Run {
    workspace: Workspace,
    servers: Option<Servers>,
}

impl Run {
    fn step(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Servers => self.provide_servers(),
            Step::Fmt => self.cargo(&["fmt", "--all", "--check"]),
            Step::Clippy => self.clippy(),
            Step::Test => self.test(),
            Step::Doc => self.doc(),
            Step::Features => features::check(&self.workspace),
        }
    }

    fn provide_servers(&mut self) -> Result<(), Failure> {
        let servers = servers::provide(&self.workspace, &Product::ALL)?;
        servers.print();
        self.servers = Some(servers);
        Ok(())
    }

    /// Every target is linted, the benches with them: this is where they are compiled.
    fn clippy(&self) -> Result<(), Failure> {
        self.cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])
    }

    /// Every kind of target but the benches, which would run. All test binaries run even if one fails: a red run should
    /// show everything that is red.
    fn test(&self) -> Result<(), Failure> {
        let targets = ["--lib", "--bins", "--tests", "--examples"];
        let mut arguments = vec!["test", "--workspace", "--locked", "--no-fail-fast"];
        arguments.extend(targets);
        self.cargo(&arguments)
    }

    fn doc(&self) -> Result<(), Failure> {
        self.cargo(&["test", "--workspace", "--locked", "--doc"])?;
        let mut doc = cargo(&["doc", "--workspace", "--locked", "--no-deps"]);
        doc.current_dir(self.workspace.root()).env("RUSTDOCFLAGS", "-D warnings");
        shell::run(&mut doc, CARGO_BOUND)
    }

    fn cargo(&self, arguments: &[&str]) -> Result<(), Failure> {
        let mut command = cargo(arguments);
        command.current_dir(self.workspace.root());
        if let Some(servers) = &self.servers {
            command.envs(servers.environment());
        }
        shell::run(&mut command, CARGO_BOUND)
    }
}
