//! Annotations of ingress-nginx, and its canaries.

use serde_json::{Value, json};

use crate::support::kubernetes::{Cluster, Pod, answers, get_of, ingress, path, rule, says};
use crate::support::{Client, Origin, PATIENCE, eventually};

fn annotated(name: &str, annotations: &[(&str, &str)], spec: Value) -> Value {
    let mut ingress = ingress(name, spec);
    let all = annotations.iter().map(|(key, value)| (format!("nginx.ingress.kubernetes.io/{key}"), json!(value)));
    ingress["metadata"]["annotations"] = Value::Object(all.collect());
    ingress
}

fn whole(host: &str, service: &str) -> Value {
    json!({"rules": [rule(host, &[path("Prefix", "/", service)])]})
}

#[test]
fn they_have_their_effect_and_what_has_none_is_told() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    let rewritten =
        json!({"rules": [rule("api.example.com", &[path("ImplementationSpecific", "/api(/|$)(.*)", "web")])]});
    cluster.0.apply(annotated("api", &[("rewrite-target", "/$2"), ("use-regex", "true")], rewritten));
    cluster.0.apply(annotated("inner", &[("whitelist-source-range", "10.0.0.0/8")], whole("inner.example.com", "web")));
    cluster.0.apply(annotated("guarded", &[("auth-tls-secret", "shop/ca")], whole("guarded.example.com", "web")));
    cluster.0.apply(annotated(
        "home",
        &[("app-root", "/start"), ("enable-cors", "true")],
        whole("home.example.com", "web"),
    ));
    let told = [("configuration-snippet", "add_header x y;"), ("proxy-boddy-size", "1m")];
    cluster.0.apply(annotated("told", &told, whole("told.example.com", "web")));
    let serin = cluster.followed("");
    says(&serin, "api.example.com", "/api/v1/x?q=1", "web");
    assert_eq!(web.requests().last().unwrap().target, "/v1/x?q=1");
    assert_eq!(get_of(&serin, "inner.example.com", "/").status, 403);
    assert_eq!(get_of(&serin, "guarded.example.com", "/").status, 403, "what cannot be guarded is closed");
    let reply = get_of(&serin, "home.example.com", "/");
    assert_eq!((reply.status, reply.header("location").map(|it| it.ends_with("/start"))), (302, Some(true)));
    assert_eq!(get_of(&serin, "told.example.com", "/").text(), "web");
    let about = |name: &'static str, text: &'static str| {
        cluster.0.wait_for_event(
            |event| {
                event["regarding"]["name"] == name && event["note"].as_str().is_some_and(|note| note.contains(text))
            },
            PATIENCE,
        )
    };
    about("told", "configuration-snippet");
    about("told", "proxy-body-size");
    about("guarded", "auth-tls-secret");
}

#[test]
fn canaries_take_the_users_they_are_to_take_and_keep_them() {
    let (web, new) = (Origin::named("web"), Origin::named("new"));
    let cluster = Cluster::with_web(&web);
    cluster.service("new");
    cluster.slice("new", "new-1", &[(new.address(), Pod::Ready)]);
    cluster.ingress_of("shop", "shop.example.com", "web");
    let canary = |weight: &str| {
        let annotations = [("canary", "true"), ("canary-by-header", "x-canary"), ("canary-weight", weight)];
        annotated("shop-canary", &annotations, whole("shop.example.com", "new"))
    };
    cluster.0.apply(canary("0"));
    let serin = cluster.followed("");
    let get = |address: &str, value: Option<&str>| {
        let mut fields = vec![("Host", "shop.example.com")];
        fields.extend(value.map(|value| ("X-Canary", value)));
        Client::from(address, serin.address()).request("GET", "/", &fields, b"").text().to_owned()
    };
    eventually(PATIENCE, "always is the canary", || get("127.0.0.1", Some("always")) == "new");
    assert_eq!((get("127.0.0.1", Some("never")), get("127.0.0.1", None)), ("web".into(), "web".into()));
    cluster.0.apply(canary("30"));
    let clients: Vec<String> = (1..=100).map(|last| format!("127.0.1.{last}")).collect();
    let all = || clients.iter().map(|client| get(client, None)).collect::<Vec<_>>();
    let of_canary = |answers: &[String]| answers.iter().filter(|answer| *answer == "new").count();
    eventually(PATIENCE, "some are", || of_canary(&all()) > 0);
    let first = all();
    assert!((12..=50).contains(&of_canary(&first)), "{} of 100", of_canary(&first));
    assert_eq!(all(), first, "the same ones each time");
    cluster.0.apply(canary("100"));
    eventually(PATIENCE, "all are", || of_canary(&all()) == 100);
    assert_eq!(get("127.0.1.1", Some("never")), "web");
    cluster.0.remove("Ingress", "shop", "shop-canary");
    eventually(PATIENCE, "none are", || of_canary(&all()) == 0);
    answers(&serin, "shop.example.com", "/", 200);
}
