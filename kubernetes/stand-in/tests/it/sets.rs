//! Server-side apply, and who has written what.

use kubernetes_stand_in::StandIn;
use serde_json::{Value, json};

use crate::support::{APPLY, MAPS, RELEASES, Reply, map, patch, post, put, release, with_releases};

fn apply(server: &StandIn, path: &str, query: &str, object: &Value) -> Reply {
    let mut object = object.clone();
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    let name = object["metadata"]["name"].as_str().unwrap();
    patch(server, &format!("{path}/{name}?{query}"), APPLY, &object)
}

/// The fields a writer has, by its name.
fn fields(object: &Value, manager: &str) -> Value {
    let entries = object["metadata"]["managedFields"].as_array().expect("somebody wrote it");
    entries.iter().find(|entry| entry["manager"] == manager).map_or(Value::Null, |entry| entry["fieldsV1"].clone())
}

#[test]
fn an_apply_creates_and_owns() {
    let server = StandIn::start();
    let reply = apply(&server, MAPS, "fieldManager=a", &map("m", json!({"x": "1"})));
    assert_eq!(reply.code, 201);
    assert_eq!(fields(&reply.body, "a"), json!({"f:data": {"f:x": {}}}));
    let entry = &reply.body["metadata"]["managedFields"][0];
    assert_eq!((&entry["operation"], &entry["fieldsType"]), (&json!("Apply"), &json!("FieldsV1")));
    // The same again is no write.
    let again = apply(&server, MAPS, "fieldManager=a", &map("m", json!({"x": "1"})));
    assert_eq!((again.code, &again.body), (200, &reply.body));
}

#[test]
fn what_is_no_longer_applied_goes_unless_it_is_somebody_elses() {
    let server = StandIn::start();
    apply(&server, MAPS, "fieldManager=a", &map("m", json!({"x": "1", "y": "2", "z": "3"}))).ok();
    apply(&server, MAPS, "fieldManager=b", &map("m", json!({"y": "2"}))).ok();
    let left = apply(&server, MAPS, "fieldManager=a", &map("m", json!({"z": "3"}))).ok();
    assert_eq!(left["data"], json!({"y": "2", "z": "3"}));
    assert_eq!(fields(&left, "b"), json!({"f:data": {"f:y": {}}}));
}

#[test]
fn another_value_is_a_conflict_unless_forced() {
    let server = StandIn::start();
    apply(&server, MAPS, "fieldManager=a", &map("m", json!({"x": "1"}))).ok();
    let status = apply(&server, MAPS, "fieldManager=b", &map("m", json!({"x": "2"}))).failed(409, "Conflict");
    assert_eq!(status["message"], "Apply failed with 1 conflict: conflict with \"a\": .data.x");
    let cause = json!({"reason": "FieldManagerConflict", "message": "conflict with \"a\"", "field": ".data.x"});
    assert_eq!(status["details"]["causes"], json!([cause]));
    let taken = apply(&server, MAPS, "fieldManager=b&force=true", &map("m", json!({"x": "2"}))).ok();
    assert_eq!((&taken["data"]["x"], fields(&taken, "a")), (&json!("2"), Value::Null));
}

#[test]
fn other_writes_own_what_they_change() {
    let server = StandIn::start();
    post(&server, &format!("{MAPS}?fieldManager=creator"), &map("m", json!({"x": "1", "y": "1"}))).ok();
    let status = apply(&server, MAPS, "fieldManager=a", &map("m", json!({"x": "2", "y": "2"}))).failed(409, "Conflict");
    let message = "Apply failed with 2 conflicts: conflicts with \"creator\" using v1:\n- .data.x\n- .data.y";
    assert_eq!(status["message"], message);
    apply(&server, MAPS, "fieldManager=a&force=true", &map("m", json!({"x": "2"}))).ok();
    let updated = put(&server, &format!("{MAPS}/m?fieldManager=editor"), &map("m", json!({"x": "3", "y": "1"}))).ok();
    assert_eq!(fields(&updated, "editor"), json!({"f:data": {"f:x": {}}}));
    assert_eq!(fields(&updated, "a"), Value::Null);
    assert_eq!(fields(&updated, "creator"), json!({"f:data": {".": {}, "f:y": {}}}));
}

