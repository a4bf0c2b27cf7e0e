//! Paths that are expressions, and what becomes of paths.

use super::*;

/// Paths and filters of the route for a path, and what is found.
fn rewritten(kind: &str, text: &str, annotations: &[(&str, &str)]) -> (Value, Value, Vec<String>) {
    let rules = json!({"rules": [rule("shop.example.com", &[path(kind, text, "web")])]});
    let cluster = Cluster::default().with(service("web")).with(annotated(ingress("web", 0, rules), annotations));
    let (rules, findings) = accepted(&cluster);
    let route = &rules["routes"]["ingress.shop.web.0.0"];
    (route["paths"].clone(), route["filters"].clone(), findings)
}

#[test]
fn the_rest_of_a_path_stays_behind_a_target() {
    let cases = [
        ("/app(/|$)(.*)", "/$2", "/app", "/"),
        ("/app(/|$)(.*)", "/api/$2", "/app", "/api"),
        ("/app/(.*)", "/$1", "/app", "/"),
        ("/app/?(.*)", "/$1", "/app", "/"),
        ("/app(/.*)?", "$1", "/app", "/"),
        ("/app(.*)", "/x$1", "/app", "/x"),
        ("^/a/b(/|$)(.*)$", "/$2", "/a/b", "/"),
    ];
    for (text, target, from, to) in cases {
        let (paths, filters, findings) = rewritten("ImplementationSpecific", text, &[("rewrite-target", target)]);
        assert_eq!(paths, json!([{"prefix": from}]), "{text} {target}");
        assert_eq!(filters, json!([{"replace_prefix": {"from": from, "to": to}}]), "{text} {target}");
        assert_eq!(findings.len(), 1, "only that it is not quite the same: {findings:?}");
    }
}

#[test]
fn a_target_without_captures_is_the_whole_path() {
    for (kind, text, target, paths) in [
        ("Prefix", "/app", "/", json!([{"prefix": "/app"}])),
        ("ImplementationSpecific", "/app", "/v2", json!([{"prefix": "/app"}])),
        ("Exact", "/old", "/new", json!([{"exact": "/old"}])),
        ("ImplementationSpecific", "/item/[0-9]+", "/item", json!([{"regex": "(?i)^/item/[0-9]+"}])),
        ("ImplementationSpecific", "/app(/|$)(.*)", "/x", json!([{"regex": "(?i)^/app(/|$)(.*)"}])),
    ] {
        let (found, filters, findings) = rewritten(kind, text, &[("rewrite-target", target)]);
        assert_eq!((found, filters), (paths, json!([{"replace_path": target}])), "{text} {target}");
        assert_eq!(findings.len(), 1, "only that it is not quite the same: {findings:?}");
    }
}

#[test]
fn a_target_that_is_the_path_changes_nothing() {
    for (text, target, paths) in [
        ("/(.*)", "/$1", Value::Null),
        ("/", "/", Value::Null),
        ("/(api/.*)", "/$1", json!([{"prefix": "/api"}])),
        ("/api/(.*)", "/api/$1", json!([{"prefix": "/api"}])),
    ] {
        let (found, filters, _) = rewritten("ImplementationSpecific", text, &[("rewrite-target", target)]);
        assert_eq!((found, filters), (paths, Value::Null), "{text}");
    }
}

#[test]
fn other_targets_are_told_of() {
    for (text, target) in
        [("/(a|b)/(.*)", "/$2"), ("/app/([0-9]+)/(.*)", "/$2/$1"), ("/app(/|$)(.*)", "/$1"), ("/x", "/$1")]
    {
        let (_, filters, findings) = rewritten("ImplementationSpecific", text, &[("rewrite-target", target)]);
        assert_eq!(filters, Value::Null);
        let lack = "Ingress shop/web: Annotation: spec.rules[0].http.paths[0]: what rewrite-target makes of it cannot be made here: it is passed on as it is";
        assert!(findings.iter().any(|finding| finding == lack), "{findings:?}");
    }
    let (_, filters, findings) = rewritten("Prefix", "/", &[("rewrite-target", "https://example.com/")]);
    assert_eq!(filters, Value::Null);
    assert!(findings[0].ends_with("`https://example.com/` is not a path such as /$2"), "{findings:?}");
}

