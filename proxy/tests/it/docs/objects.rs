//! Objects of a cluster on a page.

use crate::support::free_address;
use crate::support::kubernetes::Cluster;

/// The API server takes them, and Serin what they amount to. Services and Secrets that they name may be missing.
pub(super) fn check(place: &str, text: &str, has_gateways: bool) {
    let cluster = Cluster::start();
    cluster.define_releases();
    if has_gateways {
        cluster.0.install("gateway.networking.k8s.io");
    }
    let stored = cluster.0.apply_all(text);
    let config_maps = stored.iter().filter(|object| object["kind"] == "ConfigMap");
    let name = |object: &serde_json::Value| {
        let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
        format!("{}/{}", text("namespace"), text("name"))
    };
    let config_maps: Vec<_> = config_maps.map(name).collect();
    let ports = format!("gateway_address: \"127.0.0.1\", gateway_ports: {{80: {}}}", free_address().port());
    let serin = cluster.followed(&format!("{ports}, config_maps: [{}]", config_maps.join(", ")));
    let is_missing = |reason: &str| reason.split("; ").all(|part| part.contains("there is no"));
    let problems = serin.server().problems();
    let problems: Vec<_> = problems.iter().filter(|problem| !is_missing(&problem.reason)).collect();
    assert!(problems.is_empty(), "{place}: {problems:?}");
    assert!(serin.metric("serin_rules_objects") > 0.0, "{place}: nothing came of it");
}
