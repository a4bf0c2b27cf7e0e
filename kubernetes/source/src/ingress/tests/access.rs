//! Who is let in.

use super::*;

#[test]
fn addresses_are_let_in_or_kept_out() {
    let (route, findings) =
        shop_route(&[("whitelist-source-range", "10.1.2.3/8, 192.0.2.1"), ("denylist-source-range", "10.9.0.0/16")]);
    assert_eq!(route["filters"], json!([{"allow_ip": ["10.0.0.0/8", "192.0.2.1"]}, {"deny_ip": ["10.9.0.0/16"]}]));
    assert!(findings.is_empty(), "{findings:?}");
    let (route, findings) =
        shop_route(&[("allowlist-source-range", "10.0.0.0/8"), ("whitelist-source-range", "0.0.0.0/0")]);
    assert_eq!(route["filters"], json!([{"allow_ip": ["10.0.0.0/8"]}]));
    assert_eq!(
        findings,
        [
            "Ingress shop/web: Annotation: nginx.ingress.kubernetes.io/whitelist-source-range: allowlist-source-range goes first"
        ]
    );
}

#[test]
fn what_was_to_keep_somebody_out_and_cannot_be_understood_lets_nobody_in() {
    let cases = [
        ("whitelist-source-range", "office", "`office` is not an address or a network such as 10.0.0.0/8"),
        ("denylist-source-range", "", "it names no network, such as 10.0.0.0/8"),
        ("limit-rps", "many", "`many` is not a number from 0 to 1000000"),
        ("auth-type", "digest", "`digest` is not supported: only basic is"),
        ("auth-secret", "users", "it means nothing without the annotation that it belongs to"),
        (
            "auth-url",
            "auth.example.com",
            "`auth.example.com` is not a URL such as http://auth.shop.svc.cluster.local/verify: it has no scheme",
        ),
        (
            "auth-url",
            "https://auth.example.com$request_uri",
            "`https://auth.example.com$request_uri` is not a URL such as http://auth.shop.svc.cluster.local/verify: of the variables of nginx only \
             $host is understood, as the host",
        ),
        (
            "auth-tls-secret",
            "shop/ca",
            "certificates of clients are asked for by a listener, for all its hosts (`client_certificates`, docs/tls.md)",
        ),
        ("satisfy", "some", "`some` is neither all nor any"),
    ];
    for (name, value, reason) in cases {
        let (route, findings) =
            shop_route(&[(name, value), ("enable-cors", "true"), ("mirror-target", "http://m.shop.svc")]);
        assert_eq!(
            (&route["filters"], &route["upstream"], &route["mirror"]),
            (&nobody(), &json!("shop.web.http"), &Value::Null),
            "{name}"
        );
        let expected = format!(
            "Ingress shop/web: Closed: nginx.ingress.kubernetes.io/{name}: nobody is let in, because it is to keep somebody out and \
             cannot be followed: {reason}"
        );
        assert!(findings.contains(&expected), "{findings:#?}");
    }
}

#[test]
fn all_routes_of_a_closed_ingress_are_closed() {
    let mut ingress = shop(&[("denylist-source-range", "?"), ("app-root", "/app"), ("from-to-www-redirect", "true")]);
    ingress["spec"]["defaultBackend"] = json!({"service": {"name": "web", "port": {"number": 80}}});
    ingress["spec"]["rules"][0]["http"]["paths"][0]["path"] = "/a".into();
    let (rules, _) = accepted(&Cluster::default().with(service("web")).with(ingress));
    let routes = rules["routes"].as_object().unwrap();
    assert_eq!(routes.len(), 4);
    assert!(routes.values().all(|route| route["filters"][0] == nobody()[0]), "{routes:#?}");
}

#[test]
fn limits_of_both_kinds_are_one_that_neither_forbids() {
    let limit = |annotations: &[(&str, &str)]| shop_route(annotations).0["limits"]["rate_limit"].clone();
    assert_eq!(limit(&[("limit-rps", "10")]), json!({"rate": "10/s", "burst": 50, "by": "client_ip"}));
    assert_eq!(
        limit(&[("limit-rpm", "30"), ("limit-burst-multiplier", "2")]),
        json!({"rate": "30/m", "burst": 60, "by": "client_ip"})
    );
    assert_eq!(
        limit(&[("limit-rps", "10"), ("limit-rpm", "30")]),
        json!({"rate": "30/m", "burst": 50, "by": "client_ip"})
    );
    assert_eq!(
        limit(&[("limit-rps", "1"), ("limit-rpm", "600")]),
        json!({"rate": "1/s", "burst": 5, "by": "client_ip"})
    );
    assert_eq!(limit(&[("limit-rps", "0")]), Value::Null);
    let (route, _) = shop_route(&[("limit-connections", "8"), ("proxy-body-size", "8m")]);
    assert_eq!(route["limits"]["in_flight_per_key"], json!({"limit": 8, "by": "client_ip"}));
    assert_eq!(route["limits"]["body"], "8MiB");
    assert_eq!(shop_route(&[("proxy-body-size", "0")]).0["limits"]["body"], "1073741824MiB", "0 is no limit there");
}

