//! What stays in force while something is wrong.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use routing_rules::rules::RuleSet;
use serde_json::{Value, json};

use super::*;

/// A certificate and its key, as PEM.
struct Pair {
    certificate: String,
    key: String,
}

fn pair(hosts: &[&str]) -> Pair {
    let names: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(names).expect("names").self_signed(&key).expect("a certificate");
    Pair { certificate: certificate.pem(), key: key.serialize_pem() }
}

fn authority() -> String {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate").pem()
}

impl Pair {
    fn for_hosts(&self, hosts: &[&str]) -> Value {
        json!({"hosts": hosts, "cert": self.certificate, "key": self.key})
    }
}

/// The same with something else in it.
fn with(mut object: Value, field: &str, value: Value) -> Value {
    object[field] = value;
    object
}

fn asking(ca: &str, mode: &str) -> Value {
    json!({"ca": ca, "mode": mode})
}

/// Follows rules with these certificates and this TLS of a listener.
fn follow(certificates: &mut Certificates, tls: Value, objects: Value) {
    let spec = json!({
        "listeners": {"secure": {"address": "127.0.0.1:0", "tls": tls}},
        "certificates": objects,
    });
    let (rules, problems) = RuleSet::from_spec(&serde_json::from_value(spec).expect("a spec"));
    assert!(problems.is_empty(), "{problems:?}");
    certificates.follow(&rules);
}

/// Which certificate a host gets, and whether clients must show one, if they are asked.
fn shown<'t>(tls: &'t Tls, host: &str) -> Option<(&'t str, Option<bool>)> {
    let listener = tls.listeners[0].tls.as_ref().expect("it speaks TLS");
    let terms = tls.terms(listener, Some(host))?;
    Some((terms.certificate.name.as_str(), terms.clients.map(|clients| clients.is_required)))
}

fn digest(tls: &Tls, host: &str) -> [u8; 32] {
    let named = tls.hosts.find(host).and_then(Option::as_ref).expect("a certificate");
    named.clients.expect("it asks").authorities
}

fn reasons(certificates: &Certificates) -> Vec<&str> {
    certificates.findings().iter().map(|(.., reason)| &**reason).collect()
}

#[test]
fn a_host_that_is_to_ask_its_clients_does_not_stay_open_because_nobody_knows_what() {
    let (one, mut certificates) = (pair(&["a.test"]), Certificates::default());
    let open = one.for_hosts(&["a.test"]);
    follow(&mut certificates, json!({}), json!({"a": open}));
    assert_eq!(shown(&certificates.table(), "a.test"), Some(("a", None)));
    for mode in ["required", "optional"] {
        let asks = with(open.clone(), "client_certificates", asking("no PEM", mode));
        follow(&mut certificates, json!({}), json!({"a": asks}));
        assert_eq!(shown(&certificates.table(), "a.test"), None, "{mode}");
        assert!(reasons(&certificates)[0].ends_with("its hosts get an alert"), "{:?}", reasons(&certificates));
        follow(&mut certificates, json!({}), json!({"a": open}));
        assert_eq!(shown(&certificates.table(), "a.test"), Some(("a", None)), "{mode}");
    }
}

#[test]
fn what_is_asked_counts_although_the_key_is_wrong() {
    let (one, mut certificates) = (pair(&["a.test"]), Certificates::default());
    let open = one.for_hosts(&["a.test"]);
    follow(&mut certificates, json!({}), json!({"a": open}));
    let wrong = with(open.clone(), "key", pair(&["a.test"]).key.into());
    let (first, second) = (authority(), authority());
    let mut known = Vec::new();
    for ca in [&first, &second] {
        let asks = with(wrong.clone(), "client_certificates", asking(ca, "required"));
        follow(&mut certificates, json!({}), json!({"a": asks}));
        assert_eq!(shown(&certificates.table(), "a.test"), Some(("a", Some(true))));
        assert_eq!(reasons(&certificates), ["is not the key of the certificate; what was used before stays"]);
        known.push(digest(&certificates.table(), "a.test"));
    }
    assert_ne!(known[0], known[1]);
    follow(&mut certificates, json!({}), json!({"a": wrong}));
    assert_eq!(shown(&certificates.table(), "a.test"), Some(("a", None)));
}

#[test]
fn what_was_asked_stays_only_if_it_is_no_less() {
    let (one, mut certificates) = (pair(&["a.test"]), Certificates::default());
    let open = one.for_hosts(&["a.test"]);
    for (before, now, at_certificate, wanted) in [
        ("required", "required", true, Some(true)),
        ("required", "optional", true, Some(true)),
        ("optional", "optional", true, Some(false)),
        ("optional", "required", true, None),
        ("required", "required", false, Some(true)),
        ("optional", "required", false, None),
    ] {
        let mut ask = |client: Value| match at_certificate {
            true => {
                let asks = with(open.clone(), "client_certificates", client);
                follow(&mut certificates, json!({}), json!({"a": asks}));
            }
            false => follow(&mut certificates, json!({"client_certificates": client}), json!({"a": open})),
        };
        ask(asking(&authority(), before));
        ask(asking("no PEM", now));
        let asked = shown(&certificates.table(), "a.test").map(|(_, asked)| asked);
        assert_eq!(asked, wanted.map(Some), "{before} {now}");
    }
}

