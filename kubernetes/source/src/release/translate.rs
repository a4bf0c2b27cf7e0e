//! Releases as rules: between the upstreams of two ports, and on all routes of the namespace that lead to the stable one.
//!
//! A release is known by its two upstreams, so what these are called depends on the ports alone: not on who has routes there, nor on what
//! Ingresses say of the way in which it is spoken to.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{Service, ServicePort};
use routing_rules::rules;
use routing_rules::spec::{DiscoverySpec, PortSpec, ReleaseSpec, ServicePortSpec, UpstreamSpec};
use serde_json::{Value, json};

use super::form::PortOfService;
use super::{Release, ReleaseForm, called};
use crate::ObjectName;
use crate::conditions::{Condition, Refusal, first, written};
use crate::documents::Drafts;
use crate::findings::{Finding, Severity};
use crate::objects::{Objects, by_age};
use crate::options::Options;
use crate::report::StatusUpdate;
use crate::services::{discovery, find_port, lack, server_name, upstream_name};

/// What is to be said of Releases, and what is known of them.
#[derive(Default)]
pub(crate) struct Released {
    pub(crate) statuses: Vec<StatusUpdate>,
    /// What each says of its state, by what it is called in rules.
    pub(crate) records: BTreeMap<String, Value>,
    /// What is in force of each.
    pub(crate) accepted: BTreeMap<ObjectName, Accepted>,
}

/// What is known of Releases from before.
#[derive(Default)]
pub(crate) struct ReleasesBefore {
    /// As they were accepted last.
    pub(crate) accepted: BTreeMap<ObjectName, Accepted>,
    /// Why rules refuse what they have become since.
    pub(crate) refused: BTreeMap<ObjectName, String>,
}

/// A release that makes sense.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Accepted {
    stable: Place,
    canary: Place,
    spec: ReleaseSpec,
}

/// Adds Releases to the rules, whose routes must all be there. One that is wrong stays what it was `before`.
pub(crate) fn translate(
    objects: &Objects,
    options: &Options,
    now: &str,
    before: &ReleasesBefore,
    drafts: &mut Drafts,
    findings: &mut Vec<Finding>,
) -> Released {
    let mut released = Released::default();
    let ours = by_age(objects.releases.iter().filter(|(_, release)| is_ours(options, release)));
    if ours.is_empty() {
        return released;
    }
    let leads = drafts.upstreams().filter_map(|(name, spec)| {
        let way = UpstreamSpec { discovery: None, ..spec.clone() };
        Some((name.to_owned(), (Place::of(spec)?, way)))
    });
    let leads = leads.collect();
    let mut work = Work { objects, drafts, findings, leads };
    // The first whose audience takes a user has it.
    for (name, release) in ours {
        let Taken { in_force, routes, refusal } = work.take(name, release, before.accepted.get(name));
        if let Some(Refusal { message, .. }) = &refusal {
            work.warn(name, "Rejected", message.clone());
        }
        // What rules refuse they have told themselves.
        let refused = before.refused.get(name).map(|reason| Refusal::new("Refused", reason.clone()));
        let conditions = conditions(name, refusal.or(refused).as_ref(), routes.as_ref());
        let conditions = written(&conditions, release.generation(), &release.status["conditions"], now);
        released.statuses.extend(StatusUpdate::of(name, release, json!({"conditions": conditions})));
        released.records.insert(called(name), release.status["record"].clone());
        released.accepted.extend(in_force.map(|accepted| (name.clone(), accepted)));
    }
    released
}

/// Whether a Release is for this installation.
fn is_ours(options: &Options, release: &Release) -> bool {
    match &release.spec.0["class"] {
        Value::Null => options.classless_releases,
        class => *class == *options.ingress_class,
    }
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
#[derive(Default)]
struct Ways {
    /// All about the upstream that has most right to be meant, but for where it leads.
    way: UpstreamSpec,
    /// The upstreams that are so.
    upstreams: BTreeSet<String>,
    /// What is otherwise, with the objects whose routes have it.
    others: BTreeSet<(String, String)>,
}

/// A port of a Service: by its number, as far as that is known.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    service: ObjectName,
    port: PortSpec,
}

/// The objects whose routes a release is one of.
type Routes = BTreeSet<String>;

/// What has become of a Release.
struct Taken {
    in_force: Option<Accepted>,
    /// None if nothing of it is among the rules.
    routes: Option<Routes>,
    /// What is wrong with it as it is written.
    refusal: Option<Refusal>,
}

