//! Orders to releases: where they are written, and what holds here when that is not possible.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use routing_rules::release::{Command, ReleaseRecord, SignedCommand};
use routing_rules::rules::{Name, Release};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::Shared;
use super::rules::Inbox;
use super::start::{InEtcd, InKubernetes};
use crate::control_path::fleet::Fleet;
use crate::control_path::release::webhooks::{self, CursorStore, FolderCursors};
use crate::control_path::release::{
    Desk, EtcdStore, Expected, FleetAnalysis, FolderStore, Loads, ObjectCursors, ObjectStore, Observer, OrderError,
    Reports, RolledBack, Steward, Store, StoreError, TellWritten, Unwritten, VerdictWriter,
};
use crate::control_path::state_dir::StateDir;
use crate::moment;
use crate::snapshot::SnapshotCell;

/// Takes orders.
pub(crate) struct Releases {
    pub(crate) desk: Desk,
    /// What endpoints have to carry.
    pub(crate) loads: Arc<Loads>,
    /// What analyses say.
    pub(crate) reports: Arc<Reports>,
    roll_back_here: RollBackHere,
    unwritten: Arc<Unwritten>,
    /// Orders that are being carried out, whether or not somebody still waits for the answer.
    orders: Mutex<JoinSet<()>>,
}

type RollBackHere = Box<dyn Fn(&Name, Arc<ReleaseRecord>) + Send + Sync>;

/// What there is to make of releases before the threads start.
pub(super) struct Books {
    folder: Arc<FolderStore>,
    observer: Observer,
    tell_written: TellWritten,
    unwritten: Arc<Unwritten>,
    cursors: Arc<FolderCursors>,
}

impl Books {
    pub(super) fn open(
        folder: FolderStore,
        state_dir: Option<StateDir>,
        unwritten: Arc<Unwritten>,
        others: Others<'_>,
        inbox: &Inbox,
        snapshots: &Arc<SnapshotCell>,
    ) -> (Releases, Self) {
        let folder = Arc::new(folder);
        let reports = Arc::new(Reports::default());
        let cursors = Arc::new(FolderCursors::open(state_dir.clone()));
        let observer = match others.etcd {
            Some(etcd) => Observer::of_fleet(Arc::clone(&reports), Arc::clone(&etcd.fleet)),
            None => Observer::alone(Arc::clone(&reports), state_dir),
        };
        let store = others.store(&folder);
        let roll_back_here = Box::new(inbox.tell_rolled_back());
        let tell_written = Box::new(inbox.tell_rollback_written());
        let loads = Arc::new(Loads::new(Arc::clone(snapshots)));
        let releases = Releases {
            desk: Desk::new(store).with_loads(Arc::clone(&loads)),
            loads,
            reports,
            roll_back_here,
            unwritten: Arc::clone(&unwritten),
            orders: Mutex::default(),
        };
        (releases, Self { folder, observer, tell_written, unwritten, cursors })
    }

    /// What webhooks are told, by a process that began at this time (milliseconds since 1970).
    pub(super) fn source(&self, shared: &Shared, since_ms: u64) -> webhooks::Source {
        let others = Others::of(shared);
        let cursors: Arc<dyn CursorStore> = match others {
            Others { etcd: Some(etcd), .. } => Arc::new(EtcdStore::of_leader(etcd.cluster(), etcd.fleet.id())),
            Others { kubernetes: Some(kubernetes), .. } => Arc::new(ObjectCursors(Arc::clone(&kubernetes.releases))),
            Others { .. } => Arc::clone(&self.cursors) as _,
        };
        let charge = others.charge();
        webhooks::Source {
            snapshots: Arc::clone(&shared.snapshots),
            store: others.store_of_leader(&self.folder),
            cursors,
            is_in_charge: Arc::new(move || charge.is_taken()),
            since_ms,
        }
    }