#[test]
fn a_certificate_that_cannot_be_used_takes_no_host_from_one_that_can() {
    let (one, mut certificates) = (pair(&["a.test"]), Certificates::default());
    let (right, wrong) = (one.for_hosts(&["a.test"]), with(one.for_hosts(&["a.test", "b.test"]), "key", "none".into()));
    follow(&mut certificates, json!({}), json!({"m": right}));
    follow(&mut certificates, json!({}), json!({"a": wrong, "m": right, "z": wrong}));
    assert_eq!(shown(&certificates.table(), "a.test"), Some(("m", None)));
    assert_eq!(shown(&certificates.table(), "b.test"), None);
    let said = reasons(&certificates);
    for reason in ["certificate `m`, until this one can be used", "certificate `m`, which comes first"] {
        assert!(said.iter().any(|said| said.ends_with(reason)), "{said:?}");
    }
    // Nobody is let in without what it would have asked for.
    let asks = with(wrong, "client_certificates", asking(&authority(), "required"));
    follow(&mut certificates, json!({}), json!({"a": asks, "m": right}));
    assert_eq!(shown(&certificates.table(), "a.test"), None);
}

#[test]
fn a_host_moves_away_from_a_certificate_that_cannot_be_used() {
    let (one, mut certificates) = (pair(&["a.test", "b.test"]), Certificates::default());
    follow(&mut certificates, json!({}), json!({"a": one.for_hosts(&["a.test", "b.test"])}));
    let wrong = with(one.for_hosts(&["b.test", "c.test"]), "key", "none".into());
    follow(&mut certificates, json!({}), json!({"a": wrong, "m": one.for_hosts(&["a.test"])}));
    let table = certificates.table();
    let got = ["a.test", "b.test", "c.test"].map(|host| shown(&table, host).map(|(name, _)| name));
    assert_eq!(got, [Some("m"), Some("a"), None]);
}

#[test]
fn around_certificates_there_may_be_anything() {
    let (one, folder) = (pair(&["a.test"]), tempfile::tempdir().expect("a temporary folder"));
    for (name, text) in [("a.crt", &one.certificate), ("a.key", &one.key)] {
        let noted = [b"caf\xe9\n", text.as_bytes()].concat();
        std::fs::write(folder.path().join(name), noted).expect("room");
    }
    let mut certificates = Certificates::beside(&folder.path().join("serin.yaml"));
    follow(
        &mut certificates,
        json!({}),
        json!({"a": {"hosts": ["a.test"], "cert_file": "a.crt", "key_file": "a.key"}}),
    );
    assert_eq!((reasons(&certificates), shown(&certificates.table(), "a.test").is_some()), (vec![], true));
}

/// Follows rules with an upstream whose TLS is this, and says what its connections begin with.
fn transport(certificates: &mut Certificates, tls: Value) -> Transport {
    let spec = json!({"upstreams": {"app": {"tls": tls}}});
    let (rules, problems) = RuleSet::from_spec(&serde_json::from_value(spec).expect("a spec"));
    assert!(problems.is_empty(), "{problems:?}");
    certificates.follow(&rules);
    certificates.transports().get(&Name::new("app").expect("a name")).expect("it has TLS").1.clone()
}

fn is_open(transport: &Transport) -> bool {
    matches!(transport, Transport::Tls(_))
}

#[test]
fn endpoints_are_trusted_by_who_is_named_or_not_at_all() {
    let (first, second) = (authority(), authority());
    let mut certificates = Certificates::default();
    let mut by = |tls: Value| transport(&mut certificates, tls);
    assert!(!is_open(&by(json!({"ca": "no PEM"}))));
    let known = by(json!({"ca": first}));
    assert!(is_open(&known));
    assert!(by(json!({"ca": "no PEM"})) == known, "what was used before stays");
    let other = by(json!({"ca": second}));
    assert!(is_open(&other) && other != known);
    assert!(by(json!({"ca": second, "server_name": "a.test"})) != other, "other terms");
    // Those of the system never stand in for who is named, whether there are any here or not.
    by(json!({}));
    assert!(!is_open(&by(json!({"ca": "no PEM"}))));
    assert!(is_open(&by(json!({"ca": first}))), "and it is not for ever");
}

