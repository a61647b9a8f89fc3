//! Asking a server what it is: before a link is published, and at every probe. One write, answered in order; the replies of
//! RESP2 and RESP3, of servers that deny a command, of old servers and of proxies are all read here. The dialer and the
//! probe call it and bound its waiting; it decides nothing about the link.

use redis::{Pipeline, ServerError, Value};
use redis_tether_core::reply::{ErrorClass, classify};
use redis_tether_core::{FailureKind, Role};

use super::Rejection;
use crate::multiplexer::Multiplexer;

/// How much a peer is asked. The names are ordered: a peer that stands one stands those below it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum VerifyLevel {
    /// Nothing.
    None,
    /// `PING`: is it alive, is it loading.
    Ping,
    /// `ROLE` and `PING`: as well, is it the primary.
    Role,
    /// `HELLO` and `PING`: the same, also where an ACL denies `ROLE`. Servers before version 6 do not know it.
    Hello,
}

/// What a server said that it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Verdict {
    pub(crate) role: Role,
    /// The server's own word for its role.
    pub(crate) role_word: Option<String>,
    /// It is reading its dataset and serves nothing yet.
    pub(crate) loading: bool,
    /// It said that it is a node of a cluster.
    pub(crate) is_of_cluster: bool,
    /// Of a replica: how it is with its primary. `None` where it did not say.
    pub(crate) sync: Option<Sync>,
    pub(crate) version: Option<String>,
    /// What it answered: at most what it was asked.
    pub(crate) level: VerifyLevel,
}

/// How a replica is with its primary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sync {
    /// It follows it.
    Up,
    /// It has lost it, or is still catching up: what it has grows old.
    Down,
    /// It has lost it, and serves nothing until it has it again.
    Refusing,
}

/// Why a server could not be asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum VerifyError {
    /// The connection ended. Some proxies hang up on commands they do not know: a lower level may fare better.
    Closed,
    /// It answered, and the answer rules it out.
    Failed(Rejection),
}

/// Asks the server behind `multiplexer`, as much as `level` says.
///
/// Waits for as long as the server does; dropping it leaves replies behind that nobody sees. `HELLO` that is not known or is
/// denied is followed by `ROLE`; being denied is an answer as well, and leaves the role unknown.
pub(crate) async fn verify(multiplexer: &mut Multiplexer, level: VerifyLevel) -> Result<Verdict, VerifyError> {
    match level {
        VerifyLevel::None => Ok(Verdict::unasked()),
        VerifyLevel::Ping => Answers::of_ping(ask(multiplexer, &["PING"]).await?)?.verdict(),
        VerifyLevel::Role => Answers::new(level, ask(multiplexer, &["ROLE", "PING"]).await?)?.verdict(),
        VerifyLevel::Hello => {
            let answers = Answers::new(level, ask(multiplexer, &["HELLO", "PING"]).await?)?;
            if answers.account != Account::Withheld {
                return answers.verdict();
            }
            answers.or_role(ask(multiplexer, &["ROLE"]).await?)?.verdict()
        }
    }
}

async fn ask(multiplexer: &mut Multiplexer, commands: &[&str]) -> Result<Vec<Value>, VerifyError> {
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.cmd(command);
    }
    multiplexer.ask(&pipeline).await.ok_or(VerifyError::Closed)
}

/// The replies, read.
struct Answers {
    account: Account,
    // The level of the question that was answered by the account.
    asked: VerifyLevel,
    pong: Pong,
}

/// What a server gives of itself when it is asked for its role.
#[derive(PartialEq, Eq)]
enum Account {
    Given {
        word: String,
        version: Option<String>,
        is_of_cluster: bool,
    },
    /// Not now: a script keeps it busy, or the like. The same question may be answered the next time.
    NotNow,
    /// Not before the dataset is there. Redis answers the question all the while; a Dragonfly may not.
    Loading,
    /// The command is not known, or denied.
    Withheld,
}

/// What `PING` tells beyond being answered.
enum Pong {
    Fine,
    Loading,
    /// It refuses writes for a reason that only a primary has.
    Primary,
    Replica,
    /// A replica without its primary, which may not serve what it has.
    Orphan,
}

impl Answers {
    fn new(asked: VerifyLevel, replies: Vec<Value>) -> Result<Answers, VerifyError> {
        let mut replies = replies.into_iter();
        let account = Account::read(replies.next().unwrap_or_default())?;
        let pong = Pong::read(replies.next().unwrap_or_default())?;
        Ok(Answers { account, asked, pong })
    }

    fn of_ping(replies: Vec<Value>) -> Result<Answers, VerifyError> {
        let pong = Pong::read(replies.into_iter().next().unwrap_or_default())?;
        Ok(Answers { account: Account::Withheld, asked: VerifyLevel::Ping, pong })
    }

    /// Puts the reply of `ROLE` where `HELLO` had none.
    fn or_role(self, replies: Vec<Value>) -> Result<Answers, VerifyError> {
        let account = Account::read(replies.into_iter().next().unwrap_or_default())?;
        Ok(Answers { account, asked: VerifyLevel::Role, ..self })
    }