impl Work<'_> {
    /// Adds a Release to the rules: as it is written, or if that makes no sense, as it was accepted `before`, or as its record says.
    fn take(&mut self, name: &ObjectName, release: &Release, before: Option<&Accepted>) -> Taken {
        let (in_force, mut refusal) = match self.read(name, release) {
            Ok(accepted) => (Some(accepted), None),
            Err(refusal) => {
                let recorded = || Accepted::of_record(name, &release.status["record"]);
                (before.cloned().or_else(recorded), Some(refusal))
            }
        };
        let routes = match in_force.as_ref().map(|accepted| self.put(name, accepted)) {
            None => None,
            Some(Ok(routes)) => {
                if let Some(Refusal { message, .. }) = &mut refusal {
                    message.push_str("; what was accepted before stays in force");
                }
                Some(routes)
            }
            Some(Err(trouble)) => {
                refusal.get_or_insert(trouble);
                None
            }
        };
        Taken { in_force, routes, refusal }
    }

    /// What a Release says.
    ///
    /// # Errors
    /// It makes no sense.
    fn read(&self, name: &ObjectName, release: &Release) -> Result<Accepted, Refusal> {
        let form: ReleaseForm = serde_json::from_value(release.spec.0.clone())
            .map_err(|error| Refusal::new("Invalid", format!("spec: {error}")))?;
        let record = &release.status["record"];
        let stable = self.place(name, "stable", &form.stable, record)?;
        let canary = self.place(name, "canary", &form.canary, record)?;
        if stable == canary {
            return Err(Refusal::new("Invalid", "spec.canary: it is the same port as that of spec.stable"));
        }
        let spec = form.spec(stable.upstream(), canary.upstream());
        check(&called(name), &spec).map_err(|message| Refusal::new("Invalid", message))?;
        Ok(Accepted { stable, canary, spec })
    }

    /// The port that is meant. Where the Service has gone, or has more ports than before, it is the one that the record is about.
    fn place(
        &self,
        release: &ObjectName,
        field: &str,
        written: &PortOfService,
        record: &Value,
    ) -> Result<Place, Refusal> {
        let service = ObjectName::new(&release.namespace, &written.service);
        let object = self.objects.services.get(&service);
        let found = match (&written.port, object) {
            (Some(port), Some(object)) => find_port(object, port),
            (None, Some(object)) => only_port(object),
            (_, None) => None,
        };
        let number = found.and_then(|port| u16::try_from(port.port).ok()).map(PortSpec::Number);
        let recorded = || {
            let recorded = record[field].as_str().and_then(|upstream| Place::called(&release.namespace, upstream));
            recorded.filter(|place| place.service == service).map(|place| place.port)
        };
        let given = || match &written.port {
            Some(number @ PortSpec::Number(_)) => Some(number.clone()),
            Some(name @ PortSpec::Name(_)) => recorded().or_else(|| Some(name.clone())),
            None => recorded(),
        };
        let port = number.or_else(given).ok_or_else(|| {
            let message = match object {
                None => format!("there is no Service {service}, so its port has to be named"),
                Some(_) => format!("Service {service} has not one port, so which one has to be named"),
            };
            Refusal::new("ServiceNotFound", format!("spec.{field}: {message}"))
        })?;
        Ok(Place { service, port })
    }

    /// Puts a release down, and gives it to all routes that are meant.
    ///
    /// # Errors
    /// A Service is another name of something outside, and has no such port.
    fn put(&mut self, name: &ObjectName, accepted: &Accepted) -> Result<Routes, Refusal> {
        let Accepted { stable, canary, spec } = accepted;
        for Place { service, port } in [stable, canary] {
            if let Some(lack) = lack(service, self.objects.services.get(service), port) {
                self.warn(name, "Missing", lack);
            }
        }
        let Ways { way, upstreams, others } = self.ways(name, stable);
        for (object, other) in others {
            let service = &stable.service;
            let message = format!(
                "{object} speaks to Service {service} in another way ({other}): the release does not move its users"
            );
            self.warn(name, "NotMoved", message);
        }
        self.open(stable, way.clone())?;
        self.open(canary, twin(way, stable, canary))?;
        let release = called(name);
        self.drafts.of(format!("Release {name}")).releases.insert(release.clone(), spec.clone());
        let (upstream, mut routes) = (stable.upstream(), Routes::new());
        for (object, route) in self.drafts.routes_of_mut(&name.namespace) {
            if route.upstream.as_ref().is_some_and(|leads| *leads == upstream || upstreams.contains(leads)) {
                route.upstream = Some(upstream.clone());
                route.release.push(release.clone());
                routes.insert(object.to_owned());
            }
        }
        Ok(routes)
    }

    /// Puts down the upstream of a port.
    fn open(&mut self, place: &Place, way: UpstreamSpec) -> Result<(), Refusal> {
        let object = self.objects.services.get(&place.service);
        let found = discovery(&place.service, object, place.port.clone());
        let found = found.map_err(|message| Refusal::new("ServiceNotFound", message))?;
        let upstreams = &mut self.drafts.of(format!("Service {}", place.service)).upstreams;
        upstreams.insert(place.upstream(), UpstreamSpec { discovery: Some(found), ..way });
        Ok(())
    }

    /// How routes of the namespace speak to a port: as is usual, if one does; else as the first in the order of the alphabet.
    fn ways(&self, name: &ObjectName, stable: &Place) -> Ways {
        let mut found = BTreeMap::<&str, BTreeSet<&str>>::new();
        let mut ways = Ways::default();
        for (object, route) in self.drafts.routes_of(&name.namespace) {
            let parts = route.split.iter().map(|part| part.upstream.as_str());
            for upstream in route.upstream.as_deref().into_iter().chain(parts) {
                let leads = self.leads.get(upstream).is_some_and(|(place, _)| self.is_same(place, stable));
                match leads {
                    true if route.upstream.is_none() => {
                        ways.others.insert((object.to_owned(), "as a part of several".into()));
                    }
                    true => drop(found.entry(upstream).or_default().insert(object)),
                    false => {}
                }
            }
        }
        let way = |upstream: &str| self.leads.get(upstream).map(|(_, way)| way);
        let usual = UpstreamSpec::default();
        let first = found.keys().find(|upstream| way(upstream) == Some(&usual)).or_else(|| found.keys().next());
        ways.way = first.and_then(|upstream| way(upstream)).unwrap_or(&usual).clone();
        for (upstream, objects) in found {
            match way(upstream) == Some(&ways.way) {
                true => drop(ways.upstreams.insert(upstream.to_owned())),
                false => {
                    let other = |object: &str| (object.to_owned(), format!("upstream {upstream}"));
                    ways.others.extend(objects.into_iter().map(other));
                }
            }
        }
        ways
    }

    /// Whether a place, whose port may be called by its name, is one with a number.
    fn is_same(&self, one: &Place, other: &Place) -> bool {
        let number = |place: &Place| {
            let object = self.objects.services.get(&place.service)?;
            find_port(object, &place.port).map(|port| port.port)
        };
        one.service == other.service
            && (one.port == other.port || number(one).is_some_and(|port| number(other) == Some(port)))
    }

    fn warn(&mut self, release: &ObjectName, reason: &'static str, message: String) {
        let (kind, object) = ("Release", release.clone());
        self.findings.push(Finding { kind, object, reason, message, severity: Severity::Warning });
    }
}