#[test]
fn clients_without_limits_have_a_route_of_their_own() {
    let cluster = Cluster::default().with(service("web")).with(shop(&[
        ("limit-rps", "10"),
        ("limit-whitelist", "10.0.0.0/8"),
        ("proxy-body-size", "1m"),
    ]));
    let (rules, _) = accepted(&cluster);
    let free = &rules["routes"]["ingress.shop.web.0.0.unlimited"];
    assert_eq!((&free["client_ip"], &free["limits"]["rate_limit"]), (&json!(["10.0.0.0/8"]), &Value::Null));
    assert_eq!(free["limits"]["body"], "1MiB");
    assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["client_ip"], Value::Null);
    let (_, findings) = shop_route(&[("limit-rps", "10"), ("limit-whitelist", "us")]);
    assert_eq!(findings.len(), 2, "a list that is wrong makes nobody free, and closes nothing: {findings:?}");
}

const HASH: &str = "$2y$10$abcdefghijklmnopqrstuu5Lo0g67CiD3M4RpN1BmBb4Crp5w7dbK";

fn users(data: &[(&str, &str)]) -> Value {
    let data: serde_json::Map<String, Value> = data
        .iter()
        .map(|(key, value)| {
            ((*key).to_owned(), serde_json::to_value(k8s_openapi::ByteString(value.as_bytes().into())).unwrap())
        })
        .collect();
    json!({"kind": "Secret", "metadata": {"name": "users", "namespace": "shop"}, "data": data})
}

fn with_users(secret: Value, annotations: &[(&str, &str)]) -> (Value, Vec<String>) {
    let annotations = [&[("auth-type", "basic"), ("auth-secret", "users")], annotations].concat();
    let (rules, findings) = accepted(&Cluster::default().with(service("web")).with(secret).with(shop(&annotations)));
    (rules["routes"]["ingress.shop.web.0.0"]["filters"].clone(), findings)
}

#[test]
fn passwords_come_from_a_secret() {
    let file = format!("# people\nann:{HASH}\n\nbob:$apr1$x$y\n");
    let (filters, findings) = with_users(users(&[("auth", &file)]), &[("auth-realm", "Shop")]);
    assert_eq!(filters[0]["basic_auth"]["users"], json!({"ann": HASH}));
    assert_eq!(filters[0]["basic_auth"]["realm"], "Shop");
    let bob = "Ingress shop/web: Annotation: nginx.ingress.kubernetes.io/auth-secret: bob is not let in: an MD5 hash is broken in no time";
    assert!(findings.iter().any(|finding| finding.starts_with(bob)), "{findings:?}");
    let (filters, _) = with_users(users(&[("ann", HASH)]), &[("auth-secret-type", "auth-map")]);
    assert_eq!(filters[0]["basic_auth"]["users"], json!({"ann": HASH}));
}

#[test]
fn passwords_that_cannot_be_checked_let_nobody_in() {
    assert_eq!(with_users(users(&[("auth", "bob:$apr1$x$y")]), &[]).0, nobody());
    assert_eq!(with_users(users(&[("auth", "bob")]), &[]).0, nobody());
    assert_eq!(with_users(users(&[]), &[]).0, nobody());
    assert_eq!(with_users(users(&[("auth", "")]), &[("auth-secret-type", "file")]).0, nobody());
    let (route, findings) = shop_route(&[("auth-type", "basic"), ("auth-secret", "gone")]);
    assert_eq!(route["filters"], nobody());
    assert!(findings.iter().any(|finding| finding.contains("there is no Secret shop/gone")), "{findings:?}");
    let (route, findings) = shop_route(&[("auth-type", "basic"), ("auth-secret", "kube-system/users")]);
    assert_eq!(route["filters"], nobody());
    assert!(findings.iter().any(|finding| finding.contains("in another namespace")), "{findings:?}");
    assert_eq!(shop_route(&[("auth-type", "basic")]).0["filters"], nobody());
}

