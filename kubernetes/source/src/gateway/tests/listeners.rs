//! Gateways and their listeners: what they open, what is wrong with them, and which of those that want one place has it.

use super::*;

const SERVED: [&str; 4] = [
    "Accepted=True Accepted",
    "Conflicted=False NoConflicts",
    "ResolvedRefs=True ResolvedRefs",
    "Programmed=True Programmed",
];

/// What is said of a listener that names something that cannot be used.
fn unresolved(reason: &str) -> [String; 4] {
    let mut conditions = SERVED.map(str::to_owned);
    conditions[2] = format!("ResolvedRefs=False {reason}");
    conditions[3] = "Programmed=False Invalid".into();
    conditions
}

fn https(refs: Value) -> Value {
    json!({"name": "tls", "port": 443, "protocol": "HTTPS", "tls": {"mode": "Terminate", "certificateRefs": refs}})
}

fn secret(namespace: &str, name: &str) -> Value {
    let pem =
        |kind: &str| k8s_openapi::ByteString(format!("-----BEGIN {kind}-----\nx\n-----END {kind}-----\n").into_bytes());
    json!({"kind": "Secret", "type": "kubernetes.io/tls", "metadata": {"name": name, "namespace": namespace},
        "data": {"tls.crt": pem("CERTIFICATE"), "tls.key": pem("PRIVATE KEY")}})
}

fn gateway_conditions(outcome: &Outcome, gateway: &str) -> Vec<String> {
    conditions(&outcome.status(&format!("Gateway {gateway}"))["conditions"])
}

