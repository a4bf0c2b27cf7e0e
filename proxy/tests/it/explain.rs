//! `serin explain` through the program: what it assumes, what it refuses, and how it says so.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::control::{Program, serin};
use crate::support::{Client, Origin, PATIENCE, eventually};

/// What a request with `%2F` gets is what it is said to get, body limit included.
#[test]
fn a_route_lets_in_what_explain_says_it_lets_in() {
    let origin = Origin::named("app");
    let (_folder, path) = write(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n\
         routes:\n  strict: {{paths: [{{prefix: /s}}], limits: {{body: 3B}}, upstream: app}}\n\
         \x20 keep: {{paths: [{{prefix: /k}}], encoded_slashes: keep, upstream: app}}\n",
        origin.address()
    ));
    let program = Program::start(&path);
    for (target, length, status) in [
        ("/s/a", 3, 200),
        ("/s/a%2Fb", 0, 400),
        ("/s/a%5cb", 0, 400),
        ("/k/a%2Fb", 0, 200),
        ("/s/a", 4, 413),
        ("/none", 0, 404),
    ] {
        let mut client = Client::connect(program.address("web"));
        assert_eq!(client.request("POST", target, &[], &b"xxxx"[..length]).status, status, "{target}");
        let length = format!("content-length: {length}");
        let answer = json(&path, &["-X", "POST", "-H", &length, &format!("http://a.test{target}")]);
        let told = answer["answer"].as_str().unwrap_or("200");
        assert!(told.starts_with(&status.to_string()), "{target}: {answer}");
    }
}

