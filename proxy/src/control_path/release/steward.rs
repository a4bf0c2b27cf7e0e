//! Who looks after releases: writes down new ones and edits, ends phases that are over, stops the clock while a canary is
//! down, does what an analysis is allowed to do, and sees to it that a rollback that could not be written is.
//!
//! In a fleet one instance does, the one that leads; while etcd is away nobody does, so nothing goes on then. A rollback is
//! written by whoever was told of it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use routing_rules::breaker;
use routing_rules::release::{Canary, Command, ITSELF, Pace, ReleaseRecord, SignedCommand};
use routing_rules::rules::{Name, Release};
use routing_rules::table::CompiledRelease;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::analysis::Advice;
use super::desk::mark;
use super::{Desk, Done, Expected, Observer, OrderError, StoreError};
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
    /// Whether it is this instance that looks after releases.
    pub is_in_charge: Box<dyn Fn() -> bool + Send + Sync>,
    /// Compares canaries with stable.
    pub observer: Observer,
    /// Told of the number under which a rollback that holds here only was written at last.
    pub tell_written: TellWritten,
}

/// Tells that a rollback was written, and under which number.
pub type TellWritten = Box<dyn Fn(&Name, u64) + Send + Sync>;

/// A rollback that holds here, and that the store does not have yet.
#[derive(Clone, Debug)]
pub struct Unwritten {
    /// Of which release.
    pub release: Name,
    /// By whom.
    pub by: String,
    /// Why.
    pub reason: String,
}

impl Steward {
    /// Looks after them until nobody is left to tell of swaps.
    pub async fn run(mut self, mut swaps: watch::Receiver<()>, mut rollbacks: mpsc::UnboundedReceiver<Unwritten>) {
        let (mut known, mut unwritten) = (Known::default(), BTreeMap::new());
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                told = swaps.changed() => if told.is_err() { return },
                Some(rollback) = rollbacks.recv() => drop(unwritten.insert(rollback.release.clone(), rollback)),
                () = sleep_until(next_look) => {}
            }
            next_look = Instant::now() + LOOK_AGAIN;
            self.observer.look(&self.snapshots.load_full(), moment::unix_ms() / 1_000);
            self.write_rollbacks(&mut unwritten).await;
            if (self.is_in_charge)() {
                self.look(&mut known).await;
            } else {
                known.troubles.clear();
            }
        }
    }

    async fn look(&self, known: &mut Known) {
        let snapshot = self.snapshots.load_full();
        known.forget(&snapshot);
        for (_, release) in snapshot.table.releases() {
            let rules = release.assigner.rules();
            let (mark, canary) = (known.mark(rules), canary(&snapshot, release));
            let advice = self.observer.advice(release, moment::unix_ms() / 1_000);
            let done = match &advice {
                Advice::RollBack(reason) => {
                    let order = SignedCommand { command: Command::Rollback, by: ITSELF, reason };
                    let number = release.record.as_ref().map_or(0, |record| record.number);
                    self.desk.order(rules, &order, Expected::Number(number), true).await
                }
                _ if is_due(release.record.as_deref(), rules, mark, canary, advice.pace()) => {
                    self.desk.look_after(rules, canary, advice.pace()).await
                }
                _ => continue,
            };
            known.note(rules.name(), done);
        }
    }

    async fn write_rollbacks(&self, unwritten: &mut BTreeMap<Name, Unwritten>) {
        let snapshot = self.snapshots.load_full();
        let mut written = Vec::new();
        for (name, Unwritten { by, reason, .. }) in &*unwritten {
            let release = snapshot.table.release_id(name.as_str()).and_then(|id| snapshot.table.release(id));
            // One that has gone has nobody to roll back.
            let Some(release) = release else {
                written.push((name.clone(), u64::MAX));
                continue;
            };
            let order = SignedCommand { command: Command::Rollback, by, reason };
            if let Ok(done) = self.rollbacks_desk.order(release.assigner.rules(), &order, Expected::Any, true).await {
                tracing::info!(release = name.as_str(), "the rollback is written");
                written.push((name.clone(), done.record.number));
            }
        }
        for (name, number) in written {
            unwritten.remove(&name);
            (self.tell_written)(&name, number);
        }
    }
}

/// What is known of releases from one look to the next.
#[derive(Default)]
struct Known {
    /// What stands for its rules, by name. Rules that were edited are another value.
    marks: HashMap<Name, (Arc<Release>, u64)>,
    /// What the store said last, so that it is logged once.
    troubles: HashMap<Name, OrderError>,
}

impl Known {
    fn forget(&mut self, snapshot: &Snapshot) {
        let is_there = |name: &Name| snapshot.table.release_id(name.as_str()).is_some();
        self.marks.retain(|name, _| is_there(name));
        self.troubles.retain(|name, _| is_there(name));
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
            Err(error) => {
                if self.troubles.get(release) != Some(&error) {
                    tracing::warn!(release = release.as_str(), %error, "a release stays where it is");
                    self.troubles.insert(release.clone(), error);
                }
            }
        }
    }
}

/// Whether there may be anything to write: the store is not asked for nothing.
fn is_due(record: Option<&ReleaseRecord>, rules: &Release, mark: u64, canary: Canary, pace: Pace<'_>) -> bool {
    let Some(record) = record else { return true };
    let now_ms = moment::unix_ms();
    record.rules != mark || record.by_itself(rules, canary, pace, now_ms).is_some()
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

/// Breakers and clocks do not say when it is time.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
