//! BackendTLSPolicies: how what is spoken with the pods of a Service is secured.

use std::collections::{BTreeMap, BTreeSet};

use routing_rules::spec::UpstreamTlsSpec;
use serde_json::{Value, json};

use super::Work;
use super::kinds::{BackendTlsPolicy, GROUP, GatewaySpec, ObjectRef, TargetRef};
use crate::ObjectName;
use crate::conditions::{Condition, Refusal, written};
use crate::kind::Kind;
use crate::objects::Objects;

/// Policies that routes have come upon, and the Gateways of these.
pub(super) type Ancestors<'o> = BTreeMap<ObjectName, BTreeSet<&'o ObjectName>>;

/// A policy and what it is called.
#[derive(Clone, Copy)]
pub(super) struct Policy<'o> {
    pub(super) name: &'o ObjectName,
    object: &'o BackendTlsPolicy,
}

/// The policy of a port of a Service: one for the port itself first, then the oldest.
pub(super) fn policy<'o>(objects: &'o Objects, service: &ObjectName, port: Option<&str>) -> Option<Policy<'o>> {
    let candidates = objects.tls_policies.iter().filter(|(name, _)| name.namespace == service.namespace);
    let ranked = candidates.filter_map(|(name, object)| {
        let is_wide = object.spec.target_refs.iter().filter_map(|target| is_wide(target, service, port)).min()?;
        Some(((is_wide, object.metadata.creation_timestamp.clone(), name), Policy { name, object }))
    });
    ranked.min_by(|one, other| one.0.cmp(&other.0)).map(|(_, policy)| policy)
}

/// Whether a target is all ports; nothing if it is not the port's.
fn is_wide(target: &TargetRef, service: &ObjectName, port: Option<&str>) -> Option<bool> {
    let is_service = target.group.is_empty() && target.kind == "Service" && *target.name == *service.name;
    let section = target.section_name.as_deref();
    (is_service && (section.is_none() || section == port)).then_some(section.is_none())
}

/// What it asks for.
///
/// # Errors
/// It cannot be done, so nothing may be sent.
pub(super) fn tls(objects: &Objects, policy: Policy<'_>) -> Result<UpstreamTlsSpec, Refusal> {
    let validation = &policy.object.spec.validation;
    if !validation.subject_alt_names.is_empty() {
        return Err(Refusal::new("Invalid", "validation.subjectAltNames is not supported; hostname is"));
    }
    let server_name = Some(validation.hostname.clone());
    match (&*validation.ca_certificate_refs, validation.well_known_ca_certificates.as_deref()) {
        ([], Some("System")) => Ok(UpstreamTlsSpec { server_name, ..UpstreamTlsSpec::default() }),
        ([], other) => {
            let other = other.unwrap_or_default();
            let message = format!("validation.wellKnownCACertificates: `{other}` is not supported; System is");
            Err(Refusal::new("Invalid", message))
        }
        (refs, _) => {
            let authorities: Vec<_> =
                refs.iter().map(|ca| authority(objects, policy.name, ca)).collect::<Result<_, _>>()?;
            Ok(UpstreamTlsSpec { server_name, ca: Some(authorities.join("\n")), ..UpstreamTlsSpec::default() })
        }
    }
}

fn authority<'o>(objects: &'o Objects, policy: &ObjectName, ca: &ObjectRef) -> Result<&'o str, Refusal> {
    let (group, kind) = (ca.group.as_deref().unwrap_or(""), ca.kind.as_deref().unwrap_or(""));
    if (group, kind) != ("", "ConfigMap") {
        let message = format!("{kind} of the group `{group}` is not supported; ConfigMap of the core is");
        return Err(Refusal::new("InvalidKind", message));
    }
    let name = ObjectName::new(&policy.namespace, &ca.name);
    let text = objects.config_maps.get(&name).and_then(|config_map| config_map.data.as_ref()?.get("ca.crt"));
    let text = text.filter(|text| text.contains("-----BEGIN CERTIFICATE-----"));
    let wrong =
        || Refusal::new("InvalidCACertificateRef", format!("ConfigMap {name} has no certificate (ca.crt, PEM)"));
    text.map(String::as_str).ok_or_else(wrong)
}

impl<'o> Work<'o> {
    /// Tells policies what has become of them, for each Gateway that they have to do with.
    pub(super) fn tell_policies(&mut self, ancestors: &Ancestors<'o>) {
        let none = BTreeSet::new();
        for (name, object) in &self.objects.tls_policies {
            let refusal = tls(self.objects, Policy { name, object }).err();
            let gateways = ancestors.get(name).unwrap_or(&none);
            let before = object.status["ancestors"].as_array().map_or(&[][..], Vec::as_slice);
            let (ours, others): (Vec<_>, Vec<_>) =
                before.iter().partition(|ancestor| ancestor["controllerName"] == *self.options.gateway_controller);
            let room = MOST_ANCESTORS.saturating_sub(others.len());
            let told = gateways.iter().take(room);
            let told: Vec<_> = told.map(|gateway| self.ancestor(gateway, object, refusal.as_ref(), &ours)).collect();
            if told.iter().collect::<Vec<_>>() != ours {
                let all: Value = others.into_iter().cloned().chain(told).collect();
                self.tell(name, object, json!({"ancestors": all}));
            }
        }
    }

    fn ancestor(
        &self,
        gateway: &ObjectName,
        policy: &BackendTlsPolicy,
        refusal: Option<&Refusal>,
        before: &[&Value],
    ) -> Value {
        let reference = json!({
            "group": GROUP,
            "kind": GatewaySpec::KIND,
            "namespace": gateway.namespace,
            "name": gateway.name,
        });
        let known = before.iter().find(|ancestor| ancestor["ancestorRef"] == reference);
        let unresolved = refusal.filter(|refusal| refusal.reason != "Invalid");
        let unaccepted = refusal.map(|refusal| match unresolved {
            Some(_) => Refusal::new("NoValidCACertificate", refusal.message.clone()),
            None => refusal.clone(),
        });
        let conditions = [
            Condition::unless("Accepted", unaccepted.as_ref(), "it is followed"),
            Condition::unless("ResolvedRefs", unresolved, "all that it names can be used"),
        ];
        let conditions_before = known.map_or(&Value::Null, |known| &known["conditions"]);
        json!({
            "ancestorRef": reference,
            "controllerName": self.options.gateway_controller,
            "conditions": written(&conditions, policy.generation(), conditions_before, self.now),
        })
    }
}

/// The API takes no more.
const MOST_ANCESTORS: usize = 16;
