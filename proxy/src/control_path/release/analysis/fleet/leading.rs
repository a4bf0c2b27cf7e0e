//! What the instance does that leads: it closes windows, and keeps what comes of them in etcd.
//!
//! Each window of a release is written behind the one before, and only by who leads: an instance that leads no longer writes nothing
//! more, and whoever follows goes on from what was written. All else is known from etcd, so after any fault it is read anew.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::convert::Infallible;
use std::str::from_utf8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use etcd_client::{Compare, CompareOp, PutOptions, Txn, TxnOp};
use routing_rules::analysis::{WINDOW_S, Window};
use routing_rules::rules::{AnalysisMode, Name};
use tokio::time::{Instant, sleep};

use super::bench::{Bench, Closed};
use super::gathering::{Closable, Gathering};
use super::{BLOCKS, REPORTS, wire};
use crate::control_path::etcd::{Cluster, Heard, Keys, Mirror, Pace, Trouble, Value};
use crate::control_path::fleet::{self, Fleet, KEPT_ANALYSES};
use crate::moment;
use crate::snapshot::SnapshotCell;

/// One instance, which may lead.
pub(super) struct Leading {
    pub(super) cluster: Cluster,
    pub(super) fleet: Arc<Fleet>,
    pub(super) snapshots: Arc<SnapshotCell>,
}

/// One time of leading, from its beginning to its end.
struct Term<'l> {
    leading: &'l Leading,
    bench: Bench,
    /// What all that is kept hangs on.
    lease: Option<(i64, Instant)>,
    /// For how many windows in a row instances have been absent.
    absent: HashMap<Box<str>, u32>,
    /// Whether it was told that this clock is wrong.
    is_told_behind: bool,
}

/// Why a term is over.
enum End {
    /// Another instance leads, or has written.
    Overtaken,
    Trouble(Trouble),
}

impl From<Trouble> for End {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl Leading {
    /// Leads whenever it is its turn.
    pub(super) async fn run(self) -> Infallible {
        let mut failures: u32 = 0;
        loop {
            sleep(LOOK_AGAIN).await;
            if !self.fleet.leads() {
                continue;
            }
            let began = Instant::now();
            let Err(end) = self.lead().await;
            self.fleet.end_analyses();
            failures = if began.elapsed() < SETTLED { failures.saturating_add(1) } else { 1 };
            match end {
                End::Trouble(trouble) if failures.is_power_of_two() => {
                    tracing::warn!(failures, reason = %trouble, "what the fleet reports cannot be judged; trying again");
                }
                End::Trouble(_) => {}
                End::Overtaken => tracing::info!("windows of the fleet are closed by another instance"),
            }
            sleep(LOOK_AGAIN * failures.min(LONGEST_PAUSE)).await;
        }
    }

    async fn lead(&self) -> Result<Infallible, End> {
        let bench = self.read().await?;
        let gathering = Mutex::new(Gathering::default());
        // Parts of one task: nobody ever waits for it.
        let gathering = || gathering.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = format!("{}{REPORTS}", self.cluster.prefix());
        let mirror = Mirror::new(self.cluster.clone(), prefix.as_bytes(), Pace::default());
        let mut unreadable = HashSet::new();
        let hear = |heard: Heard<'_>| match heard {
            Heard::Changed { keys, changed, .. } => take(&mut gathering(), &prefix, keys, &changed, &mut unreadable),
            Heard::Lost { trouble, times } if times.is_power_of_two() => {
                tracing::warn!(times, reason = %trouble, "what instances report cannot be heard; no window of the fleet is closed");
            }
            Heard::Lost { .. } | Heard::Same { .. } => {}
        };
        let mut term = Term { leading: self, bench, lease: None, absent: HashMap::new(), is_told_behind: false };
        tokio::select! {
            () = mirror.run(hear) => Err(End::Overtaken),
            ended = term.close_all(gathering) => ended,
        }
    }

    /// What was kept when others led.
    async fn read(&self) -> Result<Bench, Trouble> {
        let prefix = |folder| format!("{}{folder}", self.cluster.prefix());
        let (states_prefix, blocks_prefix) = (prefix(KEPT_ANALYSES), prefix(BLOCKS));
        // In this order: a write that comes in between is not behind what was read of the state, and all is read anew.
        let (states, blocks) = (self.cluster.list(&states_prefix).await?, self.cluster.list(&blocks_prefix).await?);
        self.fleet.set_analyses(&states);
        Ok(Bench::of(behind(&states_prefix, &states), behind(&blocks_prefix, &blocks)))
    }
}

/// Values by what their keys say behind a prefix.
fn behind<'k>(prefix: &str, keys: &'k Keys) -> impl Iterator<Item = (&'k str, &'k Value)> {
    let rest = move |key: &'k [u8]| from_utf8(key).ok()?.get(prefix.len()..);
    keys.entries.iter().filter_map(move |(key, value)| Some((rest(key)?, value)))
}

