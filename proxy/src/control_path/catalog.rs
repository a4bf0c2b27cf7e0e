//! The rules in force: per object the newest version that is right.
//!
//! A document that cannot be read keeps all its objects as they were; an object that is wrong keeps its last good
//! version; a reference to what is gone keeps that alive. So one bad edit never takes anything else with it, and
//! every deviation from what is written is a [`Problem`] that stays visible until it is mended.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use routing_rules::RuleError;
use routing_rules::rules::{Kind, Listener, Object, Release, Route, RuleSet, Upstream};
use routing_rules::spec::{ListenerSpec, ReleaseSpec, RouteSpec, Spec, UpstreamSpec};
use serde::de::DeserializeOwned;

use super::decode::{self, Node, Problem};
use super::source::Text;

/// The names of the maps that hold rules.
pub const RULE_MAPS: [&str; 4] = ["listeners", "routes", "upstreams", "releases"];

/// One text from a source, read as a tree.
pub struct Document {
    /// File name or key, as messages show it.
    pub name: Arc<str>,
    /// The tree, or why there is none.
    pub tree: Result<Node, Problem>,
    /// Whether settings may stand in it besides rules.
    pub is_main: bool,
}

impl Document {
    /// Parses a text.
    pub fn parse(text: &Text) -> Self {
        let name = &text.name;
        let tree = match &text.content {
            Ok(content) => decode::parse(name, content),
            Err(reason) => Err(problem_of_whole(name, reason.clone())),
        };
        let tree = tree.and_then(|root| {
            let is_mapping = root.entries().is_some();
            if is_mapping {
                Ok(root)
            } else {
                Err(root.problem(name, "", "expected a mapping with routes, upstreams and so on"))
            }
        });
        Self { name: Arc::clone(name), tree, is_main: text.is_main }
    }
}

/// The rules in force and what is wrong with what was written.
#[derive(Default)]
pub struct Catalog {
    entries: BTreeMap<(Kind, String), Entry>,
    rules: RuleSet,
    problems: Vec<Problem>,
}

/// One object in force.
#[derive(Clone)]
struct Entry {
    spec: ObjectSpec,
    object: Object,
    document: Arc<str>,
}

/// An object as written. Compared to find out what an edit left alone.
#[derive(Clone, Debug, PartialEq)]
enum ObjectSpec {
    Listener(ListenerSpec),
    Route(Box<RouteSpec>),
    Upstream(UpstreamSpec),
    Release(Box<ReleaseSpec>),
}

/// What one revision of all documents says, before it is held against what is in force.
#[derive(Default)]
struct Reading {
    entries: BTreeMap<(Kind, String), Entry>,
    /// Objects that are written, but wrongly.
    wrong: Vec<(Kind, String)>,
    /// Documents that could not be read at all.
    unreadable: Vec<Arc<str>>,
    problems: Vec<Problem>,
    trees: HashMap<Arc<str>, Node>,
}

impl Catalog {
    /// Starts with the rules of a stored snapshot.
    pub fn restored(spec: &Spec, document: &Arc<str>) -> Self {
        let mut reading = Reading::default();
        let mut entries = Vec::new();
        entries.extend(spec.listeners.iter().map(|(name, spec)| (name, ObjectSpec::Listener(spec.clone()))));
        entries.extend(spec.routes.iter().map(|(name, spec)| (name, ObjectSpec::Route(Box::new(spec.clone())))));
        entries.extend(spec.upstreams.iter().map(|(name, spec)| (name, ObjectSpec::Upstream(spec.clone()))));
        entries.extend(spec.releases.iter().map(|(name, spec)| (name, ObjectSpec::Release(Box::new(spec.clone())))));
        for (name, spec) in entries {
            let mut errors = Vec::new();
            if let Some(object) = spec.validate(name, &mut errors) {
                let entry = Entry { spec, object, document: Arc::clone(document) };
                reading.entries.insert((entry.spec.kind(), name.clone()), entry);
            }
            reading.problems.extend(errors.into_iter().map(|error| unplaced(document, error)));
        }
        let mut catalog = Self::default();
        catalog.take(reading);
        catalog
    }