#[test]
fn a_listener_counts_its_routes() {
    let cluster = Cluster::with_gateway();
    let outcome = cluster.translated();
    assert_eq!(outcome.listener("shop/web", "all"), (0, SERVED.map(str::to_owned).to_vec()));
    assert_eq!(gateway_conditions(&outcome, "shop/web"), ["Accepted=True Accepted", "Programmed=True Programmed"]);
    let kinds = &outcome.listener_status("shop/web", "all")["supportedKinds"];
    assert_eq!(kinds[0], json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute"}));
    assert_eq!(kinds[1]["kind"], "GRPCRoute");
    // A route that names the Gateway twice, and one whose backends cannot be used.
    let twice = with_spec(
        route("a", 0, json!([prefix("/", "one")])),
        "parentRefs",
        json!([{"name": "web"}, {"name": "web", "sectionName": "all"}]),
    );
    let outcome = cluster.with(twice).with(route("b", 0, json!([prefix("/b", "gone")]))).translated();
    assert_eq!(outcome.listener("shop/web", "all").0, 2);
}

#[test]
fn routes_of_a_listener_that_is_not_served_are_counted_and_not_served() {
    let listeners = json!([https(json!([{"name": "gone"}]))]);
    let cluster = Cluster::new().with(gateway("web", 0, listeners)).with(route("a", 0, json!([prefix("/", "one")])));
    let outcome = cluster.translated();
    assert_eq!(outcome.listener("shop/web", "tls"), (1, unresolved("InvalidCertificateRef").to_vec()));
    assert_eq!(outcome.route_conditions("HTTPRoute shop/a"), GOOD);
    assert_eq!(outcome.rules, json!({}));
}

#[test]
fn listeners_are_added_and_removed() {
    let two = json!([and(http("a"), json!({"hostname": "a.test"})), {"name": "b", "port": 8080, "protocol": "HTTP"}]);
    let outcome = Cluster::new().with(gateway("web", 0, two)).translated();
    assert_eq!(
        outcome.rules["listeners"],
        json!({"gateway.80": {"address": "[::]:80"}, "gateway.8080": {"address": "[::]:8080"}})
    );
    let outcome = Cluster::new().with(gateway("web", 0, json!([http("a")]))).translated();
    assert_eq!(outcome.status("Gateway shop/web")["listeners"].as_array().unwrap().len(), 1);
}

#[test]
fn ports_may_be_opened_by_other_numbers_and_addresses_be_told() {
    let mut cluster = Cluster::with_gateway();
    cluster.options.gateway_ports = BTreeMap::from([(80, 8080)]);
    cluster.options.gateway_address = "0.0.0.0".parse().unwrap();
    cluster.options.addresses = vec!["192.0.2.7".into(), "lb.test".into()];
    let outcome = cluster.translated();
    assert_eq!(outcome.rules["listeners"], json!({"gateway.80": {"address": "0.0.0.0:8080"}}));
    let all = json!([{"type": "IPAddress", "value": "192.0.2.7"}, {"type": "Hostname", "value": "lb.test"}]);
    assert_eq!(outcome.status("Gateway shop/web")["addresses"], all);

    let asking = |addresses: Value| with_spec(gateway("web", 0, json!([http("all")])), "addresses", addresses);
    let one = Cluster { options: cluster.options.clone(), ..Cluster::new() };
    let outcome = one.with(asking(json!([{"type": "Hostname", "value": "lb.test"}]))).translated();
    assert_eq!(outcome.status("Gateway shop/web")["addresses"], json!([{"type": "Hostname", "value": "lb.test"}]));
    let outcome = Cluster::new().with(asking(json!([{"value": "192.0.2.8"}]))).translated();
    let conditions = ["Accepted=True Accepted", "Programmed=False AddressNotUsable"];
    assert_eq!(gateway_conditions(&outcome, "shop/web"), conditions);
    let outcome = Cluster::new().with(asking(json!([{"type": "test/named", "value": "x"}]))).translated();
    let conditions = ["Accepted=False UnsupportedAddress", "Programmed=False UnsupportedAddress"];
    assert_eq!(gateway_conditions(&outcome, "shop/web"), conditions);
}

#[test]
fn kinds_of_routes_that_there_are_not_are_told() {
    let with_kinds = |kinds: Value| json!([and(http("all"), json!({"allowedRoutes": {"kinds": kinds}}))]);
    let none = json!([{"group": "gateway.networking.k8s.io", "kind": "InvalidRoute"}]);
    let outcome = Cluster::new().with(gateway("web", 0, with_kinds(none))).translated();
    assert_eq!(outcome.listener_status("shop/web", "all")["supportedKinds"], json!([]));
    assert_eq!(outcome.listener("shop/web", "all").1, unresolved("InvalidRouteKinds"));
    assert_eq!(
        gateway_conditions(&outcome, "shop/web"),
        ["Accepted=False ListenersNotValid", "Programmed=False Invalid"]
    );

    let some = json!([{"kind": "InvalidRoute"}, {"kind": "HTTPRoute"}, {"kind": "HTTPRoute"}]);
    let outcome = Cluster::new().with(gateway("web", 0, with_kinds(some))).translated();
    assert_eq!(outcome.listener_status("shop/web", "all")["supportedKinds"].as_array().unwrap().len(), 1);
    let conditions = &outcome.listener("shop/web", "all").1;
    assert_eq!(conditions[2..], ["ResolvedRefs=False InvalidRouteKinds", "Programmed=True Programmed"]);
    assert_eq!(
        gateway_conditions(&outcome, "shop/web"),
        ["Accepted=True ListenersNotValid", "Programmed=True Programmed"]
    );
}

#[test]
fn protocols_that_there_are_not_are_told() {
    for (listener, reason) in [
        (json!({"name": "x", "port": 443, "protocol": "TLS"}), "UnsupportedProtocol"),
        (json!({"name": "x", "port": 80, "protocol": "TCP"}), "UnsupportedProtocol"),
        (json!({"name": "x", "port": 443, "protocol": "HTTPS", "tls": {"mode": "Passthrough"}}), "UnsupportedProtocol"),
        (json!({"name": "x", "port": 70_000, "protocol": "HTTP"}), "PortUnavailable"),
    ] {
        let outcome = Cluster::new().with(gateway("web", 0, json!([listener]))).translated();
        let conditions = &outcome.listener("shop/web", "x").1;
        assert_eq!(conditions[0], format!("Accepted=False {reason}"), "{listener}");
        assert_eq!(conditions[3], "Programmed=False Invalid", "{listener}");
        assert_eq!(outcome.rules, json!({}));
    }
}

#[test]
fn certificates_that_cannot_be_used_are_told() {
    let malformed = json!({"kind": "Secret", "metadata": {"name": "malformed", "namespace": "shop"},
        "data": {"tls.crt": "SGVsbG8gd29ybGQK", "tls.key": "SGVsbG8gd29ybGQK"}});
    for refs in [
        json!([]),
        json!([{"name": "gone"}]),
        json!([{"group": "wrong.test", "kind": "Secret", "name": "good"}]),
        json!([{"group": "", "kind": "WrongKind", "name": "good"}]),
        json!([{"name": "malformed"}]),
    ] {
        let cluster = Cluster::new().with(malformed.clone()).with(secret("shop", "good"));
        let outcome = cluster.with(gateway("web", 0, json!([https(refs)]))).translated();
        assert_eq!(outcome.listener("shop/web", "tls").1, unresolved("InvalidCertificateRef"));
        assert_eq!(outcome.rules, json!({}));
    }
}

#[test]
fn certificates_are_shown_for_the_hosts_of_their_listeners() {
    let of = |name: &str, secret: &str, host: &str| {
        and(https(json!([{"name": secret}])), json!({"name": name, "hostname": host}))
    };
    let listeners = json!([of("a", "one", "a.test"), of("b", "one", "*.b.test"), https(json!([{"name": "two"}]))]);
    let cluster =
        Cluster::new().with(secret("shop", "one")).with(secret("shop", "two")).with(gateway("web", 0, listeners));
    let outcome = cluster.with(route("a", 0, json!([prefix("/", "one")]))).translated();
    let certificates = &outcome.rules["certificates"];
    assert_eq!(certificates["gateway.shop.one"]["hosts"], json!(["*.b.test", "a.test"]));
    assert_eq!(certificates["gateway.shop.two"].get("hosts"), None);
    let tls = json!({"default_certificate": "gateway.shop.two", "min_version": null, "cipher_suites": null, "client_certificates": null});
    let opened = &outcome.rules["listeners"]["gateway.443"];
    assert_eq!(opened["address"], "[::]:443");
    assert_eq!(opened["tls"]["default_certificate"], tls["default_certificate"]);
    assert_eq!(outcome.serves_by("gateway.443", "GET x.b.test/"), "shop.one.80");
    assert_eq!(outcome.serves("GET x.b.test/"), "none");
}

#[test]
fn secrets_of_other_namespaces_need_a_grant() {
    let grant = |from: Value, to: Value| json!({"kind": "ReferenceGrant", "metadata": {"name": "g", "namespace": "vault"}, "spec": {"from": [from], "to": [to]}});
    let from = |kind: &str, namespace: &str| json!({"group": "gateway.networking.k8s.io", "kind": kind, "namespace": namespace});
    let secrets = json!({"group": "", "kind": "Secret"});
    let this = and(secrets.clone(), json!({"name": "one"}));
    let another = and(secrets.clone(), json!({"name": "another"}));
    let cluster = || {
        let listeners = json!([https(json!([{"name": "one", "namespace": "vault"}]))]);
        Cluster::new().with(secret("vault", "one")).with(gateway("web", 0, listeners))
    };
    let not_permitted = unresolved("RefNotPermitted").to_vec();
    assert_eq!(cluster().translated().listener("shop/web", "tls").1, not_permitted);
    for (grant, expected) in [
        (grant(from("Gateway", "shop"), secrets.clone()), SERVED.map(str::to_owned).to_vec()),
        (grant(from("Gateway", "shop"), this), SERVED.map(str::to_owned).to_vec()),
        (grant(from("Gateway", "shop"), another), not_permitted.clone()),
        (grant(from("Gateway", "other"), secrets.clone()), not_permitted.clone()),
        (grant(from("HTTPRoute", "shop"), secrets), not_permitted.clone()),
        (grant(from("Gateway", "shop"), json!({"group": "", "kind": "Service"})), not_permitted),
    ] {
        assert_eq!(cluster().with(grant.clone()).translated().listener("shop/web", "tls").1, expected, "{grant}");
    }
}

#[test]
fn the_oldest_gateway_has_a_place_that_several_want() {
    let clear_443 = json!({"name": "clear", "port": 443, "protocol": "HTTP"});
    let mut cluster = Cluster::new()
        .with(secret("shop", "one"))
        .with(gateway("z-old", 1, json!([http("all"), clear_443])))
        .with(gateway(
            "new",
            2,
            json!([http("all"), and(http("a"), json!({"hostname": "a.test"})), https(json!([{"name": "one"}]))]),
        ))
        .with(with_spec(route("a", 0, json!([prefix("/", "one")])), "parentRefs", json!([{"name": "new"}])));
    cluster.options.gateways_share = false;
    let outcome = cluster.translated();
    assert_eq!(outcome.listener("shop/z-old", "all").1, SERVED);
    assert_eq!(outcome.listener("shop/new", "a").1, SERVED);
    let conflict = |reason: &str| {
        [
            format!("Accepted=False {reason}"),
            format!("Conflicted=True {reason}"),
            SERVED[2].into(),
            "Programmed=False Invalid".into(),
        ]
    };
    assert_eq!(outcome.listener("shop/new", "all").1, conflict("HostnameConflict"));
    assert_eq!(outcome.listener("shop/new", "tls").1, conflict("ProtocolConflict"));
    assert_eq!(
        gateway_conditions(&outcome, "shop/new"),
        ["Accepted=True ListenersNotValid", "Programmed=True Programmed"]
    );
    outcome.check(&[("GET a.test/", "shop.one.80"), ("GET b.test/", "none")]);
}

#[test]
fn gateways_that_share_serve_the_routes_of_each_other() {
    let cluster = Cluster::with_gateway()
        .with(gateway("other", 1, json!([http("all")])))
        .with(with_spec(route("a", 0, json!([prefix("/a", "one")])), "parentRefs", json!([{"name": "other"}])))
        .with(route("b", 0, json!([prefix("/b", "two")])));
    let outcome = cluster.translated();
    outcome.check(&[("GET /a", "shop.one.80"), ("GET /b", "shop.two.80")]);
    assert_eq!(outcome.listener("shop/other", "all"), (1, SERVED.map(str::to_owned).to_vec()));
    // What one Gateway says twice is a mistake all the same.
    let outcome = cluster.with(gateway("web", 0, json!([http("all"), http("again")]))).translated();
    assert_eq!(outcome.listener("shop/web", "again").1[1], "Conflicted=True HostnameConflict");
}
