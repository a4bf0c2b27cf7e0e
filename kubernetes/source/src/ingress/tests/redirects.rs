//! Where clients are sent instead, and under which names.

use super::*;

fn with_tls(mut ingress: Value, hosts: &[&str]) -> Value {
    ingress["spec"]["tls"] = json!([{"hosts": hosts}]);
    ingress
}

#[test]
fn hosts_with_tls_send_clients_there() {
    let filters = |ingress: Value| {
        accepted(&Cluster::default().with(service("web")).with(ingress)).0["routes"]["ingress.shop.web.0.0"]["filters"]
            .clone()
    };
    let to_https = json!([{"https_redirect": {"status": null, "port": null}}]);
    let is_to_https = |filters: Value| filters[0].get("https_redirect").is_some();
    assert!(is_to_https(filters(with_tls(shop(&[]), &["shop.example.com"]))), "{to_https}");
    assert!(is_to_https(filters(with_tls(shop(&[]), &["*.Example.com"]))));
    assert!(is_to_https(filters(with_tls(shop(&[]), &[]))));
    assert!(!is_to_https(filters(with_tls(shop(&[]), &["other.example.com"]))));
    assert!(!is_to_https(filters(with_tls(shop(&[("ssl-redirect", "false")]), &["shop.example.com"]))));
    assert!(!is_to_https(filters(shop(&[("ssl-redirect", "true")]))), "without TLS there is nowhere to go");
    assert!(is_to_https(filters(shop(&[("force-ssl-redirect", "true")]))));
}

#[test]
fn redirects_lead_where_they_say() {
    let redirect = |annotations: &[(&str, &str)]| shop_route(annotations).0["filters"][0]["redirect"].clone();
    assert_eq!(
        redirect(&[("permanent-redirect", "https://www.example.com")]),
        json!({"status": 301, "scheme": "https", "host": "www.example.com", "path": "/"})
    );
    assert_eq!(
        redirect(&[
            ("permanent-redirect", "https://www.example.com:8443$request_uri"),
            ("permanent-redirect-code", "308")
        ]),
        json!({"status": 308, "scheme": "https", "host": "www.example.com", "port": 8443})
    );
    assert_eq!(
        redirect(&[("temporal-redirect", "$scheme://$host/new"), ("permanent-redirect", "https://old.example.com")]),
        json!({"status": 302, "path": "/new"})
    );
    assert_eq!(redirect(&[("temporal-redirect", "/login"), ("temporal-redirect-code", "307")])["status"], 307);
    let (route, findings) = shop_route(&[("permanent-redirect", "https://www.example.com/a$request_uri")]);
    assert_eq!(route["upstream"], "shop.web.http", "what is not understood is left out, and the rest serves");
    assert!(findings[0].contains("nor ends with a whole $request_uri"), "{findings:?}");
    let (_, findings) = shop_route(&[("permanent-redirect", "/x"), ("permanent-redirect-code", "200")]);
    assert!(findings.iter().any(|finding| finding.contains("status 200 is not a redirect")), "{findings:?}");
}

#[test]
fn who_redirects_all_needs_no_service() {
    let (rules, findings) =
        accepted(&Cluster::default().with(shop(&[("permanent-redirect", "https://www.example.com$request_uri")])));
    assert_eq!(rules["upstreams"], Value::Null);
    assert!(findings.iter().all(|finding| !finding.contains("Missing")), "{findings:?}");
}

#[test]
fn the_root_leads_to_the_application() {
    let (rules, findings) = accepted(&Cluster::default().with(service("web")).with(shop(&[("app-root", "/app")])));
    let root =
        json!({"hosts": ["shop.example.com"], "paths": [{"exact": "/"}], "filters": [{"redirect": {"path": "/app"}}]});
    assert_eq!(rules["routes"]["ingress.shop.web.root.0"], root);
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn names_with_and_without_www_lead_to_each_other() {
    let to_www = [("from-to-www-redirect", "true")];
    let (rules, _) = accepted(&Cluster::default().with(service("web")).with(shop(&to_www)));
    let other = json!({"hosts": ["www.shop.example.com"], "filters": [{"redirect": {"status": 308, "host": "shop.example.com"}}]});
    assert_eq!(rules["routes"]["ingress.shop.web.www.0"], other);
    let any = json!({"rules": [rule("*.example.com", &[path("Prefix", "/", "web")])]});
    let (_, findings) =
        accepted(&Cluster::default().with(service("web")).with(annotated(ingress("web", 0, any), &to_www)));
    assert!(findings[0].ends_with("only a host with a name of its own has another one"), "{findings:?}");
    let taken = ingress("other", 9, json!({"rules": [rule("www.shop.example.com", &[path("Prefix", "/", "web")])]}));
    let (rules, findings) = accepted(&Cluster::default().with(service("web")).with(shop(&to_www)).with(taken));
    assert_eq!(rules["routes"].get("ingress.shop.web.www.0"), None);
    assert_eq!(
        findings,
        ["Ingress shop/web: Conflict: from-to-www-redirect: www.shop.example.com has rules of its own"]
    );
}

#[test]
fn hosts_have_other_names_that_are_nobodys() {
    let taken = ingress("other", 9, json!({"rules": [rule("taken.example.com", &[path("Prefix", "/", "web")])]}));
    let aliases = shop(&[("server-alias", "Alias.example.com, taken.example.com, ~^x$")]);
    let (rules, findings) = accepted(&Cluster::default().with(service("web")).with(aliases).with(taken));
    assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["hosts"], json!(["shop.example.com", "alias.example.com"]));
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings[1].ends_with("server-alias: taken.example.com has rules of its own"), "{findings:?}");
}
