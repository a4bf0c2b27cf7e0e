//! What Ingresses say is what is served.

use serde_json::json;
use serin_proxy::server::ConnectionLimits;

use crate::support::kubernetes::{Cluster, answers, get_of, path, rule, says};
use crate::support::{Origin, PATIENCE, eventually};
use crate::tls::{Authority, Browser};

#[test]
fn a_host_is_served_by_the_pods_of_its_service_as_long_as_its_ingress_says_so() {
    let (web, api) = (Origin::named("web"), Origin::named("api"));
    let cluster = Cluster::with_web(&web);
    cluster.ingress_of("shop", "shop.example.com", "web");
    let serin = cluster.followed("");
    assert_eq!(get_of(&serin, "shop.example.com", "/any").text(), "web");
    assert_eq!(get_of(&serin, "else.example.com", "/").status, 404);
    cluster.service("api");
    cluster.slice("api", "api-1", &[(api.address(), crate::support::kubernetes::Pod::Ready)]);
    let paths = [path("Prefix", "/", "web"), path("Prefix", "/api", "api"), path("Exact", "/api/v1", "web")];
    cluster.ingress("shop", json!({"rules": [rule("shop.example.com", &paths)]}));
    says(&serin, "shop.example.com", "/api", "api");
    assert_eq!(get_of(&serin, "shop.example.com", "/api/v2").text(), "api");
    assert_eq!(get_of(&serin, "shop.example.com", "/apis").text(), "web", "prefixes are of whole segments");
    assert_eq!(get_of(&serin, "shop.example.com", "/api/v1").text(), "web");
    assert_eq!(get_of(&serin, "shop.example.com", "/api/v1/").text(), "api", "this one is exact");
    cluster.0.remove("Ingress", "shop", "shop");
    answers(&serin, "shop.example.com", "/", 404);
}

#[test]
fn a_class_of_another_controller_is_its_business_and_ours_may_be_the_default() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    let rules = json!([rule("a.example.com", &[path("Prefix", "/", "web")])]);
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": "a", "namespace": "shop"}, "spec": {"rules": rules}});
    cluster.0.apply(ingress.clone());
    cluster.ingress_of("b", "b.example.com", "web");
    let serin = cluster.followed("");
    assert_eq!((get_of(&serin, "a.example.com", "/").status, get_of(&serin, "b.example.com", "/").status), (404, 200));
    let class = |is_default: &str| {
        json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "spec": {"controller": "serin.dev/ingress"},
            "metadata": {"name": "serin", "annotations": {"ingressclass.kubernetes.io/is-default-class": is_default}}})
    };
    cluster.0.apply(class("true"));
    answers(&serin, "a.example.com", "/", 200);
    cluster.0.apply(class("false"));
    answers(&serin, "a.example.com", "/", 404);
    let mut of_nginx = ingress;
    of_nginx["spec"]["ingressClassName"] = "nginx".into();
    cluster.0.apply(of_nginx);
    cluster.ingress_of("b", "c.example.com", "web");
    answers(&serin, "c.example.com", "/", 200);
    assert_eq!(get_of(&serin, "a.example.com", "/").status, 404);
}

#[test]
fn a_default_backend_gets_what_nothing_else_matches() {
    let (web, rest) = (Origin::named("web"), Origin::named("rest"));
    let cluster = Cluster::with_web(&web);
    cluster.service("rest");
    cluster.slice("rest", "rest-1", &[(rest.address(), crate::support::kubernetes::Pod::Ready)]);
    cluster.ingress_of("web", "web.example.com", "web");
    cluster.ingress("rest", json!({"defaultBackend": {"service": {"name": "rest", "port": {"number": 80}}}}));
    let serin = cluster.followed("");
    says(&serin, "web.example.com", "/", "web");
    says(&serin, "else.example.com", "/deep/down", "rest");
}

