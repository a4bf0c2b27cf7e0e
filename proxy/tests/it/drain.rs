//! How the program ends and what signals do.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::control::{Program, replace, tireless_endpoint};
use crate::support::{Client, Origin, PATIENCE, Then, eventually, get};

fn slow(milliseconds: u64) -> Origin {
    Origin::start(move |visit| {
        std::thread::sleep(Duration::from_millis(milliseconds));
        visit.answer(200, &[], b"late")
    })
}

fn config(origin: &Origin, shutdown: &str) -> (TempDir, PathBuf) {
    config_for(origin.address(), shutdown)
}

fn config_for(endpoint: SocketAddr, shutdown: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("serin.yaml");
    let text = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n\
         shutdown: {{{shutdown}}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\n"
    );
    fs::write(&path, text).expect("room");
    (folder, path)
}

/// Sends a request and waits until the endpoint has it.
fn under_way(program: &Program, origin: &Origin) -> Client {
    let mut client = Client::connect(program.address("web"));
    client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    origin.wait_until("the request", |log| !log.requests.is_empty());
    client
}

#[test]
fn requests_under_way_finish_and_the_exit_code_is_good() {
    let origin = slow(500);
    let (_folder, path) = config(&origin, "deadline: 10s");
    let mut program = Program::start(&path);
    let mut client = under_way(&program, &origin);
    program.signal("TERM");
    eventually(PATIENCE, "a closed port", || TcpStream::connect(program.address("web")).is_err());
    let reply = client.reply();
    assert_eq!(reply.text(), "late");
    assert!(reply.announces_close());
    assert_eq!(program.exit_code(), Some(0), "{}", program.log());
}

#[test]
fn readiness_goes_first_and_requests_are_served_during_the_delay() {
    let origin = Origin::named("app");
    let (_folder, path) = config(&origin, "delay: 1s");
    let mut program = Program::start(&path);
    assert_eq!(program.admin("/readyz").status, 200);
    program.signal("TERM");
    eventually(PATIENCE, "not ready", || program.admin("/readyz").status == 503);
    assert!(program.admin("/readyz").text().contains("\"reasons\":[\"draining\"]"));
    assert_eq!(program.admin("/healthz").status, 200);
    assert_eq!(get(program.address("web"), "/").status, 200);
    assert_eq!(program.exit_code(), Some(0));
}

#[test]
fn the_deadline_cuts_what_does_not_end() {
    let origin = slow(8_000);
    let (_folder, path) = config(&origin, "deadline: 1s");
    let mut program = Program::start(&path);
    let _client = under_way(&program, &origin);
    let began = Instant::now();
    program.signal("TERM");
    assert_eq!(program.exit_code(), Some(0));
    assert!((900..4_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
}

/// Bytes of a tunnel belong to nobody whose end could be awaited.
#[test]
fn the_deadline_cuts_tunnels_too_and_the_exit_code_is_good() {
    let origin = Origin::start(|visit| {
        visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
        loop {
            let mut buffer = [0; 64];
            match visit.read_some(&mut buffer)? {
                0 => return Ok(Then::Close),
                count => visit.write(&buffer[..count])?,
            }
        }
    });
    let (_folder, path) = config(&origin, "deadline: 2s");
    let mut program = Program::start(&path);
    let mut client = Client::connect(program.address("web"));
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    assert_eq!(client.request("GET", "/socket", &fields, b"").status, 101);
    let began = Instant::now();
    program.signal("TERM");
    eventually(PATIENCE, "a closed port", || TcpStream::connect(program.address("web")).is_err());
    client.send("hello");
    assert_eq!(client.take(5).unwrap(), b"hello", "until then it goes on");
    assert_eq!(client.rest(), b"");
    assert_eq!(program.exit_code(), Some(0), "{}", program.log());
    assert!((1_900..6_000).contains(&began.elapsed().as_millis()), "{:?}", began.elapsed());
    origin.wait_until("closed", |log| log.open == 0);
}

/// What came of a request on a connection that had been made.
fn answer_to(mut stream: TcpStream) -> std::io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")?;
    let (mut answer, mut buffer) = (String::new(), [0; 4096]);
    while !answer.ends_with("\r\n\r\napp") {
        match stream.read(&mut buffer)? {
            0 => break,
            count => answer.push_str(&String::from_utf8_lossy(&buffer[..count])),
        }
    }
    Ok(answer)
}

/// Makes one connection after another, until nobody listens.
fn besiege(address: SocketAddr, served: &AtomicUsize) {
    while let Ok(stream) = TcpStream::connect(address) {
        match answer_to(stream) {
            Ok(answer) if answer.ends_with("\r\n\r\napp") => served.fetch_add(1, Relaxed),
            other => panic!("a connection came to nothing: {other:?}"),
        };
    }
}

/// Sends requests on kept connections until nobody listens. A connection may end only behind an answer that says so.
fn stay(address: SocketAddr) {
    while let Ok(stream) = TcpStream::connect(address) {
        let mut client = Client::of(stream);
        while !client.get("/").announces_close() {}
    }
}

#[test]
fn whoever_got_a_connection_in_the_moment_of_the_signal_is_served() {
    let (_folder, path) = config_for(tireless_endpoint("app"), "deadline: 10s");
    for _ in 0..4 {
        let mut program = Program::start(&path);
        let (address, served) = (program.address("web"), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            (0..16).for_each(|_| drop(scope.spawn(|| besiege(address, &served))));
            (0..4).for_each(|_| drop(scope.spawn(|| stay(address))));
            eventually(PATIENCE, "load", || served.load(Relaxed) > 100);
            program.signal("TERM");
        });
        assert_eq!(program.exit_code(), Some(0), "{}", program.log());
    }
}

#[test]
fn a_second_signal_cuts_at_once() {
    let origin = slow(8_000);
    let (_folder, path) = config(&origin, "delay: 10s, deadline: 30s");
    let mut program = Program::start(&path);
    let _client = under_way(&program, &origin);
    program.signal("TERM");
    eventually(PATIENCE, "draining", || program.admin("/readyz").status == 503);
    let began = Instant::now();
    program.signal("INT");
    assert_eq!(program.exit_code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[test]
fn an_order_to_reload_while_draining_cuts_nothing() {
    let origin = slow(700);
    let (_folder, path) = config(&origin, "deadline: 10s");
    let mut program = Program::start(&path);
    let mut client = under_way(&program, &origin);
    program.signal("TERM");
    eventually(PATIENCE, "draining", || program.admin("/readyz").status == 503);
    program.signal("HUP");
    assert_eq!(client.reply().text(), "late");
    assert_eq!(program.exit_code(), Some(0));
}

#[test]
fn a_signal_right_after_the_ready_line_is_heard() {
    let origin = Origin::named("app");
    let (_folder, path) = config(&origin, "");
    for _ in 0..5 {
        let mut program = Program::start(&path);
        program.signal("TERM");
        assert_eq!(program.exit_code(), Some(0), "{}", program.log());
    }
}

#[test]
fn hangup_reads_the_files_again_and_ends_nothing() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let (_folder, path) = config(&one, "");
    let program = Program::start(&path);
    let text = fs::read_to_string(&path).expect("it is there");
    replace(&path, &text.replace(&one.address().to_string(), &two.address().to_string()));
    program.signal("HUP");
    eventually(PATIENCE, "the new rules", || get(program.address("web"), "/").text() == "two");
}
