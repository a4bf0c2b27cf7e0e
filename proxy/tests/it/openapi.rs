//! The description of the admin API against the API itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::reference::workspace;
use crate::support::{Client, Origin, PATIENCE, Reply, Serin, eventually, skip};

fn serving() -> Serin {
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let (old, new) = (old.address(), new.address());
    let serin = Serin::serving(&format!(
        "routes: {{all: {{hosts: [shop.test], upstream: old, release: next, mirror: {{upstream: new, percent: 1}}}}}}\n\
         upstreams:\n  old: {{endpoints: [\"{old}\"], health: {{path: /}}, group_breaker: {{condition: \"NetworkErrorRatio() > 0.5\"}}, limits: {{in_flight: 9}}}}\n  \
         new: {{endpoints: [\"{new}\"], balance: round_robin}}\n\
         releases: {{next: {{stable: old, canary: new, audience: [{{name: all}}], phases: [{{percent: 1, lasts: 1h}}, 50], \
         sticky: {{key: [{{header: x-user}}]}}}}}}\n"
    ));
    eventually(PATIENCE, "the release is written down", || {
        serin.admin_json("/api/v1/releases/next")["number"].as_u64() > Some(0)
    });
    serin
}

fn ask(serin: &Serin, method: &str, target: &str, body: &Value) -> Reply {
    let admin = serin.server().admin().expect("an admin API");
    let fields = [("Host", "localhost"), ("Content-Type", "application/json"), ("If-Match", "*")];
    Client::connect(admin).request(method, target, &fields, body.to_string().as_bytes())
}

