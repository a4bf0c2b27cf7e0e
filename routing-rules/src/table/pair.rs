//! What two routes have in common, told from their patterns alone.
//!
//! As far as patterns tell ([`crate::rules::overlap`]): [`Pair::may_meet`] is certain when it says no, and [`Pair::covers`] when it
//! says yes.

use super::Precedence;
use crate::rules::overlap::{addresses_cover, addresses_meet, is_implied, list_covers, lists_meet, texts_may_meet};
use crate::rules::{HostPattern, Name, PathPattern, Route, RouteConditions, suffixes};

/// A route by one of its hosts and one of its paths: what stands in the order of [`Precedence`] once.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'r> {
    pub(super) host: Option<&'r HostPattern>,
    pub(super) path: Option<&'r PathPattern>,
    route: &'r Route,
}

impl<'r> Pair<'r> {
    /// All pairs of a route.
    pub fn all_of(route: &'r Route) -> impl Iterator<Item = Self> {
        let pairs = move |host| or_any(route.paths()).map(move |path| Self { host, path, route });
        or_any(route.hosts()).flat_map(pairs)
    }

    /// Its place in the order of routes.
    pub fn precedence(&self) -> Precedence<'r> {
        Precedence::new(self.host, self.path, self.route)
    }

    /// The name of its route.
    pub fn name(self) -> &'r Name {
        self.route.name()
    }

    /// Whether some request may match both.
    pub fn may_meet(&self, other: &Self) -> bool {
        (host_covers(self.host, other.host) || host_covers(other.host, self.host))
            && paths_may_meet(self.path, other.path)
            && conditions_may_meet(self.conditions(), other.conditions())
    }

    /// Whether every request that matches all of the others matches this one as well.
    pub fn covers(&self, others: &[Self]) -> bool {
        others.iter().any(|other| host_covers(self.host, other.host))
            && others.iter().any(|other| path_covers(self.path, other.path))
            && conditions_cover(self.conditions(), others)
    }

    pub(super) fn conditions(&self) -> &'r RouteConditions {
        self.route.conditions()
    }
}

fn or_any<T>(patterns: &[T]) -> impl Iterator<Item = Option<&T>> {
    patterns.iter().map(Some).chain(patterns.is_empty().then_some(None))
}

/// Hosts lie within each other or apart.
fn host_covers(wide: Option<&HostPattern>, narrow: Option<&HostPattern>) -> bool {
    match (wide, narrow) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(wide), Some(HostPattern::Exact(name))) => wide.matches(name),
        // Any label will do in place of the one or more that are not said.
        (Some(HostPattern::Below(wide)), Some(HostPattern::Wildcard(narrow) | HostPattern::Below(narrow))) => {
            wide == narrow || suffixes(narrow).any(|suffix| *suffix == **wide)
        }
        (Some(wide), Some(narrow)) => wide == narrow,
    }
}

fn path_covers(wide: Option<&PathPattern>, narrow: Option<&PathPattern>) -> bool {
    match (wide, narrow) {
        (wide, _) if is_any_path(wide) => true,
        (Some(wide), Some(PathPattern::Exact(path) | PathPattern::Prefix(path))) => match (wide, narrow) {
            (PathPattern::Exact(_) | PathPattern::Regex(_), Some(PathPattern::Prefix(_))) => false,
            _ => wide.matches(path),
        },
        (Some(wide), Some(narrow)) => wide == narrow,
        _ => false,
    }
}

fn paths_may_meet(one: Option<&PathPattern>, other: Option<&PathPattern>) -> bool {
    match (one, other) {
        (Some(PathPattern::Exact(path)), Some(pattern)) | (Some(pattern), Some(PathPattern::Exact(path))) => {
            pattern.matches(path)
        }
        (Some(PathPattern::Regex(_)), _) | (_, Some(PathPattern::Regex(_))) => true,
        _ => path_covers(one, other) || path_covers(other, one),
    }
}

/// The prefix `/` is no path at all.
fn is_any_path(path: Option<&PathPattern>) -> bool {
    match path {
        Some(PathPattern::Prefix(prefix)) => prefix.is_empty(),
        Some(_) => false,
        None => true,
    }
}

fn conditions_may_meet(one: &RouteConditions, other: &RouteConditions) -> bool {
    lists_meet(&one.methods, &other.methods)
        && lists_meet(&one.listeners, &other.listeners)
        && addresses_meet(&one.client_ip, &other.client_ip)
        && texts_may_meet(&one.headers, &other.headers)
        && texts_may_meet(&one.query, &other.query)
}

fn conditions_cover(wide: &RouteConditions, others: &[Pair<'_>]) -> bool {
    let any = |covers: &dyn Fn(&RouteConditions) -> bool| others.iter().any(|other| covers(other.conditions()));
    any(&|narrow| list_covers(&wide.methods, &narrow.methods))
        && any(&|narrow| list_covers(&wide.listeners, &narrow.listeners))
        && any(&|narrow| addresses_cover(&wide.client_ip, &narrow.client_ip))
        && wide.headers.iter().all(|condition| any(&|narrow| is_implied(condition, &narrow.headers)))
        && wide.query.iter().all(|condition| any(&|narrow| is_implied(condition, &narrow.query)))
}
