//! The command line: which scenarios, on which servers, for whom the output is.

use redis_tether_testkit::scenario::{Scenario, Servers, Timings};
use redis_tether_testkit::server::{ServerBinary, ServerKind};

pub(crate) const HELP: &str = "\
Fails a primary under a writer (a SET every 5 ms through a tether), and shows what happens.

usage: cargo run --release --example failover -- [options]

  --scenario NAME   crash (default), demote, hang, move, restart, outage, auth, slow, or all
  --server KIND     auto (default), redis, valkey or fake; auto takes a real server if one is found
  --tls             over TLS, with certificates made for the run
  --quick           an outage of 5 s in place of 30 s
  --json            one JSON object for each scenario on stdout, and nothing else
  --help            this text
";

/// For whom the output is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Output {
    /// People.
    Timeline,
    /// Programs.
    Json,
}

/// What the writer's commands go over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Over {
    Tcp,
    Tls,
}

#[derive(Debug)]
pub(crate) struct Arguments {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) servers: Servers,
    pub(crate) over: Over,
    pub(crate) timings: Timings,
    pub(crate) output: Output,
}

impl Arguments {
    /// `None` where help was asked for; an error says what is wrong and what is allowed.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut scenarios, mut server, mut output) = (vec![Scenario::Crash], "auto".to_owned(), Output::Timeline);
        let (mut timings, mut over) = (Timings::default(), Over::Tcp);
        let mut words = words;
        while let Some(word) = words.next() {
            let (option, inline) = match word.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || inline.clone().or_else(|| words.next()).ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--scenario" => scenarios = read_scenarios(&value()?)?,
                "--server" => server = value()?,
                "--tls" | "--quick" | "--json" | "--help" if inline.is_some() => {
                    return Err(format!("{option} takes no value"));
                }
                "--tls" => over = Over::Tls,
                "--quick" => timings = Timings::quick(),
                "--json" => output = Output::Json,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("there is no option {option:?}")),
            }
        }
        Ok(Some(Arguments { scenarios, servers: find_servers(&server)?, over, timings, output }))
    }

    /// Which servers are used, and how to have others.
    pub(crate) fn note_on_servers(&self) -> String {
        match &self.servers {
            Servers::Fake => {
                "servers: fake ones in this process (real ones: install redis-server or valkey-server, or \
                              run `cargo xtask servers`)\n"
                    .to_owned()
            }
            real => format!("servers: {real}\n"),
        }
    }
}

fn read_scenarios(word: &str) -> Result<Vec<Scenario>, String> {
    match word {
        "all" => Ok(Scenario::ALL.to_vec()),
        name => name.parse().map(|scenario| vec![scenario]).map_err(|unknown| format!("{unknown}, and all")),
    }
}

fn find_servers(word: &str) -> Result<Servers, String> {
    let real = |kind: ServerKind| match ServerBinary::require(kind) {
        Ok(binary) => Ok(Servers::Real(binary)),
        Err(missing) => Err(format!("{missing}; `cargo xtask servers` provides one")),
    };
    match word {
        "auto" => Ok(ServerBinary::any().map_or(Servers::Fake, Servers::Real)),
        "redis" => real(ServerKind::Redis),
        "valkey" => real(ServerKind::Valkey),
        "fake" => Ok(Servers::Fake),
        _ => Err(format!("there is no server {word:?}; there are auto, redis, valkey and fake")),
    }
}
