//! Parents of routes: which Gateways and listeners let them in.

use super::*;

fn at_parents(parents: Value) -> Value {
    with_spec(route("a", 0, json!([prefix("/", "one")])), "parentRefs", parents)
}

/// A Gateway whose listener lets in routes of these namespaces.
fn letting_in(namespaces: Value) -> Cluster {
    Cluster::new().with(gateway(
        "web",
        0,
        json!([and(http("all"), json!({"allowedRoutes": {"namespaces": namespaces}}))]),
    ))
}

/// A route of another namespace, to a Service there.
fn from_elsewhere() -> Value {
    let mut route = at_parents(json!([{"name": "web", "namespace": "shop"}]));
    route["metadata"]["namespace"] = "other".into();
    route
}

const REFUSED: fn(&str) -> [String; 2] = |reason| [format!("Accepted=False {reason}"), GOOD[1].into()];

#[test]
fn a_gateway_of_another_namespace_says_whose_routes_it_takes() {
    let labelled = json!({"kind": "Namespace", "metadata": {"name": "other", "labels": {"team": "shop", "tier": "2"}}});
    let selector = |selector: Value| json!({"from": "Selector", "selector": selector});
    let expression = |operator: &str, values: Value| {
        selector(json!({"matchExpressions": [{"key": "tier", "operator": operator, "values": values}]}))
    };
    for (namespaces, is_let_in) in [
        (json!({"from": "All"}), true),
        (json!({"from": "Same"}), false),
        (json!({}), false),
        (json!({"from": "None"}), false),
        (selector(json!({})), true),
        (selector(json!({"matchLabels": {"team": "shop"}})), true),
        (selector(json!({"matchLabels": {"team": "shop", "tier": "1"}})), false),
        (expression("In", json!(["1", "2"])), true),
        (expression("NotIn", json!(["1", "2"])), false),
        (expression("Exists", json!([])), true),
        (expression("DoesNotExist", json!([])), false),
        (json!({"from": "Selector"}), false),
    ] {
        let cluster = letting_in(namespaces.clone()).with(labelled.clone()).with(service("other", "one"));
        let outcome = cluster.with(from_elsewhere()).translated();
        let (served, conditions) = match is_let_in {
            true => ("other.one.80", GOOD.map(str::to_owned)),
            false => ("none", REFUSED("NotAllowedByListeners")),
        };
        assert_eq!(outcome.route_conditions("HTTPRoute other/a"), conditions, "{namespaces}");
        outcome.check(&[("GET /", served)]);
        assert_eq!(outcome.listener("shop/web", "all").0, u64::from(is_let_in));
    }
    // A namespace that nothing is known of has no labels.
    let unknown = letting_in(selector(json!({}))).with(from_elsewhere()).translated();
    assert_eq!(unknown.route_conditions("HTTPRoute other/a")[0], "Accepted=False NotAllowedByListeners");
}

#[test]
fn a_listener_is_named_by_section_and_port() {
    let listeners = json!([http("one"), {"name": "two", "port": 8080, "protocol": "HTTP"}]);
    for (parent, served) in [
        (json!({"name": "web"}), [true, true]),
        (json!({"name": "web", "sectionName": "two"}), [false, true]),
        (json!({"name": "web", "port": 80}), [true, false]),
        (json!({"name": "web", "sectionName": "one", "port": 80}), [true, false]),
        (json!({"name": "web", "sectionName": "one", "port": 8080}), [false, false]),
        (json!({"name": "web", "sectionName": "three"}), [false, false]),
        (json!({"name": "web", "port": 81}), [false, false]),
    ] {
        let outcome =
            Cluster::new().with(gateway("web", 0, listeners.clone())).with(at_parents(json!([parent]))).translated();
        let is_served = ["gateway.80", "gateway.8080"].map(|listener| outcome.serves_by(listener, "GET /") != "none");
        assert_eq!(is_served, served, "{parent}");
        let conditions = if served == [false; 2] { REFUSED("NoMatchingParent") } else { GOOD.map(str::to_owned) };
        assert_eq!(outcome.route_conditions("HTTPRoute shop/a"), conditions, "{parent}");
    }
}

#[test]
fn each_parent_is_told_for_itself() {
    let parents = json!([{"name": "web", "sectionName": "all"}, {"name": "web", "sectionName": "gone"}, {"name": "unknown"},
        {"group": "", "kind": "Service", "name": "web"}]);
    let outcome = Cluster::with_gateway().with(at_parents(parents)).translated();
    let parents = outcome.status("HTTPRoute shop/a")["parents"].as_array().unwrap();
    let told: Vec<_> = parents.iter().map(|parent| conditions(&parent["conditions"])).collect();
    assert_eq!(told, [GOOD.map(str::to_owned).to_vec(), REFUSED("NoMatchingParent").to_vec()]);
    let reference =
        json!({"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "web", "sectionName": "all"});
    assert_eq!((&parents[0]["parentRef"], &parents[0]["controllerName"]), (&reference, &json!("serin.dev/gateway")));
}

#[test]
fn a_kind_that_a_listener_does_not_take_is_not_attached() {
    let only_tls = and(http("all"), json!({"allowedRoutes": {"kinds": [{"kind": "TLSRoute"}]}}));
    let only_grpc = and(http("all"), json!({"allowedRoutes": {"kinds": [{"kind": "GRPCRoute"}]}}));
    let tls = json!({"name": "all", "port": 443, "protocol": "TLS"});
    for listener in [only_tls, only_grpc, tls] {
        let outcome = Cluster::new()
            .with(gateway("web", 0, json!([listener])))
            .with(at_parents(json!([{"name": "web"}])))
            .translated();
        assert_eq!(outcome.route_conditions("HTTPRoute shop/a"), REFUSED("NotAllowedByListeners"));
        assert_eq!(outcome.listener("shop/web", "all").0, 0);
    }
}

#[test]
fn gateways_of_other_classes_are_nobody_to_us() {
    let other = with_spec(gateway("web", 0, json!([http("all")])), "gatewayClassName", json!("other"));
    let outcome = Cluster::new().with(other).with(at_parents(json!([{"name": "web"}]))).translated();
    assert_eq!(outcome.updates.keys().collect::<Vec<_>>(), ["GatewayClass serin"]);
    assert_eq!(outcome.rules, json!({}));
}
