//! The configuration of each proxy, as its own documentation shows it for Redis, with shorter times.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use super::GatewayKind;

/// How long twemproxy and Envoy wait for a server's answer: longer than a busy machine keeps one back, and shorter than anybody waits
/// who looks at what they say then.
const PATIENCE: Duration = Duration::from_secs(2);

/// What HAProxy does with the sessions of a server that is no longer the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sessions {
    /// Closes them (`on-marked-down shutdown-sessions`), as its recipes for Redis do.
    Ended,
    /// Lets them be: the default of HAProxy, with which clients stay at a replica.
    Kept,
}

/// What a configuration is made of.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) addr: SocketAddr,
    pub(super) servers: Vec<SocketAddr>,
    pub(super) sessions: Sessions,
}

impl Settings {
    pub(super) fn text(&self, kind: GatewayKind) -> String {
        match kind {
            GatewayKind::Twemproxy => self.twemproxy(),
            GatewayKind::HaProxy => self.haproxy(),
            GatewayKind::Envoy => self.envoy(),
        }
    }

    /// `timeout` is off by default, and recommended.
    fn twemproxy(&self) -> String {
        let mut text = format!(
            "redis:\n  listen: {}\n  redis: true\n  timeout: {}\n  servers:\n",
            self.addr,
            PATIENCE.as_millis()
        );
        self.for_each_server(&mut text, |_, server| format!("   - {server}:1\n"));
        text
    }

    /// The check of the recipes: who says `role:master` is up, everybody else is down. A server that has just crashed and is not
    /// yet known to be down is not tried again and again, a second apart, while the client waits: with `redispatch` another one is.
    /// One check that comes late, as on a loaded machine, is not enough to be taken for down.
    fn haproxy(&self) -> String {
        let mut text = format!(
            "global\n  maxconn 200\n\
             defaults\n  mode tcp\n  retries 1\n  option redispatch\n  timeout connect 1s\n  timeout client 1h\n  timeout server 1h\n  timeout check 5s\n\
             listen redis\n  bind {}\n  option tcp-check\n  tcp-check connect\n  \
             tcp-check send PING\\r\\n\n  tcp-check expect string +PONG\n  \
             tcp-check send info\\ replication\\r\\n\n  tcp-check expect string role:master\n  \
             tcp-check send QUIT\\r\\n\n  tcp-check expect string +OK\n",
            self.addr
        );
        let marked_down = match self.sessions {
            Sessions::Ended => " on-marked-down shutdown-sessions",
            Sessions::Kept => "",
        };
        self.for_each_server(&mut text, |number, server| {
            format!("  server redis{number} {server} check inter 50ms fall 3 rise 1{marked_down}\n")
        });
        text
    }

    fn envoy(&self) -> String {
        let mut text = format!(
            r#"static_resources:
  listeners:
  - name: redis
    address: {}
    filter_chains:
    - filters:
      - name: envoy.filters.network.redis_proxy
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy
          stat_prefix: redis
          settings: {{op_timeout: {}s}}
          prefix_routes: {{catch_all_route: {{cluster: redis}}}}
  clusters:
  - name: redis
    connect_timeout: 1s
    type: STATIC
    lb_policy: MAGLEV
    load_assignment:
      cluster_name: redis
      endpoints:
      - lb_endpoints:
"#,
            socket_address(self.addr),
            PATIENCE.as_secs()
        );
        self.for_each_server(&mut text, |_, server| {
            format!("        - endpoint: {{address: {}}}\n", socket_address(server))
        });
        text
    }

    fn for_each_server(&self, text: &mut String, line: impl Fn(usize, SocketAddr) -> String) {
        for (number, server) in self.servers.iter().enumerate() {
            // Writing to a string does not fail.
            let _ = text.write_str(&line(number, *server));
        }
    }
}

fn socket_address(addr: SocketAddr) -> String {
    format!("{{socket_address: {{address: {}, port_value: {}}}}}", addr.ip(), addr.port())
}
