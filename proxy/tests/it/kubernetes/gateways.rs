//! Gateways open listeners, and their routes are served.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::kubernetes::{Cluster, Pod};
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually, free_address};

/// A cluster with Gateway API, the Services `web` and `api` of a pod each, and a Gateway for the port 80.
struct Fixture {
    cluster: Cluster,
    /// Serves until it is dropped.
    _serin: Serin,
    address: SocketAddr,
    web: Origin,
    api: Origin,
}

impl Fixture {
    fn start() -> Self {
        let (web, api) = (Origin::named("web"), Origin::named("api"));
        let cluster = Cluster::with_web(&web);
        cluster.service("api");
        cluster.slice("api", "api-1", &[(api.address(), Pod::Ready)]);
        cluster.0.install("gateway.networking.k8s.io");
        cluster.0.apply(
            json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "serin"},
            "spec": {"controllerName": "serin.dev/gateway"}}),
        );
        let address = free_address();
        let serin = cluster.followed(&format!(
            "addresses: [192.0.2.7], gateway_address: \"127.0.0.1\", gateway_ports: {{80: {}}}",
            address.port()
        ));
        cluster.0.apply(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"gatewayClassName": "serin", "listeners": [{"name": "http", "port": 80, "protocol": "HTTP"}]}}));
        Self { cluster, _serin: serin, address, web, api }
    }

    fn route(&self, name: &str, mut spec: Value) {
        spec["parentRefs"] = json!([{"name": "web"}]);
        self.cluster.0.apply(json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
            "metadata": {"name": name, "namespace": "shop"}, "spec": spec}));
    }

    fn get(&self, host: &str, target: &str) -> Reply {
        self.get_with(target, &[("Host", host)])
    }

    fn get_with(&self, target: &str, fields: &[(&str, &str)]) -> Reply {
        Client::connect(self.address).request("GET", target, fields, b"")
    }

    fn says(&self, host: &str, target: &str, text: &str) {
        let is_open = || std::net::TcpStream::connect(self.address).is_ok();
        eventually(PATIENCE, "the listener is open", is_open);
        eventually(PATIENCE, &format!("{host}{target} is {text}"), || self.get(host, target).text() == text);
    }
}

fn backend(name: &str, weight: u32) -> Value {
    json!({"name": name, "port": 80, "weight": weight})
}

/// The condition of this type among these.
fn condition<'c>(conditions: &'c Value, kind: &str) -> Option<&'c Value> {
    conditions.as_array()?.iter().find(|condition| condition["type"] == kind)
}

fn is_true(conditions: &Value, kind: &str) -> bool {
    condition(conditions, kind).is_some_and(|condition| condition["status"] == "True")
}

#[test]
fn a_gateway_opens_its_port_and_says_what_hangs_on_it() {
    let fixture = Fixture::start();
    fixture.route(
        "shop",
        json!({"hostnames": ["shop.example.com"], "rules": [
            {"matches": [{"path": {"type": "PathPrefix", "value": "/api"}}], "backendRefs": [backend("api", 1)]},
            {"backendRefs": [backend("web", 1)]},
        ]}),
    );
    fixture.says("shop.example.com", "/", "web");
    assert_eq!(fixture.get("shop.example.com", "/api/v1").text(), "api");
    assert_eq!(fixture.get("else.example.com", "/").status, 404);
    let is_programmed = |gateway: &Value| {
        let listener = &gateway["status"]["listeners"][0];
        is_true(&gateway["status"]["conditions"], "Programmed") && listener["attachedRoutes"] == 1
    };
    let gateway = fixture.cluster.0.wait_for("Gateway", "shop", "web", is_programmed, PATIENCE);
    assert_eq!(gateway["status"]["addresses"], json!([{"type": "IPAddress", "value": "192.0.2.7"}]));
    let is_accepted = |route: &Value| is_true(&route["status"]["parents"][0]["conditions"], "Accepted");
    let route = fixture.cluster.0.wait_for("HTTPRoute", "shop", "shop", is_accepted, PATIENCE);
    assert_eq!(route["status"]["parents"][0]["controllerName"], "serin.dev/gateway");
    fixture.cluster.0.wait_for(
        "GatewayClass",
        "",
        "serin",
        |class| is_true(&class["status"]["conditions"], "Accepted"),
        PATIENCE,
    );
    // What is written makes nothing be written again.
    let written = fixture.cluster.0.requests("patch", "httproutes.gateway.networking.k8s.io/status");
    fixture
        .route("other", json!({"hostnames": ["other.example.com"], "rules": [{"backendRefs": [backend("api", 1)]}]}));
    fixture.says("other.example.com", "/", "api");
    fixture.cluster.0.wait_for("HTTPRoute", "shop", "other", is_accepted, PATIENCE);
    let now = fixture.cluster.0.requests("patch", "httproutes.gateway.networking.k8s.io/status");
    assert!(now <= written + 2, "{written} became {now}");
    fixture.cluster.0.remove("HTTPRoute", "shop", "shop");
    eventually(PATIENCE, "it has gone", || fixture.get("shop.example.com", "/").status == 404);
    fixture.cluster.0.remove("Gateway", "shop", "web");
    eventually(PATIENCE, "the port is closed", || std::net::TcpStream::connect(fixture.address).is_err());
}

