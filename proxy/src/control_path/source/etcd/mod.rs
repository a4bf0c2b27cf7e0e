//! Rules in etcd: one object a key, `<prefix>routes/<name>` and so on, each with a document of JSON or YAML.

mod texts;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, watch};

pub use texts::{KeyTexts, texts_of};

use crate::control_path::etcd::{Cluster, Heard, Keys, Mirror, Pace};
use crate::control_path::fleet::Fleet;
use crate::control_path::release::{APART, Records};
use crate::moment;

/// How the source is doing, for whoever wants to know, and the way to let go what it holds.
#[derive(Default)]
pub struct EtcdState {
    seen: Mutex<Seen>,
    let_go: Notify,
    /// Told whenever what is missing has gone on purpose.
    confirmed: watch::Sender<()>,
}

/// The source at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Whether the cluster was heard lately.
    pub is_heard: bool,
    /// The revision up to which all is known.
    pub revision: i64,
    /// How often a connection failed or ended.
    pub failures: u64,
    /// Objects that stay though their keys have gone.
    pub held: usize,
    /// Routes that etcd has.
    pub routes: usize,
}

impl EtcdState {
    /// The source at this moment.
    pub fn seen(&self) -> Seen {
        *self.lock()
    }

    /// What is missing has gone on purpose: it is let go. Returns how many objects that are.
    pub fn confirm(&self) -> usize {
        let held = self.seen().held;
        self.let_go.notify_one();
        self.confirmed.send_replace(());
        held
    }

    /// Is told whenever what is missing has gone on purpose.
    pub fn confirmations(&self) -> watch::Receiver<()> {
        self.confirmed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Follows the rules under a prefix until it is dropped. `records` is where releases were that etcd says nothing of. `tell` gets all texts with every change, and a text that says why
/// there are none as long as nothing was heard; the fleet gets what its instances say.
pub async fn run(
    cluster: Cluster,
    pace: Pace,
    state: Arc<EtcdState>,
    fleet: Arc<Fleet>,
    records: Records,
    tell: impl Fn(KeyTexts),
) {
    let (prefix, name) = (cluster.prefix().to_owned(), cluster.name());
    let mirror = Mirror::new(cluster, prefix.as_bytes(), pace).before(format!("{prefix}{APART}").as_bytes());
    let source = Source {
        name,
        texts: KeyTexts::new(&prefix).with_records(records),
        prefix,
        state: Arc::clone(&state),
        fleet,
        tell,
    };
    // Two parts of one task: nobody ever waits for it.
    let source = Mutex::new(source);
    let source = || source.lock().unwrap_or_else(PoisonError::into_inner);
    let hear = |heard: Heard<'_>| match heard {
        Heard::Changed { keys, changed, is_listing, times } => {
            source().heard(keys.revision, times);
            source().change(keys, &changed, is_listing);
        }
        Heard::Lost { trouble, times } => source().lose(&trouble.to_string(), times),
        Heard::Same { revision, times } => source().heard(revision, times),
    };
    let let_go = async {
        loop {
            state.let_go.notified().await;
            source().let_go();
        }
    };
    tokio::select! {
        () = mirror.run(hear) => {}
        () = let_go => {}
    }
}

/// What is told on.
struct Source<T> {
    name: String,
    prefix: String,
    texts: KeyTexts,
    state: Arc<EtcdState>,
    fleet: Arc<Fleet>,
    tell: T,
}

impl<T: Fn(KeyTexts)> Source<T> {
    fn heard(&self, revision: i64, times: u32) {
        let mut seen = self.state.lock();
        (seen.is_heard, seen.revision) = (true, revision);
        if times > 0 {
            tracing::info!(failures = times, "etcd answers again");
        }
    }

    fn change(&mut self, keys: &Keys, changed: &BTreeSet<Arc<[u8]>>, is_listing: bool) {
        self.fleet.hear(keys, changed);
        let texts = &mut self.texts;
        let (held_before, confirmed_before) = (texts.held(), texts.confirmed_at_ms());
        let is_first = texts.revision() == 0;
        let is_of_concern = texts.take(keys, changed, now_ms());
        let (prefix, objects, held) = (&*self.prefix, texts.objects(), texts.held());
        let mut seen = self.state.lock();
        (seen.held, seen.routes) = (held, texts.routes());
        drop(seen);
        if held > held_before {
            tracing::error!(
                prefix,
                held,
                "most routes went within seconds; what went stays until somebody confirms it"
            );
        } else if held == 0 && held_before > 0 {
            tracing::warn!(prefix, held_before, "what went is there again, or went on purpose; the rest is let go");
        }
        if is_listing && !changed.is_empty() {
            let (revision, changed) = (keys.revision, changed.len());
            tracing::info!(prefix, objects, revision, changed, "etcd: all keys are listed");
        }
        if !is_first && texts.confirmed_at_ms() > confirmed_before {
            self.state.confirmed.send_replace(());
        }
        if is_of_concern || is_listing {
            texts.set_revision(keys.revision);
            (self.tell)(texts.clone());
        }
    }

    fn lose(&self, reason: &str, times: u32) {
        let mut seen = self.state.lock();
        (seen.is_heard, seen.failures) = (false, seen.failures + 1);
        let is_unheard = seen.revision == 0;
        drop(seen);
        // Once more each time it has lasted twice as long: the first reason is often the end of a connection, and why there is no
        // other one comes after it.
        if times.is_power_of_two() {
            tracing::warn!(failures = times, reason, "etcd is not heard; what was heard last serves on");
        }
        if is_unheard {
            (self.tell)(KeyTexts::unheard(&self.name, reason).with_records(self.texts.records().clone()));
        }
    }

    fn let_go(&mut self) {
        // Where nothing was heard yet, nobody knows what is missing.
        if self.texts.revision() == 0 {
            return;
        }
        let (prefix, held) = (&*self.prefix, self.texts.held());
        if held > 0 {
            tracing::warn!(prefix, held, "what went from etcd went on purpose; it is let go");
        }
        self.texts.let_go();
        self.state.lock().held = 0;
        (self.tell)(self.texts.clone());
    }
}

fn now_ms() -> u64 {
    moment::now_us() / 1_000
}
