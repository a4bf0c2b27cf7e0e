//! What is fast: rules compiled into indexes, so that the time to find a route does not grow with their number.
//!
//! A [`RouteTable`] is a value: it never changes, cloning it is cheap, and [`RouteTable::update`] makes the next one
//! from what differs between two rule sets while both share everything else. The same update compiles the first
//! table, from nothing; there is no second way that could disagree.
//!
//! Of all routes that match a request the one with the smallest [`Precedence`] serves it. The table asks in that order:
//! the routes of the exact host, then those of the wildcard, then those of any host; in each the exact paths, the
//! regular expressions, and the prefixes from the longest to the shortest. Where the routes of one place do not take
//! the request, because a method, header, query, address or listener does not fit, the next place is asked.
//!
//! The table decides nothing else: groups are [`crate::release`]'s and endpoints [`crate::balance`]'s.

mod balance;

mod precedence;

mod pair;

mod neighbours;

mod example;

mod compiled;

mod hosts;

mod paths;

mod candidates;

mod text_map;

mod slots;

mod update;

use std::sync::Arc;

use imbl::OrdSet;

use crate::RuleError;
use crate::release::ReleaseContext;
use crate::request::RequestView;
use crate::rules::{Dangling, Kind, Name, RuleSet, Upstream};
use hosts::HostIndex;
use slots::Slots;
use update::Update;

pub use balance::{hash_of, learning, learning_of_sessions};
pub use compiled::{CompiledRelease, CompiledRoute, CompiledTarget};
pub use example::Example;
pub use neighbours::Neighbours;
pub use pair::Pair;
pub use precedence::Precedence;
pub use slots::{ReleaseId, RouteId, UpstreamId};

/// All routes, ready to be asked.
#[derive(Clone, Debug, Default)]
pub struct RouteTable {
    rules: RuleSet,
    context: ReleaseContext,
    hosts: HostIndex,
    routes: Slots<Arc<CompiledRoute>>,
    upstreams: Slots<Arc<Upstream>>,
    releases: Slots<Arc<CompiledRelease>>,
    skipped: OrdSet<(Kind, Name)>,
}

impl RouteTable {
    /// Compiles a whole set of rules.
    pub fn compile(rules: &RuleSet, context: &ReleaseContext) -> Self {
        Self::default().update(rules, context)
    }

    /// The table of other rules or release states; compiles only what differs from this one's.
    ///
    /// Ids of objects that are in both stay the same. Ids of objects that are gone are given away again, so an id
    /// means something only together with its table.
    #[must_use]
    pub fn update(&self, rules: &RuleSet, context: &ReleaseContext) -> Self {
        Update::new(self, rules, context).run()
    }

    /// The most specific route that takes the request. Allocates nothing, except where the routes of one host have more
    /// than four regular expressions and one of them matches.
    pub fn find<'t>(&'t self, request: &RequestView<'_>) -> Option<RouteMatch<'t>> {
        self.hosts.find(request).map(|route| RouteMatch { route })
    }

    /// What [`Self::find`] answered before with a route of this id.
    pub fn found(&self, id: RouteId) -> Option<RouteMatch<'_>> {
        self.route(id).map(|route| RouteMatch { route })
    }

    /// The rules this table was compiled from, including those that were skipped.
    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    /// What releases were compiled with.
    pub fn context(&self) -> &ReleaseContext {
        &self.context
    }

    /// One route.
    pub fn route(&self, id: RouteId) -> Option<&CompiledRoute> {
        self.routes.at(id.index()).map(|route| &**route)
    }

    /// The id of a route in this table.
    pub fn route_id(&self, name: &str) -> Option<RouteId> {
        self.routes.index_of(name).map(RouteId)
    }

    /// The routes that are served, by name.
    pub fn routes(&self) -> impl Iterator<Item = &CompiledRoute> {
        self.routes.iter().map(|(_, route)| &**route)
    }

    /// One more than the largest index a [`RouteId`] of this table can have; for arrays beside it.
    pub fn route_slots(&self) -> usize {
        self.routes.capacity()
    }

    /// One upstream.
    pub fn upstream(&self, id: UpstreamId) -> Option<&Arc<Upstream>> {
        self.upstreams.at(id.index())
    }

    /// The id of an upstream in this table.
    pub fn upstream_id(&self, name: &str) -> Option<UpstreamId> {
        self.upstreams.index_of(name).map(UpstreamId)
    }

    /// The upstreams, by name.
    pub fn upstreams(&self) -> impl Iterator<Item = (UpstreamId, &Arc<Upstream>)> {
        self.upstreams.iter().map(|(index, upstream)| (UpstreamId(index), upstream))
    }

    /// One more than the largest index an [`UpstreamId`] of this table can have; for arrays beside it.
    pub fn upstream_slots(&self) -> usize {
        self.upstreams.capacity()
    }

    /// One release.
    pub fn release(&self, id: ReleaseId) -> Option<&Arc<CompiledRelease>> {
        self.releases.at(id.index())
    }

    /// The id of a release in this table.
    pub fn release_id(&self, name: &str) -> Option<ReleaseId> {
        self.releases.index_of(name).map(ReleaseId)
    }

    /// The releases, by name.
    pub fn releases(&self) -> impl Iterator<Item = (ReleaseId, &Arc<CompiledRelease>)> {
        self.releases.iter().map(|(index, release)| (ReleaseId(index), release))
    }

    /// One more than the largest index a [`ReleaseId`] of this table can have; for arrays beside it.
    pub fn release_slots(&self) -> usize {
        self.releases.capacity()
    }

    /// Why routes and releases of the rules are not served: they name objects that are not there. Whoever assembles the
    /// rules removes or holds such objects, so this is empty unless that went wrong.
    pub fn skipped(&self) -> Vec<RuleError> {
        if self.skipped.is_empty() {
            return Vec::new();
        }
        let mut reasons: Vec<RuleError> = self.rules.dangling().iter().map(Dangling::error).collect();
        let routes = self.skipped.iter().filter(|(kind, _)| *kind == Kind::Route);
        reasons.extend(routes.filter_map(|(_, name)| self.lost_release(name)));
        reasons
    }

    /// The problem of a route whose release is in the rules, but is skipped itself.
    fn lost_release(&self, route: &Name) -> Option<RuleError> {
        let releases = self.rules.routes.get(route)?.releases();
        let lost = releases.iter().find(|name| self.skipped.contains(&(Kind::Release, (*name).clone())))?;
        Some(RuleError {
            at: format!("routes.{route}.release"),
            reason: format!("release `{lost}` names an upstream that is not there"),
        })
    }
}

/// The answer of [`RouteTable::find`].
#[derive(Clone, Copy, Debug)]
pub struct RouteMatch<'t> {
    route: &'t CompiledRoute,
}

impl<'t> RouteMatch<'t> {
    /// The route's id in this table.
    pub fn id(&self) -> RouteId {
        self.route.id()
    }

    /// The route.
    pub fn route(&self) -> &'t CompiledRoute {
        self.route
    }
}
