//! The rules in force: per object the newest version that is right.
//!
//! A document that cannot be read keeps all its objects as they were; an object that is wrong keeps its last good
//! version; a reference to what is gone keeps that alive. So one bad edit never takes anything else with it, and
//! every deviation from what is written is a [`Problem`] that stays visible until it is mended.

mod reading;

mod claims;

mod findings;

mod references;

mod expansion;

mod guard;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use imbl::OrdMap;
use routing_rules::RuleError;
use routing_rules::rules::{AcmeAccount, Certificate, Kind, Listener, Object, Release, RuleSet};
use routing_rules::spec::{AcmeAccountSpec, CertificateSpec, ListenerSpec, ReleaseSpec, RouteSpec, Spec, UpstreamSpec};

use super::decode::{self, Node, Problem};
use super::release::Records;
use super::source::{Text, TextKind, Texts};
use claims::{Claims, Touched};
use expansion::Expansion;
use findings::Findings;
pub use guard::Witness;
use guard::{Guard, Held};
use reading::Reading;
use references::Mending;

/// One text from a source, read as a tree.
pub struct Document {
    /// File name or key, as messages show it.
    pub name: Arc<str>,
    /// The tree, or why there is none.
    pub tree: Result<Node, Problem>,
    text: Text,
}

impl Document {
    /// Parses a text.
    pub fn parse(text: &Text) -> Self {
        #[cfg(test)]
        tests::spring_trap(text);
        let name = &text.name;
        let tree = match &text.content {
            Ok(content) => decode::parse(name, content),
            Err(reason) => Err(unplaced(name, String::new(), reason.clone())),
        };
        let tree = tree.and_then(|root| match &text.kind {
            // Read like a file that has nothing but this object, so that paths are the same everywhere.
            TextKind::Object { kind, name, .. } => Ok(root.within(name).within(kind.map_name())),
            _ if root.entries().is_some() => Ok(root),
            _ => Err(root.problem(name, "", "expected a mapping with routes, upstreams and so on")),
        });
        Self { name: Arc::clone(name), tree, text: text.clone() }
    }

    /// Whether this is what a text says.
    pub(super) fn is_of(&self, text: &Text) -> bool {
        self.text == *text
    }
}

/// The rules in force and what is wrong with what was written. Cheap to clone, so that a change can be tried on a copy.
#[derive(Clone, Default)]
pub struct Catalog {
    claims: Claims,
    entries: Entries,
    rules: RuleSet,
    problems: Arc<Vec<Problem>>,
    /// Objects that are not in force as they are written, or that several texts name: looked at with every change.
    unsettled: BTreeSet<Key>,
    /// Where paths in texts that did not change lead.
    placed: Placed,
    /// What templates make.
    expansion: Expansion,
    /// Keeps releases from edits that take users back.
    guard: Guard,
}

/// Problems by document and path. Persistent.
type Placed = imbl::HashMap<(Arc<str>, String), Problem>;

/// The objects in force as they were written, to be stored. Costs nothing to take.
#[derive(Clone, Default)]
pub struct Written(Entries);

/// Persistent, so that a change shares what it does not concern.
type Entries = OrdMap<Key, Arc<Entry>>;

type Key = (Kind, Arc<str>);

/// One object in force.
#[derive(Clone)]
struct Entry {
    spec: Arc<ObjectSpec>,
    object: Object,
    document: Arc<str>,
    origin: Origin,
}

/// Where an object in force comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Its document.
    Written,
    /// The state folder, and nobody knows in which document it was written.
    Stored,
    /// A template that stands in its document. Nobody wrote it, and nobody stores it.
    Made,
}

/// An object as written. Compared to find out what an edit left alone.
#[derive(Clone, Debug, PartialEq)]
enum ObjectSpec {
    Listener(ListenerSpec),
    Route(Box<RouteSpec>),
    Upstream(Box<UpstreamSpec>),
    Release(Box<ReleaseSpec>),
    Certificate(Box<CertificateSpec>),
    AcmeAccount(Box<AcmeAccountSpec>),
}

/// An object as it was written.
#[derive(Clone)]
pub struct Named {
    key: Key,
    entry: Arc<Entry>,
}

impl Named {
    /// Kind and name.
    pub fn key(&self) -> (Kind, Arc<str>) {
        self.key.clone()
    }

    /// Where it was written.
    pub fn document(&self) -> &str {
        &self.entry.document
    }

