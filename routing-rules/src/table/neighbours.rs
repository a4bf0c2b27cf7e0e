//! Which routes can have requests in common, found without comparing every route with every other.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Pair;
use crate::rules::{HostPattern, Name, Route, RuleSet};

/// The routes of a rule set, by host.
#[derive(Debug)]
pub struct Neighbours<'r> {
    routes: BTreeMap<&'r Name, &'r Route>,
    by_host: HashMap<&'r str, Vec<&'r Route>>,
    /// Routes of hosts that cannot be listed: with a wildcard, or without any host.
    wide: Vec<&'r Route>,
}

impl<'r> Neighbours<'r> {
    /// Sorts all routes of a set.
    pub fn new(rules: &'r RuleSet) -> Self {
        let routes: BTreeMap<&Name, &Route> = rules.routes().map(|route| (route.name(), &**route)).collect();
        let (mut by_host, mut wide) = (HashMap::<&str, Vec<&Route>>::new(), Vec::new());
        for route in routes.values() {
            match exact_hosts(route) {
                Some(hosts) => hosts.for_each(|host| by_host.entry(host).or_default().push(route)),
                None => wide.push(*route),
            }
        }
        Self { routes, by_host, wide }
    }

    /// All routes, by name.
    pub fn all(&self) -> impl Iterator<Item = &'r Route> {
        self.routes.values().copied()
    }

    /// One route.
    pub fn named(&self, name: &Name) -> Option<&'r Route> {
        self.routes.get(name).copied()
    }

    /// The routes that may meet a route, itself included if it is one of these, and few others; by name.
    pub fn of(&self, route: &Route) -> Vec<&'r Route> {
        let Some(hosts) = exact_hosts(route) else { return self.all().collect() };
        let of_hosts = hosts.filter_map(|host| self.by_host.get(host)).flatten();
        let found: BTreeMap<&Name, &Route> = of_hosts.chain(&self.wide).map(|route| (route.name(), *route)).collect();
        found.into_values().collect()
    }

    /// Other routes that take every request a route could have; none if they may leave it some.
    pub fn hiding(&self, route: &Route) -> BTreeSet<&'r Name> {
        let near = self.of(route);
        let others = || near.iter().filter(|other| other.name() != route.name()).flat_map(|other| Pair::all_of(other));
        let hider = |pair: Pair<'_>| {
            others().find(|other| other.precedence() < pair.precedence() && other.covers(&[pair])).map(Pair::name)
        };
        let hiders: Option<BTreeSet<&Name>> = Pair::all_of(route).map(hider).collect();
        hiders.unwrap_or_default()
    }
}

/// The hosts of a route whose hosts are all exact.
fn exact_hosts(route: &Route) -> Option<impl Iterator<Item = &str>> {
    let is_narrow = !route.hosts().is_empty() && route.hosts().iter().all(|host| exact(host).is_some());
    is_narrow.then(|| route.hosts().iter().filter_map(exact))
}

fn exact(host: &HostPattern) -> Option<&str> {
    match host {
        HostPattern::Exact(name) => Some(name),
        HostPattern::Wildcard(_) | HostPattern::Below(_) => None,
    }
}
