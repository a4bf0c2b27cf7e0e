//! Two instances on a real etcd: one orders, both answer, both show what comes of it.

use std::fs;

use super::is_shown;
use crate::support::control::Program;
use crate::support::etcd::Etcd;
use crate::support::link::{Link, Weather};
use crate::support::pebble::{Habits, Pebble};
use crate::support::{PATIENCE, Serin, eventually};

fn rules(etcd: &Etcd) -> String {
    format!(
        "listeners: {{clear: {{address: \"127.0.0.1:0\"}}, secure: {{address: \"127.0.0.1:0\", tls: {{}}}}}}\n\
         admin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\nsources: {{etcd: {}}}\n",
        etcd.source()
    )
}

fn want(etcd: &Etcd, pebble: &Pebble, certificates: &[(&str, &str)]) {
    etcd.put("/serin/acme_accounts/test", pebble.account(""));
    for (name, certificate) in certificates {
        etcd.put(&format!("/serin/certificates/{name}"), certificate);
    }
}

fn leads(serin: &Serin) -> bool {
    serin.metric("serin_etcd_leader") == 1.0
}

#[test]
fn one_orders_for_all_and_all_answer() {
    let Some(etcd) = Etcd::start() else { return };
    let leader = Serin::start(&rules(&etcd));
    eventually(PATIENCE, "it leads", || leads(&leader));
    let other = Serin::start(&rules(&etcd));
    eventually(PATIENCE, "both are there", || leader.metric("serin_etcd_instances") == 2.0);
    // The authority comes to the one that does not order.
    let port = |name: &str| other.address_of(name).port();
    let habits = Habits { http_port: port("clear"), tls_port: port("secure"), ..Habits::default() };
    let Some(pebble) = Pebble::start(&["a.test", "b.test"], &habits) else { return };
    let by_handshake = "{hosts: [b.test], acme: {account: test, challenge: tls_alpn_01}}";
    want(&etcd, &pebble, &[("a", "{hosts: [a.test], acme: {account: test}}"), ("b", by_handshake)]);
    for host in ["a.test", "b.test"] {
        for serin in [&leader, &other] {
            eventually(3 * PATIENCE, host, || is_shown(serin, host).is_some());
        }
        assert_eq!(is_shown(&leader, host), is_shown(&other, host));
    }
    assert_eq!((pebble.orders(), pebble.accounts()), (2, 1));
    // They are counted behind, when their certificates are served already.
    eventually(PATIENCE, "they count", || leader.metric_of("serin_acme_orders_total", "issued") == 2.0);
    assert_eq!(other.metric("serin_acme_orders_total"), 0.0);
    eventually(PATIENCE, "no answer is left", || etcd.values("/serin/state/acme/answers/").is_empty());
    for serin in [&leader, &other] {
        assert!(serin.server().problems().is_empty(), "{:?}", serin.server().problems());
    }
    // One that comes later has all of it, and so has the one that leads next.
    let last = Serin::start(&rules(&etcd));
    assert_eq!(is_shown(&last, "a.test"), is_shown(&leader, "a.test"));
    let shown = is_shown(&leader, "b.test");
    drop(leader);
    eventually(PATIENCE, "another leads", || leads(&other) || leads(&last));
    etcd.put("/serin/certificates/b", "{hosts: [b.test], acme: {account: test}}");
    eventually(PATIENCE, "it was heard", || other.admin_text("/api/v1/certificates").matches("http_01").count() == 2);
    assert_eq!((is_shown(&other, "b.test"), pebble.orders()), (shown, 2));
}

#[test]
fn an_order_whose_instance_is_killed_is_carried_out_by_another() {
    let Some(etcd) = Etcd::start() else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("serin.yaml");
    fs::write(&config, rules(&etcd)).expect("room");
    let leader = Program::start(&config);
    eventually(PATIENCE, "it leads", || leader.metric("serin_etcd_leader") == 1);
    let other = Serin::start(&rules(&etcd));
    eventually(PATIENCE, "both are there", || leader.metric("serin_etcd_instances") == 2);
    let link = Link::to(&other.address_of("clear").to_string());
    link.set(Weather::Silent);
    let habits = Habits { http_port: link.address().port(), ..Habits::default() };
    let Some(pebble) = Pebble::start(&["a.test"], &habits) else { return };
    want(&etcd, &pebble, &[("a", "{hosts: [a.test], acme: {account: test}}")]);
    eventually(3 * PATIENCE, "the authority looks", || link.accepted() > 0);
    leader.signal("KILL");
    link.set(Weather::Fair);
    eventually(6 * PATIENCE, "the other has ordered", || is_shown(&other, "a.test").is_some());
    assert_eq!((pebble.orders(), pebble.accounts()), (2, 1));
    eventually(PATIENCE, "it counts", || other.metric_of("serin_acme_orders_total", "issued") == 1.0);
}
