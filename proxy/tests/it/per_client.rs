//! One client cannot take the connections of all.

use crate::support::control::Program;
use crate::support::http2::{Frames, Seen};
use crate::support::{Client, Origin, PATIENCE, Serin, eventually};

fn rules(origin: &Origin, more: &str) -> String {
    format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 4\n\
         limits: {{connections_per_client: 3}}\n{more}\n\
         routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    )
}

fn refused(serin: &Serin) -> f64 {
    serin.metric("serin_client_limit_reached_total")
}

#[test]
fn a_client_beyond_its_maximum_is_closed_and_nobody_else() {
    let origin = Origin::named("app");
    let serin = Serin::start(&rules(&origin, ""));
    let mut clients: Vec<Client> = (0..3).map(|_| serin.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    for count in 1..=4 {
        assert!(serin.client().ends_within(PATIENCE));
        assert_eq!(refused(&serin), f64::from(count));
    }
    assert_eq!(serin.metric("serin_connections_open"), 3.0);
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200, "those that were there go on");
    }
    assert_eq!(Client::from("127.0.0.2", serin.address()).get("/").status, 200, "another client");
    clients.pop();
    eventually(PATIENCE, "one has left", || serin.metric("serin_connections_open") == 2.0);
    assert_eq!(serin.client().get("/").status, 200, "there is room for one again");
    assert_eq!(refused(&serin), 4.0);
}

#[test]
fn parked_connections_count() {
    let serin = Serin::start_with(
        &rules(&Origin::named("app"), ""),
        serin_proxy::server::ConnectionLimits { park_ms: 100, ..Default::default() },
    );
    let _clients: Vec<Client> = (0..3).map(|_| serin.client()).collect();
    eventually(PATIENCE, "parked", || serin.metric("serin_connections_parked") == 3.0);
    assert!(serin.client().ends_within(PATIENCE));
}

#[test]
fn a_trusted_proxy_may_have_more() {
    let origin = Origin::named("app");
    let serin = Serin::start(&rules(&origin, "trusted_proxies: [127.0.0.1]"));
    let mut clients: Vec<Client> = (0..10).map(|_| serin.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(refused(&serin), 0.0);
    let _others: Vec<Client> = (0..3).map(|_| Client::from("127.0.0.2", serin.address())).collect();
    eventually(PATIENCE, "all are there", || serin.metric("serin_connections_open") == 13.0);
    assert!(Client::from("127.0.0.2", serin.address()).ends_within(PATIENCE));
}

#[test]
fn a_client_that_leaves_its_answers_lying_leaves_half_of_the_places_to_others() {
    let origin = Origin::start(|visit| match &*visit.request.target {
        "/hang" => visit.wait_for_end(),
        _ => visit.answer(200, &[], b"app"),
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("serin.yaml");
    let rules = rules(&origin, "").replace("connections_per_client: 3", "").replace("workers: 4", "workers: 1");
    std::fs::write(&config, rules).expect("room");
    // Of these 384 are for clients and endpoints, and 72 for requests at an upstream.
    let program = Program::start_with_descriptors(&config, 512);
    let address = program.address("web");
    let mut greedy = Frames::connect(address);
    (0..50).for_each(|place| greedy.get(2 * place + 1, "/hang"));
    let refused = |seen: &Seen| seen.streams.values().filter(|stream| stream.status == Some(429)).count();
    greedy.until("all above 36", |seen| refused(seen) == 14);
    assert_eq!(Client::from("127.0.0.2", address).get("/").status, 200, "another client");
    assert_eq!(Client::from("127.0.0.1", address).get("/").status, 429, "the same on another connection");
    drop(greedy);
    eventually(PATIENCE, "it has left", || Client::from("127.0.0.1", address).get("/").status == 200);
}