    /// Takes a new revision of all documents of all sources, in the order of the sources.
    pub fn update(&mut self, documents: Vec<Document>) {
        let mut reading = Reading::default();
        for document in documents {
            reading.read(document, &self.entries);
        }
        self.take(reading);
    }

    /// The rules in force.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// What is wrong with what was written.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Where an object in force was written.
    pub fn document(&self, kind: Kind, name: &str) -> Arc<str> {
        let entry = self.entries.get(&(kind, name.to_owned()));
        entry.map_or_else(|| "".into(), |entry| Arc::clone(&entry.document))
    }

    /// The rules in force as a spec, to be stored.
    pub fn spec(&self) -> Spec {
        let mut spec = Spec::default();
        for ((_, name), entry) in &self.entries {
            let name = name.clone();
            match &entry.spec {
                ObjectSpec::Listener(listener) => drop(spec.listeners.insert(name, listener.clone())),
                ObjectSpec::Route(route) => drop(spec.routes.insert(name, (**route).clone())),
                ObjectSpec::Upstream(upstream) => drop(spec.upstreams.insert(name, upstream.clone())),
                ObjectSpec::Release(release) => drop(spec.releases.insert(name, (**release).clone())),
            }
        }
        spec
    }

    fn take(&mut self, reading: Reading) {
        let Reading { mut entries, wrong, unreadable, mut problems, trees } = reading;
        for key in wrong {
            if let Some(last_good) = self.entries.get(&key) {
                entries.entry(key).or_insert_with(|| last_good.clone());
            }
        }
        for (key, last_good) in &self.entries {
            if unreadable.contains(&last_good.document) {
                entries.entry(key.clone()).or_insert_with(|| last_good.clone());
            }
        }
        let mut rules = self.rules.clone();
        for key in self.entries.keys().filter(|key| !entries.contains_key(key)) {
            rules.remove(key.0, &key.1);
        }
        for (key, entry) in &entries {
            let unchanged = self.entries.get(key).is_some_and(|before| before.object.is_same(&entry.object));
            if !unchanged {
                rules.insert(entry.object.clone());
            }
        }
        self.mend_references(&mut entries, &mut rules, &trees, &mut problems);
        problems.sort_by(|a, b| (&a.source, a.line, a.column).cmp(&(&b.source, b.line, b.column)));
        self.entries = entries;
        self.rules = rules;
        self.problems = problems;
    }

    /// Every reference must lead somewhere. What a reference needs and had before is kept; an object whose
    /// reference never led anywhere goes back to its last good version, or waits.
    fn mend_references(
        &self,
        entries: &mut BTreeMap<(Kind, String), Entry>,
        rules: &mut RuleSet,
        trees: &HashMap<Arc<str>, Node>,
        problems: &mut Vec<Problem>,
    ) {
        // Each round settles at least one object, and taking one out can only concern those that refer to it.
        loop {
            let dangling = rules.dangling();
            if dangling.is_empty() {
                return;
            }
            for reference in dangling {
                let from = (reference.from, reference.from_name.to_string());
                let to = (reference.to, reference.to_name.to_string());
                let Some(entry) = entries.get(&from) else { continue };
                let mut problem = placed(&entry.document, trees, reference.error());
                if let Some(kept) = self.entries.get(&to) {
                    problem.reason.push_str("; it was removed but is still used, and stays as it was");
                    rules.insert(kept.object.clone());
                    entries.insert(to, kept.clone());
                } else if let Some(before) =
                    self.entries.get(&from).filter(|before| !before.object.is_same(&entry.object))
                {
                    problem.reason.push_str("; the last good version stays in force");
                    rules.insert(before.object.clone());
                    entries.insert(from, before.clone());
                } else {
                    problem.reason.push_str("; not in force until there is one");
                    rules.remove(from.0, &from.1);
                    entries.remove(&from);
                }
                problems.push(problem);
            }
        }
    }
}