#[test]
fn what_is_to_be_shown_to_endpoints_is_shown_or_nobody_is_spoken_to() {
    let (one, two, ca) = (pair(&["serin"]), pair(&["serin"]), authority());
    let mut certificates = Certificates::default();
    let by = |certificates: &mut Certificates, own: Option<(&Pair, &Pair)>| {
        let tls = match own {
            Some((chain, key)) => json!({"ca": ca, "cert": chain.certificate, "key": key.key}),
            None => json!({"ca": ca}),
        };
        transport(certificates, tls)
    };
    let without = by(&mut certificates, None);
    assert!(is_open(&without));
    assert!(!is_open(&by(&mut certificates, Some((&one, &two)))), "not without it");
    assert_eq!(reasons(&certificates), ["is not the key of the certificate; requests get 502"]);
    let first = by(&mut certificates, Some((&one, &one)));
    assert!(is_open(&first) && first != without);
    assert!(by(&mut certificates, Some((&two, &one))) == first);
    assert_eq!(reasons(&certificates), ["is not the key of the certificate; what was used before stays"]);
    // It is still wrong, whatever else changes.
    let spec = json!({"ca": authority(), "cert": two.certificate, "key": one.key});
    assert!(is_open(&transport(&mut certificates, spec)));
    assert_eq!(reasons(&certificates).len(), 1);
    let second = by(&mut certificates, Some((&two, &two)));
    assert!(is_open(&second) && second != first);
    assert!(reasons(&certificates).is_empty());
    assert!(by(&mut certificates, Some((&two, &two))) == second, "the same");
}

#[test]
fn rules_that_say_nothing_else_of_tls_leave_connections_alone() {
    let mut certificates = Certificates::default();
    let ca = authority();
    let first = transport(&mut certificates, json!({"ca": ca}));
    let spec = json!({"upstreams": {"app": {"tls": {"ca": ca}, "balance": "round_robin"}, "b": {"tls": {"ca": ca}}}});
    let (rules, _) = RuleSet::from_spec(&serde_json::from_value(spec).expect("a spec"));
    assert!(certificates.follow(&rules), "there is another upstream");
    let transports = certificates.transports().clone();
    let of = |name: &str| transports.get(&Name::new(name).expect("a name")).expect("it has TLS").1.clone();
    assert!(of("app") == first && is_open(&of("b")) && of("b") != first, "each has sessions of its own");
    assert!(!certificates.follow(&rules));
}

#[test]
fn one_that_is_ordered_is_shown_for_what_was_signed() {
    let ordered = |hosts: &[&str]| json!({"hosts": hosts, "acme": {"account": "le"}});
    let account = json!({"le": {"directory": "https://acme.test/", "agree_to_terms": true}});
    let follow = |certificates: &mut Certificates, objects: Value| {
        let spec = json!({
            "listeners": {"secure": {"address": "127.0.0.1:0", "tls": {"default_certificate": "other"}}},
            "acme_accounts": account,
            "certificates": objects,
        });
        let (rules, problems) = RuleSet::from_spec(&serde_json::from_value(spec).expect("a spec"));
        assert!(problems.is_empty(), "{problems:?}");
        certificates.follow(&rules);
    };
    let issued = |pair: &Pair| Issued { chain: pair.certificate.as_str().into(), key: pair.key.as_str().into() };
    let take = |certificates: &mut Certificates, issued: Issued| {
        let name = routing_rules::rules::Name::new("a").expect("a name");
        certificates.take_issued([(name, issued)].into_iter().collect())
    };
    let other = pair(&["other.test"]).for_hosts(&["other.test"]);
    let mut certificates = Certificates::default().keeping(true);
    follow(&mut certificates, json!({"a": ordered(&["a.test"]), "other": other}));
    // Nobody else's, and no reason to complain.
    assert_eq!((shown(&certificates.table(), "a.test"), reasons(&certificates)), (None, vec![]));
    let first = issued(&pair(&["a.test"]));
    assert!(take(&mut certificates, first.clone()) && !take(&mut certificates, first));
    assert_eq!(shown(&certificates.table(), "a.test"), Some(("a", None)));
    follow(&mut certificates, json!({"a": ordered(&["a.test", "b.test"]), "other": other}));
    assert_eq!(shown(&certificates.table(), "a.test"), Some(("a", None)));
    assert_eq!((shown(&certificates.table(), "b.test"), certificates.warnings().count()), (None, 0));
    assert!(take(&mut certificates, issued(&pair(&["a.test", "b.test"]))));
    assert_eq!(shown(&certificates.table(), "b.test"), Some(("a", None)));
    // What cannot be used leaves what served before.
    let mut damaged = issued(&pair(&["a.test", "b.test"]));
    damaged.key = "none".into();
    take(&mut certificates, damaged);
    assert_eq!(shown(&certificates.table(), "a.test"), Some(("a", None)));
    assert_eq!(reasons(&certificates), ["there is no private key in it that can be read; what was used before stays"]);

    let mut nowhere = Certificates::default();
    follow(&mut nowhere, json!({"a": ordered(&["a.test"]), "other": other}));
    assert!(reasons(&nowhere)[0].starts_with("there is nowhere to keep"), "{:?}", reasons(&nowhere));
}
