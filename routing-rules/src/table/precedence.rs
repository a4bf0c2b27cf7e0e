//! The order of the routes that match one request.

use std::cmp::Reverse;

use crate::rules::{HostPattern, PathPattern, Route};

/// How specific a route is for one of its hosts and one of its paths; the smallest serves the request.
///
/// Compared from the first to the last:
///
/// 1. **host**: an exact name before a wildcard of one label, before one of any number of labels (the longer before the shorter),
///    before no host
/// 2. **path**: an exact path before a regular expression before a prefix; the longer expression before the shorter, the
///    longer prefix before the shorter. No path counts as the prefix `/`
/// 3. a condition on the **method** before none
/// 4. more **header** conditions before fewer
/// 5. more **query** conditions before fewer
/// 6. a condition on the **client address** before none
/// 7. a condition on the **listener** before none
/// 8. a route that somebody **wrote** before one that was made of a template
/// 9. the smaller **order**
/// 10. the **name** that comes first in the alphabet
///
/// A route with several hosts and paths stands in this order once for each pair of them. No two routes are equal in it,
/// so the answer never depends on the order in which rules arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Precedence<'a> {
    host: HostRank,
    path: PathRank,
    route: RouteRank<'a>,
}

impl<'a> Precedence<'a> {
    /// The place of a route by one of its hosts and paths; `None` stands for a route without any.
    pub fn new(host: Option<&HostPattern>, path: Option<&PathPattern>, route: &'a Route) -> Self {
        Self { host: HostRank::of(host), path: PathRank::of(path), route: RouteRank::of(route) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Exact,
    Wildcard,
    /// By how much is said. Suffixes of one host that differ have different lengths.
    Below(Reverse<usize>),
    Any,
}

impl HostRank {
    fn of(host: Option<&HostPattern>) -> Self {
        match host {
            Some(HostPattern::Exact(_)) => Self::Exact,
            Some(HostPattern::Wildcard(_)) => Self::Wildcard,
            Some(HostPattern::Below(suffix)) => Self::Below(Reverse(suffix.len())),
            None => Self::Any,
        }
    }
}

/// Lengths in bytes. Prefixes that match one path are prefixes of each other, so bytes order them as segments do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PathRank {
    Exact,
    Regex(Reverse<usize>),
    Prefix(Reverse<usize>),
}

impl PathRank {
    pub(super) fn of(path: Option<&PathPattern>) -> Self {
        match path {
            Some(PathPattern::Exact(_)) => Self::Exact,
            Some(PathPattern::Regex(regex)) => Self::Regex(Reverse(regex.as_str().len())),
            Some(PathPattern::Prefix(prefix)) => Self::Prefix(Reverse(prefix.len())),
            None => Self::Prefix(Reverse(0)),
        }
    }
}

/// What is left to compare among routes with the same host and path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RouteRank<'a> {
    methods: Reverse<bool>,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    client_ip: Reverse<bool>,
    listeners: Reverse<bool>,
    is_made: bool,
    order: u64,
    name: &'a str,
}

impl<'a> RouteRank<'a> {
    pub(super) fn of(route: &'a Route) -> Self {
        let conditions = route.conditions();
        Self {
            methods: Reverse(!conditions.methods.is_empty()),
            headers: Reverse(conditions.headers.len()),
            query: Reverse(conditions.query.len()),
            client_ip: Reverse(!conditions.client_ip.is_empty()),
            listeners: Reverse(!conditions.listeners.is_empty()),
            is_made: route.is_made(),
            order: route.order(),
            name: route.name().as_str(),
        }
    }
}
