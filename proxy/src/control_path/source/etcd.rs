//! Rules in etcd: one object a key, `<prefix>routes/<name>` and so on, each with a document of JSON or YAML.

use std::collections::BTreeSet;
use std::str::from_utf8;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use imbl::OrdMap;
use routing_rules::rules::Kind;
use tokio::sync::Notify;

use super::{Text, TextKind};
use crate::control_path::etcd::{Cluster, Heard, Keys, Mirror, Pace, Value};
use crate::moment;

/// What keys say, as texts. Cheap to clone, because all of them are handed on with every change.
#[derive(Clone, Default)]
pub struct KeyTexts {
    prefix: Arc<str>,
    /// By key.
    texts: OrdMap<Arc<[u8]>, Text>,
    routes: usize,
    /// Those that have gone within the last seconds, and when; where most routes have, all that have gone since.
    gone: OrdMap<Arc<[u8]>, (Text, u64)>,
    gone_routes: usize,
    /// What has gone stays until most of it comes back, or somebody lets it go; and how much it was at most.
    held_at_most: Option<usize>,
    /// Somebody has said that what is missing has gone on purpose.
    is_released: bool,
    /// Why there are none yet.
    unheard: Option<Text>,
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
pub async fn run(cluster: Cluster, pace: Pace, state: Arc<EtcdState>, tell: impl Fn(KeyTexts)) {
    let (prefix, name) = (cluster.prefix().to_owned(), cluster.name());
    let mirror = Mirror::new(cluster, prefix.as_bytes(), pace);
    // Two parts of one task: nobody ever waits for it.
    let texts = Mutex::new(KeyTexts::new(&prefix));
    let texts = || texts.lock().unwrap_or_else(PoisonError::into_inner);
    let heard_again = |revision: i64, times: u32| {
        let mut seen = state.lock();
        (seen.is_heard, seen.revision) = (true, revision);
        if times > 0 {
            tracing::info!(failures = times, "etcd answers again");
        }
    };
    let hear = |heard: Heard<'_>| match heard {
        Heard::Changed { keys, changed, is_listing, times } => {
            let is_first = state.seen().revision == 0;
            heard_again(keys.revision, times);
            let mut texts = texts();
            let (held_before, has_changed) = (texts.held(), texts.take(keys, &changed, now_ms()));
            let (objects, revision, held) = (texts.texts.len(), keys.revision, texts.held());
            state.lock().held = held;
            if held > held_before {
                tracing::error!(
                    prefix,
                    held,
                    "most routes went within seconds; what went stays until somebody lets it go"
                );
            } else if held == 0 && held_before > 0 {
                tracing::warn!(prefix, held_before, "most of what went is there again; the rest is let go");
            }
            if is_listing {
                tracing::info!(prefix, objects, revision, changed = changed.len(), "etcd: all keys are listed");
            }
            if has_changed || is_first {
                tell(texts.clone());
            }
        }
        Heard::Lost { trouble, times } => {
            let mut seen = state.lock();
            (seen.is_heard, seen.failures) = (false, seen.failures + 1);
            let is_unheard = seen.revision == 0;
            drop(seen);
            // Once more each time it has lasted twice as long: the first reason is often the end of a connection, and why there is
            // no other one comes after it.
            if times.is_power_of_two() {
                tracing::warn!(failures = times, reason = %trouble, "etcd is not heard; what was heard last serves on");
            }
            if is_unheard {
                tell(KeyTexts::unheard(&name, &trouble.to_string()));
            }
        }
        Heard::Same { revision, times } => heard_again(revision, times),
    };
    let let_go = async {
        loop {
            state.let_go.notified().await;
            let mut texts = texts();
            let held = texts.held();
            texts.forget_gone();
            texts.is_released = true;
            state.lock().held = 0;
            tracing::warn!(prefix, held, "what went from etcd is let go");
            tell(texts.clone());
        }
    };
    tokio::select! {
        () = mirror.run(hear) => {}
        () = let_go => {}
    }
}

/// What all keys say.
pub fn texts_of(prefix: &str, keys: &Keys) -> Vec<Text> {
    let mut texts = KeyTexts::new(prefix);
    texts.take(keys, &keys.entries.keys().cloned().collect(), 0);
    texts.all()
}

impl KeyTexts {
    fn new(prefix: &str) -> Self {
        Self { prefix: prefix.into(), ..Self::default() }
    }

    /// Stands for all that is in a cluster nothing was heard of yet: what was stored of it stays.
    pub fn unheard(cluster: &str, reason: &str) -> Self {
        let (name, content) = (format!("etcd {cluster}").into(), Err(format!("not heard yet: {reason}")));
        Self { unheard: Some(Text { name, content, kind: TextKind::Unheard }), ..Self::default() }
    }

    /// Whether it stands for what was not heard yet.
    pub fn is_unheard(&self) -> bool {
        self.unheard.is_some()
    }

    /// Takes what has changed. Returns whether it says something else than before.
    fn take(&mut self, keys: &Keys, changed: &BTreeSet<Arc<[u8]>>, now_ms: u64) -> bool {
        let mut has_changed = false;
        for key in changed {
            let text = keys.entries.get(key).and_then(|value| self.text(key, value));
            let before = self.texts.get(key).cloned();
            has_changed |= before != text;
            self.routes -= usize::from(before.as_ref().is_some_and(is_route));
            match text {
                Some(text) => {
                    self.routes += usize::from(is_route(&text));
                    self.texts.insert(Arc::clone(key), text);
                    if let Some((text, _)) = self.gone.remove(key) {
                        self.gone_routes -= usize::from(is_route(&text));
                    }
                }
                None => {
                    self.texts.remove(key);
                    if let Some(before) = before {
                        self.gone_routes += usize::from(is_route(&before));
                        self.gone.insert(Arc::clone(key), (before, now_ms));
                    }
                }
            }
        }
        let held_before = self.held();
        self.judge(now_ms);
        has_changed || self.held() != held_before
    }