#[test]
fn a_pin_that_is_refused_is_shown_with_the_reason() {
    let origin = Origin::named("app");
    let rules = |rest: &str| {
        format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nroutes: {{all: {{upstream: old, release: next}}}}\n\
             upstreams: {{old: {{endpoints: [\"127.0.0.1:1\"]}}, new: {{endpoints: [\"{}\"]}}}}\n\
             releases: {{next: {{stable: old, canary: new, audience: [{{name: all, percent: 50}}], override: {{header: x-group}}, \
             sticky: {{key: [{{header: x-user}}]}}}}}}\n{rest}\n",
            origin.address()
        )
    };
    let (folder, path) = write(&rules("secret_file: secret"));
    fs::write(folder.path().join("secret"), [7; 32]).unwrap();
    let program = Program::start(&path);
    let pin = (0..100).find_map(|user| {
        let user = user.to_string();
        let reply = Client::connect(program.address("web")).request("GET", "/", &[("x-user", &user)], b"");
        let line = reply.header("set-cookie")?;
        line.split_once(';').map(|(pin, _)| pin.to_owned())
    });
    let pin = pin.expect("half of all users get a pin");
    let refused = |cookie: &str| {
        let field = format!("cookie: {cookie}");
        let answer = json(&path, &["-H", &field, "http://a.test/"]);
        answer["release"]["pin_refused"]["reason"].as_str().map(str::to_owned)
    };
    assert_eq!(refused(&pin), None, "a good pin");
    assert_eq!(refused("other=1"), None, "no pin");
    assert_eq!(refused("serin-pin-next=nonsense").as_deref(), Some("malformed"));
    let place = pin.len() - 8;
    let other = if pin.as_bytes()[place] == b'A' { 'B' } else { 'A' };
    let forged = format!("{}{other}{}", &pin[..place], &pin[place + 1..]);
    assert_eq!(refused(&forged).as_deref(), Some("signature"), "{forged}");
    let field = format!("cookie: {forged}");
    let told = stdout(&path, &["-H", &field, "-H", "x-user: 7", "http://a.test/"]);
    assert!(told.contains("pin       ignored: forged, or issued for another release, salt or secret\n"), "{told}");
    fs::write(folder.path().join("secret"), [8; 32]).unwrap();
    assert_eq!(refused(&pin).as_deref(), Some("signature"), "another secret");
    fs::write(&path, rules("")).unwrap();
    assert_eq!(refused(&pin).as_deref(), Some("no_secret"));
}

const LISTENERS: &str = "listeners: {inner: {address: \"127.0.0.1:8081\"}, web: {address: \"127.0.0.1:8080\"}}\n\
    routes:\n  all: {upstream: u}\n  status: {paths: [{exact: /status}], listeners: [inner], upstream: u}\n\
    upstreams: {u: {endpoints: [\"127.0.0.1:1\"]}}\n";

#[test]
fn the_listener_is_chosen_or_said_to_be_assumed() {
    let (_folder, path) = write(LISTENERS);
    for (arguments, listener, route) in [
        (&["http://a.test/status"][..], "listener  inner, assumed; through web: route all\n", "status"),
        (&["--listener", "web", "http://a.test/status"], "listener  web; through inner: route status\n", "all"),
        (&["http://a.test/"], "listener  inner, assumed; no other listener gives another route\n", "all"),
    ] {
        let told = stdout(&path, arguments);
        assert!(told.contains(listener) && told.contains(&format!("route     {route}\n")), "{arguments:?}\n{told}");
    }
    let answer = json(&path, &["http://a.test/status"]);
    assert_eq!(answer["listener"]["is_assumed"], true);
    assert_eq!(answer["listener"]["otherwise"][0]["route"], "all");
    let (_folder, path) = write(&LISTENERS.replace("listeners: [inner], ", ""));
    assert!(!stdout(&path, &["http://a.test/status"]).contains("listener"), "where it makes no difference");
}

/// Exit code 2 and a reason: on stderr, or as JSON for whoever asked for JSON.
#[test]
fn what_cannot_be_answered_is_refused_in_words_and_in_json() {
    let (_folder, path) = write(LISTENERS);
    let path = path.to_str().unwrap();
    let url = "http://a.test/";
    for (arguments, reason) in [
        (&["--config", path, "not a url"][..], "not a URL"),
        (&["--config", path, "/no-host"], "has no host"),
        (&["--config", path, "--listener", "wbe", url], "there is no listener `wbe`; known are: inner, web"),
        (&["--config", path, "-X", "G T", url], "`G T` is not a method"),
        (&["--config", path, "-H", "x y: 1", url], "is not a header field"),
        (&["--config", path, "-H", "no colon", url], "a header field is written `name: value`"),
        (&["--config", path, "--ip", "nobody", url], "invalid value 'nobody' for '--ip <IP>'"),
        (&["--config", path, "--nonsense", url], "--nonsense"),
        (&["--config", path], "<URL>"),
        (&["--config", "/nowhere.yaml", url], "/nowhere.yaml: cannot be read"),
    ] {
        let output = serin(&[&["explain"], arguments].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(told.contains(reason) && output.stdout.is_empty(), "{arguments:?}\n{told}");
        let output = serin(&[&["explain", "--json"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
        assert!(told["error"].as_str().unwrap().contains(reason), "{arguments:?}\n{told}");
    }
}

/// An instance says what its file says, in the same words, and what was before.
#[test]
fn an_instance_explains_as_its_file_does() {
    // As it has TLS with its endpoints, so it has in what was before.
    let ca = serde_json::to_string(&crate::tls::Authority::new("ours").pem()).unwrap();
    let text = "listeners: {web: {address: \"127.0.0.1:0\"}, a: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\nstate_dir: state\n\
        routes: {all: {upstream: old, release: next, listeners: [web], mirror: {upstream: new, percent: 1}}}\n\
        upstreams: {old: {endpoints: [\"127.0.0.1:1\"], tls: {ca: CA}}, new: {endpoints: [\"127.0.0.1:2\"], tls: {ca: CA}}}\n\
        releases: {next: {stable: old, canary: new, audience: [{name: all, percent: 50}], override: {header: x-group}, \
        sticky: {key: [{header: x-user}]}}}\n";
    let (_folder, path) = write(&text.replace("CA", &ca));
    let program = Program::start(&path);
    let admin = format!("http://{}", program.address("admin"));
    let ask = |arguments: &[&str]| serin(&[&["explain"], arguments].concat());
    for question in [
        &["http://a.test/"][..],
        &["-H", "x-user: 7", "--listener", "web", "http://a.test/cart?x=1"],
        &["-H", "x-user: 42", "--listener", "web", "http://a.test/"],
        &["-H", "x-group: canary", "--ip", "2001:db8::1", "-X", "POST", "--json", "http://a.test/"],
        &["http://a.test:99999/"],
        &["--listener", "none", "http://a.test/"],
    ] {
        let by_file = ask(&[&["--config", path.to_str().unwrap()], question].concat());
        let by_instance = ask(&[&["--admin", &admin], question].concat());
        assert_eq!((by_file.status, by_file.stdout), (by_instance.status, by_instance.stdout), "{question:?}");
    }
    let said = |arguments: &[&str]| {
        let output = ask(arguments);
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (text, output.status.code())
    };
    let asked =
        |at: &str| said(&["--admin", &admin, "--at", at, "-H", "x-user: 7", "--listener", "web", "http://a.test/"]);
    eventually(PATIENCE, "it has begun", || asked("-0s").1 == Some(0));
    assert!(asked("-0s").0.contains("\nat        20"), "{:?}", asked("-0s"));
    assert!(asked("-0s").0.contains("\nendpoint  127.0.0.1:") && !asked("-0s").0.contains("502"), "{:?}", asked("-0s"));
    let (text, code) = asked("-1000h");
    assert!(text.contains("the history of release `next` begins at") && code == Some(1), "{code:?} {text}");
    assert_eq!(asked("tomorrow").1, Some(2));
    // Files know nothing of the past, and two cannot explain at once.
    assert_eq!(said(&["--at", "-1h", "http://a.test/"]).1, Some(2));
    let (text, code) = said(&["--config", path.to_str().unwrap(), "--admin", &admin, "http://a.test/"]);
    assert!(text.contains("either a file explains") && code == Some(2), "{code:?} {text}");
    assert_eq!(said(&["--admin", "http://127.0.0.1:9", "http://a.test/"]).1, Some(3));
}

fn write(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn stdout(path: &std::path::Path, arguments: &[&str]) -> String {
    let output = serin(&[&["explain", "--config", path.to_str().unwrap()], arguments].concat());
    String::from_utf8(output.stdout).unwrap()
}

fn json(path: &std::path::Path, arguments: &[&str]) -> Value {
    let text = stdout(path, &[&["--json"], arguments].concat());
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{arguments:?}: {text}"))
}
