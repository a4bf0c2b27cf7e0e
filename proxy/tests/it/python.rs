//! Clients and services of Python that others use in earnest: grpcio and websockets, in clear text and over TLS.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Serin, skip};
use crate::tls::Authority;

/// A service in a process of its own.
struct Service {
    process: Child,
    address: SocketAddr,
}

impl Service {
    /// Nothing if the packages are not installed.
    fn start(script: &str) -> Option<Self> {
        let mut process = Command::new(python()?)
            .args([&*path(script), "serve"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let mut port = String::new();
        BufReader::new(process.stdout.take().expect("it is piped")).read_line(&mut port).expect("a line");
        let port: u16 = port.trim().parse().unwrap_or_else(|_| panic!("{script} serves nothing: {port:?}"));
        Some(Self { process, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

/// A proxy in front of a service, in clear text and with TLS.
struct Fixture {
    _service: Service,
    serin: Serin,
}

impl Fixture {
    fn start(script: &str, upstream: &str) -> Option<Self> {
        let service = Service::start(script)?;
        let authority = Authority::new("any");
        let files = [&authority.sign(&["echo.test"]).files("echo")[..], &[("ca.pem".into(), authority.pem())]].concat();
        let rules = format!(
            "listeners: {{plain: {{address: \"127.0.0.1:0\"}}, secure: {{address: \"127.0.0.1:0\", tls: {{}}}}}}\n\
             routes: {{all: {{upstream: app}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
             certificates: {{echo: {{hosts: [echo.test], cert_file: echo.crt, key_file: echo.key}}}}\n\
             upstreams: {{app: {{{upstream}endpoints: [\"{}\"]}}}}\n",
            service.address
        );
        let serin = Serin::beside(&files, &rules, serin_proxy::server::ConnectionLimits::default());
        Some(Self { _service: service, serin })
    }

    /// What the client of the script says of its visit.
    fn call(&self, script: &str, arguments: &[&str]) -> Value {
        let program = python().expect("it was there before");
        let said = Command::new(program).args([&*path(script), "call"]).args(arguments).output().expect("Python runs");
        let text = String::from_utf8_lossy(&said.stdout);
        let error = String::from_utf8_lossy(&said.stderr);
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}\n{error}"))
    }

    fn authority(&self) -> String {
        self.serin.folder.path().join("ca.pem").display().to_string()
    }
}

#[test]
fn grpcio_makes_calls_of_all_kinds() {
    let Some(fixture) = Fixture::start("grpc_echo.py", "protocol: h2c, ") else { return };
    let plain = fixture.serin.address_of("plain").to_string();
    let secure = fixture.serin.address_of("secure").to_string();
    let expected = json!({
        "unary": "hello for ada",
        "first": "1",
        "last": "00ff",
        "expand": ["a", "b", "c"],
        "collect": "abc",
        "chat": ["re: one", "re: two"],
        "large": 3 << 20,
        "fail": "FAILED_PRECONDITION: not “today”",
        "unknown": "UNIMPLEMENTED",
        "late": "DEADLINE_EXCEEDED",
        "cancelled": "CANCELLED",
        "elsewhere": "UNIMPLEMENTED",
    });
    assert_eq!(fixture.call("grpc_echo.py", &[&plain]), expected);
    assert_eq!(fixture.call("grpc_echo.py", &[&secure, &fixture.authority(), "echo.test"]), expected);
}

#[test]
fn websockets_talk_in_both_directions() {
    let Some(fixture) = Fixture::start("websocket_echo.py", "") else { return };
    let expected = json!({
        "subprotocol": "serin.test",
        "text": "hello",
        "large": true,
        "pieces": "in pieces",
        "ping": true,
        "closed": [4001, "as asked"],
    });
    let plain = fixture.serin.address_of("plain").to_string();
    let secure = fixture.serin.address_of("secure").to_string();
    assert_eq!(fixture.call("websocket_echo.py", &[&plain]), expected);
    assert_eq!(fixture.call("websocket_echo.py", &[&secure, &fixture.authority(), "echo.test"]), expected);
}

fn path(script: &str) -> String {
    format!("{}/tests/it/python/{script}", env!("CARGO_MANIFEST_DIR"))
}

/// Python with both packages: where `cargo xtask test` puts it, or on the path.
fn python() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the folder of builds");
    let candidates = [target.join("tools/clients/bin/python"), PathBuf::from("python3")];
    let has_both = |program: &&PathBuf| {
        let said = Command::new(program).args(["-c", "import grpc, websockets.sync"]).output();
        said.is_ok_and(|said| said.status.success())
    };
    let found = candidates.iter().find(has_both).cloned();
    if found.is_none() {
        skip("grpcio and websockets are not installed (`cargo xtask test` brings them from PyPI)");
    }
    found
}
