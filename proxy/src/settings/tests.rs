use std::path::Path;
use std::sync::Arc;

use super::Settings;
use crate::control_path::decode;

fn decoded(text: &str) -> Result<Settings, String> {
    let source: Arc<str> = "serin.yaml".into();
    let root = decode::parse(&source, text).unwrap();
    let mut problems = Vec::new();
    let settings = Settings::decode(&source, &root, &mut problems);
    assert_eq!(settings.is_none(), !problems.is_empty());
    settings.ok_or_else(|| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

#[test]
fn every_problem_is_placed_and_a_typo_gets_a_suggestion() {
    let cases = [
        ("workers: 0", "serin.yaml:1:10: workers: the number of workers is between 1 and 1024"),
        ("rutes: {}", "serin.yaml:1:1: rutes: unknown field `rutes`, did you mean `routes`?"),
        ("state_dri: /x", "serin.yaml:1:1: state_dri: unknown field `state_dri`, did you mean `state_dir`?"),
        ("trusted_proxies: [10.0.0.0/8, 10.0.0.0/33]", "serin.yaml:1:31: trusted_proxies[1]: "),
        ("sources: {files: [\"a\", \"[\"]}", "serin.yaml:1:24: sources.files[1]: invalid range pattern"),
        ("limits: {connections_per_client: 0}", "serin.yaml:1:34: limits.connections_per_client: a client needs"),
        ("sources: {etcd: {endpoints: []}}", "serin.yaml:1:29: sources.etcd.endpoints: a cluster has at least one"),
        ("sources: {etcd: {endpoints: [\"a:1\"]}}", "serin.yaml:1:30: sources.etcd.endpoints[0]: a member is `http"),
        ("sources: {etcd: {endpoints: [\"http://a\"]}}", "serin.yaml:1:30: sources.etcd.endpoints[0]: a member is"),
        ("sources: {etcd: {endpoints: [\"http://a:1\"], prefix: /a}}", "serin.yaml:1:53: sources.etcd.prefix: the pre"),
        ("sources: {etcd: {endpoints: [\"http://a:1\"], user: a}}", "serin.yaml:1:51: sources.etcd.user: `user` and"),
        ("sources: {etcd: {endpoints: [\"http://a:1\"], tls: {}}}", "serin.yaml:1:50: sources.etcd.tls: no member"),
        (
            "sources: {etcd: {endpoints: [\"https://a:1\"], tls: {cert_file: a}}}",
            "serin.yaml:1:63: sources.etcd.tls.cert_file: `cert_file` and `key_file` go together",
        ),
        ("webhooks: {a b: {url: \"http://a/\", secret_file: s}}", "serin.yaml:1:17: webhooks.a b: name `a b` has"),
        ("webhooks: {a: {url: \"ftp://a/\", secret_file: s}}", "serin.yaml:1:21: webhooks.a.url: the URL is `http"),
        ("webhooks: {a: {url: \"http://me@a/\", secret_file: s}}", "serin.yaml:1:21: webhooks.a.url: the URL is"),
        (
            "webhooks: {a: {url: \"http://a/\", secret_file: s, releases: []}}",
            "serin.yaml:1:60: webhooks.a.releases: a webhook is about one release",
        ),
        (
            "webhooks: {a: {url: \"http://a/\", secret_file: s, ca_file: c}}",
            "serin.yaml:1:59: webhooks.a.ca_file: the receiver is not at",
        ),
        ("admin: {address: localhost}", "serin.yaml:1:18: admin.address: "),
    ];
    for (text, expected) in cases {
        let found = decoded(text).unwrap_err();
        assert!(found.starts_with(expected), "{text}\nexpected {expected}\nfound    {found}");
    }
}

#[test]
fn rules_beside_settings_are_not_looked_at() {
    assert!(decoded("routes: {a: {nonsense: true}}\nworkers: 2").is_ok());
}

#[test]
fn paths_are_relative_to_the_main_file() {
    let text = "state_dir: state\nsecret_file: /abs\ngeo: {database: g.mmdb}\naccess_log: {to: access.log}";
    let mut settings = decoded(text).unwrap();
    settings.resolve_beside("/etc/serin/serin.yaml");
    assert_eq!(settings.state_dir.as_deref(), Some(Path::new("/etc/serin/state")));
    assert_eq!(settings.secret_file.as_deref(), Some(Path::new("/abs")));
    assert_eq!(settings.geo.unwrap().database, Path::new("/etc/serin/g.mmdb"));
    assert_eq!(settings.access_log.unwrap().to, "/etc/serin/access.log");
    let mut settings = decoded("access_log: {to: stdout}").unwrap();
    settings.resolve_beside("/etc/serin/serin.yaml");
    assert_eq!(settings.access_log.unwrap().to, "stdout");
}

#[test]
fn settings_survive_being_stored() {
    let text = "workers: 2\nadmin: {address: \"127.0.0.1:1\"}\naccess_log: {to: stderr, format: text}\nstate_dir: /x";
    let settings = decoded(text).unwrap();
    let stored = serde_json::to_string(&settings).unwrap();
    assert_eq!(serde_json::from_str::<Settings>(&stored).unwrap(), settings);
}
