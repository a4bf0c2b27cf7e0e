//! Releases as people write them, and what they amount to.

use serde_json::{Value, json};

use super::ReleasesBefore;
use crate::ObjectName;
use crate::options::Options;
use crate::testing::{Cluster, accepted, ingress, path, rule, said, service, together};
use crate::translate::{Before, Translation};

fn release(name: &str, second: u32, spec: Value) -> Value {
    let at = format!("2026-01-01T00:00:{second:02}Z");
    json!({"kind": "Release", "metadata": {"name": name, "namespace": "shop", "creationTimestamp": at, "generation": 3,
        "resourceVersion": "7"}, "spec": spec})
}

/// From the port `http` of `web` to that of `next`, with more fields.
fn of_web(more: Value) -> Value {
    let mut spec = json!({"stable": {"service": "web", "port": "http"}, "canary": {"service": "next", "port": 80},
        "audience": [{"name": "everyone"}], "phases": [{"percent": 1}, {"percent": 100}]});
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

/// Services `web` and `next`, and an Ingress that leads to the former.
fn cluster() -> Cluster {
    let rules = json!({"rules": [rule("shop.example.com", &[path("Prefix", "/", "web")])]});
    Cluster::default().with(service("web")).with(service("next")).with(ingress("web", 0, rules))
}

/// The same, with a Gateway `shop/web`.
fn with_gateway() -> Cluster {
    let class =
        json!({"kind": "GatewayClass", "metadata": {"name": "serin"}, "spec": {"controllerName": "serin.dev/gateway"}});
    let gateway = json!({"kind": "Gateway", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"gatewayClassName": "serin", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}});
    cluster().with(class).with(gateway)
}

/// The conditions of a release, each in a line.
fn conditions(translation: &Translation, name: &str) -> Vec<String> {
    let told = translation.statuses.iter().find(|status| &*status.object.name == name).expect("something is told");
    let line = |condition: &Value| {
        assert_eq!(condition["observedGeneration"], 3);
        let field = |name: &str| condition[name].as_str().unwrap().to_owned();
        format!("{}={} {}: {}", field("type"), field("status"), field("reason"), field("message"))
    };
    told.status["conditions"].as_array().unwrap().iter().map(line).collect()
}

fn translated(cluster: &Cluster, before: &Before) -> Translation {
    crate::translate::translate(&cluster.0, &Options::default(), "2026-01-02T00:00:00Z", before)
}

#[test]
fn a_release_is_one_of_all_routes_that_lead_to_its_stable_service() {
    let rules =
        json!({"rules": [rule("a.example.com", &[path("Prefix", "/", "web"), path("Prefix", "/next", "next")])]});
    let cluster = cluster().with(ingress("other", 1, rules)).with(release("v2", 2, of_web(json!({}))));
    let (rules, findings) = accepted(&cluster);
    assert_eq!(findings, [""; 0]);
    let of = |route: &str| rules["routes"][route]["release"].clone();
    assert_eq!((of("ingress.shop.web.0.0"), of("ingress.shop.other.0.0")), (json!(["shop.v2"]), json!(["shop.v2"])));
    assert_eq!(of("ingress.shop.other.0.1"), Value::Null);
    let release = &rules["releases"]["shop.v2"];
    assert_eq!(
        (&release["stable"], &release["canary"]),
        (&json!("shop.web.80_released"), &json!("shop.next.80_released"))
    );
    let discovery = json!({"kubernetes": {"service": "shop/next", "port": 80}});
    assert_eq!(rules["upstreams"]["shop.next.80_released"]["discovery"], discovery);
    let translation = translated(&cluster, &Before::default());
    let expected = [
        "Accepted=True Accepted: it is in force",
        "Attached=True Attached: it moves users of Ingress shop/other, Ingress shop/web",
    ];
    assert_eq!(conditions(&translation, "v2"), expected);
    assert_eq!(translation.records, [("shop.v2".to_owned(), Value::Null)].into());
}

