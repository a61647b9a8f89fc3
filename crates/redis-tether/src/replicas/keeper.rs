//! Keeps a tether for each replica: asks who they are, takes in those that are new, lets go of those that are gone. One task of the
//! tether whose replicas they are; its supervisor starts it when somebody wants them, and again should it panic. What happens
//! to the link of one replica, its own tether sees to.

use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use redis_tether_core::Epoch;
use tokio::time::{Instant, sleep_until};

use super::source::{Place, Source, SourceError};
use super::{Member, ReplicaSet, Seat};
use crate::config::{Config, Endpoint};
use crate::control::ending::Ends;
use crate::control::watcher::INTERVAL_JITTER;
use crate::control::{Brought, Control};
use crate::dial::wanted::Wanted;
use crate::event::Event;
use crate::lock::lock;
use crate::question::Trouble;
use crate::status::{Phase, Status};
use crate::tether::Tether;
use crate::tether::builder::{Part, Whole};

/// Runs until the tether ends.
pub(crate) async fn keep(control: Arc<Control>) {
    let (Some(set), ended) = (control.replicas().cloned(), control.ended.clone()) else { return };
    let mut keeper = Keeper::new(control);
    tokio::select! {
        biased;
        () = ended.cancelled() => {}
        () = keeper.run(&set) => {}
    }
}

struct Keeper {
    control: Arc<Control>,
    source: Source,
    rng: fastrand::Rng,
    /// What was told of failures.
    trouble: Trouble,
    /// There were simply none.
    names_nobody: bool,
}

impl Keeper {
    fn new(control: Arc<Control>) -> Keeper {
        let (source, rng) = (Source::of(&control), control.fork_rng());
        Keeper { source, rng, trouble: Trouble::default(), names_nobody: false, control }
    }

    async fn run(&mut self, set: &Arc<ReplicaSet>) {
        let mut status = self.control.board.status();
        let mut link = of_link(&status.borrow_and_update());
        loop {
            let begun = Instant::now();
            let serves = |place: &Place| set.serves(place);
            let outcome = self.source.ask(&self.control, serves).await;
            self.names_nobody = outcome.as_ref().is_ok_and(Vec::is_empty);
            // Where some are known, they are so a round longer.
            if outcome.as_ref().err() != Some(&SourceError::Blocked) || set.is_empty() {
                self.tell(set, outcome.as_ref().err());
            }
            if let Ok(mut places) = outcome {
                if places.is_empty() && self.source.may_miss_orphans() {
                    places = set.orphans();
                }
                self.follow(set, places).await;
            }
            let next = begun + self.interval(set);
            loop {
                tokio::select! {
                    biased;
                    () = set.doubted.notified() => break,
                    () = self.source.news() => break,
                    // Another primary may tell of others.
                    changed = status.changed() => match changed {
                        Ok(()) if std::mem::replace(&mut link, of_link(&status.borrow_and_update())) == link => {}
                        _ => break,
                    },
                    () = sleep_until(next) => break,
                }
            }
            sleep_until(begun + self.control.config.resolve.fast_interval).await;
        }
    }

    /// As often as names are asked for: in a hurry while none serves, at leisure while all do, or there are none.
    fn interval(&mut self, set: &ReplicaSet) -> Duration {
        let resolve = &self.control.config.resolve;
        let roster = set.rosters.borrow().clone();
        let interval = match roster.none_since {
            // They may be about to come: to a primary that has just become one.
            Some(since) if since.elapsed() < resolve.fast_for && self.names_nobody => resolve.outage_interval,
            Some(since) if since.elapsed() < resolve.fast_for => resolve.fast_interval,
            Some(_) if self.names_nobody => resolve.interval.max(resolve.outage_interval),
            Some(_) => resolve.outage_interval,
            None if roster.seats.iter().all(Seat::serves) => resolve.interval,
            None => resolve.outage_interval.min(resolve.interval),
        };
        interval.mul_f64(1.0 - INTERVAL_JITTER * self.rng.f64())
    }

    fn tell(&mut self, set: &ReplicaSet, error: Option<&SourceError>) {
        let is_news = self.trouble.is_news(SourceError::trouble(error));
        let error: Option<Arc<str>> = error.map(|error| error.to_string().into());
        set.show(|roster| roster.error.clone_from(&error));
        match error {
            Some(error) if is_news => self.control.board.send(Event::ReplicasUnknown { error }),
            Some(error) => {
                tracing::debug!(endpoint = &*self.control.shared.endpoint, %error, "replicas not found again");
            }
            None => {}
        }
    }

    /// Has a tether for each of these, and none besides.
    async fn follow(&self, set: &Arc<ReplicaSet>, places: Vec<Place>) {
        for member in set.leavers(&places) {
            let replica = member.place.to_string().into();
            self.control.board.send(Event::ReplicaRemoved { replica });
            // What is in flight to it gets its replies. A tether that ends meanwhile waits for that no longer than for others.
            let work = async move { member.tether.shutdown().await };
            self.control.tasks.spawn(self.control.drains.track_future(work));
        }
        for place in places {
            if !set.has(&place) {
                self.take_in(set, place).await;
            }
        }
    }

