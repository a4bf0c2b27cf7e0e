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
    let places = drafts.upstreams().filter_map(|(name, spec)| Some((name.to_owned(), Place::of(spec)?))).collect();
    let mut work = Work { objects, drafts, findings, places };
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
    /// The ports that upstreams lead to.
    places: BTreeMap<String, Place>,
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
        let (upstream, others) = self.stable_upstream(name, &stable);
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
        for (object, route) in self.drafts.routes_of(&name.namespace) {
            if route.upstream.as_ref() == Some(&upstream) {
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

    /// The upstream of the stable port that routes of the namespace have: the usual one if there are several. The others come with the
    /// objects that have them.
    fn stable_upstream(&mut self, name: &ObjectName, stable: &Place) -> (String, BTreeSet<(String, String)>) {
        let mut found = BTreeMap::<String, BTreeSet<String>>::new();
        let (places, objects) = (&self.places, self.objects);
        for (object, route) in self.drafts.routes_of(&name.namespace) {
            let upstream = route.upstream.as_ref();
            let leads = |upstream: &&String| places.get(*upstream).is_some_and(|place| is_same(objects, place, stable));
            if let Some(upstream) = upstream.filter(leads) {
                found.entry(upstream.clone()).or_default().insert(object.to_owned());
            }
        }
        let usual = stable.upstream();
        let chosen = match found.first_key_value() {
            Some((first, _)) if !found.contains_key(&usual) => first.clone(),
            _ => usual,
        };
        found.remove(&chosen);
        let others =
            found.into_iter().flat_map(|(upstream, objects)| objects.into_iter().map(move |it| (it, upstream.clone())));
        (chosen, others.collect())
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

    fn is_same(&self, one: &Place, other: &Place) -> bool {
        is_same(self.objects, one, other)
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

/// Whether two places are one, whether they are called by number or by name.
fn is_same(objects: &Objects, one: &Place, other: &Place) -> bool {
    let port = |place: &Place| {
        let object = objects.services.get(&place.service)?;
        find_port(object, &place.port).map(|port| port.port)
    };
    one.service == other.service
        && (one.port == other.port || port(one).is_some_and(|number| port(other) == Some(number)))
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
