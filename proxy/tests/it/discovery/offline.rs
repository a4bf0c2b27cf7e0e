//! What is said of such endpoints where nobody looks anything up: `check`, `explain` and `diff` of files.

use std::path::Path;

use crate::support::control::serin;

const RULES: &str = "listeners: {web: {address: \"127.0.0.1:0\"}}
routes: {all: {upstream: app, release: next}}
upstreams:
  app: {discovery: {dns: {name: app.test, port: 8080, resolvers: [\"127.0.0.1:1\"]}}}
  next: {discovery: {dns: {name: _http._tcp.next.test, srv: true}}}
releases:
  next: {stable: app, canary: next, audience: [{name: all, percent: 50}], override: {header: x-group}}
";

fn write(folder: &Path, name: &str, rules: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, rules).expect("the rules are written");
    path.to_str().expect("UTF-8").to_owned()
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = serin(arguments);
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code(), text.into_owned())
}

#[test]
fn files_are_right_without_a_lookup_and_explained_as_if_it_had_found_something() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "serin.yaml", RULES);
    let (code, said) = run(&["check", &path]);
    assert_eq!(
        (code, said.ends_with("is right: 1 listeners, 1 routes, 2 upstreams, 1 releases\n")),
        (Some(0), true),
        "{said}"
    );
    let explain =
        |group: &str| run(&["explain", "--config", &path, "-H", &format!("x-group: {group}"), "http://a.test/"]);
    let stable = "request   a.test/ from 127.0.0.1\nroute     all\nrelease   next: stable (override)\nupstream  app\n\
                  discovery app by DNS A and AAAA of app.test, port 8080, not looked up here\n";
    assert_eq!(explain("stable"), (Some(0), stable.to_owned()));
    // A canary that has no endpoint here is not down.
    let canary = "request   a.test/ from 127.0.0.1\nroute     all\nrelease   next: canary (override)\nupstream  next\n\
                  discovery next by DNS SRV of _http._tcp.next.test, not looked up here\n";
    assert_eq!(explain("canary"), (Some(0), canary.to_owned()));
}

#[test]
fn another_name_moves_requests() {
    let folder = tempfile::tempdir().unwrap();
    let old = write(folder.path(), "old.yaml", RULES);
    let new = write(folder.path(), "new.yaml", &RULES.replace("name: app.test", "name: other.test"));
    let (code, said) = run(&["diff", &old, &new]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("discovery.dns.name") && said.contains("other.test"), "{said}");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for upstream in [
        "{discovery: {dns: {name: a b, port: 80}}}",
        "{discovery: {dns: {name: app.test}}}",
        "{discovery: {dns: {name: app.test, port: 70000}}}",
        "{discovery: {dns: {name: app.test, prot: 80}}}",
        "{discovery: {dns: {name: app.test, port: many}}}",
        "{discovery: {dsn: {name: app.test, port: 80}}}",
        "{discovery: dns}",
        "{discovery: {dns: {name: app.test, srv: true}, etcd: {}}}",
        "{endpoints: [\"10.0.0.1:80\"], discovery: {dns: {name: app.test, port: 80}}}",
    ] {
        let rules = format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nroutes: {{all: {{upstream: app}}}}\nupstreams: {{app: {upstream}}}\n"
        );
        let path = write(folder.path(), "serin.yaml", &rules);
        let (code, text) = run(&["check", &path]);
        assert_eq!(code, Some(1), "{text}");
        said.push(text.lines().next().unwrap_or_default().replace(&path, "serin.yaml"));
    }
    let so = |problem: &str| format!("serin.yaml:3:{problem}; so routes.all is not in force");
    let expected = [
        "43: upstreams.app.discovery.dns.name: `a b` has a character other than letters, digits, `-`, `_` and `.`",
        "36: upstreams.app.discovery.dns: `port: 8080` is missing; or `srv: true`, where SRV records say the ports",
        "59: upstreams.app.discovery.dns.port: 70000 is not between 1 and 65535",
        "53: upstreams.app.discovery.dns.prot: unknown field `prot`, did you mean `port`?",
        "59: upstreams.app.discovery.dns.port: \"many\" is not a whole number",
        "31: upstreams.app.discovery.dsn: unknown value `dsn`, did you mean `dns`?",
        "30: upstreams.app.discovery: `dns` needs a value, write `{dns: …}`",
        "30: upstreams.app.discovery: expected one key, found `dns` and `etcd`",
        "58: upstreams.app.discovery: an upstream has only one of `endpoints` and `discovery`",
    ];
    assert_eq!(said, expected.map(so));
}
