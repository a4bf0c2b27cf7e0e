//! Which pods are behind a port of a Service.
//!
//! EndpointSlices change with every pod that comes and goes, and are many; so they are kept apart from the objects that rules are made of,
//! as little of them as there is to know, and whoever wants the pods of one Service is told of that one alone.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use routing_rules::rules::{Port, ServicePort};
use tokio::sync::watch;

use crate::ObjectName;
use crate::scope::Scope;
use crate::watch::Change;

/// The pods of all Services.
#[derive(Default)]
pub struct Pods(Mutex<Known>);

#[derive(Default)]
struct Known {
    services: HashMap<ObjectName, Behind>,
    /// Which Service each slice belongs to.
    owners: HashMap<ObjectName, ObjectName>,
    /// What was not heard yet. Nothing is asked before this is known.
    awaited: Option<HashSet<Part>>,
    /// Why they are not heard.
    trouble: Option<Arc<str>>,
}

/// What is heard as a whole: Services or slices, of one namespace or of all.
type Part = (Kind, Scope);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Services,
    Slices,
}

/// What is behind one Service.
struct Behind {
    /// What the Service says, if there is one.
    front: Option<Front>,
    slices: BTreeMap<ObjectName, Slice>,
    changed: watch::Sender<()>,
}

/// What there is to know of a Service.
#[derive(PartialEq)]
struct Front {
    /// Number and name.
    ports: Vec<(u16, Box<str>)>,
    /// Whether addresses of version 6 come first, where its pods have some of both.
    is_v6_first: bool,
}

/// What there is to know of an EndpointSlice.
#[derive(PartialEq)]
struct Slice {
    /// Numbers by the names of the Service's ports.
    ports: Vec<(Box<str>, u16)>,
    ready: Vec<IpAddr>,
    /// Those that end, and still serve.
    ending: Vec<IpAddr>,
}

/// The pods of one port, for who follows them.
pub struct Subscription {
    pods: Arc<Pods>,
    service: ObjectName,
    port: Port,
    changes: watch::Receiver<()>,
}

impl Pods {
    /// Follows a port of a Service, whether or not there is one.
    pub fn subscribe(self: &Arc<Self>, port: &ServicePort) -> Subscription {
        let service = ObjectName::new(&port.namespace, &port.service);
        let changes = self.lock().behind(&service).changed.subscribe();
        Subscription { pods: Arc::clone(self), service, port: port.port.clone(), changes }
    }

    /// How many Services there are, and how many pods behind them.
    pub fn count(&self) -> (usize, usize) {
        let known = self.lock();
        let services = known.services.values().filter(|behind| behind.front.is_some());
        let slices = known.services.values().flat_map(|behind| behind.slices.values());
        (services.count(), slices.map(|slice| slice.ready.len()).sum())
    }

    /// From now on there is something to hear of these.
    pub(crate) fn await_all(&self, scopes: &[Scope]) {
        let parts = |kind| scopes.iter().map(move |scope| (kind, scope.clone()));
        self.lock().awaited = Some(parts(Kind::Services).chain(parts(Kind::Slices)).collect());
    }

    /// There is nothing to hear for this reason.
    pub(crate) fn lose(&self, reason: &str) {
        self.lock().lose(reason);
    }

    pub(crate) fn hear_services(&self, scope: &Scope, change: &Change<Service>) {
        let mut known = self.lock();
        match change {
            Change::All(services) => {
                let is_gone = |(name, behind): &(&ObjectName, &Behind)| {
                    behind.front.is_some() && scope.covers(name) && !services.contains_key(name)
                };
                let gone: Vec<_> = known.services.iter().filter(is_gone).map(|(name, _)| name.clone()).collect();
                gone.iter().for_each(|name| known.set_front(name, None));
                services.iter().for_each(|(name, service)| known.set_front(name, Some(Front::of(service))));
                known.has_heard(Kind::Services, scope);
            }
            Change::Is(name, service) => known.set_front(name, Some(Front::of(service))),
            Change::Gone(name) => known.set_front(name, None),
            Change::Lost(lost) => known.lose(&lost.to_string()),
        }
    }

