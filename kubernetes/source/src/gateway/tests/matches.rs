//! Matches of HTTPRoutes, by the requests that they are served for.

use super::*;

/// A rule for whatever matches this.
fn rule(matches: Value, service: &str) -> Value {
    json!({"matches": matches, "backendRefs": to(service)})
}

fn served(rules: Value) -> Outcome {
    let outcome = Cluster::with_gateway().with(route("a", 0, rules)).translated();
    assert_eq!(outcome.route_conditions("HTTPRoute shop/a"), GOOD);
    outcome
}

#[test]
fn without_matches_everything_is_served() {
    let outcome = served(json!([{"backendRefs": to("one")}]));
    outcome.check(&[("GET a.test/", "shop.one.80"), ("POST /x", "shop.one.80")]);
    let expected = json!({
        "listeners": {"gateway.80": {"address": "[::]:80"}},
        "routes": {"httproute.shop.a.00.00.0": {"listeners": ["gateway.80"], "upstream": "shop.one.80", "order": 1_767_225_600_000_000_u64}},
        "upstreams": {"shop.one.80": {"discovery": {"kubernetes": {"service": "shop/one", "port": 80}}}},
    });
    assert_eq!(outcome.rules, expected);
    assert_eq!(outcome.serves_by("web", "GET a.test/"), "none", "other listeners are nothing to Gateways");
}

#[test]
fn paths_and_headers_of_one_route() {
    let outcome = served(json!([
        prefix("/", "one"),
        rule(json!([{"headers": [{"name": "Version", "value": "two"}]}]), "two"),
        rule(json!([{"path": {"value": "/v2"}}, {"headers": [{"name": "Color", "value": "blue"}]}]), "three"),
    ]));
    outcome.check(&[
        ("GET /", "shop.one.80"),
        ("GET / version=one", "shop.one.80"),
        ("GET / version=two", "shop.two.80"),
        ("GET /v2", "shop.three.80"),
        ("GET /v2/x version=two", "shop.three.80"),
        ("GET /v2x", "shop.one.80"),
        ("GET / color=blue", "shop.three.80"),
        // As many headers: the earlier rule.
        ("GET / color=blue version=two", "shop.two.80"),
    ]);
}

#[test]
fn exact_paths_go_before_prefixes_and_longer_ones_before_shorter() {
    let exact = |path: &str, service: &str| rule(json!([{"path": {"type": "Exact", "value": path}}]), service);
    let outcome = served(json!([
        prefix("/match", "one"),
        prefix("/match/prefix/one", "two"),
        prefix("/match/prefix/", "three"),
        exact("/match/exact/one", "two"),
        exact("/match/exact", "three"),
    ]));
    outcome.check(&[
        ("GET /match/exact/one", "shop.two.80"),
        ("GET /match/exact", "shop.three.80"),
        ("GET /match/exact/", "shop.one.80"),
        ("GET /match/prefix/one/x", "shop.two.80"),
        ("GET /match/prefix/x", "shop.three.80"),
        ("GET /match/prefixx", "shop.one.80"),
        ("GET /", "none"),
    ]);
}

#[test]
fn methods_headers_and_queries_by_their_number() {
    let outcome = served(json!([
        rule(json!([{"method": "POST"}, {"method": "GET"}]), "one"),
        rule(
            json!([{"headers": [{"name": "a", "value": "1"}, {"name": "A", "value": "2"}, {"name": "b", "value": "2"}]}]),
            "two"
        ),
        rule(json!([{"headers": [{"name": "a", "type": "RegularExpression", "value": "[0-9]|x"}]}]), "three"),
        rule(json!([{"path": {"value": "/q"}, "queryParams": [{"name": "animal", "value": "whale"}]}]), "one"),
        rule(
            json!([{"path": {"value": "/q"}, "queryParams": [{"name": "animal", "value": "whale"}, {"name": "Animal", "value": "cat"}]}]),
            "two"
        ),
        rule(
            json!([{"path": {"value": "/q"}, "queryParams": [{"name": "animal", "type": "RegularExpression", "value": "d.*"}]}]),
            "three"
        ),
    ]));
    outcome.check(&[
        ("GET /", "shop.one.80"),
        ("PUT /", "none"),
        ("PUT / a=1 b=2", "shop.two.80"),
        ("PUT / a=2 b=2", "shop.three.80"),
        ("PUT / a=12", "none"),
        ("PUT / a=x", "shop.three.80"),
        ("PUT /q?animal=whale", "shop.one.80"),
        ("PUT /q?animal=whale&Animal=cat", "shop.two.80"),
        ("PUT /q?animal=dolphin", "shop.three.80"),
        ("PUT /q?animal=adolphin", "none"),
        ("PUT /q", "none"),
    ]);
}