    /// Who looks after the releases of this process, and hears of rollbacks.
    pub(super) fn steward(self, shared: &Shared) -> Steward {
        let others = Others::of(shared);
        let charge = others.charge();
        Steward {
            snapshots: Arc::clone(&shared.snapshots),
            desk: Desk::new(others.store_of_leader(&self.folder)).with_loads(Arc::clone(&shared.releases.loads)),
            rollbacks_desk: Desk::new(others.store(&self.folder)),
            is_in_charge: Box::new(move |release| charge.is_taken_of(release)),
            observer: self.observer,
            unwritten: self.unwritten,
            tell_written: self.tell_written,
        }
    }
}

/// Who else has releases than this process.
#[derive(Clone, Copy)]
pub(super) struct Others<'a> {
    /// A fleet, which shares all of them but those of objects.
    pub(super) etcd: Option<&'a InEtcd>,
    /// Objects, which have their own.
    pub(super) kubernetes: Option<&'a InKubernetes>,
}

impl<'a> Others<'a> {
    fn of(shared: &'a Shared) -> Self {
        Self { etcd: shared.etcd.as_ref(), kubernetes: shared.kubernetes.as_ref() }
    }

    /// Where orders are written, which anybody may give anywhere.
    fn store(self, folder: &Arc<FolderStore>) -> Arc<dyn Store> {
        self.with_objects(match self.etcd {
            Some(etcd) => Arc::new(EtcdStore::new(etcd.cluster())),
            None => Arc::clone(folder) as _,
        })
    }

    /// Where it is written what happens by itself.
    fn store_of_leader(self, folder: &Arc<FolderStore>) -> Arc<dyn Store> {
        self.with_objects(match self.etcd {
            Some(etcd) => Arc::new(EtcdStore::of_leader(etcd.cluster(), etcd.fleet.id())),
            None => Arc::clone(folder) as _,
        })
    }

    fn with_objects(self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        match self.kubernetes {
            Some(kubernetes) => Arc::new(ObjectStore::new(Arc::clone(&kubernetes.releases), store)),
            None => store,
        }
    }

    fn charge(self) -> Charge {
        Charge { fleet: self.etcd.map(|etcd| Arc::clone(&etcd.fleet)), kubernetes: self.kubernetes.cloned() }
    }
}

/// Who is in charge of what happens by itself.
struct Charge {
    fleet: Option<Arc<Fleet>>,
    kubernetes: Option<InKubernetes>,
}

impl Charge {
    /// Whether it is this instance, of a release. Of those of objects it is who holds the Lease; before it is known which these are,
    /// nobody is in charge of any that might be one.
    fn is_taken_of(&self, release: &Name) -> bool {
        match &self.kubernetes {
            None => self.leads_fleet(),
            Some(kubernetes) => match kubernetes.releases.has(release.as_str()) {
                Some(true) => kubernetes.state.seen().leads,
                Some(false) => self.leads_fleet(),
                None => false,
            },
        }
    }

    /// Whether it is this instance, of what is about all releases: the leader of the fleet, or where there is none, who holds the Lease.
    fn is_taken(&self) -> bool {
        match (&self.fleet, &self.kubernetes) {
            (None, Some(kubernetes)) => kubernetes.state.seen().leads,
            _ => self.leads_fleet(),
        }
    }

    fn leads_fleet(&self) -> bool {
        self.fleet.as_ref().is_none_or(|fleet| fleet.leads())
    }
}

/// Says on objects what is said of them, until nobody is left to tell of swaps. Without objects there is nothing to do.
pub(super) async fn tell_objects(shared: Arc<Shared>, swaps: watch::Receiver<()>) {
    let Some(kubernetes) = &shared.kubernetes else { return };
    let charge = Others::of(&shared).charge();
    let writer = VerdictWriter {
        snapshots: Arc::clone(&shared.snapshots),
        reports: Arc::clone(&shared.releases.reports),
        releases: Arc::clone(&kubernetes.releases),
        is_in_charge: Box::new(move |release| charge.is_taken_of(release)),
    };
    writer.run(swaps).await;
}

