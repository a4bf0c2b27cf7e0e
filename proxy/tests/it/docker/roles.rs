//! The roles of `docker/kubernetes/rbac.yaml` against what Serin asks of an API server: all of it is allowed, and little else.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::manifests;
use super::objects::list;
use crate::support::kubernetes::{Cluster, path, rule};
use crate::support::{Origin, PATIENCE, eventually, free_address};
use crate::webhooks::receiver::write_secret;

/// Verb and resource, as in `patch ingresses.networking.k8s.io/status`.
type Requests = BTreeSet<(String, String)>;

fn allowed() -> Requests {
    let objects = manifests::read(&["rbac.yaml"]);
    let is_for_people = |role: &&Value| role["metadata"]["labels"].to_string().contains("/aggregate-to-");
    let roles = objects.of("ClusterRole").chain(objects.of("Role")).filter(|role| !is_for_people(role));
    let rules: Vec<Value> = roles.flat_map(|role| list(&role["rules"]).to_vec()).collect();
    let mut allowed = Requests::new();
    for rule in &rules {
        for resource in list(&rule["resources"]).iter().filter_map(Value::as_str) {
            let group = rule["apiGroups"][0].as_str().expect("a group");
            let resource = match (group, resource.split_once('/')) {
                ("", _) => resource.to_owned(),
                (group, None) => format!("{resource}.{group}"),
                (group, Some((resource, part))) => format!("{resource}.{group}/{part}"),
            };
            let verbs = list(&rule["verbs"]).iter().filter_map(Value::as_str);
            allowed.extend(verbs.map(|verb| (verb.to_owned(), resource.clone())));
        }
    }
    allowed
}

/// A cluster in which Serin has something to do with each kind that it knows.
fn asked() -> Requests {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.0.install("gateway.networking.k8s.io");
    cluster.define_releases();
    cluster.0.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "serin", "namespace": "serin"},
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}, "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}}}));
    cluster.ingress_of("shop", "shop.example.com", "web");
    cluster.ingress("wrong", json!({"rules": [rule("wrong.example.com", &[path("Prefix", "/", "gone")])]}));
    let gateway = |kind: &str, spec: Value| {
        let metadata =
            if kind == "GatewayClass" { json!({"name": "serin"}) } else { json!({"name": "web", "namespace": "shop"}) };
        cluster.0.apply(
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": kind, "metadata": metadata, "spec": spec}),
        );
    };
    gateway("GatewayClass", json!({"controllerName": "serin.dev/gateway"}));
    let from = json!({"namespaces": {"from": "Selector", "selector": {"matchLabels": {"a": "b"}}}});
    gateway(
        "Gateway",
        json!({"gatewayClassName": "serin", "listeners": [
        {"name": "http", "port": 80, "protocol": "HTTP"}, {"name": "more", "port": 80, "protocol": "HTTP", "hostname": "a.example.com", "allowedRoutes": from}]}),
    );
    let route = json!({"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]});
    gateway("HTTPRoute", route.clone());
    gateway("GRPCRoute", route);
    gateway(
        "BackendTLSPolicy",
        json!({"targetRefs": [{"group": "", "kind": "Service", "name": "web"}],
        "validation": {"hostname": "web.example.com", "wellKnownCACertificates": "System"}}),
    );
    cluster.0.apply(json!({"apiVersion": "serin.dev/v1alpha1", "kind": "Release", "metadata": {"name": "v2", "namespace": "shop"},
        "spec": {"stable": {"service": "web"}, "canary": {"service": "next", "port": 80}, "audience": [{"name": "all", "percent": 5}]}}));
    let settings = format!(
        "publish_service: serin/serin, lease: serin/serin, gateway_address: \"127.0.0.1\", gateway_ports: {{80: {}}}",
        free_address().port()
    );
    let folder = tempfile::tempdir().expect("a folder");
    write_secret(folder.path());
    let secret = folder.path().join("secret");
    let webhooks = format!("webhooks: {{chat: {{url: \"http://127.0.0.1:9\", secret_file: {secret:?}}}}}\n");
    let serin = cluster.begun_with(&settings, &webhooks);
    for (verb, resource) in [
        ("patch", "ingresses.networking.k8s.io/status"),
        ("create", "events.events.k8s.io"),
        ("patch", "gatewayclasses.gateway.networking.k8s.io/status"),
        ("patch", "gateways.gateway.networking.k8s.io/status"),
        ("patch", "httproutes.gateway.networking.k8s.io/status"),
        ("patch", "grpcroutes.gateway.networking.k8s.io/status"),
        ("patch", "backendtlspolicies.gateway.networking.k8s.io/status"),
        ("update", "releases.serin.dev/status"),
        ("patch", "releases.serin.dev/status"),
        ("watch", "namespaces"),
        ("get", "configmaps"),
        ("create", "configmaps"),
    ] {
        cluster.0.wait_for_requests(verb, resource, 1, PATIENCE);
    }
    // The Lease is let go at the end.
    eventually(PATIENCE, "it leads", || serin.metric("serin_kubernetes_leader") == 1.0);
    drop(serin);
    cluster.0.all_requests()
}

#[test]
fn serin_may_what_it_does_and_little_else() {
    let (allowed, asked) = (allowed(), asked());
    // Bundles of authorities are looked at where a role shows them; this one does not.
    let is_no_matter = |(verb, resource): &&(String, String)| verb != "create" && resource == "configmaps";
    let missing: Vec<_> = asked.difference(&allowed).filter(|asked| !is_no_matter(asked)).collect();
    assert!(missing.is_empty(), "not allowed: {missing:?}");
    let unused: Vec<_> = allowed.difference(&asked).collect();
    assert!(unused.is_empty(), "allowed, and not asked for: {unused:?}");
}