#[test]
fn routes_of_one_host_are_one_set_of_matches() {
    let one = with_spec(route("one", 0, json!([prefix("/", "one")])), "hostnames", json!(["a.test", "b.test"]));
    let two =
        json!([rule(json!([{"path": {"value": "/v2"}}, {"headers": [{"name": "version", "value": "two"}]}]), "two")]);
    let two = with_spec(route("two", 1, two), "hostnames", json!(["a.test"]));
    let outcome = Cluster::with_gateway().with(one).with(two).translated();
    outcome.check(&[
        ("GET a.test/", "shop.one.80"),
        ("GET a.test/v2", "shop.two.80"),
        ("GET a.test/ version=two", "shop.two.80"),
        ("GET b.test/v2", "shop.one.80"),
        ("GET c.test/v2", "none"),
    ]);
}

#[test]
fn the_older_route_has_what_both_match_and_then_the_name_says() {
    let header =
        |name: &str, service: &str| json!([rule(json!([{"headers": [{"name": name, "value": "1"}]}]), service)]);
    let outcome = Cluster::with_gateway()
        .with(route("a", 2, header("x", "one")))
        .with(route("z", 1, header("x", "two")))
        .with(route("y", 1, header("y", "three")))
        .translated();
    // Identical matches: one is left. Others meet in requests that have both.
    outcome.check(&[("GET / x=1", "shop.two.80"), ("GET / y=1", "shop.three.80"), ("GET / x=1 y=1", "shop.three.80")]);
    assert_eq!(outcome.rules["routes"].as_object().unwrap().len(), 2);
    assert_eq!(outcome.route_conditions("HTTPRoute shop/a"), GOOD, "precedence is no mistake");
}

#[test]
fn rules_stand_in_their_order_however_many_they_are() {
    let rules: Vec<_> = (0..12)
        .map(|index| {
            let service = if index == 2 { "one" } else { "two" };
            rule(json!([{"headers": [{"name": format!("h{index}"), "value": "1"}]}]), service)
        })
        .collect();
    served(json!(rules)).check(&[("GET / h2=1 h10=1", "shop.one.80"), ("GET / h1=1 h2=1", "shop.two.80")]);
}

#[test]
fn expressions_are_of_the_whole_path() {
    let regex = |text: &str| json!([rule(json!([{"path": {"type": "RegularExpression", "value": text}}]), "one")]);
    served(regex("/a|/b[0-9]+")).check(&[
        ("GET /a", "shop.one.80"),
        ("GET /b12", "shop.one.80"),
        ("GET /ab12", "none"),
        ("GET /b", "none"),
    ]);
    for wrong in ["(", "/a)|(/b", "(?=x)"] {
        let outcome = Cluster::with_gateway().with(route("a", 0, regex(wrong))).translated();
        assert_eq!(outcome.route_conditions("HTTPRoute shop/a")[0], "Accepted=False UnsupportedValue", "{wrong}");
        outcome.check(&[("GET /a", "none")]);
    }
}

#[test]
fn what_cannot_be_matched_drops_its_rule_or_the_route() {
    for wrong in [
        json!({"method": "CONNECT"}),
        json!({"path": {"type": "Glob", "value": "/*"}}),
        json!({"path": {"type": "Exact", "value": "no-slash"}}),
        json!({"headers": [{"name": "a", "type": "Glob", "value": "*"}]}),
        json!({"headers": [{"name": "a b", "value": "1"}]}),
        json!({"queryParams": [{"name": "a", "type": "Glob", "value": "*"}]}),
        json!({"headers": [{"name": "host", "type": "RegularExpression", "value": "("}]}),
    ] {
        let wrong_rule = rule(json!([wrong]), "one");
        let outcome = Cluster::with_gateway().with(route("a", 0, json!([wrong_rule]))).translated();
        let conditions = outcome.route_conditions("HTTPRoute shop/a");
        assert_eq!(conditions, ["Accepted=False UnsupportedValue", "ResolvedRefs=True ResolvedRefs"], "{wrong}");
        assert_eq!(outcome.listener("shop/web", "all").0, 0);

        let outcome =
            Cluster::with_gateway().with(route("a", 0, json!([wrong_rule, prefix("/good", "two")]))).translated();
        let conditions = outcome.route_conditions("HTTPRoute shop/a");
        assert_eq!(conditions[2..], ["PartiallyInvalid=True UnsupportedValue"], "{wrong}");
        outcome.check(&[("GET /good", "shop.two.80"), ("GET /", "none")]);
    }
}

#[test]
fn a_name_that_leaves_no_room_for_those_of_rules_is_told() {
    let name = "n".repeat(240);
    let outcome = Cluster::with_gateway().with(route(&name, 0, json!([prefix("/", "one")]))).translated();
    let conditions = outcome.route_conditions(&format!("HTTPRoute shop/{name}"));
    assert_eq!(conditions[0], "Accepted=False UnsupportedValue");
}
