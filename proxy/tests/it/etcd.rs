//! Rules that come from a real etcd.

use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::support::etcd::Etcd;
use crate::support::{Client, Origin, PATIENCE, Serin, eventually, get};

/// A proxy with one listener whose rules are in etcd.
fn following(etcd: &Etcd) -> Serin {
    Serin::serving(&format!("sources: {{etcd: {}}}\n", etcd.source()))
}

fn following_with_problems(etcd: &Etcd) -> Serin {
    Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nsources: {{etcd: {}}}\n",
        etcd.source()
    ))
}

fn upstream(origin: &Origin) -> String {
    format!("{{\"endpoints\": [\"{}\"]}}", origin.address())
}

fn says(serin: &Serin, path: &str, text: &str) {
    eventually(PATIENCE, &format!("{path} is {text}"), || get(serin.address(), path).text().contains(text));
}

#[test]
fn rules_are_taken_from_keys_at_the_start_and_when_they_change() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.put("/serin/upstreams/app", upstream(&one));
    let serin = following(&etcd);
    assert_eq!(get(serin.address(), "/").text(), "one");
    etcd.put("/serin/upstreams/app", upstream(&two));
    says(&serin, "/", "two");
    etcd.write(&[
        ("/serin/upstreams/other", Some(&upstream(&one))),
        ("/serin/routes/other", Some("{paths: [{prefix: /other}], upstream: other}")),
    ]);
    says(&serin, "/other", "one");
    etcd.delete("/serin/routes/other");
    says(&serin, "/other", "two");
}

#[test]
fn what_is_wrong_keeps_its_last_good_version_and_says_where() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.put("/serin/upstreams/app", upstream(&origin));
    let serin = following(&etcd);
    for (wrong, reason) in [
        ("upstream: app\npaths: [{prefx: /}]\n", ":2:10: routes.all.paths[0].prefx: "),
        ("{\"upstream\": \"app\"", "routes/all:"),
        ("\u{0}", "routes/all"),
        ("[]", "routes.all"),
        ("", "routes.all"),
        ("upstream: gone\n", "routes.all.upstream: "),
    ] {
        etcd.put("/serin/routes/all", wrong);
        eventually(PATIENCE, reason, || {
            let rejected = serin.server().problems();
            rejected.iter().any(|problem| problem.to_string().contains(reason) && problem.revision.is_some())
        });
        assert_eq!(get(serin.address(), "/").text(), "app", "{wrong:?}");
    }
    let told = serin.admin_text("/api/v1/rejected");
    assert!(told.contains("\"source\":\"/serin/routes/all\"") && told.contains("\"revision\":"), "{told}");
    etcd.put("/serin/routes/all", [0xff, 0xfe]);
    etcd.put("/serin/rotues/all", "upstream: app\n");
    eventually(PATIENCE, "both are told", || serin.metric("serin_rules_rejected") == 2.0);
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.delete("/serin/rotues/all");
    eventually(PATIENCE, "nothing is wrong", || serin.metric("serin_rules_rejected") == 0.0);
}

#[test]
fn a_reference_to_what_is_not_there_yet_waits() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    let serin = following(&etcd);
    etcd.put("/serin/routes/all", "upstream: app\n");
    eventually(PATIENCE, "it is told", || serin.metric("serin_rules_rejected") == 1.0);
    etcd.put("/serin/upstreams/app", upstream(&origin));
    says(&serin, "/", "app");
    assert_eq!(serin.metric("serin_rules_rejected"), 0.0);
}

#[test]
fn an_outage_costs_nothing_and_nothing_of_it_is_missed() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.put("/serin/upstreams/app", upstream(&one));
    let serin = following(&etcd);
    for round in 0..3 {
        etcd.kill(0);
        for _ in 0..20 {
            assert_eq!(get(serin.address(), "/").text(), if round % 2 == 0 { "one" } else { "two" });
        }
        etcd.restart(0);
        etcd.is_ready();
        etcd.put("/serin/upstreams/app", upstream(if round % 2 == 0 { &two } else { &one }));
        says(&serin, "/", if round % 2 == 0 { "two" } else { "one" });
    }
    assert_eq!(serin.metric("serin_request_errors_total"), 0.0);
}