#[test]
fn filters_change_what_pods_get_and_what_clients_read() {
    let fixture = Fixture::start();
    let filters = json!([
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"set": [{"name": "x-set", "value": "set"}], "remove": ["x-gone"]}},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"add": [{"name": "x-added", "value": "added"}]}},
        {"type": "URLRewrite", "urlRewrite": {"hostname": "inner.example.com", "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/new"}}},
    ]);
    let whole =
        json!([{"type": "URLRewrite", "urlRewrite": {"path": {"type": "ReplaceFullPath", "replaceFullPath": "/all"}}}]);
    let redirect = json!([{"type": "RequestRedirect", "requestRedirect": {"statusCode": 301, "hostname": "new.example.com",
        "path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": "/moved"}}}]);
    let matches = |path: &str| json!([{"path": {"type": "PathPrefix", "value": path}}]);
    fixture.route(
        "shop",
        json!({"rules": [
            {"matches": matches("/old"), "filters": filters, "backendRefs": [backend("web", 1)]},
            {"matches": matches("/whole"), "filters": whole, "backendRefs": [backend("api", 1)]},
            {"matches": matches("/away"), "filters": redirect},
        ]}),
    );
    fixture.says("shop.example.com", "/whole/of/it?a=b", "api");
    assert_eq!(fixture.api.requests().last().unwrap().target, "/all?a=b");
    let reply = fixture.get_with("/old/x", &[("Host", "shop.example.com"), ("X-Gone", "yes"), ("X-Set", "client")]);
    assert_eq!((reply.text(), reply.header("x-added")), ("web", Some("added")));
    let request = fixture.web.requests().into_iter().last().unwrap();
    assert_eq!(request.target, "/new/x");
    assert_eq!(request.header("host"), Some("inner.example.com"));
    assert_eq!(request.header("x-forwarded-host"), Some("shop.example.com"));
    assert_eq!((request.header("x-set"), request.header("x-gone")), (Some("set"), None));
    let reply = fixture.get("shop.example.com", "/away/there?a=b");
    let port = fixture.address.port();
    assert_eq!(reply.status, 301);
    let location = reply.header("location").unwrap();
    assert!(
        [format!("http://new.example.com:{port}/moved/there?a=b"), "http://new.example.com/moved/there?a=b".into()]
            .contains(&location.to_owned()),
        "{location}"
    );
}

#[test]
fn weights_and_what_leads_nowhere_have_their_share() {
    let fixture = Fixture::start();
    fixture.route("split", json!({"hostnames": ["split.example.com"], "rules": [{"backendRefs": [backend("web", 3), backend("api", 1), backend("gone", 0)]}]}));
    fixture.route(
        "half",
        json!({"hostnames": ["half.example.com"], "rules": [{"backendRefs": [backend("web", 1), backend("gone", 1)]}]}),
    );
    fixture.says("split.example.com", "/", "web");
    let answers: Vec<_> = (0..400).map(|_| fixture.get("split.example.com", "/").text().to_owned()).collect();
    let of_api = answers.iter().filter(|answer| *answer == "api").count();
    assert!((60..=145).contains(&of_api), "{of_api} of 400");
    eventually(PATIENCE, "it is served", || fixture.get("half.example.com", "/").status != 404);
    let statuses: Vec<_> = (0..200).map(|_| fixture.get("half.example.com", "/").status).collect();
    let failed = statuses.iter().filter(|status| **status == 500).count();
    assert!(
        (60..=140).contains(&failed) && statuses.iter().all(|status| [200, 500].contains(status)),
        "{failed} of 200"
    );
    let is_told = |route: &Value| {
        condition(&route["status"]["parents"][0]["conditions"], "ResolvedRefs")
            .is_some_and(|it| it["reason"] == "BackendNotFound")
    };
    fixture.cluster.0.wait_for("HTTPRoute", "shop", "half", is_told, PATIENCE);
}

#[test]
fn hosts_below_are_those_of_all_depths() {
    let fixture = Fixture::start();
    fixture.route("all", json!({"hostnames": ["*.example.com"], "rules": [{"backendRefs": [backend("web", 1)]}]}));
    fixture.route("one", json!({"hostnames": ["a.b.example.com"], "rules": [{"backendRefs": [backend("api", 1)]}]}));
    fixture.says("a.example.com", "/", "web");
    fixture.says("a.b.example.com", "/", "api");
    assert_eq!(fixture.get("c.b.a.example.com", "/").text(), "web");
    assert_eq!(fixture.get("example.com", "/").status, 404);
}

#[test]
fn a_cluster_may_learn_gateway_api_later() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.ingress_of("shop", "shop.example.com", "web");
    let serin = cluster.followed("");
    assert_eq!(serin.metric("serin_kubernetes_up"), 1.0);
    assert_eq!(serin.metric("serin_kubernetes_failures_total"), 0.0);
    cluster.0.install("gateway.networking.k8s.io");
    cluster.0.apply(
        json!({"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": "serin"},
        "spec": {"controllerName": "serin.dev/gateway"}}),
    );
    let is_accepted = |class: &Value| is_true(&class["status"]["conditions"], "Accepted");
    cluster.0.wait_for("GatewayClass", "", "serin", is_accepted, 5 * PATIENCE);
}
