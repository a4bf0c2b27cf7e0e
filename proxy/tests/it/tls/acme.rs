//! Certificates that are ordered from a real authority: what it gets to see, what clients are shown then, and what becomes of it
//! over time and in a fleet.

mod fleet;

use std::time::{Duration, SystemTime};

use super::{Authority, Browser};
use crate::support::pebble::{Habits, Pebble};
use crate::support::{Client, Origin, PATIENCE, Serin, eventually};

/// A proxy that is to order, and its authority.
struct Orders {
    serin: Serin,
    origin: Origin,
    pebble: Pebble,
    habits: Habits,
    state: tempfile::TempDir,
    /// Of the listener that speaks TLS.
    tls: String,
}

impl Orders {
    /// With an authority that finds these hosts here.
    fn start(hosts: &[&str], habits: Habits) -> Option<Self> {
        Self::start_with(hosts, "{}", habits)
    }

    /// The same with more of the listener that speaks TLS.
    fn start_with(hosts: &[&str], tls: &str, habits: Habits) -> Option<Self> {
        let (origin, state) = (Origin::named("app"), tempfile::tempdir().expect("a temporary folder"));
        let serin = Serin::start(&rules(&origin, &state, tls));
        let port = |name: &str| serin.address_of(name).port();
        let habits = Habits { http_port: port("clear"), tls_port: port("secure"), ..habits };
        let pebble = Pebble::start(hosts, &habits)?;
        Some(Self { serin, origin, pebble, habits, state, tls: tls.to_owned() })
    }

    /// Asks for certificates.
    fn want(&self, certificates: &str) {
        self.want_with("", certificates);
    }

    /// The same with more of the account.
    fn want_with(&self, account: &str, certificates: &str) {
        let rules = rules(&self.origin, &self.state, &self.tls);
        let account = self.pebble.account(account);
        let rules = format!("{rules}acme_accounts: {{test: {account}}}\ncertificates: {certificates}\n");
        crate::support::control::replace(&self.serin.config(), &rules);
    }

    fn is_shown(&self, host: &str) -> Option<Vec<u8>> {
        is_shown(&self.serin, host)
    }

    fn is_issued(&self, host: &str) {
        eventually(3 * PATIENCE, host, || self.is_shown(host).is_some());
    }

    fn standing(&self, certificate: &str) -> serde_json::Value {
        let all = self.serin.admin_json("/api/v1/certificates");
        let all = all["certificates"].as_array().expect("a list");
        all.iter().find(|it| it["name"] == certificate).map(|it| it["acme"].clone()).unwrap_or_default()
    }

    fn fails(&self, certificate: &str) -> serde_json::Value {
        eventually(3 * PATIENCE, "a failure", || self.standing(certificate)["state"] == "failing");
        self.standing(certificate)
    }

    fn restart(self) -> Self {
        Self { serin: self.serin.restart(), ..self }
    }
}

/// What is in clear text is led elsewhere, whatever it asks for.
fn rules(origin: &Origin, state: &tempfile::TempDir, tls: &str) -> String {
    format!(
        "listeners: {{clear: {{address: \"127.0.0.1:0\"}}, secure: {{address: \"127.0.0.1:0\", tls: {tls}}}}}\n\
         admin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\nstate_dir: \"{}\"\n\
         routes: {{all: {{upstream: app, listeners: [secure]}}, \
         moved: {{listeners: [clear], filters: [{{redirect: {{scheme: https, status: 301}}}}]}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        state.path().display(),
        origin.address()
    )
}

fn is_shown(serin: &Serin, host: &str) -> Option<Vec<u8>> {
    Browser::new().is_shown(serin.address_of("secure"), host).ok().map(|it| it.to_vec())
}

#[test]
fn hosts_are_proven_by_requests_and_by_handshakes() {
    let hosts = ["a.test", "www.a.test", "b.test"];
    let Some(orders) = Orders::start(&hosts, Habits::default()) else { return };
    orders.want(
        "{a: {hosts: [a.test, www.a.test], acme: {account: test}}, \
         b: {hosts: [b.test], acme: {account: test, challenge: tls_alpn_01}}}",
    );
    hosts.iter().for_each(|host| orders.is_issued(host));
    assert_eq!(orders.is_shown("a.test"), orders.is_shown("www.a.test"));
    assert_ne!(orders.is_shown("a.test"), orders.is_shown("b.test"));
    let page = Browser::new().get(orders.serin.address_of("secure"), "b.test").expect("an answer");
    assert_eq!((page.status, &*page.body), (200, "app"));
    // What is not asked for now is a request like any other.
    let unknown = Client::connect(orders.serin.address_of("clear")).get("/.well-known/acme-challenge/unknown");
    assert_eq!(unknown.status, 301);
    assert_eq!((orders.pebble.orders(), orders.pebble.accounts()), (2, 1));
    let standing = orders.standing("b");
    assert_eq!((&standing["state"], &standing["challenge"]), (&"issued".into(), &"tls_alpn_01".into()));
    // They are counted behind, when their certificates are served already.
    eventually(PATIENCE, "they count", || orders.serin.metric_of("serin_acme_orders_total", "issued") == 2.0);
    assert!(orders.serin.metric_of("serin_tls_handshakes_total", "challenge") >= 1.0);
    assert!(orders.serin.server().problems().is_empty());

    // A restart goes on with all of it; also where nobody could be asked.
    let (shown, mut orders) = (orders.is_shown("a.test"), orders);
    orders.pebble.stop();
    let orders = orders.restart();
    assert_eq!(orders.is_shown("a.test"), shown);
    assert_eq!(orders.serin.metric("serin_acme_failures"), 0.0);
    assert_eq!(orders.serin.metric("serin_acme_orders_total"), 0.0);
    let standing = orders.standing("a");
    assert_eq!(standing["state"], "issued", "{standing}");
    assert!(next(&standing) > SystemTime::now() + Duration::from_secs(24 * 3_600), "{standing}");
}

