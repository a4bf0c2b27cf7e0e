//! The instances that follow the same etcd: who they are, what they have applied, and which of them leads.
//!
//! Each keeps one key, `instances/<id>`, on a lease, and writes there what it has applied and what it refuses. One of them has
//! the key `leader`. What all of them say comes with the rules, from the same watch (`source::etcd`), so that nobody asks for it.

mod analyses;
mod instance;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Compare, CompareOp};
use imbl::OrdMap;
use tokio::sync::watch;

use super::etcd::{Cluster, Heard, Held, Keys, LeasedKey, Mirror, Pace, Trouble, Value};
use super::tickets::TICKET_KEYS;
use analyses::Analyses;
pub use analyses::KEPT_ANALYSES;
pub use instance::{Instance, Listed, Rejected};

/// What is known of the instances. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instances {
    /// By id. None for one whose key does not say what it ought to, which may be newer than this one.
    pub all: Arc<BTreeMap<String, Option<Instance>>>,
    /// The id of the one that leads.
    pub leader: Option<Arc<str>>,
}

/// The fleet, as one instance takes part in it.
pub struct Fleet {
    id: Arc<str>,
    cluster: Cluster,
    instances: watch::Sender<Instances>,
    leads: watch::Sender<bool>,
    analyses: Analyses,
    /// What is written of the keys for session tickets.
    ticket_keys: watch::Sender<Option<Value>>,
}

/// How far the instances are with a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Those that have applied it.
    pub applied: Vec<String>,
    /// Those that have not, or do not say.
    pub waiting: Vec<String>,
}

impl Progress {
    /// Whether all have applied it, of whom there is at least one.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && !self.applied.is_empty()
    }
}

impl Instances {
    /// What keys under the prefix of Serin say.
    pub fn of(prefix: &str, keys: &Keys) -> Self {
        let mut instances = Self::default();
        instances.take(prefix, keys, &keys.entries.keys().cloned().collect());
        instances
    }

    /// Takes what has changed. Returns whether that is of any concern here.
    fn take(&mut self, prefix: &str, keys: &Keys, changed: &BTreeSet<Arc<[u8]>>) -> bool {
        let mut has_changed = false;
        for key in changed {
            let Some(rest) = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(prefix)) else { continue };
            let value = keys.entries.get(key);
            match (rest, rest.strip_prefix(INSTANCES)) {
                (LEADER, _) => {
                    self.leader = value.and_then(|value| Some(std::str::from_utf8(&value.bytes).ok()?.into()))
                }
                (_, Some(id)) => {
                    let all = Arc::make_mut(&mut self.all);
                    match value {
                        Some(value) => drop(all.insert(id.to_owned(), Instance::parse(&value.bytes))),
                        None => drop(all.remove(id)),
                    }
                }
                _ => continue,
            }
            has_changed = true;
        }
        has_changed
    }

    /// All of them, by id.
    pub fn list(&self) -> impl Iterator<Item = Listed> {
        self.all.iter().map(|(id, says)| Listed {
            id: id.clone(),
            leader: self.leader.as_deref() == Some(id),
            says: says.clone(),
        })
    }

    /// Those that report what comes through them.
    pub fn reporting(&self) -> BTreeSet<Box<str>> {
        let all = self.all.iter();
        all.filter(|(_, it)| it.as_ref().is_some_and(|it| it.reports)).map(|(id, _)| id.as_str().into()).collect()
    }

    /// How far they are with a revision.
    pub fn progress(&self, revision: i64) -> Progress {
        let has_applied = |instance: &Option<Instance>| instance.as_ref().is_some_and(|it| it.applied >= revision);
        let (applied, waiting): (Vec<_>, Vec<_>) = self.all.iter().partition(|(_, it)| has_applied(it));
        let ids = |some: Vec<(&String, _)>| some.into_iter().map(|(id, _)| id.clone()).collect();
        Progress { applied: ids(applied), waiting: ids(waiting) }
    }

    /// Those that refuse something that was written after this revision, and what.
    pub fn refusals(&self, after: i64) -> Vec<(&str, &Rejected)> {
        let all = self.all.iter().filter_map(|(id, it)| Some((id, it.as_ref()?)));
        let all = all.flat_map(|(id, it)| it.problems.iter().map(|problem| (id.as_str(), problem)));
        all.filter(|(_, problem)| problem.revision.is_some_and(|revision| revision > after)).collect()
    }

    /// What would make instances decide differently of the same user, for a person to read.
    pub fn disagreements(&self) -> Vec<String> {
        let known = || self.all.values().flatten();
        let differ = |what: fn(&Instance) -> &str| known().map(what).collect::<BTreeSet<_>>().len() > 1;
        let of = [
            (
                differ(|it| &it.secret),
                "the instances have different secrets (`secret_file`): none takes the pins of the others",
            ),
            (
                differ(|it| &it.devices),
                "the instances have different device tables: they may see other devices in the same user",
            ),
        ];
        of.into_iter().filter(|(differ, _)| *differ).map(|(_, what)| what.to_owned()).collect()
    }
}

