//! How endpoints are spoken to and chosen, and how long they may take.

use super::*;

const OWN: &str = "shop.web.http.web";

/// The upstream of an annotated Ingress, and what is found.
fn upstream(annotations: &[(&str, &str)]) -> (Value, Vec<String>) {
    let (rules, findings) = accepted(&Cluster::default().with(service("web")).with(shop(annotations)));
    assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["upstream"], OWN);
    (rules["upstreams"][OWN].clone(), findings)
}

#[test]
fn an_upstream_that_is_not_as_usual_is_the_ingresss_own() {
    let other = ingress("other", 1, json!({"rules": [rule("other.example.com", &[path("Prefix", "/", "web")])]}));
    let cluster = Cluster::default().with(service("web")).with(shop(&[("load-balance", "round_robin")])).with(other);
    let (rules, findings) = accepted(&cluster);
    assert_eq!(rules["upstreams"][OWN]["balance"], "round_robin");
    assert_eq!(rules["upstreams"]["shop.web.http"]["balance"], Value::Null);
    assert_eq!(rules["routes"]["ingress.shop.other.0.0"]["upstream"], "shop.web.http");
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn endpoints_are_spoken_to_in_their_protocol() {
    assert_eq!(upstream(&[("backend-protocol", "GRPC")]).0["protocol"], "h2c");
    let (found, findings) = upstream(&[("backend-protocol", "grpcs"), ("proxy-ssl-verify", "off")]);
    assert_eq!((&found["protocol"], &found["tls"]), (&json!("h2"), &json!({"server_name": "web.shop.svc"})));
    assert!(
        findings.iter().any(|finding| finding.ends_with("certificates of endpoints are always verified")),
        "{findings:?}"
    );
    let (found, _) = upstream(&[("backend-protocol", "HTTPS"), ("proxy-ssl-name", "web.internal")]);
    assert_eq!((&found["protocol"], &found["tls"]), (&Value::Null, &json!({"server_name": "web.internal"})));
    let (route, findings) = shop_route(&[("backend-protocol", "FCGI")]);
    assert_eq!(route["upstream"], "shop.web.http");
    assert!(findings[0].ends_with("`FCGI` is none of HTTP, HTTPS, GRPC and GRPCS"), "{findings:?}");
    assert!(shop_route(&[("backend-protocol", "HTTP")]).1.is_empty());
}

#[test]
fn sessions_stay_with_their_endpoints() {
    let (found, _) =
        upstream(&[("affinity", "cookie"), ("session-cookie-max-age", "3600"), ("affinity-mode", "persistent")]);
    assert_eq!(found["balance"], json!({"sticky": {"life": "1h"}}));
    let (found, findings) =
        upstream(&[("affinity", "cookie"), ("session-cookie-name", "route"), ("session-cookie-expires", "1")]);
    assert_eq!(found["balance"], json!({"sticky": {"life": "60s"}}));
    assert!(
        findings.iter().any(|finding| finding.ends_with("from a minute to a year; session-cookie-max-age goes first")),
        "{findings:?}"
    );
    assert_eq!(shop_route(&[("affinity", "ip")]).0["upstream"], "shop.web.http");
}

#[test]
fn keys_find_their_endpoints() {
    let by = |text: &str| upstream(&[("upstream-hash-by", text)]).0["balance"]["consistent_hash"]["by"].clone();
    assert_eq!(by("$remote_addr"), "client_ip");
    assert_eq!(by("${binary_remote_addr}"), "client_ip");
    assert_eq!(by("$http_x_user"), json!({"header": "x-user"}));
    assert_eq!(by("$cookie_uid"), json!({"cookie": "uid"}));
    for other in ["$request_uri", "$arg_user", "$remote_addr$host", "constant", "$http_", "$cookie_a b"] {
        let (route, findings) = shop_route(&[("upstream-hash-by", other)]);
        assert_eq!(route["upstream"], "shop.web.http", "{other}");
        assert!(findings[0].contains(&format!("`{other}` is none of")), "{findings:?}");
    }
}

#[test]
fn requests_are_tried_again() {
    assert_eq!(upstream(&[("proxy-next-upstream-tries", "3")]).0["retry"]["tries"], 3);
    assert_eq!(upstream(&[("proxy-next-upstream-tries", "0")]).0["retry"]["tries"], 5);
    assert_eq!(upstream(&[("proxy-next-upstream", "off")]).0["retry"]["tries"], 1);
    let (route, findings) = shop_route(&[("proxy-next-upstream", "error timeout http_502")]);
    assert_eq!((&route["upstream"], findings.len()), (&json!("shop.web.http"), 1));
}

#[test]
fn times_are_limited() {
    let timeouts = |annotations: &[(&str, &str)]| shop_route(annotations).0["timeouts"].clone();
    let all = timeouts(&[("proxy-connect-timeout", "5"), ("proxy-read-timeout", "3600"), ("proxy-send-timeout", "30")]);
    assert_eq!(all, json!({"connect": "5s", "request": "1h", "idle": "1h", "tunnel_idle": "1h"}));
    assert_eq!(
        timeouts(&[("proxy-read-timeout", "10")]),
        json!({"request": "10s", "idle": "60s", "tunnel_idle": "10s"})
    );
    let (route, findings) = shop_route(&[("proxy-read-timeout", "60s")]);
    assert_eq!(route["timeouts"], Value::Null);
    assert_eq!(
        findings,
        [
            "Ingress shop/web: Annotation: nginx.ingress.kubernetes.io/proxy-read-timeout: `60s` is not a number from 1 to 31622400"
        ]
    );
}

#[test]
fn what_does_nothing_is_told() {
    let (route, findings) = shop_route(&[
        ("configuration-snippet", "more_set_headers \"a: b\";"),
        ("proxy-buffering", "on"),
        ("enable-modsecurity", "false"),
        ("rewrite-taget", "/"),
        ("coffee", "black"),
        ("serin.dev/stiky", "false"),
        ("session-cookie-path", "/"),
        ("canary-weight", "10"),
    ]);
    assert_eq!(route, json!({"hosts": ["shop.example.com"], "upstream": "shop.web.http"}));
    let expected = [
        "canary-weight: it means nothing without the annotation that it belongs to",
        "coffee: there is no such annotation",
        "configuration-snippet: what is written for the configuration of nginx means nothing here, and whoever may write an Ingress is not to \
         write settings of the proxy; look for what it does in docs/filters.md",
        "enable-modsecurity: it is off here in any case",
        "proxy-buffering: bodies are passed on while they come, in both directions, and never written to a disk",
        "rewrite-taget: there is no such annotation; the nearest is nginx.ingress.kubernetes.io/rewrite-target",
        "session-cookie-path: the cookie is for the whole host, HttpOnly and SameSite=Lax, and Secure where the client came by TLS",
    ];
    let prefix = "Ingress shop/web: Annotation: nginx.ingress.kubernetes.io/";
    let found: Vec<_> = findings.iter().filter_map(|finding| finding.strip_prefix(prefix)).collect();
    assert_eq!(found, expected);
    assert_eq!(
        findings.last().unwrap(),
        "Ingress shop/web: Annotation: serin.dev/stiky: there is no such annotation; the nearest is serin.dev/sticky"
    );
}