#[test]
fn all_that_a_file_can_say_a_release_can() {
    let spec = json!({
        "stable": {"service": "web", "port": 80}, "canary": {"service": "next", "port": "http"},
        "audience": [
            {"name": "office", "ip": ["10.8.0.0/16"], "percent": 100},
            {"name": "phones", "device": ["iphone"], "geo": {"city": ["Shanghai"]}, "percent": 12.5,
                "header": {"x-a": {"exact": "1"}, "x-b": {"present": true}}, "cookie": {"c": {"prefix": "p"}, "d": {"regex": "r"}}},
            {"name": "everyone"},
        ],
        "phases": [{"percent": 0.5, "lasts": "30m"}, {"percent": 100}],
        "sticky": {"key": [{"header": "x-user"}, {"cookie": "uid"}, {"serin_id": {}}, {"client_ip": {}}], "pin": false,
            "salt": "00112233445566778899aabbccddeeff", "range": "high", "page_life": "1m"},
        "override": {"cookie": "group"}, "expose": true, "force": 2,
        "analysis": {"mode": "guard", "alpha": 0.02, "beta": 0.1, "min_phase": "1m", "max_phase": "2h", "preflight": "5m"},
    });
    let (rules, findings) = accepted(&cluster().with(release("v2", 1, spec)));
    assert_eq!(findings, [""; 0]);
    let written: routing_rules::spec::ReleaseSpec =
        serde_json::from_value(rules["releases"]["shop.v2"].clone()).unwrap();
    let expected = json!({
        "stable": "shop.web.80_released", "canary": "shop.next.80_released",
        "audience": [
            {"name": "office", "ip": ["10.8.0.0/16"], "percent": 100},
            {"name": "phones", "device": ["iphone"], "geo": {"city": ["Shanghai"]}, "percent": 12.5,
                "header": {"x-a": "1", "x-b": {"present": true}}, "cookie": {"c": {"prefix": "p"}, "d": {"regex": "r"}}},
            {"name": "everyone", "percent": "phase"},
        ],
        "phases": [{"percent": 0.5, "lasts": "30m"}, 100],
        "sticky": {"key": [{"header": "x-user"}, {"cookie": "uid"}, "serin_id", "client_ip"], "pin": false,
            "salt": "00112233445566778899aabbccddeeff", "range": "high", "page_life": "1m"},
        "override": {"cookie": "group"}, "expose": true, "force": 2,
        "analysis": {"mode": "guard", "alpha": 0.02, "beta": 0.1, "min_phase": "1m", "max_phase": "2h", "preflight": "5m"},
    });
    assert_eq!(written, serde_json::from_value(expected).unwrap());
}

#[test]
fn the_only_port_need_not_be_named() {
    let mut only = service("only");
    only["spec"]["ports"] = json!([{"port": 8080}]);
    let spec = |service: &str| of_web(json!({"canary": {"service": service}}));
    let (rules, findings) = accepted(&cluster().with(only).with(release("v2", 1, spec("only"))));
    assert_eq!((&rules["releases"]["shop.v2"]["canary"], findings.len()), (&json!("shop.only.8080_released"), 0));
    for (service, reason) in [
        ("next", "spec.canary: Service shop/next has not one port, so which one has to be named"),
        ("none", "spec.canary: there is no Service shop/none, so its port has to be named"),
    ] {
        let (rules, findings) = accepted(&cluster().with(release("v2", 1, spec(service))));
        assert_eq!(
            (&rules["releases"], &*findings),
            (&Value::Null, &[format!("Release shop/v2: Rejected: {reason}")][..])
        );
    }
}

#[test]
fn what_is_wrong_is_told_and_what_was_accepted_before_stays() {
    let first = translated(&cluster().with(release("v2", 1, of_web(json!({})))), &Before::default());
    let (documents, releases) =
        (first.made.documents.clone(), ReleasesBefore { accepted: first.accepted, ..ReleasesBefore::default() });
    let before = Before { made: first.made, releases };
    for (spec, reason) in [
        (of_web(json!({"audience": [{"name": "a", "ip": ["10.0.0.0/33"]}]})), "spec.audience[0].ip[0]: "),
        (of_web(json!({"audience": [{"name": "a", "ips": []}]})), "spec: unknown field `ips`"),
        (of_web(json!({"phases": [{"percent": 101}]})), "spec: percent 101 is above 100"),
        (
            of_web(json!({"canary": {"service": "web", "port": 80}})),
            "spec.canary: it is the same port as that of spec.stable",
        ),
        (json!(null), "spec: "),
    ] {
        let cluster = cluster().with(release("v2", 1, spec));
        let wrong = translated(&cluster, &before);
        let found = conditions(&wrong, "v2");
        assert!(found[0].starts_with(&format!("Accepted=False Invalid: {reason}")), "{reason}: {found:?}");
        assert!(found[0].ends_with("; what was accepted before stays in force"), "{found:?}");
        assert_eq!((&wrong.made.documents, found.len()), (&documents, 2));
        assert!(said(&wrong.findings[0]).starts_with("Release shop/v2: Rejected: spec"), "{:?}", wrong.findings);
        let anew = translated(&cluster, &Before::default());
        assert_eq!(together(&anew.made.documents)["releases"], Value::Null, "nothing was accepted before");
        assert!(!conditions(&anew, "v2")[0].contains("stays"));
    }
}

