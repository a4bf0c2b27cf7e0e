//! Objects as people write them, and what they amount to.

mod access;

mod canaries;

mod endpoints;

mod odd;

mod redirects;

mod rewrites;

use serde_json::{Value, json};

use super::*;
use crate::testing::{Cluster, accepted, ingress, path, rule, service};
use crate::translate::{Before, translate};

/// An Ingress like this one with annotations: of ingress-nginx, where they have no prefix.
fn annotated(mut ingress: Value, annotations: &[(&str, &str)]) -> Value {
    for (name, value) in annotations {
        let key = if name.contains('/') { (*name).to_owned() } else { format!("nginx.ingress.kubernetes.io/{name}") };
        ingress["metadata"]["annotations"][key] = (*value).into();
    }
    ingress
}

/// An Ingress for all of one host, with annotations.
fn shop(annotations: &[(&str, &str)]) -> Value {
    annotated(
        ingress("web", 0, json!({"rules": [rule("shop.example.com", &[path("Prefix", "/", "web")])]})),
        annotations,
    )
}

/// The route of such an Ingress, and what is found.
fn shop_route(annotations: &[(&str, &str)]) -> (Value, Vec<String>) {
    let (rules, findings) = accepted(&Cluster::default().with(service("web")).with(shop(annotations)));
    (rules["routes"]["ingress.shop.web.0.0"].clone(), findings)
}

/// What a closed route has.
fn nobody() -> Value {
    json!([{"deny_ip": ["0.0.0.0/0", "::/0"]}])
}

#[test]
fn paths_of_hosts_become_routes_and_ports_of_services_upstreams() {
    let rules = [
        rule(
            "Shop.example.com",
            &[path("Prefix", "/", "web"), path("Exact", "/pay/", "web"), path("ImplementationSpecific", "/a//", "web")],
        ),
        json!({"http": {"paths": [{"pathType": "Prefix", "path": "/any", "backend": {"service": {"name": "web", "port": {"number": 9000}}}}]}}),
    ];
    let cluster = Cluster::default().with(service("web")).with(ingress("web", 0, json!({"rules": rules})));
    let (rules, findings) = cluster.translated();
    let expected = json!({
        "routes": {
            "ingress.shop.web.0.0": {"hosts": ["shop.example.com"], "upstream": "shop.web.http"},
            "ingress.shop.web.0.1": {"hosts": ["shop.example.com"], "paths": [{"exact": "/pay/"}], "upstream": "shop.web.http"},
            "ingress.shop.web.0.2": {"hosts": ["shop.example.com"], "paths": [{"prefix": "/a"}], "upstream": "shop.web.http"},
            "ingress.shop.web.1.0": {"paths": [{"prefix": "/any"}], "upstream": "shop.web.9000"},
        },
        "upstreams": {
            "shop.web.http": {"discovery": {"kubernetes": {"service": "shop/web", "port": "http"}}},
            "shop.web.9000": {"discovery": {"kubernetes": {"service": "shop/web", "port": 9000}}},
        },
    });
    assert_eq!((rules, findings), (expected, vec![]));
}

#[test]
fn a_class_is_named_by_the_field_or_the_annotation_or_is_the_default() {
    let of = |class: Value, annotation: Value| {
        let mut ingress = ingress("web", 0, json!({"rules": [rule("a", &[path("Prefix", "/", "web")])]}));
        ingress["spec"]["ingressClassName"] = class;
        ingress["metadata"]["annotations"] = annotation;
        Cluster::default().with(service("web")).with(ingress)
    };
    let class = |controller: &str, is_default: &str| {
        json!({"kind": "IngressClass", "metadata": {"name": "serin", "annotations": {"ingressclass.kubernetes.io/is-default-class": is_default}},
            "spec": {"controller": controller}})
    };
    let is_served = |cluster: Cluster| cluster.translated().0.get("routes").is_some();
    let annotated = json!({"kubernetes.io/ingress.class": "serin"});
    assert!(is_served(of(json!("serin"), json!({}))));
    assert!(is_served(of(Value::Null, annotated.clone())));
    assert!(!is_served(of(json!("nginx"), annotated)), "the field is the newer one");
    assert!(!is_served(of(Value::Null, json!({}))));
    assert!(is_served(of(Value::Null, json!({})).with(class("serin.dev/ingress", "true"))));
    assert!(!is_served(of(Value::Null, json!({})).with(class("serin.dev/ingress", "false"))));
    let (rules, findings) = of(json!("serin"), json!({})).with(class("k8s.io/ingress-nginx", "true")).translated();
    assert_eq!(rules, json!({}));
    let expected = "Ingress shop/web: IngressClass: IngressClass serin belongs to the controller k8s.io/ingress-nginx, and this one is serin.dev/ingress";
    assert_eq!(findings, [expected]);
}