/// Whether an answer is one of those that the description has for its status.
#[track_caller]
fn is_as_described(document: &Value, (path, method): (&str, &str), reply: &Reply) {
    let described = &document["paths"][path][method]["responses"][reply.status.to_string()]["content"];
    let schema = &described["application/json"]["schema"];
    assert!(schema.is_object(), "{method} {path}: {} is not described: {described}", reply.status);
    let whole = json!({"allOf": [schema], "components": document["components"]});
    let validator = jsonschema::validator_for(&whole).expect("a schema");
    let answer: Value = serde_json::from_slice(&reply.body).expect("JSON");
    let errors: Vec<String> =
        validator.iter_errors(&answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {path}: {errors:#?}\n{answer:#}");
}

#[test]
fn answers_are_as_described() {
    let serin = serving();
    let document = serin.admin_json("/api/v1/openapi.json");
    let simple = document["paths"].as_object().expect("paths").iter().filter(|(path, item)| {
        let is_text = ["/healthz", "/metrics", "/api/v1/explain"].contains(&path.as_str());
        item["get"].is_object() && !path.contains('{') && !is_text
    });
    let mut count = 0;
    for (path, _) in simple {
        is_as_described(&document, (path, "get"), &ask(&serin, "GET", path, &json!({})));
        count += 1;
    }
    assert!(count >= 7, "{count}");
    let release = "/api/v1/releases/{release}";
    for (path, method, target, body, status) in [
        (release, "get", "/api/v1/releases/next", json!({}), 200),
        (release, "get", "/api/v1/releases/gone", json!({}), 404),
        ("/api/v1/releases/{release}/history", "get", "/api/v1/releases/next/history", json!({}), 200),
        ("/api/v1/releases/{release}/history", "get", "/api/v1/releases/next/history?most=-1", json!({}), 400),
        ("/api/v1/releases/{release}/verdict", "get", "/api/v1/releases/next/verdict?wait=0s", json!({}), 200),
        ("/api/v1/releases/{release}/verdict", "get", "/api/v1/releases/next/verdict?wait=1h", json!({}), 400),
        ("/api/v1/releases/{release}/verdict", "get", "/api/v1/releases/gone/verdict", json!({}), 404),
        ("/api/v1/releases/{release}/{order}", "post", "/api/v1/releases/next/set", json!({"percent": 20}), 200),
        ("/api/v1/releases/{release}/{order}", "post", "/api/v1/releases/next/set", json!({"percent": 2}), 409),
        ("/api/v1/releases/{release}/{order}", "post", "/api/v1/releases/next/set", json!({"percent": "x"}), 422),
        ("/api/v1/releases/{release}/{order}", "post", "/api/v1/releases/next/pause?wait=now", json!({}), 400),
        ("/api/v1/releases/{release}/preview", "post", "/api/v1/releases/next/preview", json!({"percent": 20}), 200),
        ("/api/v1/releases/{release}/preview", "post", "/api/v1/releases/next/preview", json!({}), 400),
        ("/api/v1/releases/{release}/preview", "post", "/api/v1/releases/next/preview", json!({"rules": {}}), 422),
        ("/api/v1/explain", "get", "/api/v1/explain?url=http://shop.test/&ip=10.0.0.1", json!({}), 200),
        ("/api/v1/explain", "get", "/api/v1/explain?url=/nowhere", json!({}), 400),
        (
            "/api/v1/explain",
            "post",
            "/api/v1/explain",
            json!({"url": "http://shop.test/", "headers": [["a", "b"]]}),
            200,
        ),
        ("/api/v1/explain", "post", "/api/v1/explain", json!({"ulr": "x"}), 422),
        ("/api/v1/sources/etcd/confirm", "post", "/api/v1/sources/etcd/confirm", json!({}), 404),
    ] {
        let reply = ask(&serin, &method.to_uppercase(), target, &body);
        assert_eq!(reply.status, status, "{target}: {}", reply.text());
        is_as_described(&document, (path, method), &reply);
    }
    // The judge judges.
    let wrong = json!({"type": "object", "required": ["name"]});
    assert!(!jsonschema::validator_for(&wrong).expect("a schema").is_valid(&json!({})));
}

/// What is served is described, because there is no other way to serve it; and what is described is served.
#[test]
fn the_paths_are_those_of_the_router() {
    let source = std::fs::read_to_string(workspace().join("proxy/src/admin/mod.rs")).expect("the router");
    assert!(!source.contains(".route(") && source.matches(".routes(routes!(").count() > 10);
    let serin = serving();
    let document = serin.admin_json("/api/v1/openapi.json");
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        let target = path.replace("{release}", "next").replace("{order}", "pause").replace("{upstream}", "u");
        for method in item.as_object().expect("an item").keys() {
            let reply = ask(&serin, &method.to_uppercase(), &target.replace("{endpoint}", "e"), &json!({}));
            assert!(
                reply.status != 405 && !reply.text().contains("no such resource"),
                "{method} {path}: {}",
                reply.text()
            );
            assert!(item[method]["summary"].is_string(), "{method} {path} says nothing");
            assert!(
                ids.insert(item[method]["operationId"].as_str().expect("an id")),
                "{method} {path}: another has its id"
            );
        }
    }
    assert_eq!(ask(&serin, "GET", "/api/v1/nonsense", &json!({})).status, 404);
}

/// Whoever refuses, it is JSON.
#[test]
fn every_refusal_is_json_and_says_why() {
    let serin = serving();
    let admin = serin.server().admin().expect("an admin API");
    let large = format!("{{\"reason\": \"{}\"}}", "x".repeat(70_000));
    let json = ("Content-Type", "application/json");
    let order = "/api/v1/releases/next/pause";
    for (method, target, fields, body, status) in [
        ("GET", "/nonsense", vec![], "", 404),
        ("DELETE", "/api/v1/routes", vec![], "", 405),
        ("PUT", "/healthz", vec![], "", 405),
        ("BREW", order, vec![], "", 405),
        ("GET", "/api/v1/releases/%FF%FE", vec![], "", 400),
        ("GET", "/api/v1/releases/%FF%FE/history", vec![], "", 400),
        ("POST", "/api/v1/releases/%FF/pause", vec![json], "{}", 400),
        ("POST", "/api/v1/upstreams/%FF/endpoints/%FF/drain", vec![json], "{}", 400),
        ("GET", "/api/v1/explain", vec![], "", 400),
        ("GET", "/api/v1/explain?url=%FF", vec![], "", 400),
        ("POST", "/api/v1/explain", vec![("Content-Type", "text/plain")], "{}", 415),
        ("POST", order, vec![], "{}", 415),
        ("POST", order, vec![json], "{", 400),
        ("POST", order, vec![json], "\u{0}", 400),
        ("POST", order, vec![json], "[]", 422),
        ("POST", order, vec![json], "[\"anna\", \"why\"]", 422),
        ("POST", "/api/v1/upstreams/old/endpoints/127.0.0.1:1/drain", vec![json], "[]", 422),
        ("POST", "/api/v1/explain", vec![json], "[\"http://shop.test/\"]", 422),
        ("GET", "/api/v1/releases/next/history?most=501", vec![], "", 400),
        ("POST", order, vec![json], &large, 413),
        ("POST", "/api/v1/explain", vec![json], &large, 413),
    ] {
        let fields: Vec<_> = fields.into_iter().chain([("Host", "localhost"), ("If-Match", "*")]).collect();
        let reply = Client::connect(admin).request(method, target, &fields, body.as_bytes());
        assert_eq!(reply.status, status, "{method} {target}: {}", reply.text());
        let answer: Value =
            serde_json::from_slice(&reply.body).unwrap_or_else(|_| panic!("{method} {target}: {}", reply.text()));
        assert!(answer["error"].as_str().is_some_and(|error| !error.is_empty()), "{method} {target}: {answer}");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{method} {target}");
        assert_eq!(reply.header("allow").is_some(), status == 405, "{method} {target}");
    }
}

/// Requests that somebody made up who knows the description and nothing else: right ones, and wrong ones of every kind.
#[test]
fn schemathesis_finds_nothing() {
    let Some(program) = schemathesis() else { return };
    let serin = serving();
    let admin = serin.server().admin().expect("an admin API");
    let folder = tempfile::tempdir().expect("a folder");
    // What there is: else it would hardly guess a name, nor which number is the newest.
    let upstreams = serin.admin_json("/api/v1/upstreams");
    let endpoint = upstreams[1]["endpoints"][0]["address"].as_str().expect("an address");
    let known = format!(
        "[parameters]\nrelease = \"next\"\nif-match = \"*\"\nupstream = \"old\"\nendpoint = \"{endpoint}\"\n\
         url = \"http://shop.test/\"\n\
         [[operations]]\ninclude-path = \"/api/v1/releases/{{release}}/verdict\"\nparameters = {{ wait = \"0s\" }}\n"
    );
    std::fs::write(folder.path().join("schemathesis.toml"), known).expect("a file");
    let output = Command::new(program)
        .current_dir(&folder)
        .args(["run", &format!("http://{admin}/api/v1/openapi.json"), "--max-examples", "100", "--seed", "1"])
        .args(["--phases", "examples,coverage,fuzzing", "--no-color", "--no-shrink"])
        // An order that fits the description may still make no sense now: 409, 412.
        .args(["--exclude-checks", "positive_data_acceptance"])
        .output()
        .expect("schemathesis runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    // It has found the API, and come through to the release.
    let document = serin.admin_json("/api/v1/openapi.json");
    let operations = document["paths"].as_object().expect("paths").values().flat_map(|item| item.as_object()).flatten();
    // All but the description itself, which it reads.
    let count = operations.count() - 1;
    assert!(said.contains(&format!("Tested: {count}\n")), "{count}: {said}");
    assert!(serin.admin_json("/api/v1/releases/next")["number"].as_u64() > Some(1), "no order was carried out\n{said}");
    assert_eq!(serin.admin_status("/healthz"), 200);
}

/// Where `cargo xtask test` puts it, or on the path.
fn schemathesis() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the folder of builds");
    let ours = target.join("tools/schemathesis/bin/schemathesis");
    let candidates = [ours, PathBuf::from("schemathesis")];
    let found = candidates.into_iter().find(|program| Command::new(program).arg("--version").output().is_ok());
    if found.is_none() {
        skip("schemathesis is not installed (`cargo xtask test` brings it from PyPI)");
    }
    found
}