impl Accepted {
    /// What the record of a release says was accepted last.
    fn of_record(name: &ObjectName, record: &Value) -> Option<Self> {
        let spec: ReleaseSpec = serde_json::from_value(record["rules"].clone()).ok()?;
        let place = |upstream: &str| Place::called(&name.namespace, upstream);
        let (stable, canary) = (place(&spec.stable)?, place(&spec.canary)?);
        check(&called(name), &spec).is_ok().then_some(Self { stable, canary, spec })
    }
}

impl Place {
    /// Where an upstream leads, if that is a port.
    fn of(spec: &UpstreamSpec) -> Option<Self> {
        let Some(DiscoverySpec::Kubernetes(ServicePortSpec { service, port })) = &spec.discovery else { return None };
        let (namespace, name) = service.split_once('/')?;
        Some(Self { service: ObjectName::new(namespace, name), port: port.clone() })
    }

    /// What its upstream is called that releases have. Nobody else's has an underscore.
    fn upstream(&self) -> String {
        format!("{}{RELEASED}", upstream_name(&self.service, &self.port))
    }

    /// The port in a namespace whose upstream is called so.
    fn called(namespace: &str, upstream: &str) -> Option<Self> {
        let (service, port) =
            upstream.strip_suffix(RELEASED)?.strip_prefix(namespace)?.strip_prefix('.')?.rsplit_once('.')?;
        let port = port.parse().map_or_else(|_| PortSpec::Name(port.to_owned()), PortSpec::Number);
        Some(Self { service: ObjectName::new(namespace, service), port })
    }
}

/// The canary is spoken to as stable is, but that the Service it belongs to has another name.
fn twin(mut way: UpstreamSpec, stable: &Place, canary: &Place) -> UpstreamSpec {
    if let Some(name) = way.tls.as_mut().and_then(|tls| tls.server_name.as_mut())
        && *name == server_name(&stable.service)
    {
        *name = server_name(&canary.service);
    }
    way
}

fn only_port(service: &Service) -> Option<&ServicePort> {
    match service.spec.as_ref()?.ports.as_deref()? {
        [only] => Some(only),
        _ => None,
    }
}

/// Whether rules take it; else what is wrong, and where.
fn check(name: &str, spec: &ReleaseSpec) -> Result<(), String> {
    let mut problems = Vec::new();
    rules::Release::new(name, spec, &mut problems);
    match first(&problems, &format!("releases.{name}")) {
        None => Ok(()),
        Some((place, reason)) => Err(format!("spec{place}: {reason}")),
    }
}

/// What is told of a release. `routes`: of which objects' routes it is one, if it is in force at all.
fn conditions(name: &ObjectName, refusal: Option<&Refusal>, routes: Option<&Routes>) -> Vec<Condition> {
    let mut conditions = vec![Condition::unless("Accepted", refusal, "it is in force")];
    if let Some(routes) = routes {
        let none = routes.is_empty().then(|| {
            let namespace = &name.namespace;
            let message = format!("no Ingress, HTTPRoute or GRPCRoute of namespace {namespace} leads to spec.stable");
            Refusal::new("NoRoute", message)
        });
        let objects = routes.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        conditions.push(Condition::unless("Attached", none.as_ref(), &format!("it moves users of {objects}")));
    }
    conditions
}

/// Behind the name of a port's usual upstream.
const RELEASED: &str = "_released";
