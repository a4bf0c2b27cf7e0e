//! Releases as rules: between the upstreams of two ports, and on all routes of the namespace that lead to the stable one.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Service;
use routing_rules::rules;
use routing_rules::spec::{DiscoverySpec, PortSpec, ReleaseSpec, ServicePortSpec, UpstreamSpec};
use serde_json::{Value, json};

use super::form::PortOfService;
use super::{Release, ReleaseForm, called};
use crate::ObjectName;
use crate::conditions::{Condition, Refusal, written};
use crate::documents::Drafts;
use crate::findings::{Finding, Severity};
use crate::objects::Objects;
use crate::report::StatusUpdate;
use crate::services::{discovery, find_port, shown, upstream_name};

/// What is to be said of Releases, and what is known of them.
#[derive(Default)]
pub(crate) struct Released {
    pub(crate) statuses: Vec<StatusUpdate>,
    /// What each says of its state, by what it is called in rules.
    pub(crate) records: BTreeMap<String, Value>,
    /// What is in force of each.
    pub(crate) accepted: BTreeMap<ObjectName, ReleaseForm>,
}

/// Adds Releases to the rules, whose routes must all be there. One that is wrong stays what it was `before`.
pub(crate) fn translate(
    objects: &Objects,
    now: &str,
    before: &BTreeMap<ObjectName, ReleaseForm>,
    drafts: &mut Drafts,
    findings: &mut Vec<Finding>,
) -> Released {
    let mut released = Released::default();
    if objects.releases.is_empty() {
        return released;
    }
    let leads = drafts.upstreams().filter_map(|(name, spec)| {
        let way = UpstreamSpec { discovery: None, ..spec.clone() };
        Some((name.to_owned(), (Place::of(spec)?, way)))
    });
    let leads = leads.collect();
    let mut work = Work { objects, drafts, findings, leads };
    let mut all: Vec<_> = objects.releases.iter().collect();
    // The first whose audience takes a user has it, and who came first goes first.
    all.sort_by_cached_key(|(name, release)| (release.metadata.creation_timestamp.clone(), (*name).clone()));
    for (name, release) in all {
        let outcome = work.take(name, release, before.get(name), &mut released.accepted);
        if let Some(refusal) = outcome.as_ref().err() {
            work.warn(name, "Rejected", refusal.message.clone());
        }
        released.records.insert(called(name), release.status["record"].clone());
        let conditions = conditions(name, &outcome);
        let conditions = written(&conditions, release.generation(), &release.status["conditions"], now);
        released.statuses.extend(StatusUpdate::of(name, release, json!({"conditions": conditions})));
    }
    released
}

/// What is under way.
struct Work<'w> {
    objects: &'w Objects,
    drafts: &'w mut Drafts,
    findings: &'w mut Vec<Finding>,
    /// The ports that upstreams lead to, and all else about these.
    leads: BTreeMap<String, (Place, UpstreamSpec)>,
}

/// How routes of a namespace speak to a port.
struct Ways {
    /// The upstream that a release of it moves users from.
    upstream: String,
    /// Others that are the same, because the port has a number and a name.
    same: BTreeSet<String>,
    /// Others that are not, with the objects whose routes have them.
    others: BTreeSet<(String, String)>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    service: ObjectName,
    port: PortSpec,
}

/// The objects whose routes a release is one of.
type Routes = BTreeSet<String>;

