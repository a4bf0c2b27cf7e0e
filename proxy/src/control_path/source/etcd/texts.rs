//! What keys say, as texts; and what stays though its keys have gone, until somebody confirms that they went on purpose.

use std::collections::BTreeSet;
use std::str::from_utf8;
use std::sync::Arc;
use std::time::SystemTime;

use imbl::OrdMap;
use routing_rules::rules::{Kind, Name};

use super::super::{Text, TextKind, Texts};
use crate::control_path::acme::KEPT_ORDERS;
use crate::control_path::etcd::{Keys, Value};
use crate::control_path::fleet::{CONFIRMED, LEADER};
use crate::control_path::release::{APART, Entry, RECORDS, Records};

/// What keys say, as texts. Cheap to clone, because all of them are handed on with every change.
#[derive(Clone, Default)]
pub struct KeyTexts {
    prefix: Arc<str>,
    /// The last revision that was of any concern here.
    revision: i64,
    /// What the keys say.
    live: Texts,
    routes: usize,
    /// Where releases are. What has gone stays: a release that is rolled back must not begin anew with its key.
    records: Records,
    /// What is kept of orders of certificates, by what is behind their part of the keys.
    orders: OrdMap<Box<str>, Value>,
    /// What is there and cannot be read; what was read before stays.
    unreadable: OrdMap<Arc<str>, Text>,
    /// What is in force: also what is held though it has gone.
    serving: Texts,
    /// Those that have gone within the last seconds, and when; where most routes have, all that have gone since.
    gone: OrdMap<Arc<str>, (Text, u64)>,
    gone_routes: usize,
    /// What has gone stays until most of it comes back, or somebody confirms that it has gone on purpose.
    held: Option<Held>,
    /// What the fleet was told of what is missing.
    confirmed: Confirmed,
    /// This instance was told, whatever the fleet knows.
    is_confirmed_here: bool,
    /// Why there are none yet.
    unheard: Option<Text>,
}

/// Since when something stays that has gone, and how much that was at most.
#[derive(Clone, Copy)]
struct Held {
    since: i64,
    most: usize,
}

/// Somebody has said that what was missing then has gone on purpose.
#[derive(Clone, Copy, Default)]
struct Confirmed {
    /// When, in milliseconds since 1970. What says so again, or comes back with a backup, is not later.
    at_ms: u64,
    /// How many routes were there: what has gone since is not confirmed.
    routes: usize,
}

