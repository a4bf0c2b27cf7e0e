//! The documents that say what there is, and groups that are not there.

use kubernetes_stand_in::StandIn;
use serde_json::{Value, json};

use crate::support::{End, RELEASES, Watching, get, names, release, send, with_releases};

const GATEWAY: &str = "gateway.networking.k8s.io";

fn resources(list: &Value) -> Vec<&str> {
    list["resources"].as_array().unwrap().iter().map(|resource| resource["name"].as_str().unwrap()).collect()
}

#[test]
fn groups_versions_and_resources_are_told() {
    let server = with_releases();
    assert_eq!(get(&server, "/api").ok()["versions"], json!(["v1"]));
    let core = get(&server, "/api/v1").ok();
    for name in ["configmaps", "events", "namespaces", "nodes", "pods", "secrets", "services", "services/status"] {
        assert!(resources(&core).contains(&name), "{name}");
    }
    let groups = get(&server, "/apis").ok();
    let names: Vec<&str> =
        groups["groups"].as_array().unwrap().iter().map(|group| group["name"].as_str().unwrap()).collect();
    for name in ["coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "networking.k8s.io", "serin.example"] {
        assert!(names.contains(&name), "{name}");
    }
    let group = get(&server, "/apis/serin.example").ok();
    assert_eq!(group["preferredVersion"]["groupVersion"], "serin.example/v1");
    let list = get(&server, "/apis/serin.example/v1").ok();
    assert_eq!(resources(&list), ["releases", "releases/status"]);
    assert_eq!(
        (&list["resources"][0]["kind"], &list["resources"][0]["shortNames"]),
        (&json!("Release"), &json!(["rel"]))
    );
    assert_eq!(get(&server, "/version").ok()["major"], "1");
    assert_eq!(get(&server, "/readyz").text, "ok");
}

#[test]
fn aggregated_discovery_is_answered_the_old_way() {
    let server = StandIn::start();
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let reply = send(&server, "GET", "/apis", &[("Accept", accept)], "");
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.ok()["kind"], "APIGroupList");
}

#[test]
fn a_group_is_there_when_it_is_installed() {
    let server = StandIn::start();
    let routes = format!("/apis/{GATEWAY}/v1/httproutes");
    for path in [&routes, &format!("/apis/{GATEWAY}"), &format!("/apis/{GATEWAY}/v1"), "/nothing/here"] {
        let reply = get(&server, path);
        assert_eq!((reply.code, reply.text.trim()), (404, "404 page not found"), "{path}");
    }
    server.install(GATEWAY);
    let list = get(&server, &format!("/apis/{GATEWAY}/v1")).ok();
    for name in ["gatewayclasses", "gateways", "httproutes", "grpcroutes", "backendtlspolicies"] {
        assert!(resources(&list).contains(&name), "{name}");
    }
    assert_eq!(resources(&get(&server, &format!("/apis/{GATEWAY}/v1beta1")).ok()), ["referencegrants"]);
    assert_eq!(get(&server, &routes).ok()["kind"], "HTTPRouteList");
    server.uninstall(GATEWAY);
    assert_eq!(get(&server, &routes).code, 404);
}

#[test]
fn a_group_that_comes_back_has_its_objects_still() {
    let server = with_releases();
    server.apply(release("r", json!({"weight": 1})));
    let mut watch = Watching::open(&server, &format!("{RELEASES}?resourceVersion={}", server.revision()));
    server.uninstall("serin.example");
    assert_eq!(watch.end(), End::Whole);
    assert_eq!(get(&server, RELEASES).code, 404);
    server.install("serin.example");
    assert_eq!(names(&get(&server, RELEASES).ok()), ["r"]);
}
