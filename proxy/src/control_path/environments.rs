//! Follows the registrations of environments, and tells when there are others.
//!
//! Every template of upstreams among the rules has a task, which knows all keys that may be registrations
//! (`routing_rules::discovery` decides which environments they come to). What is known is written into the snapshot's
//! [`KnownEnvironments`]; whoever is told makes upstreams and routes of them. While etcd is away nothing goes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use routing_rules::discovery::Environments;
use routing_rules::rules::{Name, TemplateSet};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::etcd::{Cluster, Heard, Keys, Mirror, Pace};
use super::follow::{self, Running};
use crate::moment;
use crate::snapshot::{KnownEnvironments, LiveEnvironments, SnapshotCell};

/// Is told that the environments of a template are others, or were asked for at first.
pub type Tell = Arc<dyn Fn() + Send + Sync>;

/// Follows the environments of the templates of every snapshot, until nobody is left to tell of swaps.
pub async fn run(snapshots: Arc<SnapshotCell>, mut swaps: watch::Receiver<()>, tell: Tell, cluster: Option<Cluster>) {
    let mut tasks = Tasks { snapshots, tell, cluster, running: HashMap::new(), tasks: JoinSet::new() };
    loop {
        tasks.follow();
        if follow::until(&mut tasks.tasks, swaps.changed()).await.is_err() {
            return;
        }
    }
}

/// The templates that are followed.
struct Tasks {
    snapshots: Arc<SnapshotCell>,
    tell: Tell,
    cluster: Option<Cluster>,
    running: HashMap<Name, Task>,
    tasks: JoinSet<()>,
}

struct Task {
    templates: watch::Sender<TemplateSet>,
    _running: Running,
}

impl Tasks {
    fn follow(&mut self) {
        let snapshot = self.snapshots.load_full();
        let (rules, known) = (snapshot.table.rules(), &snapshot.environments);
        let gone = |name: &Name| !rules.upstream_templates().any(|template| template.name() == name);
        self.running.retain(|name, _| {
            let is_gone = gone(name);
            if is_gone {
                known.forget(name);
            }
            !is_gone
        });
        for templates in rules.template_sets() {
            match self.running.get(templates.upstream.name()) {
                Some(task) if task.templates.borrow().is_same(&templates) => {}
                Some(task)
                    if task.templates.borrow().upstream.prefix().head() == templates.upstream.prefix().head() =>
                {
                    drop(task.templates.send_replace(templates));
                }
                _ => {
                    let name = templates.upstream.name().clone();
                    let task = self.begin(templates, known);
                    self.running.insert(name, task);
                }
            }
        }
    }

    fn begin(&mut self, templates: TemplateSet, known: &Arc<KnownEnvironments>) -> Task {
        let (sender, receiver) = watch::channel(templates);
        let (known, tell) = (Arc::clone(known), Arc::clone(&self.tell));
        let task = follow_template(receiver, known, tell, self.cluster.clone());
        Task { templates: sender, _running: follow::begin(&mut self.tasks, task) }
    }
}

/// Follows the keys of one template until it is dropped.
async fn follow_template(
    mut templates: watch::Receiver<TemplateSet>,
    known: Arc<KnownEnvironments>,
    tell: Tell,
    cluster: Option<Cluster>,
) {
    let current = templates.borrow_and_update().clone();
    let head = current.upstream.prefix().head().to_owned();
    let own = cluster.as_ref().map(|cluster| cluster.prefix().to_owned()).filter(|own| !head.starts_with(own));
    let follower = Follower::new(current, known, tell, own);
    let Some(cluster) = cluster else {
        follower.lost("there is no cluster to ask: `sources.etcd` is not set");
        return std::future::pending().await;
    };
    // Two parts of one task: nobody ever waits for it.
    let (follower, woken) = (Mutex::new(follower), Notify::new());
    let follower = || follower.lock().unwrap_or_else(PoisonError::into_inner);
    let mirror = Mirror::new(cluster, head.as_bytes(), Pace::default()).keys_only();
    let follow = mirror.run(|heard| {
        follower().hear(heard);
        woken.notify_one();
    });
    let judge = async {
        loop {
            let due = follower().due();
            tokio::select! {
                changed = templates.changed() => match changed {
                    Ok(()) => follower().take_templates(templates.borrow_and_update().clone()),
                    Err(_) => return,
                },
                () = woken.notified() => {}
                () = sleep(due.unwrap_or_default()), if due.is_some() => follower().look(),
            }
        }
    };
    tokio::select! {
        () = follow => {}
        () = judge => {}
    }
}

/// The registrations of the environments of one template.
struct Follower {
    templates: TemplateSet,
    known: Arc<KnownEnvironments>,
    tell: Tell,
    /// What keys begin with that are Serin's own.
    own: Option<String>,
    /// As they were heard last.
    keys: Keys,
    environments: Environments,
    /// Keys that would be registrations if their values made a host.
    refused: BTreeSet<Arc<[u8]>>,
    is_heard: bool,
}

