//! The rules in force: per object the newest version that is right.
//!
//! A document that cannot be read keeps all its objects as they were; an object that is wrong keeps its last good
//! version; a reference to what is gone keeps that alive. So one bad edit never takes anything else with it, and
//! every deviation from what is written is a [`Problem`] that stays visible until it is mended.

mod reading;

mod findings;

mod references;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use routing_rules::RuleError;
use routing_rules::rules::{Kind, Listener, Object, Release, Route, RuleSet, Upstream};
use routing_rules::spec::{ListenerSpec, ReleaseSpec, RouteSpec, Spec, UpstreamSpec};

use super::decode::{self, Node, Problem};
use super::source::Text;
use findings::Findings;
use reading::Reading;
use references::Mending;

/// One text from a source, read as a tree.
pub struct Document {
    /// File name or key, as messages show it.
    pub name: Arc<str>,
    /// The tree, or why there is none.
    pub tree: Result<Node, Problem>,
    /// Whether settings may stand in it besides rules.
    pub is_main: bool,
    text: Text,
}

impl Document {
    /// Parses a text.
    pub fn parse(text: &Text) -> Self {
        let name = &text.name;
        let tree = match &text.content {
            Ok(content) => decode::parse(name, content),
            Err(reason) => Err(unplaced(name, String::new(), reason.clone())),
        };
        let tree = tree.and_then(|root| {
            let is_mapping = root.entries().is_some();
            match is_mapping {
                true => Ok(root),
                false => Err(root.problem(name, "", "expected a mapping with routes, upstreams and so on")),
            }
        });
        Self { name: Arc::clone(name), tree, is_main: text.is_main, text: text.clone() }
    }

    /// Whether this is what a text says.
    pub(super) fn is_of(&self, text: &Text) -> bool {
        self.text == *text
    }
}

/// The rules in force and what is wrong with what was written.
#[derive(Default)]
pub struct Catalog {
    /// What the texts say, in the order of the sources. Kept so that a text that did not change is not read again.
    readings: Vec<Reading>,
    entries: Arc<Entries>,
    rules: RuleSet,
    problems: Vec<Problem>,
}

/// The objects in force as they were written, to be stored. Costs nothing to take.
#[derive(Clone, Default)]
pub struct Written(Arc<Entries>);

type Entries = BTreeMap<Key, Arc<Entry>>;

type Key = (Kind, Arc<str>);

/// Which document decides about an object, and what it says, if that is anything.
type Claims = BTreeMap<Key, (Arc<str>, Option<Arc<Entry>>)>;

/// One object in force.
#[derive(Clone)]
struct Entry {
    spec: Arc<ObjectSpec>,
    object: Object,
    document: Arc<str>,
    /// It comes from the state folder, and nobody knows in which document it was written.
    is_stored: bool,
}

/// An object as written. Compared to find out what an edit left alone.
#[derive(Clone, Debug, PartialEq)]
enum ObjectSpec {
    Listener(ListenerSpec),
    Route(Box<RouteSpec>),
    Upstream(UpstreamSpec),
    Release(Box<ReleaseSpec>),
}

impl Catalog {
    /// Starts with the rules of a stored snapshot.
    pub fn restored(spec: &Spec, document: &Arc<str>) -> Self {
        let mut specs = Vec::new();
        specs.extend(spec.listeners.iter().map(|(name, spec)| (name, ObjectSpec::Listener(spec.clone()))));
        specs.extend(spec.routes.iter().map(|(name, spec)| (name, ObjectSpec::Route(Box::new(spec.clone())))));
        specs.extend(spec.upstreams.iter().map(|(name, spec)| (name, ObjectSpec::Upstream(spec.clone()))));
        specs.extend(spec.releases.iter().map(|(name, spec)| (name, ObjectSpec::Release(Box::new(spec.clone())))));
        let (mut entries, mut findings) = (Entries::new(), Findings::default());
        for (name, spec) in specs {
            let mut errors = Vec::new();
            if let Some(object) = spec.validate(name, &mut errors) {
                let key = (spec.kind(), name.as_str().into());
                let entry = Entry { spec: Arc::new(spec), object, document: Arc::clone(document), is_stored: true };
                entries.insert(key, Arc::new(entry));
            }
            findings.extend(errors.into_iter().map(|error| unplaced(document, error.at, error.reason)));
        }
        let mut catalog = Self::default();
        catalog.take(entries, findings);
        catalog
    }

    /// Takes a new revision of all documents of all sources, in the order of the sources.
    pub fn update(&mut self, documents: Vec<Document>) {
        self.readings = documents.into_iter().map(|document| Reading::new(document, &self.entries)).collect();
        self.settle();
    }

    /// Takes a new revision of all texts of all sources, in the order of the sources, and parses only what has changed.
    /// A text that was parsed already may be given as a document too. Returns whether the rules in force changed.
    pub fn update_texts(&mut self, texts: &[Text], mut parsed: Option<Document>) -> bool {
        let before = std::mem::take(&mut self.readings).into_iter();
        let mut before: HashMap<Arc<str>, Reading> =
            before.map(|reading| (Arc::clone(&reading.text.name), reading)).collect();
        let mut reading_of = |text: &Text| {
            before.remove(&text.name).filter(|reading| reading.text == *text).unwrap_or_else(|| {
                let document = parsed.take_if(|document| document.is_of(text));
                Reading::new(document.unwrap_or_else(|| Document::parse(text)), &self.entries)
            })
        };
        self.readings = texts.iter().map(&mut reading_of).collect();
        self.settle()
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
        Written(Arc::clone(&self.entries))
    }

    /// The rules in force as a spec.
    pub fn spec(&self) -> Spec {
        self.written().spec()
    }