    fn verdict(self) -> Result<Verdict, VerifyError> {
        let level = match self.account {
            Account::Withheld => VerifyLevel::Ping,
            Account::Given { .. } | Account::NotNow | Account::Loading => self.asked,
        };
        let loading = matches!(self.pong, Pong::Loading) || self.account == Account::Loading;
        let (role_word, version, is_of_cluster) = match self.account {
            Account::Given { word, version, is_of_cluster } => (Some(word), version, is_of_cluster),
            Account::NotNow | Account::Loading | Account::Withheld => (None, None, false),
        };
        let said = role_word.as_deref().map_or(Role::Unknown, role_of);
        if role_word.as_deref() == Some("sentinel") {
            let detail =
                "the peer is a sentinel, not a server: use redis+sentinel:// with its master's name".to_owned();
            return Err(VerifyError::Failed(Rejection { kind: FailureKind::Config, detail }));
        }
        let role = match self.pong {
            Pong::Replica | Pong::Orphan => Role::Replica,
            Pong::Primary if said == Role::Unknown => Role::Primary,
            Pong::Primary | Pong::Fine | Pong::Loading => said,
        };
        let sync = matches!(self.pong, Pong::Orphan).then_some(Sync::Refusing);
        Ok(Verdict { role, role_word, loading, is_of_cluster, sync, version, level })
    }
}

impl Verdict {
    fn unasked() -> Verdict {
        Verdict {
            role: Role::Unknown,
            role_word: None,
            loading: false,
            is_of_cluster: false,
            sync: None,
            version: None,
            level: VerifyLevel::None,
        }
    }
}

impl Account {
    /// Reads the reply of `HELLO` or `ROLE`.
    fn read(reply: Value) -> Result<Account, VerifyError> {
        match reply {
            Value::ServerError(error) => Account::read_error(&error),
            Value::Attribute { data, .. } => Account::read(*data),
            Value::Map(pairs) => Ok(Account::of_hello(pairs.iter().map(|(key, value)| (key, value)))),
            Value::Array(items) => Ok(Account::of_array(&items)),
            _ => Ok(Account::Withheld),
        }
    }

    fn read_error(error: &ServerError) -> Result<Account, VerifyError> {
        let rejection = Rejection::by_server(error);
        match (rejection.kind, error.code()) {
            // Signing in is missing, or the server has no room for us: no other question will fare better.
            (FailureKind::Auth | FailureKind::MaxClients, _) => Err(VerifyError::Failed(rejection)),
            (FailureKind::Loading, _) => Ok(Account::Loading),
            (FailureKind::NotPrimary, _) => Ok(Account::NotNow),
            (_, "BUSY" | "MISCONF" | "TRYAGAIN" | "CLUSTERDOWN") => Ok(Account::NotNow),
            // A proxy knows the question, and has just lost the server that it would ask.
            (_, code) if classify(code, error.details()) == ErrorClass::Lost => Ok(Account::NotNow),
            _ => Ok(Account::Withheld),
        }
    }

    /// `HELLO` in RESP2 is a flat list of pairs, the first of which is the server's name; `ROLE` begins with the role.
    fn of_array(items: &[Value]) -> Account {
        match items.first().and_then(text) {
            None => Account::of_several(items),
            Some("server") => Account::of_hello(items.chunks_exact(2).map(|pair| (&pair[0], &pair[1]))),
            Some(role) => Account::Given { word: role.to_owned(), version: None, is_of_cluster: false },
        }
    }

    /// `ROLE` of several: an Envoy gives that of each of its servers, and a KeyDB one for each of its own primaries. What they do
    /// not agree on is not known.
    fn of_several(items: &[Value]) -> Account {
        let mut words = items.iter().map(|item| match item {
            Value::Array(role) => role.first().and_then(text),
            _ => None,
        });
        match words.next().flatten() {
            Some(word) if words.all(|other| other == Some(word)) => {
                Account::Given { word: word.to_owned(), version: None, is_of_cluster: false }
            }
            _ => Account::Withheld,
        }
    }

    fn of_hello<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> Account {
        let (mut role, mut mode, mut version) = (None, None, None);
        for (key, value) in pairs {
            match text(key) {
                Some("role") => role = text(value),
                Some("mode") => mode = text(value),
                Some("version") => version = text(value),
                _ => {}
            }
        }
        // A sentinel gives no role.
        match role.or(mode.filter(|mode| *mode == "sentinel")) {
            Some(word) => {
                let is_of_cluster = mode == Some("cluster");
                Account::Given { word: word.to_owned(), version: version.map(str::to_owned), is_of_cluster }
            }
            None => Account::Withheld,
        }
    }
}

fn role_of(word: &str) -> Role {
    match word {
        "master" | "primary" => Role::Primary,
        "slave" | "replica" => Role::Replica,
        _ => Role::Unknown,
    }
}

impl Pong {
    fn read(reply: Value) -> Result<Pong, VerifyError> {
        let Value::ServerError(error) = reply else {
            return Ok(Pong::Fine);
        };
        let rejection = Rejection::by_server(&error);
        match (rejection.kind, error.code()) {
            (FailureKind::Auth | FailureKind::MaxClients, _) => Err(VerifyError::Failed(rejection)),
            (FailureKind::Loading, _) => Ok(Pong::Loading),
            (FailureKind::NotPrimary, "MASTERDOWN") => Ok(Pong::Orphan),
            (FailureKind::NotPrimary, _) => Ok(Pong::Replica),
            // It cannot save, or has too few replicas; both are looked at on primaries only. Another one is not to be had.
            (_, "MISCONF" | "NOREPLICAS") => Ok(Pong::Primary),
            // Denied, or not known to a proxy: somebody answered, and that is what PING asks.
            _ => Ok(Pong::Fine),
        }
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}