impl Work<'_> {
    /// Adds one to the rules.
    ///
    /// # Errors
    /// It is wrong. What is in force instead is noted nonetheless.
    fn take(
        &mut self,
        name: &ObjectName,
        release: &Release,
        before: Option<&ReleaseForm>,
        accepted: &mut BTreeMap<ObjectName, ReleaseForm>,
    ) -> Result<Routes, Refusal> {
        let read = ReleaseForm::read(&release.spec.0).and_then(|form| {
            self.check(name, &form)?;
            Ok(form)
        });
        let routes = match read.as_ref().ok().or(before) {
            None => Ok(Routes::new()),
            Some(form) => {
                accepted.insert(name.clone(), form.clone());
                self.put(name, form)
            }
        };
        let stays = |Refusal { reason, message }| match before {
            None => Refusal { reason, message },
            Some(_) => Refusal { reason, message: format!("{message}; what was accepted before stays in force") },
        };
        read.map_err(stays).and(routes)
    }

    fn check(&self, name: &ObjectName, form: &ReleaseForm) -> Result<(), Refusal> {
        let (stable, canary) = (self.place(name, "stable", &form.stable)?, self.place(name, "canary", &form.canary)?);
        if self.is_same(&stable, &canary) {
            return Err(Refusal::new("Invalid", "spec.canary: it is the same port as that of spec.stable"));
        }
        let spec = form.clone().spec(stable.upstream(), canary.upstream());
        accepted(&called(name), &spec).map_err(|message| Refusal::new("Invalid", message))
    }

    fn place(&self, release: &ObjectName, field: &str, port: &PortOfService) -> Result<Place, Refusal> {
        let service = ObjectName::new(&release.namespace, &port.service);
        let missing = |message| Refusal::new("ServiceNotFound", format!("spec.{field}: {message}"));
        let object = self.objects.services.get(&service);
        let port = match (&port.port, object) {
            (Some(port), _) => port.clone(),
            (None, None) => {
                return Err(missing(format!("there is no Service {service}, so its port has to be named")));
            }
            (None, Some(object)) => only_port(object)
                .ok_or_else(|| missing(format!("Service {service} has not one port, so which one has to be named")))?,
        };
        Ok(Place { service, port })
    }

    /// Puts a release down that has been checked.
    fn put(&mut self, name: &ObjectName, form: &ReleaseForm) -> Result<Routes, Refusal> {
        let (stable, canary) = (self.place(name, "stable", &form.stable)?, self.place(name, "canary", &form.canary)?);
        for place in [&stable, &canary] {
            self.warn_of_missing(name, place);
        }
        let Ways { upstream, same, others } = self.ways(name, &stable);
        for (object, other) in others {
            let message = format!(
                "{object} speaks to Service {} in another way (upstream {other}, and not {upstream}): its users are not moved",
                stable.service
            );
            self.warn(name, "NotMoved", message);
        }
        let twin = self.canary_upstream(&stable, &upstream, &canary)?;
        let (release, document) = (called(name), format!("Release {name}"));
        let spec = form.clone().spec(upstream.clone(), twin);
        self.drafts.of(document).releases.insert(release.clone(), spec);
        let mut routes = Routes::new();
        for (object, route) in self.drafts.routes_of_mut(&name.namespace) {
            if route.upstream.as_ref().is_some_and(|leads| *leads == upstream || same.contains(leads)) {
                route.upstream = Some(upstream.clone());
                route.release.push(release.clone());
                routes.insert(object.to_owned());
            }
        }
        Ok(routes)
    }

    fn warn_of_missing(&mut self, release: &ObjectName, Place { service, port }: &Place) {
        match self.objects.services.get(service) {
            None => self.warn(release, "Missing", format!("there is no Service {service}")),
            Some(object) if find_port(object, port).is_none() => {
                self.warn(release, "Missing", format!("Service {service} has no port {}", shown(port)));
            }
            Some(_) => {}
        }
    }

    /// The upstreams of the stable port that routes of the namespace have: first of all the usual one, if it is among them.
    fn ways(&self, name: &ObjectName, stable: &Place) -> Ways {
        let mut found = BTreeMap::<&str, BTreeSet<&str>>::new();
        for (object, route) in self.drafts.routes_of(&name.namespace) {
            let upstream = route.upstream.as_deref();
            let leads =
                |upstream: &&str| self.leads.get(*upstream).is_some_and(|(place, _)| self.is_same(place, stable));
            if let Some(upstream) = upstream.filter(leads) {
                found.entry(upstream).or_default().insert(object);
            }
        }
        let usual = stable.upstream();
        let upstream = match found.first_key_value() {
            Some((first, _)) if !found.contains_key(&*usual) => (*first).to_owned(),
            _ => usual,
        };
        let way = self.leads.get(&upstream).map(|(_, way)| way);
        let is_same = |other: &str| self.leads.get(other).map(|(_, way)| way) == way;
        let (mut same, mut others) = (BTreeSet::new(), BTreeSet::new());
        for (other, objects) in found.into_iter().filter(|(other, _)| *other != upstream) {
            match is_same(other) {
                // The same port by another name.
                true => drop(same.insert(other.to_owned())),
                false => others.extend(objects.into_iter().map(|object| (object.to_owned(), other.to_owned()))),
            }
        }
        Ways { upstream, same, others }
    }

    /// The upstream of the canary: as that of stable, but for where it leads. Both are in the drafts from then on.
    fn canary_upstream(&mut self, stable: &Place, upstream: &str, canary: &Place) -> Result<String, Refusal> {
        let discover = |place: &Place| {
            let object = self.objects.services.get(&place.service);
            let found = discovery(&place.service, object, place.port.clone());
            found.map_err(|message| Refusal::new("ServiceNotFound", message))
        };
        let (of_stable, of_canary) = (discover(stable)?, discover(canary)?);
        let known = self.drafts.upstreams().find(|(name, _)| *name == upstream).map(|(_, spec)| spec.clone());
        let is_new = known.is_none();
        let spec = known.unwrap_or_else(|| UpstreamSpec { discovery: Some(of_stable), ..UpstreamSpec::default() });
        let mut twin = UpstreamSpec { discovery: Some(of_canary), ..spec.clone() };
        if let Some(server_name) = twin.tls.as_mut().and_then(|tls| tls.server_name.as_mut())
            && *server_name == stable.server_name()
        {
            *server_name = canary.server_name();
        }
        // Whoever speaks to the port in some way has a name for that way behind the usual one.
        let way = upstream.strip_prefix(&*stable.upstream()).unwrap_or_default();
        let called = format!("{}{way}", canary.upstream());
        if is_new {
            self.drafts.of(format!("Service {}", stable.service)).upstreams.insert(upstream.to_owned(), spec);
        }
        self.drafts.of(format!("Service {}", canary.service)).upstreams.entry(called.clone()).or_insert(twin);
        Ok(called)
    }

    /// Whether two places are one, whether they are called by number or by name.
    fn is_same(&self, one: &Place, other: &Place) -> bool {
        let port = |place: &Place| {
            let object = self.objects.services.get(&place.service)?;
            find_port(object, &place.port).map(|port| port.port)
        };
        one.service == other.service
            && (one.port == other.port || port(one).is_some_and(|number| port(other) == Some(number)))
    }

    fn warn(&mut self, release: &ObjectName, reason: &'static str, message: String) {
        let (kind, object) = ("Release", release.clone());
        self.findings.push(Finding { kind, object, reason, message, severity: Severity::Warning });
    }
}