#[test]
fn services_and_routes_that_are_not_there_are_told() {
    let spec = json!({"stable": {"service": "web", "port": 81}, "canary": {"service": "gone", "port": 80},
        "audience": [{"name": "a", "percent": 5}]});
    let cluster = cluster().with(release("v2", 1, spec));
    let (rules, findings) = accepted(&cluster);
    let missing = [
        "Release shop/v2: Missing: Service shop/web has no port 81",
        "Release shop/v2: Missing: there is no Service shop/gone",
    ];
    assert_eq!(findings, missing);
    assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["release"], Value::Null);
    let found = conditions(&translated(&cluster, &Before::default()), "v2");
    assert_eq!(
        found[1],
        "Attached=False NoRoute: no Ingress, HTTPRoute or GRPCRoute of namespace shop leads to spec.stable"
    );
}

#[test]
fn the_canary_is_spoken_to_as_stable_is() {
    let mut web = json!({"rules": [rule("s.example.com", &[path("Prefix", "/", "web")])]});
    web["ingressClassName"] = "serin".into();
    let tuned = |name: &str, second: u32| {
        let at = format!("2026-01-01T00:00:{second:02}Z");
        json!({"kind": "Ingress", "metadata": {"name": name, "namespace": "shop", "creationTimestamp": at,
            "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"}}, "spec": web})
    };
    let alone = Cluster::default().with(service("web")).with(service("next")).with(tuned("tls", 0));
    let (rules, findings) = accepted(&alone.with(release("v2", 1, of_web(json!({})))));
    let release = &rules["releases"]["shop.v2"];
    assert_eq!(
        (&release["stable"], &release["canary"]),
        (&json!("shop.web.80_released"), &json!("shop.next.80_released"))
    );
    let upstream = |name: &str| rules["upstreams"][name].clone();
    assert_eq!(upstream("shop.next.80_released")["tls"], json!({"server_name": "next.shop.svc"}));
    assert_eq!(upstream("shop.web.80_released")["tls"], upstream("shop.web.http.tls")["tls"]);
    assert!(findings.iter().all(|finding| !finding.starts_with("Release")), "{findings:?}");
    // Where routes speak to it in several ways, the usual one is meant.
    let (rules, findings) = accepted(&cluster().with(tuned("tls", 1)).with(self::release("v2", 1, of_web(json!({})))));
    assert_eq!(rules["releases"]["shop.v2"], *release, "it is the same release");
    assert_eq!(rules["upstreams"]["shop.web.80_released"]["tls"], Value::Null);
    let told: Vec<_> = findings.iter().filter(|finding| finding.starts_with("Release")).collect();
    let expected = "Release shop/v2: NotMoved: Ingress shop/tls speaks to Service shop/web in another way (upstream shop.web.http.tls): the \
                    release does not move its users";
    assert_eq!(told, [expected]);
}

