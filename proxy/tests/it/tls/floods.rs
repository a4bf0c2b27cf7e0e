//! Clients that begin handshakes and do not go on.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::{Authority, Browser, rules};
use crate::support::control::{Program, tireless_endpoint};
use crate::support::{Client, PATIENCE, eventually};

/// A proxy for `a.test` that has few descriptors, and the folder that it needs: a worker has 225 connections with that, and a quarter of
/// them in handshakes.
fn short_of_descriptors() -> (tempfile::TempDir, Program) {
    let pair = Authority::new("any").sign(&["a.test"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, text) in pair.files("a") {
        std::fs::write(folder.path().join(name), text).expect("room");
    }
    let config = folder.path().join("serin.yaml");
    let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}}";
    std::fs::write(&config, rules(tireless_endpoint("app"), "{}", certificates)).expect("room");
    let program = Program::start_with_descriptors(&config, 400);
    (folder, program)
}

/// Whoever leaves our answer lying is in nobody's way for long.
#[test]
fn hellos_that_are_repeated_do_not_keep_others_out() {
    let (_folder, program) = short_of_descriptors();
    let address = program.address("secure");
    let hello = Browser::new().hello("a.test");
    let stalled: Vec<TcpStream> = (0..80)
        .map(|_| {
            let mut client = TcpStream::connect(address).expect("a connection");
            client.write_all(&hello).expect("room");
            client
        })
        .collect();
    let began = Instant::now();
    eventually(PATIENCE, "an answer", || Browser::new().get(address, "a.test").is_ok());
    // Long before their time is over, which is ten seconds.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(stalled);
}

#[test]
fn of_the_silent_the_oldest_go_and_whoever_speaks_is_served() {
    let (_folder, program) = short_of_descriptors();
    let address = program.address("secure");
    let mut silent: Vec<Client> = Vec::new();
    for _ in 0..200 {
        silent.push(Client::of(TcpStream::connect(address).expect("a connection")));
        if silent.len().is_multiple_of(40) {
            assert_eq!(Browser::new().get(address, "a.test").expect("an answer").body, "app");
        }
    }
    eventually(PATIENCE, "room was made", || program.metric("serin_connections_open") <= 60);
    assert!(silent[0].ends_within(PATIENCE) && !silent[199].hears_within(Duration::ZERO));
    let metrics = program.admin("/metrics").text().to_owned();
    let excess = metrics.lines().find(|line| line.starts_with("serin_tls_handshakes_total{result=\"excess\"}"));
    let excess: u32 = excess.and_then(|line| line.rsplit(' ').next()).expect("a count").parse().expect("a number");
    assert!((140..=155).contains(&excess), "{excess}");
}