#[test]
fn a_cluster_that_was_set_back_is_listed_again() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    for _ in 0..20 {
        etcd.put("/serin/upstreams/app", upstream(&one));
    }
    etcd.put("/serin/routes/all", "upstream: app\n");
    let serin = following(&etcd);
    assert_eq!(get(serin.address(), "/").text(), "one");
    etcd.kill(0);
    etcd.wipe(0);
    etcd.is_ready();
    etcd.write(&[("/serin/upstreams/app", Some(&upstream(&two))), ("/serin/routes/all", Some("upstream: app\n"))]);
    says(&serin, "/", "two");
}

#[test]
fn revisions_that_are_gone_are_listed_again() {
    let Some(mut etcd) = Etcd::of(3, &[]) else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.put("/serin/upstreams/app", upstream(&one));
    let serin = following(&etcd);
    (0..3).for_each(|member| etcd.signal(member, "STOP"));
    (0..3).for_each(|member| etcd.kill(member));
    (0..3).for_each(|member| etcd.restart(member));
    etcd.is_ready();
    etcd.put("/serin/upstreams/app", upstream(&two));
    etcd.compact();
    says(&serin, "/", "two");
}

#[test]
fn a_member_that_falls_silent_or_goes_is_replaced_by_another() {
    let Some(mut etcd) = Etcd::of(3, &[]) else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.put("/serin/upstreams/app", upstream(&one));
    let serin = following(&etcd);
    for member in 0..3 {
        etcd.kill(member);
        let next = if member % 2 == 0 { ("two", &two) } else { ("one", &one) };
        etcd.is_ready();
        etcd.put("/serin/upstreams/app", upstream(next.1));
        says(&serin, "/", next.0);
        etcd.restart(member);
        etcd.is_ready();
    }
}