    /// Whether two objects were written with the same meaning.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.entry.spec == other.entry.spec
    }

    /// The object as JSON on one line, without what need not be written.
    pub fn json(&self) -> String {
        let (value, usual) = match &*self.entry.spec {
            ObjectSpec::Listener(spec) => (serde_json::to_value(spec), None),
            ObjectSpec::Route(spec) => (serde_json::to_value(spec), serde_json::to_value(RouteSpec::default()).ok()),
            ObjectSpec::Upstream(spec) => {
                (serde_json::to_value(spec), serde_json::to_value(UpstreamSpec::default()).ok())
            }
            ObjectSpec::Release(spec) => (serde_json::to_value(spec), None),
            ObjectSpec::Certificate(spec) => {
                (serde_json::to_value(spec), serde_json::to_value(CertificateSpec::default()).ok())
            }
            ObjectSpec::AcmeAccount(spec) => {
                (serde_json::to_value(spec), serde_json::to_value(AcmeAccountSpec::default()).ok())
            }
        };
        let mut value = value.unwrap_or_default();
        if let (Some(fields), Some(usual)) = (value.as_object_mut(), &usual) {
            fields.retain(|name, value| usual.get(name) != Some(value));
        }
        drop_nulls(&mut value);
        value.to_string()
    }
}

fn drop_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.values_mut().for_each(drop_nulls);
            fields.retain(|_, value| !value.is_null());
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

impl Catalog {
    /// Starts with the rules of a stored snapshot.
    pub fn restored(spec: &Spec, document: &Arc<str>) -> Self {
        let mut specs = Vec::new();
        specs.extend(spec.listeners.iter().map(|(name, spec)| (name, ObjectSpec::Listener(spec.clone()))));
        specs.extend(spec.routes.iter().map(|(name, spec)| (name, ObjectSpec::Route(Box::new(spec.clone())))));
        specs.extend(spec.upstreams.iter().map(|(name, spec)| (name, ObjectSpec::Upstream(Box::new(spec.clone())))));
        specs.extend(spec.releases.iter().map(|(name, spec)| (name, ObjectSpec::Release(Box::new(spec.clone())))));
        let certificates = spec.certificates.iter();
        specs.extend(certificates.map(|(name, spec)| (name, ObjectSpec::Certificate(Box::new(spec.clone())))));
        let accounts = spec.acme_accounts.iter();
        specs.extend(accounts.map(|(name, spec)| (name, ObjectSpec::AcmeAccount(Box::new(spec.clone())))));
        let (mut changes, mut findings) = (Vec::new(), Findings::default());
        for (name, spec) in specs {
            let mut errors = Vec::new();
            if let Some(object) = spec.validate(name, &mut errors) {
                let key = (spec.kind(), name.as_str().into());
                let entry =
                    Entry { spec: Arc::new(spec), object, document: Arc::clone(document), origin: Origin::Stored };
                changes.push((key, Some(Arc::new(entry))));
            }
            findings.extend(errors.into_iter().map(|error| unplaced(document, error.at, error.reason)));
        }
        let mut catalog = Self::default();
        catalog.take(changes, findings);
        catalog
    }

    /// Takes a new revision of all texts of all sources, in the order of the sources, and parses only what has changed.
    /// A text that was parsed already may be given as a document too. Returns whether the rules in force changed.
    pub fn update_texts(&mut self, texts: &Texts, mut parsed: Option<Document>) -> bool {
        let entries = &self.entries;
        let touched = self.claims.update(texts, |text| {
            let document = parsed.take_if(|document| document.is_of(text));
            Reading::new(document.unwrap_or_else(|| Document::parse(text)), entries)
        });
        self.settle(touched)
    }

    /// From the next update on, this is how far releases are, and what of them was accepted.
    pub fn follow(&mut self, records: &Records) {
        self.unsettled.extend(self.guard.follow(records));
    }

    /// Whoever is refused an edit is also told what this one knows of its users.
    #[must_use]
    pub fn asking(mut self, witness: Witness) -> Self {
        self.guard.ask(witness);
        self
    }

    /// The rules in force.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// What is wrong with what was written.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The objects in force as they were written.
    pub fn written(&self) -> Written {
        Written(self.entries.clone())
    }

    /// How many routes are in force only because they were stored.
    pub fn stored_routes(&self) -> usize {
        let routes = self.entries.iter().filter(|((kind, _), _)| *kind == Kind::Route);
        routes.filter(|(_, entry)| entry.origin == Origin::Stored).count()
    }

