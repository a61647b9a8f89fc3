//! URLs of several hosts, with what all of them share in front and behind: `redis+sentinel://user:password@a,b/master/db` and
//! `redis+cluster://user:password@a,b`.

use super::{
    Draft, agree_on_tls, check_rest, decode, read_parameters, read_userinfo, set_db, split_insecure, split_rest,
};
use crate::config::tls::TlsSettings;
use crate::config::{ClusterSeed, Config, ConfigError, SentinelNode};

pub(super) fn read_sentinel(authority: &str, rest: &str, tls: Option<TlsSettings>) -> Result<Draft, ConfigError> {
    read(authority, rest, tls, |addresses, path| {
        let path = path.trim_matches('/');
        let (master, db) = path.split_once('/').unwrap_or((path, ""));
        let nodes = if addresses.is_empty() { Vec::new() } else { SentinelNode::read_list(addresses)? };
        Ok((Config::sentinel(nodes, decode("the master's name", master)?), db))
    })
}

pub(super) fn read_cluster(authority: &str, rest: &str, tls: Option<TlsSettings>) -> Result<Draft, ConfigError> {
    read(authority, rest, tls, |addresses, path| {
        let seeds = if addresses.is_empty() { Vec::new() } else { ClusterSeed::read_list(addresses)? };
        Ok((Config::cluster(seeds), path))
    })
}

/// `endpoint` makes the configuration of the addresses and the path, and says which part of the path is the database.
fn read(
    authority: &str,
    rest: &str,
    mut tls: Option<TlsSettings>,
    endpoint: impl for<'a> FnOnce(&str, &'a str) -> Result<(Config, &'a str), ConfigError>,
) -> Result<Draft, ConfigError> {
    check_rest(rest)?;
    let (rest, fragment) = split_insecure(rest, &mut tls);
    let (path, query) = split_rest(rest)?;
    let (userinfo, addresses) = split_userinfo(authority)?;
    let (config, db) = endpoint(addresses, path)?;
    let given_tls = Some(tls.is_some());
    let mut draft = Draft { config: Config { tls, ..config }, given_port: None, given_db: None, given_tls };
    read_userinfo(&mut draft, userinfo)?;
    let db = db.trim_matches('/');
    if !db.is_empty() {
        set_db(&mut draft, db)?;
    }
    read_parameters(&mut draft, query)?;
    agree_on_tls(draft, fragment)
}

/// The credentials, which stand in front of all hosts, and those.
fn split_userinfo(authority: &str) -> Result<(&str, &str), ConfigError> {
    let (userinfo, addresses) = authority.rsplit_once('@').unwrap_or(("", authority));
    if userinfo.contains('@') {
        // It would be a guess which part of it is a host.
        return Err(ConfigError::MalformedUrl {
            problem: "it has several @: the server's credentials stand once, in front of all hosts, and an @ in them is %40",
        });
    }
    Ok((userinfo, addresses))
}
