//! Listeners of Gateways: what is wrong with each, and which of those that want the same place has it.

use std::collections::BTreeMap;

use super::certificates::{Certificate, certificates};
use super::kinds::{GROUP, Gateway, GrpcMatch, HttpMatch, ListenerSpec, RouteSpec};
use crate::ObjectName;
use crate::conditions::Refusal;
use crate::kind::Kind;
use crate::objects::Objects;

/// A listener of a Gateway, and what has become of it.
pub(super) struct Listener<'o> {
    pub(super) spec: &'o ListenerSpec,
    pub(super) port: u16,
    pub(super) hostname: Option<String>,
    /// The kinds of routes that it takes.
    pub(super) kinds: Vec<&'static str>,
    pub(super) certificates: Vec<Certificate>,
    /// Why it can be nothing.
    pub(super) refused: Option<Refusal>,
    /// Why another one has its place.
    pub(super) conflict: Option<Refusal>,
    /// What of that which it names cannot be used.
    pub(super) unresolved: Option<Refusal>,
    /// How many routes it has.
    pub(super) attached: usize,
}

impl<'o> Listener<'o> {
    pub(super) fn new(objects: &Objects, gateway: &ObjectName, spec: &'o ListenerSpec) -> Self {
        let hostname = spec.hostname.as_deref().filter(|host| !host.is_empty()).map(str::to_ascii_lowercase);
        let refused = protocol(spec).err();
        let (kinds, wrong_kind) = kinds(spec);
        let (certificates, wrong_certificate) = match is_tls(spec) {
            true => certificates(objects, gateway, spec),
            false => (Vec::new(), None),
        };
        Self {
            spec,
            port: u16::try_from(spec.port).unwrap_or_default(),
            hostname,
            kinds,
            certificates,
            refused,
            conflict: None,
            unresolved: wrong_kind.or(wrong_certificate),
            attached: 0,
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        is_tls(self.spec)
    }

    /// Why it serves nothing, if it does not.
    pub(super) fn unserved(&self) -> Option<Refusal> {
        let invalid = |reason: &Refusal| Refusal::new("Invalid", reason.message.clone());
        let is_empty = self.kinds.is_empty() || (self.is_tls() && self.certificates.is_empty());
        let unresolved = self.unresolved.as_ref().filter(|_| is_empty);
        self.refused.as_ref().or(self.conflict.as_ref()).or(unresolved).map(invalid)
    }
}

/// Who has which place. The oldest Gateway comes first, and of one Gateway the first listener.
#[derive(Default)]
pub(super) struct Places<'o> {
    protocols: BTreeMap<u16, (&'o str, &'o ObjectName)>,
    hosts: BTreeMap<(u16, Option<String>), &'o ObjectName>,
    are_shared: bool,
}

impl<'o> Places<'o> {
    /// All are free, and may be shared by listeners of several Gateways or not.
    pub(super) fn new(are_shared: bool) -> Self {
        Self { are_shared, ..Self::default() }
    }

    /// Gives a listener its place, or says whose it is.
    pub(super) fn claim(&mut self, gateway: &'o ObjectName, listener: &mut Listener<'o>) {
        if listener.refused.is_some() {
            return;
        }
        let (port, protocol) = (listener.port, listener.spec.protocol.as_str());
        let &mut (spoken, owner) = self.protocols.entry(port).or_insert((protocol, gateway));
        if spoken != protocol {
            let message = format!("port {port} speaks {spoken} for Gateway {owner}");
            listener.conflict = Some(Refusal::new("ProtocolConflict", message));
            return;
        }
        let place = (port, listener.hostname.clone());
        match self.hosts.get(&place) {
            Some(&owner) if owner == gateway || !self.are_shared => {
                let host = listener.hostname.as_deref().unwrap_or("all hosts");
                let message = format!("{host} of port {port} has Gateway {owner}");
                listener.conflict = Some(Refusal::new("HostnameConflict", message));
            }
            Some(_) => {}
            None => drop(self.hosts.insert(place, gateway)),
        }
    }
}

fn is_tls(spec: &ListenerSpec) -> bool {
    spec.protocol == "HTTPS"
}

fn protocol(spec: &ListenerSpec) -> Result<(), Refusal> {
    let mode = spec.tls.as_ref().and_then(|tls| tls.mode.as_deref());
    match (spec.protocol.as_str(), mode) {
        _ if !(1..=65_535).contains(&spec.port) => {
            Err(Refusal::new("PortUnavailable", format!("nobody can connect to port {}", spec.port)))
        }
        ("HTTP", _) | ("HTTPS", None | Some("Terminate")) => Ok(()),
        ("HTTPS", Some(mode)) => {
            Err(Refusal::new("UnsupportedProtocol", format!("tls.mode: {mode} is not supported; Terminate is")))
        }
        (other, _) => Err(Refusal::new("UnsupportedProtocol", format!("{other} is not supported; HTTP and HTTPS are"))),
    }
}

/// The kinds of routes that a listener takes, and what is wrong with those that it asks for.
fn kinds(spec: &ListenerSpec) -> (Vec<&'static str>, Option<Refusal>) {
    let known: &[&str] = match spec.protocol.as_str() {
        "HTTP" | "HTTPS" => &[RouteSpec::<HttpMatch>::KIND, RouteSpec::<GrpcMatch>::KIND],
        _ => &[],
    };
    let wanted = &spec.allowed_routes.kinds;
    if wanted.is_empty() {
        return (known.to_vec(), None);
    }
    let (mut kinds, mut refusal) = (Vec::new(), None);
    for wanted in wanted {
        let is_of_group = wanted.group.as_deref().is_none_or(|group| group == GROUP);
        match known.iter().find(|kind| is_of_group && **kind == wanted.kind) {
            Some(kind) if kinds.contains(kind) => {}
            Some(kind) => kinds.push(*kind),
            None => {
                let message = format!("allowedRoutes.kinds: {} is none that {} has", wanted.kind, spec.protocol);
                refusal.get_or_insert(Refusal::new("InvalidRouteKinds", message));
            }
        }
    }
    (kinds, refusal)
}

/// What a listener of Serin is called that all those of one port are.
pub(super) fn listener_name(port: u16) -> String {
    format!("gateway.{port}")
}

/// The listeners of a Gateway, each in its place if that is free.
pub(super) fn listeners<'o>(
    objects: &Objects,
    name: &'o ObjectName,
    gateway: &'o Gateway,
    places: &mut Places<'o>,
) -> Vec<Listener<'o>> {
    let mut listeners: Vec<_> = gateway.spec.listeners.iter().map(|spec| Listener::new(objects, name, spec)).collect();
    listeners.iter_mut().for_each(|listener| places.claim(name, listener));
    listeners
}