#[test]
fn who_came_first_keeps_a_path_and_the_rest_of_a_later_ingress_serves() {
    let older = ingress("z", 1, json!({"rules": [rule("a.example.com", &[path("Prefix", "/", "web")])]}));
    let both = [path("Prefix", "/", "web"), path("Prefix", "/more", "web"), path("Prefix", "/more/", "web")];
    let newer = ingress("a", 2, json!({"rules": [rule("a.example.com", &both)]}));
    let (rules, findings) = Cluster::default().with(service("web")).with(newer).with(older).translated();
    let routes: Vec<_> = rules["routes"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(routes, ["ingress.shop.a.0.1", "ingress.shop.z.0.0"]);
    assert_eq!(findings.len(), 2);
    assert!(
        findings[0].starts_with("Ingress shop/a: Conflict: spec.rules[0].http.paths[0]: a.example.com has"),
        "{}",
        findings[0]
    );
    assert!(findings[0].ends_with("Ingress shop/z is older"), "{}", findings[0]);
    assert!(findings[1].ends_with("this Ingress has it twice"), "{}", findings[1]);
}

#[test]
fn a_default_backend_has_what_no_path_matches() {
    let default = json!({"service": {"name": "web", "port": {"number": 80}}});
    let alone = ingress("all", 0, json!({"defaultBackend": default}));
    let (rules, _) = Cluster::default().with(service("web")).with(alone).translated();
    assert_eq!(rules["routes"], json!({"ingress.shop.all.default.0": {"upstream": "shop.web.80"}}));
    let beside = json!({"defaultBackend": default, "rules": [
        rule("a", &[path("Prefix", "/a", "web")]),
        rule("b", &[path("Prefix", "/", "web")]),
    ]});
    let (rules, findings) = Cluster::default().with(service("web")).with(ingress("some", 0, beside)).translated();
    let routes: Vec<_> = rules["routes"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(routes, ["ingress.shop.some.0.0", "ingress.shop.some.1.0", "ingress.shop.some.default.0"]);
    assert_eq!(rules["routes"]["ingress.shop.some.default.0"]["hosts"], json!(["a"]));
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn what_is_wrong_is_told_and_the_rest_serves() {
    let mut no_kind = path("Sometimes", "/x", "web");
    let resource =
        json!({"pathType": "Prefix", "path": "/r", "backend": {"resource": {"kind": "Bucket", "name": "b"}}});
    let no_port = json!({"pathType": "Prefix", "path": "/p", "backend": {"service": {"name": "web"}}});
    no_kind["path"] = "/x".into();
    let rules = [rule("a", &[no_kind, resource, no_port, path("Prefix", "/gone", "gone"), path("Prefix", "/", "web")])];
    let (rules, findings) =
        Cluster::default().with(service("web")).with(ingress("web", 0, json!({"rules": rules}))).translated();
    let routes: Vec<_> = rules["routes"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(routes, ["ingress.shop.web.0.3", "ingress.shop.web.0.4"], "one without a Service answers 503");
    let places: Vec<_> = findings.iter().map(|finding| finding.trim_start_matches("Ingress shop/web: ")).collect();
    assert_eq!(
        places,
        [
            "Missing: there is no Service shop/gone: its requests get 503",
            "Rejected: spec.rules[0].http.paths[0]: pathType: `Sometimes` is neither Exact, Prefix nor ImplementationSpecific",
            "Rejected: spec.rules[0].http.paths[1]: backends other than Services are not supported",
            "Rejected: spec.rules[0].http.paths[2]: the Service needs a port: its name or its number",
        ]
    );
}

#[test]
fn another_name_of_something_outside_is_looked_up() {
    let outside = json!({"kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"type": "ExternalName", "externalName": "web.example.net.", "ports": [{"name": "http", "port": 8080}]}});
    let by_number =
        json!({"pathType": "Prefix", "path": "/n", "backend": {"service": {"name": "web", "port": {"number": 81}}}});
    let rules = [rule("a", &[path("Prefix", "/", "web"), by_number])];
    let (rules, findings) =
        Cluster::default().with(outside).with(ingress("web", 0, json!({"rules": rules}))).translated();
    let dns = |upstream: &str| rules["upstreams"][upstream]["discovery"]["dns"].clone();
    assert_eq!(dns("shop.web.http")["name"], "web.example.net");
    assert_eq!((dns("shop.web.http")["port"].clone(), dns("shop.web.81")["port"].clone()), (json!(8080), json!(81)));
    assert!(findings.is_empty(), "{findings:?}");
}

#[test]
fn secrets_become_certificates_of_the_hosts_that_came_first() {
    // "certificate" and "key".
    let secret = |name: &str| {
        json!({"kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name, "namespace": "shop"},
            "data": {"tls.crt": "Y2VydGlmaWNhdGU=", "tls.key": "a2V5"}})
    };
    let with_tls = |name: &str, second, host: &str, tls: Value| {
        ingress(name, second, json!({"rules": [rule(host, &[path("Prefix", "/", "web")])], "tls": tls}))
    };
    let cluster = Cluster::default()
        .with(service("web"))
        .with(secret("one"))
        .with(secret("two"))
        .with(with_tls("a", 1, "a.example.com", json!([{"secretName": "one"}])))
        .with(with_tls(
            "b",
            2,
            "b.example.com",
            json!([{"secretName": "two", "hosts": ["A.example.com", "b.example.com"]}]),
        ))
        .with(with_tls("c", 3, "c.example.com", json!([{"secretName": "gone"}, {"hosts": ["d"]}])));
    let (rules, findings) = cluster.translated();
    assert_eq!(
        rules["certificates"]["shop.one"],
        json!({"hosts": ["a.example.com"], "cert": "certificate", "key": "key"})
    );
    assert_eq!(rules["certificates"]["shop.two"]["hosts"], json!(["b.example.com"]));
    assert_eq!(
        findings,
        [
            "Ingress shop/b: Conflict: spec.tls[0]: a.example.com has the certificate of Secret shop/one already: Ingress shop/a is older",
            "Ingress shop/c: Certificate: Secret shop/gone: there is none",
        ]
    );
}

#[test]
fn config_maps_are_rules_as_they_are() {
    let config_map = json!({"kind": "ConfigMap", "metadata": {"name": "rules", "namespace": "serin"},
        "data": {"a.yaml": "{\"upstreams\": {\"a\": {}}}", "b.yaml": "{}"}});
    let config_maps = vec![ObjectName::new("serin", "rules"), ObjectName::new("serin", "gone")];
    let options = Options { config_maps, ..Options::default() };
    let (rules, findings) = Cluster::default().with(config_map).translated_with(&options);
    assert_eq!(rules, json!({"upstreams": {"a": {}}}));
    assert_eq!(findings, ["ConfigMap serin/gone: Missing: there is no such ConfigMap"]);
}

#[test]
fn what_is_as_before_is_the_same_text() {
    let cluster = Cluster::default().with(service("web")).with(ingress(
        "web",
        0,
        json!({"rules": [rule("a", &[path("Prefix", "/", "web")])]}),
    ));
    let first = translate(&cluster.0, &Options::default(), "", &Before::default()).made;
    let texts = first.documents.clone();
    let second = translate(&cluster.0, &Options::default(), "", &Before { made: first, ..Before::default() }).made;
    assert!(!texts.is_empty());
    assert!(texts.iter().zip(second.documents.iter()).all(|(before, now)| std::sync::Arc::ptr_eq(before.1, now.1)));
}