#[test]
fn routes_of_gateway_api_are_its_too_and_a_port_may_have_a_number_there_and_a_name_here() {
    let route = json!({"kind": "HTTPRoute", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": [{"name": "web", "port": 80}]}]}});
    let cluster = with_gateway().with(route).with(release("v2", 1, of_web(json!({}))));
    let (rules, findings) = accepted(&cluster);
    assert_eq!(findings, [""; 0]);
    for (name, route) in rules["routes"].as_object().unwrap() {
        assert_eq!(
            (&route["release"], &route["upstream"]),
            (&json!(["shop.v2"]), &json!("shop.web.80_released")),
            "{name}"
        );
    }
    let attached = &conditions(&translated(&cluster, &Before::default()), "v2")[1];
    assert_eq!(attached, "Attached=True Attached: it moves users of HTTPRoute shop/web, Ingress shop/web");
}

#[test]
fn the_oldest_of_several_is_asked_first() {
    let cluster = cluster().with(service("third"));
    let cluster = cluster.with(release("b", 1, of_web(json!({})))).with(release(
        "a",
        2,
        of_web(json!({"canary": {"service": "third", "port": 80}})),
    ));
    let (rules, _) = accepted(&cluster);
    assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["release"], json!(["shop.b", "shop.a"]));
}

#[test]
fn routes_of_other_namespaces_are_not_its() {
    let mut release = release("v2", 1, of_web(json!({})));
    release["metadata"]["namespace"] = "other".into();
    let mut web = service("web");
    web["metadata"]["namespace"] = "other".into();
    let (rules, _) = accepted(&cluster().with(web).with(release));
    assert_eq!(rules["routes"]["ingress.shop.web.0.0"]["release"], Value::Null);
    assert_eq!(rules["releases"]["other.v2"]["stable"], "other.web.80_released");
}

#[test]
fn a_status_that_says_so_already_is_left_alone() {
    let cluster = cluster().with(release("v2", 1, of_web(json!({}))));
    let status = translated(&cluster, &Before::default()).statuses[0].status.clone();
    let mut same = release("v2", 1, of_web(json!({})));
    same["status"] = status;
    same["status"]["record"] = json!({"number": 4});
    let translation = translated(&cluster.with(same), &Before::default());
    assert!(translation.statuses.is_empty(), "{:?}", translation.statuses);
    assert_eq!(translation.records["shop.v2"], json!({"number": 4}));
}

#[test]
fn a_release_is_the_same_whatever_its_ports_are_called() {
    let named = |port: Value| release("v2", 1, of_web(json!({"stable": {"service": "web", "port": port}})));
    let of = |cluster: &Cluster| accepted(cluster).0["releases"]["shop.v2"].clone();
    let by_name = of(&cluster().with(named(json!("http"))));
    assert_eq!(of(&cluster().with(named(json!(80)))), by_name);
    // Services go and come: the record says which ports they had.
    let mut gone = named(json!("http"));
    gone["status"] = json!({"record": {"stable": by_name["stable"], "canary": by_name["canary"]}});
    let mut without = cluster().with(gone.clone());
    without.0.services.clear();
    assert_eq!(of(&without), by_name);
    let mut unnamed = release("v2", 1, of_web(json!({"stable": {"service": "web"}})));
    unnamed["status"] = gone["status"].clone();
    assert_eq!(of(&cluster().with(unnamed)), by_name, "it had one port when it began");
}

#[test]
fn one_that_is_wrong_when_an_instance_starts_is_what_its_record_says() {
    let right = translated(&cluster().with(release("v2", 1, of_web(json!({})))), &Before::default());
    let rules = together(&right.made.documents);
    let mut wrong = release("v2", 1, of_web(json!({"audience": [{"name": "a", "ip": ["10.0.0.0/33"]}]})));
    wrong["status"] = json!({"record": {"rules": rules["releases"]["shop.v2"]}});
    let translation = translated(&cluster().with(wrong), &Before::default());
    assert_eq!(translation.made.documents, right.made.documents);
    assert!(conditions(&translation, "v2")[0].ends_with("stays in force"));
}

#[test]
fn what_rules_refuse_is_said_of_the_object() {
    let cluster = cluster().with(release("v2", 1, of_web(json!({}))));
    let refused = [(ObjectName::new("shop", "v2"), "users would be thrown back".to_owned())].into();
    let before = Before { releases: ReleasesBefore { refused, ..ReleasesBefore::default() }, ..Before::default() };
    let translation = translated(&cluster, &before);
    assert_eq!(conditions(&translation, "v2")[0], "Accepted=False Refused: users would be thrown back");
    assert!(translation.findings.is_empty(), "it was told already");
}

#[test]
fn a_release_of_another_class_is_none_of_ours() {
    let of = |class: Value, classless_releases: bool| {
        let cluster = cluster().with(release("v2", 1, of_web(json!({"class": class}))));
        let options = Options { classless_releases, ..Options::default() };
        let translation = crate::translate::translate(&cluster.0, &options, "", &Before::default());
        (
            translation.statuses.len(),
            translation.records.len(),
            together(&translation.made.documents)["releases"].is_null(),
        )
    };
    assert_eq!(of(json!("serin"), false), (1, 1, false));
    assert_eq!(of(json!("public"), true), (0, 0, true));
    assert_eq!(of(Value::Null, true), (1, 1, false));
    assert_eq!(of(Value::Null, false), (0, 0, true));
}

#[test]
fn users_of_routes_to_several_services_are_not_moved_and_that_is_told() {
    let refs = json!([{"name": "web", "port": 80, "weight": 9}, {"name": "next", "port": 80, "weight": 1}]);
    let route = json!({"kind": "HTTPRoute", "metadata": {"name": "split", "namespace": "shop"},
        "spec": {"parentRefs": [{"name": "web"}], "rules": [{"backendRefs": refs}]}});
    let (_, findings) = accepted(&with_gateway().with(route).with(release("v2", 1, of_web(json!({})))));
    let told = "Release shop/v2: NotMoved: HTTPRoute shop/split speaks to Service shop/web in another way (as a part of several): the release \
                does not move its users";
    assert_eq!(findings, [told]);
}
