//! Rules in etcd: one object a key, `<prefix>routes/<name>` and so on, each with a document of JSON or YAML.

use std::collections::BTreeSet;
use std::str::from_utf8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imbl::OrdMap;
use routing_rules::rules::Kind;
use tokio::sync::Notify;

use super::{Text, TextKind};
use crate::control_path::etcd::{Cluster, Heard, Keys, Mirror, Pace, Value};

/// What keys say, as texts.
pub struct EtcdTexts {
    prefix: Arc<str>,
    /// By key. Persistent, because all of them are handed on with every change.
    texts: OrdMap<Arc<[u8]>, Text>,
    /// Those that have gone together with most routes: they stay until they come back, or somebody lets them go.
    held: OrdMap<Arc<[u8]>, Text>,
}

/// How the source is doing, for whoever wants to know, and the way to let go what it holds.
#[derive(Default)]
pub struct EtcdState {
    seen: Mutex<Seen>,
    let_go: Notify,
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
}

impl EtcdState {
    /// The source at this moment.
    pub fn seen(&self) -> Seen {
        *self.lock()
    }

    /// What stays though its keys have gone is let go. Returns how many objects that are.
    pub fn let_go(&self) -> usize {
        let held = self.seen().held;
        self.let_go.notify_one();
        held
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a key is, by its part behind the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part<'k> {
    Object(Kind, &'k str),
    /// Serin's own, or registrations, which others read.
    Other,
    Unknown(&'static str),
}

/// Follows the rules under a prefix until it is dropped. `tell` gets all texts with every change, and a text that says why
/// there are none as long as nothing was heard.
pub async fn run(cluster: Cluster, pace: Pace, state: Arc<EtcdState>, tell: impl Fn(Vec<Text>)) {
    let (prefix, name) = (cluster.prefix().to_owned(), cluster.name());
    let mirror = Mirror::new(cluster, prefix.as_bytes(), pace);
    // Two parts of one task: nobody ever waits for it.
    let texts = Mutex::new(EtcdTexts::new(&prefix));
    let texts = || texts.lock().unwrap_or_else(PoisonError::into_inner);
    let is_heard = || state.lock().revision > 0;
    let heard_again = |times: u32| {
        state.lock().is_heard = true;
        if times > 0 {
            tracing::info!(failures = times, "etcd answers again");
        }
    };
    let hear = |heard: Heard<'_>| match heard {
        Heard::Changed { keys, changed, is_listing, times } => {
            heard_again(times);
            let mut texts = texts();
            let newly_held = texts.take(keys, &changed);
            if newly_held > 0 {
                tracing::error!(
                    prefix,
                    held = newly_held,
                    "most routes went at once; what went stays until somebody lets it go"
                );
            }
            let (objects, revision, held) = (texts.texts.len(), keys.revision, texts.held.len());
            if is_listing {
                tracing::info!(prefix, objects, revision, changed = changed.len(), "etcd: all keys are listed");
            }
            let mut seen = state.lock();
            (seen.revision, seen.held) = (revision, held);
            drop(seen);
            tell(texts.all());
        }
        Heard::Lost { trouble, times } => {
            let mut seen = state.lock();
            (seen.is_heard, seen.failures) = (false, seen.failures + 1);
            drop(seen);
            if times == 1 {
                tracing::warn!(reason = %trouble, "etcd does not answer; what was heard last serves on");
            }
            if !is_heard() {
                tell(vec![unheard(&name, &trouble.to_string())]);
            }
        }
        Heard::Same { times } => heard_again(times),
    };
    let let_go = async {
        loop {
            state.let_go.notified().await;
            let mut texts = texts();
            let held = std::mem::take(&mut texts.held).len();
            state.lock().held = 0;
            tracing::warn!(prefix, held, "what went from etcd is let go");
            tell(texts.all());
        }
    };
    tokio::select! {
        () = mirror.run(hear) => {}
        () = let_go => {}
    }
}

/// Stands for all that is in a cluster nothing was heard of yet: what was stored of it stays.
pub fn unheard(cluster: &str, reason: &str) -> Text {
    let name = format!("etcd {cluster}").into();
    Text { name, content: Err(format!("not heard yet: {reason}")), kind: TextKind::Unheard }
}

impl EtcdTexts {
    fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into(), texts: OrdMap::new(), held: OrdMap::new() }
    }

