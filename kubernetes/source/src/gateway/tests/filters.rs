//! Filters and time limits of rules.

use super::*;

/// What a rule with these fields amounts to, for paths that begin with `/a`.
fn served(fields: Value) -> Outcome {
    let rule = and(prefix("/a", "one"), fields);
    Cluster::with_gateway().with(route("a", 0, json!([rule]))).translated()
}

/// The filters of Serin for some of Gateway API.
fn filters(filters: Value) -> Value {
    let is_redirect = filters[0]["type"] == "RequestRedirect";
    let fields = if is_redirect { json!({"filters": filters, "backendRefs": []}) } else { json!({"filters": filters}) };
    let outcome = served(fields);
    assert_eq!(outcome.route_conditions("HTTPRoute shop/a"), GOOD);
    outcome.route()["filters"].clone()
}

fn refused(fields: Value) {
    let outcome = served(fields.clone());
    assert_eq!(outcome.route_conditions("HTTPRoute shop/a")[0], "Accepted=False UnsupportedValue", "{fields}");
    outcome.check(&[("GET /a", "none")]);
}

#[test]
fn header_fields_of_requests_and_responses() {
    let changes = json!({
        "set": [{"name": "X-Set", "value": "1"}, {"name": "x-set", "value": "2"}],
        "add": [{"name": "X-Add", "value": "a,b"}],
        "remove": ["X-Remove", "x-other"],
    });
    let both = json!([
        {"type": "RequestHeaderModifier", "requestHeaderModifier": changes},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": changes},
    ]);
    let expected = json!([
        {"set_request_header": {"x-set": "1"}},
        {"add_request_header": {"x-add": "a,b"}},
        {"remove_request_header": ["x-other", "x-remove"]},
        {"set_response_header": {"x-set": "1"}},
        {"add_response_header": {"x-add": "a,b"}},
        {"remove_response_header": ["x-other", "x-remove"]},
    ]);
    assert_eq!(filters(both), expected);
}

