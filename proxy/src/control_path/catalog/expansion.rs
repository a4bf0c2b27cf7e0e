//! What templates make: an upstream for each environment, and a route for each that a template of routes takes.
//!
//! They are objects like any other, only that nobody wrote them: an object of the same name that somebody did write wins. What
//! neither its template nor its environment changed stays the very same object, so that one environment that comes touches no
//! other. Of two environments with one host the one that came first has it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use imbl::OrdMap;
use routing_rules::rules::{
    Environment, HostPattern, Kind, Name, Object, Route, RouteTemplate, TemplateSet, Upstream, UpstreamTemplate,
};

use super::claims::Touched;
use super::{Catalog, Entries, Entry, Key, ObjectSpec, Origin};
use crate::control_path::decode::Problem;

/// What all templates make. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Expansion {
    /// By the name of the template of upstreams.
    sets: OrdMap<Name, Arc<Set>>,
    made: Entries,
    /// Templates of upstreams that would make what another one has made, and why that is left out.
    collisions: Vec<(Name, String)>,
}

/// What one template of upstreams makes, with its routes.
struct Set {
    templates: TemplateSet,
    live: Arc<[Environment]>,
    made: HashMap<Environment, Arc<Made>>,
    /// Hosts that two environments have: the template of routes, and why one of them has no route.
    conflicts: Vec<(Name, String)>,
}

/// What one environment has.
struct Made {
    upstream: (Key, Arc<Entry>),
    routes: Vec<MadeRoute>,
    /// Templates of routes that make none with these values, and why.
    wrong: Vec<(Name, String)>,
}

struct MadeRoute {
    template: Name,
    key: Key,
    hosts: Vec<HostPattern>,
    entry: Arc<Entry>,
}

impl Expansion {
    /// What templates make under this name.
    pub(super) fn made(&self, key: &Key) -> Option<&Arc<Entry>> {
        self.made.get(key)
    }
}

impl Catalog {
    /// Makes what the templates in force make of these environments, in the order in which they came. Returns whether the rules
    /// in force changed.
    pub fn expand(&mut self, mut live: impl FnMut(&UpstreamTemplate) -> Arc<[Environment]>) -> bool {
        let mut sets = OrdMap::new();
        for templates in self.rules.template_sets() {
            let name = templates.upstream.name().clone();
            let document = self.entries.get(&(Kind::Upstream, name.as_str().into()));
            let document = document.map_or_else(|| "".into(), |entry| Arc::clone(&entry.document));
            let live = live(&templates.upstream);
            let set = Set::next(self.expansion.sets.get(&name), templates, live, &document);
            sets.insert(name, set);
        }
        let is_same = |(one, other): (&Arc<Set>, &Arc<Set>)| Arc::ptr_eq(one, other);
        let before = &self.expansion;
        if before.sets.len() == sets.len() && before.sets.values().zip(sets.values()).all(is_same) {
            return false;
        }
        let (made, collisions) = made_by(sets.values());
        let is_other = |key: &&Key| before.made.get(*key).map(Arc::as_ptr) != made.get(*key).map(Arc::as_ptr);
        let keys: BTreeSet<Key> = before.made.keys().chain(made.keys()).filter(is_other).cloned().collect();
        self.expansion = Expansion { sets, made, collisions };
        self.settle(Touched { keys, ..Touched::default() })
    }

    /// What is wrong with what templates make.
    pub fn expansion_problems(&mut self) -> Vec<Problem> {
        let sets = self.expansion.sets.values();
        let reasons: Vec<(Name, String)> = sets.flat_map(|set| set.reasons()).cloned().collect();
        let collisions = self.expansion.collisions.clone().into_iter();
        let collisions =
            collisions.map(|(upstream, reason)| (Kind::Upstream, upstream, "discovery.etcd.prefix", reason));
        let reasons = reasons.into_iter().map(|(route, reason)| (Kind::Route, route, "hosts", reason));
        let all: Vec<_> = reasons.chain(collisions).collect();
        all.into_iter().map(|(kind, name, field, reason)| self.problem(kind, name.as_str(), field, reason)).collect()
    }
}

/// What all sets make. `a` with the values `b` and `c`, and `a.b` with the value `c`, would make objects of one name: the first
/// one has it.
fn made_by<'s>(sets: impl Iterator<Item = &'s Arc<Set>>) -> (Entries, Vec<(Name, String)>) {
    let (mut made, mut collisions) = (Entries::new(), Vec::new());
    for set in sets {
        for pair in set.granted() {
            let is_anothers =
                |(key, entry): &&(Key, Arc<Entry>)| made.get(key).is_some_and(|it| !Arc::ptr_eq(it, entry));
            if let Some(((_, name), _)) = pair.iter().find(is_anothers) {
                let reason = format!("another template has made `{name}`: this environment is left out");
                collisions.push((set.templates.upstream.name().clone(), reason));
            } else {
                made.extend(pair);
            }
        }
    }
    (made, collisions)
}

