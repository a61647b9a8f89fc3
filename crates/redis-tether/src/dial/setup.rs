//! What a fresh connection is told before it is asked anything: credentials, protocol, database, whether it reads, and, as a courtesy, who we
//! are. One write. The dialer calls it; a refusal of a courtesy fails nothing.

use redis::{Cmd, Pipeline, ServerError, Value};
use redis_tether_core::FailureKind;

use super::Rejection;
use super::verify::VerifyLevel;
use super::wanted::Wanted;
use crate::config::{Config, Password, Protocol};
use crate::credentials::Credentials;
use crate::multiplexer::Multiplexer;

/// Why a connection could not be set up.
pub(crate) enum SetupError {
    /// The connection ended.
    Closed,
    /// The peer refused.
    Rejected(Rejection),
}

/// Sets up the connection behind `multiplexer`. A peer that is asked at [`VerifyLevel::Ping`] or below gets no courtesies: the
/// proxies that level is for hang up on `CLIENT`, too.
pub(super) async fn set_up(
    multiplexer: &mut Multiplexer,
    config: &Config,
    wanted: Wanted,
    level: VerifyLevel,
    credentials: Option<&Credentials>,
) -> Result<(), SetupError> {
    carry_out(multiplexer, credentials, |sign_in| Plan::new(config, wanted, level, sign_in)).await
}

/// Signs in once more over a connection that is in use. Where that is refused, the connection stays what it was.
pub(crate) async fn sign_in_again(multiplexer: &mut Multiplexer, credentials: &Credentials) -> Result<(), SetupError> {
    carry_out(multiplexer, Some(credentials), Plan::of_sign_in).await
}

/// Tells a replica that says only when it is asked that it is one of a cluster's.
pub(super) async fn read_replica(multiplexer: &mut Multiplexer) -> Result<(), SetupError> {
    send(multiplexer, Plan { steps: vec![(Step::ReadReplica, command(&["READONLY"]))] }).await.map(|_| ())
}

/// What a connection has to be told by this configuration, for people to read. Some proxies know no more than `AUTH` with a password
/// alone, and hang up on the rest.
pub(super) fn demands(config: &Config, credentials: Option<&Credentials>) -> Option<String> {
    let mut demands = Vec::new();
    if config.protocol == Protocol::Resp3 {
        demands.push("HELLO 3 (protocol = resp3)");
    } else if let Some(credentials) = credentials {
        demands.push(credentials.username().map_or("AUTH", |_| "AUTH with a username"));
    }
    if config.db != 0 {
        demands.push("SELECT (db)");
    }
    (!demands.is_empty()).then(|| demands.join(", "))
}

async fn carry_out<'a>(
    multiplexer: &mut Multiplexer,
    credentials: Option<&'a Credentials>,
    plan: impl Fn(SignIn<'a>) -> Plan,
) -> Result<(), SetupError> {
    let sign_in = credentials.map(|credentials| (credentials.username(), credentials.password()));
    match send(multiplexer, plan(sign_in)).await? {
        Answer::Ready => Ok(()),
        Answer::UsernameUnknown => {
            let sign_in = credentials.map(|credentials| (None, credentials.password()));
            match send(multiplexer, plan(sign_in)).await? {
                Answer::Ready => Ok(()),
                Answer::UsernameUnknown => Err(SetupError::Rejected(Rejection {
                    kind: FailureKind::Auth,
                    detail: "the server understands neither form of AUTH".to_owned(),
                })),
            }
        }
    }
}

type SignIn<'a> = Option<(Option<&'a str>, &'a Password)>;

/// The commands, each with what a refusal of it means.
struct Plan {
    steps: Vec<(Step, Cmd)>,
}

#[derive(Clone, Copy)]
enum Step {
    SignIn,
    Hello,
    Select,
    /// Without it a replica of a cluster sends every read to its primary.
    ReadReplica,
    Courtesy,
}

enum Answer {
    Ready,
    /// Servers before version 6 have no users: `AUTH` takes a password and nothing else.
    UsernameUnknown,
}