#[test]
fn redirects() {
    let redirect = |redirect: Value| {
        filters(json!([{"type": "RequestRedirect", "requestRedirect": redirect}]))[0]["redirect"].clone()
    };
    let host_and_status = redirect(json!({"hostname": "example.org", "statusCode": 301}));
    assert_eq!(host_and_status, json!({"host": "example.org", "status": 301}));
    assert_eq!(redirect(json!({"scheme": "https", "port": 8443})), json!({"scheme": "https", "port": 8443}));
    let full = json!({"type": "ReplaceFullPath", "replaceFullPath": "/new"});
    assert_eq!(redirect(json!({"path": full, "statusCode": 302})), json!({"path": "/new", "status": 302}));
    let prefix = json!({"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"});
    assert_eq!(redirect(json!({"path": prefix})), json!({"replace_prefix": {"from": "/a", "to": "/new"}}));
    let outcome = served(
        json!({"backendRefs": [], "filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "https", "statusCode": 308}}]}),
    );
    outcome.check(&[("GET /a/b", "308 Permanent Redirect")]);
    assert_eq!(outcome.rules.get("upstreams"), None, "nobody is asked");
}

#[test]
fn rewrites() {
    let rewrite = |rewrite: Value| filters(json!([{"type": "URLRewrite", "urlRewrite": rewrite}]));
    assert_eq!(rewrite(json!({"hostname": "one.example.org"})), json!([{"replace_host": "one.example.org"}]));
    let full = json!({"type": "ReplaceFullPath", "replaceFullPath": "/one"});
    assert_eq!(
        rewrite(json!({"path": full, "hostname": "b.test"})),
        json!([{"replace_host": "b.test"}, {"replace_path": "/one"}])
    );
    let to = |to: &str| rewrite(json!({"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": to}}));
    assert_eq!(to("/b"), json!([{"replace_prefix": {"from": "/a", "to": "/b"}}]));
    assert_eq!(to(""), json!([{"replace_prefix": {"from": "/a", "to": "/"}}]));
}

#[test]
fn a_prefix_that_is_replaced_is_that_of_each_match() {
    let rewrite = json!([{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/x"}}}]);
    let rule = |matches: Value| json!([{"matches": matches, "filters": rewrite, "backendRefs": to("one")}]);
    let outcome =
        Cluster::with_gateway().with(route("a", 0, rule(json!([{"path": {"value": "/a"}}, {}])))).translated();
    let from = |route: &str| outcome.rules["routes"][route]["filters"][0]["replace_prefix"]["from"].clone();
    assert_eq!((from("httproute.shop.a.00.00.0"), from("httproute.shop.a.00.01.0")), (json!("/a"), json!("/")));
    let exact = rule(json!([{"path": {"type": "Exact", "value": "/a"}}]));
    let outcome = Cluster::with_gateway().with(route("a", 0, exact)).translated();
    assert_eq!(outcome.route_conditions("HTTPRoute shop/a")[0], "Accepted=False UnsupportedValue");
}

#[test]
fn requests_are_copied() {
    let mirror = |backend: Value, share: Value| {
        let mirror = and(json!({"backendRef": backend}), share);
        served(json!({"filters": [{"type": "RequestMirror", "requestMirror": mirror}]}))
    };
    let two = || json!({"name": "two", "port": 80});
    for (share, percent) in [
        (json!({}), 100.0),
        (json!({"percent": 20}), 20.0),
        (json!({"percent": 0}), 0.0),
        (json!({"fraction": {"numerator": 1, "denominator": 3}}), 33.33),
        (json!({"fraction": {"numerator": 50}}), 50.0),
        (json!({"fraction": {"numerator": 5, "denominator": 0}}), 100.0),
    ] {
        let outcome = mirror(two(), share.clone());
        let mirror = &outcome.route()["mirror"];
        assert_eq!(mirror["upstream"], "shop.two.80");
        let parsed: routing_rules::spec::MirrorSpec = serde_json::from_value(mirror.clone()).unwrap();
        assert_eq!(parsed.percent.unwrap().basis_points(), (percent * 100.0) as u16, "{share}");
    }
    let outcome = mirror(json!({"name": "gone", "port": 80}), json!({}));
    assert_eq!(outcome.route_conditions("HTTPRoute shop/a"), [GOOD[0], "ResolvedRefs=False BackendNotFound"]);
    assert_eq!(outcome.route().get("mirror"), None);
    outcome.check(&[("GET /a", "shop.one.80")]);
}

#[test]
fn time_limits() {
    let limits = |timeouts: Value| served(json!({"timeouts": timeouts})).route().get("timeouts").cloned();
    assert_eq!(limits(json!({})), None);
    assert_eq!(limits(json!({"request": "500ms"})), Some(json!({"request": "500ms", "total": "500ms"})));
    assert_eq!(limits(json!({"backendRequest": "2s"})), Some(json!({"request": "2s"})));
    let both = limits(json!({"request": "1m", "backendRequest": "2s"}));
    assert_eq!(both, Some(json!({"request": "2s", "total": "60s"})));
    assert_eq!(limits(json!({"request": "0s"})), Some(json!({"request": "8760h"})), "no limit");
    let unlimited = limits(json!({"request": "0s", "backendRequest": "2s"}));
    assert_eq!(unlimited, Some(json!({"request": "2s"})));
}

#[test]
fn what_there_is_no_rule_for_is_not_accepted() {
    let mirror = json!({"type": "RequestMirror", "requestMirror": {"backendRef": {"name": "two", "port": 80}}});
    refused(json!({"filters": [mirror, mirror]}));
    refused(json!({"filters": [{"type": "CORS", "cors": {}}]}));
    refused(
        json!({"filters": [{"type": "ExtensionRef", "extensionRef": {"group": "a.test", "kind": "B", "name": "c"}}]}),
    );
    refused(json!({"filters": [{"type": "OfTomorrow", "ofTomorrow": {"x": [1]}}]}));
    refused(
        json!({"filters": [{"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "Host", "value": "a"}]}}]}),
    );
    refused(json!({"filters": [{"type": "RequestRedirect", "requestRedirect": {"scheme": "ftp"}}]}));
    refused(json!({"filters": [{"type": "URLRewrite", "urlRewrite": {"hostname": "*.a.test"}}]}));
    refused(json!({"timeouts": {"request": "soon"}}));
}
