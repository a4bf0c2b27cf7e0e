//! Objects of a cluster as people write them, for tests of what they amount to.

use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret, Service};
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt;
use routing_rules::rules::RuleSet;
use routing_rules::spec::Spec;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::ObjectName;
use crate::documents::Documents;
use crate::findings::Finding;
use crate::gateway::kinds::{BackendTlsPolicy, Gateway, GatewayClass, GrpcRoute, HttpRoute, ReferenceGrant};
use crate::objects::{Keep, Objects};
use crate::options::Options;
use crate::release::Release;
use crate::translate::{Before, Translation, translate};

/// Objects of a cluster.
#[derive(Default)]
pub(crate) struct Cluster(pub(crate) Objects);

impl Cluster {
    pub(crate) fn with(mut self, object: Value) -> Self {
        put(&mut self.0, object);
        self
    }

    pub(crate) fn translated(&self) -> (Value, Vec<String>) {
        self.translated_with(&Options::default())
    }

    /// All documents in one, and what is found.
    pub(crate) fn translated_with(&self, options: &Options) -> (Value, Vec<String>) {
        let Translation { made, findings, .. } = translate(&self.0, options, "", &Before::default());
        (together(&made.documents), findings.iter().map(said).collect())
    }
}

/// Puts an object of any kind among the others.
pub(crate) fn put(objects: &mut Objects, object: Value) {
    fn put<K: Keep + DeserializeOwned + ResourceExt>(objects: &mut Objects, object: Value) {
        let object: K = serde_json::from_value(object).unwrap();
        K::place(objects).insert(ObjectName::of(&object), object);
    }
    match object["kind"].as_str().unwrap() {
        "BackendTLSPolicy" => put::<BackendTlsPolicy>(objects, object),
        "ConfigMap" => put::<ConfigMap>(objects, object),
        "Gateway" => put::<Gateway>(objects, object),
        "GatewayClass" => put::<GatewayClass>(objects, object),
        "GRPCRoute" => put::<GrpcRoute>(objects, object),
        "HTTPRoute" => put::<HttpRoute>(objects, object),
        "Ingress" => put::<Ingress>(objects, object),
        "IngressClass" => put::<IngressClass>(objects, object),
        "Namespace" => put::<Namespace>(objects, object),
        "ReferenceGrant" => put::<ReferenceGrant>(objects, object),
        "Release" => put::<Release>(objects, object),
        "Secret" => put::<Secret>(objects, object),
        "Service" => put::<Service>(objects, object),
        other => panic!("{other}"),
    }
}

/// All documents in one.
pub(crate) fn together(documents: &Documents) -> Value {
    let mut all = json!({});
    for text in documents.values() {
        let maps: Value = serde_json::from_str(text).unwrap();
        for (map, objects) in maps.as_object().unwrap() {
            for (name, object) in objects.as_object().unwrap() {
                all[map][name] = object.clone();
            }
        }
    }
    all
}

/// A finding in one line.
pub(crate) fn said(finding: &Finding) -> String {
    format!("{} {}: {}: {}", finding.kind, finding.object, finding.reason, finding.message)
}

pub(crate) fn service(name: &str) -> Value {
    json!({"kind": "Service", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 9000}]}})
}

/// An Ingress of our class with this spec, made at this second.
pub(crate) fn ingress(name: &str, second: u32, mut spec: Value) -> Value {
    spec["ingressClassName"] = "serin".into();
    let at = format!("2026-01-01T00:00:{second:02}Z");
    json!({"kind": "Ingress", "metadata": {"name": name, "namespace": "shop", "creationTimestamp": at}, "spec": spec})
}

pub(crate) fn path(kind: &str, path: &str, service: &str) -> Value {
    json!({"pathType": kind, "path": path, "backend": {"service": {"name": service, "port": {"name": "http"}}}})
}

pub(crate) fn rule(host: &str, paths: &[Value]) -> Value {
    json!({"host": host, "http": {"paths": paths}})
}

/// What a cluster amounts to; the rules must accept all of it.
pub(crate) fn accepted(cluster: &Cluster) -> (Value, Vec<String>) {
    let (rules, findings) = cluster.translated();
    let spec: Spec = serde_json::from_value(rules.clone()).unwrap();
    let (_, problems) = RuleSet::from_spec(&spec);
    assert!(problems.is_empty(), "{problems:?}");
    (rules, findings)
}
