//! GRPCRoutes: what differs from HTTPRoutes.

use super::*;

fn served(rules: Value) -> Outcome {
    let mut route = route("a", 0, rules);
    route["kind"] = "GRPCRoute".into();
    Cluster::with_gateway().with(route).translated()
}

fn rule(matches: Value, service: &str) -> Value {
    json!({"matches": matches, "backendRefs": to(service)})
}

#[test]
fn methods_of_services_are_paths() {
    let method = |method: Value| json!([{"method": method}]);
    let outcome = served(json!([
        rule(method(json!({"service": "shop.v1.Cart", "method": "Add"})), "one"),
        rule(method(json!({"type": "Exact", "service": "shop.v1.Cart"})), "two"),
        rule(method(json!({"method": "Ping.All"})), "three"),
        rule(
            method(json!({"type": "RegularExpression", "service": "shop\\.v[2-9]\\.[A-Z]+", "method": "Add|Remove"})),
            "one"
        ),
    ]));
    outcome.check(&[
        ("POST a.test/shop.v1.Cart/Add", "shop.one.80.h2"),
        ("POST a.test/shop.v1.Cart/Remove", "shop.two.80.h2"),
        ("POST a.test/shop.v1.CartX/Remove", "none"),
        ("POST a.test/any.Service/Ping.All", "shop.three.80.h2"),
        ("POST a.test/any.Service/PingxAll", "none"),
        ("POST a.test/shop.v2.CART/Remove", "shop.one.80.h2"),
        ("POST a.test/shop.v2.CART/Other", "none"),
    ]);
    assert_eq!(outcome.rules["upstreams"]["shop.one.80.h2"]["protocol"], "h2c");
    assert_eq!(outcome.route_conditions("GRPCRoute shop/a"), GOOD);
    assert_eq!(outcome.listener("shop/web", "all").0, 1);
}

#[test]
fn headers_of_calls_by_their_number_and_any_call() {
    let header = |name: &str, value: &str| json!({"name": name, "value": value});
    let outcome = served(json!([
        {"backendRefs": to("one")},
        rule(json!([{"headers": [header("Version", "two")]}]), "two"),
        rule(json!([{"headers": [header("version", "two"), header("color", "red")]}]), "three"),
    ]));
    outcome.check(&[
        ("POST a.test/any.Service/Call", "shop.one.80.h2"),
        ("POST a.test/any.Service/Call version=two", "shop.two.80.h2"),
        ("POST a.test/any.Service/Call version=two color=red", "shop.three.80.h2"),
    ]);
}

#[test]
fn calls_are_divided_by_weight_and_listeners_have_their_hosts() {
    let backends = json!([{"name": "one", "port": 80, "weight": 7}, {"name": "two", "port": 81, "weight": 3}, {"name": "gone", "port": 80, "weight": 1}]);
    let outcome = served(json!([{"backendRefs": backends}]));
    outcome.check(&[("POST a.test/a.B/C", "gateway.nobody*1 shop.one.80.h2*7 shop.two.81.h2*3")]);
    assert_eq!(outcome.route_conditions("GRPCRoute shop/a"), [GOOD[0], "ResolvedRefs=False BackendNotFound"]);
}

#[test]
fn routes_of_both_kinds_and_one_name_are_two() {
    let mut grpc = route("a", 0, json!([rule(json!([{"method": {"service": "a.B"}}]), "two")]));
    grpc["kind"] = "GRPCRoute".into();
    let outcome = Cluster::with_gateway().with(route("a", 0, json!([prefix("/", "one")]))).with(grpc).translated();
    outcome.check(&[("POST /a.B/C", "shop.two.80.h2"), ("POST /", "shop.one.80")]);
    assert_eq!(outcome.listener("shop/web", "all").0, 2);
}
