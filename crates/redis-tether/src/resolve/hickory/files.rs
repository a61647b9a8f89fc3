//! How the system is set up to ask: `resolv.conf` and the hosts file, read at the first lookup and again when one of them has
//! changed, as the C library does. Each lookup calls it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::system_conf::parse_resolv_conf;
use hickory_resolver::{Hosts, TokioResolver};

use super::super::lookups::Failure;
use super::Settings;
use crate::lock::lock;

/// An attempt takes at most this long, where `resolv.conf` says 5 s unless told otherwise: a packet that is lost while no link serves
/// must not cost as much.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(1);

/// Name servers that are asked at once: as many as the C library knows, so that those that are mute cost no time.
const ASKED_AT_ONCE: usize = 3;

/// Whom the C library asks where `resolv.conf` names nobody.
const NOBODY_NAMED: &[u8] = b"\nnameserver 127.0.0.1\n";

pub(super) struct Files {
    settings: Settings,
    loaded: Mutex<Option<Loaded>>,
}

struct Loaded {
    stamps: [Stamp; 2],
    setup: Setup,
}

/// What the files say.
#[derive(Clone)]
struct Setup {
    config: ResolverConfig,
    options: ResolverOpts,
    hosts: Arc<Hosts>,
}

/// By which a file that has changed is told from one that has not.
type Stamp = Option<(SystemTime, u64)>;

impl Files {
    pub(super) fn new(settings: Settings) -> Files {
        Files { settings, loaded: Mutex::default() }
    }

    /// One that asks as the files say now, for one lookup: its sockets and tasks end with it.
    pub(super) fn resolver(&self) -> Result<TokioResolver, Failure> {
        let Setup { config, options, hosts } = self.setup()?;
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let mut resolver = builder.build().map_err(|error| Failure::Other(error.to_string()))?;
        resolver.set_hosts(hosts);
        Ok(resolver)
    }

    /// The files are small and local, and looked at as often as names are looked up.
    fn setup(&self) -> Result<Setup, Failure> {
        let stamps = [stamp(&self.settings.resolv_conf), stamp(&self.settings.hosts)];
        let mut loaded = lock(&self.loaded);
        if let Some(loaded) = loaded.as_ref().filter(|loaded| loaded.stamps == stamps) {
            return Ok(loaded.setup.clone());
        }
        let setup = load(&self.settings)?;
        *loaded = Some(Loaded { stamps, setup: setup.clone() });
        Ok(setup)
    }
}

fn stamp(path: &Path) -> Stamp {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn load(settings: &Settings) -> Result<Setup, Failure> {
    let path = &settings.resolv_conf;
    let wrong = |error| Failure::Other(format!("{}: {error}", path.display()));
    let (config, options) = read_resolv_conf(path).map_err(wrong)?;
    let config = match &settings.name_servers {
        Some(name_servers) => asking(config, name_servers),
        None => config,
    };
    Ok(Setup { config, options: bounded(options), hosts: Arc::new(read_hosts(&settings.hosts)) })
}

fn read_resolv_conf(path: &Path) -> Result<(ResolverConfig, ResolverOpts), NetError> {
    let mut text = fs::read(path).unwrap_or_default();
    parse_resolv_conf(&text).or_else(|_| {
        text.extend(NOBODY_NAMED);
        parse_resolv_conf(&text)
    })
}

fn asking(config: ResolverConfig, name_servers: &[SocketAddr]) -> ResolverConfig {
    let (domain, search, _) = config.into_parts();
    ResolverConfig::from_parts(domain, search, name_servers.iter().map(|addr| name_server(*addr)).collect())
}

fn name_server(addr: SocketAddr) -> NameServerConfig {
    let mut config = NameServerConfig::udp_and_tcp(addr.ip());
    config.connections.iter_mut().for_each(|connection| connection.port = addr.port());
    config
}

fn bounded(mut options: ResolverOpts) -> ResolverOpts {
    options.timeout = options.timeout.min(ATTEMPT_LIMIT);
    options.num_concurrent_reqs = ASKED_AT_ONCE;
    // Answers are kept where it is known who takes which.
    options.cache_size = 0;
    // They are read from where the settings say.
    options.use_hosts_file = ResolveHosts::Never;
    options
}

/// What cannot be read is empty, as for the C library. `localhost` is this machine all the same.
fn read_hosts(path: &Path) -> Hosts {
    let mut hosts = Hosts::default();
    let text = fs::read(path).unwrap_or_default();
    if let Err(error) = hosts.read_hosts_conf(text.as_slice()) {
        tracing::warn!(path = %path.display(), %error, "the hosts file is not understood");
    }
    hosts
}