#[test]
fn lists_with_keys_are_merged_item_by_item() {
    let server = with_releases();
    let one = |name: &str| json!({"weight": 5, "phases": [{"name": name}]});
    apply(&server, RELEASES, "fieldManager=a", &release("r", one("first"))).ok();
    let both = apply(&server, RELEASES, "fieldManager=b", &release("r", one("second"))).ok();
    let phases = json!([{"name": "first", "percent": 10}, {"name": "second", "percent": 10}]);
    assert_eq!(both["spec"]["phases"], phases);
    let of_b = json!({"f:phases": {"k:{\"name\":\"second\"}": {".": {}, "f:name": {}}}, "f:weight": {}});
    assert_eq!(fields(&both, "b"), json!({"f:spec": of_b}));
    let left = apply(&server, RELEASES, "fieldManager=a", &release("r", json!({"weight": 5}))).ok();
    assert_eq!(left["spec"]["phases"], json!([{"name": "second", "percent": 10}]));

    let sets = |hosts: Value| json!({"weight": 5, "hosts": hosts});
    apply(&server, RELEASES, "fieldManager=a", &release("r", sets(json!(["a.example"])))).ok();
    let both = apply(&server, RELEASES, "fieldManager=c", &release("r", sets(json!(["b.example"])))).ok();
    assert_eq!(both["spec"]["hosts"], json!(["a.example", "b.example"]));
}

#[test]
fn conditions_of_built_in_kinds_have_keys() {
    let server = StandIn::start();
    server.install("gateway.networking.k8s.io");
    server.apply("{apiVersion: gateway.networking.k8s.io/v1, kind: Gateway, metadata: {name: g}, spec: {gatewayClassName: serin}}");
    let path = "/apis/gateway.networking.k8s.io/v1/namespaces/default/gateways/g/status";
    let status = |kind: &str, value: &str| {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1", "kind": "Gateway", "metadata": {"name": "g"},
            "status": {"conditions": [{"type": kind, "status": value}]},
        })
    };
    patch(&server, &format!("{path}?fieldManager=a"), APPLY, &status("Accepted", "True")).ok();
    let both = patch(&server, &format!("{path}?fieldManager=b"), APPLY, &status("Programmed", "True")).ok();
    assert_eq!(both["status"]["conditions"].as_array().unwrap().len(), 2);
    let conflict = patch(&server, &format!("{path}?fieldManager=b"), APPLY, &status("Accepted", "False"));
    let cause = &conflict.failed(409, "Conflict")["details"]["causes"][0];
    assert_eq!(cause["field"], ".status.conditions[type=\"Accepted\"].status");
    assert_eq!(cause["message"], "conflict with \"a\" with subresource \"status\"");
}

#[test]
fn applies_that_do_not_fit_are_refused() {
    let server = with_releases();
    let path = format!("{MAPS}/m");
    let status = patch(&server, &path, APPLY, &map("m", json!({}))).failed(422, "Invalid");
    assert_eq!(status["details"]["causes"][0]["field"], "fieldManager");
    let named = format!("{path}?fieldManager=a");
    patch(&server, &named, APPLY, &json!({"data": {}})).failed(400, "BadRequest");
    let mut object = map("m", json!({}));
    object["metadata"]["managedFields"] = json!([{"manager": "a"}]);
    patch(&server, &named, APPLY, &object).failed(400, "BadRequest");
    let forced = format!("{path}?force=true");
    patch(&server, &forced, crate::support::MERGE, &json!({})).failed(422, "Invalid");
    let unknown = apply(&server, RELEASES, "fieldManager=a", &release("r", json!({"weight": 1, "colour": "red"})));
    assert!(unknown.body["message"].as_str().unwrap().ends_with(".spec.colour: field not declared in schema"));
    assert_eq!(unknown.code, 500);
    apply(&server, RELEASES, "fieldManager=a", &release("r", json!({"weight": 101}))).failed(422, "Invalid");
}

#[test]
fn an_apply_may_insist_on_a_version() {
    let server = StandIn::start();
    let first = apply(&server, MAPS, "fieldManager=a", &map("m", json!({"x": "1"}))).ok();
    apply(&server, MAPS, "fieldManager=a", &map("m", json!({"x": "2"}))).ok();
    let mut late = map("m", json!({"x": "3"}));
    late["metadata"]["resourceVersion"] = first["metadata"]["resourceVersion"].clone();
    apply(&server, MAPS, "fieldManager=a", &late).failed(409, "Conflict");
}