    /// The objects in force, as they were written.
    pub fn objects(&self) -> impl Iterator<Item = Named> {
        let written = self.entries.iter().filter(|(_, entry)| entry.origin != Origin::Made);
        written.map(|(key, entry)| Named { key: key.clone(), entry: Arc::clone(entry) })
    }

    /// The objects that are right by themselves, whatever they refer to.
    pub fn readable(&self) -> impl Iterator<Item = Named> {
        let objects = self.claims.readings().flat_map(|reading| &reading.objects);
        objects
            .filter_map(|(key, written)| Some(Named { key: key.clone(), entry: Arc::clone(written.entry.as_ref()?) }))
    }

    /// The rules in force as a spec.
    pub fn spec(&self) -> Spec {
        self.written().spec()
    }

    /// A problem of an object in force that only shows in use, at the place of a field or, if that is empty, of the object.
    pub fn problem(&mut self, kind: Kind, name: &str, field: &str, reason: String) -> Problem {
        let document = match self.entries.get(&(kind, name.into())) {
            Some(entry) => Arc::clone(&entry.document),
            None => "".into(),
        };
        let dot = if field.is_empty() { "" } else { "." };
        self.problem_at(&document, format!("{}.{name}{dot}{field}", kind.map_name()), reason)
    }

    /// The same for a path of a document; the empty path is the document as such.
    pub fn problem_at(&mut self, document: &Arc<str>, path: String, reason: String) -> Problem {
        if path.is_empty() {
            return unplaced(document, path, reason);
        }
        let mut places = Places::new(&self.claims, std::mem::take(&mut self.placed));
        let problem = places.problem(document, path, reason);
        self.placed = places.known;
        problem
    }

    fn settle(&mut self, touched: Touched) -> bool {
        let mut keys = touched.keys;
        keys.append(&mut self.unsettled);
        if touched.all {
            keys.extend(self.entries.keys().cloned());
        }
        self.placed.retain(|(document, _), _| !touched.documents.contains(document));
        let mut findings = self.claims.findings(&self.entries);
        let mut changes = Vec::new();
        for key in keys {
            let claim = self.claims.resolve(&key, &self.entries, self.expansion.made(&key), &mut findings);
            if claim.is_contested {
                self.unsettled.insert(key.clone());
            }
            let entry = claim.entry.map(|entry| self.guarded(&key, entry, &mut findings));
            changes.push((key, entry));
        }
        self.take(changes, findings)
    }

    /// The entry; or if that is an edit that takes users back, the release as it was accepted.
    fn guarded(&mut self, key: &Key, entry: Arc<Entry>, findings: &mut Findings) -> Arc<Entry> {
        let Some(Held { entry, refusal, said }) = self.guard.holds(key, &entry, &self.entries) else { return entry };
        let path = format!("{}.{}.{}", key.0.map_name(), key.1, refusal.cause.at);
        findings.add(self.problem_at(&entry.document, path, format!("{refusal}{said}")));
        // It is accepted as soon as nobody can lose by it.
        self.unsettled.insert(key.clone());
        entry
    }

    /// Puts objects in force, except for what refers to nothing. Returns whether the rules changed.
    fn take(&mut self, changes: Vec<(Key, Option<Arc<Entry>>)>, mut findings: Findings) -> bool {
        let (mut entries, mut rules) = (self.entries.clone(), self.rules.clone());
        let (mut check, mut gone) = (BTreeSet::new(), Vec::new());
        let mut concerned = BTreeSet::new();
        for (key, entry) in changes {
            match entry {
                Some(entry) if self.is_in_force(&key, &entry) => drop(entries.insert(key.clone(), entry)),
                Some(entry) => {
                    let before = self.entries.get(&key).filter(|before| before.object.is_template());
                    if before.is_some() || entry.object.is_template() {
                        check.extend(references::users(&rules, &key));
                    }
                    rules.insert(entry.object.clone());
                    entries.insert(key.clone(), entry);
                    check.insert(key.clone());
                }
                None if entries.remove(&key).is_some() => {
                    rules.remove(key.0, &key.1);
                    gone.push(key.clone());
                }
                None => {}
            }
            concerned.insert(key);
        }
        check.extend(gone.iter().flat_map(|key| references::users(&rules, key)));
        let mut places = Places::new(&self.claims, std::mem::take(&mut self.placed));
        let mut unsettled = BTreeSet::new();
        Mending {
            before: &self.entries,
            entries: &mut entries,
            rules: &mut rules,
            places: &mut places,
            findings: &mut findings,
            check,
            unsettled: &mut unsettled,
        }
        .run();
        self.placed = places.known;
        concerned.extend(unsettled.iter().cloned());
        self.unsettled.append(&mut unsettled);
        let is_same = |key: &Key| match (self.entries.get(key), entries.get(key)) {
            (Some(before), Some(now)) => before.object.is_same(&now.object),
            (before, now) => before.is_none() && now.is_none(),
        };
        let changed = !concerned.iter().all(is_same);
        if changed {
            self.rules = rules;
        }
        self.entries = entries;
        self.problems = Arc::new(findings.finish());
        changed
    }

