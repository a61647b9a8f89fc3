//! Commands about who is talking to whom: `HELLO`, `AUTH`, `CLIENT`, `CONFIG`, `ROLE`, `INFO`.
//!
//! Called by `command.rs`; the texts are those of Redis 7, which clients match on.

use super::command::upper;
use super::session::{Identity, Session};
use super::state::{Loading, ReplicationLink, Role, State};
use crate::resp::{Protocol, Reply};

/// The version that the fake claims to be.
const VERSION: &str = "7.0.15";
const WRONGPASS: &str = "WRONGPASS invalid username-password pair or user is disabled.";
const HELLO_NOAUTH: &str = "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO \
    <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
    the same time";
const NO_PASSWORD_SET: &str = "ERR AUTH <password> called without any password configured for the default user. Are \
    you sure your configuration is correct?";

impl State {
    pub(super) fn auth(&mut self, session: &mut Session, args: &[Vec<u8>]) -> Reply {
        let (user, password) = match args {
            [_] if self.access.password.is_none() => return Reply::error(NO_PASSWORD_SET),
            [password] => (&b"default"[..], password),
            [user, password] => (user.as_slice(), password),
            _ => return Reply::error("ERR syntax error"),
        };
        match self.identify(session, user, password) {
            Ok(()) => Reply::ok(),
            Err(refusal) => refusal,
        }
    }

    fn identify(&self, session: &mut Session, user: &[u8], password: &[u8]) -> Result<(), Reply> {
        if !self.access.admits(user, password) {
            return Err(Reply::error(WRONGPASS));
        }
        session.identity = Identity::Known;
        Ok(())
    }

    pub(super) fn hello(&mut self, session: &mut Session, args: &[Vec<u8>]) -> Reply {
        match self.greet(session, args) {
            Ok(reply) | Err(reply) => reply,
        }
    }

    fn greet(&self, session: &mut Session, args: &[Vec<u8>]) -> Result<Reply, Reply> {
        let mut protocol = session.protocol;
        let mut name = None;
        if let Some((version, options)) = args.split_first() {
            protocol = match version.as_slice() {
                b"2" => Protocol::Resp2,
                b"3" => Protocol::Resp3,
                _ => return Err(Reply::error("NOPROTO unsupported protocol version")),
            };
            let mut options = options.iter();
            while let Some(option) = options.next() {
                match (upper(option).as_str(), options.next(), option) {
                    ("AUTH", Some(user), _) => {
                        let password = options.next().ok_or_else(|| hello_syntax(option))?;
                        self.identify(session, user, password)?;
                    }
                    ("SETNAME", Some(wanted), _) => name = Some(wanted.clone()),
                    _ => return Err(hello_syntax(option)),
                }
            }
        }
        if session.identity == Identity::Unknown && self.access.password.is_some() {
            return Err(Reply::error(HELLO_NOAUTH));
        }
        session.protocol = protocol;
        session.name = name.unwrap_or_else(|| std::mem::take(&mut session.name));
        Ok(self.hello_reply(session))
    }

    fn hello_reply(&self, session: &Session) -> Reply {
        let protocol = match session.protocol {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        };
        let id = i64::try_from(session.id).unwrap_or(i64::MAX);
        let pair = |key: &str, value| (Reply::bulk(key), value);
        Reply::Map(vec![
            pair("server", Reply::bulk("redis")),
            pair("version", Reply::bulk(VERSION)),
            pair("proto", Reply::Int(protocol)),
            pair("id", Reply::Int(id)),
            pair("mode", Reply::bulk("standalone")),
            pair("role", Reply::bulk(self.role_word("replica"))),
            pair("modules", Reply::Array(Vec::new())),
        ])
    }

