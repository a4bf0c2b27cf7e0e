//! Asks endpoints whether they are well, and lets weights follow at once (`routing_rules::health` decides what results mean).
//!
//! Every endpoint whose upstream has a check has a task of its own, and all of them one thread. What is known of an
//! endpoint belongs to its identity and lives through every swap. Results are never evidence for learned weights.

mod grpc;
mod probe;
mod url;

use std::collections::HashMap;
use std::sync::Arc;

use imbl::Vector;
use routing_rules::health::{Health, State, pause};
use routing_rules::rules::HealthCheck;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::follow::{self, Running};
use super::weights;
use crate::moment;
use crate::snapshot::{Checked, Endpoint, SnapshotCell, Transport, Upstream};
use probe::{Opening, Outcome};
pub use url::UrlCheck;

/// Checks the endpoints of every snapshot from now on, until nobody is left to tell of swaps.
pub async fn run(snapshots: Arc<SnapshotCell>, mut swaps: watch::Receiver<()>) {
    let mut checks = Checks::new(snapshots);
    loop {
        checks.follow();
        if follow::until(&mut checks.tasks, swaps.changed()).await.is_err() {
            return;
        }
    }
}

/// An endpoint of an upstream that is about to be is checked or not. One whose checks begin now gets no requests before
/// its first good result if it `waits`.
pub(super) fn prepare(endpoint: &Endpoint, is_checked: bool, waits: bool) {
    let mut checked = endpoint.checked();
    if !is_checked {
        *checked = None;
    } else if checked.is_none() {
        let health = if waits { Health::unproven() } else { Health::trusted() };
        *checked = Some(Box::new(Checked::new(health)));
    }
}

/// The checks under way.
struct Checks {
    snapshots: Arc<SnapshotCell>,
    /// The upstreams that are checked as they should be.
    followed: Vector<Option<Arc<Upstream>>>,
    /// By the place of the endpoint in memory, which is its own as long as its check holds it.
    running: HashMap<usize, Check>,
    tasks: JoinSet<()>,
    places: Arc<Semaphore>,
}

/// The check of one endpoint.
struct Check {
    rules: Arc<HealthCheck>,
    _task: Running,
}

impl Checks {
    fn new(snapshots: Arc<SnapshotCell>) -> Self {
        let places = Arc::new(Semaphore::new(MAX_AT_ONCE));
        let (followed, running, tasks) = (Vector::new(), HashMap::new(), JoinSet::new());
        Self { snapshots, followed, running, tasks, places }
    }

    /// Begins the checks of what is new in the snapshot, ends those of what has gone, and leaves the others alone.
    fn follow(&mut self) {
        let now = self.snapshots.load().upstreams.clone();
        let before = std::mem::replace(&mut self.followed, now.clone());
        let (gone, come) = follow::changed(&before, &now);
        // Those that stay are put back; with this map the others end.
        let mut old: HashMap<usize, Check> = gone
            .iter()
            .flat_map(|upstream| &upstream.endpoints)
            .filter_map(|member| self.running.remove_entry(&key(&member.endpoint)))
            .collect();
        for upstream in come {
            // What became known while the upstream was being built is not in its weights yet.
            weights::publish(upstream, moment::now_us());
            self.check(upstream, &mut old);
        }
    }

    fn check(&mut self, upstream: &Upstream, old: &mut HashMap<usize, Check>) {
        let Some(rules) = upstream.rules.health() else { return };
        for member in &upstream.endpoints {
            let same = old.remove(&key(&member.endpoint)).filter(|check| check.rules == *rules);
            let check = same.unwrap_or_else(|| self.begin(&member.endpoint, rules));
            self.running.insert(key(&member.endpoint), check);
        }
    }

    fn begin(&mut self, endpoint: &Arc<Endpoint>, rules: &Arc<HealthCheck>) -> Check {
        let (endpoint, rules) = (Arc::clone(endpoint), Arc::clone(rules));
        let (snapshots, places) = (Arc::clone(&self.snapshots), Arc::clone(&self.places));
        let task = check_again_and_again(endpoint, Arc::clone(&rules), snapshots, places);
        Check { rules, _task: follow::begin(&mut self.tasks, task) }
    }
}

fn key(endpoint: &Arc<Endpoint>) -> usize {
    Arc::as_ptr(endpoint).addr()
}

async fn check_again_and_again(
    endpoint: Arc<Endpoint>,
    rules: Arc<HealthCheck>,
    snapshots: Arc<SnapshotCell>,
    places: Arc<Semaphore>,
) {
    loop {
        let place = places.acquire().await.expect("the semaphore is never closed");
        let began = Instant::now();
        let opening = opening(&snapshots, &endpoint);
        let outcome = probe::probe(&rules, &opening, endpoint.address()).await;
        drop(place);
        take(&endpoint, &rules, &outcome, &snapshots);
        sleep_until(began + pause(rules.interval, crate::random::seed())).await;
    }
}

/// How connections to an endpoint begin now. One that is not among the rules any more is about to be left alone.
fn opening(snapshots: &SnapshotCell, endpoint: &Endpoint) -> Opening {
    let snapshot = snapshots.load();
    let upstream = snapshot.upstream_of(endpoint).map(|(_, upstream)| upstream);
    Opening {
        transport: upstream.map_or(Transport::Closed, |upstream| upstream.transport.clone()),
        announces: upstream.is_some_and(|upstream| upstream.rules.announces_clients()),
    }
}

/// Takes a result, and lets the weights in force follow if it changes anything.
fn take(endpoint: &Endpoint, rules: &HealthCheck, outcome: &Outcome, snapshots: &SnapshotCell) {
    let (passed, result) = match outcome {
        Outcome::Passed(result) => (true, result),
        Outcome::Failed(result) => (false, result),
        Outcome::NotAsked(reason) => {
            // Every check says the same meanwhile.
            tracing::debug!(upstream = %endpoint.upstream(), endpoint = %endpoint.address(), reason, "a check is left out");
            return;
        }
    };
    let was_up = endpoint.is_up();
    let change = endpoint.checked().as_mut().and_then(|checked| checked.observe(passed, result, rules.thresholds));
    let Some(state) = change else { return };
    log(endpoint, state, result);
    if was_up != endpoint.is_up() {
        if endpoint.is_up() {
            // The one ramp: a breaker that is open comes back by its own probes, and a closed one stays so.
            weights::start_ramp(endpoint, moment::now_us());
        }
        weights::publish_for(&snapshots.load(), endpoint);
    }
}

fn log(endpoint: &Endpoint, state: State, reason: &str) {
    let (upstream, endpoint) = (endpoint.upstream(), endpoint.address());
    match state {
        State::Up => tracing::info!(%upstream, %endpoint, reason, "an endpoint is up"),
        _ => tracing::warn!(%upstream, %endpoint, reason, "an endpoint is down"),
    }
}

/// Checks at one moment. Each has a descriptor of those that are kept for files and the admin API, which are 256.
const MAX_AT_ONCE: usize = 128;

#[cfg(test)]
mod tests;