impl Set {
    /// The set that follows `before`, which is the same one if nothing has changed.
    fn next(
        before: Option<&Arc<Self>>,
        templates: TemplateSet,
        live: Arc<[Environment]>,
        document: &Arc<str>,
    ) -> Arc<Self> {
        let known = before.filter(|set| set.templates.is_same(&templates));
        if let Some(same) = known.filter(|set| set.live == live) {
            return Arc::clone(same);
        }
        let make = |environment: &Environment| {
            let known = known.and_then(|set| set.made.get(environment)).cloned();
            let made = known.or_else(|| Made::new(environment, &templates, document).map(Arc::new))?;
            Some((environment.clone(), made))
        };
        let made = live.iter().filter_map(make).collect();
        let mut set = Self { templates, live, made, conflicts: Vec::new() };
        set.conflicts = set.each_route().filter_map(|(.., granted)| granted.err()).collect();
        Arc::new(set)
    }

    /// All there is to make, in the order of the environments, less what another one has: an environment without a route needs
    /// no upstream.
    fn granted(&self) -> impl Iterator<Item = [(Key, Arc<Entry>); 2]> {
        let routes = self.each_route().filter(|(.., granted)| granted.is_ok());
        routes.map(|(made, route, _)| [made.upstream.clone(), (route.key.clone(), Arc::clone(&route.entry))])
    }

    fn in_order(&self) -> impl Iterator<Item = &Arc<Made>> {
        self.live.iter().filter_map(|environment| self.made.get(environment))
    }

    /// Every route, and which other one has a host of it, if one has.
    fn each_route(&self) -> impl Iterator<Item = (&Made, &MadeRoute, Result<(), (Name, String)>)> {
        let mut taken: HashMap<(&Name, &HostPattern), &MadeRoute> = HashMap::new();
        let routes = self.in_order().flat_map(|made| made.routes.iter().map(move |route| (&**made, route)));
        routes.map(move |(made, route)| {
            let other = route.hosts.iter().find_map(|host| Some((host, *taken.get(&(&route.template, host))?)));
            if let Some((host, other)) = other {
                let (own, other) = (&route.key.1, &other.key.1);
                let reason = format!("`{own}` would have the host {host}, which `{other}` has, and is left out");
                return (made, route, Err((route.template.clone(), reason)));
            }
            taken.extend(route.hosts.iter().map(|host| ((&route.template, host), route)));
            (made, route, Ok(()))
        })
    }

    fn reasons(&self) -> impl Iterator<Item = &(Name, String)> {
        self.in_order().flat_map(|made| &made.wrong).chain(&self.conflicts)
    }
}

impl Made {
    /// Nothing if no route takes the environment: nobody would ask for its endpoints.
    fn new(
        environment: &Environment,
        TemplateSet { upstream, routes }: &TemplateSet,
        document: &Arc<str>,
    ) -> Option<Self> {
        if !upstream.prefix().is_of(environment) {
            return None;
        }
        let name = upstream.name_of(environment).ok()?;
        let (mut made, mut wrong) = (Vec::new(), Vec::new());
        for template in routes.iter().filter(|template| template.takes(environment)) {
            match MadeRoute::new(environment, template, &name, document) {
                Ok(route) => made.push(route),
                Err(reason) => wrong.push((template.name().clone(), format!("`{environment}`: {reason}"))),
            }
        }
        let spec = upstream.spec_of(environment);
        let object = Upstream::new(name.as_str(), &spec, &mut Vec::new())?;
        let object = Object::Upstream(Arc::new(object));
        let upstream = entry(ObjectSpec::Upstream(Box::new(spec)), object, document);
        (!made.is_empty()).then_some(Self { upstream, routes: made, wrong })
    }
}

impl MadeRoute {
    fn new(
        environment: &Environment,
        template: &RouteTemplate,
        upstream: &Name,
        document: &Arc<str>,
    ) -> Result<Self, String> {
        let (name, hosts) = (template.name_of(environment)?, template.hosts_of(environment)?);
        let spec = template.spec_of(environment, upstream);
        let mut problems = Vec::new();
        let route = Route::new(name.as_str(), &spec, &mut problems)
            .ok_or_else(|| problems.first().map(ToString::to_string).unwrap_or_default())?;
        let object = Object::Route(Arc::new(route.made()));
        let (key, entry) = entry(ObjectSpec::Route(Box::new(spec)), object, document);
        Ok(Self { template: template.name().clone(), key, hosts, entry })
    }
}

fn entry(spec: ObjectSpec, object: Object, document: &Arc<str>) -> (Key, Arc<Entry>) {
    let key = (object.kind(), object.name().as_str().into());
    (key, Arc::new(Entry { spec: Arc::new(spec), object, document: Arc::clone(document), origin: Origin::Made }))
}
