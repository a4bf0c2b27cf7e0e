//! Routes at listeners: to which of those that a route names it belongs, and for which hosts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};
use kube::ResourceExt;

use super::gateways::Gateways;
use super::hosts;
use super::kinds::{GROUP, GatewaySpec, ListenerSpec, ParentRef};
use crate::ObjectName;
use crate::conditions::Refusal;
use crate::kind::Kind;
use crate::objects::Objects;

/// What a route asks of the listeners it names.
pub(super) struct Asking<'a> {
    pub(super) kind: &'static str,
    pub(super) namespace: &'a str,
    pub(super) hostnames: &'a [String],
}

/// A parent of a route that is a Gateway of ours.
pub(super) struct Parent<'o> {
    pub(super) reference: &'o ParentRef,
    pub(super) gateway: &'o ObjectName,
    /// Listeners by their place in the Gateway, and the hosts that the route has of each.
    pub(super) listeners: Result<Vec<Attached>, Refusal>,
}

pub(super) type Attached = (usize, Vec<Option<String>>);

/// The parent, if it is a Gateway of ours.
pub(super) fn parent<'o>(
    objects: &Objects,
    gateways: &Gateways<'o>,
    asking: &Asking<'_>,
    reference: &'o ParentRef,
) -> Option<Parent<'o>> {
    if (&*reference.group, &*reference.kind) != (GROUP, GatewaySpec::KIND) {
        return None;
    }
    let namespace = reference.namespace.as_deref().unwrap_or(asking.namespace);
    let (gateway, found) = gateways.get_key_value(&ObjectName::new(namespace, &reference.name))?;
    let named = |spec: &ListenerSpec| {
        reference.section_name.as_ref().is_none_or(|name| *name == spec.name)
            && reference.port.is_none_or(|port| port == spec.port)
    };
    let mut nearest = Refusal::new("NoMatchingParent", "the Gateway has no listener of this name and port");
    let mut attached = Vec::new();
    for (index, listener) in found.listeners.iter().enumerate().filter(|(_, listener)| named(listener.spec)) {
        let takes = listener.kinds.contains(&asking.kind);
        if !takes || !is_let_in(objects, asking.namespace, gateway, listener.spec) {
            // What comes nearer to being attached is more worth telling.
            if nearest.reason == "NoMatchingParent" {
                let message = "no listener takes routes of this kind from this namespace";
                nearest = Refusal::new("NotAllowedByListeners", message);
            }
            continue;
        }
        let hosts = hosts::common(listener.hostname.as_deref(), asking.hostnames);
        match hosts.is_empty() {
            true => nearest = Refusal::new("NoMatchingListenerHostname", "no listener has any of the hostnames"),
            false => attached.push((index, hosts)),
        }
    }
    let listeners = if attached.is_empty() { Err(nearest) } else { Ok(attached) };
    Some(Parent { reference, gateway, listeners })
}

fn is_let_in(objects: &Objects, namespace: &str, gateway: &ObjectName, listener: &ListenerSpec) -> bool {
    let allowed = &listener.allowed_routes.namespaces;
    match allowed.from.as_deref().unwrap_or("Same") {
        "All" => true,
        "Same" => namespace == &*gateway.namespace,
        "Selector" => {
            let found = objects.namespaces.get(&ObjectName::new("", namespace));
            found.zip(allowed.selector.as_ref()).is_some_and(|(namespace, selector)| selects(selector, namespace))
        }
        _ => false,
    }
}

fn selects(selector: &LabelSelector, object: &impl ResourceExt) -> bool {
    let labels = object.labels();
    let mut wanted = selector.match_labels.iter().flatten();
    let value = |required: &LabelSelectorRequirement| labels.get(&required.key);
    wanted.all(|(key, value)| labels.get(key) == Some(value))
        && selector.match_expressions.iter().flatten().all(|required| {
            let is_among = |value: &String| required.values.iter().flatten().any(|wanted| wanted == value);
            match required.operator.as_str() {
                "In" => value(required).is_some_and(is_among),
                "NotIn" => !value(required).is_some_and(is_among),
                "Exists" => value(required).is_some(),
                "DoesNotExist" => value(required).is_none(),
                _ => false,
            }
        })
}
