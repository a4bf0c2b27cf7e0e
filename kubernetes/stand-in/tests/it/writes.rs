//! Creating, replacing, deleting.

use kubernetes_stand_in::StandIn;
use serde_json::json;

use crate::support::{MAPS, MERGE, Watching, delete, get, map, patch, post, put, send};

#[test]
fn what_is_created_gets_what_is_the_servers() {
    let server = StandIn::start();
    let mut object = map("a", json!({"x": "y"}));
    object["metadata"]["uid"] = "mine".into();
    object["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z".into();
    let reply = post(&server, MAPS, &object);
    assert_eq!(reply.code, 201);
    let metadata = &reply.body["metadata"];
    assert_eq!(metadata["uid"].as_str().unwrap().len(), 36);
    assert!(metadata["creationTimestamp"].as_str().unwrap() > "2020");
    assert_eq!(metadata["resourceVersion"], server.revision().to_string());
    assert!(metadata["generation"].is_null(), "nothing is counted of maps");

    let status = post(&server, MAPS, &object).failed(409, "AlreadyExists");
    assert_eq!(status["message"], "configmaps \"a\" already exists");
    assert_eq!(status["details"], json!({"name": "a", "kind": "configmaps"}));
}

#[test]
fn what_is_empty_is_absent() {
    let server = StandIn::start();
    let mut object = map("a", json!({}));
    for name in ["labels", "annotations"] {
        object["metadata"][name] = json!({});
    }
    object["metadata"]["finalizers"] = json!([]);
    let stored = post(&server, MAPS, &object).ok();
    for path in ["/metadata/labels", "/metadata/annotations", "/metadata/finalizers", "/data"] {
        assert_eq!(stored.pointer(path), None, "{path}");
    }
}

#[test]
fn names_are_made_up_on_request() {
    let server = StandIn::start();
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "map-"}});
    let (one, two) = (post(&server, MAPS, &object).ok(), post(&server, MAPS, &object).ok());
    for object in [&one, &two] {
        assert!(object["metadata"]["name"].as_str().unwrap().starts_with("map-"));
    }
    assert_ne!(one["metadata"]["name"], two["metadata"]["name"]);
}

#[test]
fn bodies_that_do_not_fit_are_refused() {
    let server = StandIn::start();
    let refused = |object: serde_json::Value, code, reason| drop(post(&server, MAPS, &object).failed(code, reason));
    refused(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}}), 422, "Invalid");
    refused(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "map."}}), 422, "Invalid");
    refused(map("Not_A_Name", json!({})), 422, "Invalid");
    refused(json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}), 400, "BadRequest");
    refused(json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}}), 400, "BadRequest");
    refused(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": "b"}}),
        400,
        "BadRequest",
    );
    let mut object = map("a", json!({}));
    object["metadata"]["resourceVersion"] = "1".into();
    refused(object, 500, "");
    let text = send(&server, "POST", MAPS, &[("Content-Type", "application/json")], "{");
    text.failed(400, "BadRequest");
    let protobuf = [("Content-Type", "application/vnd.kubernetes.protobuf")];
    send(&server, "POST", MAPS, &protobuf, "").failed(415, "UnsupportedMediaType");

    let nowhere = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    let status = post(&server, "/api/v1/namespaces/nowhere/configmaps", &nowhere).failed(404, "NotFound");
    assert_eq!(status["message"], "namespaces \"nowhere\" not found");
}

