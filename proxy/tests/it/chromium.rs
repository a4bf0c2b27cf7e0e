//! A browser that others use in earnest, over TLS: it checks the certificate, speaks HTTP/2, and does what pages do.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::{Value, json};
use serin_proxy::server::ConnectionLimits;
use tempfile::TempDir;

use crate::http2::websocket::accept;
use crate::support::{Origin, PATIENCE, Running, Serin, Then, Visit, eventually, said_by};
use crate::tls::Authority;

/// A browser with a home of its own, in which an authority is trusted.
struct Chromium {
    _process: Running,
    _home: TempDir,
}

impl Chromium {
    /// Opens a page. Nothing where it is not installed, unless it has to be.
    fn open(page: &str, authority: &Path) -> Option<Self> {
        let home = tempfile::tempdir().expect("a temporary folder");
        let trusted = home.path().join(".pki/nssdb");
        std::fs::create_dir_all(&trusted).expect("a folder");
        let trusted = format!("sql:{}", trusted.display());
        said_by(Command::new("certutil").args(["-N", "--empty-password", "-d", &trusted]))?;
        let adds = ["-A", "-n", "test", "-t", "C,,", "-d", &trusted, "-i"];
        said_by(Command::new("certutil").args(adds).arg(authority))?;
        let mut command = Command::new("chromium");
        command.env("HOME", home.path()).arg(format!("--user-data-dir={}", home.path().join("profile").display()));
        command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]);
        // Nothing but the page is asked for anything.
        command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
        command.args(["--host-resolver-rules=MAP app.test 127.0.0.1, MAP * ~NOTFOUND", page]);
        // It complains of whatever a machine without a desktop lacks.
        Some(Self { _process: Running::start(command.stderr(Stdio::null()))?, _home: home })
    }
}

fn serve(visit: &mut Visit<'_>) -> io::Result<Then> {
    let text = [("Content-Type", "text/plain")];
    match visit.request.target.split('?').next().unwrap_or_default() {
        "/" => visit.answer(200, &[("Content-Type", "text/html")], include_bytes!("chromium/page.html")),
        "/style.css" => visit.answer(200, &[("Content-Type", "text/css")], b"body { color: rgb(1, 2, 3) }"),
        "/text" => visit.answer(200, &text, "a line that is like the others\n".repeat(1_000).as_bytes()),
        "/echo" => {
            visit.read_body()?;
            let body = visit.request.body.clone();
            visit.answer(200, &text, &body)
        }
        "/wait" => visit.wait_for_end(),
        "/socket" => answer_on_socket(visit),
        _ => visit.answer(404, &text, b"nothing"),
    }
}

/// Takes a message and gives it back, in a frame that is not masked (RFC 6455 §5.1).
fn answer_on_socket(visit: &mut Visit<'_>) -> io::Result<Then> {
    accept(visit)?;
    let head = visit.read_exactly(6)?;
    let length = head[1] & 0x7F;
    let masked = visit.read_exactly(length.into())?;
    let message = masked.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask);
    visit.write([head[0], length].into_iter().chain(message).collect::<Vec<_>>())?;
    visit.wait_for_end()
}

#[test]
fn a_browser_visits_a_page_over_tls() {
    let (says, hears) = mpsc::channel();
    let origin = Origin::start(move |visit| {
        if visit.request.target == "/said" {
            visit.read_body()?;
            let _ = says.send(visit.request.body.clone());
        }
        serve(visit)
    });
    let authority = Authority::new("any");
    let files = [&authority.sign(&["app.test"]).files("app")[..], &[("ca.pem".into(), authority.pem())]].concat();
    let endpoint = origin.address();
    let rules = format!(
        "listeners: {{secure: {{address: \"127.0.0.1:0\", tls: {{}}, websocket_over_http2: true}}}}\n\
         admin: {{address: \"127.0.0.1:0\"}}\naccess_log: {{to: access.log}}\n\
         certificates: {{app: {{hosts: [app.test], cert_file: app.crt, key_file: app.key}}}}\n\
         routes: {{all: {{upstream: app, release: next, filters: [{{compress: {{with_credentials: true}}}}]}}}}\n\
         upstreams: {{app: {{endpoints: [\"{endpoint}\"]}}, next: {{endpoints: [\"{endpoint}\"]}}}}\n\
         releases: {{next: {{stable: app, canary: next, audience: [{{name: everyone, percent: 50}}],\n  \
         sticky: {{key: [serin_id]}}, expose: true}}}}\n"
    );
    let serin = Serin::beside(&files, &rules, ConnectionLimits::default());
    let page = format!("https://app.test:{}/", serin.address().port());
    let Some(chromium) = Chromium::open(&page, &serin.folder.path().join("ca.pem")) else { return };
    let said = hears.recv_timeout(Duration::from_secs(60)).expect("the page says how it was");
    let mut said: Value = serde_json::from_slice(&said).expect("JSON");
    let group = said["groups"].take();
    assert!(group == json!(["stable"]) || group == json!(["canary"]), "one user is of one group: {group}");
    // One that a browser has come to know lately.
    let coding = said["coding"].take();
    assert!(["gzip", "br", "zstd"].map(Value::from).contains(&coding), "{coding}");
    let expected = json!({
        "coding": null, "groups": null, "text": 31_000, "upload": 300_000, "many": 60, "left": "AbortError", "missing": 404,
        "socket": "hello", "protocols": ["h2"], "style": "rgb(1, 2, 3)",
    });
    assert_eq!(said, expected);
    // What the page itself and all its parts were served by, from the very first request on.
    let requests = origin.requests();
    let groups = requests.iter().filter(|request| request.target != "/favicon.ico");
    let groups: Vec<_> = groups.map(|request| request.header("x-serin-group").unwrap_or("none")).collect();
    assert!(groups.iter().all(|of| json!([of]) == group), "{groups:?}");
    drop(chromium);
    let log = || std::fs::read_to_string(serin.folder.path().join("access.log")).unwrap_or_default();
    eventually(PATIENCE, "the socket has ended", || log().contains("/socket"));
    for line in log().lines().filter(|line| line.ends_with('}')) {
        assert!(line.contains(r#""protocol":"HTTP/2.0""#), "sockets are streams, too: {line}");
    }
}