/// The part of this process in the analysis of its fleet, until nobody is left to tell of swaps. Without a fleet there is nothing to
/// do.
pub(super) async fn analyse(shared: Arc<Shared>, swaps: watch::Receiver<()>) {
    let Some(etcd) = &shared.etcd else { return };
    let (snapshots, fleet, counts) =
        (Arc::clone(&shared.snapshots), Arc::clone(&etcd.fleet), Arc::clone(&etcd.windows));
    FleetAnalysis { snapshots, fleet, cluster: etcd.cluster(), counts }.run(swaps).await;
}

impl Releases {
    /// Carries out what was ordered to its end, also if whoever ordered it goes away. `None` if it has panicked.
    pub(crate) async fn to_its_end<T: Send + 'static>(
        &self,
        order: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        {
            // Spawning leaves nothing half done.
            let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
            while orders.try_join_next().is_some() {}
            orders.spawn(async move { drop(tell.send(order.await)) });
        }
        told.await.ok()
    }

    /// Takes everybody back to stable: in the store, or here at least. Nobody has to wait long for it. `known` is what came from the
    /// store last, of whichever versions.
    ///
    /// # Errors
    /// Somebody has changed the release meanwhile.
    pub(crate) async fn roll_back(
        &self,
        rules: &Arc<Release>,
        known: Option<Arc<ReleaseRecord>>,
        (by, reason): (&str, &str),
        expected: Expected,
    ) -> Result<RolledBack, OrderError> {
        let order = SignedCommand { command: Command::Rollback, by, reason };
        let written = self.desk.order(rules, known.as_deref(), &order, expected, true);
        let trouble = match timeout(PATIENCE, written).await {
            Ok(Ok(done)) => return Ok(RolledBack::Written(done)),
            Ok(Err(OrderError::Store(trouble))) => trouble,
            Ok(Err(error @ OrderError::Foreign { .. })) => StoreError::Unreachable(error.to_string()),
            Ok(Err(error)) => return Err(error),
            // Should it be written yet, it is written once more, which changes nothing.
            Err(_) => StoreError::Unreachable(format!("no answer within {PATIENCE:?}")),
        };
        let now_ms = moment::unix_ms();
        let begun = || Arc::new(ReleaseRecord::begin(rules, 0, known.as_deref(), now_ms));
        let newest = known.clone().filter(|known| known.is_of(rules)).unwrap_or_else(begun);
        let next = newest.after(&order, rules, now_ms).ok().flatten().map_or(newest, Arc::new);
        tracing::error!(release = rules.name().as_str(), by, reason, %trouble, "rolled back here only");
        (self.roll_back_here)(rules.name(), Arc::clone(&next));
        let (unwritten, release) = (Arc::clone(&self.unwritten), rules.name().clone());
        // It holds already; a disk that hangs as well must not keep that from being told.
        let kept = tokio::task::spawn_blocking(move || unwritten.add(&release, next));
        let _ = timeout(PATIENCE, kept).await;
        Ok(RolledBack::Here(trouble))
    }
}

impl Shared {
    /// Whether a release is rolled back here, and the store does not know it yet.
    pub(crate) fn is_rolled_back_here(&self, release: &Name) -> bool {
        self.status.load().rolled_back_here.contains(release)
    }

    /// Waits until the rules in force have a record of a release, or a later one, but not for long: whoever asks next is to see
    /// what was done.
    pub(crate) async fn has_record(&self, release: &str, number: u64) {
        let is_there = || {
            let snapshot = self.snapshots.load();
            let found = snapshot.table.release_id(release).and_then(|id| snapshot.table.release(id));
            found.is_none_or(|release| release.record.as_ref().is_some_and(|record| record.number >= number))
        };
        let mut swaps = self.swaps.clone();
        let comes = swaps.wait_for(|()| is_there());
        let _ = tokio::time::timeout(COMES, comes).await;
    }
}

/// How long a rollback waits for its store, and for the disk.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long an order waits for its effect here.
const COMES: Duration = Duration::from_secs(2);
