//! Ingresses of our class, with what their annotations amount to.

use std::collections::BTreeSet;

use k8s_openapi::api::networking::v1::{HTTPIngressPath, Ingress, IngressSpec};

use super::Noted;
use super::annotations::{self, Annotated, Canary};
use super::class::Class;
use super::tuning::Tuning;
use crate::ObjectName;
use crate::findings::{Finding, Severity};
use crate::objects::{Objects, by_age};
use crate::options::Options;

/// An Ingress that is ours.
pub(super) struct Served<'o> {
    pub(super) name: &'o ObjectName,
    pub(super) spec: &'o IngressSpec,
    pub(super) tuning: Tuning,
    /// There is one if it is one: it has no routes of its own then.
    pub(super) canary: Option<Canary>,
}

/// One path of a host.
pub(super) struct Asked<'o> {
    /// Where it is written.
    pub(super) place: String,
    /// What tells it from the others, in names of routes.
    pub(super) id: String,
    pub(super) host: Option<String>,
    pub(super) path: &'o HTTPIngressPath,
}

/// All that are ours.
pub(super) struct Ours<'o> {
    /// The oldest first: who came first keeps what later ones also want.
    pub(super) served: Vec<Served<'o>>,
    pub(super) findings: Vec<Finding>,
    pub(super) noted: Vec<Noted>,
}

impl<'o> Ours<'o> {
    pub(super) fn of(objects: &'o Objects, options: &'o Options) -> Self {
        let mut ours = Self { served: Vec::new(), findings: Vec::new(), noted: Vec::new() };
        let class = Class::new(objects, options);
        let mut ingresses = Vec::new();
        for (name, ingress) in &objects.ingresses {
            match class.has(ingress) {
                Ok(true) => ingresses.push((name, ingress)),
                Ok(false) => {}
                Err(message) => ours.findings.push(Finding {
                    kind: "Ingress",
                    object: name.clone(),
                    reason: "IngressClass",
                    message,
                    severity: Severity::Warning,
                }),
            }
        }
        for (name, ingress) in by_age(ingresses.into_iter()) {
            ours.take(objects, name, ingress);
        }
        ours
    }

    fn take(&mut self, objects: &Objects, name: &'o ObjectName, ingress: &'o Ingress) {
        let Annotated { tuning, canary, remarks } = annotations::read(objects, name, ingress);
        let noted = remarks.into_iter().map(|(key, remark)| Noted { ingress: name.clone(), key, remark });
        let noted: Vec<_> = noted.collect();
        self.findings.extend(noted.iter().map(Noted::finding));
        self.noted.extend(noted);
        if let Some(spec) = &ingress.spec {
            self.served.push(Served { name, spec, tuning, canary });
        }
    }

    /// The hosts that Ingresses have rules for.
    pub(super) fn hosts(&self) -> BTreeSet<String> {
        self.served.iter().flat_map(Served::hosts).flatten().collect()
    }
}

impl<'o> Served<'o> {
    /// All paths, in the order in which they are written.
    pub(super) fn paths(&self) -> impl Iterator<Item = Asked<'o>> + use<'o> {
        self.spec.rules.iter().flatten().enumerate().flat_map(|(rule_index, rule)| {
            let paths = rule.http.as_ref().map_or(&[][..], |http| &http.paths);
            paths.iter().enumerate().map(move |(path_index, path)| Asked {
                place: format!("spec.rules[{rule_index}].http.paths[{path_index}]"),
                id: format!("{rule_index}.{path_index}"),
                host: named(rule.host.as_deref()),
                path,
            })
        })
    }

    /// The hosts of its rules, none standing for all. Without rules it is for all.
    pub(super) fn hosts(&self) -> BTreeSet<Option<String>> {
        let hosts: BTreeSet<_> = self.spec.rules.iter().flatten().map(|rule| named(rule.host.as_deref())).collect();
        if hosts.is_empty() { BTreeSet::from([None]) } else { hosts }
    }

    /// Whether it has TLS for a host. A list without hosts is for those of its rules.
    pub(super) fn has_tls(&self, host: Option<&str>) -> bool {
        self.spec.tls.iter().flatten().any(|tls| {
            let mut hosts = tls.hosts.iter().flatten().peekable();
            hosts.peek().is_none() || host.is_some_and(|host| hosts.any(|pattern| is_of(host, pattern)))
        })
    }
}

/// A host as rules have it, none standing for all.
fn named(host: Option<&str>) -> Option<String> {
    host.filter(|host| !host.is_empty()).map(str::to_ascii_lowercase)
}

/// Whether a certificate for a pattern is one for a host.
fn is_of(host: &str, pattern: &str) -> bool {
    let below = |pattern: &str| host.split_once('.').is_some_and(|(_, parent)| parent.eq_ignore_ascii_case(pattern));
    host.eq_ignore_ascii_case(pattern) || pattern.strip_prefix("*.").is_some_and(below)
}
