//! Whether a canary's endpoints have room for more users: twice a second what they have in flight is looked at, and every five seconds
//! that and what was counted of each release becomes a stretch of time (`routing_rules::release::headroom` decides what it means).
//!
//! Requests count nothing for it: all that is read here is there for metrics and the analysis. Each instance knows what comes through
//! itself. In a fleet that is a part of all, of what is predicted as of what was carried, so the two compare.

mod course;
mod level;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use routing_rules::release::headroom::{Endpoints, Headroom, predict};
use routing_rules::release::{Hold, ReleaseRecord, ReleaseState, Status};
use routing_rules::rules::{InFlight, Name, Release};
use routing_rules::table::CompiledRelease;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::moment;
use crate::snapshot::{Snapshot, SnapshotCell, Upstream};
use course::Course;
use level::Level;

/// What endpoints of releases have to carry, and what they have carried.
pub struct Loads {
    snapshots: Arc<SnapshotCell>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// By upstream.
    levels: HashMap<Name, Level>,
    /// By release.
    courses: HashMap<Name, Course>,
    /// When the stretch under way began, in microseconds.
    since_us: Option<u64>,
    /// When the first one did.
    began_us: Option<u64>,
}

impl Loads {
    /// Nothing is known yet.
    pub fn new(snapshots: Arc<SnapshotCell>) -> Self {
        Self { snapshots, known: Mutex::default() }
    }

    /// Looks at them until nobody is left to tell of swaps.
    pub async fn run(&self, mut swaps: watch::Receiver<()>) {
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                told = swaps.changed() => if told.is_err() { return },
                () = sleep_until(next_look) => {
                    self.known().look(&self.snapshots.load_full(), moment::now_us());
                    next_look = Instant::now() + LOOK_AGAIN;
                }
            }
        }
    }

    /// How the canary's endpoints would stand with a release in this state. `None` if nothing is known.
    pub fn headroom(&self, release: &Name, next: &ReleaseState) -> Option<Headroom> {
        let snapshot = self.snapshots.load_full();
        let compiled = snapshot.table.release(snapshot.table.release_id(release.as_str())?)?;
        let [stable, canary] = [compiled.stable, compiled.canary].map(|id| snapshot.upstream(id));
        let (stable, canary) = (stable?, canary?);
        let known = self.known();
        let course = known.courses.get(release).filter(|course| course.is_of(compiled.assigner.rules()))?;
        let in_flight = predict(course.flows(), next)?;
        let carried = [stable, canary].into_iter().filter_map(|upstream| known.levels.get(upstream.name())?.carried());
        let endpoints = Endpoints::new(weights(canary), carried.reduce(f64::max))?;
        let limits = canary.rules.limits();
        let limit = limits.in_flight.and_then(|limit| match limit {
            InFlight::Fixed(limit) => Some(limit),
            // It grows with what comes.
            InFlight::Auto => None,
        });
        Some(endpoints.limited(limits.in_flight_per_endpoint, limit).with(in_flight))
    }

    /// Why there is no room for the users who would come in.
    pub(super) fn shortage(&self, rules: &Release, next: &ReleaseState) -> Option<String> {
        let headroom = self.headroom(rules.name(), next)?;
        (!headroom.is_enough()).then(|| headroom.words(rules, next))
    }

    /// The same for a phase that might end. One that waits already does so until it is known that there is room: a process that has
    /// just begun, and one that has just come back to its clients, know nothing.
    pub(super) fn shortage_of_phase(
        &self,
        rules: &Release,
        now: &ReleaseRecord,
        next: &ReleaseState,
    ) -> Option<String> {
        let headroom = self.headroom(rules.name(), next);
        let is_known = headroom.is_some_and(|it| it.is_known()) && self.knows_since(now.last.at_ms);
        if now.hold == Some(Hold::Headroom) && !is_known {
            return Some(UNKNOWN.to_owned());
        }
        headroom.filter(|it| !it.is_enough()).map(|it| it.words(rules, next))
    }

    /// Whether it was looking when something happened, in milliseconds since 1970, or has looked for a minute.
    fn knows_since(&self, at_ms: u64) -> bool {
        let now_ms = moment::unix_ms();
        let looked_ms = self.known().began_us.map_or(0, |began_us| moment::now_us().saturating_sub(began_us) / 1_000);
        looked_ms >= ENOUGH_MS || now_ms.saturating_sub(looked_ms) < at_ms
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // What is half done is put right by the next look.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn look(&mut self, snapshot: &Snapshot, now_us: u64) {
        self.began_us.get_or_insert(now_us);
        let since_us = *self.since_us.get_or_insert(now_us);
        let is_over = now_us.saturating_sub(since_us) >= STRETCH_US;
        let releases = || snapshot.table.releases().filter(|(_, release)| may_grow(snapshot, release));
        let mut seen = HashSet::new();
        for (_, release) in releases() {
            for upstream in [release.stable, release.canary].into_iter().filter_map(|id| snapshot.upstream(id)) {
                if seen.insert(upstream.name().clone()) {
                    self.levels.entry(upstream.name().clone()).or_default().look(upstream);
                }
            }
        }
        if is_over {
            self.since_us = Some(now_us);
            self.levels.retain(|name, _| seen.contains(name));
            self.levels.values_mut().for_each(|level| level.close(now_us, since_us));
        }
        let mut names = HashSet::new();
        for (id, release) in releases() {
            let (rules, canary) = (release.assigner.rules(), snapshot.upstream(release.canary));
            names.insert(rules.name().clone());
            match self.courses.get_mut(rules.name()).filter(|course| course.is_of(rules)) {
                None => drop(self.courses.insert(rules.name().clone(), Course::new(snapshot, id, release, now_us))),
                Some(course) if is_over => {
                    let in_flight = canary.and_then(|canary| self.levels.get(canary.name())).map(Level::in_flight);
                    course.close(snapshot, id, release, in_flight.unwrap_or(0.0), now_us);
                }
                Some(_) => {}
            }
        }
        self.courses.retain(|name, _| names.contains(name));
    }
}

/// Whether more users may come to its canary. After the end all are there.
fn may_grow(snapshot: &Snapshot, release: &CompiledRelease) -> bool {
    snapshot.table.context().state(release.assigner.rules()).status != Status::Completed
}

/// Those of the endpoints that take requests.
fn weights(upstream: &Upstream) -> impl Iterator<Item = f64> {
    let members = upstream.endpoints.iter().enumerate();
    let taking = members.filter(|(place, member)| !member.is_draining() && upstream.weighing.share(*place) > 0.0);
    taking.map(|(_, member)| f64::from(member.weight))
}

/// A process that looks more often learns no more: what is in flight changes within milliseconds, and ten looks make a mean.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// A load that lasts so long was carried.
const STRETCH_US: u64 = 5_000_000;

/// After so long a process knows what comes through it.
const ENOUGH_MS: u64 = 60_000;

const UNKNOWN: &str = "nothing is known yet of what its endpoints have to carry";

#[cfg(test)]
mod tests;
