//! Backends of routes: ports of Services, as upstreams.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ServicePort;
use routing_rules::spec::{PortSpec, ProtocolSpec, SplitSpec, UpstreamSpec, UpstreamTlsSpec};

use super::grants::permit;
use super::kinds::BackendRef;
use super::policies;
use crate::ObjectName;
use crate::conditions::Refusal;
use crate::objects::Objects;
use crate::services::{discovery, find_port, is_outside, upstream_name};

/// Who refers to backends.
#[derive(Clone, Copy)]
pub(super) struct Referrer<'a> {
    pub(super) kind: &'static str,
    pub(super) namespace: &'a str,
    /// What names of its rules begin with.
    pub(super) prefix: &'a str,
    pub(super) is_grpc: bool,
}

/// What is gathered of the backends of a route.
#[derive(Default)]
pub(super) struct Backends {
    /// By the document and the name.
    pub(super) upstreams: BTreeMap<(String, String), UpstreamSpec>,
    /// What is wrong with the first that cannot be used.
    pub(super) unresolved: Option<Refusal>,
    /// The policies that are followed.
    pub(super) policies: Vec<ObjectName>,
}

impl Backends {
    /// The upstreams of a rule by weight, of which there is at least one. The share of a backend that cannot be used is answered with 500.
    pub(super) fn parts(&mut self, objects: &Objects, from: Referrer<'_>, refs: &[BackendRef]) -> Vec<SplitSpec> {
        let mut weights = BTreeMap::<String, u32>::new();
        for (index, reference) in refs.iter().enumerate() {
            let upstream = self.upstream(objects, from, reference, &format!("backendRefs[{index}]"));
            let upstream = upstream.unwrap_or_else(|| self.nobody());
            let weight = weights.entry(upstream).or_default();
            *weight = weight.saturating_add(reference.weight.unwrap_or(1));
        }
        weights.retain(|_, weight| *weight > 0);
        if weights.is_empty() {
            weights.insert(self.nobody(), 1);
        }
        weights.into_iter().map(|(upstream, weight)| SplitSpec { upstream, weight }).collect()
    }

    /// The upstream of a backend, if it can be used; else it is said why not.
    pub(super) fn upstream(
        &mut self,
        objects: &Objects,
        from: Referrer<'_>,
        reference: &BackendRef,
        place: &str,
    ) -> Option<String> {
        match self.resolve(objects, from, reference) {
            Ok(upstream) => Some(upstream),
            Err(refusal) => {
                self.unresolved.get_or_insert(refusal.at(place));
                None
            }
        }
    }

    fn resolve(&mut self, objects: &Objects, from: Referrer<'_>, reference: &BackendRef) -> Result<String, Refusal> {
        let object = &reference.object;
        let (group, kind) = (object.group.as_deref().unwrap_or(""), object.kind.as_deref().unwrap_or("Service"));
        if (group, kind) != ("", "Service") {
            let message = format!("{kind} of the group `{group}` is not supported; Service of the core is");
            return Err(Refusal::new("InvalidKind", message));
        }
        let name = ObjectName::new(object.namespace.as_deref().unwrap_or(from.namespace), &object.name);
        permit(objects, (from.kind, from.namespace), ("Service", &name))?;
        let missing = |message: String| Refusal::new("BackendNotFound", message);
        let service = objects.services.get(&name).ok_or_else(|| missing(format!("there is no Service {name}")))?;
        let number = reference.port.and_then(|port| u16::try_from(port).ok());
        let number = number.ok_or_else(|| missing(format!("Service {name}: which port is not said")))?;
        let wanted = PortSpec::Number(number);
        let port = find_port(service, &wanted);
        if port.is_none() && !is_outside(service) {
            return Err(missing(format!("Service {name} has no port {number}")));
        }
        let is_http2 = is_http2(port)? || from.is_grpc;
        let tls = match policies::policy(objects, &name, port.and_then(|port| port.name.as_deref())) {
            None => None,
            Some(policy) => {
                self.policies.push(policy.name.clone());
                match policies::tls(objects, policy) {
                    Ok(tls) => Some(tls),
                    // Its routes are right; what must not be is that anything is sent without it.
                    Err(_) => return Ok(self.nobody()),
                }
            }
        };
        let upstream = called(&upstream_name(&name, &wanted), is_http2, tls.is_some());
        let discovery = discovery(&name, Some(service), wanted).map_err(missing)?;
        let protocol = protocol(is_http2, tls.as_ref());
        let spec = UpstreamSpec { discovery: Some(discovery), protocol, tls, ..UpstreamSpec::default() };
        self.upstreams.insert((format!("Service {name}"), upstream.clone()), spec);
        Ok(upstream)
    }

    /// The upstream that has no endpoints, and never will.
    fn nobody(&mut self) -> String {
        let spec = UpstreamSpec { empty_status: Some(500), ..UpstreamSpec::default() };
        self.upstreams.insert(("Gateways".into(), NOBODY.into()), spec);
        NOBODY.into()
    }
}

/// One port may be spoken to in several ways, and each is an upstream.
fn called(usual: &str, is_http2: bool, is_tls: bool) -> String {
    let (http2, tls) = (if is_http2 { ".h2" } else { "" }, if is_tls { ".tls" } else { "" });
    format!("{usual}{http2}{tls}")
}

fn protocol(is_http2: bool, tls: Option<&UpstreamTlsSpec>) -> ProtocolSpec {
    match (is_http2, tls) {
        (false, _) => ProtocolSpec::Http1,
        (true, None) => ProtocolSpec::H2c,
        (true, Some(_)) => ProtocolSpec::H2,
    }
}

/// Whether a port says that it speaks HTTP/2. Of what it may say else, only what would be wrong to take for HTTP is refused.
fn is_http2(port: Option<&ServicePort>) -> Result<bool, Refusal> {
    match port.and_then(|port| port.app_protocol.as_deref()) {
        Some("kubernetes.io/h2c") => Ok(true),
        Some(other @ "kubernetes.io/wss") => {
            Err(Refusal::new("UnsupportedProtocol", format!("appProtocol: {other} is not supported")))
        }
        _ => Ok(false),
    }
}

const NOBODY: &str = "gateway.nobody";