#[test]
fn a_start_without_etcd_serves_what_was_stored_and_says_that_it_is_old() {
    let Some(mut etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.put("/serin/upstreams/app", upstream(&origin));
    let rules = format!("state_dir: state\nsources: {{etcd: {}}}\n", etcd.source());
    let serin = Serin::serving(&rules);
    assert_eq!(get(serin.address(), "/").text(), "app");
    etcd.kill(0);
    let serin = serin.restart();
    assert_eq!(get(serin.address(), "/").text(), "app");
    assert_eq!(serin.metric("serin_rules_stale"), 1.0);
    let told = serin.admin_text("/api/v1/rejected");
    assert!(told.contains("not heard yet"), "{told}");
    etcd.restart(0);
    eventually(2 * PATIENCE, "it is heard", || serin.metric("serin_rules_stale") == 0.0);
    assert_eq!(serin.metric("serin_rules_rejected"), 0.0);
    etcd.put("/serin/routes/all", "{upstream: app, paths: [{prefix: /new}]}");
    eventually(PATIENCE, "it is followed", || Client::connect(serin.address()).get("/").status == 404);
}

/// Rules in a file, endpoints in etcd.
fn registry(etcd: &Etcd, more: &str) -> Serin {
    Serin::serving(&format!(
        "sources: {{etcd: {}}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{discovery: {{etcd: {{prefix: /my_shop_PRO/}}}}{more}}}}}\n",
        etcd.source()
    ))
}

/// `IP-PORT` as a key, `IP:PORT` as its value.
fn registration(origin: &Origin) -> (String, String) {
    let address = origin.address();
    (format!("/my_shop_PRO/{}-{}", address.ip(), address.port()), address.to_string())
}

fn endpoints(serin: &Serin) -> usize {
    serin.admin_text("/api/v1/upstreams").matches("\"effective_weight\"").count()
}

#[test]
fn instances_that_register_are_endpoints() {
    let Some(etcd) = Etcd::start() else { return };
    let listener = TcpListener::bind("[::1]:0").expect("a port");
    let (one, two, six) = (Origin::named("one"), Origin::named("two"), Origin::named_on(listener, "six"));
    let ((one_key, one_value), (two_key, two_value)) = (registration(&one), registration(&two));
    etcd.put(&one_key, &one_value);
    etcd.put("/my_shop_PRO_2/other", "127.0.0.1:1");
    etcd.put("/my_shop_PROD/other", "127.0.0.1:1");
    let serin = registry(&etcd, "");
    assert_eq!(get(serin.address(), "/").text(), "one");
    assert_eq!(endpoints(&serin), 1);
    etcd.put(&two_key, &two_value);
    says(&serin, "/", "two");
    etcd.delete(&one_key);
    eventually(PATIENCE, "one has left", || endpoints(&serin) == 1);
    assert!((0..10).all(|_| get(serin.address(), "/").text() == "two"));
    etcd.put("/my_shop_PRO/six", format!("{{\"address\": \"{}\", \"weight\": 3}}", six.address()));
    says(&serin, "/", "six");
    // The value counts, the key is the identity.
    etcd.put("/my_shop_PRO/six", &one_value);
    says(&serin, "/", "one");
    assert_eq!(endpoints(&serin), 2);
}

#[test]
fn a_value_that_is_no_endpoint_keeps_the_last_one_of_its_key() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    let (key, value) = registration(&origin);
    etcd.put(&key, &value);
    let serin = registry(&etcd, "");
    for wrong in ["", "shop", "10.0.0.1", "10.0.0.1:0", "{\"addr\": 1}", &"x".repeat(10_000)] {
        etcd.put(&key, wrong);
        etcd.put("/my_shop_PRO/never-good", wrong);
        let told = |told: &str| told.contains(&key) && told.contains("(and 1 more)");
        eventually(PATIENCE, "it is told", || told(&serin.admin_text("/api/v1/upstreams")));
        assert_eq!(get(serin.address(), "/").text(), "app");
        assert_eq!(endpoints(&serin), 1);
    }
}

#[test]
fn when_most_registrations_go_at_once_their_endpoints_stay() {
    let Some(etcd) = Etcd::start() else { return };
    let origins = ["a", "b", "c", "d"].map(Origin::named);
    let all: Vec<(String, String)> = origins.iter().map(registration).collect();
    let keys: Vec<(&str, &str)> = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let lease = etcd.put_leased(&keys, 600);
    let serin = registry(&etcd, "");
    assert_eq!(endpoints(&serin), 4);
    etcd.revoke(lease);
    eventually(PATIENCE, "it is told", || serin.admin_text("/api/v1/upstreams").contains("4 endpoints stay"));
    assert_eq!(endpoints(&serin), 4);
    assert_eq!(get(serin.address(), "/").status, 200);
    // They come back, and one of them has really gone.
    etcd.put_leased(&keys[..3], 600);
    eventually(PATIENCE, "it has gone", || endpoints(&serin) == 3);
    assert!(!serin.admin_text("/api/v1/upstreams").contains("endpoints stay"));
}

#[test]
fn who_has_really_gone_is_held_no_longer_than_it_answers() {
    let Some(etcd) = Etcd::start() else { return };
    let [stays, ends] = ["stays", "ends"].map(Origin::named);
    let all = [&stays, &ends].map(registration);
    let keys: Vec<(&str, &str)> = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let lease = etcd.put_leased(&keys, 600);
    let serin = registry(&etcd, "");
    assert_eq!(endpoints(&serin), 2);
    drop(ends);
    etcd.revoke(lease);
    eventually(PATIENCE, "one has gone", || endpoints(&serin) == 1);
    assert_eq!(get(serin.address(), "/").text(), "stays");
}