/// When it is ordered next.
fn next(standing: &serde_json::Value) -> SystemTime {
    humantime::parse_rfc3339(standing["next"].as_str().expect("a date")).expect("a date")
}

#[test]
fn an_authority_shows_no_certificate_and_gets_no_further() {
    let clients = Authority::new("clients");
    let ca = serde_json::to_string(&clients.pem()).expect("a text");
    let tls = format!("{{client_certificates: {{ca: {ca}}}}}");
    let Some(orders) = Orders::start_with(&["a.test"], &tls, Habits::default()) else { return };
    orders.want("{a: {hosts: [a.test], acme: {account: test, challenge: tls_alpn_01}}}");
    let known = Browser::showing(&clients.sign(&["somebody"]));
    let secure = orders.serin.address_of("secure");
    eventually(3 * PATIENCE, "a certificate", || known.is_shown(secure, "a.test").is_ok());
    assert_eq!(known.get(secure, "a.test").expect("an answer").status, 200);
    assert!(Browser::new().get(secure, "a.test").is_err());
    // Whoever says that he is an authority, and is not awaited, finds nothing.
    let stranger = Browser::new().speaking(&["acme-tls/1"]);
    assert!(stranger.is_shown(secure, "a.test").is_err());
}

#[test]
fn a_certificate_is_renewed_and_no_handshake_fails() {
    let Some(orders) = Orders::start(&["a.test"], Habits { seconds: 12, ..Habits::default() }) else { return };
    orders.want("{a: {hosts: [a.test], acme: {account: test}}}");
    orders.is_issued("a.test");
    let first = orders.is_shown("a.test");
    eventually(3 * PATIENCE, "another one", || {
        orders.is_shown("a.test").expect("a handshake") != *first.as_ref().expect("one")
    });
    assert_eq!(orders.standing("a")["failures"], 0);
    assert_eq!(orders.pebble.accounts(), 1);
}

#[test]
fn failures_are_told_and_kept_and_further_apart() {
    let Some(orders) = Orders::start(&["a.test", "b.test"], Habits::default()) else { return };
    orders.want("{a: {hosts: [a.test], acme: {account: test}}}");
    orders.is_issued("a.test");
    let first = orders.is_shown("a.test");
    orders.want("{a: {hosts: [a.test, away.test], acme: {account: test}}}");
    let standing = orders.fails("a");
    assert!(standing["problem"].as_str().is_some_and(|reason| reason.contains("away.test: ")), "{standing}");
    assert_eq!(standing["failures"], 1);
    assert!(next(&standing) > SystemTime::now() + Duration::from_secs(20), "{standing}");
    assert_eq!(orders.serin.metric_of("serin_acme_failures", "\"a\""), 1.0);
    // What there was goes on for what it is good for, and for nothing else.
    assert_eq!((orders.is_shown("a.test"), orders.is_shown("away.test")), (first.clone(), None));
    let orders = orders.restart();
    let again = orders.standing("a");
    assert_eq!(
        (orders.is_shown("a.test"), &again["failures"], &again["next"]),
        (first.clone(), &1.into(), &standing["next"])
    );
    // Something else is tried at once: by handshakes, for which the port is another one since then.
    let mut orders = orders;
    let habits = Habits { tls_port: orders.serin.address_of("secure").port(), ..orders.habits.clone() };
    orders.pebble.go_on(&habits);
    orders.want("{a: {hosts: [a.test, b.test], acme: {account: test, challenge: tls_alpn_01}}}");
    orders.is_issued("b.test");
    assert_ne!(orders.is_shown("a.test"), first);
    assert_eq!((orders.standing("a")["failures"].clone(), orders.pebble.orders()), (0.into(), 1));
    // The authority had forgotten the account, too.
    assert_eq!(orders.pebble.accounts(), 1);
}

#[test]
fn an_account_is_bound_to_one_that_is_elsewhere() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let habits = Habits { key: Some(("kid-1", key)), ..Habits::default() };
    let Some(orders) = Orders::start(&["a.test"], habits) else { return };
    let certificates = "{a: {hosts: [a.test], acme: {account: test}}}";
    orders.want(certificates);
    let problem = orders.fails("a")["problem"].to_string();
    assert!(problem.contains("externalAccountRequired") || problem.contains("external account"), "{problem}");
    // What is corrected is tried at once.
    let external = format!(", external_account: {{key_id: kid-1, key: {key}}}, contact: [ops@a.test]");
    orders.want_with(&external, certificates);
    orders.is_issued("a.test");
    let told = [orders.serin.admin_text("/api/v1/certificates"), orders.serin.admin_text("/api/v1/rejected")].concat();
    assert!(!told.contains(key) && !told.contains("BEGIN"), "{told}");
}