fn take(
    gathering: &mut Gathering,
    prefix: &str,
    keys: &Keys,
    changed: &BTreeSet<Arc<[u8]>>,
    unreadable: &mut HashSet<Box<str>>,
) {
    let unix_s = moment::unix_ms() / 1_000;
    for key in changed {
        let place = from_utf8(key).ok().and_then(|key| key.strip_prefix(prefix)?.split_once('/'));
        let Some((window, instance)) = place else { continue };
        let (Some(value), Ok(window)) = (keys.entries.get(key), window.parse()) else { continue };
        gathering.note(instance, value.mod_revision, window);
        match wire::read(window, &value.bytes) {
            Ok(report) => gathering.take(instance, report, unix_s),
            Err(reason) => {
                if unreadable.insert(instance.into()) {
                    tracing::error!(
                        instance,
                        window,
                        reason,
                        "what an instance reports cannot be read; it counts as absent"
                    );
                }
            }
        }
    }
}

impl Term<'_> {
    async fn close_all<'g>(&mut self, gathering: impl Fn() -> MutexGuard<'g, Gathering>) -> Result<Infallible, End> {
        loop {
            sleep(LOOK_AGAIN).await;
            loop {
                if !self.leading.fleet.leads() {
                    return Err(End::Overtaken);
                }
                let live = self.leading.fleet.instances().reporting();
                let next = gathering().next(&live, moment::unix_ms() / 1_000);
                let Some(closable) = next else { break };
                self.tell_absent(&closable);
                self.close(&closable).await?;
            }
        }
    }

    async fn close(&mut self, closable: &Closable) -> Result<(), End> {
        let snapshot = self.leading.snapshots.load_full();
        for name in closable.releases() {
            let release = snapshot.table.release_id(name.as_str()).and_then(|id| snapshot.table.release(id));
            let Some(rules) = release.map(|release| release.assigner.rules()) else { continue };
            if rules.analysis().mode == AnalysisMode::Off {
                continue;
            }
            let now = Window::number_at(moment::unix_ms() / 1_000);
            if let Some(closed) = self.bench.close(rules, closable, now) {
                self.write(&name, closed).await?;
            }
        }
        Ok(())
    }

    async fn write(&mut self, release: &Name, closed: Closed) -> Result<(), End> {
        let Leading { cluster, fleet, .. } = self.leading;
        let key = |folder: &str| format!("{}{folder}{release}", cluster.prefix());
        let options = PutOptions::new().with_lease(self.lease().await?);
        let mut writes = vec![TxnOp::put(key(KEPT_ANALYSES), &*closed.text, Some(options.clone()))];
        for (number, text) in closed.blocks {
            writes.push(TxnOp::put(format!("{}/{number}", key(BLOCKS)), text, Some(options.clone())));
        }
        let when = [
            fleet::leads(cluster, fleet.id()),
            Compare::mod_revision(key(KEPT_ANALYSES), CompareOp::Equal, closed.behind),
        ];
        let transaction = Txn::new().when(when).and_then(writes);
        let revision = cluster.transact(transaction).await?.ok_or(End::Overtaken)?;
        self.bench.keep(release, revision);
        fleet.keep_analysis(release.as_str(), closed.text.as_bytes(), revision);
        Ok(())
    }

    /// Six hours are looked back at. What is kept goes when its release has gone for so long, so nobody has to delete it.
    async fn lease(&mut self) -> Result<i64, Trouble> {
        if let Some((lease, _)) = self.lease.filter(|(_, since)| since.elapsed() < NEXT_LEASE) {
            return Ok(lease);
        }
        let lease = self.leading.cluster.grant(KEPT).await?;
        self.lease = Some((lease, Instant::now()));
        Ok(lease)
    }

    fn tell_absent(&mut self, closable: &Closable) {
        if closable.is_behind && !std::mem::replace(&mut self.is_told_behind, true) {
            tracing::error!("the clock of this instance, which leads, is behind those of others: nothing is promoted");
        }
        self.absent.retain(|instance, _| closable.absent.contains(instance));
        for instance in &closable.absent {
            let windows = self.absent.entry(instance.clone()).or_default();
            *windows += 1;
            if u64::from(*windows) == TELL_AFTER {
                let (instance, window) = (&**instance, closable.window);
                tracing::warn!(
                    instance,
                    window,
                    "an instance does not report what comes through it; nothing is promoted"
                );
            }
        }
    }
}

/// Windows come every five seconds, and wait for nothing else.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// In so many of these.
const LONGEST_PAUSE: u32 = 20;
/// A term that lasts as long is no failure.
const SETTLED: Duration = Duration::from_secs(10);

/// How long five minutes are kept, and how long others go with them.
const KEPT: Duration = Duration::from_secs(7 * 3_600 + 1_800);
const NEXT_LEASE: Duration = Duration::from_secs(3_600);

/// Windows in a row; from here on it matters.
const TELL_AFTER: u64 = 30 / WINDOW_S + 1;
