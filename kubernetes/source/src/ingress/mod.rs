//! Ingresses as rules: one route for each path of each host, an upstream for each port of a Service, a certificate for each Secret.
//!
//! Pure: the same objects give the same rules. One Ingress never spoils another: what is wrong with it is a [`Finding`], and has no effect.

mod class;

mod served;

mod annotations;

mod tuning;

mod paths;

mod routes;

mod backend;

mod canaries;

mod status;

mod tls;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use routing_rules::spec::PathSpec;

use crate::ObjectName;
use crate::documents::Drafts;
use crate::findings::{Finding, Severity};
use crate::objects::Objects;
use crate::options::Options;
use canaries::{Main, Written};
use served::Ours;
use tls::Certificates;

pub(crate) use annotations::{Remark, Verdict, known};
pub(crate) use status::updates;

/// The Ingresses that are ours.
pub(crate) struct Served {
    pub(crate) ingresses: Vec<ObjectName>,
    /// What their annotations amount to, where that is not what it is in ingress-nginx. The findings have it, too.
    pub(crate) noted: Vec<Noted>,
}

/// What is to be said of an annotation of an Ingress.
#[derive(Clone, Debug)]
pub(crate) struct Noted {
    pub(crate) ingress: ObjectName,
    /// Its whole name.
    pub(crate) key: String,
    pub(crate) remark: Remark,
}

/// Makes rules of objects, and says what is to be said about them.
pub(crate) fn translate(
    objects: &Objects,
    options: &Options,
    drafts: &mut Drafts,
    findings: &mut Vec<Finding>,
) -> Served {
    let mut ours = Ours::of(objects, options);
    findings.append(&mut ours.findings);
    let mut work =
        Work { objects, drafts, findings, claims: BTreeMap::new(), hosts: ours.hosts(), mains: BTreeMap::new() };
    let mut certificates = Certificates::default();
    for served in &ours.served {
        if served.canary.is_none() {
            work.take(served);
        }
        certificates.take(&mut work, served.name, served.spec);
    }
    // They need the routes of all others.
    for served in &ours.served {
        if let Some(canary) = &served.canary {
            work.take_canary(served, canary);
        }
    }
    certificates.add(&mut work, &options.certificates);
    for name in &options.config_maps {
        work.take_config_map(name);
    }
    let ingresses = ours.served.iter().map(|served| served.name.clone()).collect();
    Served { ingresses, noted: ours.noted }
}

/// What is under way.
struct Work<'w> {
    objects: &'w Objects,
    drafts: &'w mut Drafts,
    findings: &'w mut Vec<Finding>,
    /// Who has each path of each host: whoever came first.
    claims: BTreeMap<Claim, &'w ObjectName>,
    /// The hosts that Ingresses have rules for.
    hosts: BTreeSet<String>,
    /// The routes that canaries may take users of.
    mains: BTreeMap<Written, Main<'w>>,
}

/// A host, none for all, and a path of it.
type Claim = (Option<String>, Path);

/// How a path must look, in the order in which Ingress has its kinds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Path {
    Exact(String),
    Prefix(String),
    Regex(String),
}

impl Path {
    fn spec(&self) -> PathSpec {
        match self {
            Self::Exact(path) => PathSpec::Exact(path.clone()),
            Self::Prefix(path) => PathSpec::Prefix(path.clone()),
            Self::Regex(expression) => PathSpec::Regex(expression.clone()),
        }
    }
}

impl Work<'_> {
    fn take_config_map(&mut self, name: &ObjectName) {
        let Some(config_map) = self.objects.config_maps.get(name) else {
            return self.say("ConfigMap", name, "Missing", "there is no such ConfigMap".into());
        };
        for (key, text) in config_map.data.iter().flatten() {
            self.drafts.put_text(format!("ConfigMap {name} {key}"), text.clone());
        }
    }

    fn warn(&mut self, ingress: &ObjectName, reason: &'static str, message: String) {
        self.say("Ingress", ingress, reason, message);
    }

    fn say(&mut self, kind: &'static str, object: &ObjectName, reason: &'static str, message: String) {
        self.findings.push(Finding { kind, object: object.clone(), reason, message, severity: Severity::Warning });
    }
}

impl Noted {
    /// As whoever wrote the Ingress is told.
    pub(crate) fn finding(&self) -> Finding {
        let Self { ingress, key, remark: Remark { verdict, text } } = self;
        let (reason, severity) = match verdict {
            Verdict::Differently | Verdict::Needless => ("Annotation", Severity::Note),
            Verdict::Not => ("Annotation", Severity::Warning),
            Verdict::Closed => ("Closed", Severity::Warning),
        };
        let message = match verdict {
            Verdict::Closed => {
                format!("{key}: nobody is let in, because it is to keep somebody out and cannot be followed: {text}")
            }
            _ => format!("{key}: {text}"),
        };
        Finding { kind: "Ingress", object: ingress.clone(), reason, message, severity }
    }
}
