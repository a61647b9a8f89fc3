//! TLS against real servers: certificates that are renewed under load, the mistakes that people make with them, and what a
//! tether needs before it starts. That a primary may fail over TLS as it may in plain is in `moves.rs`.

mod memory;
mod mistakes;
mod renewal;
mod start;

use redis_tether::{Config, Tether, TlsSettings};
use redis_tether_testkit::server::free_common_port;
use redis_tether_testkit::tls::ClientCertificates;
use redis_tether_testkit::{Dns, Server, ServerKind, TlsFiles, server};
use redis_tether_tests::rig;
use redis_tether_tests::servers::{patient, protocol_for, server_binary, unsuspecting};

/// What certificates are for, and what clients are told.
const NAME: &str = "redis.test";

fn files() -> TlsFiles {
    TlsFiles::create(&[NAME]).expect("certificates")
}

/// A server, and the name that leads to it.
async fn server(kind: ServerKind, files: &TlsFiles, clients: ClientCertificates, lines: &[&str]) -> (Server, Dns) {
    let addresses = server::allocate_addresses(1).expect("a free address");
    let port = free_common_port(&addresses).expect("a free port");
    let mut builder = Server::builder(&server_binary(kind)).on(addresses[0]).tls(port, files, clients);
    for line in lines {
        builder = builder.config_line(line);
    }
    let server = builder.start().await.expect("the server starts");
    let dns = Dns::new();
    dns.set(NAME, vec![server.addr().ip()]);
    (server, dns)
}

fn tls_port(server: &Server) -> u16 {
    server.tls_addr().expect("it speaks TLS").port()
}

/// A tether that is pointed at this port of whoever has the name.
async fn tether(kind: ServerKind, dns: &Dns, port: u16, tls: Option<TlsSettings>) -> Tether {
    let mut config = unsuspecting(patient(Config::new(NAME, port)));
    config.protocol = protocol_for(kind);
    config.tls = tls;
    Tether::builder(config).resolver(rig::resolver(dns)).start().await.expect("a valid configuration")
}
