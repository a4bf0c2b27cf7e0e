//! BackendTLSPolicies.

use super::*;

fn policy(name: &str, second: u32, target: Value, validation: Value) -> Value {
    let target = and(json!({"group": "", "kind": "Service", "name": "one"}), target);
    json!({"kind": "BackendTLSPolicy", "metadata": {"name": name, "namespace": "shop", "generation": 4, "creationTimestamp": at(second)},
        "spec": {"targetRefs": [target], "validation": validation}})
}

fn served(policies: &[Value]) -> Outcome {
    let authority = json!({"kind": "ConfigMap", "metadata": {"name": "ca", "namespace": "shop"},
        "data": {"ca.crt": "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"}});
    let cluster = Cluster::with_gateway().with(authority).with(route("a", 0, json!([prefix("/", "one")])));
    policies.iter().cloned().fold(cluster, Cluster::with).translated()
}

fn ancestor_conditions(outcome: &Outcome, policy: &str) -> Vec<String> {
    let ancestors = outcome.status(&format!("BackendTLSPolicy shop/{policy}"))["ancestors"].as_array().unwrap();
    assert_eq!(ancestors.len(), 1);
    assert_eq!(ancestors[0]["ancestorRef"]["name"], "web");
    assert_eq!(ancestors[0]["conditions"][0]["observedGeneration"], 4);
    conditions(&ancestors[0]["conditions"])
}

#[test]
fn what_is_sent_to_a_service_is_secured_as_its_policy_says() {
    let system = json!({"hostname": "one.test", "wellKnownCACertificates": "System"});
    let outcome = served(&[policy("p", 0, json!({}), system.clone())]);
    outcome.check(&[("GET /", "shop.one.80.tls")]);
    assert_eq!(outcome.rules["upstreams"]["shop.one.80.tls"]["tls"], json!({"server_name": "one.test"}));
    assert_eq!(ancestor_conditions(&outcome, "p"), GOOD);

    let by_authority =
        json!({"hostname": "one.test", "caCertificateRefs": [{"group": "", "kind": "ConfigMap", "name": "ca"}]});
    let outcome = served(&[policy("p", 0, json!({}), by_authority.clone())]);
    assert!(outcome.rules["upstreams"]["shop.one.80.tls"]["tls"]["ca"].as_str().unwrap().contains("BEGIN"));

    // The port's own goes first, then the oldest; one of another port is nothing to it.
    let of_port = policy("z", 9, json!({"sectionName": "http"}), by_authority);
    let other_port = policy("a", 0, json!({"sectionName": "fast"}), system.clone());
    let outcome = served(&[policy("p", 0, json!({}), system.clone()), of_port, other_port.clone()]);
    assert!(outcome.rules["upstreams"]["shop.one.80.tls"]["tls"].get("ca").is_some());
    served(&[other_port]).check(&[("GET /", "shop.one.80")]);
}

#[test]
fn nothing_is_sent_where_a_policy_cannot_be_followed() {
    let refs = |kind: &str, name: &str| json!({"hostname": "one.test", "caCertificateRefs": [{"group": "", "kind": kind, "name": name}]});
    let not_accepted =
        |reason: &str| vec!["Accepted=False NoValidCACertificate".into(), format!("ResolvedRefs=False {reason}")];
    let invalid = vec!["Accepted=False Invalid".to_owned(), GOOD[1].into()];
    for (validation, expected) in [
        (refs("ConfigMap", "gone"), not_accepted("InvalidCACertificateRef")),
        (refs("Secret", "ca"), not_accepted("InvalidKind")),
        (json!({"hostname": "one.test", "wellKnownCACertificates": "Other"}), invalid.clone()),
        (
            json!({"hostname": "one.test", "wellKnownCACertificates": "System", "subjectAltNames": [{"type": "URI", "uri": "a:b"}]}),
            invalid,
        ),
    ] {
        let outcome = served(&[policy("p", 0, json!({}), validation)]);
        outcome.check(&[("GET /", "gateway.nobody")]);
        assert_eq!(ancestor_conditions(&outcome, "p"), expected);
        assert_eq!(outcome.route_conditions("HTTPRoute shop/a"), GOOD);
    }
}
