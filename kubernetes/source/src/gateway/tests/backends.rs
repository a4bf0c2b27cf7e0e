//! Backends of rules: what they are as upstreams, and what becomes of the share of those that cannot be used.

use super::*;

fn served(backends: Value) -> Outcome {
    Cluster::with_gateway()
        .with(service("other", "one"))
        .with(route("a", 0, json!([{"backendRefs": backends}])))
        .translated()
}

fn resolved(outcome: &Outcome) -> String {
    let conditions = outcome.route_conditions("HTTPRoute shop/a");
    assert_eq!(conditions[0], GOOD[0]);
    conditions[1].clone()
}

#[test]
fn requests_are_divided_by_weight() {
    let weighted = |name: &str, weight: u32| json!({"name": name, "port": 80, "weight": weight});
    for (backends, expected) in [
        (json!([weighted("one", 70), weighted("two", 30), weighted("three", 0)]), "shop.one.80*70 shop.two.80*30"),
        (json!([{"name": "one", "port": 80}, {"name": "two", "port": 80}]), "shop.one.80*1 shop.two.80*1"),
        (json!([weighted("one", 1), weighted("one", 2), weighted("two", 1)]), "shop.one.80*3 shop.two.80*1"),
        (json!([weighted("one", 5), weighted("two", 0)]), "shop.one.80"),
        (json!([weighted("one", 0)]), "gateway.nobody"),
        (json!([]), "gateway.nobody"),
    ] {
        let outcome = served(backends.clone());
        outcome.check(&[("GET /", expected)]);
        assert_eq!(resolved(&outcome), GOOD[1], "{backends}");
    }
}

#[test]
fn the_share_of_a_backend_that_cannot_be_used_is_answered_with_500() {
    for (backend, reason) in [
        (json!({"name": "gone", "port": 80}), "BackendNotFound"),
        (json!({"name": "one", "port": 9}), "BackendNotFound"),
        (json!({"name": "one"}), "BackendNotFound"),
        (json!({"group": "unknown.test", "kind": "NonExistent", "name": "one", "port": 80}), "InvalidKind"),
        (json!({"kind": "Bucket", "name": "one", "port": 80}), "InvalidKind"),
        (json!({"name": "one", "namespace": "other", "port": 80}), "RefNotPermitted"),
        (json!({"name": "one", "port": 83}), "UnsupportedProtocol"),
    ] {
        let outcome = served(json!([backend]));
        outcome.check(&[("GET /", "gateway.nobody")]);
        assert_eq!(outcome.rules["upstreams"], json!({"gateway.nobody": {"empty_status": 500}}));
        assert_eq!(resolved(&outcome), format!("ResolvedRefs=False {reason}"), "{backend}");

        let outcome = served(json!([backend, {"name": "two", "port": 80, "weight": 3}]));
        outcome.check(&[("GET /", "gateway.nobody*1 shop.two.80*3")]);
        assert_eq!(resolved(&outcome), format!("ResolvedRefs=False {reason}"), "{backend}");
    }
}

#[test]
fn a_service_of_another_namespace_needs_a_grant() {
    let grant = |from: &str, to: Value| {
        json!({"kind": "ReferenceGrant", "metadata": {"name": "g", "namespace": "other"}, "spec": {
            "from": [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "namespace": from}], "to": [to]}})
    };
    let rules = json!([
        {"matches": [{"path": {"value": "/a"}}], "backendRefs": [{"name": "one", "namespace": "other", "port": 80}]},
        {"matches": [{"path": {"value": "/b"}}], "backendRefs": [{"name": "two", "namespace": "other", "port": 80}]},
    ]);
    let cluster = |grant: Value| {
        let cluster = Cluster::with_gateway().with(service("other", "one")).with(service("other", "two"));
        cluster.with(grant).with(route("a", 0, rules.clone())).translated()
    };
    let outcome = cluster(grant("shop", json!({"group": "", "kind": "Service"})));
    outcome.check(&[("GET /a", "other.one.80"), ("GET /b", "other.two.80")]);
    assert_eq!(resolved(&outcome), GOOD[1]);
    // One of the two: the route is right, and a part of it is answered with 500.
    let outcome = cluster(grant("shop", json!({"group": "", "kind": "Service", "name": "two"})));
    outcome.check(&[("GET /a", "gateway.nobody"), ("GET /b", "other.two.80")]);
    assert_eq!(resolved(&outcome), "ResolvedRefs=False RefNotPermitted");
    for grant in [
        grant("elsewhere", json!({"group": "", "kind": "Service"})),
        grant("shop", json!({"group": "", "kind": "Secret"})),
        grant("shop", json!({"group": "other.test", "kind": "Service"})),
    ] {
        cluster(grant).check(&[("GET /a", "gateway.nobody"), ("GET /b", "gateway.nobody")]);
    }
}

#[test]
fn a_port_says_what_is_spoken_there() {
    let outcome = served(json!([{"name": "one", "port": 81}, {"name": "one", "port": 82}]));
    assert_eq!(outcome.rules["upstreams"]["shop.one.81.h2"]["protocol"], "h2c");
    assert_eq!(outcome.rules["upstreams"]["shop.one.82"].get("protocol"), None);
}

#[test]
fn another_name_of_something_outside_is_looked_up() {
    let outside = json!({"kind": "Service", "metadata": {"name": "outside", "namespace": "shop"},
        "spec": {"type": "ExternalName", "externalName": "web.example.net"}});
    let outcome =
        Cluster::with_gateway().with(outside).with(route("a", 0, json!([prefix("/", "outside")]))).translated();
    assert_eq!(outcome.rules["upstreams"]["shop.outside.80"]["discovery"]["dns"]["name"], "web.example.net");
    assert_eq!(resolved(&outcome), GOOD[1]);
}

#[test]
fn filters_of_a_backend_are_not_supported() {
    let filters =
        json!([{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "a", "value": "b"}]}}]);
    let outcome = served(json!([{"name": "one", "port": 80, "filters": filters}]));
    assert_eq!(outcome.route_conditions("HTTPRoute shop/a")[0], "Accepted=False UnsupportedValue");
    outcome.check(&[("GET /", "none")]);
}
