//! What all objects amount to.

use crate::ObjectName;
use crate::documents::{Documents, Drafts};
use crate::findings::Finding;
use crate::ingress::{Noted, Served};
use crate::objects::Objects;
use crate::options::Options;
use crate::report::StatusUpdate;
use crate::{gateway, ingress};

/// Rules, and what is to be said about what they are made of.
pub(crate) struct Translation {
    pub(crate) documents: Documents,
    pub(crate) findings: Vec<Finding>,
    /// Ingresses that are ours.
    pub(crate) served: Vec<ObjectName>,
    /// Statuses that are not as they should be.
    pub(crate) statuses: Vec<StatusUpdate>,
    /// What annotations of Ingresses amount to.
    pub(crate) noted: Vec<Noted>,
}

/// Makes rules of objects. Texts that are as they were `before` are the same ones; `now` is the time, as RFC 3339 has it.
pub(crate) fn translate(objects: &Objects, options: &Options, now: &str, before: &Documents) -> Translation {
    let (mut drafts, mut findings) = (Drafts::default(), Vec::new());
    let Served { ingresses: served, noted } = ingress::translate(objects, options, &mut drafts, &mut findings);
    let mut statuses = ingress::updates(objects, options, &served);
    statuses.extend(gateway::translate(objects, options, now, &mut drafts));
    findings.sort();
    findings.dedup();
    Translation { documents: drafts.finish(before), findings, served, statuses, noted }
}
