//! Who looks after releases: writes down new ones and edits, ends phases that are over, stops the clock while a canary is
//! down, does what an analysis is allowed to do, and sees to it that a rollback that could not be written is.
//!
//! In a fleet one instance does, the one that leads; while etcd, or Kubernetes, is away nobody does, so nothing goes on then. A rollback is
//! written by whoever was told of it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use routing_rules::breaker;
use routing_rules::release::{Canary, Command, Hold, ITSELF, Pace, ReleaseRecord, SignedCommand};
use routing_rules::rules::{Name, Release};
use routing_rules::table::CompiledRelease;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::analysis::Advice;
use super::desk::mark;
use super::{Desk, Done, Expected, Observer, OrderError, Rollback, StoreError, Unwritten};
use crate::moment;
use crate::snapshot::{Snapshot, SnapshotCell};

/// Looks after all releases.
pub struct Steward {
    /// The rules in force.
    pub snapshots: Arc<SnapshotCell>,
    /// Where what happens by itself is written.
    pub desk: Desk,
    /// Where rollbacks are.
    pub rollbacks_desk: Desk,
    /// Whether it is this instance that looks after a release.
    pub is_in_charge: Box<dyn Fn(&Name) -> bool + Send + Sync>,
    /// Compares canaries with stable.
    pub observer: Observer,
    /// Rollbacks that hold here only.
    pub unwritten: Arc<Unwritten>,
    /// Told of the number of such a record, and of that under which it was written at last; of 0 if it is void.
    pub tell_written: TellWritten,
}

/// Tells that a rollback with a number was written, and under which one.
pub type TellWritten = Box<dyn Fn(&Name, u64, u64) + Send + Sync>;

impl Steward {
    /// Looks after them until nobody is left to tell of swaps.
    pub async fn run(mut self, mut swaps: watch::Receiver<()>) {
        let mut known = Known::default();
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                told = swaps.changed() => if told.is_err() { return },
                () = sleep_until(next_look) => {}
            }
            next_look = Instant::now() + LOOK_AGAIN;
            self.observer.look(&self.snapshots.load_full(), moment::unix_ms() / 1_000);
            self.write_rollbacks().await;
            self.look(&mut known).await;
        }
    }

    /// Who is not in charge looks all the same, and does nothing: one day it may be, and must know what was there before.
    async fn look(&self, known: &mut Known) {
        let snapshot = self.snapshots.load_full();
        known.forget(&snapshot);
        for (_, release) in snapshot.table.releases() {
            let rules = release.assigner.rules();
            let (mark, canary) = (known.mark(rules), known.lasting(release, canary(&snapshot, release)));
            let stored = snapshot.table.context().records.get(rules.name()).map(|record| &**record);
            let may_replace = known.may_replace(rules, stored);
            if !(self.is_in_charge)(rules.name()) {
                continue;
            }
            let known_record = release.record.as_deref();
            let advice = self.observer.advice(release, moment::unix_ms() / 1_000);
            let done = match &advice {
                Advice::RollBack(reason) => {
                    let order = SignedCommand { command: Command::Rollback, by: ITSELF, reason };
                    let number = known_record.map_or(0, |record| record.number);
                    self.desk.order(rules, known_record, &order, Expected::Number(number), true).await
                }
                // Another instance has other rules, and leads no longer: who is right, whoever wrote them knows.
                _ if known_record.is_none() && stored.is_some() && !may_replace => continue,
                _ if self.is_due(known_record, rules, mark, canary, advice.pace()) => {
                    self.desk.look_after(rules, known_record, may_replace, canary, advice.pace()).await
                }
                _ => continue,
            };
            known.note(rules.name(), done);
        }
    }

    /// Whether there may be anything to write: the store is not asked for nothing.
    fn is_due(
        &self,
        record: Option<&ReleaseRecord>,
        rules: &Release,
        mark: u64,
        canary: Canary,
        pace: Pace<'_>,
    ) -> bool {
        let Some(record) = record else { return true };
        let becomes = || self.desk.by_itself(rules, record, canary, pace, moment::unix_ms());
        record.rules != mark || !record.has_accepted(rules) || becomes().is_some()
    }

    async fn write_rollbacks(&self) {
        let snapshot = self.snapshots.load_full();
        for Rollback { release: name, record } in self.unwritten.all() {
            let release = snapshot.table.release_id(name.as_str()).and_then(|id| snapshot.table.release(id));
            // One that has gone, or moves other versions by now, has nobody to roll back.
            let release = release.filter(|release| record.is_of(release.assigner.rules()));
            let written = match release {
                None => 0,
                Some(release) => match self.rollbacks_desk.write_rollback(release.assigner.rules(), &record).await {
                    Ok(number) => number,
                    Err(OrderError::Foreign { .. }) => 0,
                    Err(_) => continue,
                },
            };
            let outcome = if written > 0 { "written" } else { "void" };
            tracing::info!(release = name.as_str(), outcome, "a rollback that held here only");
            (self.tell_written)(&name, record.number, written);
            let unwritten = Arc::clone(&self.unwritten);
            // A disk that hangs holds up nobody who looks after releases.
            drop(tokio::task::spawn_blocking(move || unwritten.remove(&name, &record)));
        }
    }
}