/// Waits until all instances have applied a revision, as somebody who is none of them, but no longer than that. Returns what
/// they say then; nothing if etcd could not be asked.
pub async fn wait_for(cluster: Cluster, revision: i64, patience: Duration) -> Option<Instances> {
    let prefix = cluster.prefix().to_owned();
    let (tell, mut told) = watch::channel(None::<Instances>);
    let mirror = Mirror::new(cluster, format!("{prefix}{INSTANCES}").as_bytes(), Pace::default());
    let follow = mirror.run(|heard| {
        if let Heard::Changed { keys, changed, .. } = heard {
            tell.send_modify(|instances| _ = instances.get_or_insert_default().take(&prefix, keys, &changed));
        }
    });
    let is_done =
        |instances: &Option<Instances>| instances.as_ref().is_some_and(|it| it.progress(revision).waiting.is_empty());
    tokio::select! {
        () = follow => {}
        _ = tokio::time::timeout(patience, told.wait_for(is_done)) => {}
    }
    told.borrow().clone()
}

impl Fleet {
    /// As this instance, which nobody knows yet.
    pub fn new(id: &str, cluster: Cluster) -> Self {
        let (instances, leads, ticket_keys) = <(_, _, _)>::default();
        Self { id: id.into(), cluster, instances, leads, analyses: Analyses::default(), ticket_keys }
    }

    /// This instance.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Those that are known.
    pub fn instances(&self) -> Instances {
        self.instances.borrow().clone()
    }

    /// Whether this is the one that leads. A process that was stopped may believe so for a moment after another has
    /// followed: what must not be done twice is written in a transaction that compares the key.
    pub fn leads(&self) -> bool {
        *self.leads.borrow()
    }

    /// The same, to be told of changes.
    pub fn leading(&self) -> watch::Receiver<bool> {
        self.leads.subscribe()
    }

    /// What is written of the keys for session tickets, as it was heard last.
    pub fn ticket_keys(&self) -> watch::Receiver<Option<Value>> {
        self.ticket_keys.subscribe()
    }

    /// Takes what the keys of Serin say.
    pub fn hear(&self, keys: &Keys, changed: &BTreeSet<Arc<[u8]>>) {
        self.instances.send_if_modified(|instances| instances.take(self.cluster.prefix(), keys, changed));
        self.analyses.hear(self.cluster.prefix(), keys, changed);
        let ticket_keys = [self.cluster.prefix(), TICKET_KEYS].concat();
        if changed.contains(ticket_keys.as_bytes()) {
            self.ticket_keys.send_replace(keys.entries.get(ticket_keys.as_bytes()).cloned());
        }
    }

    /// What is kept of analyses, by release.
    pub fn analyses(&self) -> OrdMap<Box<str>, Value> {
        self.analyses.all()
    }

    /// Whether that is all there is: as long as this instance leads, and has read what others wrote before.
    pub fn knows_analyses(&self) -> bool {
        self.analyses.are_known()
    }

    /// Takes what was just read, as the one that leads.
    pub(super) fn set_analyses(&self, keys: &Keys) {
        self.analyses.set(self.cluster.prefix(), keys);
    }

    /// This instance, which leads, has just written it.
    pub(super) fn keep_analysis(&self, release: &str, text: &[u8], revision: i64) {
        self.analyses.keep(release, text, revision);
    }

    /// This instance writes none any more.
    pub(super) fn end_analyses(&self) {
        self.analyses.end_term();
    }