    /// Whether what has gone has gone on purpose.
    fn judge(&mut self, now_ms: u64) {
        if let Some(most) = self.held_at_most {
            let most = most.max(self.gone.len());
            self.held_at_most = (4 * self.gone.len() > most).then_some(most);
            if self.held_at_most.is_none() {
                self.forget_gone();
            }
            return;
        }
        let old = self.gone.iter().filter(|(_, (_, at_ms))| now_ms.saturating_sub(*at_ms) >= WINDOW_MS);
        let old: Vec<_> = old.map(|(key, _)| Arc::clone(key)).collect();
        for key in old {
            let gone = self.gone.remove(&key);
            self.gone_routes -= usize::from(gone.is_some_and(|(text, _)| is_route(&text)));
        }
        if self.gone_routes > self.routes {
            self.held_at_most = Some(self.gone.len());
        }
    }

    fn forget_gone(&mut self) {
        (self.gone, self.gone_routes, self.held_at_most) = (OrdMap::new(), 0, None);
    }

    fn held(&self) -> usize {
        if self.held_at_most.is_some() { self.gone.len() } else { 0 }
    }

    /// Keeps what was stored, if most of so many routes that came from here are not here any more: also a process that starts
    /// must not take an empty listing for a decision.
    pub fn misses(&self, stored_routes: usize) -> Option<Text> {
        let misses = !self.is_unheard() && !self.is_released && 2 * self.routes < stored_routes;
        misses.then(|| Text {
            name: format!("etcd {}", self.prefix).into(),
            content: Err(format!(
                "most of {stored_routes} routes that were stored are not there any more: they stay until they come back, or \
                 somebody lets them go (POST /api/v1/sources/etcd/release)"
            )),
            kind: TextKind::Unheard,
        })
    }

    /// All texts, those that stay though their keys have gone among them.
    pub fn all(&self) -> Vec<Text> {
        let held = self.held();
        let alarm = (held > 0).then(|| Text {
            name: format!("etcd {}", self.prefix).into(),
            content: Err(format!(
                "most routes went within seconds: {held} objects stay until they come back, or somebody lets them go \
                 (POST /api/v1/sources/etcd/release)"
            )),
            kind: TextKind::Unknown { revision: None },
        });
        let gone = self.gone.values().map(|(text, _)| text).take(held);
        self.texts.values().chain(gone).chain(&self.unheard).cloned().chain(alarm).collect()
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

fn is_route(text: &Text) -> bool {
    matches!(text.kind, TextKind::Object { kind: Kind::Route, .. })
}

fn now_ms() -> u64 {
    moment::now_us() / 1_000
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

/// What goes within this time goes together: a transaction of etcd has 128 operations at most, so that whoever deletes
/// everything does it in many.
const WINDOW_MS: u64 = 10_000;

const NO_KIND: &str = "the key is none of `routes/NAME`, `upstreams/NAME`, `releases/NAME`, `listeners/NAME`";

#[cfg(test)]
mod tests {
    use super::*;

    /// After so many milliseconds these routes are there; what serves then, and how many of that are held.
    fn follow(steps: &[(u64, &[&str])]) -> Vec<(usize, usize)> {
        let mut texts = KeyTexts::new("/s/");
        let mut keys = Keys::default();
        let step = |(now_ms, routes): &(u64, &[&str])| {
            let before: BTreeSet<Arc<[u8]>> = keys.entries.keys().cloned().collect();
            let value = || Value { bytes: b"{}".as_slice().into(), mod_revision: 1, lease: 0 };
            let key = |name: &&str| -> (Arc<[u8]>, Value) { (format!("/s/routes/{name}").as_bytes().into(), value()) };
            keys.entries = routes.iter().map(key).collect();
            let now: BTreeSet<Arc<[u8]>> = keys.entries.keys().cloned().collect();
            texts.take(&keys, &before.symmetric_difference(&now).cloned().collect(), *now_ms);
            let serving = texts.all().iter().filter(|text| is_route(text)).count();
            (serving, texts.held())
        };
        steps.iter().map(step).collect()
    }

    #[test]
    fn most_routes_are_held_until_most_of_them_are_back() {
        let all = &["a", "b", "c", "d", "e"][..];
        assert_eq!(
            follow(&[(0, all), (1, &all[..3]), (2, &all[..2])]),
            [(5, 0), (3, 0), (5, 3)],
            "one after the other"
        );
        assert_eq!(follow(&[(0, all), (1, &all[..3]), (20_000, &all[..2])]), [(5, 0), (3, 0), (2, 0)], "in peace");
        assert_eq!(follow(&[(0, all), (1, &[]), (2, &all[..3]), (3, &all[..4])]), [(5, 0), (5, 5), (5, 2), (4, 0)]);
        assert_eq!(follow(&[(0, all), (1, &["f"]), (2, &["f", "g", "h", "i", "j", "k"])]), [(5, 0), (6, 5), (11, 5)]);
        assert_eq!(
            follow(&[(0, &["a"]), (1, &["b"]), (2, &[])]),
            [(1, 0), (1, 0), (2, 2)],
            "one for another is an edit"
        );
        let rest = [(0, all), (1, &[][..]), (600_000, &[]), (600_001, all)];
        assert_eq!(follow(&rest), [(5, 0), (5, 5), (5, 5), (5, 0)]);
    }

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
