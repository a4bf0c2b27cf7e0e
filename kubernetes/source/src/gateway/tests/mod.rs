//! Objects as people write them, and what they amount to: rules, requests that these serve, and statuses.

mod backends;

mod classes;

mod filters;

mod grpc;

mod hostnames;

mod listeners;

mod matches;

mod parents;

mod policies;

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use routing_rules::release::ReleaseContext;
use routing_rules::request::RequestView;
use routing_rules::rules::{RuleSet, Target};
use routing_rules::spec::Spec;
use routing_rules::table::RouteTable;
use serde_json::{Value, json};

use super::*;
use crate::documents::Made;
use crate::testing::{put, together};

/// Objects of a cluster.
#[derive(Default)]
struct Cluster {
    objects: Objects,
    options: Options,
}

impl Cluster {
    /// With a class of ours, and Services `one`, `two` and `three` in the namespace `shop`.
    fn new() -> Self {
        let class = json!({"kind": "GatewayClass", "metadata": {"name": "serin", "generation": 1},
            "spec": {"controllerName": "serin.dev/gateway"}});
        ["one", "two", "three"]
            .iter()
            .fold(Self::default().with(class), |cluster, name| cluster.with(service("shop", name)))
    }

    /// And a Gateway `shop/web` with one listener for HTTP and all hosts.
    fn with_gateway() -> Self {
        Self::new().with(gateway("web", 0, json!([http("all")])))
    }

    fn with(mut self, object: Value) -> Self {
        put(&mut self.objects, object);
        self
    }

    fn translated(&self) -> Outcome {
        self.translated_at(NOW)
    }

    fn translated_at(&self, now: &str) -> Outcome {
        let mut drafts = Drafts::default();
        let updates = translate(&self.objects, &self.options, now, &mut drafts);
        let rules = together(&drafts.finish(&Made::default()).documents);
        let spec: Spec = serde_json::from_value(rules.clone()).unwrap();
        let (set, problems) = RuleSet::from_spec(&spec);
        assert!(problems.is_empty(), "{problems:?}");
        assert!(set.dangling().is_empty(), "{:?}", set.dangling());
        let table = RouteTable::compile(&set, &ReleaseContext::default());
        let updates = updates.into_iter().map(|update| (format!("{} {}", update.resource.kind, update.object), update));
        Outcome { rules, table, updates: updates.collect() }
    }
}

/// What they amount to.
struct Outcome {
    rules: Value,
    table: RouteTable,
    updates: BTreeMap<String, StatusUpdate>,
}

impl Outcome {
    /// Who serves a request, written as `GET host/path?query name=value`: upstreams with their weights, or a redirect.
    fn serves(&self, request: &str) -> String {
        self.serves_by("gateway.80", request)
    }