    async fn take_in(&self, set: &Arc<ReplicaSet>, place: Place) {
        let report = Report::new(&self.control, place.to_string());
        let tether = match start(&self.control, &place, report.clone(), self.source.wanted()).await {
            Ok(tether) => tether,
            Err(error) => {
                let endpoint = &*self.control.shared.endpoint;
                tracing::error!(endpoint, replica = %place, %error, "the tether of a replica did not start, and is started again");
                return;
            }
        };
        ends_with(&self.control, &tether);
        if set.admit(Member { place, tether }) {
            report.is_there(&self.control);
            // It may have come to serve before it was there to be found.
            set.look();
        }
    }
}

/// What of a status tells that there is another link, or none.
fn of_link(status: &Status) -> (Phase, Option<Epoch>) {
    (status.phase, status.epoch)
}

async fn start(
    control: &Arc<Control>,
    place: &Place,
    report: Report,
    wanted: Wanted,
) -> Result<Tether, crate::tether::StartError> {
    let mut config = Config::clone(&control.config);
    config.endpoint = Endpoint::tcp(&*place.host, place.port);
    let part = Part {
        of: Whole::Replicas(wanted),
        name: format!("{} replica {}", control.shared.endpoint, report.name).into(),
        brought: Brought {
            connector: control.connector.of_replica(control.config.replicas.host.as_deref()),
            sentinel_connector: control.sentinels.connector.clone(),
            resolver: control.resolver.clone(),
            credentials: control.credentials.clone(),
            sentinel_credentials: None,
            seed: control.seed.map(|_| control.fork_rng().u64(..)),
        },
        told: Box::new(move |event| report.tell(event)),
    };
    Tether::builder(config).part(part).start().await
}

/// Whatever ends the tether ends that of its replica, and it waits for that.
fn ends_with(control: &Control, replica: &Tether) {
    let (replica, ended) = (replica.control.clone(), control.ended.clone());
    control.tasks.spawn(async move {
        tokio::select! {
            biased;
            () = ended.cancelled() => replica.end(),
            () = replica.stopped.cancelled() => {}
        }
        replica.stopped.cancelled().await;
    });
}

/// Tells the tether whose replica it is what happens to it. That it is there comes before all else, which may be before whoever
/// starts it goes on.
#[derive(Clone)]
struct Report {
    control: Weak<Control>,
    name: Arc<str>,
    added: Arc<Once>,
}

impl Report {
    fn new(control: &Arc<Control>, name: String) -> Report {
        Report { control: Arc::downgrade(control), name: name.into(), added: Arc::new(Once::new()) }
    }

    fn is_there(&self, control: &Control) {
        self.added.call_once_force(|_| control.board.send(Event::ReplicaAdded { replica: self.name.clone() }));
    }

    fn tell(&self, event: &Event) -> bool {
        let Some(control) = self.control.upgrade() else { return false };
        self.is_there(&control);
        // Whoever waits may go on before anybody is told.
        if let Some(set) = control.replicas() {
            set.look();
            if matches!(event, Event::Lost { .. } | Event::Demoted { .. } | Event::Stopped) {
                set.doubted.notify_one();
            }
        }
        control.board.send(Event::Replica { replica: self.name.clone(), event: Box::new(event.clone()) });
        true
    }
}

impl ReplicaSet {
    fn serves(&self, place: &Place) -> bool {
        self.rosters.borrow().seats.iter().any(|seat| seat.place == *place && seat.serves())
    }

    fn is_empty(&self) -> bool {
        lock(&self.members).all.is_empty()
    }

    /// Those that have lost their primary, and answer all the same.
    fn orphans(&self) -> Vec<Place> {
        let roster = self.rosters.borrow().clone();
        roster.seats.iter().filter(|seat| seat.serves() && seat.is_stale()).map(|seat| seat.place.clone()).collect()
    }

    fn has(&self, place: &Place) -> bool {
        lock(&self.members).all.iter().any(|member| member.place == *place)
    }

    /// Takes one in, unless the set has ended.
    fn admit(&self, member: Member) -> bool {
        let seat = Seat {
            place: member.place.clone(),
            shared: member.tether.control.shared.clone(),
            board: member.tether.control.board.clone(),
            is_shown: false,
        };
        let mut members = lock(&self.members);
        if members.has_ended {
            // Dropping it may run an application's code.
            drop(members);
            return false;
        }
        members.all.push(member);
        drop(members);
        self.show(|roster| {
            if !roster.has_ended {
                roster.seats.push(seat);
            }
        });
        true
    }

    /// Those that are not at any of these places, or have ended by themselves. Handles do not see them any more.
    fn leavers(&self, places: &[Place]) -> Vec<Member> {
        let stays = |member: &Member| {
            let has_ended = member.tether.control.stopped.is_cancelled();
            places.contains(&member.place) && !has_ended
        };
        let mut members = lock(&self.members);
        let (staying, leaving) = std::mem::take(&mut members.all).into_iter().partition(stays);
        members.all = staying;
        drop(members);
        let leaving: Vec<Member> = leaving;
        if !leaving.is_empty() {
            let is_of = |seat: &Seat, member: &Member| Arc::ptr_eq(&seat.shared, &member.tether.control.shared);
            self.show(|roster| roster.seats.retain(|seat| !leaving.iter().any(|member| is_of(seat, member))));
        }
        leaving
    }
}

#[cfg(test)]
mod tests;
