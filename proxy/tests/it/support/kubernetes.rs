//! A cluster of Kubernetes without nodes: its API server is a stand-in, and its pods are endpoints of the test.

use std::net::SocketAddr;

use kubernetes_stand_in::StandIn;
use serde_json::{Value, json};
use serin_proxy::server::ConnectionLimits;

use super::{COMMON, Client, Origin, PATIENCE, Reply, Serin, eventually};

/// A cluster with a namespace `shop`.
pub(crate) struct Cluster(pub(crate) StandIn);

/// How a pod is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pod {
    Ready,
    Starting,
    /// It gets no new requests, and serves those it has.
    Ending,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self(StandIn::start())
    }

    /// With a Service `shop/web` and one pod of it.
    pub(crate) fn with_web(pod: &Origin) -> Self {
        let cluster = Self::start();
        cluster.service("web");
        cluster.slice("web", "web-1", &[(pod.address(), Pod::Ready)]);
        cluster
    }

    /// Makes the API server know Releases.
    pub(crate) fn define_releases(&self) {
        self.0.apply_all(include_str!("../../../../docker/kubernetes/crds.yaml"));
    }

    /// A Service of the namespace `shop` with the port 80, `http`.
    pub(crate) fn service(&self, name: &str) {
        self.0.apply(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "shop"},
            "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}));
    }

    /// A slice of a Service with these pods, which are all at one port.
    pub(crate) fn slice(&self, service: &str, name: &str, pods: &[(SocketAddr, Pod)]) {
        let endpoint = |(address, pod): &(SocketAddr, Pod)| {
            let conditions = json!({"ready": *pod == Pod::Ready, "serving": *pod != Pod::Starting, "terminating": *pod == Pod::Ending});
            json!({"addresses": [address.ip()], "conditions": conditions})
        };
        let port = pods.first().map_or(8080, |(address, _)| address.port());
        assert!(pods.iter().all(|(address, _)| address.port() == port), "a slice has one number for a port");
        let labels = json!({"kubernetes.io/service-name": service});
        self.0.apply(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": name, "namespace": "shop", "labels": labels},
            "ports": [{"name": "http", "port": port, "protocol": "TCP"}],
            "endpoints": pods.iter().map(endpoint).collect::<Vec<_>>()}));
    }

    /// An Ingress of the class `serin` in the namespace `shop` with this spec.
    pub(crate) fn ingress(&self, name: &str, spec: Value) {
        self.0.apply(ingress(name, spec));
    }

    /// One that has this host whole, and leads to a Service.
    pub(crate) fn ingress_of(&self, name: &str, host: &str, service: &str) {
        self.ingress(name, json!({"rules": [rule(host, &[path("Prefix", "/", service)])]}));
    }

    /// A proxy that follows it, with more of `sources.kubernetes`.
    pub(crate) fn followed(&self, more: &str) -> Serin {
        let serin = self.begun(more);
        eventually(PATIENCE, "it is ready", || serin.admin_status("/readyz") == 200);
        serin
    }

    /// One of which nobody knows whether it is ready.
    pub(crate) fn begun(&self, more: &str) -> Serin {
        self.begun_with(more, "")
    }

    /// With more settings and rules beside it.
    pub(crate) fn begun_with(&self, more: &str, rules: &str) -> Serin {
        let kubeconfig = [("kubeconfig".to_owned(), self.0.kubeconfig_yaml())];
        let more = if more.is_empty() { String::new() } else { format!(", {more}") };
        let rules = format!("{COMMON}sources: {{kubernetes: {{kubeconfig: kubeconfig{more}}}}}\n{rules}");
        Serin::beside(&kubeconfig, &rules, ConnectionLimits::default())
    }
}

/// Whether an instance holds the Lease.
pub(crate) fn leads(serin: &Serin) -> bool {
    serin.metric("serin_kubernetes_leader") == 1.0
}

/// The one of two instances that leads, as soon as one does, and the other one.
pub(crate) fn leader_first(a: Serin, b: Serin) -> (Serin, Serin) {
    eventually(PATIENCE, "one leads", || leads(&a) != leads(&b));
    if leads(&a) { (a, b) } else { (b, a) }
}

pub(crate) fn ingress(name: &str, mut spec: Value) -> Value {
    spec["ingressClassName"] = "serin".into();
    json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name, "namespace": "shop"}, "spec": spec})
}

pub(crate) fn rule(host: &str, paths: &[Value]) -> Value {
    json!({"host": host, "http": {"paths": paths}})
}

pub(crate) fn path(kind: &str, path: &str, service: &str) -> Value {
    json!({"pathType": kind, "path": path, "backend": {"service": {"name": service, "port": {"name": "http"}}}})
}

/// What a host answers.
pub(crate) fn get_of(serin: &Serin, host: &str, target: &str) -> Reply {
    Client::connect(serin.address()).request("GET", target, &[("Host", host)], b"")
}

/// Waits until a host answers so.
pub(crate) fn says(serin: &Serin, host: &str, target: &str, text: &str) {
    eventually(PATIENCE, &format!("{host}{target} is {text}"), || get_of(serin, host, target).text() == text);
}

/// Waits until a host answers with this status.
pub(crate) fn answers(serin: &Serin, host: &str, target: &str, status: u16) {
    eventually(PATIENCE, &format!("{host}{target} is {status}"), || get_of(serin, host, target).status == status);
}