#[test]
fn a_replacement_is_made_from_the_latest_version() {
    let server = StandIn::start();
    let first = server.apply(map("a", json!({"x": "1"})));
    let mut second = first.clone();
    second["data"]["x"] = "2".into();
    let second = put(&server, &format!("{MAPS}/a"), &second).ok();
    assert_eq!(second["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(second["metadata"]["creationTimestamp"], first["metadata"]["creationTimestamp"]);

    let mut late = first.clone();
    late["data"]["x"] = "3".into();
    let status = put(&server, &format!("{MAPS}/a"), &late).failed(409, "Conflict");
    assert_eq!(status["details"], json!({"name": "a", "kind": "configmaps"}));
    assert!(status["message"].as_str().unwrap().contains("please apply your changes to the latest version"));
    // Who does not say which version it was made from means: any.
    put(&server, &format!("{MAPS}/a"), &map("a", json!({"x": "4"}))).ok();

    let mut other = map("a", json!({}));
    other["metadata"]["uid"] = "other".into();
    put(&server, &format!("{MAPS}/a"), &other).failed(409, "Conflict");
    put(&server, &format!("{MAPS}/a"), &map("b", json!({}))).failed(400, "BadRequest");
    put(&server, &format!("{MAPS}/b"), &map("b", json!({}))).failed(404, "NotFound");
}

#[test]
fn leases_are_created_by_an_update_and_never_replaced_blindly() {
    let server = StandIn::start();
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/lock";
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "lock"},
        "spec": {"holderIdentity": "a", "leaseDurationSeconds": 15},
    });
    assert_eq!(put(&server, path, &lease).code, 201);
    let status = put(&server, path, &lease).failed(422, "Invalid");
    assert_eq!(status["details"]["causes"][0]["field"], "metadata.resourceVersion");
    let mut held = get(&server, path).ok();
    held["spec"]["holderIdentity"] = "b".into();
    put(&server, path, &held).ok();
    put(&server, path, &held).failed(409, "Conflict");
}

#[test]
fn generations_count_what_is_wanted() {
    let server = StandIn::start();
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses";
    let backend = json!({"service": {"name": "shop", "port": {"number": 80}}});
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"},
        "spec": {"defaultBackend": backend}, "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}},
    });
    let stored = post(&server, path, &ingress).ok();
    assert_eq!((&stored["metadata"]["generation"], &stored["status"]), (&json!(1), &json!({"loadBalancer": {}})));
    let generation = |patched: serde_json::Value| patched["metadata"]["generation"].as_u64().unwrap();
    let one = format!("{path}/a");
    assert_eq!(generation(patch(&server, &one, MERGE, &json!({"metadata": {"labels": {"a": "b"}}})).ok()), 1);
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}});
    assert_eq!(generation(patch(&server, &format!("{one}/status"), MERGE, &status).ok()), 1);
    assert_eq!(generation(patch(&server, &one, MERGE, &json!({"spec": {"ingressClassName": "serin"}})).ok()), 2);
}

#[test]
fn deleting_says_what_is_gone() {
    let server = StandIn::start();
    let stored = server.apply(map("a", json!({})));
    let path = format!("{MAPS}/a");
    let conditions = json!({"preconditions": {"uid": "other"}}).to_string();
    let json_body = [("Content-Type", "application/json")];
    send(&server, "DELETE", &path, &json_body, &conditions).failed(409, "Conflict");
    let status = delete(&server, &path).ok();
    assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Success")));
    assert_eq!(status["details"]["uid"], stored["metadata"]["uid"]);
    delete(&server, &path).failed(404, "NotFound");
}

#[test]
fn finalizers_hold_what_is_deleted() {
    let server = StandIn::start();
    let mut object = map("a", json!({}));
    object["metadata"]["finalizers"] = json!(["serin.example/drain"]);
    server.apply(object);
    let path = format!("{MAPS}/a");
    let going = delete(&server, &path).ok();
    assert!(going["metadata"]["deletionTimestamp"].is_string());
    let revision = server.revision();
    delete(&server, &path).ok();
    assert_eq!(server.revision(), revision, "it is going already");
    let more = json!({"metadata": {"finalizers": ["serin.example/drain", "another.example/late"]}});
    patch(&server, &path, MERGE, &more).failed(422, "Invalid");
    let mut watch = Watching::open(&server, &format!("{MAPS}?resourceVersion={revision}"));
    let gone = patch(&server, &path, MERGE, &json!({"metadata": {"finalizers": null}})).ok();
    assert!(gone["metadata"]["finalizers"].is_null());
    let (kind, last) = watch.event();
    assert_eq!((kind.as_str(), &last["metadata"]["finalizers"]), ("DELETED", &json!(["serin.example/drain"])));
    get(&server, &path).failed(404, "NotFound");
}

