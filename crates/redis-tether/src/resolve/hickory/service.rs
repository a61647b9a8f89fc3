//! Services (RFC 2782): from a name's SRV records to addresses with ports, in the order in which they are to be tried.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use hickory_resolver::proto::rr::rdata::SRV;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::lookups::{Failure, Found};
use super::{addresses, failure, left};

/// A service is at this many places at most; those that would be tried last are left out.
const MOST_PLACES: usize = 32;

/// A target whose addresses take longer is left out, so that the others are known in time.
const TARGET_LIMIT: Duration = Duration::from_secs(2);

/// Whether the name is that of a service and can be nothing else: `_redis._tcp.` and something.
pub(super) fn is_named_as_one(host: &str) -> bool {
    let mut labels = host.split('.');
    let is_marked = |label: Option<&str>| label.is_some_and(|label| label.len() > 1 && label.starts_with('_'));
    is_marked(labels.next()) && is_marked(labels.next()) && labels.next().is_some_and(|rest| !rest.is_empty())
}

/// Where the service is. Weights spread load over equals, and only one can be the primary: they are an order, and no lottery.
pub(super) async fn places(resolver: &TokioResolver, host: &str) -> Result<Found, Failure> {
    let answer = resolver.srv_lookup(host).await.map_err(failure)?;
    let ttl = left(answer.valid_until());
    let records = answer.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(srv) => Some(srv),
        _ => None,
    });
    targets(resolver, in_order(records), ttl).await
}

/// The root as a target says that the service is not there.
fn in_order<'a>(records: impl Iterator<Item = &'a SRV>) -> Vec<SRV> {
    let mut records: Vec<_> = records.filter(|srv| !srv.target.is_root()).cloned().collect();
    records.sort_by_key(|srv| (srv.priority, Reverse(srv.weight)));
    records.truncate(MOST_PLACES);
    records
}

/// The addresses of all targets, which are asked for at once. It fails when all of them do, as the first does.
async fn targets(resolver: &TokioResolver, records: Vec<SRV>, ttl: Duration) -> Result<Found, Failure> {
    let mut asking = JoinSet::new();
    for (place, srv) in records.iter().enumerate() {
        let (resolver, target) = (resolver.clone(), srv.target.to_ascii());
        asking.spawn(async move { (place, timeout(TARGET_LIMIT, addresses(&resolver, &target)).await) });
    }
    let mut answers = Vec::with_capacity(records.len());
    while let Some(answer) = asking.join_next().await {
        // One that panicked is one that is left out.
        answers.extend(answer.map(|(place, answer)| (place, answer.unwrap_or(Err(Failure::TimedOut)))));
    }
    answers.sort_by_key(|(place, _)| *place);
    gather(&records, answers, ttl)
}

fn gather(records: &[SRV], answers: Vec<(usize, Result<Found, Failure>)>, ttl: Duration) -> Result<Found, Failure> {
    let (mut all, mut first_failure) = (Found { addresses: Vec::new(), ttl }, None);
    for (place, answer) in answers {
        match answer {
            Ok(found) => {
                let port = records[place].port;
                all.addresses.extend(found.addresses.iter().map(|address| SocketAddr::new(address.ip(), port)));
                all.ttl = all.ttl.min(found.ttl);
            }
            Err(failure) => first_failure = first_failure.or(Some(failure)),
        }
    }
    match first_failure {
        Some(failure) if all.addresses.is_empty() => Err(failure),
        _ => Ok(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_known_by_its_name() {
        for service in ["_redis._tcp.redis.svc", "_redis._tcp.x", "_a._b.c."] {
            assert!(is_named_as_one(service), "{service}");
        }
        for host in ["redis", "_redis", "_redis._tcp", "_redis._tcp.", "redis._tcp.svc", "_redis.tcp.svc", "_._.x", ""]
        {
            assert!(!is_named_as_one(host), "{host}");
        }
    }
}