#[test]
fn a_service_is_asked_that_a_url_names() {
    let annotations = [
        ("auth-url", "http://sso.auth.svc.cluster.local:4180/verify?a=b"),
        ("auth-response-headers", "X-User, X-Groups"),
        ("auth-method", "GET"),
        ("auth-cache-key", "$remote_user"),
    ];
    let cluster = Cluster::default().with(service("web")).with(shop(&annotations));
    let (rules, findings) = accepted(&cluster);
    let asked = &rules["routes"]["ingress.shop.web.0.0"]["filters"][0]["forward_auth"];
    assert_eq!(asked["upstream"], "auth.sso.4180");
    assert_eq!((&asked["path"], &asked["response_headers"]), (&json!("/verify?a=b"), &json!(["X-User", "X-Groups"])));
    assert_eq!(
        rules["upstreams"]["auth.sso.4180"]["discovery"]["kubernetes"],
        json!({"service": "auth/sso", "port": 4180})
    );
    assert!(
        findings.iter().any(|finding| finding.ends_with("there is no Service auth/sso, which an annotation names")),
        "{findings:?}"
    );
    assert!(
        findings.iter().any(|finding| finding.ends_with("the service is asked about every request")),
        "{findings:?}"
    );
}

#[test]
fn the_host_of_a_request_is_asked_by_its_name() {
    let (rules, _) =
        accepted(&Cluster::default().with(service("web")).with(shop(&[("auth-url", "https://$host/oauth2/auth")])));
    let name = "auth_of.shop.web_shop.example.com";
    assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["filters"][0]["forward_auth"]["upstream"], name);
    assert_eq!(rules["upstreams"][name]["discovery"]["dns"]["name"], "shop.example.com");
    assert_eq!(rules["upstreams"][name]["tls"], json!({"server_name": "shop.example.com"}));
    let any = annotated(
        ingress("web", 0, json!({"rules": [{"http": {"paths": [path("Prefix", "/", "web")]}}]})),
        &[("auth-url", "https://$host/oauth2/auth"), ("denylist-source-range", "10.0.0.0/8")],
    );
    let (rules, findings) = accepted(&Cluster::default().with(service("web")).with(any));
    assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["filters"], nobody());
    assert!(
        findings.iter().any(|finding| finding.contains("nobody is let in: auth-url: $host is no one host here")),
        "{findings:?}"
    );
}

#[test]
fn certificates_of_clients_may_be_off() {
    let (route, findings) = shop_route(&[("auth-tls-verify-client", "off"), ("auth-tls-secret", "shop/ca")]);
    assert_eq!(route["filters"], Value::Null);
    assert!(findings.iter().all(|finding| finding.contains(" off")), "{findings:?}");
}

#[test]
fn snippets_that_keep_somebody_out_are_not_lost() {
    let (route, findings) = shop_route(&[("server-snippet", "location /admin {\n  deny all;\n}")]);
    assert_eq!(route["filters"], nobody());
    assert!(findings[0].contains("cannot be followed: `deny` in it keeps somebody out"), "{findings:?}");
    assert_eq!(shop_route(&[("configuration-snippet", "more_set_headers \"a: b\";")]).0["filters"], Value::Null);
}

#[test]
fn a_path_that_is_not_right_leaves_no_way_around_what_keeps_somebody_out() {
    let paths = [path("ImplementationSpecific", "/admin/(?!x)", "web"), path("Prefix", "/b", "web")];
    let annotations = [("whitelist-source-range", "10.0.0.0/8"), ("use-regex", "true")];
    let admin = annotated(ingress("admin", 1, json!({"rules": [rule("shop.example.com", &paths)]})), &annotations);
    let (rules, findings) = accepted(&Cluster::default().with(service("web")).with(shop(&[])).with(admin));
    let closed = &rules["routes"]["ingress.shop.admin.0.0"];
    assert_eq!((&closed["paths"], &closed["filters"][0]), (&json!([{"prefix": "/admin"}]), &nobody()[0]));
    assert!(findings.iter().any(|finding| finding.contains("Closed: spec.rules[0].http.paths[0]")), "{findings:?}");
    assert_eq!(rules["routes"]["ingress.shop.admin.0.1"]["upstream"], "shop.web.http");
}

#[test]
fn a_service_may_be_an_address_and_must_be_one_that_there_can_be() {
    let of = |url: &str| accepted(&Cluster::default().with(service("web")).with(shop(&[("auth-url", url)]))).0;
    let rules = of("http://192.0.2.7:4180/verify");
    assert_eq!(
        rules["upstreams"]["auth_of.shop.web"]["endpoints"],
        json!([{"address": "192.0.2.7:4180", "weight": 1}])
    );
    for url in ["http://a..b/verify", "http://a.b.c:0/verify"] {
        assert_eq!(of(url)["routes"]["ingress.shop.web.0.0"]["filters"], nobody(), "{url}");
    }
}