    fn is_in_force(&self, key: &Key, entry: &Entry) -> bool {
        self.entries.get(key).is_some_and(|before| before.object.is_same(&entry.object))
    }
}

impl Written {
    /// The objects as one spec.
    pub fn spec(&self) -> Spec {
        let mut spec = Spec::default();
        for ((_, name), entry) in self.0.iter().filter(|(_, entry)| entry.origin != Origin::Made) {
            let name = name.to_string();
            match &*entry.spec {
                ObjectSpec::Listener(listener) => drop(spec.listeners.insert(name, listener.clone())),
                ObjectSpec::Route(route) => drop(spec.routes.insert(name, (**route).clone())),
                ObjectSpec::Upstream(upstream) => drop(spec.upstreams.insert(name, (**upstream).clone())),
                ObjectSpec::Release(release) => drop(spec.releases.insert(name, (**release).clone())),
                ObjectSpec::Certificate(certificate) => {
                    drop(spec.certificates.insert(name, (**certificate).clone()));
                }
                ObjectSpec::AcmeAccount(account) => drop(spec.acme_accounts.insert(name, (**account).clone())),
            }
        }
        spec
    }
}

impl ObjectSpec {
    fn kind(&self) -> Kind {
        match self {
            Self::Listener(_) => Kind::Listener,
            Self::Route(_) => Kind::Route,
            Self::Upstream(_) => Kind::Upstream,
            Self::Release(_) => Kind::Release,
            Self::Certificate(_) => Kind::Certificate,
            Self::AcmeAccount(_) => Kind::AcmeAccount,
        }
    }

    fn validate(&self, name: &str, errors: &mut Vec<RuleError>) -> Option<Object> {
        match self {
            Self::Listener(spec) => Listener::new(name, spec, errors).map(Arc::new).map(Object::Listener),
            Self::Route(spec) => Object::route(name, spec, errors),
            Self::Upstream(spec) => Object::upstream(name, spec, errors),
            Self::Release(spec) => Release::new(name, spec, errors).map(Arc::new).map(Object::Release),
            Self::Certificate(spec) => Certificate::new(name, spec, errors).map(Arc::new).map(Object::Certificate),
            Self::AcmeAccount(spec) => AcmeAccount::new(name, spec, errors).map(Arc::new).map(Object::AcmeAccount),
        }
    }
}

/// Finds where in a text a path leads. Trees are large and such problems rare, so texts are parsed again for them, once.
struct Places<'r> {
    claims: &'r Claims,
    trees: HashMap<Arc<str>, Option<Node>>,
    /// Problems that were placed before.
    known: Placed,
}

impl<'r> Places<'r> {
    fn new(claims: &'r Claims, known: Placed) -> Self {
        Self { claims, trees: HashMap::new(), known }
    }

    fn problem(&mut self, document: &Arc<str>, path: String, reason: String) -> Problem {
        let place = (Arc::clone(document), path);
        if let Some(known) = self.known.get(&place) {
            return Problem { reason, ..known.clone() };
        }
        let problem = self.find(document, &place.1, reason);
        self.known.insert(place, problem.clone());
        problem
    }

    fn find(&mut self, document: &Arc<str>, path: &str, reason: String) -> Problem {
        let text = self.claims.text(document);
        let tree = self.trees.entry(Arc::clone(document)).or_insert_with(|| Document::parse(text?).tree.ok());
        let problem = match tree {
            Some(root) => root.problem(document, path, reason),
            None => unplaced(document, path.to_owned(), reason),
        };
        Problem { revision: text.and_then(Text::revision), ..problem }
    }
}

fn unplaced(source: &Arc<str>, path: String, reason: String) -> Problem {
    Problem { source: Arc::clone(source), line: 0, column: 0, path, reason, revision: None }
}

#[cfg(test)]
mod tests;
