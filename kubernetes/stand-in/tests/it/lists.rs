//! Lists: pages, versions, selectors.

use kubernetes_stand_in::StandIn;
use serde_json::json;

use crate::support::{MAPS, delete, get, labelled, map, names};

fn with_maps(count: usize) -> StandIn {
    let server = StandIn::start();
    for index in 0..count {
        server.apply(map(&format!("m{index}"), json!({"n": index.to_string()})));
    }
    server
}

#[test]
fn a_list_comes_in_pages_of_one_state() {
    let server = with_maps(5);
    let first = get(&server, &format!("{MAPS}?limit=2"));
    let (revision, token) = (first.revision(), first.body["metadata"]["continue"].clone());
    let first = first.ok();
    assert_eq!((names(&first), &first["metadata"]["remainingItemCount"]), (vec!["m0", "m1"], &json!(3)));

    // What happens meanwhile belongs to no page.
    server.apply(map("m2", json!({"n": "changed"})));
    server.apply(map("m15", json!({})));
    server.remove("ConfigMap", "default", "m3");

    let second = get(&server, &format!("{MAPS}?limit=2&continue={}", token.as_str().unwrap()));
    assert_eq!(second.revision(), revision);
    let second = second.ok();
    assert_eq!(names(&second), ["m2", "m3"]);
    assert_eq!(second["items"][0]["data"]["n"], "2");
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = get(&server, &format!("{MAPS}?limit=2&continue={token}")).ok();
    assert_eq!(names(&last), ["m4"]);
    assert!(last["metadata"]["continue"].is_null() && last["metadata"]["remainingItemCount"].is_null());
}

#[test]
fn an_expired_page_says_how_to_go_on() {
    let server = with_maps(3);
    let first = get(&server, &format!("{MAPS}?limit=1")).ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    server.compact_history();
    server.apply(map("m15", json!({})));
    let expired = get(&server, &format!("{MAPS}?limit=1&continue={token}")).failed(410, "Expired");
    let token = expired["metadata"]["continue"].as_str().unwrap();
    assert_eq!(names(&get(&server, &format!("{MAPS}?continue={token}")).ok()), ["m1", "m15", "m2"]);
}

#[test]
fn tokens_are_the_servers() {
    let server = with_maps(2);
    get(&server, &format!("{MAPS}?continue=made-up")).failed(400, "BadRequest");
    let first = get(&server, &format!("{MAPS}?limit=1")).ok();
    let token = first["metadata"]["continue"].as_str().unwrap();
    get(&server, &format!("{MAPS}?limit=1&resourceVersion=3&continue={token}")).failed(400, "BadRequest");
}

