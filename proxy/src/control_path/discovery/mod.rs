//! Asks name services again and again where endpoints are, and tells when they are elsewhere (`routing_rules::discovery`
//! decides what an answer means).
//!
//! Every upstream with a discovery has a task of its own, and all of them one thread. What was found is written into the
//! upstream's [`Discovered`]; whoever is told puts it in force. A lookup that fails takes nothing away.

mod dns;

mod pods;

mod registry;

pub mod registration;

mod servers;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use imbl::Vector;
use kubernetes_source::Pods;
use routing_rules::discovery::{Found, lifetime, retry_after};
use routing_rules::rules::{Discovery, Dns, Name};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::etcd::Cluster;
use super::follow::{self, Running};
use crate::snapshot::{Discovered, SnapshotCell, Upstream};
use dns::{Answer, Lookups};

/// Is told of an upstream whose first lookup is over or whose endpoints have changed.
pub type Tell = Arc<dyn Fn(&Name) + Send + Sync>;

/// Looks up what the upstreams of every snapshot want from now on, until nobody is left to tell of swaps.
pub async fn run(snapshots: Arc<SnapshotCell>, mut swaps: watch::Receiver<()>, tell: Tell, clusters: Clusters) {
    let mut lookups = Tasks::new(snapshots, tell, clusters);
    loop {
        lookups.follow();
        if follow::until(&mut lookups.tasks, swaps.changed()).await.is_err() {
            return;
        }
    }
}

/// The clusters that can be asked.
#[derive(Clone, Default)]
pub struct Clusters {
    /// Of etcd.
    pub etcd: Option<Registries>,
    /// Of Kubernetes.
    pub kubernetes: Option<Arc<Pods>>,
}

/// Where instances register.
#[derive(Clone)]
pub struct Registries {
    /// The cluster.
    pub cluster: Cluster,
    /// Told whenever registrations that are missing have gone on purpose.
    pub confirmations: watch::Receiver<()>,
}

/// The lookups under way.
struct Tasks {
    snapshots: Arc<SnapshotCell>,
    tell: Tell,
    clusters: Clusters,
    /// The upstreams as they were when the tasks were last looked at.
    followed: Vector<Option<Arc<Upstream>>>,
    /// By the place of what is discovered in memory, which is its own as long as its task holds it.
    running: HashMap<usize, Running>,
    tasks: JoinSet<()>,
    places: Arc<Semaphore>,
}

impl Tasks {
    fn new(snapshots: Arc<SnapshotCell>, tell: Tell, clusters: Clusters) -> Self {
        let (followed, running, tasks) = (Vector::new(), HashMap::new(), JoinSet::new());
        Self { snapshots, tell, clusters, followed, running, tasks, places: Arc::new(Semaphore::new(MAX_AT_ONCE)) }
    }

    /// Begins the lookups of what is new in the snapshot, ends those of what has gone, and leaves the others alone.
    fn follow(&mut self) {
        let now = self.snapshots.load().upstreams.clone();
        let before = std::mem::replace(&mut self.followed, now.clone());
        let (gone, come) = follow::changed(&before, &now);
        // Those that stay are put back; with this map the others end.
        let gone = gone.iter().filter_map(|upstream| upstream.discovered.as_ref());
        let mut old: HashMap<usize, Running> =
            gone.filter_map(|discovered| self.running.remove_entry(&key(discovered))).collect();
        for upstream in come {
            let Some(discovered) = &upstream.discovered else { continue };
            let running = old.remove(&key(discovered)).unwrap_or_else(|| self.begin(upstream.name(), discovered));
            self.running.insert(key(discovered), running);
        }
    }

    fn begin(&mut self, name: &Name, discovered: &Arc<Discovered>) -> Running {
        let (name, tell) = (name.clone(), Arc::clone(&self.tell));
        let (discovered, places) = (Arc::clone(discovered), Arc::clone(&self.places));
        match &*Arc::clone(discovered.rules()) {
            Discovery::Dns(dns) => {
                let task = look_up_again_and_again(name, discovered, dns.clone(), tell, places);
                follow::begin(&mut self.tasks, task)
            }
            Discovery::Etcd(registry) => {
                let task = registry::follow(name, discovered, registry.clone(), tell, self.clusters.etcd.clone());
                follow::begin(&mut self.tasks, task)
            }
            Discovery::Kubernetes(port) => {
                let task = pods::follow(name, discovered, port.clone(), tell, self.clusters.kubernetes.clone());
                follow::begin(&mut self.tasks, task)
            }
        }
    }
}

fn key(discovered: &Arc<Discovered>) -> usize {
    Arc::as_ptr(discovered).addr()
}

async fn look_up_again_and_again(
    upstream: Name,
    discovered: Arc<Discovered>,
    dns: Dns,
    tell: Tell,
    places: Arc<Semaphore>,
) {
    let mut lookups = Lookups::new(dns.clone(), discovered.stored(), places);
    loop {
        let is_first = !discovered.was_asked();
        let (has_changed, pause) = match lookups.look_up().await {
            Ok(answer) => take(&upstream, &discovered, &dns, &answer),
            Err(reason) => (false, fail(&upstream, &discovered, &reason)),
        };
        if has_changed || is_first {
            tell(&upstream);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Takes a good answer. Returns whether endpoints have changed, and how long the answer holds.
fn take(upstream: &Name, discovered: &Discovered, dns: &Dns, answer: &Answer) -> (bool, Duration) {
    let has_changed = take_found(upstream, discovered, &answer.found, answer.doubt.as_deref());
    (has_changed, lifetime(answer.ttl, (dns.min_ttl, dns.max_ttl), crate::random::seed()))
}

/// Puts down what was found. Returns whether endpoints have changed.
fn take_found(upstream: &Name, discovered: &Discovered, found: &Found, doubt: Option<&str>) -> bool {
    let outcome = discovered.answered(found, doubt);
    let discovery = discovered.rules();
    if outcome.failures > 0 {
        tracing::info!(%upstream, %discovery, failures = outcome.failures, "lookups succeed again");
    }
    if let Some(reason) = doubt.filter(|_| outcome.is_newly_doubtful) {
        tracing::warn!(%upstream, %discovery, reason, "a part of what was asked for cannot be had; what it was before serves on");
    }
    if outcome.has_changed() {
        let (endpoints, added, removed) = (found.endpoints.len(), outcome.added, outcome.removed);
        tracing::info!(%upstream, endpoints, added, removed, "endpoints have been found");
        if found.refused + found.beyond_limit > 0 {
            let (refused, beyond_limit) = (found.refused, found.beyond_limit);
            tracing::warn!(%upstream, refused, beyond_limit, "addresses are left out");
        }
    }
    outcome.has_changed()
}

/// Takes a failure, of which the log has the first. Returns when to try again.
fn fail(upstream: &Name, discovered: &Discovered, reason: &str) -> Duration {
    let times = discovered.failed(reason);
    if times == 1 {
        let endpoints = discovered.endpoints().len();
        tracing::warn!(%upstream, discovery = %discovered.rules(), endpoints, reason, "a lookup failed; what was found last serves on");
    }
    retry_after(times, crate::random::seed())
}

/// Questions at one moment. Each has a descriptor or two of those that are kept for files and the admin API, which are 256;
/// half of them are for health checks.
const MAX_AT_ONCE: usize = 32;