    /// Takes what has changed. Returns how many objects are newly held, because most routes went with this step.
    fn take(&mut self, keys: &Keys, changed: &BTreeSet<Arc<[u8]>>) -> usize {
        let routes_before = self.routes();
        let mut gone: OrdMap<Arc<[u8]>, Text> = OrdMap::new();
        for key in changed {
            self.held.remove(key);
            match keys.entries.get(key).and_then(|value| self.text(key, value)) {
                Some(text) => drop(self.texts.insert(Arc::clone(key), text)),
                None => gone.extend(self.texts.remove(key).map(|text| (Arc::clone(key), text))),
            }
        }
        if 2 * self.routes() < routes_before + count_routes(&self.held) {
            let newly_held = gone.len();
            self.held.extend(gone);
            return newly_held;
        }
        // Enough is there again: what is not has gone.
        self.held = OrdMap::new();
        0
    }

    fn routes(&self) -> usize {
        count_routes(&self.texts)
    }

    fn all(&self) -> Vec<Text> {
        let held = self.held.len();
        let alarm = (held > 0).then(|| Text {
            name: format!("etcd {}", self.prefix).into(),
            content: Err(format!(
                "most routes went at once: {held} objects stay until they come back, or somebody lets them go \
                 (POST /api/v1/sources/etcd/release)"
            )),
            kind: TextKind::Unknown { revision: None },
        });
        self.texts.values().chain(self.held.values()).cloned().chain(alarm).collect()
    }

    fn text(&self, key: &[u8], value: &Value) -> Option<Text> {
        let shown: Arc<str> = String::from_utf8_lossy(key).into();
        let unknown = |reason: &str| {
            Some(Text {
                name: Arc::clone(&shown),
                content: Err(reason.into()),
                kind: TextKind::Unknown { revision: Some(value.mod_revision) },
            })
        };
        match from_utf8(key).ok().and_then(|key| key.strip_prefix(&*self.prefix)).map(part) {
            Some(Part::Object(kind, name)) => {
                let content = from_utf8(&value.bytes).map(Into::into).map_err(|error| format!("not UTF-8: {error}"));
                let kind = TextKind::Object { kind, name: name.into(), revision: value.mod_revision };
                Some(Text { name: shown, content, kind })
            }
            Some(Part::Other) => None,
            Some(Part::Unknown(reason)) => unknown(reason),
            None => unknown("the key is not UTF-8"),
        }
    }
}

fn count_routes(texts: &OrdMap<Arc<[u8]>, Text>) -> usize {
    texts.values().filter(|text| matches!(text.kind, TextKind::Object { kind: Kind::Route, .. })).count()
}

fn part(rest: &str) -> Part<'_> {
    let Some((folder, name)) = rest.split_once('/') else {
        return if rest == "leader" { Part::Other } else { Part::Unknown(NO_KIND) };
    };
    if ["endpoints", "state", "history", "aca", "instances", "leader"].contains(&folder) {
        return Part::Other;
    }
    match Kind::ALL.into_iter().find(|kind| kind.map_name() == folder) {
        Some(_) if name.is_empty() => Part::Unknown("the key names no object"),
        Some(kind) => Part::Object(kind, name),
        None => Part::Unknown(NO_KIND),
    }
}

const NO_KIND: &str = "the key is none of `routes/NAME`, `upstreams/NAME`, `releases/NAME`, `listeners/NAME`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_objects_or_not() {
        assert_eq!(part("routes/shop"), Part::Object(Kind::Route, "shop"));
        assert_eq!(
            part("upstreams/a/b"),
            Part::Object(Kind::Upstream, "a/b"),
            "whether it is a name is said elsewhere"
        );
        for other in ["endpoints/shop/1", "state/releases/x", "history/releases/x/1", "instances/a", "leader", "aca/x"]
        {
            assert_eq!(part(other), Part::Other, "{other}");
        }
        for unknown in ["", "routes", "routes/", "rotues/shop", "/routes/shop", "leaders"] {
            assert!(matches!(part(unknown), Part::Unknown(_)), "{unknown}");
        }
    }
}
