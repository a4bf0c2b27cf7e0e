//! What one text says, object by object, regardless of all other texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use routing_rules::rules::Kind;
use routing_rules::spec::{AcmeAccountSpec, CertificateSpec, ListenerSpec, ReleaseSpec, RouteSpec, UpstreamSpec};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::{Document, Entries, Entry, Key, ObjectSpec, Origin};
use crate::control_path::decode::{self, Draft, Node, Problem};
use crate::control_path::source::{Text, TextKind};
use crate::settings::Settings;

/// What a rule file may have; only the main file has settings too.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RuleMaps {
    #[serde(rename = "listeners")]
    _listeners: IgnoredAny,
    #[serde(rename = "routes")]
    _routes: IgnoredAny,
    #[serde(rename = "upstreams")]
    _upstreams: IgnoredAny,
    #[serde(rename = "releases")]
    _releases: IgnoredAny,
    #[serde(rename = "certificates")]
    _certificates: IgnoredAny,
    #[serde(rename = "acme_accounts")]
    _acme_accounts: IgnoredAny,
}

/// A text and what it says.
pub(super) struct Reading {
    pub(super) text: Text,
    /// The objects it names.
    pub(super) objects: BTreeMap<Key, WrittenObject>,
    pub(super) problems: Vec<Problem>,
    /// Objects that are wrong, with the first problem of each as a place in the list.
    pub(super) wrong: Vec<(Key, usize)>,
    /// Some of it could not be read, so what it said before stands.
    pub(super) keeps_last: bool,
}

/// An object that is named, and where.
pub(super) struct WrittenObject {
    line: u32,
    column: u32,
    /// Nothing if it is wrong.
    pub(super) entry: Option<Arc<Entry>>,
}

impl WrittenObject {
    /// A problem at the object's place.
    pub(super) fn problem(&self, document: &Arc<str>, (kind, name): &Key, reason: String) -> Problem {
        let path = format!("{}.{name}", kind.map_name());
        Problem { source: Arc::clone(document), line: self.line, column: self.column, path, reason, revision: None }
    }
}

impl Reading {
    /// Reads a document. What says the same as an object in force becomes that very object.
    pub(super) fn new(document: Document, in_force: &Entries) -> Self {
        let mut reading = Self {
            text: document.text,
            objects: BTreeMap::new(),
            problems: Vec::new(),
            wrong: Vec::new(),
            keeps_last: false,
        };
        match document.tree {
            Ok(root) => reading.read(&root, in_force),
            Err(problem) => {
                reading.problems.push(problem);
                reading.miss();
            }
        }
        let revision = reading.text.revision();
        reading.problems.iter_mut().for_each(|problem| problem.revision = revision);
        reading
    }

    /// It cannot be read: what it said before stands.
    fn miss(&mut self) {
        match &self.text.kind {
            TextKind::Object { kind, name, .. } => {
                let key = (*kind, Arc::clone(name));
                self.wrong.push((key.clone(), 0));
                self.objects.insert(key, WrittenObject { line: 0, column: 0, entry: None });
            }
            TextKind::Main | TextKind::Rules | TextKind::Unheard => self.keeps_last = true,
            TextKind::Unknown { .. } => {}
        }
    }

    /// What it says about an object, if that is right.
    pub(super) fn entry(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.objects.get(key)?.entry.as_ref()
    }

    /// Whether an object in force was written here: in this document, or below this folder if it is one.
    pub(super) fn covers(&self, entry: &Entry) -> bool {
        let rest = entry.document.strip_prefix(&*self.text.name);
        entry.origin == Origin::Written && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn read(&mut self, root: &Node, in_force: &Entries) {
        // `rotues` was meant to hold something: as long as nobody knows what, nothing that stood here has gone.
        self.keeps_last = match self.text.kind {
            TextKind::Main => Settings::has_unknown_fields(&self.text.name, root),
            TextKind::Rules => decode::decode::<RuleMaps>(&self.text.name, root, "", &mut self.problems).is_none(),
            TextKind::Object { .. } | TextKind::Unknown { .. } | TextKind::Unheard => false,
        };
        self.read_map::<ListenerSpec>(root, Kind::Listener, in_force, ObjectSpec::Listener);
        self.read_map::<RouteSpec>(root, Kind::Route, in_force, |spec| ObjectSpec::Route(Box::new(spec)));
        self.read_map::<UpstreamSpec>(root, Kind::Upstream, in_force, |spec| ObjectSpec::Upstream(Box::new(spec)));
        self.read_map::<ReleaseSpec>(root, Kind::Release, in_force, |spec| ObjectSpec::Release(Box::new(spec)));
        let certificate = |spec| ObjectSpec::Certificate(Box::new(spec));
        self.read_map::<CertificateSpec>(root, Kind::Certificate, in_force, certificate);
        let account = |spec| ObjectSpec::AcmeAccount(Box::new(spec));
        self.read_map::<AcmeAccountSpec>(root, Kind::AcmeAccount, in_force, account);
    }

    fn read_map<S: DeserializeOwned>(
        &mut self,
        root: &Node,
        kind: Kind,
        in_force: &Entries,
        wrap: impl Fn(S) -> ObjectSpec,
    ) {
        let Some(map) = root.get(kind.map_name()).filter(|map| !map.is_null()) else { return };
        let Some(objects) = map.entries() else {
            self.problems.push(root.problem(&self.text.name, kind.map_name(), "expected a mapping from names"));
            self.keeps_last = true;
            return;
        };
        for (name, node) in objects {
            let key: Key = (kind, name.into());
            let path = format!("{}.{name}", kind.map_name());
            let first = self.problems.len();
            let draft = decode::draft::<S>(&self.text.name, node, &path, &mut self.problems);
            let entry = draft.and_then(|draft| self.validate(root, &key, draft.map(&wrap), in_force));
            let (line, column) = map.key_position(name).unwrap_or_default();
            if entry.is_none() && self.problems.len() > first {
                self.wrong.push((key.clone(), first));
            }
            self.objects.insert(key, WrittenObject { line, column, entry: entry.map(Arc::new) });
        }
    }

    /// The object in question, if nothing is wrong with it.
    fn validate(&mut self, root: &Node, key: &Key, draft: Draft<ObjectSpec>, in_force: &Entries) -> Option<Entry> {
        let Draft { value: spec, doubts } = draft;
        let source = &self.text.name;
        let document = Arc::clone(source);
        let is_same = |known: &&Arc<Entry>| known.origin != Origin::Made && *known.spec == spec;
        if let Some(known) = in_force.get(key).filter(is_same).filter(|_| doubts.is_empty()) {
            return Some(Entry { document, origin: Origin::Written, ..Entry::clone(known) });
        }
        let mut errors = Vec::new();
        let object = spec.validate(&key.1, &mut errors);
        errors.retain(|error| !doubts.concern(root, &error.at));
        let problems = errors.into_iter().map(|error| root.problem(source, &error.at, error.reason));
        self.problems.extend(problems);
        let object = object.filter(|_| doubts.is_empty())?;
        Some(Entry { spec: Arc::new(spec), object, document, origin: Origin::Written })
    }
}
