//! One shard as its tether sees it: the endpoint whose address is whoever is primary of these slots. The watcher of that tether
//! asks here; the surveyor of the cluster finds out.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use redis_tether_core::Address;
use redis_tether_core::cluster::Node;
use redis_tether_core::recovery::ResolvePace;
use tokio::time::Instant;

use super::error::SurveyError;
use super::layout::{Layout, Number};
use super::survey::Surveyor;
use crate::lock::lock;
use crate::resolve::{Lifetime, Query};

pub(crate) struct ShardSource {
    number: Number,
    surveyor: Arc<Surveyor>,
    /// Who was told to be the primary.
    told: Mutex<Option<Node>>,
}

/// Where the primary is.
pub(crate) struct Whereabouts {
    pub(crate) addresses: Vec<Address>,
    /// It was another one when this was asked before.
    pub(crate) has_moved: bool,
}

/// Hosts and ports.
pub(crate) struct Members {
    pub(crate) primary: (String, u16),
    pub(crate) replicas: Vec<(String, u16)>,
    /// The nodes of other shards.
    pub(crate) others: Vec<(String, u16)>,
}

impl ShardSource {
    pub(crate) fn new(number: Number, surveyor: Arc<Surveyor>) -> ShardSource {
        ShardSource { number, surveyor, told: Mutex::new(None) }
    }

    /// While the shard's link serves, what is known will do; else the nodes are asked. Its caller bounds the waiting. Cancel safe.
    pub(crate) async fn ask(
        &self,
        pace: ResolvePace,
        max_age: Duration,
        lifetime: Lifetime,
    ) -> Result<Whereabouts, SurveyError> {
        let layout = match pace {
            ResolvePace::Settled => self.surveyor.layout(),
            ResolvePace::Urgent => {
                let now = Instant::now();
                self.surveyor.fresh(now.checked_sub(max_age).unwrap_or(now)).await?
            }
        };
        let group = layout.shard(self.number).ok_or(SurveyError::Dissolved)?;
        let primary = &group.primary;
        let query = Query::new(&primary.host, primary.port).with_max_age(max_age).with_lifetime(lifetime);
        let places = self.surveyor.locate_node(query).await?;
        let before = lock(&self.told).replace(primary.clone());
        let addresses = places.into_iter().map(Address::Tcp).collect();
        Ok(Whereabouts { addresses, has_moved: before.is_some_and(|before| before != *primary) })
    }

    /// Who its replicas are, and who is none of them, as far as is known.
    pub(crate) fn replicas(&self) -> Result<Members, SurveyError> {
        let layout = self.surveyor.layout();
        let group = layout.shard(self.number).ok_or(SurveyError::Dissolved)?;
        let place = |node: &Node| (node.host.clone(), node.port);
        let others = layout.shards().iter().filter(|shard| shard.number != self.number);
        Ok(Members {
            primary: place(&group.primary),
            replicas: group.replicas.iter().map(place).collect(),
            others: others.flat_map(|shard| shard.group.nodes()).map(place).collect(),
        })
    }

    /// Waits for a survey that tells something new of any shard. Cancel safe.
    pub(crate) async fn surveyed(&self, known: &mut Option<Arc<Layout>>) {
        let mut found = self.surveyor.found();
        // Ends with the cluster alone, and whoever waits ends with it.
        let _ = found
            .wait_for(|found| known.as_ref().is_none_or(|known| !Arc::ptr_eq(known, &found.layout)))
            .await
            .map(|found| *known = Some(found.layout.clone()));
    }

    /// Says when the shard has another primary than was told last. Ends with the surveyor.
    pub(crate) async fn watch(&self, displaced: impl Fn()) {
        let mut found = self.surveyor.found();
        while found.changed().await.is_ok() {
            let layout = found.borrow_and_update().layout.clone();
            let Some(group) = layout.shard(self.number) else { continue };
            if lock(&self.told).as_ref().is_some_and(|told| *told != group.primary) {
                displaced();
            }
        }
    }
}
