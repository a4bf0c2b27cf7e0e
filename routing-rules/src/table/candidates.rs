//! The routes that stand at one place of the index, most specific first.

use std::sync::Arc;

use imbl::Vector;

use super::CompiledRoute;
use super::precedence::{PathRank, RouteRank};
use crate::request::RequestView;
use crate::rules::PathPattern;

/// A route at one place of the index.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    route: Arc<CompiledRoute>,
    /// Which of the route's paths led here; nothing if it has none.
    path: Option<u32>,
    /// Whether host and path are all the route asks for. Kept here because the answer saves a look at the rules, which
    /// among many routes are not in the cache.
    unconditional: bool,
}

impl Candidate {
    pub(super) fn new(route: &Arc<CompiledRoute>, path: Option<usize>) -> Self {
        Self { unconditional: asks_nothing_more(route), path: path.map(|index| index as u32), route: Arc::clone(route) }
    }

    /// Whether everything but host and path fits.
    #[inline]
    pub(super) fn takes(&self, request: &RequestView<'_>) -> bool {
        self.unconditional || self.route.rules().takes(request)
    }

    pub(super) fn route(&self) -> &CompiledRoute {
        &self.route
    }

    /// The pattern that led here; nothing if the route takes any path.
    pub(super) fn pattern(&self) -> Option<&PathPattern> {
        self.route.rules().paths().get(self.path? as usize)
    }

    /// The order within one host, and at last the path, so that two paths of a route that are equal in
    /// everything else are two candidates.
    fn rank(&self) -> (PathRank, RouteRank<'_>, Option<u32>) {
        // Equal paths of one route, such as `/a` and `/a/`, are one candidate; only expressions of the same length differ.
        let path = self.path.filter(|_| matches!(self.pattern(), Some(PathPattern::Regex(_))));
        (PathRank::of(self.pattern()), RouteRank::of(self.route.rules()), path)
    }
}

/// Candidates in order. One is by far the most frequent number.
#[derive(Clone, Debug, Default)]
pub(super) enum Candidates {
    #[default]
    None,
    One(Candidate),
    Many(Arc<Vector<Candidate>>),
}

impl Candidates {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// The first candidate that the condition holds for.
    #[inline]
    pub(super) fn first(&self, mut holds: impl FnMut(&Candidate) -> bool) -> Option<&Candidate> {
        match self {
            Self::None => None,
            Self::One(candidate) => holds(candidate).then_some(candidate),
            Self::Many(list) => list.iter().find(|candidate| holds(candidate)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        let (one, many) = match self {
            Self::None => (None, None),
            Self::One(candidate) => (Some(candidate), None),
            Self::Many(list) => (None, Some(list.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub(super) fn at(&self, index: usize) -> Option<&Candidate> {
        match self {
            Self::One(candidate) if index == 0 => Some(candidate),
            Self::None | Self::One(_) => None,
            Self::Many(list) => list.get(index),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::One(_) => 1,
            Self::Many(list) => list.len(),
        }
    }

    /// Puts a candidate in its place, instead of its equal.
    pub(super) fn insert(&mut self, candidate: Candidate) {
        match std::mem::take(self) {
            Self::None => *self = Self::One(candidate),
            Self::One(other) if other.rank() == candidate.rank() => *self = Self::One(candidate),
            Self::One(other) => {
                let mut pair = [other, candidate];
                pair.sort_by(|a, b| a.rank().cmp(&b.rank()));
                *self = Self::Many(Arc::new(pair.into_iter().collect()));
            }
            Self::Many(mut list) => {
                let writable = Arc::make_mut(&mut list);
                match writable.binary_search_by(|other| other.rank().cmp(&candidate.rank())) {
                    Ok(index) => drop(writable.set(index, candidate)),
                    Err(index) => writable.insert(index, candidate),
                }
                *self = Self::Many(list);
            }
        }
    }

    pub(super) fn remove(&mut self, candidate: &Candidate) {
        match self {
            Self::None => {}
            Self::One(other) if other.rank() != candidate.rank() => {}
            Self::One(_) => *self = Self::None,
            Self::Many(list) => {
                let writable = Arc::make_mut(list);
                if let Ok(index) = writable.binary_search_by(|other| other.rank().cmp(&candidate.rank())) {
                    writable.remove(index);
                }
                match (writable.len(), writable.front().cloned()) {
                    (0, _) => *self = Self::None,
                    (1, Some(last)) => *self = Self::One(last),
                    _ => {}
                }
            }
        }
    }
}

fn asks_nothing_more(route: &CompiledRoute) -> bool {
    let conditions = route.rules().conditions();
    conditions.methods.is_empty()
        && conditions.headers.is_empty()
        && conditions.query.is_empty()
        && conditions.client_ip.is_empty()
        && conditions.listeners.is_empty()
}
