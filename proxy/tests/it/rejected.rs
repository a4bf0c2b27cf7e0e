//! What is wrong is said in three places, with file, line, column, path and reason, and harms nothing else.

use std::fs;

use crate::support::control::{Program, admin, replace};
use crate::support::{Origin, PATIENCE, Serin, eventually, get};

fn rules(origin: &Origin, more: &str) -> String {
    format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\nroutes:\n  all: {{upstream: app}}\n{more}",
        origin.address()
    )
}

#[test]
fn a_problem_is_on_stderr_in_the_api_and_a_metric_until_it_is_mended() {
    let origin = Origin::named("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("serin.yaml");
    fs::write(&config, rules(&origin, "")).expect("room");
    let program = Program::start(&config);
    let rejected = || program.admin("/api/v1/rejected").text().to_owned();
    assert_eq!(rejected(), "{\"count\":0,\"problems\":[],\"stale\":false}");
    replace(&config, &rules(&origin, "  bad: {upstream: app, hosts: [\"a..b\"]}\n  gone: {upstream: nothing}\n"));
    eventually(PATIENCE, "problems", || program.admin("/metrics").text().contains("serin_rules_rejected 2"));
    let text = rejected();
    for part in ["\"line\":7", "\"column\":32", "routes.bad.hosts[0]", "routes.gone.upstream", "serin.yaml"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let line = format!("{}:8:20: routes.gone.upstream: there is no upstream `nothing`", config.display());
    eventually(PATIENCE, "a log line", || program.log().contains(&line));
    assert_eq!(get(program.address("web"), "/").text(), "app", "the other route is not concerned");
    replace(&config, &rules(&origin, ""));
    eventually(PATIENCE, "no problems", || program.admin("/metrics").text().contains("serin_rules_rejected 0"));
    assert_eq!(rejected(), "{\"count\":0,\"problems\":[],\"stale\":false}");
}

#[test]
fn a_file_that_is_no_yaml_or_gone_or_no_text_changes_nothing() {
    let origin = Origin::named("app");
    let serin = Serin::start(&rules(&origin, ""));
    let broken: [(&str, Box<dyn Fn()>); 4] = [
        ("no yaml", Box::new(|| replace(&serin.config(), "routes: {a: ["))),
        ("no mapping", Box::new(|| replace(&serin.config(), "[]"))),
        ("no text", Box::new(|| fs::write(serin.config(), b"routes: \xff\xfe").expect("room"))),
        ("gone", Box::new(|| fs::remove_file(serin.config()).expect("it is there"))),
    ];
    for (what, break_it) in broken {
        break_it();
        eventually(PATIENCE, what, || serin.server().problems().len() == 1);
        assert_eq!(get(serin.address(), "/").text(), "app", "{what}");
        replace(&serin.config(), &rules(&origin, ""));
        eventually(PATIENCE, "mended", || serin.server().problems().is_empty());
    }
}

#[test]
fn a_name_defined_twice_belongs_to_the_first_file() {
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let serin = Serin::start(&rules(&one, ""));
    let second = format!("upstreams:\n  app: {{endpoints: [\"{}\"]}}\n", two.address());
    fs::write(serin.folder.path().join("second.yaml"), second).expect("room");
    let text = format!("{}sources: {{files: [second.yaml]}}\n", rules(&one, ""));
    // Which files there are is a setting, read at start.
    fs::write(serin.folder.path().join("main.yaml"), text).expect("room");
    let options =
        serin_proxy::server::StartOptions { config: serin.folder.path().join("main.yaml"), ..Default::default() };
    let server = serin_proxy::server::Server::start(options).expect("it starts");
    assert_eq!(get(server.listeners()[0].1, "/").text(), "one");
    let problem = server.problems()[0].to_string();
    assert!(problem.contains("second.yaml:2:3: upstreams.app: already defined in"), "{problem}");
    assert!(problem.contains("main.yaml, which comes first and wins"), "{problem}");
}

#[test]
fn an_upstream_removed_while_it_is_used_stays() {
    let origin = Origin::named("app");
    let serin = Serin::start(&rules(&origin, ""));
    replace(&serin.config(), &rules(&origin, "").replace("upstreams: {app:", "upstreams: {other:"));
    eventually(PATIENCE, "a problem", || serin.server().problems().len() == 1);
    assert!(serin.server().problems()[0].reason.contains("still used"), "{:?}", serin.server().problems());
    assert_eq!(get(serin.address(), "/").text(), "app");
}

#[test]
fn a_port_that_is_taken_is_said_and_had_as_soon_as_it_is_free() {
    let origin = Origin::named("app");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("an address");
    let serin = Serin::start(&rules(&origin, ""));
    let more = format!("web: {{address: \"127.0.0.1:0\"}}, more: {{address: \"{address}\"}}");
    replace(&serin.config(), &rules(&origin, "").replace("web: {address: \"127.0.0.1:0\"}", &more));
    eventually(PATIENCE, "a problem", || serin.server().problems().len() == 1);
    let problem = serin.server().problems()[0].to_string();
    assert!(problem.contains(&format!(":1:60: listeners.more.address: cannot listen on {address}")), "{problem}");
    drop(taken);
    eventually(PATIENCE, "the listener", || serin.server().listeners().len() == 2);
    assert_eq!(get(address, "/").text(), "app");
    eventually(PATIENCE, "nothing is wrong any longer", || serin.server().problems().is_empty());
    let answer = admin(serin.server().admin().expect("admin"), "/api/v1/rejected");
    assert_eq!(answer.text(), "{\"count\":0,\"problems\":[],\"stale\":false}");
}