#[test]
fn registrations_serve_on_without_etcd_also_after_a_restart() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let ((key, value), (other_key, other_value)) = (registration(&one), registration(&two));
    etcd.put(&key, &value);
    let serin = Serin::serving(&format!(
        "state_dir: state\nsources: {{etcd: {}}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{discovery: {{etcd: {{prefix: /my_shop_PRO/}}}}}}}}\n",
        etcd.source()
    ));
    etcd.kill(0);
    assert_eq!(get(serin.address(), "/").text(), "one");
    let serin = serin.restart();
    assert_eq!(get(serin.address(), "/").text(), "one");
    etcd.restart(0);
    etcd.is_ready();
    etcd.put(&other_key, &other_value);
    eventually(2 * PATIENCE, "two is there", || get(serin.address(), "/").text() == "two");
}

#[test]
fn when_most_routes_go_at_once_they_stay_until_somebody_confirms_it() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    etcd.put("/serin/upstreams/app", upstream(&origin));
    for route in ["a", "b", "c"] {
        etcd.put(&format!("/serin/routes/{route}"), format!("{{paths: [{{prefix: /{route}}}], upstream: app}}"));
    }
    let serin = following(&etcd);
    let status = |path: &str| get(serin.address(), path).status;
    etcd.delete("/serin/routes/c");
    eventually(PATIENCE, "one of three goes", || status("/c") == 404);
    etcd.delete_prefix("/serin/");
    // With the one that went seconds before.
    eventually(PATIENCE, "it is told", || serin.metric("serin_etcd_held_objects") == 4.0);
    assert_eq!(["/a", "/b", "/c"].map(status), [200; 3]);
    let rejected = serin.admin_text("/api/v1/rejected");
    assert!(rejected.contains("/api/v1/sources/etcd/confirm"), "{rejected}");
    // What comes while they are held is taken, and changes nothing for them.
    etcd.put("/serin/routes/d", "{paths: [{prefix: /d}], upstream: app}");
    eventually(PATIENCE, "a new one", || status("/d") == 200);
    assert_eq!(["/a", "/b"].map(status), [200, 200]);
    assert_eq!(serin.metric("serin_etcd_held_objects"), 4.0);

    let (status_code, answer) = serin.order("/api/v1/sources/etcd/confirm");
    assert_eq!((status_code, &answer["confirmed"]), (200, &4.into()), "{answer}");
    eventually(PATIENCE, "they have gone", || status("/a") == 404);
    // The upstream went with them, and is missed by the route that came.
    assert_eq!(serin.metric("serin_rules_rejected"), 1.0);
    assert_eq!(status("/d"), 200);
    assert_eq!(serin.metric("serin_etcd_up"), 1.0);
}

#[test]
fn a_password_is_needed_and_may_change() {
    let Some(etcd) = Etcd::of(1, &["--auth-token-ttl", "2"]) else { return };
    let (one, two, three) = (Origin::named("one"), Origin::named("two"), Origin::named("three"));
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.put("/serin/upstreams/app", upstream(&one));
    etcd.protect("first");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let password = folder.path().join("password");
    std::fs::write(&password, "wrong\n").expect("a file");
    let source = etcd.source();
    let source = source.strip_suffix('}').expect("a mapping");
    let source = format!("{source}, user: serin, password_file: \"{}\"}}", password.display());
    let serin = Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nsources: {{etcd: {source}}}\n"
    ));
    let rejected = serin.admin_text("/api/v1/rejected");
    assert!(rejected.contains("authentication failed"), "{rejected}");
    assert_eq!(serin.admin_status("/readyz"), 503);
    std::fs::write(&password, "first\n").expect("a file");
    eventually(3 * PATIENCE, "the right password is read", || serin.admin_status("/readyz") == 200);
    says(&serin, "/", "one");
    let put = async |client: &mut etcd_client::Client, origin: &Origin| {
        client.put("/serin/upstreams/app", upstream(origin), None).await
    };
    etcd.call_as_root("first", async |client| put(client, &two).await);
    says(&serin, "/", "two");
    // Whoever is connected stays so; the next connection needs the new one.
    etcd.call_as_root("first", async |client| client.user_change_password("serin", "second").await);
    std::fs::write(&password, "second\n").expect("a file");
    etcd.call_as_root("first", async |client| put(client, &three).await);
    eventually(3 * PATIENCE, "it is followed on", || get(serin.address(), "/").text() == "three");
}