    pub(crate) fn hear_slices(&self, scope: &Scope, change: Change<EndpointSlice>) {
        let mut known = self.lock();
        match change {
            Change::All(slices) => {
                let is_gone = |name: &&ObjectName| scope.covers(name) && !slices.contains_key(name);
                let gone: Vec<_> = known.owners.keys().filter(is_gone).cloned().collect();
                gone.iter().for_each(|name| known.remove_slice(name));
                slices.iter().for_each(|(name, slice)| known.put_slice(name, slice));
                known.has_heard(Kind::Slices, scope);
            }
            Change::Is(name, slice) => known.put_slice(&name, &slice),
            Change::Gone(name) => known.remove_slice(&name),
            Change::Lost(lost) => known.lose(&lost.to_string()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn behind(&mut self, service: &ObjectName) -> &mut Behind {
        let new = || Behind { front: None, slices: BTreeMap::new(), changed: watch::Sender::new(()) };
        self.services.entry(service.clone()).or_insert_with(new)
    }

    fn set_front(&mut self, service: &ObjectName, front: Option<Front>) {
        let behind = self.behind(service);
        if behind.front != front {
            behind.front = front;
            behind.changed.send_replace(());
        }
        self.forget_if_unused(service);
    }

    fn put_slice(&mut self, name: &ObjectName, slice: &EndpointSlice) {
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get(SERVICE_NAME)) else { return self.remove_slice(name) };
        let service = ObjectName::new(&name.namespace, service);
        if self.owners.get(name).is_some_and(|before| *before != service) {
            self.remove_slice(name);
        }
        self.owners.insert(name.clone(), service.clone());
        let (behind, slice) = (self.behind(&service), Slice::of(slice));
        if behind.slices.get(name) != Some(&slice) {
            behind.slices.insert(name.clone(), slice);
            behind.changed.send_replace(());
        }
    }

    fn remove_slice(&mut self, name: &ObjectName) {
        let Some(service) = self.owners.remove(name) else { return };
        let behind = self.behind(&service);
        behind.slices.remove(name);
        behind.changed.send_replace(());
        self.forget_if_unused(&service);
    }

    /// Services come and go for years.
    fn forget_if_unused(&mut self, service: &ObjectName) {
        let is_unused = |behind: &Behind| {
            behind.front.is_none() && behind.slices.is_empty() && behind.changed.receiver_count() == 0
        };
        if self.services.get(service).is_some_and(is_unused) {
            self.services.remove(service);
        }
    }

    fn has_heard(&mut self, kind: Kind, scope: &Scope) {
        let Some(awaited) = &mut self.awaited else { return };
        if awaited.remove(&(kind, scope.clone())) && awaited.is_empty() {
            self.trouble = None;
            self.tell_all();
        }
    }

    fn is_heard(&self) -> bool {
        self.awaited.as_ref().is_some_and(HashSet::is_empty)
    }

    /// Who waits for the first answer is told why there is none.
    fn lose(&mut self, reason: &str) {
        if !self.is_heard() {
            self.trouble = Some(reason.into());
            self.tell_all();
        }
    }

    fn tell_all(&self) {
        self.services.values().for_each(|behind| behind.changed.send_replace(()));
    }
}

impl Subscription {
    /// Waits for the next change of anything about the Service.
    pub async fn changed(&mut self) {
        // The sender is kept as long as somebody follows.
        if self.changes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The addresses of the pods that serve: those that are ready; if there is none, those that end and still serve. A pod with an
    /// address of each version has one here.
    ///
    /// # Errors
    /// Nothing was heard yet; or there is no such Service, or none with this port.
    pub fn pods(&self) -> Result<BTreeSet<SocketAddr>, String> {
        let known = self.pods.lock();
        if !known.is_heard() {
            let reason = known.trouble.as_deref().unwrap_or("the API server was just asked");
            return Err(format!("not heard yet: {reason}"));
        }
        let Self { service, port, .. } = self;
        let nothing = || format!("there is no Service {service}");
        let behind = known.services.get(service).ok_or_else(nothing)?;
        let front = behind.front.as_ref().ok_or_else(nothing)?;
        let called = |(number, name): &&(u16, Box<str>)| match port {
            Port::Number(wanted) => wanted == number,
            Port::Name(wanted) => wanted == name,
        };
        let none = || format!("Service {service} has no port {port}{}", front.instead());
        let (_, name) = front.ports.iter().find(called).ok_or_else(none)?;
        let at = |of: fn(&Slice) -> &[IpAddr]| -> BTreeSet<SocketAddr> {
            behind.slices.values().flat_map(|slice| slice.at(name, of(slice))).collect()
        };
        let ready = at(|slice| &slice.ready);
        Ok(front.one_of_each(if ready.is_empty() { at(|slice| &slice.ending) } else { ready }))
    }
}

impl Slice {
    fn of(slice: &EndpointSlice) -> Self {
        let mut this = Self { ports: Vec::new(), ready: Vec::new(), ending: Vec::new() };
        for port in slice.ports.iter().flatten() {
            let number = port.port.and_then(|number| u16::try_from(number).ok());
            let is_tcp = port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP");
            if let Some(number) = number.filter(|_| is_tcp) {
                this.ports.push((port.name.as_deref().unwrap_or_default().into(), number));
            }
        }
        for endpoint in &slice.endpoints {
            // All addresses of an endpoint are one pod; the first is as good as any.
            let Some(address) = endpoint.addresses.first().and_then(|address| address.parse().ok()) else { continue };
            let conditions = endpoint.conditions.as_ref();
            let is = |condition: Option<bool>, usual| condition.unwrap_or(usual);
            let is_ready = is(conditions.and_then(|conditions| conditions.ready), true);
            let is_terminating = is(conditions.and_then(|conditions| conditions.terminating), false);
            let is_serving = is(conditions.and_then(|conditions| conditions.serving), is_ready);
            match (is_ready, is_terminating && is_serving) {
                // Where a Service wants its pods whether or not they are ready, one that ends is ready, too.
                (true, _) => this.ready.push(address),
                (false, true) => this.ending.push(address),
                (false, false) => {}
            }
        }
        this
    }

    fn at<'s>(&'s self, port: &str, addresses: &'s [IpAddr]) -> impl Iterator<Item = SocketAddr> {
        let number = self.ports.iter().find(|(name, _)| **name == *port).map(|(_, number)| *number);
        number.into_iter().flat_map(|number| addresses.iter().map(move |address| SocketAddr::new(*address, number)))
    }
}

impl Front {
    fn of(service: &Service) -> Self {
        let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
        let port = |port: &k8s_openapi::api::core::v1::ServicePort| {
            Some((u16::try_from(port.port).ok()?, port.name.as_deref().unwrap_or_default().into()))
        };
        let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_ref());
        let first = families.and_then(|families| families.first());
        Self { ports: ports.filter_map(port).collect(), is_v6_first: first.is_some_and(|first| first == "IPv6") }
    }

    /// Slices have addresses of one version, so that a pod with both is in two of them: the first version of the Service is every pod's,
    /// or nobody's yet.
    fn one_of_each(&self, pods: BTreeSet<SocketAddr>) -> BTreeSet<SocketAddr> {
        let is_first = |pod: &SocketAddr| pod.is_ipv6() == self.is_v6_first;
        match pods.iter().any(is_first) {
            true => pods.into_iter().filter(is_first).collect(),
            false => pods,
        }
    }

    /// What whoever names a port that is none may have meant.
    fn instead(&self) -> String {
        let shown = |(number, name): &(u16, Box<str>)| match &**name {
            "" => number.to_string(),
            name => format!("{number} ({name})"),
        };
        match self.ports.is_empty() {
            true => String::new(),
            false => format!("; it has {}", self.ports.iter().map(shown).collect::<Vec<_>>().join(", ")),
        }
    }
}

const SERVICE_NAME: &str = "kubernetes.io/service-name";

#[cfg(test)]
mod tests;
