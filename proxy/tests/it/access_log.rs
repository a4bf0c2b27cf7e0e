//! A line per request: what it says, and what happens when nobody takes it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use serin_proxy::server::{Order, Server, StartOptions};

use crate::support::{Client, Origin, PATIENCE, Serin, eventually};

fn serin(origin: &Origin, log: &str) -> Serin {
    Serin::serving(&format!(
        "access_log: {log}\nroutes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    ))
}

fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    eventually(PATIENCE, "lines", || read().lines().count() >= count);
    read().lines().map(str::to_owned).collect()
}

#[test]
fn a_line_of_json_has_the_fields_that_are_asked_for() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("access.log");
    let serin = serin(&origin, &format!("{{to: \"{}\"}}", path.display()));
    serin.client().request("POST", "/a?b=c", &[("User-Agent", "tester")], b"four");
    let line = lines(&path, 1).remove(0);
    let fields: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let endpoint = origin.address().to_string();
    let expected = [
        ("method", "POST"),
        ("host", "a.test"),
        ("target", "/a?b=c"),
        ("protocol", "HTTP/1.1"),
        ("client", "127.0.0.1"),
        ("route", "all"),
        ("upstream", "app"),
        ("endpoint", &endpoint),
        ("user_agent", "tester"),
    ];
    for (name, value) in expected {
        assert_eq!(fields[name], value, "{name} in {line}");
    }
    assert_eq!((&fields["status"], &fields["request_bytes"]), (&200.into(), &4.into()), "{line}");
    assert_eq!(fields["response_bytes"], 3, "{line}");
    assert_eq!(fields["request_id"].as_str().map(str::len), Some(32), "{line}");
    assert!(fields["duration_ms"].as_f64().is_some_and(|time| time > 0.0), "{line}");
    assert!(fields["time"].as_str().is_some_and(|time| time.ends_with('Z')), "{line}");
}

#[test]
fn nobody_can_write_into_an_operators_terminal() {
    let origin = Origin::named("app");
    for format in ["json", "text"] {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("access.log");
        let serin = serin(&origin, &format!("{{to: \"{}\", format: {format}}}", path.display()));
        let mut client = serin.client();
        // A tab, and the one-character beginning of a terminal command beyond ASCII.
        client.send("GET /a%0ab HTTP/1.1\r\nHost: a.test\r\nUser-Agent: x\ty\u{9b}31mred\r\n\r\n");
        client.reply();
        serin.client().get("/end");
        let lines = lines(&path, 2);
        assert_eq!(lines.len(), 2, "{lines:?}");
        for line in lines {
            assert!(!line.chars().any(char::is_control), "{format}: {line:?}");
        }
    }
}

#[test]
fn the_file_is_opened_again_when_asked() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("access.log");
    let serin = serin(&origin, &format!("{{to: \"{}\", format: text}}", path.display()));
    serin.client().get("/one");
    lines(&path, 1);
    fs::rename(&path, folder.path().join("access.log.1")).expect("it is there");
    serin.server().order(Order::Reload);
    eventually(PATIENCE, "a new file", || path.exists());
    serin.client().get("/two");
    assert!(lines(&path, 1)[0].contains("/two"));
}

fn fifo(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("access.fifo");
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
    path
}

#[test]
fn a_pipe_that_nobody_empties_costs_lines_and_nothing_else() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = fifo(folder.path());
    // Open at both ends, so that it can be opened for writing; nobody reads.
    let _held = fs::File::options().read(true).write(true).open(&path).expect("a pipe");
    let serin = serin(&origin, &format!("{{to: \"{}\"}}", path.display()));
    let long = format!("/{}", "x".repeat(4_000));
    let mut client = serin.client();
    let mut dropped = 0.0;
    for round in 0..4_000 {
        assert_eq!(client.get(&long).status, 200);
        if round % 200 == 0 {
            dropped = serin.metric("serin_access_log_lines_dropped_total");
            if dropped > 0.0 {
                break;
            }
        }
    }
    assert!(dropped > 0.0);
}

#[test]
fn a_pipe_without_a_reader_does_not_keep_the_proxy_from_starting() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = fifo(folder.path());
    let config = folder.path().join("serin.yaml");
    let text = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nworkers: 1\naccess_log: {{to: \"{}\"}}\n\
         routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        path.display(),
        origin.address()
    );
    fs::write(&config, text).expect("room");
    let (told, started) = mpsc::channel();
    std::thread::spawn(move || {
        let server = Server::start(StartOptions { config, ..StartOptions::default() });
        let _ = told.send(server);
    });
    let server = started.recv_timeout(Duration::from_secs(3));
    // Lets the thread go in any case.
    let _reader = fs::File::options().read(true).write(true).open(&path);
    let server = server.expect("the start does not wait for a reader").expect("it starts");
    assert_eq!(Client::connect(server.listeners()[0].1).get("/").status, 200);
}

#[test]
fn lines_that_a_full_disk_does_not_take_are_counted() {
    let origin = Origin::named("app");
    let serin = serin(&origin, "{to: /dev/full}");
    for _ in 0..3 {
        assert_eq!(serin.client().get("/").status, 200);
    }
    eventually(PATIENCE, "dropped lines", || serin.metric("serin_access_log_lines_dropped_total") == 3.0);
}