impl Follower {
    fn new(templates: TemplateSet, known: Arc<KnownEnvironments>, tell: Tell, own: Option<String>) -> Self {
        let mut environments = Environments::new(templates.upstream.most());
        let before = known.of(templates.upstream.name()).unwrap_or_default();
        for environment in before.live.iter().filter(|environment| templates.takes(environment)) {
            environments.expect(environment.clone(), now_ms());
        }
        let (keys, refused) = (Keys::default(), BTreeSet::new());
        Self { templates, known, tell, own, keys, environments, refused, is_heard: false }
    }

    fn hear(&mut self, heard: Heard<'_>) {
        let (changed, times) = match heard {
            Heard::Lost { trouble, times } => {
                self.is_heard = false;
                if times == 1 {
                    let template = self.templates.upstream.name();
                    tracing::warn!(%template, reason = %trouble, "registrations are not heard; environments that are known serve on");
                }
                return self.lost(&trouble.to_string());
            }
            Heard::Same { times, .. } => (BTreeSet::new(), times),
            Heard::Changed { keys, changed, times, .. } => {
                let before = std::mem::replace(&mut self.keys, keys.clone());
                (changed.into_iter().filter(|key| is_other(key, &before, keys)).collect(), times)
            }
        };
        let is_first = !std::mem::replace(&mut self.is_heard, true);
        if times > 0 {
            tracing::info!(template = %self.templates.upstream.name(), failures = times, "registrations are heard again");
            self.environments.wait_on(now_ms());
        }
        changed.iter().for_each(|key| self.take(key));
        if is_first || times > 0 || !changed.is_empty() {
            self.look();
        }
    }

    fn take(&mut self, key: &Arc<[u8]>) {
        if self.own.as_ref().is_some_and(|own| key.starts_with(own.as_bytes())) {
            return;
        }
        let value = self.keys.entries.get(key);
        self.refused.remove(key);
        match (self.templates.read(key), value) {
            (Ok(Some(environment)), Some(value)) => {
                self.environments.register(environment, Arc::clone(key), value.create_revision);
            }
            (Ok(Some(environment)), None) => self.environments.leave(&environment, key, now_ms()),
            (Err(_), Some(_)) => drop(self.refused.insert(Arc::clone(key))),
            (Ok(None), _) | (Err(_), None) => {}
        }
    }

    /// Other templates take other keys.
    fn take_templates(&mut self, templates: TemplateSet) {
        let before = std::mem::replace(&mut self.templates, templates);
        let Self { templates, environments, .. } = self;
        if before.upstream.prefix() != templates.upstream.prefix() {
            // The same keys are of others now. Those that were live stay as if their last key had just gone.
            let live = std::mem::take(environments).live();
            live.into_iter().for_each(|environment| environments.expect(environment, now_ms()));
        }
        environments.set_most(templates.upstream.most());
        environments.retain(|environment| templates.takes(environment));
        self.refused.clear();
        let keys: Vec<Arc<[u8]>> = self.keys.entries.keys().cloned().collect();
        keys.iter().for_each(|key| self.take(key));
        self.look();
    }

    /// When to look again, though nothing is heard.
    fn due(&self) -> Option<Duration> {
        let due_ms = self.environments.due_ms().filter(|_| self.is_heard)?;
        Some(Duration::from_millis(due_ms.saturating_sub(now_ms())))
    }

    fn look(&mut self) {
        if !self.is_heard {
            return;
        }
        let name = self.templates.upstream.name();
        if self.environments.look(now_ms()) {
            let live = self.environments.live().len();
            tracing::info!(template = %name, live, waiting = self.environments.waiting(), "there are other environments");
        }
        let refusal = self.refused.first().and_then(|key| {
            let reason = self.templates.read(key).err()?;
            let shown = String::from_utf8_lossy(key);
            let shown: String = shown.escape_debug().take(MOST_SHOWN).collect();
            Some(format!("the key `{shown}` makes no environment: {reason}").into())
        });
        let known = LiveEnvironments {
            live: self.environments.live().into(),
            waiting: self.environments.waiting(),
            next: self.environments.next().cloned(),
            refused: self.refused.len(),
            refusal,
            was_asked: true,
            failure: None,
        };
        if self.known.put(name, known) {
            (self.tell)();
        }
    }

    fn lost(&self, reason: &str) {
        if self.known.fail(self.templates.upstream.name(), reason) {
            (self.tell)();
        }
    }
}

/// Characters of a key that a message has. Whoever may register writes it.
const MOST_SHOWN: usize = 200;

/// Whether a key has come or gone, or is there anew.
fn is_other(key: &Arc<[u8]>, before: &Keys, now: &Keys) -> bool {
    let since = |keys: &Keys| keys.entries.get(key).map(|value| value.create_revision);
    since(before) != since(now)
}

fn now_ms() -> u64 {
    moment::now_us() / 1_000
}
