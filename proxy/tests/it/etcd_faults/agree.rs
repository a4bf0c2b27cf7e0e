//! What a process serves, in words that two processes can be compared by.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::Client;
use crate::support::control::Program;

/// Routes, upstreams with their endpoints, problems, and the version that each of these hosts answers with: one line each.
pub(super) fn facts(program: &Program, hosts: &[String]) -> BTreeSet<String> {
    let list = |target: &str, name: &str| {
        let answer: Value = serde_json::from_slice(&program.admin(target).body).expect("JSON");
        let list = if name.is_empty() { &answer } else { &answer[name] };
        list.as_array().expect("a list").clone()
    };
    let mut facts: BTreeSet<String> = list("/api/v1/routes", "").iter().map(|route| format!("route {route}")).collect();
    facts.extend(list("/api/v1/upstreams", "").iter().map(upstream));
    facts.extend(list("/api/v1/rejected", "problems").iter().map(|problem| format!("problem {problem}")));
    let mut client = Client::connect(program.address("web"));
    for host in hosts {
        let reply = client.request("GET", "/", &[("Host", host)], b"");
        facts.insert(format!("answer of {host}: {} {:?}", reply.status, reply.header("x-version")));
    }
    facts
}

/// Without what each process learns by itself.
fn upstream(upstream: &Value) -> String {
    let endpoints = upstream["endpoints"].as_array().expect("a list");
    let endpoint = |endpoint: &Value| format!("{} weight {}", endpoint["address"], endpoint["weight"]);
    let mut endpoints: Vec<String> = endpoints.iter().map(endpoint).collect();
    endpoints.sort();
    format!("upstream {} {} {endpoints:?}", upstream["name"], upstream["balance"])
}

/// What one has and the other has not.
pub(super) fn difference(ours: &BTreeSet<String>, theirs: &BTreeSet<String>) -> String {
    let shown = |facts: Vec<&String>| {
        let first: Vec<&str> = facts.iter().take(5).map(|fact| fact.get(..300).unwrap_or(fact)).collect();
        format!("{} facts {first:#?}", facts.len())
    };
    let (only_ours, only_theirs) = (ours.difference(theirs).collect(), theirs.difference(ours).collect());
    format!("only here {}, only in a fresh process {}", shown(only_ours), shown(only_theirs))
}
