//! Deploys: every endpoint in turn is left by what it has and started again, under load.

use super::load::{Failure, Load, Outcome};
use super::process::Process;
use super::server::Manner;
use super::{BRIEF, METHODS, endpoints, serves_again, serving};
use crate::support::client::request;
use crate::support::control::{Program, order};
use crate::support::{Client, Origin, PATIENCE, Serin, eventually};

fn deploy(leave: impl Fn(&Serin, &mut Process), back: impl Fn(&Serin, &Process)) -> Outcome {
    let mut endpoints = endpoints();
    let serin = serving(&endpoints, "", BRIEF);
    let load = Load::start(serin.address(), &METHODS);
    for endpoint in &mut endpoints {
        load.goes_on(100);
        leave(&serin, endpoint);
        load.goes_on(50);
        endpoint.start_again();
        back(&serin, endpoint);
        serves_again(&serin, endpoint);
    }
    load.end()
}

/// As servers should: whoever uses a connection is told that it ends.
#[test]
fn endpoints_that_announce_their_leave_cost_nothing() {
    let outcome = deploy(|_, endpoint| endpoint.leave(Manner::Patient), |_, _| ());
    println!("deployed with patience: {outcome:?}");
    assert!(outcome.failed.is_empty(), "{outcome:?}");
}

/// Where the endpoint itself closes without a word: it gets nothing more before it leaves.
#[test]
fn endpoints_that_are_drained_first_cost_nothing() {
    let admin = |serin: &Serin| serin.server().admin().expect("the rules open the admin API");
    let leave = |serin: &Serin, endpoint: &mut Process| {
        let in_flight = || order(admin(serin), endpoint.address(), "drain")["in_flight"].clone();
        eventually(PATIENCE, "nothing is under way", || in_flight() == 0);
        endpoint.leave(Manner::Abrupt);
    };
    let outcome = deploy(leave, |serin, endpoint| drop(order(admin(serin), endpoint.address(), "undrain")));
    println!("deployed after draining: {outcome:?}");
    assert!(outcome.failed.is_empty(), "{outcome:?}");
}

/// As most servers do. A request that was on its way when its connection was closed may have been heard: it is repeated
/// only if that does no harm.
#[test]
fn endpoints_that_close_without_a_word_cost_what_may_not_be_repeated() {
    let outcome = deploy(|_, endpoint| endpoint.leave(Manner::Abrupt), |_, _| ());
    println!("deployed abruptly: {outcome:?}");
    assert!(outcome.failed.keys().all(|method| *method == "POST"), "{outcome:?}");
    let posts = outcome.failed.values().flatten().collect::<Vec<_>>();
    assert!(posts.len() <= 6 && posts.iter().all(|failure| **failure == Failure::Status(502)), "{outcome:?}");
}

/// All of it came while Serin did not look: the request, then the close. Nothing is sent to who has closed.
#[test]
fn a_close_that_has_come_is_seen_before_a_post_is_sent() {
    let (origin, close) = Origin::closing_when_told();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("serin.yaml");
    let rules = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nworkers: 1\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    );
    std::fs::write(&config, rules).expect("the rules are written");
    let program = Program::start(&config);
    // CLOSE_WAIT, as seen by Serin.
    let port = format!(":{:04X} 08 ", origin.address().port());
    let half_closed = || std::fs::read_to_string("/proc/net/tcp").expect("the kernel says it");
    for round in 0..10 {
        let mut client = Client::connect(program.address("web"));
        assert_eq!(client.get("/first").status, 200);
        program.signal("STOP");
        eventually(PATIENCE, "it stands still", || program.stands_still());
        client.send(request("POST", "/second", &[], b"order"));
        close.send(()).unwrap();
        origin.wait_until("the close", |log| log.open == 0);
        eventually(PATIENCE, "the close is there", || half_closed().contains(&port));
        program.signal("CONT");
        assert_eq!(client.reply().status, 200, "round {round}");
        assert_eq!(origin.requests().iter().filter(|request| request.target == "/second").count(), round + 1);
        origin.wait_until("one", |log| log.open == 1);
    }
}
