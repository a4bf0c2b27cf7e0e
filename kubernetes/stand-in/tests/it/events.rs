//! Events, which have two faces.

use kubernetes_stand_in::StandIn;
use serde_json::json;

use crate::support::{PATIENCE, get, post};

#[test]
fn both_faces_show_the_same_events() {
    let server = StandIn::start();
    let event = json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"},
        "eventTime": "2026-01-01T00:00:00.000000Z", "reportingController": "serin", "reportingInstance": "serin-0",
        "action": "Shift", "reason": "Shifted", "type": "Normal", "note": "to 10 %",
        "regarding": {"kind": "Release", "namespace": "default", "name": "r"},
    });
    let stored = post(&server, "/apis/events.k8s.io/v1/namespaces/default/events", &event).ok();
    assert_eq!(stored["note"], "to 10 %");
    let old = get(&server, "/api/v1/namespaces/default/events/e").ok();
    assert_eq!((&old["message"], &old["involvedObject"]["name"]), (&json!("to 10 %"), &json!("r")));
    assert_eq!(old["reportingComponent"], "serin");
    let about = get(&server, "/api/v1/events?fieldSelector=involvedObject.name%3Dr").ok();
    assert_eq!(about["items"].as_array().unwrap().len(), 1);

    assert_eq!(server.events().len(), 1);
    let found = server.wait_for_event(|event| event["reason"] == "Shifted", PATIENCE);
    assert_eq!(found["regarding"]["kind"], "Release");
}

#[test]
fn an_event_lives_where_its_object_does() {
    let server = StandIn::start();
    let event = json!({
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"},
        "involvedObject": {"kind": "Release", "namespace": "shop", "name": "r"}, "reason": "Shifted",
    });
    let status = post(&server, "/api/v1/namespaces/default/events", &event).failed(422, "Invalid");
    assert_eq!(status["details"]["causes"][0]["field"], "involvedObject.namespace");
}
