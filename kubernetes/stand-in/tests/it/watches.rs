//! Watches: where they begin, what they tell, how they end.

use std::time::Duration;

use kubernetes_stand_in::StandIn;
use serde_json::json;

use crate::support::{End, MAPS, PATIENCE, Watching, get, labelled, map, put, send};

#[test]
fn a_watch_tells_what_happens_after_its_version() {
    let server = StandIn::start();
    server.apply(map("old", json!({})));
    let revision = get(&server, MAPS).revision();
    server.apply(map("before", json!({})));
    let mut watch = Watching::open(&server, &format!("{MAPS}?resourceVersion={revision}"));
    assert_eq!(watch.named(), "ADDED before");
    server.apply(map("old", json!({"x": "y"})));
    let (kind, object) = watch.event();
    assert_eq!((kind.as_str(), &object["data"]["x"]), ("MODIFIED", &json!("y")));
    server.remove("ConfigMap", "default", "old");
    let (kind, object) = watch.event();
    assert_eq!((kind.as_str(), &object["kind"]), ("DELETED", &json!("ConfigMap")));
    assert_eq!(object["metadata"]["resourceVersion"], server.revision().to_string());
}

#[test]
fn a_watch_without_a_version_tells_first_what_there_is() {
    let server = StandIn::start();
    server.apply(map("a", json!({})));
    for query in ["", "resourceVersion=0"] {
        let mut watch = Watching::open(&server, &format!("{MAPS}?{query}"));
        assert_eq!(watch.named(), "ADDED a");
    }
}

#[test]
fn initial_events_end_with_a_bookmark() {
    let server = StandIn::start();
    server.apply(map("a", json!({})));
    let query = "sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan";
    let mut watch = Watching::open(&server, &format!("{MAPS}?{query}"));
    assert_eq!(watch.named(), "ADDED a");
    let (kind, bookmark) = watch.event();
    assert_eq!(kind, "BOOKMARK");
    assert_eq!(bookmark["metadata"]["annotations"]["k8s.io/initial-events-end"], "true");
    assert_eq!(bookmark["metadata"]["resourceVersion"], server.revision().to_string());
    server.apply(map("b", json!({})));
    assert_eq!(watch.named(), "ADDED b");

    // Asked not to, it begins with what comes.
    let mut watch = Watching::open(&server, &format!("{MAPS}?{}", query.replace("true&allow", "false&allow")));
    server.apply(map("c", json!({})));
    assert_eq!(watch.named(), "ADDED c");
}

#[test]
fn bookmarks_say_how_far_it_is() {
    let server = StandIn::start();
    server.send_bookmarks_every(Duration::from_millis(20));
    let revision = server.revision();
    let mut watch = Watching::open(&server, &format!("{MAPS}?resourceVersion={revision}&allowWatchBookmarks=true"));
    let (kind, _) = watch.event();
    assert_eq!(kind, "BOOKMARK");
    // Of other kinds it tells nothing but that the version has moved.
    server.apply("{apiVersion: v1, kind: Secret, metadata: {name: other}}");
    let ahead = server.revision().to_string();
    while watch.event().1["metadata"]["resourceVersion"] != ahead.as_str() {}
}

#[test]
fn a_watch_ends_in_time_with_a_last_bookmark() {
    let server = StandIn::start();
    let revision = server.revision();
    let asked = format!("{MAPS}?resourceVersion={revision}&timeoutSeconds=1");
    let mut watch = Watching::open(&server, &format!("{asked}&allowWatchBookmarks=true"));
    let (kind, bookmark) = watch.event();
    assert_eq!((kind.as_str(), &bookmark["metadata"]["resourceVersion"]), ("BOOKMARK", &json!(revision.to_string())));
    assert_eq!(watch.end(), End::Whole);
    // Who does not ask for bookmarks gets none.
    assert_eq!(Watching::open(&server, &asked).end(), End::Whole);
    server.wait_for_watches("configmaps", 0, PATIENCE);
}

#[test]
fn a_version_that_is_forgotten_ends_the_watch_with_an_error() {
    let server = StandIn::start();
    let revision = get(&server, MAPS).revision();
    let mut open = Watching::open(&server, &format!("{MAPS}?resourceVersion={revision}"));
    server.compact_history();
    let mut watch = Watching::open(&server, &format!("{MAPS}?resourceVersion={revision}"));
    let (kind, status) = watch.event();
    assert_eq!((kind.as_str(), &status["code"], &status["reason"]), ("ERROR", &json!(410), &json!("Expired")));
    assert_eq!(watch.end(), End::Whole);
    // One that was there before goes on.
    server.apply(map("a", json!({})));
    assert_eq!(open.named(), "ADDED a");
}

#[test]
fn selected_objects_come_and_go() {
    let server = StandIn::start();
    server.apply(labelled("a", json!({"app": "mail"})));
    let revision = server.revision();
    let asked = format!("{MAPS}?resourceVersion={revision}&labelSelector=app%3Dshop");
    let mut watch = Watching::open(&server, &asked);
    server.apply(labelled("b", json!({"app": "mail"})));
    server.apply(labelled("a", json!({"app": "shop"})));
    assert_eq!(watch.named(), "ADDED a");
    server.apply(labelled("a", json!({"app": "mail"})));
    let (kind, last) = watch.event();
    // As it was when it was selected, at the version where it no longer is.
    assert_eq!((kind.as_str(), &last["metadata"]["labels"]["app"]), ("DELETED", &json!("shop")));
    assert_eq!(last["metadata"]["resourceVersion"], server.revision().to_string());
    server.remove("ConfigMap", "default", "a");
    server.apply(labelled("c", json!({"app": "shop"})));
    assert_eq!(watch.named(), "ADDED c");
}

#[test]
fn one_object_is_watched_by_its_name() {
    let server = StandIn::start();
    server.apply(map("a", json!({})));
    server.apply(map("b", json!({})));
    let mut watch = Watching::open(&server, &format!("{MAPS}?fieldSelector=metadata.name%3Db"));
    assert_eq!(watch.named(), "ADDED b");
    let mut watch = Watching::open(&server, &format!("{MAPS}/b?"));
    assert_eq!(watch.named(), "ADDED b");
}

#[test]
fn a_write_that_changes_nothing_is_no_event() {
    let server = StandIn::start();
    let stored = server.apply(map("a", json!({"x": "y"})));
    let mut watch = Watching::open(&server, &format!("{MAPS}?resourceVersion={}", server.revision()));
    let again = put(&server, &format!("{MAPS}/a"), &stored).ok();
    assert_eq!(again["metadata"]["resourceVersion"], stored["metadata"]["resourceVersion"]);
    server.apply(map("b", json!({})));
    assert_eq!(watch.named(), "ADDED b");
}

#[test]
fn metadata_can_be_watched_alone() {
    let server = StandIn::start();
    server.apply(map("a", json!({"x": "y"})));
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let reply = send(&server, "GET", &format!("{MAPS}/a"), &[("Accept", accept)], "").ok();
    assert_eq!((&reply["kind"], &reply["data"]), (&json!("PartialObjectMetadata"), &json!(null)));
    assert_eq!(reply["metadata"]["name"], "a");
}