    /// Waits until all instances have applied a revision, but no longer than that. Returns how far they are.
    pub async fn applied(&self, revision: i64, patience: Duration) -> Progress {
        let mut instances = self.instances.subscribe();
        let is_done = |instances: &Instances| instances.progress(revision).is_done();
        let _ = tokio::time::timeout(patience, instances.wait_for(is_done)).await;
        self.instances().progress(revision)
    }

    /// Says at a time (RFC 3339) that what is missing in etcd, which has so many routes, is missing on purpose. Returns the revision that says so.
    ///
    /// # Errors
    /// The cluster could not be asked. That it has not been written is not sure then.
    pub async fn confirm(&self, at: &str, routes: usize) -> Result<i64, Trouble> {
        let value = serde_json::json!({"by": *self.id, "at": at, "routes": routes}).to_string();
        self.cluster.put(&format!("{}{CONFIRMED}", self.cluster.prefix()), &value).await
    }

    /// Takes part, until the other side of `leave` is done with. `says` is what this instance says of itself.
    pub async fn run(&self, says: watch::Receiver<Arc<str>>, leave: impl Future) {
        let prefix = self.cluster.prefix();
        let (calls, called) = watch::channel(Arc::clone(&self.id));
        let mut own = LeasedKey::new(self.cluster.clone(), &format!("{prefix}{INSTANCES}{}", self.id), says, TTL);
        let mut office = LeasedKey::contested(self.cluster.clone(), &format!("{prefix}{LEADER}"), called, TTL);
        tokio::select! {
            never = own.hold(|held| self.tell(&held)) => match never {},
            never = office.hold(|held| self.lead(&held)) => match never {},
            never = self.call_when_vacant(&calls) => match never {},
            _ = leave => {}
        }
        self.leads.send_replace(false);
        // Otherwise they go when their time is over.
        let (left, resigned) = tokio::join!(own.withdraw(LEAVING), office.withdraw(LEAVING));
        if let Err(trouble) = left.and(resigned) {
            tracing::warn!(reason = %trouble, "the fleet cannot be told that this instance ends; it will notice");
        }
    }

    async fn call_when_vacant(&self, calls: &watch::Sender<Arc<str>>) -> Infallible {
        let mut instances = self.instances.subscribe();
        loop {
            // The sender is ours.
            let _ = instances.wait_for(|instances| instances.leader.is_none()).await;
            calls.send_replace(Arc::clone(&self.id));
            let _ = instances.changed().await;
        }
    }

    fn tell(&self, held: &Held<'_>) {
        let id = self.id();
        match held {
            Held::Written => tracing::info!(id, "in the list of instances"),
            Held::Lost => tracing::warn!(id, "the lease of this instance has gone; taking part again"),
            Held::Unsure { trouble, times: 1 } => {
                tracing::warn!(id, reason = %trouble, "the fleet cannot be told how this instance is")
            }
            Held::Unsure { .. } => {}
            Held::Sure { times } => tracing::info!(id, failures = times, "the fleet can be told again"),
        }
    }

    fn lead(&self, held: &Held<'_>) {
        let led = self.leads();
        let leads = match held {
            Held::Written => true,
            // Whoever cannot be reached does not lead: before the lease is over, another one may.
            Held::Lost | Held::Unsure { .. } => false,
            Held::Sure { .. } => led,
        };
        if leads != led {
            self.leads.send_replace(leads);
            tracing::info!(id = self.id(), "{}", if leads { "leads the fleet" } else { "no longer leads the fleet" });
        }
    }
}

/// Holds in a transaction for as long as the instance of this id leads.
pub(super) fn leads(cluster: &Cluster, id: &str) -> Compare {
    Compare::value(format!("{}{LEADER}", cluster.prefix()), CompareOp::Equal, id)
}

/// What keys of instances begin with, behind the prefix.
pub const INSTANCES: &str = "instances/";
/// The key of the one that leads.
pub const LEADER: &str = "leader";

/// What says that what is missing is missing on purpose.
pub const CONFIRMED: &str = "state/confirmed";

/// How long an instance that says nothing any more is counted, and leads.
const TTL: Duration = Duration::from_secs(10);

/// How long telling may hold up the end.
const LEAVING: Duration = Duration::from_secs(1);