#[test]
fn dry_runs_change_nothing() {
    let server = StandIn::start();
    server.apply(map("there", json!({})));
    let revision = server.revision();
    assert_eq!(post(&server, &format!("{MAPS}?dryRun=All"), &map("a", json!({}))).code, 201);
    let there = format!("{MAPS}/there?dryRun=All");
    let changed = patch(&server, &there, MERGE, &json!({"data": {"x": "y"}})).ok();
    assert_eq!(changed["data"]["x"], "y");
    put(&server, &there, &map("there", json!({"x": "z"}))).ok();
    delete(&server, &there).ok();
    assert_eq!(server.revision(), revision);
    post(&server, &format!("{MAPS}?dryRun=Some"), &map("a", json!({}))).failed(422, "Invalid");
}

#[test]
fn namespaces_take_their_objects_with_them() {
    let server = StandIn::start();
    let mut object = map("a", json!({}));
    object["metadata"]["namespace"] = "shop".into();
    let mut held = object.clone();
    held["metadata"]["name"] = "held".into();
    held["metadata"]["finalizers"] = json!(["serin.example/drain"]);
    server.apply(object);
    server.apply(held);
    delete(&server, "/api/v1/namespaces/shop").ok();
    get(&server, "/api/v1/namespaces/shop/configmaps/a").failed(404, "NotFound");
    let going = get(&server, "/api/v1/namespaces/shop").ok();
    assert_eq!(going["status"]["phase"], "Terminating");
    let late = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "late"}});
    post(&server, "/api/v1/namespaces/shop/configmaps", &late).failed(403, "Forbidden");
    let held = "/api/v1/namespaces/shop/configmaps/held";
    patch(&server, held, MERGE, &json!({"metadata": {"finalizers": []}})).ok();
    get(&server, "/api/v1/namespaces/shop").failed(404, "NotFound");
}

#[test]
fn built_in_kinds_are_filled_in() {
    let server = StandIn::start();
    let service = server.apply("{apiVersion: v1, kind: Service, metadata: {name: shop}, spec: {ports: [{port: 80}]}}");
    assert_eq!(service["spec"]["ports"], json!([{"port": 80, "protocol": "TCP", "targetPort": 80}]));
    assert!(service["spec"]["clusterIP"].is_string());
    let path = "/api/v1/namespaces/default/services/shop";
    let update =
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "shop"}, "spec": {"ports": [{"port": 81}]}});
    assert_eq!(put(&server, path, &update).ok()["spec"]["clusterIP"], service["spec"]["clusterIP"]);
    let without = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "none"}, "spec": {}});
    post(&server, "/api/v1/namespaces/default/services", &without).failed(422, "Invalid");

    let slice = "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: a}, addressType: IPv4, endpoints: [], ports: [{port: 80}]}";
    assert_eq!(server.apply(slice)["ports"][0]["protocol"], "TCP");
    server.apply("{apiVersion: v1, kind: Secret, metadata: {name: a}}");
    let typed = json!({"type": "kubernetes.io/tls"});
    patch(&server, "/api/v1/namespaces/default/secrets/a", MERGE, &typed).failed(422, "Invalid");
}

#[test]
fn methods_that_are_none_are_refused() {
    let server = StandIn::start();
    server.apply(map("a", json!({})));
    put(&server, MAPS, &map("a", json!({}))).failed(405, "MethodNotAllowed");
    post(&server, &format!("{MAPS}/a"), &map("a", json!({}))).failed(405, "MethodNotAllowed");
    post(&server, "/api/v1/configmaps", &map("b", json!({}))).failed(405, "MethodNotAllowed");
    get(&server, &format!("{MAPS}/a/status")).failed(404, "NotFound");
    get(&server, "/api/v1/namespaces/default/teapots").failed(404, "NotFound");
}