#[test]
fn who_came_first_keeps_a_path_and_a_wrong_ingress_harms_no_other_one() {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let cluster = Cluster::with_web(&old);
    cluster.service("new");
    cluster.slice("new", "new-1", &[(new.address(), crate::support::kubernetes::Pod::Ready)]);
    cluster.0.apply({
        let mut ingress = crate::support::kubernetes::ingress(
            "z",
            json!({"rules": [rule("a.example.com", &[path("Prefix", "/", "web")])]}),
        );
        ingress["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z".into();
        ingress
    });
    cluster.ingress(
        "a",
        json!({"rules": [rule("a.example.com", &[path("Prefix", "/", "new"), path("Prefix", "/new", "new")])]}),
    );
    cluster.ingress("wrong", json!({"rules": [rule("not a host", &[path("Prefix", "/", "web")]), rule("b.example.com", &[path("Prefix", "/", "web")])]}));
    let serin = cluster.followed("");
    says(&serin, "a.example.com", "/new", "new");
    assert_eq!(get_of(&serin, "a.example.com", "/").text(), "old");
    says(&serin, "b.example.com", "/", "old");
    let rejected = serin.admin_text("/api/v1/rejected");
    assert!(rejected.contains("Ingress shop/a") && rejected.contains("Ingress shop/z is older"), "{rejected}");
    assert!(rejected.contains("Ingress shop/wrong") && rejected.contains("not a host"), "{rejected}");
    // Each is told where whoever wrote it looks.
    let about = |name: &'static str, text: &'static str| {
        cluster.0.wait_for_event(
            |event| {
                event["regarding"]["name"] == name && event["note"].as_str().is_some_and(|note| note.contains(text))
            },
            PATIENCE,
        )
    };
    assert_eq!(about("a", "Ingress shop/z is older")["reason"], "Conflict");
    let event = about("wrong", "not a host");
    assert_eq!((&event["reason"], &event["type"]), (&json!("Rejected"), &json!("Warning")));
    assert_eq!(event["regarding"]["uid"], cluster.0.get("Ingress", "shop", "wrong").unwrap()["metadata"]["uid"]);
    // When the older one goes, the newer one has the path.
    cluster.0.remove("Ingress", "shop", "z");
    says(&serin, "a.example.com", "/", "new");
    eventually(PATIENCE, "nothing is said of it any more", || !serin.admin_text("/api/v1/rejected").contains("shop/z"));
}

#[test]
fn secrets_are_shown_to_who_comes_by_tls_and_follow_their_renewal() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    let authority = Authority::new("the authority");
    let (first, second) = (authority.sign(&["shop.example.com"]), authority.sign(&["shop.example.com"]));
    let secret = |pair: &crate::tls::Pair| {
        let [(_, cert), (_, key)] = pair.files("tls");
        json!({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": "tls", "namespace": "shop"},
            "stringData": {"tls.crt": cert, "tls.key": key}})
    };
    cluster.0.apply(secret(&first));
    cluster.ingress(
        "shop",
        json!({"rules": [rule("shop.example.com", &[path("Prefix", "/", "web")])],
        "tls": [{"hosts": ["shop.example.com"], "secretName": "tls"}]}),
    );
    let kubeconfig = [("kubeconfig".to_owned(), cluster.0.kubeconfig_yaml())];
    let rules = "listeners: {secure: {address: \"127.0.0.1:0\", tls: {}}}\nadmin: {address: \"127.0.0.1:0\"}\nworkers: 1\n\
                 sources: {kubernetes: {kubeconfig: kubeconfig}}\n";
    let serin = crate::support::Serin::beside(&kubeconfig, rules, ConnectionLimits::default());
    let shown = || Browser::new().is_shown(serin.address(), "shop.example.com");
    eventually(PATIENCE, "the first is shown", || shown() == Ok(first.der()));
    assert!(Browser::new().is_shown(serin.address(), "else.example.com").is_err());
    assert_eq!(Browser::new().get(serin.address(), "shop.example.com").unwrap().body, "web");
    cluster.0.apply(secret(&second));
    eventually(PATIENCE, "the second is shown", || shown() == Ok(second.der()));
    // One that is no pair changes nothing, and is told.
    let mut torn = secret(&first);
    torn["stringData"]["tls.key"] = "-----BEGIN PRIVATE KEY-----\n".into();
    cluster.0.apply(torn);
    let is_about_it =
        |event: &serde_json::Value| event["regarding"]["kind"] == "Secret" && event["regarding"]["name"] == "tls";
    cluster.0.wait_for_event(is_about_it, PATIENCE);
    assert_eq!(shown(), Ok(second.der()));
}

#[test]
fn config_maps_are_files_of_rules() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    let config_map = |rules: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "rules", "namespace": "serin"}, "data": {"rules.yaml": rules}});
    let upstream = "upstreams:\n  web: {discovery: {kubernetes: {service: shop/web, port: http}}}\n";
    cluster
        .0
        .apply(config_map(&format!("routes:\n  extra: {{paths: [{{prefix: /extra}}], upstream: web}}\n{upstream}")));
    let serin = cluster.followed("config_maps: [serin/rules]");
    says(&serin, "any.example.com", "/extra", "web");
    cluster
        .0
        .apply(config_map(&format!("routes:\n  extra: {{paths: [{{prefx: /extra}}], upstream: web}}\n{upstream}")));
    let is_about_it = |event: &serde_json::Value| event["regarding"]["kind"] == "ConfigMap";
    let event = cluster.0.wait_for_event(is_about_it, PATIENCE);
    assert!(event["note"].as_str().unwrap().starts_with("rules.yaml: routes.extra.paths[0].prefx"), "{event}");
    assert_eq!(get_of(&serin, "any.example.com", "/extra").text(), "web", "the last good one serves on");
}

#[test]
fn only_the_namespaces_that_are_named_are_looked_at() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.ingress_of("shop", "shop.example.com", "web");
    let mut elsewhere = cluster.0.get("Ingress", "shop", "shop").unwrap();
    elsewhere["metadata"] = json!({"name": "shop", "namespace": "other"});
    elsewhere["spec"]["rules"][0]["host"] = "other.example.com".into();
    cluster.0.apply(elsewhere);
    // Who may read one namespace may not read classes, which are in none.
    cluster.0.forbid("list", "ingressclasses.networking.k8s.io");
    let serin = cluster.followed("namespaces: [shop]");
    says(&serin, "shop.example.com", "/", "web");
    assert_eq!(get_of(&serin, "other.example.com", "/").status, 404);
    let serin = cluster.followed("namespaces: [other, shop]");
    says(&serin, "shop.example.com", "/", "web");
    answers(&serin, "other.example.com", "/", 503);
}