/// What is known of releases from one look to the next.
#[derive(Default)]
struct Known {
    /// What stands for its rules, by name. Rules that were edited are another value.
    marks: HashMap<Name, (Arc<Release>, u64)>,
    /// Between which upstreams it moved users when that was what was stored, too.
    pairs: HashMap<Name, (Name, Name)>,
    /// Those whose canary was seen to be down here.
    down: HashSet<Name>,
    /// Since when canaries have no endpoint.
    absent: HashMap<Name, Instant>,
    /// What the store said last, so that it is logged once.
    troubles: HashMap<Name, OrderError>,
}

impl Known {
    fn forget(&mut self, snapshot: &Snapshot) {
        let is_there = |name: &Name| snapshot.table.release_id(name.as_str()).is_some();
        self.marks.retain(|name, _| is_there(name));
        self.pairs.retain(|name, _| is_there(name));
        self.down.retain(is_there);
        self.absent.retain(|name, _| is_there(name));
        self.troubles.retain(|name, _| is_there(name));
    }

    /// Whether a release of these rules may take the place of one of other versions: if the rules are new here, and not if the
    /// record is.
    fn may_replace(&mut self, rules: &Release, stored: Option<&ReleaseRecord>) -> bool {
        let pair = (rules.stable().clone(), rules.canary().clone());
        match stored {
            Some(stored) if !stored.is_of(rules) => self.pairs.get(rules.name()) != Some(&pair),
            _ => {
                self.pairs.insert(rules.name().clone(), pair);
                true
            }
        }
    }

    /// What there is to say of a canary, other than of this very moment: one whose endpoints go and come within seconds is not away;
    /// and one that had fallen when this process, or this instance's turn, began has not stood up because nobody here has
    /// tried it.
    fn lasting(&mut self, release: &CompiledRelease, canary: Canary) -> Canary {
        let name = release.assigner.rules().name();
        match canary {
            Canary::Down => drop(self.down.insert(name.clone())),
            Canary::Absent => {
                let since = *self.absent.entry(name.clone()).or_insert_with(Instant::now);
                let hold = release.record.as_ref().and_then(|record| record.hold);
                return match hold {
                    None | Some(Hold::Headroom) if since.elapsed() < ABSENT => Canary::Up,
                    Some(Hold::CanaryDown) => Canary::Down,
                    None | Some(Hold::CanaryAbsent | Hold::Headroom) => canary,
                };
            }
            Canary::Up => {
                let fell = release.record.as_ref().filter(|record| record.hold == Some(Hold::CanaryDown));
                let is_young = |at_ms: u64| moment::unix_ms().saturating_sub(at_ms) < TRIED_MS;
                match fell {
                    Some(record) if !self.down.contains(name) && is_young(record.last.at_ms) => return Canary::Down,
                    Some(_) => {}
                    None => drop(self.down.remove(name)),
                }
            }
        }
        self.absent.remove(name);
        canary
    }

    fn mark(&mut self, rules: &Arc<Release>) -> u64 {
        match self.marks.get(rules.name()) {
            Some((known, mark)) if Arc::ptr_eq(known, rules) => *mark,
            _ => {
                let mark = mark(rules);
                self.marks.insert(rules.name().clone(), (Arc::clone(rules), mark));
                mark
            }
        }
    }

    fn note(&mut self, release: &Name, done: Result<Done, OrderError>) {
        match done {
            Ok(Done { record, has_changed, .. }) => {
                self.troubles.remove(release);
                if has_changed {
                    let ReleaseRecord { state, last, .. } = &*record;
                    let (release, action, reason) = (release.as_str(), &*last.action, &*last.reason);
                    tracing::info!(release, action, reason, percent = %state.percent, status = %state.status, "release");
                }
            }
            // Whoever is in charge does it.
            Err(OrderError::Store(StoreError::NotInCharge)) => {}
            // It has moved on since this look began; the next one sees that.
            Err(OrderError::Overtaken { .. }) => {}
            Err(error) => {
                if self.troubles.get(release) != Some(&error) {
                    tracing::warn!(release = release.as_str(), %error, "a release stays where it is");
                    self.troubles.insert(release.clone(), error);
                }
            }
        }
    }
}

/// How the canary of a release is, as this instance sees it.
fn canary(snapshot: &Snapshot, release: &CompiledRelease) -> Canary {
    let Some(upstream) = snapshot.upstream(release.canary) else { return Canary::Absent };
    let is_closed = upstream.group.as_ref().is_none_or(|group| group.stands() == breaker::State::Closed);
    match (is_closed, upstream.takes_requests()) {
        (false, _) => Canary::Down,
        (true, false) => Canary::Absent,
        (true, true) => Canary::Up,
    }
}

/// In so long a canary that is down shows that it is.
const TRIED_MS: u64 = 60_000;

/// After so long, a canary without endpoints holds its phase.
const ABSENT: Duration = Duration::from_secs(5);

/// Breakers and clocks do not say when it is time.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
