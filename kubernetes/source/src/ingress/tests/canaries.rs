//! Ingresses that take users from others.

use super::*;

fn canary(name: &str, second: u32, annotations: &[(&str, &str)]) -> Value {
    let rules = json!({"rules": [rule("shop.example.com", &[path("Prefix", "/", "next")])]});
    annotated(ingress(name, second, rules), &[&[("canary", "true")], annotations].concat())
}

fn cluster(canaries: &[Value]) -> (Value, Vec<String>) {
    let cluster = Cluster::default().with(service("web")).with(service("next")).with(shop(&[]));
    accepted(&canaries.iter().fold(cluster, |cluster, canary| cluster.with(canary.clone())))
}

/// The release of one canary.
fn release(annotations: &[(&str, &str)]) -> Value {
    let (rules, _) = cluster(&[canary("next", 1, annotations)]);
    assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["release"], json!(["ingress.shop.next.0"]));
    assert_eq!(rules["routes"].as_object().unwrap().len(), 1, "a canary has no routes");
    rules["releases"]["ingress.shop.next.0"].clone()
}

/// Name, condition and percent of its rules.
fn audience(annotations: &[(&str, &str)]) -> Vec<(String, Value, Value)> {
    let rules = release(annotations)["audience"].as_array().unwrap().clone();
    let rule = |rule: &Value| {
        let condition =
            ["header", "cookie"].iter().map(|kind| &rule[kind]).find(|conditions| **conditions != json!({}));
        (rule["name"].as_str().unwrap().to_owned(), condition.cloned().unwrap_or_default(), rule["percent"].clone())
    };
    rules.iter().map(rule).collect()
}

#[test]
fn a_weight_is_a_share_of_users() {
    let release = release(&[("canary-weight", "10")]);
    assert_eq!((&release["stable"], &release["canary"]), (&json!("shop.web.http"), &json!("shop.next.http")));
    assert_eq!(release["sticky"]["pin"], Value::Null);
    let percent = |annotations: &[(&str, &str)]| audience(annotations).pop().unwrap().2;
    assert_eq!(percent(&[("canary-weight", "10")]), "10");
    assert_eq!(percent(&[("canary-weight", "1"), ("canary-weight-total", "300")]), "0.33");
    assert_eq!(percent(&[("canary-weight", "1"), ("canary-weight-total", "1000000")]), "0.01");
    assert_eq!(percent(&[("canary-weight", "200")]), "100");
    assert_eq!(percent(&[]), "0", "nobody");
    assert_eq!(percent(&[("canary-weight", "ten")]), "0");
    assert_eq!(percent(&[("canary-weight", "10"), ("canary-weight-total", "50")]), "10", "as in ingress-nginx");
    let (_, findings) = cluster(&[canary("next", 1, &[("canary-weight", "10"), ("canary-weight-total", "50")])]);
    assert!(findings[0].ends_with("canary-weight-total: `50` is not a number from 100 to 1000000"), "{findings:?}");
    let (_, findings) = cluster(&[canary("next", 1, &[("canary-weight", "ten")])]);
    assert!(findings[0].ends_with("canary-weight: `ten` is not a number from 0 to 1000000"), "{findings:?}");
}

#[test]
fn headers_go_before_cookies_and_cookies_before_weights() {
    let rules = audience(&[("canary-by-header", "X-Canary"), ("canary-by-cookie", "next"), ("canary-weight", "5")]);
    let rule = |name: &str, condition: Value, percent: &str| (name.to_owned(), condition, json!(percent));
    let expected = [
        rule("header always", json!({"X-Canary": "always"}), "100"),
        rule("header never", json!({"X-Canary": "never"}), "0"),
        rule("cookie always", json!({"next": "always"}), "100"),
        rule("cookie never", json!({"next": "never"}), "0"),
        rule("weight", Value::Null, "5"),
    ];
    assert_eq!(rules, expected);
    assert_eq!(release(&[("canary-by-cookie", "next")])["sticky"]["pin"], false, "a pin goes before what is said now");
}

#[test]
fn a_header_may_have_a_value_or_a_pattern() {
    let first =
        |annotations: &[(&str, &str)]| audience(&[&[("canary-by-header", "x-team")], annotations].concat()).remove(0).1;
    assert_eq!(first(&[("canary-by-header-value", "beta")]), json!({"x-team": "beta"}));
    assert_eq!(first(&[("canary-by-header-pattern", "^(a|b)$")]), json!({"x-team": {"regex": "^(a|b)$"}}));
    assert_eq!(first(&[("canary-by-header-value", "v"), ("canary-by-header-pattern", "p")]), json!({"x-team": "v"}));
    assert_eq!(first(&[("canary-by-header-pattern", "(?=a)")]), Value::Null, "one that is wrong means nobody");
    assert_eq!(audience(&[("canary-by-header", "no header")]).len(), 1);
}

