//! Merge patches, JSON patches, strategic merge patches.

use kubernetes_stand_in::StandIn;
use serde_json::json;

use crate::support::{MAPS, MERGE, RELEASES, map, patch, release, with_releases};

const JSON: &str = "application/json-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";

#[test]
fn merge_patches_set_and_remove() {
    let server = StandIn::start();
    let stored = server.apply(map("a", json!({"x": "1", "y": "2"})));
    let path = format!("{MAPS}/a");
    let merged = patch(&server, &path, MERGE, &json!({"data": {"x": null, "z": "3"}})).ok();
    assert_eq!(merged["data"], json!({"y": "2", "z": "3"}));
    let stale = json!({"metadata": {"resourceVersion": stored["metadata"]["resourceVersion"]}, "data": {"z": "4"}});
    patch(&server, &path, MERGE, &stale).failed(409, "Conflict");
    patch(&server, &path, MERGE, &json!({"metadata": {"name": "b"}})).failed(400, "BadRequest");
    patch(&server, &format!("{MAPS}/none"), MERGE, &json!({})).failed(404, "NotFound");
    patch(&server, &path, "application/json", &json!({})).failed(415, "UnsupportedMediaType");
}

#[test]
fn json_patches_are_all_or_nothing() {
    let server = StandIn::start();
    server.apply(map("a", json!({"x": "1"})));
    let path = format!("{MAPS}/a");
    let test = json!({"op": "test", "path": "/data/x", "value": "1"});
    let add = json!({"op": "add", "path": "/data/y", "value": "2"});
    let patched = patch(&server, &path, JSON, &json!([test, add])).ok();
    assert_eq!(patched["data"], json!({"x": "1", "y": "2"}));
    let wrong = json!({"op": "test", "path": "/data/x", "value": "0"});
    let change = json!({"op": "replace", "path": "/data/y", "value": "3"});
    patch(&server, &path, JSON, &json!([change, wrong])).failed(422, "Invalid");
    patch(&server, &path, JSON, &json!([{"op": "remove", "path": "/data/none"}])).failed(422, "Invalid");
    patch(&server, &path, JSON, &json!([{"op": "dance", "path": "/data"}])).failed(400, "BadRequest");
    assert_eq!(server.get("ConfigMap", "default", "a").unwrap()["data"], json!({"x": "1", "y": "2"}));
}

#[test]
fn strategic_patches_know_keys_of_lists() {
    let server = StandIn::start();
    server.apply("{apiVersion: v1, kind: Service, metadata: {name: a, finalizers: [x.example/a, x.example/b]}, spec: {ports: [{name: web, port: 80}, {name: admin, port: 90}]}}");
    let path = "/api/v1/namespaces/default/services/a";
    let ports =
        json!([{"port": 80, "protocol": "TCP", "targetPort": 8080}, {"port": 91, "name": "more", "protocol": "TCP"}]);
    let order = json!([{"port": 80}, {"port": 91}]);
    let patched =
        patch(&server, path, STRATEGIC, &json!({"spec": {"ports": ports, "$setElementOrder/ports": order}})).ok();
    let ports: Vec<_> = patched["spec"]["ports"].as_array().unwrap().iter().collect();
    assert_eq!(ports.len(), 3);
    assert_eq!((&ports[0]["name"], &ports[0]["targetPort"]), (&json!("web"), &json!(8080)));

    let removal = json!({"spec": {"ports": [{"$patch": "delete", "port": 90, "protocol": "TCP"}]}});
    let patched = patch(&server, path, STRATEGIC, &removal).ok();
    assert_eq!(patched["spec"]["ports"].as_array().unwrap().len(), 2);
    let removal = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x.example/a"]}});
    assert_eq!(patch(&server, path, STRATEGIC, &removal).ok()["metadata"]["finalizers"], json!(["x.example/b"]));
    let replacement = json!({"spec": {"ports": [{"$patch": "replace"}, {"port": 99}]}});
    assert_eq!(patch(&server, path, STRATEGIC, &replacement).ok()["spec"]["ports"][0]["port"], 99);
}

#[test]
fn defined_kinds_know_no_strategy() {
    let server = with_releases();
    server.apply(release("a", json!({"weight": 1})));
    patch(&server, &format!("{RELEASES}/a"), STRATEGIC, &json!({})).failed(415, "UnsupportedMediaType");
}
