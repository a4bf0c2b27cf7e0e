//! What all objects amount to.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::ObjectName;
use crate::documents::{Drafts, Made};
use crate::findings::Finding;
use crate::ingress::{Noted, Served};
use crate::objects::Objects;
use crate::options::Options;
use crate::release::{self, Accepted, Released, ReleasesBefore};
use crate::report::StatusUpdate;
use crate::{gateway, ingress};

/// What the objects were made of before.
#[derive(Default)]
pub(crate) struct Before {
    pub(crate) made: Made,
    pub(crate) releases: ReleasesBefore,
}

/// Rules, and what is to be said about what they are made of.
pub(crate) struct Translation {
    pub(crate) made: Made,
    pub(crate) findings: Vec<Finding>,
    /// Ingresses that are ours.
    pub(crate) served: Vec<ObjectName>,
    /// What Releases say of their state, by what they are called in rules.
    pub(crate) records: BTreeMap<String, Value>,
    /// Releases that are in force.
    pub(crate) accepted: BTreeMap<ObjectName, Accepted>,
    /// Statuses that are not as they should be.
    pub(crate) statuses: Vec<StatusUpdate>,
    /// What annotations of Ingresses amount to.
    pub(crate) noted: Vec<Noted>,
}

/// Makes rules of objects, whose routes are all there before releases are. Texts that are as they were `before` are the same ones; `now`
/// is the time, as RFC 3339 has it.
pub(crate) fn translate(objects: &Objects, options: &Options, now: &str, before: &Before) -> Translation {
    let (mut drafts, mut findings) = (Drafts::default(), Vec::new());
    let Served { ingresses: served, noted } = ingress::translate(objects, options, &mut drafts, &mut findings);
    let mut statuses = ingress::updates(objects, options, &served);
    statuses.extend(gateway::translate(objects, options, now, &mut drafts));
    let released = release::translate(objects, options, now, &before.releases, &mut drafts, &mut findings);
    let Released { statuses: of_releases, records, accepted } = released;
    statuses.extend(of_releases);
    findings.sort();
    findings.dedup();
    Translation { made: drafts.finish(&before.made), findings, served, records, accepted, statuses, noted }
}