/// A member that is stopped keeps its connections and says nothing.
#[test]
fn a_member_that_says_nothing_more_is_left_for_another() {
    let Some(mut etcd) = Etcd::of(3, &[]) else { return };
    let origins = ["a", "b", "c"].map(Origin::named);
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.put("/serin/upstreams/app", upstream(&origins[0]));
    let serin = Serin::serving(&format!("sources: {{etcd: {{endpoints: [{}]}}}}\n", etcd.urls()[..2].join(", ")));
    for (member, origin) in [(0, &origins[1]), (1, &origins[2])] {
        etcd.signal(member, "STOP");
        etcd.put("/serin/upstreams/app", upstream(origin));
        let next = if member == 0 { "b" } else { "c" };
        eventually(3 * PATIENCE, "the other member is asked", || get(serin.address(), "/").text() == next);
        etcd.signal(member, "CONT");
        etcd.is_ready();
    }
    assert_eq!(serin.metric("serin_request_errors_total"), 0.0);
}

/// Bursts end with the newest state, and none of it is lost on requests.
#[test]
fn a_stream_of_writes_ends_with_the_newest_state() {
    let Some(etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    etcd.put("/serin/upstreams/app", upstream(&origin));
    etcd.put("/serin/routes/all", "upstream: app\n");
    let serin = following(&etcd);
    let mut client = serin.client();
    for round in 0..300 {
        let filters = format!("{{upstream: app, filters: [{{add_response_header: {{x-round: \"{round}\"}}}}]}}");
        etcd.put("/serin/routes/all", filters);
        assert_eq!(client.get("/").status, 200);
    }
    eventually(PATIENCE, "the newest", || get(serin.address(), "/").header("x-round") == Some("299"));
    assert_eq!(serin.metric("serin_rules_rejected"), 0.0);
}

/// Ten thousand keys that are nothing, and values of a megabyte: told, and everything else goes on.
#[test]
fn keys_that_poison_take_nothing_with_them() {
    let Some(etcd) = Etcd::of(1, &["--max-request-bytes", "4000000"]) else { return };
    let origin = Origin::named("app");
    etcd.put("/serin/upstreams/app", upstream(&origin));
    etcd.put("/serin/routes/all", "upstream: app\n");
    for hundred in 0..100 {
        let keys: Vec<String> = (0..100).map(|key| format!("/serin/nonsense/{hundred}-{key}")).collect();
        etcd.write(&keys.iter().map(|key| (key.as_str(), Some("x"))).collect::<Vec<_>>());
    }
    let deep = "[".repeat(100_000);
    let long = format!("{{upstream: app, hosts: [{}]}}", "a.example.com, ".repeat(60_000));
    for (number, value) in [&*deep, &*long, &*"x".repeat(1 << 20)].iter().enumerate() {
        etcd.put(&format!("/serin/routes/poison-{number}"), value);
    }
    let serin = following_with_problems(&etcd);
    assert_eq!(get(serin.address(), "/").text(), "app");
    assert!(serin.metric("serin_rules_rejected") >= 10_000.0);
    let other = Origin::named("other");
    etcd.put("/serin/upstreams/app", upstream(&other));
    says(&serin, "/", "other");
    etcd.delete_prefix("/serin/nonsense/");
    // Most routes within seconds are held.
    etcd.put("/serin/routes/one", "{upstream: app, paths: [{prefix: /1}]}");
    etcd.put("/serin/routes/two", "{upstream: app, paths: [{prefix: /2}]}");
    (0..3).for_each(|number| etcd.delete(&format!("/serin/routes/poison-{number}")));
    eventually(PATIENCE, "nothing is wrong", || serin.metric("serin_rules_rejected") == 0.0);
}

/// The state folder of a process that had rules and endpoints from etcd, and an etcd that has lost everything meanwhile.
#[test]
fn a_start_does_not_take_an_empty_etcd_for_a_decision() {
    let Some(mut etcd) = Etcd::start() else { return };
    let origin = Origin::named("app");
    let (key, value) = registration(&origin);
    etcd.put(&key, &value);
    etcd.put("/serin/upstreams/app", "{discovery: {etcd: {prefix: /my_shop_PRO/}}}");
    etcd.put("/serin/routes/all", "upstream: app\n");
    let serin = Serin::serving(&format!("state_dir: state\nsources: {{etcd: {}}}\n", etcd.source()));
    assert_eq!(get(serin.address(), "/").text(), "app");
    etcd.wipe(0);
    etcd.is_ready();
    let serin = serin.restart();
    let rejected = serin.admin_text("/api/v1/rejected");
    assert!(rejected.contains("routes that were stored are not there any more"), "{rejected}");
    assert_eq!(serin.metric("serin_rules_stale"), 1.0);
    assert_eq!(get(serin.address(), "/").text(), "app");
    // A second start knows it as well: nothing of it was stored.
    let serin = serin.restart();
    assert_eq!(get(serin.address(), "/").text(), "app");
    etcd.write(&[
        ("/serin/upstreams/app", Some("{discovery: {etcd: {prefix: /my_shop_PRO/}}}")),
        ("/serin/routes/all", Some("upstream: app")),
        (&key, Some(&value)),
    ]);
    eventually(PATIENCE, "all is there again", || serin.metric("serin_rules_stale") == 0.0);
    assert_eq!(get(serin.address(), "/").text(), "app");
    assert_eq!(serin.metric("serin_rules_rejected"), 0.0);
}

/// A new upstream with endpoints that are registered already, and the route that goes over to it, in one transaction.
#[test]
fn a_route_goes_over_to_a_new_upstream_when_its_endpoints_are_known() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    etcd.put("/serin/upstreams/first", upstream(&one));
    etcd.put("/serin/routes/all", "upstream: first\n");
    etcd.put("/shop_0/one", one.address().to_string());
    etcd.put("/shop_1/two", two.address().to_string());
    let serin = following(&etcd);
    let address = serin.address();
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            let mut client = Client::connect(address);
            let mut asked = 0;
            while !ends.load(Relaxed) {
                let reply = client.get("/");
                assert_eq!(reply.status, 200, "after {asked} requests: {}", reply.text());
                asked += 1;
            }
            asked
        });
        for round in 0..30 {
            let (upstream, route) = (format!("/serin/upstreams/u{round}"), format!("upstream: u{round}\n"));
            let old = format!("/serin/upstreams/u{}", round - 1);
            let discovery = format!("{{discovery: {{etcd: {{prefix: /shop_{}/}}}}}}", round % 2);
            let writes: [(&str, Option<&str>); 3] =
                [(&upstream, Some(&discovery)), ("/serin/routes/all", Some(&route)), (&old, None)];
            etcd.write(&writes);
            says(&serin, "/", if round % 2 == 0 { "one" } else { "two" });
        }
        ends.store(true, Relaxed);
        assert!(client.join().expect("no request failed") > 100);
    });
    // One whose registry has nothing: the route goes over all the same, after a moment.
    etcd.write(&[
        ("/serin/upstreams/empty", Some("{discovery: {etcd: {prefix: /shop_none/}}}")),
        ("/serin/routes/all", Some("upstream: empty")),
    ]);
    eventually(PATIENCE, "it goes over", || Client::connect(address).get("/").status == 503);
}
