//! The cluster: so many Ingresses, each with a host, a Service and an EndpointSlice of its own, in a stand-in for the API server.
//!
//! No pod has an address that another one had before it: who answers tells what a proxy knows.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use kubernetes_stand_in::StandIn;
use serde_json::{Value, json};

use super::Contender;

#[derive(Debug)]
pub struct Cluster {
    api: StandIn,
    /// By Service.
    pods: Vec<Vec<Ipv4Addr>>,
    /// By Ingress: the path that was added to it last, and the Service that this leads to.
    added: BTreeMap<u32, (String, u32)>,
    port: u16,
    /// How many pods there ever were.
    born: u32,
}

impl Cluster {
    /// One with all its objects, whose pods are at this port.
    ///
    /// # Panics
    /// When the stand-in cannot be started.
    #[must_use]
    pub fn start(contender: Contender, ingresses: u32, pods_each: u32, port: u16) -> Self {
        let mut cluster = Self { api: StandIn::start(), pods: Vec::new(), added: BTreeMap::new(), port, born: 0 };
        cluster.api.apply(json!({"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass",
            "metadata": {"name": CLASS}, "spec": {"controller": contender.controller()}}));
        for number in 0..ingresses {
            let pods = (0..pods_each).map(|_| cluster.bear()).collect();
            cluster.pods.push(pods);
            cluster.api.apply(json!({"apiVersion": "v1", "kind": "Service",
                "metadata": {"name": name(number), "namespace": NAMESPACE},
                "spec": {"ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}));
            cluster.write_slice(number);
            cluster.write_ingress(&name(number), &host(number), &[("/", number)]);
        }
        cluster
    }

    /// Where the API server is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.api.address()
    }

    #[must_use]
    pub fn kubeconfig(&self) -> String {
        self.api.kubeconfig_yaml()
    }

    #[must_use]
    pub fn services(&self) -> u32 {
        u32::try_from(self.pods.len()).unwrap_or(u32::MAX)
    }

    #[must_use]
    pub fn pods(&self, service: u32) -> &[Ipv4Addr] {
        &self.pods[service as usize]
    }

    /// What must be served: host, path, and the Service that is to answer.
    pub fn promised(&self) -> impl Iterator<Item = (String, String, u32)> {
        let whole = (0..self.services()).map(|number| (host(number), "/".to_owned(), number));
        let added = self.added.iter().map(|(number, (path, service))| (host(*number), path.clone(), *service));
        whole.chain(added)
    }

    /// All pods of a Service are others from now on, so that the very next request must go to one of these.
    pub fn move_pods(&mut self, service: u32) {
        for place in 0..self.pods(service).len() {
            self.pods[service as usize][place] = self.bear();
        }
        self.write_slice(service);
    }

    /// Another pod takes the place of one, which is told: a step of what a Deployment does.
    pub fn replace_pod(&mut self, service: u32, place: usize) -> Ipv4Addr {
        let new = self.bear();
        let pods = &mut self.pods[service as usize];
        let place = place % pods.len();
        let gone = std::mem::replace(&mut pods[place], new);
        self.write_slice(service);
        gone
    }

    /// One more Ingress, to a Service that is there; its host.
    #[must_use]
    pub fn add_ingress(&mut self, number: u32, service: u32) -> String {
        let host = format!("new-{number}.test");
        self.write_ingress(&format!("new-{number:06}"), &host, &[("/", service)]);
        host
    }

    /// An Ingress leads a path of this name to the Service after its own, and no more another one that it led there before.
    pub fn change_ingress(&mut self, number: u32, path: String) {
        let other = (number + 1) % self.services();
        self.write_ingress(&name(number), &host(number), &[("/", number), (&path, other)]);
        self.added.insert(number, (path, other));
    }

    fn bear(&mut self) -> Ipv4Addr {
        let pod = Ipv4Addr::from_bits(FIRST_POD.to_bits() + self.born);
        self.born += 1;
        pod
    }

    fn write_slice(&self, service: u32) {
        let pod = |pod: &Ipv4Addr| {
            let conditions = json!({"ready": true, "serving": true, "terminating": false});
            json!({"addresses": [pod], "conditions": conditions})
        };
        let pods: Vec<Value> = self.pods(service).iter().map(pod).collect();
        let labels = json!({"kubernetes.io/service-name": name(service)});
        self.api.apply(json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": format!("{}-1", name(service)), "namespace": NAMESPACE, "labels": labels},
            "ports": [{"name": "http", "port": self.port, "protocol": "TCP"}], "endpoints": pods}));
    }

    fn write_ingress(&self, name: &str, host: &str, paths: &[(&str, u32)]) {
        let paths: Vec<Value> = paths.iter().map(|(path, service)| path_to(path, *service)).collect();
        self.api.apply(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"ingressClassName": CLASS, "rules": [{"host": host, "http": {"paths": paths}}]}}));
    }
}

fn path_to(path: &str, service: u32) -> Value {
    let backend = json!({"service": {"name": name(service), "port": {"name": "http"}}});
    json!({"path": path, "pathType": "Prefix", "backend": backend})
}

/// Host of an Ingress.
#[must_use]
pub fn host(number: u32) -> String {
    format!("app-{number}.test")
}

/// Of an Ingress, and of its Service.
fn name(number: u32) -> String {
    format!("app-{number:06}")
}

/// Of the Ingresses, whoever serves them.
pub const CLASS: &str = "bench";
const NAMESPACE: &str = "shop";
const FIRST_POD: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_pod_has_the_address_of_another() {
        let mut cluster = Cluster::start(Contender::Serin, 3, 2, 8080);
        let at_first: Vec<Ipv4Addr> = (0..3).flat_map(|service| cluster.pods(service).to_vec()).collect();
        cluster.move_pods(1);
        let gone = cluster.replace_pod(2, 5);
        assert_eq!(gone, at_first[5]);
        let now: Vec<Ipv4Addr> = (0..3).flat_map(|service| cluster.pods(service).to_vec()).collect();
        assert_eq!(now[..2], at_first[..2]);
        assert!(now[2..4].iter().all(|pod| !at_first.contains(pod)) && now[4] == at_first[4], "{now:?}");
        let slice = cluster.api.get("EndpointSlice", NAMESPACE, "app-000002-1").unwrap();
        assert_eq!(slice["endpoints"][1]["addresses"][0], now[5].to_string());
    }

    #[test]
    fn what_was_added_to_an_ingress_last_is_promised() {
        let mut cluster = Cluster::start(Contender::Serin, 2, 1, 8080);
        for path in ["/a", "/b"] {
            cluster.change_ingress(1, path.to_owned());
        }
        let promised: Vec<_> = cluster.promised().collect();
        let expected = [("app-0.test", "/", 0), ("app-1.test", "/", 1), ("app-1.test", "/b", 0)];
        assert_eq!(promised, expected.map(|(host, path, service)| (host.to_owned(), path.to_owned(), service)));
        let ingress = cluster.api.get("Ingress", NAMESPACE, "app-000001").unwrap();
        assert_eq!(ingress["spec"]["rules"][0]["http"]["paths"].as_array().unwrap().len(), 2);
    }
}
