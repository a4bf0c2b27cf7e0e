//! The API server goes away, forgets, refuses and comes back.

use serde_json::json;

use crate::support::kubernetes::{Cluster, Pod, answers, get_of, path, rule, says};
use crate::support::{Origin, PATIENCE, Serin, eventually};

fn why_not_ready(serin: &Serin) -> String {
    serin.admin_text("/readyz")
}

#[test]
fn it_is_ready_when_everything_was_heard_and_not_before() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.ingress_of("shop", "shop.example.com", "web");
    cluster.0.hang();
    let serin = cluster.begun("");
    assert_eq!(serin.admin_status("/readyz"), 503);
    assert!(why_not_ready(&serin).contains("Kubernetes was not heard yet"), "{}", why_not_ready(&serin));
    cluster.0.go_on();
    eventually(PATIENCE, "it is ready", || serin.admin_status("/readyz") == 200);
    assert_eq!(get_of(&serin, "shop.example.com", "/").text(), "web", "who is ready serves");
}

#[test]
fn what_may_not_be_read_is_told_and_tried_again() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.ingress_of("shop", "shop.example.com", "web");
    cluster.0.forbid("list", "secrets");
    let serin = cluster.begun("");
    eventually(PATIENCE, "it says why", || {
        let rejected = serin.admin_text("/api/v1/rejected");
        rejected.contains("secrets of all namespaces") && rejected.contains("forbidden")
    });
    assert_eq!(serin.admin_status("/readyz"), 503);
    cluster.0.allow("list", "secrets");
    eventually(PATIENCE, "it is ready", || serin.admin_status("/readyz") == 200);
    says(&serin, "shop.example.com", "/", "web");
}

#[test]
fn a_server_that_has_forgotten_is_listed_anew_and_what_went_meanwhile_has_gone() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let cluster = Cluster::with_web(&one);
    cluster.ingress_of("a", "a.example.com", "web");
    cluster.ingress_of("b", "b.example.com", "web");
    let serin = cluster.followed("");
    says(&serin, "a.example.com", "/", "one");
    let lists = cluster.0.requests("list", "ingresses.networking.k8s.io");
    // Nothing is heard while this happens, and nothing of it can be asked for afterwards.
    cluster.0.hang();
    cluster.0.drop_watches();
    cluster.0.remove("Ingress", "shop", "a");
    cluster.ingress_of("c", "c.example.com", "web");
    cluster.slice("web", "web-1", &[(two.address(), Pod::Ready)]);
    cluster.0.compact_history();
    assert_eq!(get_of(&serin, "a.example.com", "/").text(), "one", "what was heard last serves on");
    assert_eq!(serin.admin_status("/readyz"), 200);
    cluster.0.go_on();
    says(&serin, "c.example.com", "/", "two");
    answers(&serin, "a.example.com", "/", 404);
    assert_eq!(get_of(&serin, "b.example.com", "/").text(), "two");
    assert!(cluster.0.requests("list", "ingresses.networking.k8s.io") > lists, "it was 410, so that it is listed");
}

#[test]
fn watches_that_break_are_begun_where_they_were() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.ingress_of("a", "a.example.com", "web");
    let serin = cluster.followed("");
    let lists = cluster.0.requests("list", "ingresses.networking.k8s.io");
    for round in 0..3 {
        cluster.0.drop_watches();
        let host = format!("{round}.example.com");
        cluster.ingress_of("a", &host, "web");
        says(&serin, &host, "/", "web");
    }
    assert_eq!(cluster.0.requests("list", "ingresses.networking.k8s.io"), lists, "nothing is asked for twice");
    assert!(serin.metric("serin_kubernetes_failures_total") >= 0.0);
}

#[test]
fn a_storm_is_one_change() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    let serin = cluster.followed("");
    let swaps = serin.metric("serin_rules_generation");
    let hosts = |count: usize, index: usize| {
        let rules = [rule(&format!("{index}-{count}.example.com"), &[path("Prefix", "/", "web")])];
        json!({"rules": rules})
    };
    for index in 0..500 {
        cluster.ingress(&format!("i{index}"), hosts(0, index));
    }
    says(&serin, "499-0.example.com", "/", "web");
    assert_eq!(get_of(&serin, "0-0.example.com", "/").text(), "web");
    let made = serin.metric("serin_rules_generation") - swaps;
    assert!(made < 100.0, "500 Ingresses made {made} swaps");
}

#[test]
fn a_list_of_many_pages_is_one() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    for index in 0..1_200 {
        cluster.ingress_of(&format!("i{index}"), &format!("{index}.example.com"), "web");
    }
    let serin = cluster.followed("");
    for index in [0, 499, 500, 1_199] {
        assert_eq!(get_of(&serin, &format!("{index}.example.com"), "/").text(), "web");
    }
    assert!(cluster.0.requests("list", "ingresses.networking.k8s.io") >= 3);
}
