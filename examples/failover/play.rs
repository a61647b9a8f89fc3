//! Playing a scenario of each topology: the stage, a tether that is pointed at it, the writer, and in a cluster the bystanders.

use std::time::Duration;

use redis_tether::{ClusterSeed, ClusterTether, Config, Resolve, SentinelNode, Tether, TlsSettings, resolve_fn};
use redis_tether_testkit::scenario::{
    ClusterScenario, ClusterStage, Scenario, SentinelScenario, SentinelStage, Servers, Stage,
};
use redis_tether_testkit::{Dns, SentinelDeployment, ServerBinary, TlsFiles};

use crate::arguments::{Arguments, Over};
use crate::bystanders::Bystanders;
use crate::summary::Summary;
use crate::timeline::Timeline;
use crate::topology::Play;
use crate::watched::Watched;
use crate::writer::Writer;

type Failure = Box<dyn std::error::Error>;

/// How long the first connection may take. The servers are up by then.
const READY: Duration = Duration::from_secs(10);

/// Sentinels and clusters may need more than one try to elect who leads. That is not what is measured, so that commands are held
/// for longer than by default.
const ELECTION: Duration = Duration::from_secs(30);

pub(crate) async fn play(play: Play, arguments: &Arguments) -> Result<Summary, Failure> {
    match (play, &arguments.servers) {
        (Play::Standalone(scenario), servers) => standalone(scenario, servers, arguments).await,
        (Play::Sentinel(scenario), Servers::Real(binary)) => sentinel(scenario, binary, arguments).await,
        (Play::Cluster(scenario), Servers::Real(binary)) => cluster(scenario, binary, arguments).await,
        _ => {
            Err("sentinels and clusters are played by real servers only: install redis-server or valkey-server".into())
        }
    }
}

async fn standalone(scenario: Scenario, servers: &Servers, arguments: &Arguments) -> Result<Summary, Failure> {
    let stage = match arguments.over {
        Over::Tcp => Stage::set(servers, scenario).await?,
        Over::Tls => Stage::set_over_tls(servers, scenario).await?,
    };
    let mut config = Config::new(stage.name(), stage.port());
    if let Some(password) = stage.password() {
        config = config.with_password(password);
    }
    if let Some(files) = stage.tls() {
        config = config.with_tls(tls(files));
    }
    let tether = start(config, stage.dns(), arguments).await?;
    let (handle, watched) = (tether.handle(), Watched::Tether(tether));
    let mut writer = Writer::new(handle, watched.clone(), String::new());
    let timeline = Timeline::begin(Play::Standalone(scenario), arguments.output, &watched, writer.writes());
    let report = stage.play(&arguments.timings, &mut writer, &timeline).await?;
    let summary = Summary::new(Play::Standalone(scenario), arguments, &report, &timeline.end(), None);
    watched.shutdown().await;
    Ok(summary)
}

async fn sentinel(
    scenario: SentinelScenario,
    binary: &ServerBinary,
    arguments: &Arguments,
) -> Result<Summary, Failure> {
    let mut stage = match arguments.over {
        Over::Tcp => SentinelStage::set(binary, scenario).await?,
        Over::Tls => SentinelStage::set_over_tls(binary, scenario).await?,
    };
    let nodes = stage.sentinels().map(|(name, port)| SentinelNode::new(name, port));
    let mut config = patient(Config::sentinel(nodes, SentinelDeployment::MASTER));
    if let Some(files) = stage.tls() {
        config = config.with_tls(tls(files).with_server_name(stage.certified_name()));
    }
    let tether = start(config, stage.dns(), arguments).await?;
    let (handle, watched) = (tether.handle(), Watched::Tether(tether));
    let mut writer = Writer::new(handle, watched.clone(), String::new());
    let timeline = Timeline::begin(Play::Sentinel(scenario), arguments.output, &watched, writer.writes());
    let report = stage.play(&arguments.timings, &mut writer, &timeline).await?;
    let summary = Summary::new(Play::Sentinel(scenario), arguments, &report, &timeline.end(), None);
    watched.shutdown().await;
    Ok(summary)
}

async fn cluster(scenario: ClusterScenario, binary: &ServerBinary, arguments: &Arguments) -> Result<Summary, Failure> {
    let mut stage = match arguments.over {
        Over::Tcp => ClusterStage::set(binary, scenario).await?,
        Over::Tls => ClusterStage::set_over_tls(binary, scenario).await?,
    };
    let (name, port) = stage.endpoint();
    let mut config = patient(Config::cluster([ClusterSeed::new(name, port)]));
    if let Some(files) = stage.tls() {
        config = config.with_tls(tls(files));
    }
    config.protocol = arguments.protocol;
    let tether = ClusterTether::builder(config).resolver(resolver(stage.dns())).start().await?;
    tether.ready(READY).await?;
    let (handle, watched) = (tether.handle(), Watched::Cluster(tether));
    let mut writer = Writer::new(handle.clone(), watched.clone(), stage.prefix());
    let timeline = Timeline::begin(Play::Cluster(scenario), arguments.output, &watched, writer.writes());
    let others = Bystanders::begin(&handle, &watched, stage.prefixes_elsewhere());
    let report = stage.play(&arguments.timings, &mut writer, &timeline).await?;
    let others = others.end(&report).await;
    let summary = Summary::new(Play::Cluster(scenario), arguments, &report, &timeline.end(), others);
    watched.shutdown().await;
    Ok(summary)
}

async fn start(mut config: Config, dns: &Dns, arguments: &Arguments) -> Result<Tether, Failure> {
    config.protocol = arguments.protocol;
    let tether = Tether::builder(config).resolver(resolver(dns)).start().await?;
    tether.ready(READY).await?;
    Ok(tether)
}

fn resolver(dns: &Dns) -> impl Resolve + use<> {
    let dns = dns.clone();
    resolve_fn(move |host, port| {
        let dns = dns.clone();
        async move { dns.lookup(&host, port).await }
    })
}

fn tls(files: &TlsFiles) -> TlsSettings {
    let tls = TlsSettings::new().with_ca_file(files.ca_file());
    tls.with_client_certificate(files.client_cert_file(), files.client_key_file())
}

fn patient(mut config: Config) -> Config {
    (config.commands.hold_window, config.commands.deadline) = (ELECTION, ELECTION);
    config
}
