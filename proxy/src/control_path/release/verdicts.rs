//! Tells Releases of Kubernetes what is said of them: their verdicts, which `kubectl get releases` shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kubernetes_source::{RegisterError, Releases};
use routing_rules::release::ReleaseRecord;
use routing_rules::rules::Name;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

use super::judgement::by;
use super::{Entry, Judgement, Reports};
use crate::snapshot::SnapshotCell;

/// Looks after what objects say.
pub struct VerdictWriter {
    /// The rules in force.
    pub snapshots: Arc<SnapshotCell>,
    /// What analyses say.
    pub reports: Arc<Reports>,
    /// Where it is written.
    pub releases: Arc<Releases>,
    /// Whether it is this instance that writes.
    pub is_in_charge: Box<dyn Fn(&Name) -> bool + Send + Sync>,
}

/// What an object says, as far as this instance knows.
struct Said {
    number: u64,
    verdict: Option<&'static str>,
    reason: String,
    at: Instant,
}

impl VerdictWriter {
    /// Writes until nobody is left to tell of swaps.
    pub async fn run(self, mut swaps: watch::Receiver<()>) {
        let mut known = BTreeMap::new();
        loop {
            let next_look = Instant::now() + LOOK_AGAIN;
            if let Some(trouble) = self.look(&mut known).await {
                tracing::warn!(%trouble, "what is said of releases cannot be written on them; it is tried again");
                sleep(PAUSE).await;
            }
            tokio::select! {
                told = swaps.changed() => if told.is_err() { return },
                // What analyses say, nobody tells.
                () = sleep_until(next_look) => {}
            }
        }
    }

    /// What is wrong with one keeps no other from being told. Returns what was wrong last.
    async fn look(&self, known: &mut BTreeMap<Name, Said>) -> Option<RegisterError> {
        let mut trouble = None;
        let (snapshot, reports) = (self.snapshots.load_full(), self.reports.load_full());
        known.retain(|name, _| snapshot.table.release_id(name.as_str()).is_some() && (self.is_in_charge)(name));
        for (_, release) in snapshot.table.releases() {
            let (rules, record) = (release.assigner.rules(), release.record.as_deref());
            let (name, Some(record)) = (rules.name(), record) else { continue };
            if self.releases.has(name.as_str()) != Some(true) || !(self.is_in_charge)(name) {
                continue;
            }
            let said =
                Said::of(record, Judgement::of(rules, Some(record), reports.get(name).map(|finding| &**finding)));
            if known.get(name).is_some_and(|known| known.is_as_good_as(&said)) {
                continue;
            }
            match self.write(name, &said).await {
                Ok(true) => drop(known.insert(name.clone(), said)),
                // It is heard of soon what the object is now.
                Ok(false) | Err(RegisterError::Overtaken | RegisterError::Gone) => {}
                Err(error) => trouble = Some(error),
            }
        }
        trouble
    }

    /// Writes what is said, unless the object is ahead, which is heard of soon. Returns whether the object says so now.
    async fn write(&self, release: &Name, said: &Said) -> Result<bool, RegisterError> {
        let mut stored = self.releases.read(release.as_str()).await?;
        let number = Entry::of(stored.status.record.clone()).map_or(0, |entry| entry.record.number);
        if number != said.number {
            return Ok(false);
        }
        let status = &mut stored.status;
        if (status.verdict.as_deref(), status.reason.as_deref()) == (said.verdict, Some(&*said.reason)) {
            return Ok(true);
        }
        status.verdict = said.verdict.map(str::to_owned);
        status.reason = Some(said.reason.clone());
        self.releases.write(release.as_str(), &stored).await.map(|()| true)
    }
}

impl Said {
    fn of(record: &ReleaseRecord, judgement: Option<Judgement>) -> Self {
        let (number, at) = (record.number, Instant::now());
        match judgement {
            Some(Judgement { verdict, reason, .. }) => Self { number, verdict: Some(verdict), reason, at },
            None => {
                let hold = record.hold.map(|hold| format!("{}, though nobody has paused it", hold.as_str()));
                Self { number, verdict: None, reason: hold.unwrap_or_else(|| by(record)), at }
            }
        }
    }

    /// Numbers within a reason change all the time, and each write is a change of the object for everybody who follows it.
    fn is_as_good_as(&self, newer: &Self) -> bool {
        let is_same = (self.number, self.verdict) == (newer.number, newer.verdict);
        is_same && (self.reason == newer.reason || newer.at.duration_since(self.at) < STALE)
    }
}

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// After something could not be written.
const PAUSE: Duration = Duration::from_secs(5);

/// For so long the words of a reason may be those of before.
const STALE: Duration = Duration::from_secs(60);
