//! Transactions as one step, and as large as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Instant;

use crate::support::control::{order, tireless_endpoint};
use crate::support::etcd::Etcd;
use crate::support::link::{Link, Weather};
use crate::support::{Client, Origin, PATIENCE, Serin, eventually, get};

fn following(source: &str) -> Serin {
    Serin::serving(&format!("sources: {{etcd: {source}}}\n"))
}

fn linked(link: &Link) -> String {
    format!("{{endpoints: [\"http://{}\"]}}", link.address())
}

/// A route and its upstream are rewritten together: whoever is routed by one version is answered by its endpoint.
#[test]
fn one_transaction_is_one_step_for_clients() {
    let Some(etcd) = Etcd::start() else { return };
    let endpoints = [tireless_endpoint("even"), tireless_endpoint("odd")];
    let write = |version: u64| {
        let route = format!(
            "{{upstream: app{}, filters: [{{set_response_header: {{x-version: \"{version}\"}}}}]}}",
            version % 3
        );
        let upstream = format!("{{endpoints: [\"{}\"]}}", endpoints[(version % 2) as usize]);
        let (upstream_key, gone) = (format!("/serin/upstreams/app{}", version % 3), (version + 2) % 3);
        let gone = format!("/serin/upstreams/app{gone}");
        etcd.write(&[("/serin/routes/all", Some(&route)), (&upstream_key, Some(&upstream)), (&gone, None)]);
    };
    write(0);
    let serin = following(&etcd.source());
    let (is_over, seen, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..2)
            .map(|_| {
                let (is_over, seen, asked, address) =
                    (Arc::clone(&is_over), Arc::clone(&seen), &asked, serin.address());
                scope.spawn(move || {
                    let (mut client, mut last) = (Client::connect(address), 0);
                    while !is_over.load(SeqCst) {
                        let reply = client.get("/");
                        let version: u64 = reply.header("x-version").expect("routed").parse().expect("a number");
                        let name = if version.is_multiple_of(2) { "even" } else { "odd" };
                        assert_eq!((reply.status, reply.text()), (200, name), "version {version}");
                        assert!(version >= last, "version {version} after {last}");
                        seen.fetch_add(u64::from(version > last), SeqCst);
                        asked.fetch_add(1, SeqCst);
                        last = version;
                    }
                })
            })
            .collect();
        for version in 1..=200 {
            write(version);
        }
        eventually(PATIENCE, "the last version", || get(serin.address(), "/").header("x-version") == Some("200"));
        is_over.store(true, SeqCst);
        clients.into_iter().for_each(|client| client.join().expect("every answer is of one version"));
    });
    // Some are passed over when more come than can be compiled.
    assert!(seen.load(SeqCst) > 40, "{seen:?} versions seen in {asked:?} answers");
    assert_eq!(serin.metric("serin_rules_rejected"), 0.0);
}

/// One transaction brings an upstream, the registrations of its instances and the route that goes there from now on.
#[test]
fn a_route_moves_to_an_upstream_whose_endpoints_are_registered_with_it() {
    let Some(etcd) = Etcd::start() else { return };
    let endpoints = [tireless_endpoint("even"), tireless_endpoint("odd")];
    let write = |version: u64| {
        let upstream = format!("{{discovery: {{etcd: {{prefix: /app{version}/}}}}}}");
        let address = endpoints[(version % 2) as usize].to_string();
        etcd.write(&[
            (&format!("/serin/upstreams/app{version}"), Some(&upstream)),
            (&format!("/app{version}/one"), Some(&address)),
            ("/serin/routes/all", Some(&format!("upstream: app{version}"))),
            (&format!("/serin/upstreams/app{}", version.wrapping_sub(1)), None),
        ]);
    };
    write(0);
    let serin = following(&etcd.source());
    let mut client = serin.client();
    for version in 1..=20 {
        write(version);
        let name = if version.is_multiple_of(2) { "even" } else { "odd" };
        let began = Instant::now();
        loop {
            let reply = client.get("/");
            assert_eq!(reply.status, 200, "version {version}: {}", reply.text());
            if reply.text() == name {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "version {version}");
        }
    }
}

/// A route with so many bytes, most of which are a comment.
fn large_route(number: usize, version: u64, bytes: usize) -> String {
    format!(
        "hosts: [r{number}.test]\nupstream: app\nfilters: [{{set_response_header: {{x-version: \"{version}\"}}}}]\n# {}\n",
        "x".repeat(bytes)
    )
}

fn version_of(serin: &Serin, number: usize) -> Option<String> {
    let host = format!("r{number}.test");
    let reply = Client::connect(serin.address()).request("GET", "/", &[("Host", &host)], b"");
    reply.header("x-version").map(ToOwned::to_owned)
}

fn write_large(etcd: &Etcd, numbers: std::ops::Range<usize>, version: u64) {
    let all: Vec<_> =
        numbers.map(|number| (format!("/serin/routes/r{number}"), large_route(number, version, 60 << 10))).collect();
    etcd.write(&all.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect::<Vec<_>>());
}

