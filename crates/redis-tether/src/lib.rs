//! Keeps an application's Redis or Valkey connection on the current primary, whatever happens to that primary: crash,
//! restart, planned failover, demotion in place, a frozen host, a DNS record that moves. And it leaves a good connection
//! alone.
//!
//! ```no_run
//! use redis_tether::{Config, Tether, redis::AsyncCommands};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tether = Tether::start(Config::from_url("redis://redis:6379")?).await?; // succeeds while the server is down
//!     tether.ready(std::time::Duration::from_secs(10)).await?; // fails, with the reason, if there is no primary by then
//!     let mut redis = tether.handle(); // cheap to clone: one for each task
//!     redis.set::<_, _, ()>("greeting", "hello").await?;
//!     let greeting: String = redis.get("greeting").await?;
//!     println!("{greeting}");
//!     tether.shutdown().await;
//!     Ok(())
//! }
//! ```
//!
//! A [`Handle`] implements [`redis::aio::ConnectionLike`]: `AsyncCommands`, `Cmd`, `Pipeline`, `Script` and code that is
//! generic over connections work unchanged. [`redis`] is re-exported, so that its types are those that the handle speaks.
//!
//! # What it does for you
//!
//! - [`Tether::start`] succeeds while the server is down. Connections are made in the background, for as long as it
//!   takes: no retry budget runs out, no error is cached.
//! - The name is resolved again: every 2 s while a link serves; in an outage every 50 ms for 5 s, then every second. A new address
//!   is dialled at once; the first one at which a **primary** answers is used, whatever order DNS gave.
//! - A link is watched. One that ends, refuses writes as a replica does, or is silent while it owes replies, is noticed in
//!   milliseconds to a quarter of a second under load. Without any, a demotion shows within 3 s, a host that hangs within 3.25 s.
//! - **Suspicion is not teardown.** A server that is merely slow (a script, a fork, a migration) gets its connection back
//!   as soon as it speaks, with everything that was in flight. In the meantime new commands wait, and a second link looks
//!   for a better primary.
//! - Commands that find no link are held, in order, until 3 s after the start of the outage, and let go at a growing pace. A planned
//!   failover costs latency, not errors.
//! - Every failed command says whether it was executed: see below.
//!
//! # What a failure means
//!
//! The errors are `redis::RedisError`s, as that crate's traits demand; [`OutcomeExt`] tells what became of the command.
//!
//! | [`Outcome`] | meaning | may I send it again? |
//! |---|---|---|
//! | `NotSent` | it never left this process | yes |
//! | `Refused` | the server said no, and executed nothing | yes, where that makes sense |
//! | `Ambiguous` | it left, and no reply came | only if executing it twice does no harm |
//!
//! ```no_run
//! # use redis_tether::{Handle, Outcome, OutcomeExt, redis::AsyncCommands};
//! # async fn example(mut redis: Handle) {
//! if let Err(error) = redis.incr::<_, _, u64>("orders", 1).await {
//!     match error.outcome() {
//!         Some(Outcome::NotSent) => println!("safe to try again: {error}"),
//!         Some(Outcome::Ambiguous) => println!("it may have been counted: {error}"),
//!         _ => println!("the server said no: {error}"),
//!     }
//! }
//! # }
//! ```
//!
//! No command is executed twice unless its caller allows it; one that was refused (`READONLY`, `LOADING` and the like, see below) or never
//! left is sent again. One case looks otherwise and is not: a primary that froze (a stopped host, a paused virtual machine) still holds
//! what its socket buffers had received. When it thaws, minutes later perhaps, it executes that. Those commands were reported as
//! `Ambiguous` when the link was given up; their late execution, on a server that is no longer the primary, is no retry of ours.
//!
//! To have more sent again, say so for the tether ([`commands.retry`](CommandSettings::retry)) or for one handle
//! ([`Handle::with_policy`]): [`Retry::ReadOnly`] sends again what the server's own `COMMAND INFO` calls read-only,
//! [`Retry::All`] everything, each three times at most. A policy also has the deadline of a handle's commands, and whether they are
//! held or fail fast.
//!
//! redis-rs's `is_timeout()` and `is_connection_dropped()` are false for the tether's own errors, and `retry_method()` never advises to retry.
//!
//! # Sharing a handle
//!
//! A handle is `Clone + Send + Sync` and sends by `&mut`: keep it in the state of a web framework, and clone it for each request.
//!
//! ```
//! # use redis_tether::{Handle, redis::{AsyncCommands, RedisResult}};
//! #[derive(Clone)]
//! struct AppState {
//!     redis: Handle,
//! }
//!
//! async fn visits(state: AppState) -> RedisResult<u64> { // in axum: `State(state): State<AppState>`
//!     let mut redis = state.redis; // this request's clone
//!     redis.incr("visits", 1).await
//! }
//! ```
//!
//! There is no pool: the commands of all handles share one link, pipelined. The server answers in order, so a blocking command or a reply of
//! many megabytes delays those behind it: use a dedicated connection for the one, and a tether of its own for the other. What is held is
//! bounded in number and bytes; what is in flight on a link that serves is not, but by the deadline: bound the callers, where that matters.
//!
//! # Dedicated connections
//!
//! What speaks of the connection itself (`WATCH`, `SELECT`, `CLIENT SETNAME`), blocking commands and subscriptions go over a
//! [`Dedicated`] connection, made by [`Tether::dedicated`] within the hold window and the deadline: on the current primary, tied to the
//! epoch (the number) of the tether's link, [lost](Dedicated::lost) when that is over. Nothing sent over it is held or sent again.
//!
//! # Server errors
//!
//! An error that a server answers with is handed out as it came, the link stays, and [`OutcomeExt::outcome`] calls it `Refused`,
//! since a command that answers with an error has changed nothing. Not so these:
//!
//! | error | taken as | what happens to the command | what happens to the link | why |
//! |---|---|---|---|---|
//! | `READONLY` | a demotion | held, and sent again on the next good link | left for the primary, once that is found | a replica refuses a write before it runs it |
//! | `MASTERDOWN` | a demotion | the same | the same | a replica that has lost its primary and may not serve what it has |
//! | `UNBLOCKED`, because of a change of state | a demotion | the same; `WAIT` and `WAITAOF`, which speak of this link's writes: handed out | the same; the server hangs up as well, on all who share it | it waited for something and was sent away, with nothing taken |
//! | `LOADING` | not yet | the same | left, and made again once the dataset is there, here or elsewhere | nothing runs until then |
//! | `CLUSTERDOWN` | not yet | the same | left, and made again at the pace of dials, here or elsewhere | the node serves nothing until its cluster is whole |
//! | `ERR Can not execute during LOADING`, `... TAKEN OVER` | not yet | as `LOADING` | as `LOADING` | an older Dragonfly that loads, or from which another one takes over |
//! | `ERR` followed by one of these | as that | as that | as that | proxies wrap the server's words |
//! | `MOVED` by a server that has all slots of its cluster | a demotion | the same; of a script: handed out | the same | another node has taken its slots over, and nothing ran |
//! | `TRYAGAIN` | in a moment | asked again every 20 ms until the deadline, then handed out | stays | keys of one slot are on two nodes for a moment, and nothing ran |
//! | `EXECABORT` | as its causes | sent again if each is one of the above, else handed out as the server's error | as by its causes | nothing of the transaction ran |
//! | any of these for a part of a pipeline | partly executed | handed out as redis-rs gives it: `Ambiguous`. Sent again if all parts are refused | as by the refusal | the other parts ran |
//! | an error inside a script (`... script: ...`, `ERR Error running script`) | half run | `Ambiguous`; with `READONLY` and the like a [`CommandError`] ([`Reason::RefusedInScript`]), else as it came | left if it shows a demotion | what came before it has happened |
//! | `READONLY` for `EVALSHA`, or `EVAL` of a script without `#!` | half run | the same | the same | it may be what `redis.pcall` returned, after other commands |
//! | `ERR Connection timed out`, `ERR Connection reset by peer`, `ERR Broken pipe`, `ERR server connection close`, `ERR deliver request fail`, `upstream failure`, `upstream protocol error` | no reply | handed out: `Ambiguous` | stays | a proxy (twemproxy, Predixy, Envoy) had sent it on and lost the server |
//! | `IOERR` | no reply | handed out: `Ambiguous` | stays | `MIGRATE` lost the other instance: the key may be on both |
//!
//! Handed out with the others, on purpose: `MISCONF`, `NOREPLICAS`, `OOM` and `BUSY` (the primary says so, and no other server is
//! one; an operator must act first), `NOPERM`, `NOAUTH` and `WRONGPASS` (a live connection keeps its user until that is removed, and
//! then it is closed; what a new one is answered is in the failed dials), other `MOVED`, `ASK` and `CROSSSLOT` (this endpoint is a node of a
//! cluster; of `MOVED` the error says what to use instead), `UNBLOCKED` by `CLIENT UNBLOCK`, `NOSCRIPT` (`redis::Script` goes by it), `WRONGTYPE`, `BUSYGROUP`, `NOGROUP`, `BUSYKEY`,
//! `NOTBUSY`, `UNKILLABLE`.
//!
//! A script may answer with any error that it likes (`redis.error_reply`). Under the codes above it is handed out and not taken
//! for the server's, unless it has the server's very words. That the script had done something before cannot be seen:
//! `outcome()` says `Refused` of it, and only its author knows better.
//!
//! # What it does not do
//!
//! - It does not make replication synchronous: a write that a primary confirmed just before it crashed, or while another had been
//!   promoted, may be lost. That is Redis's to prevent (`WAIT`, `min-replicas-to-write`).
//!   Where a primary came back without its data, or another took its place that does not continue its history, and the server allows
//!   `INFO`, there is an event ([`Event::LineageChanged`]): what has to be made anew only the application knows.
//! - A link over which replies come, but hardly any (a byte a second, while new connections are well), is not silent and is
//!   not replaced; its commands run into their deadlines. [`Tether::reconnect`] replaces it.
//!
//! # Defaults
//!
//! | setting | default | why |
//! |---|---|---|
//! | [`commands.deadline`](CommandSettings::deadline) | 5 s | everything included; a shorter one would fail commands that a slow server still answers |
//! | [`commands.hold_window`](CommandSettings::hold_window) | 3 s from the start of the outage | bridges a planned failover, and does not turn an outage into latency |
//! | [`commands.hold`](CommandSettings::hold) | hold | a failover is a delay and no error; `fail_fast` for a cache |
//! | [`commands.max_held`](CommandSettings::max_held), `max_held_bytes` | 10,000 and 64 MiB | the count alone would permit gigabytes |
//! | [`commands.retry`](CommandSettings::retry), `max_retries` | never; 3 where it is asked for | nothing is executed twice unless its caller has said that it may be |
//! | [`detection.suspect_after`](DetectionSettings::suspect_after) | 250 ms | cheap, since suspicion costs nothing |
//! | [`detection.dead_after`](DetectionSettings::dead_after) | 5 s | survives forks and scripts |
//! | [`detection.probe_interval`](DetectionSettings::probe_interval), `probe_timeout` | 3 s, 400 ms | notices a demotion under read-only traffic |
//! | [`dial`](DialSettings) | TCP 1 s, all 3 s, stagger 250 ms | several times a round trip across the world; a server that verifies slowly is still met; two dead records cost half a second |
//! | [`dial.tcp_user_timeout`](DialSettings::tcp_user_timeout), keepalive | 5 s; 15 s / 5 s / 3 | peers that never acknowledge; NAT and load balancers |
//! | [`pacing.unreachable`](PacingSettings::unreachable) | 20 ms to 100 ms for 5 s, then to 200 ms | nobody met: cheap for both sides |
//! | [`pacing.rejected`](PacingSettings::rejected) | 50 ms to 250 ms for 10 s, then to 5 s | each attempt costs a recovering server work |
//! | [`failures_before_resolve`](Config::failures_before_resolve) | 3 | then a fresh start, with the addresses resolved anew: more than a hiccup, and soon enough that a stale address costs little |
//! | [`resolve`](ResolveSettings) | every 2 s ± 20 %; 50 ms for 5 s, then 1 s during an outage | resolvers cache by TTL anyway, and one lookup serves all tethers of a process; a record that moves right after a crash is followed at once |
//! | [`resolve.swap_budget`](ResolveSettings::swap_budget) | 10 s | rotating DNS answers must not make us flap |
//! | [`replicas.fallback`](ReplicaSettings::fallback) | the primary | an answer is worth more than the load |
//! | [`verify`](Config::verify) | auto | asks `HELLO` and `PING`; `ROLE`, then `PING` alone, where the endpoint takes no more |
//! | [`protocol`](Config::protocol) | RESP2 | every server and proxy speaks it |
//! | [`cluster_node`](Config::cluster_node) | refuse | a `Tether` at one node of several would be sent elsewhere for most keys |
//! | [`drain_timeout`](Config::drain_timeout) | 5 s | as long as the deadline of the commands that a replaced link waits for |
//! | [`max_age`](Config::max_age) | never | a good connection is best left alone |
//!
//! [`Config::recovery_bounds`] computes from them how long each kind of failure can take at worst.
//!
//! # TLS
//!
//! `rediss://redis:6379` (or `valkeys://`, `ssl=true`, `REDIS_TLS=true`, a section `tls`) trusts the system's authorities; [`TlsSettings`]
//! has a CA file, the client's certificate, and the name to expect where the endpoint's is not the certificate's:
//!
//! ```
//! use redis_tether::{Config, TlsSettings};
//!
//! let tls = TlsSettings::new().with_ca_file("/etc/redis/ca.pem").with_server_name("redis.internal");
//! let config = Config::new("10.0.0.1", 6379).with_tls(tls);
//! # let _ = config;
//! ```
//!
//! - Files are looked at before each dial. What was renewed is used for new connections, existing ones stay; a pair that does
//!   not match, or a file that is missing, leaves in use what was, with a warning in the log. When a tether starts, files that
//!   cannot be used are its error.
//! - The error of a failed handshake says what to do: another name (with those that the certificate has), an unknown issuer, a certificate that
//!   has expired or is not valid yet, a client certificate that is wanted or refused, TLS where the server speaks plainly, and
//!   the reverse. It is tried again at the pace of rejections, since only a changed configuration will help.
//! - Cryptography is the application's choice: `TetherBuilder::tls_provider`, else the process's default provider
//!   ([`rustls::crypto::CryptoProvider::install_default`]), else ring. `TetherBuilder::tls_roots` takes roots that are in no file.
//! - [`TlsVerify::Insecure`] accepts any certificate and says so in the log. Nothing is checked for revocation.
//!
//! # Credentials that change
//!
//! A password that is in a file, as Kubernetes and Docker mount secrets (`password_file`, `username_file`, `REDIS_PASSWORD_FILE`), or
//! that a [`CredentialSource`] gives out, as the tokens of a cloud's IAM, which live for minutes:
//!
//! ```
//! # use redis_tether::{Config, Credentials, Tether, credentials_fn};
//! # use std::time::Duration;
//! # async fn iam_token() -> Result<String, std::io::Error> { Ok("secret".into()) }
//! let source = credentials_fn(|_occasion| async {
//!     let token = iam_token().await.map_err(redis_tether::CredentialsError::new)?;
//!     Ok(Credentials::new(token).with_username("app").with_lifetime(Duration::from_secs(900)))
//! });
//! let builder = Tether::builder(Config::new("redis", 6379)).credentials(source);
//! # let _ = builder;
//! ```
//!
//! - The source is asked for each dial, once there is a connection to sign in on; and once more, at once, where the server refuses
//!   what it answered. Files are read at the same moments.
//! - The live link is signed in anew (`AUTH`, between the commands of its callers) when 70 to 80 % of a lifetime have passed, or a file
//!   has changed, which is looked at every 2 s. It stays: no command fails or waits for it ([`Event::Reauthenticated`]).
//! - Where the fresh credentials are refused, the link goes on with the old ones, and they are tried again at the pace of
//!   refusals ([`Event::ReauthenticationFailed`]). A source that fails, hangs or panics is asked again likewise
//!   ([`Event::CredentialsFailed`]); what it answered before is used until it expires. Both are in the status.
//! - [`Dedicated`] connections sign in with what there is when they are made, and are not signed in anew: a caller may have a `MULTI`
//!   open, which would take the `AUTH` in. A service that ends the sessions of expired tokens ends them; a caller can send `AUTH` itself.
//! - Sentinels may have credentials that change as well: in files (`sentinel_password_file`, `REDIS_SENTINEL_PASSWORD_FILE`), or by a
//!   source of their own ([`TetherBuilder::sentinel_credentials`]). They are asked for at each connection to a sentinel, and where one
//!   refuses them; each signs in at once with what was answered last, while that has not expired. Listening connections are not
//!   re-authenticated.
//!
//! A rotation without a failed command keeps the old password valid beside the new one for a while (`ACL SETUSER app >new`, and
//! `<old` when all have moved): for 2 s and more where it is in a file.
//!
//! # Sentinel
//!
//! ```no_run
//! # fn example() -> Result<(), redis_tether::ConfigError> {
//! let url = "redis+sentinel://user:password@a:26379,b:26379,c:26379/mymaster?sentinel_pass=another";
//! let config = redis_tether::Config::from_url(url)?;
//! # let _ = config;
//! # Ok(())
//! # }
//! ```
//!
//! The sentinels are asked where the primary is, and the node itself whether it is one; each sentinel's name is resolved at every
//! use, so that they may be replaced, all of them, and one name may stand for several.
//!
//! - While all is well one of them is asked, in turn, every [`resolve.interval`](ResolveSettings::interval). Up to five are listened to as
//!   well (`+switch-master`, and `+promoted-slave` of the one that leads the failover, before the others know): when one speaks, all
//!   are asked, and a healthy link is left as soon as another primary is verified; the budget for moves on DNS evidence does not
//!   apply.
//! - While none serves, all are asked at once, at the pace of lookups. The answer is there as soon as one knows of a later
//!   configuration (by its configuration epoch) or most agree; the silent are waited for 50 ms beyond the first answer at most, and 1 s
//!   ([`dial.connect_timeout`](DialSettings::connect_timeout)) if nobody answers.
//! - Where they disagree, the answers are ranked by configuration epoch, then by how many give them, and dialled in that order. A sentinel
//!   that names a replica costs one failed dial, then the next is tried.
//! - What only people can mend (a master that nobody knows, a server in place of a sentinel, a wrong password) is in the status, and
//!   where all of them say so, it is asked about at the pace of refusals.
//!
//! With TLS (`rediss+sentinel://`) sentinels and servers are spoken to over it alike, with the same authorities and certificates.
//! They have no name in common: without [`tls.server_name`](TlsSettings::server_name) each certificate must be for the address.
//! Where sentinels differ, [`SentinelEndpoint::tls`] says so: `sentinel_tls=false` for plain ones before servers that speak TLS;
//! `sentinel_tls=true` or settings of their own (`sentinel_tls_ca_file` and the like) for such as speak TLS before plain servers, or
//! with another authority or client certificate. Then the certificate of each must be for the host that it is listed with, or for
//! `sentinel_tls_server_name`.
//!
//! An election may last longer than commands are held: see [Elections](#elections). Sentinels promote a new primary before they demote
//! the old one: what it is sent meanwhile is lost (`min-replicas-to-write` bounds that, for all clients).
//!
//! The user at the sentinels needs `+subscribe +ping +sentinel|get-master-addr-by-name +sentinel|master allchannels`; without
//! `sentinel|master` the configuration epoch is not known, and the answer that most sentinels give is taken.
//!
//! # Cluster
//!
//! ```no_run
//! # use redis_tether::{ClusterTether, Config};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = ClusterTether::start(Config::from_url("redis+cluster://clustercfg.example:6379")?).await?;
//! let redis = cluster.handle(); // a `ConnectionLike`, too
//! # let _ = redis;
//! # Ok(())
//! # }
//! ```
//!
//! Each shard has a tether of its own ([`ClusterTether::shards`]): its link, epoch, suspicion, holding and outcomes are its own, and what
//! happens to one shard does not concern the others. Its endpoint is the primary of its slots.
//!
//! - The slots are surveyed for all shards together (`CLUSTER SLOTS`, `CLUSTER INFO`): every [`resolve.interval`](ResolveSettings::interval)
//!   at one node; at once, and at several nodes, when a command was sent elsewhere or a shard is in doubt, at most every
//!   [`resolve.fast_interval`](ResolveSettings::fast_interval). The configuration endpoint is resolved anew and asked as well, so that all
//!   nodes may be replaced behind it.
//! - Where nodes disagree, one that takes its cluster for healthy is believed before others, then the answer that most give, then that of
//!   the latest configuration epoch.
//! - [`ClusterHandle`] says what goes where, and what is made of several answers.
//! - A node that has no slot yet is in no answer of its cluster's: a command that is sent there by `ASK` makes it a shard without slots.
//! - With TLS (`rediss+cluster://`) each node's certificate must be for [`tls.server_name`](TlsSettings::server_name) where that is set;
//!   else for what its cluster announces it as, name or address, or for a name among the seeds, as those of managed services are.
//!   A seed must have one of its own name, or address: that of another seed will not do.
//!   What the configuration endpoint leads to must be for its name.
//! - A [`Tether`] that is given a node of a cluster refuses it, and its status says what to use instead, unless all slots are that
//!   node's own (a cluster of one shard, a serverless endpoint) or [`Config::cluster_node`] accepts it. Where `HELLO` or
//!   `CLUSTER SLOTS` is not answered it cannot know before, and hands `MOVED` out with the same advice.
//! - One address as the only seed works, and is warned of in the log: once all nodes are replaced nothing leads to the new ones.
//! - Reads may go to the replicas of each shard ([`ClusterTether::replicas`]).
//!
//! An election may last longer than commands are held: see [Elections](#elections). What fails then is for that shard alone.
//!
//! The user needs `+cluster|slots` and `+asking`: without that, a command for a key that has moved ahead of its slot fails with the
//! server's `NOPERM`. Without `+cluster|info` the answer that most nodes give is taken.
//!
//! # Elections
//!
//! An election may last longer than the 3 s for which commands are held by [default](CommandSettings::hold_window): by sentinels 30 s and
//! more, in a cluster 15 s and more, unless the servers are set otherwise. From then on commands fail at once, as `NotSent` by
//! [`Reason::HoldWindowPassed`], and as soon as another primary is found they are taken again. To have callers wait instead, set
//! `commands.hold_window` to `down-after-milliseconds`, or to one and a half times `cluster-node-timeout`, and 3 s more, and
//! `commands.deadline` to no less. [What to consider](https://github.com/redis-tether/redis-tether/blob/main/docs/operations.md#elections).
//!
//! # Replicas
//!
//! ```
//! # use redis_tether::{Tether, redis::AsyncCommands};
//! # async fn example(tether: Tether) -> redis_tether::redis::RedisResult<()> {
//! let mut replicas = tether.replicas(); // or `ClusterTether::replicas()`
//! let views: Option<u64> = replicas.get("views").await?;
//! # let _ = views;
//! # Ok(())
//! # }
//! ```
//!
//! A [`ReplicaHandle`] sends reads to the replicas in turn, and refuses what is not known to only read. **What a replica answers may be
//! old**: read from the primary what must see a write that was just done.
//!
//! - The replicas are those that the primary tells of (`ROLE`, else `INFO`), that the sentinels list as well (`SENTINEL REPLICAS`), or that
//!   the cluster has in its slot map. A reader endpoint is named by [`replicas.host`](ReplicaSettings::host)
//!   (`?replica_host=`, `REDIS_REPLICA_HOST`): each of its addresses is used that is a replica.
//! - One that a reader endpoint or the nodes of a cluster do not name any more is left at once if it does not serve, else after
//!   [`resolve.swap_budget`](ResolveSettings::swap_budget): readers' names rotate, and nodes learn of a replica one after another. Whom
//!   the primary itself or the sentinels do not name, who has come to another shard, and whose shard has another primary, is left at once.
//! - Each has a link of its own, dialled, suspected, probed and recovered as the primary's is, and its role is verified: a
//!   promoted one is left. [`ReplicaHandle::members`] shows them, [`Event::Replica`] and its kin tell of them.
//! - Of those that serve, one that has its primary goes before the primary itself, and that before a replica that has lost it. Where
//!   nobody serves, a read is held for the primary, or with [`Fallback::None`] for a replica.
//! - Where they announce addresses that cannot be reached from here (a container's), set `replica-announce-ip`, or name a reader endpoint.
//! - With TLS the certificate of each must be for [`tls.server_name`](TlsSettings::server_name), else for the name of the tether's endpoint.
//!
//! They are connected to when the first such handle is asked for, and stay connected until the tether ends.
//!
//! # Names and services
//!
//! The endpoint's name is looked up by the tether's resolver ([`TetherBuilder::resolver`]):
//!
//! | resolver | for |
//! |---|---|
//! | [`SystemResolver`] (the default) | whatever the system is set up to ask; one lookup of a name at a time in the process |
//! | `HickoryResolver` (feature `hickory`) | DNS with TTLs; SRV records: `_redis._tcp.redis.default.svc.cluster.local` as the host, or every name (Consul); name servers of one's own |
//! | [`StaticResolver`] | a list of addresses that is in no DNS |
//! | [`resolve_fn`], or any [`Resolve`] | a registry of one's own |
//!
//! Where a resolver knows a TTL, nothing is asked before it has run out while the link serves and DNS goes on naming it; in an outage the TTL
//! is ignored ([`Query::within_ttl`]). What has a port of its own (an SRV record, an address of a list) keeps it.
//!
//! # Environment and containers
//!
//! [`Config::from_env`] reads `REDIS_URL`, or `REDIS_HOST` and `REDIS_PORT`, and variables for credentials, TLS, sentinels and a reader
//! endpoint. Everything else, a cluster and a deadline for instance, is said in the URL: `REDIS_URL=redis+cluster://redis:6379?deadline=2s`
//! (for [`ClusterTether::start`]); or in code, by changing the [`Config`] that came of it.
//!
//! Inside a container, `127.0.0.1` and `localhost` are the container itself. Where Redis runs in another container, the
//! host is that service's name on a network that both share (`redis://redis:6379`).
//!
//! # On call
//!
//! The log (through `tracing`) has what changes at `info`, what goes wrong at `warn`, attempts at `debug`; while no link takes
//! commands, one line at `warn` says so and why, after 1 s and then half as often each time, at least once a minute. [`Status`] is
//! one line for a health endpoint, graded by [`Status::readiness`] (for readiness, never for liveness); [`Tether::stats`] counts;
//! [`Tether::pin`] stops automatic moves, [`Tether::reconnect`] makes a new link before it gives up the old one.
//! [docs/operations.md](https://github.com/redis-tether/redis-tether/blob/main/docs/operations.md) has each line, what it means and what to do,
//! what is worth an alert, and the endpoints of managed services.
//!
//! # Permissions
//!
//! Beside what the application's own commands need, the user needs nothing: `HELLO` and `AUTH` are always allowed, and where
//! `PING`, `INFO`, `CLIENT SETNAME` or `CLIENT SETINFO` are denied, the denial is taken for an answer. Another database than 0 needs
//! `+select`. For an application that reads and writes strings, this is enough:
//!
//! ```text
//! ACL SETUSER app on >password ~* -@all +get +set
//! ```
//!
//! Where replicas are read from, the primary tells of them to a user who has `+role` or `+info`, the sentinels to one who has
//! `+sentinel|replicas`, and a cluster's need `+readonly`. Whether a replica has its primary is only known with `+role`.
//!
//! [`Retry::ReadOnly`] asks the server which commands change nothing, and needs `+command|info` (before Redis 7: `+command`) for that;
//! without it nothing is sent again. Transactions need `+multi +exec` as well. (Where `MULTI` alone is denied, the commands of a
//! transaction run one by one: it fails as ambiguous, by [`Reason::MultiRefused`].)
//!
//! # Actors
//!
//! A tether is a small tree of [ractor](https://docs.rs/ractor) actors: a supervisor, the connection, its probe, and a
//! watcher of what the endpoint means. [`Tether::spawn_linked`] puts it under one of the application's own;
//! [`Tether::forward_events`] sends what happens to an actor as messages of its own type. An application without actors
//! need not know.
//!
//! # Features
//!
//! - `tls` (default): TLS, with ring for applications that bring no provider of cryptography. Without it, a configuration that asks
//!   for TLS is refused.
//! - `tls-no-provider`: TLS for applications that bring one (`default-features = false`), and need no C compiler for ring.
//! - `hickory`: `HickoryResolver`, which speaks DNS itself. Nothing changes until a tether is given one.
//! - `ractor-async-trait`, `ractor-cluster`: for applications that enable ractor's features `async-trait` and `cluster`, which
//!   change its traits for the whole build. Off by default; they change nothing else. Clusters of Redis need no feature.
//!
//! # Versions
//!
//! `redis` is part of the public interface. This version speaks redis 1.x; a new major version of redis is a breaking
//! change here, released as one, and the 1.x line is kept for at least half a year after. `ractor` 0.16 and `tokio-util` 0.7
//! appear in it as well ([`Tether::spawn_linked`], [`TetherBuilder::cancelled_by`]) and move in the same way; so does [`rustls`] 0.23,
//! which is re-exported (`TetherBuilder::tls_provider`). Rust 1.88 is the oldest that is supported; raising it is a minor release.

