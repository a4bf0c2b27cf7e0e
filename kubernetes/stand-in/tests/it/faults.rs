//! What goes wrong when a test wants it to, and what is counted.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kubernetes_stand_in::StandIn;
use serde_json::json;

use crate::support::{
    End, MAPS, MERGE, PATIENCE, RELEASES, Watching, get, map, patch, post, release, send, with_releases,
};

#[test]
fn watches_can_be_cut() {
    let server = StandIn::start();
    let mut watch = Watching::open(&server, &format!("{MAPS}?resourceVersion={}", server.revision()));
    server.wait_for_watches("configmaps", 1, PATIENCE);
    server.drop_watches();
    assert_eq!(watch.end(), End::Cut);
    server.wait_for_watches("configmaps", 0, PATIENCE);
    // Those that begin later are not meant.
    let mut watch = Watching::open(&server, &format!("{MAPS}?resourceVersion={}", server.revision()));
    server.apply(map("a", json!({})));
    assert_eq!(watch.named(), "ADDED a");
}

#[test]
fn a_verb_can_be_forbidden() {
    let server = with_releases();
    server.apply(release("r", json!({"weight": 1})));
    server.forbid("list", "releases.serin.example");
    let status = get(&server, RELEASES).failed(403, "Forbidden");
    let message = "releases.serin.example is forbidden: User \"test\" cannot list resource \"releases\" in API group \
                   \"serin.example\" in the namespace \"default\"";
    assert_eq!(status["message"], message);
    get(&server, &format!("{RELEASES}/r")).ok();
    server.allow("list", "releases.serin.example");
    get(&server, RELEASES).ok();

    server.forbid("patch", "releases.serin.example/status");
    let one = format!("{RELEASES}/r");
    patch(&server, &format!("{one}/status"), MERGE, &json!({})).failed(403, "Forbidden");
    patch(&server, &one, MERGE, &json!({})).ok();
}

#[test]
fn the_next_requests_can_fail() {
    let server = StandIn::start();
    server.fail_next(2, 429, Some(3));
    server.fail_next(1, 500, None);
    let reply = get(&server, MAPS);
    assert_eq!(reply.header("retry-after"), Some("3"));
    assert_eq!(reply.failed(429, "TooManyRequests")["details"]["retryAfterSeconds"], 3);
    get(&server, MAPS).failed(429, "TooManyRequests");
    get(&server, MAPS).failed(500, "InternalError");
    get(&server, MAPS).ok();
    assert_eq!(server.requests("list", "configmaps"), 4);
}

#[test]
fn it_hangs_and_goes_on() {
    let server = StandIn::start();
    let mut watch = Watching::open(&server, &format!("{MAPS}?resourceVersion={}", server.revision()));
    server.hang();
    server.apply(map("a", json!({})));
    let (told, tells) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| told.send(get(&server, MAPS).code).unwrap());
        server.wait_for_requests("list", "configmaps", 1, PATIENCE);
        assert!(tells.recv_timeout(Duration::from_millis(50)).is_err());
        server.go_on();
        assert_eq!(tells.recv_timeout(PATIENCE), Ok(200));
    });
    assert_eq!(watch.named(), "ADDED a");
}

#[test]
fn bookmarks_can_stop() {
    let server = StandIn::start();
    server.send_bookmarks_every(Duration::from_millis(10));
    let asked = format!("{MAPS}?resourceVersion={}&allowWatchBookmarks=1", server.revision());
    let mut watch = Watching::open(&server, &format!("{asked}&timeoutSeconds=1"));
    assert_eq!(watch.event().0, "BOOKMARK");
    server.stop_bookmarks();
    server.apply(map("a", json!({})));
    while watch.event().0 == "BOOKMARK" {}
    assert_eq!(watch.end(), End::Whole);
}

#[test]
fn a_token_can_be_required() {
    let server = StandIn::start();
    server.require_token(Some("secret"));
    get(&server, MAPS).failed(401, "Unauthorized");
    send(&server, "GET", MAPS, &[("Authorization", "Bearer other")], "").failed(401, "Unauthorized");
    send(&server, "GET", MAPS, &[("Authorization", "Bearer secret")], "").ok();
    assert_eq!(get(&server, "/livez").code, 200);
    assert!(server.kubeconfig_yaml().contains("secret"));
    server.require_token(None);
    get(&server, MAPS).ok();
}

#[test]
fn requests_and_watches_are_counted() {
    let server = StandIn::start();
    post(&server, MAPS, &map("a", json!({}))).ok();
    get(&server, &format!("{MAPS}/a")).ok();
    let _one = Watching::open(&server, &format!("{MAPS}?"));
    let _two = Watching::open(&server, "/api/v1/secrets?");
    for verb in ["create", "get", "watch"] {
        assert_eq!(server.requests(verb, "configmaps"), 1, "{verb}");
    }
    assert_eq!(server.requests("list", "configmaps"), 0);
    assert_eq!((server.open_watches(), server.open_watches_of("secrets")), (2, 1));
}