    pub(super) fn client(&mut self, session: &mut Session, args: &[Vec<u8>]) -> Reply {
        match (upper(&args[0]).as_str(), &args[1..]) {
            ("SETNAME", [name]) => {
                if name.iter().any(|byte| !(b'!'..=b'~').contains(byte)) {
                    return Reply::error("ERR Client names cannot contain spaces, newlines or special characters.");
                }
                session.name.clone_from(name);
                Reply::ok()
            }
            ("GETNAME", []) if session.name.is_empty() => Reply::Nil,
            ("GETNAME", []) => Reply::bulk(&session.name),
            // As in Redis 7.2; clients send it and ignore the answer.
            ("SETINFO", [_, _]) => Reply::ok(),
            ("ID", []) => Reply::Int(i64::try_from(session.id).unwrap_or(i64::MAX)),
            (sub, _) => unknown_subcommand(sub, "CLIENT"),
        }
    }

    pub(super) fn config(&mut self, args: &[Vec<u8>]) -> Reply {
        match (upper(&args[0]).as_str(), &args[1..]) {
            ("SET", [name, value]) if name.eq_ignore_ascii_case(b"requirepass") => {
                self.access.password = (!value.is_empty()).then(|| value.clone());
                Reply::ok()
            }
            ("SET", [name, _]) => {
                let name = String::from_utf8_lossy(name);
                Reply::error(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"))
            }
            ("GET", [_, ..]) => Reply::Map(Vec::new()),
            (sub, _) => unknown_subcommand(sub, "CONFIG"),
        }
    }

    pub(super) fn role_reply(&self) -> Reply {
        let offset = Reply::Int(self.offset());
        match &self.role {
            Role::Primary => Reply::Array(vec![Reply::bulk(self.role_word("slave")), offset, Reply::Array(Vec::new())]),
            Role::Replica(upstream) => {
                let (host, port) = self.upstream_address();
                let link = if upstream.link == ReplicationLink::Up { "connected" } else { "connect" };
                Reply::Array(vec![
                    Reply::bulk(self.role_word("slave")),
                    Reply::bulk(host),
                    Reply::Int(i64::from(port)),
                    Reply::bulk(link),
                    offset,
                ])
            }
        }
    }

    pub(super) fn info(&self) -> String {
        let loading = u8::from(self.faults.loading != Loading::Done);
        let mut text = format!(
            "# Server\r\nredis_version:{VERSION}\r\nredis_mode:standalone\r\nrun_id:{:040x}\r\n\r\n\
             # Clients\r\nconnected_clients:{}\r\n\r\n# Persistence\r\nloading:{loading}\r\n\r\n\
             # Replication\r\nrole:{}\r\n",
            self.run,
            self.counts.open,
            self.role_word("slave"),
        );
        if let Role::Replica(upstream) = &self.role {
            let (host, port) = self.upstream_address();
            let link = if upstream.link == ReplicationLink::Up { "up" } else { "down" };
            text += &format!("master_host:{host}\r\nmaster_port:{port}\r\nmaster_link_status:{link}\r\n");
        }
        let replicas = self.replicas_in_sync();
        text + &format!("connected_slaves:{replicas}\r\nmaster_repl_offset:{}\r\n", self.offset())
    }

    /// The word for the role, `replica` being the one that the asking command uses for a replica.
    fn role_word(&self, replica: &str) -> String {
        match (&self.faults.role_word, &self.role) {
            (Some(word), _) => word.clone(),
            (None, Role::Primary) => "master".to_owned(),
            (None, Role::Replica(_)) => replica.to_owned(),
        }
    }

    fn offset(&self) -> i64 {
        i64::try_from(self.counts.writes.len()).unwrap_or(i64::MAX)
    }
}

fn hello_syntax(option: &[u8]) -> Reply {
    Reply::error(format!("ERR Syntax error in HELLO option '{}'", String::from_utf8_lossy(option)))
}

fn unknown_subcommand(sub: &str, command: &str) -> Reply {
    Reply::error(format!("ERR unknown subcommand '{sub}'. Try {command} HELP."))
}
