//! Gateways: which are ours, what rules their listeners amount to, and what they are told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use routing_rules::spec::{ListenerSpec, ListenerTlsSpec};
use serde_json::{Value, json};

use super::Work;
use super::certificates::Certificate;
use super::kinds::{self, GROUP};
use super::listeners::{Listener, Places, listener_name, listeners};
use crate::ObjectName;
use crate::addresses::{Address, addresses};
use crate::conditions::{Condition, Refusal, written};
use crate::objects::by_age;

/// A Gateway of a class of ours.
pub(super) struct Gateway<'o> {
    pub(super) object: &'o kinds::Gateway,
    pub(super) listeners: Vec<Listener<'o>>,
}

/// Those that are ours.
pub(super) type Gateways<'o> = BTreeMap<&'o ObjectName, Gateway<'o>>;

impl<'o> Work<'o> {
    /// Those of these classes. Who came first keeps what later ones also want.
    pub(super) fn gateways(&self, classes: &BTreeSet<&str>) -> Gateways<'o> {
        let ours = self.objects.gateways.iter();
        let ours = ours.filter(|(_, gateway)| classes.contains(gateway.spec.gateway_class_name.as_str()));
        let mut places = Places::new(self.options.gateways_share);
        let gateway = |(name, object)| {
            let listeners = listeners(self.objects, name, object, &mut places);
            (name, Gateway { object, listeners })
        };
        by_age(ours).into_iter().map(gateway).collect()
    }

    /// Puts down what listeners there are, one for each port, and their certificates.
    pub(super) fn open(&mut self, gateways: &Gateways<'o>) {
        let all = gateways.values().flat_map(|gateway| &gateway.listeners);
        let served: Vec<_> = all.filter(|listener| listener.unserved().is_none()).collect();
        let mut hosts: BTreeMap<String, (&Certificate, BTreeSet<String>)> = BTreeMap::new();
        for listener in served {
            let rules = self.drafts.of("Gateways".into());
            let opened = rules.listeners.entry(listener_name(listener.port)).or_default();
            opened.address = address(self.options.gateway_address, &self.options.gateway_ports, listener.port);
            for certificate in &listener.certificates {
                let (_, hosts) = hosts.entry(certificate.name()).or_insert((certificate, BTreeSet::new()));
                hosts.extend(listener.hostname.clone());
            }
            if listener.is_tls() {
                secure(opened, listener);
            }
        }
        for (name, (certificate, hosts)) in hosts {
            let document = format!("Secret {}", certificate.secret);
            self.drafts.of(document).certificates.insert(name, certificate.spec(hosts));
        }
    }

    /// Tells each what has become of it.
    pub(super) fn tell_gateways(&mut self, gateways: &Gateways<'o>) {
        for (name, gateway) in gateways {
            let (generation, before) = (gateway.object.generation(), &gateway.object.status);
            let listeners: Value = gateway
                .listeners
                .iter()
                .map(|listener| listener_status(listener, generation, before, self.now))
                .collect();
            let addresses = self.addresses(gateway);
            let conditions = conditions(gateway, addresses.as_ref().err());
            let conditions = written(&conditions, generation, &before["conditions"], self.now);
            let addresses: Value = addresses.unwrap_or_default().iter().map(|text| address_status(text)).collect();
            let mut status = json!({"conditions": conditions, "listeners": listeners});
            // Nobody writes an empty list, and the API gives none back.
            if addresses.as_array().is_some_and(|all| !all.is_empty()) || !before["addresses"].is_null() {
                status["addresses"] = addresses;
            }
            self.tell(name, gateway.object, status);
        }
    }

    /// Where a Gateway is: everywhere that Serin is, or at those of these places that it asks for.
    fn addresses(&self, gateway: &Gateway<'o>) -> Result<Vec<String>, Refusal> {
        let ours = addresses(self.objects, self.options).unwrap_or_default();
        let ours: Vec<_> = ours.iter().map(Address::text).collect();
        let wanted = &gateway.object.spec.addresses;
        let kinds = wanted.iter().filter_map(|wanted| wanted.r#type.as_deref());
        if let Some(other) = kinds.into_iter().find(|kind| !matches!(*kind, "IPAddress" | "Hostname")) {
            let message = format!("spec.addresses: {other} is not supported; IPAddress and Hostname are");
            return Err(Refusal::new("UnsupportedAddress", message));
        }
        let values = wanted.iter().filter_map(|wanted| wanted.value.as_deref());
        let wanted: BTreeSet<&str> = values.filter(|value| !value.is_empty()).collect();
        if let Some(value) = wanted.iter().find(|value| !ours.contains(value)) {
            return Err(Refusal::new("AddressNotUsable", format!("spec.addresses: Serin is not at {value}")));
        }
        let chosen = ours.into_iter().filter(|address| wanted.is_empty() || wanted.contains(address));
        Ok(chosen.map(str::to_owned).collect())
    }
}