/// What a key is, by its part behind the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part<'k> {
    Object(Kind, &'k str),
    /// What was missing has gone on purpose.
    Confirmed,
    /// Where a release is.
    Record(&'k str),
    /// What is kept of orders of certificates.
    Order(&'k str),
    /// Serin's own, or registrations, which others read.
    Other,
    Unknown(&'static str),
}

/// What all keys say.
pub fn texts_of(prefix: &str, keys: &Keys) -> Texts {
    let mut texts = KeyTexts::new(prefix);
    texts.take(keys, &keys.entries.keys().cloned().collect(), 0);
    texts.serving
}

impl KeyTexts {
    /// Nothing yet, of keys that begin so.
    pub(super) fn new(prefix: &str) -> Self {
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

    /// Where releases are.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// What is kept of orders of certificates.
    pub fn orders(&self) -> &OrdMap<Box<str>, Value> {
        &self.orders
    }

    /// Where releases were when they were stored, as long as etcd says nothing of them.
    #[must_use]
    pub fn with_records(self, records: Records) -> Self {
        Self { records, ..self }
    }

    /// The last revision of etcd that is in them.
    pub fn revision(&self) -> i64 {
        self.revision
    }

    /// Goes on from this revision.
    pub(super) fn set_revision(&mut self, revision: i64) {
        self.revision = revision;
    }

    /// How many objects the keys say something of.
    pub(super) fn objects(&self) -> usize {
        self.live.len()
    }

    /// How many of them are routes.
    pub(super) fn routes(&self) -> usize {
        self.routes
    }

    /// When the fleet was told last of what is missing, in milliseconds since 1970.
    pub(super) fn confirmed_at_ms(&self) -> u64 {
        self.confirmed.at_ms
    }

    /// What is missing has gone on purpose, whatever the fleet knows.
    pub(super) fn let_go(&mut self) {
        self.forget_gone();
        self.is_confirmed_here = true;
    }

    /// Takes what has changed. Returns whether any of it is of concern here.
    pub(super) fn take(&mut self, keys: &Keys, changed: &BTreeSet<Arc<[u8]>>, now_ms: u64) -> bool {
        let held_before = self.held();
        let (mut is_of_concern, mut is_confirmed) = (false, false);
        for key in changed {
            let rest = from_utf8(key).ok().and_then(|key| key.strip_prefix(&*self.prefix));
            let (value, name) = (keys.entries.get(key), name_of(key));
            let text = match rest.map_or(Part::Unknown("the key is not UTF-8"), part) {
                Part::Other => continue,
                Part::Confirmed => {
                    is_of_concern = true;
                    let newer = value.map(Confirmed::of).filter(|newer| newer.at_ms > self.confirmed.at_ms);
                    // Who has heard nothing before holds nothing.
                    is_confirmed |= newer.is_some() && self.revision > 0;
                    self.confirmed = newer.unwrap_or(self.confirmed);
                    continue;
                }
                Part::Record(release) => {
                    is_of_concern = true;
                    self.take_record(release, name, value);
                    continue;
                }
                Part::Order(rest) => {
                    is_of_concern = true;
                    match value {
                        Some(value) => drop(self.orders.insert(rest.into(), value.clone())),
                        None => drop(self.orders.remove(rest)),
                    }
                    continue;
                }
                Part::Object(kind, object) => value.map(|value| object_text(kind, object, &name, value)),
                Part::Unknown(reason) => value.map(|value| unknown_text(reason, &name, value)),
            };
            is_of_concern = true;
            let before = self.live.key(&name).cloned();
            self.routes -= usize::from(before.as_ref().is_some_and(is_route));
            match text {
                Some(text) => {
                    self.routes += usize::from(is_route(&text));
                    self.live.put_key(text.clone());
                    self.serving.put_key(text);
                    if let Some((text, _)) = self.gone.remove(&name) {
                        self.gone_routes -= usize::from(is_route(&text));
                    }
                }
                None => {
                    self.live.remove_key(&name);
                    if self.held.is_none() {
                        self.serving.remove_key(&name);
                    }
                    if let Some(before) = before {
                        self.gone_routes += usize::from(is_route(&before));
                        self.gone.insert(name, (before, now_ms));
                    }
                }
            }
        }
        self.judge(keys.revision, is_confirmed, now_ms);
        is_of_concern || self.held() != held_before
    }

    fn take_record(&mut self, release: &str, key: Arc<str>, value: Option<&Value>) {
        self.unreadable.remove(&key);
        let Some(value) = value else { return };
        let known = Name::new(release).and_then(|name| Ok((name, Entry::parse(&value.bytes)?.record)));
        match known {
            Ok((name, record)) => drop(self.records.insert(name, record)),
            Err(reason) => drop(self.unreadable.insert(Arc::clone(&key), unknown_text(&reason, &key, value))),
        }
    }

    /// Whether what has gone has gone on purpose.
    fn judge(&mut self, since: i64, is_confirmed: bool, now_ms: u64) {
        if self.held.is_none() {
            self.forget_old(now_ms);
            if self.gone_routes > self.routes {
                self.held = Some(Held { since, most: self.gone.len() });
                self.gone.values().for_each(|(text, _)| self.serving.put_key(text.clone()));
            }
        }
        if let Some(held) = &mut self.held {
            held.most = held.most.max(self.gone.len());
            if 4 * self.gone.len() <= held.most || (is_confirmed && self.confirmed.covers(self.routes)) {
                self.forget_gone();
            }
        }
    }

    fn forget_old(&mut self, now_ms: u64) {
        let old = self.gone.iter().filter(|(_, (_, at_ms))| now_ms.saturating_sub(*at_ms) >= WINDOW_MS);
        let old: Vec<_> = old.map(|(name, _)| Arc::clone(name)).collect();
        for name in old {
            let gone = self.gone.remove(&name);
            self.gone_routes -= usize::from(gone.is_some_and(|(text, _)| is_route(&text)));
        }
    }

    fn forget_gone(&mut self) {
        (self.gone, self.gone_routes, self.held) = (OrdMap::new(), 0, None);
        self.serving = self.live.clone();
    }

    /// How many objects stay though their keys have gone.
    pub(super) fn held(&self) -> usize {
        if self.held.is_some() { self.gone.len() } else { 0 }
    }

    /// Keeps what was stored at a time (seconds since 1970), if most of so many routes that came from here are not here any
    /// more: also a process that starts must not take an empty listing for a decision.
    pub fn misses(&self, stored_routes: usize, stored_at_s: u64) -> Option<Text> {
        let is_later = self.confirmed.at_ms > 1_000 * stored_at_s;
        let is_confirmed = self.is_confirmed_here || (is_later && self.confirmed.covers(self.routes));
        let misses = !self.is_unheard() && !is_confirmed && 2 * self.routes < stored_routes;
        misses.then(|| Text {
            name: format!("etcd {}", self.prefix).into(),
            content: Err(format!(
                "most of {stored_routes} routes that were stored are not there any more: they stay until they come back, or \
                 somebody confirms that they have gone (POST /api/v1/sources/etcd/confirm)"
            )),
            kind: TextKind::Unheard,
        })
    }

    /// All texts, those that stay though their keys have gone among them.
    pub fn texts(&self) -> Texts {
        let (mut texts, held) = (self.serving.clone(), self.held());
        self.unreadable.values().for_each(|text| texts.note(text.clone()));
        self.unheard.iter().for_each(|unheard| texts.note(unheard.clone()));
        if held > 0 {
            let reason = format!(
                "most routes went within seconds: {held} objects stay until they come back, or somebody confirms that they \
                 have gone (POST /api/v1/sources/etcd/confirm)"
            );
            let name = format!("etcd {}", self.prefix).into();
            let revision = self.held.map(|held| held.since);
            texts.note(Text { name, content: Err(reason), kind: TextKind::Unknown { revision } });
        }
        texts
    }
}

/// A key as messages show it. Keys that are no text have names of their own, too.
fn name_of(key: &[u8]) -> Arc<str> {
    match from_utf8(key) {
        Ok(text) => text.into(),
        Err(_) => key.escape_ascii().to_string().into(),
    }
}

/// What a key says of an object.
fn object_text(kind: Kind, object: &str, name: &Arc<str>, value: &Value) -> Text {
    let content = from_utf8(&value.bytes).map(Into::into).map_err(|error| format!("not UTF-8: {error}"));
    let kind = TextKind::Object { kind, name: object.into(), revision: value.mod_revision };
    Text { name: Arc::clone(name), content, kind }
}

/// Stands for a key that is of no object.
fn unknown_text(reason: &str, name: &Arc<str>, value: &Value) -> Text {
    let kind = TextKind::Unknown { revision: Some(value.mod_revision) };
    Text { name: Arc::clone(name), content: Err(reason.into()), kind }
}

impl Confirmed {
    fn of(value: &Value) -> Self {
        let says: serde_json::Value = serde_json::from_slice(&value.bytes).unwrap_or_default();
        let at = says["at"].as_str().and_then(|at| humantime::parse_rfc3339(at).ok());
        let since_1970 = at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
        let routes = says["routes"].as_u64().unwrap_or_default();
        Self {
            at_ms: u64::try_from(since_1970.as_millis()).unwrap_or_default(),
            routes: usize::try_from(routes).unwrap_or(usize::MAX),
        }
    }

    /// Whether so many routes are about what was there when it was said.
    fn covers(&self, routes: usize) -> bool {
        2 * routes >= self.routes
    }
}

fn is_route(text: &Text) -> bool {
    matches!(text.kind, TextKind::Object { kind: Kind::Route, .. })
}

fn part(rest: &str) -> Part<'_> {
    if rest == CONFIRMED {
        return Part::Confirmed;
    }
    let Some((folder, name)) = rest.split_once('/') else {
        return if rest == LEADER { Part::Other } else { Part::Unknown(NO_KIND) };
    };
    if let Some(release) = rest.strip_prefix(RECORDS) {
        return Part::Record(release);
    }
    if let Some(order) = rest.strip_prefix(KEPT_ORDERS) {
        return Part::Order(order);
    }
    if ["endpoints", "state", "history", "instances", "leader"].contains(&folder) || folder.starts_with(APART) {
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

const NO_KIND: &str = "the key is none of `routes/NAME`, `upstreams/NAME`, `releases/NAME`, `listeners/NAME`, `certificates/NAME`, \
                       `acme_accounts/NAME`";

#[cfg(test)]
mod tests {
    use super::*;

    /// After so many milliseconds these routes are there; what serves then, and how many of that are held.
    fn follow(steps: &[(u64, &[&str])]) -> Vec<(usize, usize)> {
        let mut texts = KeyTexts::new("/s/");
        let mut keys = Keys::default();
        let step = |(now_ms, routes): &(u64, &[&str])| {
            let before: BTreeSet<Arc<[u8]>> = keys.entries.keys().cloned().collect();
            let value = || Value { bytes: b"{}".as_slice().into(), mod_revision: 1, create_revision: 1, lease: 0 };
            let key = |name: &&str| -> (Arc<[u8]>, Value) { (format!("/s/routes/{name}").as_bytes().into(), value()) };
            keys.entries = routes.iter().map(key).collect();
            let now: BTreeSet<Arc<[u8]>> = keys.entries.keys().cloned().collect();
            texts.take(&keys, &before.symmetric_difference(&now).cloned().collect(), *now_ms);
            let serving = texts.texts().iter().filter(|text| is_route(text)).count();
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

    /// After each step: how many are held. `12@3` is a confirmation in second 12, when there were 3 routes.
    #[test]
    fn what_was_confirmed_before_it_went_is_held() {
        let mut texts = KeyTexts::new("/s/");
        let mut keys = Keys::default();
        let mut held = |revision: i64, now: &[&str]| {
            let entry = |key: &&str| -> (Arc<[u8]>, Value) {
                let (key, bytes) = match key.split_once('@') {
                    Some((second, routes)) => {
                        let at = format!("2026-01-01T00:00:{second}Z");
                        (CONFIRMED, format!("{{\"at\": \"{at}\", \"routes\": {routes}}}"))
                    }
                    None => (*key, "{}".to_owned()),
                };
                let value = Value { bytes: bytes.as_bytes().into(), mod_revision: 1, create_revision: 1, lease: 0 };
                (Arc::from(format!("/s/{key}").as_bytes()), value)
            };
            let listed = Keys { revision, cluster: 1, entries: now.iter().map(entry).collect() };
            let changed = keys.replace(listed);
            texts.take(&keys, &changed, 0);
            texts.revision = revision;
            texts.held()
        };
        let all = ["routes/a", "routes/b", "upstreams/u"];
        let with = |confirmed: &'static str| [&all[..], &[confirmed]].concat();
        assert_eq!(held(10, &all), 0);
        assert_eq!(held(11, &[]), 3);
        assert_eq!(held(12, &["12@0"]), 0, "it is confirmed afterwards");
        assert_eq!(held(20, &with("12@0")), 0);
        assert_eq!(held(21, &["12@0"]), 3, "what was confirmed is another loss");
        assert_eq!(held(25, &["25@0"]), 0);
        assert_eq!(held(26, &with("25@0")), 0);
        assert_eq!(held(30, &["30@0"]), 0, "the step in which it went is heard with its confirmation");
        assert_eq!(held(31, &with("30@0")), 0);
        assert_eq!(held(15, &["12@0"]), 3, "a backup, with what it knew to be confirmed");
        assert_eq!(held(32, &with("30@0")), 0);
        assert_eq!(held(1, &[]), 3, "an empty one");
        assert_eq!(held(15, &["12@0"]), 3, "and then a backup");
        assert_eq!(held(33, &with("30@0")), 0);
        assert_eq!(held(40, &["39@2"]), 3, "more has gone than was confirmed");
        assert_eq!(held(41, &["40@0"]), 0);
    }

    #[test]
    fn keys_are_objects_or_not() {
        assert_eq!(part("routes/shop"), Part::Object(Kind::Route, "shop"));
        assert_eq!(
            part("upstreams/a/b"),
            Part::Object(Kind::Upstream, "a/b"),
            "whether it is a name is said elsewhere"
        );
        for other in
            ["endpoints/shop/1", "state/other/x", "history/releases/x/1", "instances/a", "leader", "windows/1/x"]
        {
            assert_eq!(part(other), Part::Other, "{other}");
        }
        assert_eq!(part("state/releases/x"), Part::Record("x"));
        assert_eq!(part("state/acme/accounts/x"), Part::Order("accounts/x"));
        for unknown in ["", "routes", "routes/", "rotues/shop", "/routes/shop", "leaders"] {
            assert!(matches!(part(unknown), Part::Unknown(_)), "{unknown}");
        }
    }
}