impl ReleaseForm {
    fn read(written: &Value) -> Result<Self, Refusal> {
        serde_json::from_value(written.clone()).map_err(|error| Refusal::new("Invalid", format!("spec: {error}")))
    }
}

impl Place {
    /// Where an upstream leads, if that is a port.
    fn of(spec: &UpstreamSpec) -> Option<Self> {
        let Some(DiscoverySpec::Kubernetes(ServicePortSpec { service, port })) = &spec.discovery else { return None };
        let (namespace, name) = service.split_once('/')?;
        Some(Self { service: ObjectName::new(namespace, name), port: port.clone() })
    }

    /// What its usual upstream is called.
    fn upstream(&self) -> String {
        upstream_name(&self.service, &self.port)
    }

    fn server_name(&self) -> String {
        format!("{}.{}.svc", self.service.name, self.service.namespace)
    }
}

fn only_port(service: &Service) -> Option<PortSpec> {
    match service.spec.as_ref()?.ports.as_deref()? {
        [only] => u16::try_from(only.port).ok().map(PortSpec::Number),
        _ => None,
    }
}

/// Whether rules take it; else what is wrong, and where.
fn accepted(name: &str, spec: &ReleaseSpec) -> Result<(), String> {
    let mut problems = Vec::new();
    rules::Release::new(name, spec, &mut problems);
    match problems.first() {
        None => Ok(()),
        Some(problem) => {
            let place = problem.at.strip_prefix(&format!("releases.{name}")).unwrap_or(&problem.at);
            Err(format!("spec{place}: {}", problem.reason))
        }
    }
}

fn conditions(name: &ObjectName, outcome: &Result<Routes, Refusal>) -> Vec<Condition> {
    let mut conditions = vec![Condition::unless("Accepted", outcome.as_ref().err(), "it is in force")];
    if let Ok(routes) = outcome {
        let none = routes.is_empty().then(|| {
            let message =
                format!("no Ingress, HTTPRoute or GRPCRoute of namespace {} leads to spec.stable", name.namespace);
            Refusal::new("NoRoute", message)
        });
        let objects = routes.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        conditions.push(Condition::unless("Attached", none.as_ref(), &format!("it moves users of {objects}")));
    }
    conditions
}