#[test]
fn a_weight_alone_may_be_one_of_requests() {
    let (rules, findings) = cluster(&[canary("next", 1, &[("canary-weight", "10"), ("serin.dev/sticky", "false")])]);
    let route = &rules["routes"]["ingress.shop.web.0.0"];
    let split = json!([{"upstream": "shop.web.http", "weight": 90}, {"upstream": "shop.next.http", "weight": 10}]);
    assert_eq!((&route["split"], &route["upstream"], &route["release"]), (&split, &Value::Null, &Value::Null));
    assert!(findings.is_empty(), "{findings:?}");
    let (rules, findings) = cluster(&[canary("next", 1, &[("canary-by-cookie", "a"), ("serin.dev/sticky", "false")])]);
    assert!(rules["releases"]["ingress.shop.next.0"].is_object());
    assert!(
        findings[0].contains("serin.dev/sticky: with a header or a cookie users stay where they are"),
        "{findings:?}"
    );
}

#[test]
fn a_canary_needs_a_path_of_another_ingress_for_itself() {
    let found = |canaries: &[Value]| {
        cluster(canaries).1.into_iter().filter(|finding| finding.contains(": Canary: ")).collect::<Vec<_>>()
    };
    let mut elsewhere = canary("next", 1, &[]);
    elsewhere["spec"]["rules"][0]["host"] = "other.example.com".into();
    let place = "Canary: spec.rules[0].http.paths[0]";
    assert_eq!(
        found(&[elsewhere]),
        [format!("Ingress shop/next: {place}: no Ingress that is no canary has this path of this host")]
    );
    let (older, newer) = (canary("z", 1, &[("canary-weight", "1")]), canary("a", 2, &[("canary-weight", "1")]));
    assert_eq!(
        found(&[newer, older]),
        [format!("Ingress shop/a: {place}: Ingress shop/z, which is older, is its canary already")]
    );
    let mut same = canary("next", 1, &[]);
    same["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = "web".into();
    assert_eq!(
        found(&[same]),
        [format!("Ingress shop/next: {place}: it has the same Service and port as Ingress shop/web")]
    );
}

#[test]
fn a_canary_has_all_but_its_balancing_from_the_main_ingress() {
    let main = shop(&[
        ("backend-protocol", "GRPC"),
        ("limit-rps", "5"),
        ("limit-whitelist", "10.0.0.0/8"),
        ("rewrite-target", "/v1"),
    ]);
    let next =
        canary("next", 1, &[("canary-weight", "1"), ("load-balance", "round_robin"), ("proxy-read-timeout", "5")]);
    let (rules, findings) =
        accepted(&Cluster::default().with(service("web")).with(service("next")).with(main).with(next));
    let upstream = &rules["upstreams"]["shop.next.http.next"];
    assert_eq!((&upstream["protocol"], &upstream["balance"]), (&json!("h2c"), &json!("round_robin")));
    for route in ["ingress.shop.web.0.0", "ingress.shop.web.0.0.unlimited"] {
        assert_eq!(rules["routes"][route]["release"], json!(["ingress.shop.next.0"]));
    }
    let inherited = "proxy-read-timeout: a canary has this from its main Ingress, as in ingress-nginx";
    assert!(findings.iter().any(|finding| finding.ends_with(inherited)), "{findings:?}");
}

#[test]
fn paths_with_the_same_upstreams_are_one_release() {
    let both = |service: &str| [path("Prefix", "/a", service), path("ImplementationSpecific", "/b(/|$)(.*)", service)];
    let main = annotated(ingress("web", 0, json!({"rules": [rule("a", &both("web"))]})), &[("rewrite-target", "/$2")]);
    let next = annotated(
        ingress("next", 1, json!({"rules": [rule("a", &both("next"))]})),
        &[("canary", "true"), ("canary-weight", "1")],
    );
    let (rules, _) = accepted(&Cluster::default().with(service("web")).with(service("next")).with(main).with(next));
    assert_eq!(rules["releases"].as_object().unwrap().len(), 1);
    let routes = rules["routes"].as_object().unwrap();
    assert!(
        routes.len() == 2 && routes.values().all(|route| route["release"] == json!(["ingress.shop.next.0"])),
        "{routes:?}"
    );
}

#[test]
fn a_canary_opens_no_closed_route() {
    let any = |service: &str, second, annotations: &[(&str, &str)]| {
        let rules = json!({"rules": [{"http": {"paths": [path("Prefix", "/a", service)]}}]});
        annotated(ingress(service, second, rules), annotations)
    };
    for closed in [("auth-url", "https://$host/verify"), ("whitelist-source-range", "?")] {
        for sticky in ["true", "false"] {
            let canary = [("canary", "true"), ("canary-weight", "10"), ("serin.dev/sticky", sticky)];
            let cluster = Cluster::default().with(service("web")).with(service("next"));
            let (rules, _) = accepted(&cluster.with(any("web", 0, &[closed])).with(any("next", 1, &canary)));
            assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["filters"], nobody());
        }
    }
}