    fn serves_by(&self, listener: &str, request: &str) -> String {
        let mut words = request.split(' ');
        let method: Method = words.next().unwrap().parse().unwrap();
        let (host, target) = words.next().unwrap().split_once('/').unwrap();
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        let path = format!("/{path}");
        let mut headers = HeaderMap::new();
        for (name, value) in words.map(|word| word.split_once('=').unwrap()) {
            headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::try_from(value).unwrap());
        }
        let client = "192.0.2.1".parse().unwrap();
        let view = RequestView { query, listener, ..RequestView::new(&method, host, &path, &headers, client) };
        match self.table.find(&view).map(|found| found.route().rules().target().clone()) {
            None => "none".into(),
            Some(Target::Upstream(name)) => name.to_string(),
            Some(Target::Split(parts)) => {
                let parts = parts.iter().map(|part| format!("{}*{}", part.upstream, part.weight));
                parts.collect::<Vec<_>>().join(" ")
            }
            Some(Target::Redirect(redirect)) => redirect.status.to_string(),
        }
    }

    fn check(&self, cases: &[(&str, &str)]) {
        for (request, expected) in cases {
            assert_eq!(self.serves(request), *expected, "{request}\n{:#}", self.rules);
        }
    }

    /// The only route there is.
    fn route(&self) -> &Value {
        let routes = self.rules["routes"].as_object().unwrap();
        assert_eq!(routes.len(), 1, "{routes:?}");
        routes.values().next().unwrap()
    }

    fn status(&self, object: &str) -> &Value {
        &self.updates.get(object).unwrap_or_else(|| panic!("{object} is told nothing")).status
    }

    /// The conditions of the only parent of a route, each as `Type=Status Reason`.
    fn route_conditions(&self, route: &str) -> Vec<String> {
        let parents = self.status(route)["parents"].as_array().unwrap();
        assert_eq!(parents.len(), 1, "{parents:#?}");
        conditions(&parents[0]["conditions"])
    }

    /// The conditions of a listener, and before them how many routes it has.
    fn listener(&self, gateway: &str, listener: &str) -> (u64, Vec<String>) {
        let listener = self.listener_status(gateway, listener);
        (listener["attachedRoutes"].as_u64().unwrap(), conditions(&listener["conditions"]))
    }

    fn listener_status(&self, gateway: &str, listener: &str) -> &Value {
        let listeners = self.status(&format!("Gateway {gateway}"))["listeners"].as_array().unwrap();
        listeners.iter().find(|status| status["name"] == listener).unwrap()
    }
}

fn conditions(conditions: &Value) -> Vec<String> {
    let text = |condition: &Value, field: &str| condition[field].as_str().unwrap().to_owned();
    let line = |one: &Value| format!("{}={} {}", text(one, "type"), text(one, "status"), text(one, "reason"));
    conditions.as_array().unwrap().iter().map(line).collect()
}

fn service(namespace: &str, name: &str) -> Value {
    json!({"kind": "Service", "metadata": {"name": name, "namespace": namespace},
        "spec": {"ports": [{"name": "http", "port": 80}, {"name": "fast", "port": 81, "appProtocol": "kubernetes.io/h2c"},
                           {"name": "sockets", "port": 82, "appProtocol": "kubernetes.io/ws"},
                           {"name": "sealed", "port": 83, "appProtocol": "kubernetes.io/wss"}]}})
}

/// A Gateway of the namespace `shop`, made at this second.
fn gateway(name: &str, second: u32, listeners: Value) -> Value {
    json!({"kind": "Gateway", "metadata": {"name": name, "namespace": "shop", "generation": 1, "creationTimestamp": at(second)},
        "spec": {"gatewayClassName": "serin", "listeners": listeners}})
}

fn http(name: &str) -> Value {
    json!({"name": name, "port": 80, "protocol": "HTTP"})
}

/// With these fields besides.
fn and(mut object: Value, fields: Value) -> Value {
    object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    object
}

/// An HTTPRoute of the namespace `shop` at the Gateway `web`, made at this second.
fn route(name: &str, second: u32, rules: Value) -> Value {
    json!({"kind": "HTTPRoute", "metadata": {"name": name, "namespace": "shop", "generation": 1, "creationTimestamp": at(second)},
        "spec": {"parentRefs": [{"name": "web"}], "rules": rules}})
}

/// The same with something else in its spec.
fn with_spec(mut object: Value, field: &str, value: Value) -> Value {
    object["spec"][field] = value;
    object
}

fn at(second: u32) -> String {
    format!("2026-01-01T00:00:{second:02}Z")
}

/// References to port 80 of a Service.
fn to(name: &str) -> Value {
    json!([{"name": name, "port": 80}])
}

/// A rule for paths that begin so.
fn prefix(path: &str, service: &str) -> Value {
    json!({"matches": [{"path": {"type": "PathPrefix", "value": path}}], "backendRefs": to(service)})
}

const NOW: &str = "2026-06-01T00:00:00Z";

const GOOD: [&str; 2] = ["Accepted=True Accepted", "ResolvedRefs=True ResolvedRefs"];
