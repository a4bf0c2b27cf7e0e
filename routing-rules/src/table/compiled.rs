//! Rules with their references resolved.
//!
//! What is here names only objects that exist: an id in a compiled route leads somewhere in the same table.

use std::sync::Arc;

use super::slots::{ReleaseId, RouteId, Slots, UpstreamId};
use crate::balance::Split;
use crate::release::{Assigner, ReleaseContext, ReleaseRecord};
use crate::rules::{Name, Release, Route, Target, Upstream};

/// A route and where it leads.
#[derive(Debug)]
pub struct CompiledRoute {
    id: RouteId,
    rules: Arc<Route>,
    target: CompiledTarget,
    releases: Box<[ReleaseId]>,
}

/// Where a route sends its requests.
#[derive(Debug)]
pub enum CompiledTarget {
    /// One upstream.
    Upstream(UpstreamId),
    /// Several, by weight.
    Split {
        /// Picks a part.
        schedule: Split,
        /// The upstream of each part, in the order of the rules.
        upstreams: Box<[UpstreamId]>,
    },
    /// Nowhere: the answer is the redirect of the rules.
    Redirect,
}

impl CompiledRoute {
    /// `None` if a reference leads nowhere.
    pub(super) fn new(
        id: RouteId,
        rules: &Arc<Route>,
        upstreams: &Slots<Arc<Upstream>>,
        releases: &Slots<Arc<CompiledRelease>>,
    ) -> Option<Self> {
        if let Some(mirror) = rules.mirror() {
            upstreams.index_of(mirror.upstream.as_str())?;
        }
        // Nobody is let in whom nobody can be asked about.
        if let Some(auth) = rules.forward_auth() {
            upstreams.index_of(auth.upstream().as_str())?;
        }
        let releases = rules.releases().iter().map(|name| releases.index_of(name.as_str()).map(ReleaseId));
        Some(Self {
            id,
            target: CompiledTarget::new(rules.target(), upstreams)?,
            releases: releases.collect::<Option<_>>()?,
            rules: Arc::clone(rules),
        })
    }

    /// The route's id in its table.
    pub fn id(&self) -> RouteId {
        self.id
    }

    /// The route's name.
    pub fn name(&self) -> &crate::rules::Name {
        self.rules.name()
    }

    /// Its rules.
    pub fn rules(&self) -> &Arc<Route> {
        &self.rules
    }

    /// Where requests go.
    pub fn target(&self) -> &CompiledTarget {
        &self.target
    }

    /// Releases that may move users, in order.
    pub fn releases(&self) -> &[ReleaseId] {
        &self.releases
    }
}

impl CompiledTarget {
    fn new(target: &Target, slots: &Slots<Arc<Upstream>>) -> Option<Self> {
        let id = |name: &crate::rules::Name| slots.index_of(name.as_str()).map(UpstreamId);
        match target {
            Target::Upstream(name) => id(name).map(Self::Upstream),
            Target::Split(parts) => {
                let weights: Vec<u32> = parts.iter().map(|part| part.weight).collect();
                let upstreams = parts.iter().map(|part| id(&part.upstream)).collect::<Option<_>>()?;
                Some(Self::Split { schedule: Split::new(&weights)?, upstreams })
            }
            Target::Redirect(_) => Some(Self::Redirect),
        }
    }
}

/// A release in its present state.
#[derive(Debug)]
pub struct CompiledRelease {
    /// Decides the group of a request.
    pub assigner: Assigner,
    /// What is stored of it; nothing as long as it is where it begins.
    pub record: Option<Arc<ReleaseRecord>>,
    /// The upstream of the stable group.
    pub stable: UpstreamId,
    /// The upstream of the canary group.
    pub canary: UpstreamId,
}

impl CompiledRelease {
    /// `None` if a reference leads nowhere.
    pub(super) fn new(
        rules: &Arc<Release>,
        upstreams: &Slots<Arc<Upstream>>,
        context: &ReleaseContext,
    ) -> Option<Self> {
        let record = context.record(rules).cloned();
        let state = context.state(rules);
        let rules = match record.as_ref().map_or(0, |record| record.salts) {
            0 => Arc::clone(rules),
            number => Arc::new(rules.with_another_salt(number)),
        };
        let upstream = |name: &Name| upstreams.index_of(name.as_str()).map(UpstreamId);
        let (stable, canary) = (upstream(rules.stable())?, upstream(rules.canary())?);
        let mut assigner = Assigner::new(rules, &state, &context.secret);
        if context.is_shared {
            let (number, at_ms) = record.as_ref().map_or((0, 0), |record| (record.number, record.last.at_ms));
            assigner = assigner.sharing(number, at_ms);
        }
        Some(Self { assigner, record, stable, canary })
    }
}
