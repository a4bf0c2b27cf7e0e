//! What a test does without a client.

use std::thread;

use kubernetes_stand_in::StandIn;
use serde_json::json;

use crate::support::{MAPS, MERGE, PATIENCE, get, map, patch};

#[test]
fn objects_are_put_as_they_are_written() {
    let server = StandIn::start();
    let stored = server.apply_all(
        "{apiVersion: v1, kind: Service, metadata: {name: a, namespace: shop, creationTimestamp: '2020-01-01T00:00:00Z'}, \
         spec: {type: LoadBalancer, ports: [{port: 80}]}, status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}}\n\
         ---\n---\n{apiVersion: v1, kind: Secret, metadata: {name: b}}\n",
    );
    assert_eq!(stored.len(), 2);
    assert_eq!(stored[0]["metadata"]["creationTimestamp"], "2020-01-01T00:00:00Z");
    assert_eq!(stored[0]["status"]["loadBalancer"]["ingress"][0]["ip"], "192.0.2.1");
    assert!(server.get("Namespace", "", "shop").is_some());
    assert_eq!(server.get("services", "shop", "a"), Some(stored[0].clone()));

    // Once more without a status: it stays.
    let spec = json!({"type": "LoadBalancer", "ports": [{"port": 81}]});
    let service =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "shop"}, "spec": spec});
    let again = server.apply(service);
    assert_eq!(again["status"], stored[0]["status"]);
    assert_eq!(again["metadata"]["creationTimestamp"], "2020-01-01T00:00:00Z");
    assert_eq!(server.all("Service").len(), 1);
    assert!(server.remove("Service", "shop", "a"));
    assert!(!server.remove("Service", "shop", "a"));
}

#[test]
fn waiting_ends_with_the_change_waited_for() {
    let server = StandIn::start();
    server.apply(map("a", json!({"x": "1"})));
    thread::scope(|scope| {
        scope.spawn(|| patch(&server, &format!("{MAPS}/a"), MERGE, &json!({"data": {"x": "2"}})).ok());
        let found = server.wait_for("ConfigMap", "default", "a", |map| map["data"]["x"] == "2", PATIENCE);
        assert_eq!(found["data"]["x"], "2");
        scope.spawn(|| server.remove("ConfigMap", "default", "a"));
        server.wait_until_gone("ConfigMap", "default", "a", PATIENCE);
    });
}

#[test]
#[should_panic(expected = "ConfigMap default/a is")]
fn waiting_for_nothing_says_what_there_is() {
    let server = StandIn::start();
    server.apply(map("a", json!({})));
    server.wait_for("ConfigMap", "default", "a", |_| false, std::time::Duration::from_millis(10));
}

#[test]
#[should_panic(expected = "spec.ports: Required value")]
fn what_a_server_would_refuse_is_no_setup() {
    StandIn::start().apply("{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {}}");
}

#[test]
fn it_is_gone_when_dropped() {
    let server = StandIn::start();
    get(&server, MAPS).ok();
    let address = server.address();
    drop(server);
    assert!(std::net::TcpStream::connect(address).is_err());
}