/// Listeners without a host show their certificate to whoever names none that there is one for.
fn secure(opened: &mut ListenerSpec, listener: &Listener<'_>) {
    let tls = opened.tls.get_or_insert_with(ListenerTlsSpec::default);
    if listener.hostname.is_none() && tls.default_certificate.is_none() {
        tls.default_certificate = listener.certificates.first().map(Certificate::name);
    }
}

fn address(ip: IpAddr, ports: &BTreeMap<u16, u16>, port: u16) -> String {
    SocketAddr::new(ip, ports.get(&port).copied().unwrap_or(port)).to_string()
}

fn conditions(gateway: &Gateway<'_>, address: Option<&Refusal>) -> [Condition; 2] {
    let refused = gateway
        .listeners
        .iter()
        .filter(|listener| listener.refused.is_some() || listener.conflict.is_some() || listener.unresolved.is_some());
    let refused: Vec<_> = refused.map(|listener| listener.spec.name.as_str()).collect();
    let is_served = gateway.listeners.iter().any(|listener| listener.unserved().is_none());
    let unsupported = address.filter(|refusal| refusal.reason == "UnsupportedAddress");
    let mut accepted = Condition::unless("Accepted", unsupported, "it is served");
    if unsupported.is_none() && !refused.is_empty() {
        accepted.reason = "ListenersNotValid";
        accepted.holds = is_served;
        accepted.message = format!("something is wrong with these listeners: {}", refused.join(", "));
    }
    let unserved = Refusal::new("Invalid", "none of its listeners can be served");
    let unserved = address.or((!is_served).then_some(&unserved));
    [accepted, Condition::unless("Programmed", unserved, "its listeners are part of the rules")]
}

fn listener_status(listener: &Listener<'_>, generation: i64, before: &Value, now: &str) -> Value {
    let name = &listener.spec.name;
    let mut known = before["listeners"].as_array().into_iter().flatten();
    let known = known.find(|known| known["name"] == **name).unwrap_or(&Value::Null);
    let conflicted = match &listener.conflict {
        Some(Refusal { reason, message }) => {
            Condition { kind: "Conflicted", holds: true, reason, message: message.clone() }
        }
        None => {
            let message = "nobody else has its place".into();
            Condition { kind: "Conflicted", holds: false, reason: "NoConflicts", message }
        }
    };
    let refused = listener.refused.as_ref().or(listener.conflict.as_ref());
    let conditions = [
        Condition::unless("Accepted", refused, "it is right"),
        conflicted,
        Condition::unless("ResolvedRefs", listener.unresolved.as_ref(), "all that it names can be used"),
        Condition::unless("Programmed", listener.unserved().as_ref(), "it is part of the rules"),
    ];
    let kinds: Value = listener.kinds.iter().map(|kind| json!({"group": GROUP, "kind": kind})).collect();
    json!({
        "name": name,
        "supportedKinds": kinds,
        "attachedRoutes": listener.attached,
        "conditions": written(&conditions, generation, &known["conditions"], now),
    })
}

fn address_status(text: &str) -> Value {
    let kind = if text.parse::<IpAddr>().is_ok() { "IPAddress" } else { "Hostname" };
    json!({"type": kind, "value": text})
}