#[test]
fn versions_choose_the_state() {
    let server = with_maps(1);
    let before = get(&server, MAPS).revision();
    server.apply(map("later", json!({})));
    let now = get(&server, MAPS).revision();
    let list = |query: &str| get(&server, &format!("{MAPS}?{query}"));

    let exact = list(&format!("resourceVersion={before}&resourceVersionMatch=Exact"));
    assert_eq!((exact.revision(), names(&exact.body)), (before.clone(), vec!["m0"]));
    // A limit makes a version exact, whether that was meant or not.
    assert_eq!(names(&list(&format!("resourceVersion={before}&limit=5")).body), ["m0"]);
    for query in ["resourceVersion=0", &format!("resourceVersion={before}&resourceVersionMatch=NotOlderThan"), ""] {
        let reply = list(query);
        assert_eq!((reply.revision(), names(&reply.body)), (now.clone(), vec!["later", "m0"]), "{query}");
    }
    assert_eq!(names(&list("resourceVersion=0&limit=1").ok()).len(), 2);

    server.compact_history();
    list(&format!("resourceVersion={before}&resourceVersionMatch=Exact")).failed(410, "Expired");
    list(&format!("resourceVersion={before}")).ok();
    let ahead = list("resourceVersion=999999").failed(504, "Timeout");
    assert_eq!(ahead["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let server = StandIn::start();
    for query in [
        "resourceVersionMatch=Exact",
        "resourceVersionMatch=Exact&resourceVersion=0",
        "resourceVersionMatch=Newest&resourceVersion=1",
        "sendInitialEvents=true",
        "watch=1&resourceVersionMatch=NotOlderThan",
        "watch=1&sendInitialEvents=true",
    ] {
        let status = get(&server, &format!("{MAPS}?{query}")).failed(422, "Invalid");
        assert_eq!(status["details"]["kind"], "ListOptions", "{query}");
    }
    assert_eq!(get(&server, &format!("{MAPS}?resourceVersion=x")).code, 500);
}

#[test]
fn selectors_choose_objects() {
    let server = StandIn::start();
    server.apply(labelled("a", json!({"app": "shop", "tier": "web"})));
    server.apply(labelled("b", json!({"app": "shop"})));
    server.apply(labelled("c", json!({"app": "mail"})));
    let cases = [
        ("labelSelector=app%3Dshop", vec!["a", "b"]),
        ("labelSelector=app%21%3Dshop", vec!["c"]),
        ("labelSelector=app+in+(shop,mail),tier", vec!["a"]),
        ("labelSelector=tier+notin+(web)", vec!["b", "c"]),
        ("labelSelector=%21tier", vec!["b", "c"]),
        ("fieldSelector=metadata.name%3Db", vec!["b"]),
        ("fieldSelector=metadata.name%21%3Db", vec!["a", "c"]),
    ];
    for (query, expected) in cases {
        assert_eq!(names(&get(&server, &format!("{MAPS}?{query}")).ok()), expected, "{query}");
    }
    // Of what is selected, nobody knows how much is left.
    let page = get(&server, &format!("{MAPS}?labelSelector=app&limit=1")).ok();
    assert!(page["metadata"]["continue"].is_string() && page["metadata"]["remainingItemCount"].is_null());
    get(&server, &format!("{MAPS}?labelSelector=a+b")).failed(400, "BadRequest");
    get(&server, &format!("{MAPS}?fieldSelector=data.x%3D1")).failed(400, "BadRequest");
}

#[test]
fn secrets_are_selected_by_type() {
    let server = StandIn::start();
    server.apply("{apiVersion: v1, kind: Secret, metadata: {name: plain}, stringData: {key: value}}");
    let pair = "{apiVersion: v1, kind: Secret, metadata: {name: pair}, type: kubernetes.io/tls, data: {tls.crt: QQ==}}";
    server.apply(pair);
    let list = |query: &str| get(&server, &format!("/api/v1/secrets?fieldSelector={query}")).ok();
    assert_eq!(names(&list("type%3D%3Dkubernetes.io/tls")), ["pair"]);
    assert_eq!(names(&list("type%3DOpaque")), ["plain"]);
    assert_eq!(list("type%3DOpaque")["items"][0]["data"]["key"], "dmFsdWU=");
}

#[test]
fn lists_are_of_a_namespace_or_of_all() {
    let server = with_maps(1);
    let mut other = map("m0", json!({}));
    other["metadata"]["namespace"] = "shop".into();
    server.apply(other);
    assert_eq!(names(&get(&server, "/api/v1/configmaps").ok()), ["m0", "m0"]);
    assert_eq!(names(&get(&server, "/api/v1/configmaps?fieldSelector=metadata.namespace%3Dshop").ok()), ["m0"]);
    let list = get(&server, "/api/v1/namespaces/shop/configmaps").ok();
    assert_eq!((&list["kind"], &list["apiVersion"]), (&json!("ConfigMapList"), &json!("v1")));
    assert!(list["items"][0]["kind"].is_null(), "items of built-in kinds do not repeat it");
    assert_eq!(names(&get(&server, "/api/v1/namespaces/nowhere/configmaps").ok()), Vec::<&str>::new());
}

#[test]
fn collections_are_deleted_as_selected() {
    let server = StandIn::start();
    server.apply(labelled("a", json!({"app": "shop"})));
    server.apply(labelled("b", json!({"app": "mail"})));
    let deleted = delete(&server, &format!("{MAPS}?labelSelector=app%3Dshop")).ok();
    assert_eq!(names(&deleted), ["a"]);
    assert_eq!(names(&get(&server, MAPS).ok()), ["b"]);
    assert_eq!(server.requests("deletecollection", "configmaps"), 1);
}
