//! What is said on objects, and by whom.

use serde_json::{Value, json};

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::support::kubernetes::{Cluster, leader_first, leads};
use crate::support::{Origin, PATIENCE, eventually};

fn addresses(ingress: &Value) -> Value {
    ingress["status"]["loadBalancer"]["ingress"].clone()
}

#[test]
fn ingresses_say_where_they_are_served() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.ingress_of("shop", "shop.example.com", "web");
    let serin = cluster.followed("addresses: [192.0.2.7, lb.example.com]");
    let expected = json!([{"ip": "192.0.2.7"}, {"hostname": "lb.example.com"}]);
    let is = |wanted: Value| move |ingress: &Value| addresses(ingress) == wanted;
    cluster.0.wait_for("Ingress", "shop", "shop", is(expected.clone()), PATIENCE);
    // One that is made later, and one that somebody has written on.
    cluster.ingress_of("later", "later.example.com", "web");
    cluster.0.wait_for("Ingress", "shop", "later", is(expected.clone()), PATIENCE);
    let mut spoilt = cluster.0.get("Ingress", "shop", "shop").unwrap();
    spoilt["status"] = json!({});
    cluster.0.apply(spoilt);
    cluster.0.wait_for("Ingress", "shop", "shop", is(expected), PATIENCE);
    let mut of_nginx = cluster.0.get("Ingress", "shop", "later").unwrap();
    of_nginx["metadata"] = json!({"name": "theirs", "namespace": "shop"});
    of_nginx["spec"]["ingressClassName"] = "nginx".into();
    of_nginx["status"] = Value::Null;
    cluster.0.apply(of_nginx);
    cluster.ingress_of("last", "last.example.com", "web");
    cluster.0.wait_for("Ingress", "shop", "last", |ingress| addresses(ingress).is_array(), PATIENCE);
    assert_eq!(addresses(&cluster.0.get("Ingress", "shop", "theirs").unwrap()), Value::Null);
    drop(serin);
}

#[test]
fn the_address_is_that_of_the_service_that_leads_here() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.ingress_of("shop", "shop.example.com", "web");
    let service = |status: Value| {
        json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "serin", "namespace": "serin"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.9", "ports": [{"port": 80}]}, "status": status})
    };
    cluster.0.apply(service(json!({})));
    // It is not among the namespaces that are looked at.
    let _serin = cluster.followed("namespaces: [shop], publish_service: serin/serin, lease: serin/serin");
    cluster.0.apply(service(json!({"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}})));
    let is = |ingress: &Value| addresses(ingress) == json!([{"ip": "203.0.113.5"}]);
    cluster.0.wait_for("Ingress", "shop", "shop", is, PATIENCE);
}

#[test]
fn of_two_instances_one_writes_and_the_other_goes_on_when_it_ends() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.0.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "serin"}}));
    let settings = "addresses: [192.0.2.7], lease: serin/serin";
    let (leader, other) = leader_first(cluster.followed(settings), cluster.followed(settings));
    cluster.ingress_of("shop", "shop.example.com", "web");
    cluster.0.wait_for("Ingress", "shop", "shop", |ingress| addresses(ingress).is_array(), PATIENCE);
    let holder =
        |cluster: &Cluster| cluster.0.get("Lease", "serin", "serin").unwrap()["spec"]["holderIdentity"].clone();
    let before = holder(&cluster);
    drop(leader);
    eventually(4 * PATIENCE, "the other one leads", || leads(&other));
    assert_ne!(holder(&cluster), before);
    cluster.ingress_of("later", "later.example.com", "web");
    cluster.0.wait_for("Ingress", "shop", "later", |ingress| addresses(ingress).is_array(), PATIENCE);
}

/// Another one takes the Lease 15 seconds after it was renewed last.
#[test]
fn who_cannot_renew_the_lease_stops_in_time_and_leads_again_when_it_can() {
    let cluster = Cluster::start();
    cluster.0.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "serin"}}));
    let serin = cluster.followed("lease: serin/serin");
    let renewed = |cluster: &Cluster| cluster.0.get("Lease", "serin", "serin").unwrap()["spec"]["renewTime"].clone();
    let faults: [(fn(&Cluster), fn(&Cluster)); 2] = [
        (|cluster| cluster.0.forbid("patch", LEASES), |cluster| cluster.0.allow("patch", LEASES)),
        (|cluster| cluster.0.hang(), |cluster| cluster.0.go_on()),
    ];
    for (begin, end) in faults {
        eventually(PATIENCE, "it leads", || leads(&serin));
        let (before, renewed_at) = (renewed(&cluster), Cell::new(Instant::now()));
        eventually(PATIENCE, "it renews", || {
            renewed_at.set(Instant::now());
            renewed(&cluster) != before
        });
        begin(&cluster);
        eventually(2 * PATIENCE, "it leads no longer", || !leads(&serin));
        let took = renewed_at.get().elapsed();
        assert!(took < Duration::from_secs(15), "{took:?}");
        end(&cluster);
    }
    eventually(PATIENCE, "it leads", || leads(&serin));
}

const LEASES: &str = "leases.coordination.k8s.io";

#[test]
fn who_may_not_write_serves_and_counts() {
    let web = Origin::named("web");
    let cluster = Cluster::with_web(&web);
    cluster.ingress_of("shop", "shop.example.com", "web");
    cluster.0.forbid("patch", "ingresses.networking.k8s.io/status");
    let serin = cluster.followed("addresses: [192.0.2.7]");
    eventually(PATIENCE, "it is counted", || serin.metric("serin_kubernetes_write_failures_total") > 0.0);
    assert_eq!(serin.admin_status("/readyz"), 200);
    cluster.0.allow("patch", "ingresses.networking.k8s.io/status");
    cluster.0.wait_for("Ingress", "shop", "shop", |ingress| addresses(ingress).is_array(), PATIENCE);
}
