//! Requests that go from one route to another because routes come, go or match otherwise.
//!
//! Patterns and precedence tell which routes can hand requests over; a request made up to match both and decided by both
//! versions proves that they do. Where neither decides, for which there must be a regular expression or conditions that no
//! made-up request fulfils, the answer is "may". A handover that is not told does not happen.

use routing_rules::rules::{Name, Route};
use routing_rules::table::{Example, Neighbours, Pair};
use serde::Serialize;

use super::Version;
use crate::data_path::decide;

/// Requests that another route serves than before.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Handover {
    /// The route that had them; null: they had none.
    pub from: Option<String>,
    /// The route that has them; null: they have none.
    pub to: Option<String>,
    /// How many of the requests that the route had.
    pub extent: Extent,
    /// One of them, for example `GET shop.example.com/cart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// How much of what a route had is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Extent {
    /// Everything.
    All,
    /// Some requests, and there may be others that are not.
    Some,
    /// It cannot be told whether there are such requests.
    May,
}

/// All handovers, by the route that had the requests.
pub(super) fn compare(old: &Version, new: &Version) -> Vec<Handover> {
    let (old, new) = (Side::of(old), Side::of(new));
    let fresh = new.routes.all().filter(|route| old.differs(route)).collect();
    let sides = Sides { old, new, fresh };
    let mut found = Vec::new();
    for route in sides.old.routes.all() {
        let mut given = sides.given(route);
        if let [only] = &mut *given
            && !sides.keeps(route)
        {
            only.extent = Extent::All;
        }
        found.append(&mut given);
    }
    found.extend(sides.fresh.iter().filter_map(|route| sides.between(None, Some(route))));
    found
}

struct Sides<'v> {
    old: Side<'v>,
    new: Side<'v>,
    /// The routes of now that were not there before, or matched otherwise.
    fresh: Vec<&'v Route>,
}

impl<'v> Sides<'v> {
    /// What a route of before hands over.
    fn given(&self, from: &'v Route) -> Vec<Handover> {
        let goes = self.new.differs(from);
        // Two routes that match as before share requests as before.
        let others = if goes { self.new.routes.of(from) } else { self.fresh.clone() };
        let others = others.into_iter().filter(|to| to.name() != from.name());
        let mut found: Vec<Handover> = others.filter_map(|to| self.between(Some(from), Some(to))).collect();
        found.extend(goes.then(|| self.between(Some(from), None)).flatten());
        found
    }

    /// Whether a route may still have some of its requests.
    fn keeps(&self, route: &'v Route) -> bool {
        self.new.routes.named(route.name()).is_some_and(|now| self.between(Some(route), Some(now)).is_some())
    }

    fn between(&self, from: Option<&'v Route>, to: Option<&'v Route>) -> Option<Handover> {
        let name = |route: Option<&Route>| route.map(|route| route.name().to_string());
        let handover = |extent, example| Handover { from: name(from), to: name(to), extent, example };
        let regions = regions(from, to);
        if regions.is_empty() {
            return None;
        }
        let (near_old, near_new) = (self.old.routes.of(from.or(to)?), self.new.routes.of(to.or(from)?));
        let mut may = false;
        for region in regions {
            let had = from.and_then(|_| region.first().copied());
            let has = to.and_then(|_| region.last().copied());
            if is_taken_before(had, &region, &near_old) || is_taken_before(has, &region, &near_new) {
                continue;
            }
            if let Some(example) = self.example(from, to, &region) {
                return Some(handover(Extent::Some, Some(example)));
            }
            may = true;
        }
        may.then(|| handover(Extent::May, None))
    }

    /// A request that proves the handover.
    fn example(&self, from: Option<&Route>, to: Option<&Route>, region: &[Pair<'_>]) -> Option<String> {
        let examples = Example::matching(region, &self.listeners());
        let is_proof = |example: &Example| {
            let (had, has) = (self.old.owner(example), self.new.owner(example));
            had == from.map(Route::name) && has == to.map(Route::name)
        };
        Some(examples.iter().find(|example| is_proof(example))?.to_string())
    }

    fn listeners(&self) -> Vec<&str> {
        let listeners = |side: &Side<'v>| side.version.snapshot().table.rules().listeners();
        let mut names: Vec<&str> =
            listeners(&self.old).chain(listeners(&self.new)).map(|listener| listener.name().as_str()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// Pairs that some request may match together: of both routes, or of the one there is.
fn regions<'r>(from: Option<&'r Route>, to: Option<&'r Route>) -> Vec<Vec<Pair<'r>>> {
    match (from, to) {
        (Some(from), Some(to)) => {
            let both = |one: Pair<'r>| {
                Pair::all_of(to).filter(move |other: &Pair<'_>| one.may_meet(other)).map(move |other| vec![one, other])
            };
            Pair::all_of(from).flat_map(both).collect()
        }
        (one, other) => one.or(other).into_iter().flat_map(Pair::all_of).map(|pair| vec![pair]).collect(),
    }
}

/// Whether some other pair, which comes before the owner's, takes everything in a region. Without an owner any pair does.
fn is_taken_before(owner: Option<Pair<'_>>, region: &[Pair<'_>], routes: &[&Route]) -> bool {
    let comes_before = |pair: &Pair<'_>| owner.is_none_or(|owner| pair.precedence() < owner.precedence());
    routes.iter().flat_map(|route| Pair::all_of(route)).any(|pair| comes_before(&pair) && pair.covers(region))
}

/// The routes of one version.
struct Side<'v> {
    version: &'v Version,
    routes: Neighbours<'v>,
}

impl<'v> Side<'v> {
    fn of(version: &'v Version) -> Self {
        Self { version, routes: Neighbours::new(version.snapshot().table.rules()) }
    }

    /// Whether there is no route that has this one's name and matches as it does.
    fn differs(&self, route: &Route) -> bool {
        self.routes.named(route.name()).is_none_or(|other| !other.matches_as(route))
    }

    fn owner(&self, example: &Example) -> Option<&'v Name> {
        let found = decide::find(self.version.snapshot(), &example.view())?;
        Some(found.route().name())
    }
}