    /// A problem of an object in force that only shows in use, at the place of a field.
    pub fn problem(&self, kind: Kind, name: &str, field: &str, reason: String) -> Problem {
        let document = match self.entries.get(&(kind, name.into())) {
            Some(entry) => Arc::clone(&entry.document),
            None => "".into(),
        };
        Places::new(&self.readings).problem(&document, format!("{}.{name}.{field}", kind.map_name()), reason)
    }

    fn settle(&mut self) -> bool {
        let (entries, findings) = self.merge();
        self.take(entries, findings)
    }

    /// Holds what the texts say against each other and against what is in force. The first document that names an
    /// object wins, also when what it says is wrong or cannot be read now: otherwise a slip of the pen in one file
    /// would put another file's version in force.
    fn merge(&self) -> (Entries, Findings) {
        let mut claims = Claims::new();
        let mut findings = Findings::default();
        for reading in &self.readings {
            let document = &reading.text.name;
            let first = findings.count();
            findings.extend(reading.problems.iter().cloned());
            for (key, written) in &reading.objects {
                if let Some((first, _)) = claims.get(key) {
                    let reason = format!("already defined in {first}, which comes first and wins");
                    findings.add(written.problem(document, key, reason));
                    continue;
                }
                let entry = written.entry.clone().or_else(|| self.last_good(key, document));
                if let (None, Some(problem)) = (&entry, written.first_problem) {
                    findings.blame(key.clone(), first + problem);
                }
                claims.insert(key.clone(), (Arc::clone(document), entry));
            }
            if reading.keeps_last {
                self.keep(&mut claims, |entry| reading.covers(entry));
            }
        }
        if self.readings.iter().any(|reading| reading.keeps_last) {
            self.keep(&mut claims, |entry| entry.is_stored);
        }
        let entries = claims.into_iter().filter_map(|(key, (_, entry))| Some((key, entry?))).collect();
        (entries, findings)
    }

    fn keep(&self, claims: &mut Claims, which: impl Fn(&Entry) -> bool) {
        for (key, entry) in self.entries.iter().filter(|(_, entry)| which(entry)) {
            claims.entry(key.clone()).or_insert_with(|| (Arc::clone(&entry.document), Some(Arc::clone(entry))));
        }
    }

    /// The version in force, from now on that of the document that has just failed to replace it.
    fn last_good(&self, key: &Key, document: &Arc<str>) -> Option<Arc<Entry>> {
        let entry = self.entries.get(key)?;
        let is_at_home = entry.document == *document && !entry.is_stored;
        Some(match is_at_home {
            true => Arc::clone(entry),
            false => Arc::new(Entry { document: Arc::clone(document), is_stored: false, ..Entry::clone(entry) }),
        })
    }

    /// Puts objects in force, except for what refers to nothing. Returns whether the rules changed.
    fn take(&mut self, mut entries: Entries, mut findings: Findings) -> bool {
        let mut rules = self.rules.clone();
        for key in self.entries.keys().filter(|key| !entries.contains_key(*key)) {
            rules.remove(key.0, &key.1);
        }
        for (_, entry) in entries.iter().filter(|(key, entry)| !self.is_in_force(key, entry)) {
            rules.insert(entry.object.clone());
        }
        Mending {
            before: &self.entries,
            entries: &mut entries,
            rules: &mut rules,
            places: &mut Places::new(&self.readings),
            findings: &mut findings,
        }
        .run();
        let changed =
            entries.len() != self.entries.len() || entries.iter().any(|(key, entry)| !self.is_in_force(key, entry));
        if changed {
            self.rules = rules;
        }
        self.entries = Arc::new(entries);
        self.problems = findings.finish();
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
        for ((_, name), entry) in self.0.iter() {
            let name = name.to_string();
            match &*entry.spec {
                ObjectSpec::Listener(listener) => drop(spec.listeners.insert(name, listener.clone())),
                ObjectSpec::Route(route) => drop(spec.routes.insert(name, (**route).clone())),
                ObjectSpec::Upstream(upstream) => drop(spec.upstreams.insert(name, upstream.clone())),
                ObjectSpec::Release(release) => drop(spec.releases.insert(name, (**release).clone())),
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
        }
    }

    fn validate(&self, name: &str, errors: &mut Vec<RuleError>) -> Option<Object> {
        match self {
            Self::Listener(spec) => Listener::new(name, spec, errors).map(Arc::new).map(Object::Listener),
            Self::Route(spec) => Route::new(name, spec, errors).map(Arc::new).map(Object::Route),
            Self::Upstream(spec) => Upstream::new(name, spec, errors).map(Arc::new).map(Object::Upstream),
            Self::Release(spec) => Release::new(name, spec, errors).map(Arc::new).map(Object::Release),
        }
    }
}

/// Finds where in a text a path leads. Trees are large and such problems rare, so texts are parsed again for them.
struct Places<'r> {
    readings: &'r [Reading],
    trees: HashMap<Arc<str>, Option<Node>>,
}

impl<'r> Places<'r> {
    fn new(readings: &'r [Reading]) -> Self {
        Self { readings, trees: HashMap::new() }
    }

    fn problem(&mut self, document: &Arc<str>, path: String, reason: String) -> Problem {
        let tree = self.trees.entry(Arc::clone(document)).or_insert_with(|| {
            let reading = self.readings.iter().find(|reading| reading.text.name == *document)?;
            Document::parse(&reading.text).tree.ok()
        });
        match tree {
            Some(root) => root.problem(document, &path, reason),
            None => unplaced(document, path, reason),
        }
    }
}

fn unplaced(source: &Arc<str>, path: String, reason: String) -> Problem {
    Problem { source: Arc::clone(source), line: 0, column: 0, path, reason }
}

#[cfg(test)]
mod tests;