impl Plan {
    fn new(config: &Config, wanted: Wanted, level: VerifyLevel, sign_in: SignIn<'_>) -> Plan {
        let mut steps = Vec::with_capacity(6);
        match (config.protocol, sign_in) {
            (Protocol::Resp3, sign_in) => steps.push((Step::Hello, hello(sign_in))),
            (_, Some((username, password))) => steps.push((Step::SignIn, auth(username, password))),
            (_, None) => {}
        }
        if config.db != 0 {
            steps.push((Step::Select, command(&["SELECT", &config.db.to_string()])));
        }
        if wanted == Wanted::ReplicaOfShard {
            steps.push((Step::ReadReplica, command(&["READONLY"])));
        }
        if level > VerifyLevel::Ping {
            let courtesies = [
                Some(command(&["CLIENT", "SETINFO", "LIB-NAME", env!("CARGO_PKG_NAME")])),
                Some(command(&["CLIENT", "SETINFO", "LIB-VER", env!("CARGO_PKG_VERSION")])),
                config.client_name.as_deref().map(|name| command(&["CLIENT", "SETNAME", name])),
            ];
            steps.extend(courtesies.into_iter().flatten().map(|courtesy| (Step::Courtesy, courtesy)));
        }
        Plan { steps }
    }

    /// `AUTH` changes the user and nothing else, with RESP3 as well.
    fn of_sign_in(sign_in: SignIn<'_>) -> Plan {
        let auth = sign_in.map(|(username, password)| (Step::SignIn, auth(username, password)));
        Plan { steps: auth.into_iter().collect() }
    }
}

async fn send(multiplexer: &mut Multiplexer, plan: Plan) -> Result<Answer, SetupError> {
    if plan.steps.is_empty() {
        return Ok(Answer::Ready);
    }
    let mut pipeline = Pipeline::with_capacity(plan.steps.len());
    let mut steps = Vec::with_capacity(plan.steps.len());
    for (step, command) in plan.steps {
        pipeline.add_command(command);
        steps.push(step);
    }
    let replies = multiplexer.ask(&pipeline).await.ok_or(SetupError::Closed)?;
    for (step, reply) in steps.into_iter().zip(replies) {
        if let Value::ServerError(error) = reply {
            if step.finds_no_users(&error) {
                return Ok(Answer::UsernameUnknown);
            }
            step.judge(&error)?;
        }
    }
    Ok(Answer::Ready)
}

impl Step {
    fn finds_no_users(self, error: &ServerError) -> bool {
        matches!(self, Step::SignIn)
            && error.details().is_some_and(|detail| detail.contains("wrong number of arguments for 'auth'"))
    }

    fn judge(self, error: &ServerError) -> Result<(), SetupError> {
        let mut rejection = Rejection::by_server(error);
        match (self, rejection.kind) {
            (Step::Courtesy, _) => {
                tracing::debug!(reason = %rejection.detail, "the server would not take a client's name or library");
                return Ok(());
            }
            (Step::SignIn, FailureKind::Other) => rejection.kind = FailureKind::Auth,
            (Step::Hello, FailureKind::Other | FailureKind::Config) => {
                rejection.kind = FailureKind::Config;
                rejection.detail = format!("RESP3 was refused ({}); set the protocol to resp2", rejection.detail);
            }
            _ => {}
        }
        Err(SetupError::Rejected(rejection))
    }
}

fn auth(username: Option<&str>, password: &Password) -> Cmd {
    let mut auth = redis::cmd("AUTH");
    auth.arg(username).arg(password.expose());
    auth
}

fn hello(sign_in: SignIn<'_>) -> Cmd {
    let mut hello = command(&["HELLO", "3"]);
    if let Some((username, password)) = sign_in {
        hello.arg("AUTH").arg(username.unwrap_or("default")).arg(password.expose());
    }
    hello
}

fn command(words: &[&str]) -> Cmd {
    let mut command = Cmd::new();
    command.arg(words);
    command
}
