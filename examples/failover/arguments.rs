//! The command line: which scenarios of which topology, on which servers, for whom the output is.

use redis_tether::Protocol;
use redis_tether_testkit::scenario::{Servers, Timings};
use redis_tether_testkit::server::{ServerBinary, ServerKind};

use crate::topology::{Play, Topology};

pub(crate) const HELP: &str = "\
Fails a primary under a writer (a SET every 5 ms through a tether), and shows what happens. Ends with 1 where something was not
as promised; the promises are those of a release build on a machine with nothing else to do.

usage: cargo run --release --example failover -- [options]

  --topology NAME   standalone (default: one primary behind a DNS name), sentinel or cluster
  --scenario NAME   crash (default), or all; and
                    standalone: demote, hang, move, restart, outage, auth, slow
                    sentinel:   hang, planned, relocate
                    cluster:    hang, planned, replace, reshard
  --server KIND     auto (default), redis, valkey or fake; auto takes a real server if one is found, and fakes have neither
                    sentinels nor clusters
  --resp VERSION    2 (default) or 3, of the protocol
  --tls             over TLS, with certificates made for the run (sentinels: if the server speaks it)
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
    pub(crate) plays: Vec<Play>,
    pub(crate) servers: Servers,
    pub(crate) protocol: Protocol,
    pub(crate) over: Over,
    pub(crate) timings: Timings,
    pub(crate) output: Output,
}

impl Arguments {
    /// `None` where help was asked for; an error says what is wrong and what is allowed.
    pub(crate) fn parse(words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut scenario, mut server, mut output) = ("crash".to_owned(), "auto".to_owned(), Output::Timeline);
        let (mut timings, mut over, mut protocol) = (Timings::default(), Over::Tcp, Protocol::Resp2);
        let mut topology = Topology::Standalone;
        let mut words = words;
        while let Some(word) = words.next() {
            let (option, inline) = match word.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(value.to_owned())),
                None => (word, None),
            };
            let mut value = || inline.clone().or_else(|| words.next()).ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--topology" => topology = Topology::named(&value()?)?,
                "--scenario" => scenario = value()?,
                "--resp" => protocol = read_protocol(&value()?)?,
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
        let (plays, servers) = (topology.plays(&scenario)?, find_servers(&server)?);
        check(topology, &servers, over)?;
        Ok(Some(Arguments { plays, servers, protocol, over, timings, output }))
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

fn read_protocol(word: &str) -> Result<Protocol, String> {
    match word {
        "2" => Ok(Protocol::Resp2),
        "3" => Ok(Protocol::Resp3),
        _ => Err(format!("there is no RESP {word}; there are 2 and 3")),
    }
}

/// What does not go together.
fn check(topology: Topology, servers: &Servers, over: Over) -> Result<(), String> {
    match (topology, servers, over) {
        (Topology::Sentinel | Topology::Cluster, Servers::Fake, _) => Err(format!(
            "there is no fake {topology}: install redis-server or valkey-server, or run `cargo xtask servers`"
        )),
        (Topology::Sentinel, Servers::Real(binary), Over::Tls) if !binary.speaks_tls() => {
            Err(format!("{binary} was built without TLS, which its sentinels need: leave out --tls"))
        }
        _ => Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Arguments>, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    fn played(line: &str) -> Vec<&'static str> {
        let arguments = parse(&format!("--server fake {line}")).expect("valid").expect("no help is asked for");
        arguments.plays.into_iter().map(Play::name).collect()
    }

    #[test]
    fn a_scenario_is_one_of_its_topology_wherever_that_is_named() {
        assert_eq!(played(""), ["crash"]);
        assert_eq!(played("--scenario=all").len(), 8);
        let wrong = parse("--scenario demote --topology sentinel").expect_err("sentinels have none");
        assert_eq!(wrong, "no scenario is called \"demote\"; there are crash, hang, planned, relocate, and all");
        let wrong = parse("--topology cluster --scenario move").expect_err("clusters have none");
        assert!(wrong.contains("planned, replace, reshard, and all"), "{wrong}");
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_what_to_do() {
        let wrong = parse("--topology cluster --server fake").expect_err("there are no fake clusters");
        assert!(wrong.contains("no fake cluster") && wrong.contains("cargo xtask servers"), "{wrong}");
        for (line, part) in [
            ("--topology ring", "there are standalone, sentinel and cluster"),
            ("--resp 4", "there are 2 and 3"),
            ("--tls=yes", "takes no value"),
            ("--scenario", "needs a value"),
            ("--fast", "no option"),
        ] {
            let wrong = parse(line).expect_err("not valid");
            assert!(wrong.contains(part), "{line}: {wrong}");
        }
        assert!(parse("--help --topology ring").expect("help comes first").is_none());
    }
}