/// A client of gRPC takes 4 MiB by default: a listing of 6 MB, a transaction of 6 MB, and what was written while nobody was
/// heard, which comes in fragments.
#[test]
fn messages_may_be_large() {
    let Some(etcd) = Etcd::of(1, &["--max-request-bytes", "8000000"]) else { return };
    let app = tireless_endpoint("app");
    etcd.put("/serin/upstreams/app", format!("{{endpoints: [\"{app}\"]}}"));
    write_large(&etcd, 0..100, 0);
    let link = Link::to(&etcd.address(0));
    let serin = following(&linked(&link));
    let is_at = |version: u64| (0..100).all(|number| version_of(&serin, number) == Some(version.to_string()));
    assert!(is_at(0));
    write_large(&etcd, 0..100, 1);
    eventually(PATIENCE, "a transaction of 6 MB", || is_at(1));

    link.set(Weather::Silent);
    for version in 2..5 {
        (0..5).for_each(|part| write_large(&etcd, part * 20..part * 20 + 20, version));
    }
    // What waits in the connection must not come: the watch has to go on where it was.
    link.reset();
    link.set(Weather::Fair);
    eventually(2 * PATIENCE, "18 MB of changes", || is_at(4));
    assert_eq!(serin.metric("serin_rules_rejected"), 0.0);
}

/// A page has 1,000 keys.
#[test]
fn listings_may_have_many_pages() {
    let Some(etcd) = Etcd::start() else { return };
    let app = tireless_endpoint("app");
    etcd.put("/serin/upstreams/app", format!("{{endpoints: [\"{app}\"]}}"));
    for hundred in 0..35 {
        let route = |number: usize| (format!("/serin/routes/r{number}"), large_route(number, 0, 0));
        let all: Vec<_> = (hundred * 100..hundred * 100 + 100).map(route).collect();
        etcd.write(&all.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect::<Vec<_>>());
    }
    let serin = following(&etcd.source());
    assert_eq!(serin.admin_text("/api/v1/routes").matches("\"name\"").count(), 3_500);
    assert!([0, 999, 1_000, 1_001, 3_499].iter().all(|number| version_of(&serin, *number).is_some()));
    etcd.put("/serin/routes/r1000", large_route(1_000, 1, 0));
    eventually(PATIENCE, "it is followed", || version_of(&serin, 1_000).as_deref() == Some("1"));
}

/// A listing in the place of a watch is no new beginning for endpoints: what is known of them stays.
#[test]
fn what_is_known_of_endpoints_survives_a_listing() {
    let Some(etcd) = Etcd::start() else { return };
    let good = tireless_endpoint("good");
    let drained = tireless_endpoint("drained");
    let bad = Origin::start(|visit| {
        visit.read_body()?;
        visit.answer(500, &[], b"")
    });
    let registered = [good, drained, bad.address()];
    for (number, address) in registered.iter().enumerate() {
        etcd.put(&format!("/my_shop_PRO/{number}"), address.to_string());
    }
    etcd.put("/serin/routes/all", "upstream: app\n");
    let upstream = "{discovery: {etcd: {prefix: /my_shop_PRO/}}, breaker: {open: 60s}}";
    etcd.put("/serin/upstreams/app", upstream);
    let link = Link::to(&etcd.address(0));
    let serin = following(&linked(&link));
    let endpoint = |address: &std::net::SocketAddr| -> serde_json::Value {
        let all: serde_json::Value = serde_json::from_str(&serin.admin_text("/api/v1/upstreams")).expect("JSON");
        let endpoints = all[0]["endpoints"].as_array().expect("a list").clone();
        endpoints.into_iter().find(|one| one["address"] == address.to_string()).expect("it is an endpoint")
    };
    let is_open = || {
        get(serin.address(), "/");
        endpoint(&bad.address())["breaker"]["state"] == "open"
    };
    eventually(2 * PATIENCE, "a breaker opens", is_open);
    order(serin.server().admin().expect("it is open"), drained, "drain");
    (0..50).for_each(|_| assert_eq!(get(serin.address(), "/").text(), "good"));
    let requests = || registered.iter().map(|address| endpoint(address)["requests"].as_u64().expect("a number")).sum();
    eventually(PATIENCE, "workers have told", || requests() >= 50u64);
    let before: u64 = requests();
    let opened = endpoint(&good)["connections_opened"].clone();

    link.set(Weather::Silent);
    etcd.put(
        "/serin/routes/new",
        "{upstream: app, paths: [{exact: /new}], filters: [{set_response_header: {x-new: \"1\"}}]}",
    );
    etcd.put("ready", "");
    etcd.compact();
    link.reset();
    link.set(Weather::Fair);
    eventually(2 * PATIENCE, "a listing", || get(serin.address(), "/new").header("x-new").is_some());
    // That it was a listing, also of registrations, only the log says; a new instance shows that they are followed.
    let late = tireless_endpoint("late");
    etcd.put("/my_shop_PRO/late", late.to_string());
    eventually(2 * PATIENCE, "registrations are followed", || get(serin.address(), "/").text() == "late");

    assert_eq!(endpoint(&bad.address())["breaker"]["state"], "open");
    assert_eq!(endpoint(&drained)["draining"], true);
    assert!(requests() >= before, "{} requests, {before} before", requests());
    assert_eq!(endpoint(&good)["connections_opened"], opened, "connections are kept");
    (0..50).for_each(|_| assert!(["good", "late"].contains(&get(serin.address(), "/").text())));
}