impl Reading {
    fn read(&mut self, document: Document, before: &BTreeMap<(Kind, String), Entry>) {
        let source = &document.name;
        let root = match document.tree {
            Ok(root) => root,
            Err(problem) => {
                self.problems.push(problem);
                self.unreadable.push(document.name);
                return;
            }
        };
        if !document.is_main {
            self.refuse_unknown_maps(source, &root);
        }
        self.read_map::<ListenerSpec>(source, &root, Kind::Listener, before, ObjectSpec::Listener);
        self.read_map::<RouteSpec>(source, &root, Kind::Route, before, |spec| ObjectSpec::Route(Box::new(spec)));
        self.read_map::<UpstreamSpec>(source, &root, Kind::Upstream, before, ObjectSpec::Upstream);
        self.read_map::<ReleaseSpec>(source, &root, Kind::Release, before, |spec| ObjectSpec::Release(Box::new(spec)));
        self.trees.insert(Arc::clone(source), root);
    }

    fn refuse_unknown_maps(&mut self, source: &Arc<str>, root: &Node) {
        for (key, _) in root.entries().into_iter().flatten() {
            if !RULE_MAPS.contains(&key) {
                let (line, column) = root.key_position(key).unwrap_or_default();
                let reason = format!("unknown field; a rule file has {}", RULE_MAPS.join(", "));
                self.problems.push(Problem { source: Arc::clone(source), line, column, path: key.to_owned(), reason });
            }
        }
    }

    fn read_map<S: DeserializeOwned>(
        &mut self,
        source: &Arc<str>,
        root: &Node,
        kind: Kind,
        before: &BTreeMap<(Kind, String), Entry>,
        wrap: impl Fn(S) -> ObjectSpec,
    ) {
        let Some(map) = root.get(kind.map_name()) else { return };
        if map.is_null() {
            return;
        }
        let Some(objects) = map.entries() else {
            self.problems.push(root.problem(source, kind.map_name(), "expected a mapping from names"));
            self.unreadable.push(Arc::clone(source));
            return;
        };
        for (name, node) in objects {
            let key = (kind, name.to_owned());
            let path = format!("{}.{name}", kind.map_name());
            if let Some(first) = self.entries.get(&key).filter(|first| first.document != *source) {
                let reason = format!("already defined in {}, which comes first and wins", first.document);
                self.problems.push(root.problem(source, &path, reason));
                continue;
            }
            let Some(spec) = decode::decode::<S>(source, node, &path, &mut self.problems).map(&wrap) else {
                self.wrong.push(key);
                continue;
            };
            let known = before.get(&key).filter(|entry| entry.spec == spec);
            let mut errors = Vec::new();
            let object = known.map(|entry| entry.object.clone()).or_else(|| spec.validate(name, &mut errors));
            self.problems.extend(errors.iter().map(|error| root.problem(source, &error.at, error.reason.clone())));
            match object {
                Some(object) => drop(self.entries.insert(key, Entry { spec, object, document: Arc::clone(source) })),
                None => self.wrong.push(key),
            }
        }
    }
}

impl ObjectSpec {
    fn kind(&self) -> Kind {
        match self {
            Self::Listener(_) => Kind::Listener,
            Self::Route(_) => Kind::Route,
            Self::Upstream(_) => Kind::Upstream,
            Self::Release(_) => Kind::Release,
        }
    }

    fn validate(&self, name: &str, errors: &mut Vec<RuleError>) -> Option<Object> {
        match self {
            Self::Listener(spec) => {
                Listener::new(name, spec, errors).map(|listener| Object::Listener(Arc::new(listener)))
            }
            Self::Route(spec) => Route::new(name, spec, errors).map(|route| Object::Route(Arc::new(route))),
            Self::Upstream(spec) => {
                Upstream::new(name, spec, errors).map(|upstream| Object::Upstream(Arc::new(upstream)))
            }
            Self::Release(spec) => Release::new(name, spec, errors).map(|release| Object::Release(Arc::new(release))),
        }
    }
}

fn placed(document: &Arc<str>, trees: &HashMap<Arc<str>, Node>, error: RuleError) -> Problem {
    match trees.get(document) {
        Some(root) => root.problem(document, &error.at, error.reason),
        None => unplaced(document, error),
    }
}

fn problem_of_whole(source: &Arc<str>, reason: String) -> Problem {
    Problem { source: Arc::clone(source), line: 0, column: 0, path: String::new(), reason }
}

fn unplaced(document: &Arc<str>, error: RuleError) -> Problem {
    Problem { source: Arc::clone(document), line: 0, column: 0, path: error.at, reason: error.reason }
}