#[test]
fn expressions_are_those_of_paths_with_some() {
    let regex = [("use-regex", "true")];
    let paths = |kind, text| rewritten(kind, text, &regex).0;
    assert_eq!(paths("ImplementationSpecific", "/item/[0-9]+"), json!([{"regex": "(?i)^/item/[0-9]+"}]));
    assert_eq!(paths("Prefix", "/item/[0-9]+"), json!([{"regex": "(?i)^/item/[0-9]+"}]));
    assert_eq!(paths("Exact", "/item/[0-9]+"), json!([{"exact": "/item/[0-9]+"}]));
    assert_eq!(paths("ImplementationSpecific", "/api/.*"), json!([{"prefix": "/api"}]));
    assert_eq!(paths("ImplementationSpecific", "/api"), json!([{"prefix": "/api"}]));
    assert_eq!(rewritten("ImplementationSpecific", "/item/[0-9]+", &[("use-regex", "false")]).2, Vec::<String>::new());
    let rules =
        json!({"rules": [rule("a", &[path("ImplementationSpecific", "/(?!x)", "web"), path("Prefix", "/b", "web")])]});
    let cluster = Cluster::default().with(service("web")).with(annotated(ingress("web", 0, rules), &regex));
    let (rules, findings) = accepted(&cluster);
    assert_eq!(rules["routes"].as_object().unwrap().len(), 1);
    assert!(findings[1].contains("Rejected: spec.rules[0].http.paths[0]: regular expression"), "{findings:?}");
}

#[test]
fn browsers_of_other_origins_are_answered() {
    let (route, _) = shop_route(&[("enable-cors", "true")]);
    let cors = &route["filters"][0]["cors"];
    assert_eq!((&cors["origins"], &cors["credentials"]), (&json!(["*"]), &json!(false)));
    assert_eq!(cors["methods"], json!(["GET", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]));
    assert_eq!(cors["max_age"], "24h");
    let (route, findings) = shop_route(&[
        ("enable-cors", "true"),
        ("cors-allow-origin", "https://*.example.com, https://a.example:8443, shop"),
        ("cors-allow-methods", "GET, post"),
        ("cors-allow-headers", "X-A, *"),
        ("cors-expose-headers", "X-B"),
        ("cors-max-age", "600"),
    ]);
    let cors = &route["filters"][0]["cors"];
    assert_eq!(cors["origins"], json!(["https://*.example.com", "https://a.example:8443"]));
    assert_eq!((&cors["methods"], &cors["headers"]), (&json!(["GET", "POST"]), &json!(["X-A"])));
    assert_eq!(
        (&cors["expose"], &cors["max_age"], &cors["credentials"]),
        (&json!(["X-B"]), &json!("600s"), &json!(true))
    );
    assert!(findings.iter().any(|finding| finding.contains("cors-allow-origin: `shop`")), "{findings:?}");
    assert_eq!(
        shop_route(&[("enable-cors", "false")]),
        (json!({"hosts": ["shop.example.com"], "upstream": "shop.web.http"}), vec![])
    );
}

#[test]
fn fields_are_set() {
    let (route, findings) = shop_route(&[("x-forwarded-prefix", "/shop")]);
    assert_eq!(route["filters"], json!([{"set_request_header": {"x-forwarded-prefix": "/shop"}}]));
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(shop_route(&[("x-forwarded-prefix", "/$1")]).0["filters"], Value::Null);
    let (route, findings) = shop_route(&[("upstream-vhost", "web.internal")]);
    assert_eq!((&route["filters"], findings.len()), (&json!([{"replace_host": "web.internal"}]), 0));
    for host in ["$service_name.shop", "*.internal", "web.internal:8080"] {
        let (route, findings) = shop_route(&[("upstream-vhost", host)]);
        assert_eq!(route["filters"], Value::Null, "{host}");
        assert!(findings[0].contains("upstream-vhost: "), "{findings:?}");
    }
    let (route, findings) = shop_route(&[("custom-headers", "shop/fields")]);
    assert_eq!(route["filters"], Value::Null);
    assert!(findings[0].contains("ConfigMap shop/fields is not followed"), "{findings:?}");
    let fields = json!({"kind": "ConfigMap", "metadata": {"name": "fields", "namespace": "shop"}, "data": {"X-Frame-Options": "DENY"}});
    let (rules, _) =
        accepted(&Cluster::default().with(service("web")).with(fields).with(shop(&[("custom-headers", "fields")])));
    let filters = &rules["routes"]["ingress.shop.web.0.0"]["filters"];
    assert_eq!(*filters, json!([{"set_response_header": {"X-Frame-Options": "DENY"}}]));
}

#[test]
fn copies_go_to_a_service() {
    let mirror = |target: &str, more: &[(&str, &str)]| shop_route(&[&[("mirror-target", target)], more].concat());
    let (route, _) = mirror("http://next.shop.svc.cluster.local$request_uri", &[]);
    assert_eq!(route["mirror"], json!({"upstream": "shop.next.80", "max_body": "1MiB"}));
    let (route, _) = mirror("https://test.example.com/$request_uri", &[("mirror-request-body", "off")]);
    assert_eq!(route["mirror"], json!({"upstream": "mirror_of.shop.web", "max_body": "0B"}));
    assert_eq!(mirror("https://test.example.com/only", &[]).0["mirror"], Value::Null);
    assert_eq!(mirror("https://$host", &[]).0["mirror"], Value::Null);
}