mod cluster;
mod config;
mod control;
mod credentials;
mod dedicated;
mod dial;
mod event;
mod foreign;
mod frame;
mod gate;
mod handle;
mod ledger;
mod lineage;
mod link;
mod lock;
mod multiplexer;
mod outcome;
mod patience;
mod question;
mod replicas;
mod resolve;
mod room;
mod sentinel;
mod shared;
mod stats;
mod status;
mod tether;
#[cfg(feature = "tls-no-provider")]
mod tls;
mod transport;
mod turnstile;

pub use cluster::{
    ClusterEvent, ClusterHandle, ClusterNotReady, ClusterNotice, ClusterReplicaHandle, ClusterStats, ClusterStatus,
    ClusterTether, ClusterTetherBuilder, Shard,
};
pub use config::{
    ClusterEndpoint, ClusterNode, ClusterSeed, CommandSettings, Config, ConfigError, DEFAULT_PORT,
    DEFAULT_SENTINEL_PORT, DetectionSettings, DialSettings, Endpoint, Fallback, HoldMode, LaneSettings, PacingSettings,
    Password, Protocol, ReplicaSettings, ResolveSettings, Retry, SecretFile, SentinelEndpoint, SentinelNode,
    SentinelTls, TlsSettings, TlsVerify, Verify,
};
pub use credentials::{CredentialSource, Credentials, CredentialsError, Occasion, credentials_fn};
pub use dedicated::{Dedicated, Loss, Lost};
pub use event::{Detector, Event};
pub use handle::{Handle, Policy};
pub use outcome::{CommandError, Outcome, OutcomeExt, Reason};
pub use redis;
pub use redis_tether_core::{Address, Epoch, FailureKind, Lane, RecoveryBounds, Role};
pub use replicas::{NoReplica, Replica, ReplicaHandle};
#[cfg(feature = "hickory")]
pub use resolve::HickoryResolver;
pub use resolve::{Query, Resolve, ResolveError, StaticResolver, SystemResolver, resolve_fn};
pub use stats::Stats;
pub use status::{Phase, Readiness, Status};
pub use tether::{NotReady, ReconnectError, StartError, Stopped, Tether, TetherBuilder};
#[cfg(feature = "tls-no-provider")]
pub use tls::TlsError;
#[cfg(feature = "tls-no-provider")]
pub use tokio_rustls::rustls;
pub use transport::{BoxFuture, BoxedStream, Stream, Transport};

/// The examples of the README and of the guides, compiled with the documentation's.
#[cfg(doctest)]
mod guides {
    #[doc = include_str!("../../../README.md")]
    struct Readme;
    #[doc = include_str!("../../../docs/operations.md")]
    struct Operations;
    #[doc = include_str!("../../../docs/migrating.md")]
    struct Migrating;
}
