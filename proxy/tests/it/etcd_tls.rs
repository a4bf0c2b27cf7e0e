//! etcd that is reached by TLS, with certificates on both sides that are replaced under way.

use std::net::IpAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};

use crate::support::control::{replace, tireless_endpoint};
use crate::support::etcd::Etcd;
use crate::support::link::Link;
use crate::support::{Client, PATIENCE, Serin, eventually, get};

/// An authority that signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    /// Writes a certificate for the loopback address and its key as `NAME.crt` and `NAME.key`.
    fn sign(&self, folder: &Path, name: &str) {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address is a name");
        assert!(params.subject_alt_names.contains(&rcgen::SanType::IpAddress(IpAddr::from([127, 0, 0, 1]))));
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        replace(&folder.join(format!("{name}.key")), &key.serialize_pem());
        replace(&folder.join(format!("{name}.crt")), &certificate.pem());
    }
}

#[test]
fn certificates_of_both_sides_are_checked_and_may_be_replaced() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let [old, new] = ["old", "new"].map(Authority::new);
    old.sign(folder.path(), "member");
    old.sign(folder.path(), "serin");
    replace(&folder.path().join("clients.pem"), &old.pem());
    replace(&folder.path().join("members.pem"), &old.pem());
    let (member, key, clients) = (at("member.crt"), at("member.key"), at("clients.pem"));
    // The test itself comes without TLS.
    let urls = "http://ADDRESS:2379,https://ADDRESS:2378";
    let arguments = ["--listen-client-urls", urls, "--cert-file", &member, "--key-file", &key];
    let arguments = [&arguments[..], &["--client-cert-auth", "--trusted-ca-file", &clients]].concat();
    let Some(mut etcd) = Etcd::of(1, &arguments) else { return };
    let (one, two) = (tireless_endpoint("one"), tireless_endpoint("two"));
    let upstream = |address| format!("{{endpoints: [\"{address}\"]}}");
    etcd.put("/serin/routes/all", "upstream: app\n");
    etcd.put("/serin/upstreams/app", upstream(one));

    let link = Link::to(&etcd.address(0).replace(":2379", ":2378"));
    let tls = format!(
        "{{ca_file: \"{}\", cert_file: \"{}\", key_file: \"{}\"}}",
        at("members.pem"),
        at("serin.crt"),
        at("serin.key")
    );
    let source = format!("sources: {{etcd: {{endpoints: [\"https://{}\"], tls: {tls}}}}}\n", link.address());
    let serin = Serin::serving(&source);
    let answers = |name: &str| eventually(3 * PATIENCE, name, || get(serin.address(), "/").text() == name);
    let failures = || serin.metric("serin_etcd_failures_total");
    let stays_away = || {
        let before = failures();
        eventually(3 * PATIENCE, "it is not let in", || failures() >= before + 3.0);
        assert_eq!(serin.metric("serin_etcd_up"), 0.0);
    };
    assert_eq!(get(serin.address(), "/").text(), "one");

    // Another authority signs for the member: who knows only the old one does not talk to it.
    new.sign(folder.path(), "member");
    etcd.put("/serin/upstreams/app", upstream(two));
    answers("two");
    link.reset();
    stays_away();
    etcd.put("/serin/upstreams/app", upstream(one));
    assert_eq!(get(serin.address(), "/").text(), "two", "the last that was heard");
    replace(&folder.path().join("members.pem"), &new.pem());
    answers("one");

    // The member takes only clients of the other authority.
    replace(&folder.path().join("clients.pem"), &new.pem());
    etcd.kill(0);
    etcd.restart(0);
    etcd.is_ready();
    stays_away();
    etcd.put("/serin/upstreams/app", upstream(two));
    assert_eq!(get(serin.address(), "/").text(), "one", "the last that was heard");
    new.sign(folder.path(), "serin");
    answers("two");
    assert_eq!(serin.metric("serin_request_errors_total"), 0.0);
}

/// Whoever does not ask for a certificate of its own is not let in, and says so.
#[test]
fn a_client_without_a_certificate_is_not_let_in() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let authority = Authority::new("authority");
    authority.sign(folder.path(), "member");
    replace(&folder.path().join("ca.pem"), &authority.pem());
    let (member, key, ca) = (at("member.crt"), at("member.key"), at("ca.pem"));
    let urls = "http://ADDRESS:2379,https://ADDRESS:2378";
    let arguments = ["--listen-client-urls", urls, "--cert-file", &member, "--key-file", &key];
    let arguments = [&arguments[..], &["--client-cert-auth", "--trusted-ca-file", &ca]].concat();
    let Some(etcd) = Etcd::of(1, &arguments) else { return };
    let link = Link::to(&etcd.address(0).replace(":2379", ":2378"));
    let serin = Serin::start(&format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
         sources: {{etcd: {{endpoints: [\"https://{}\"], tls: {{ca_file: \"{ca}\"}}}}}}\n",
        link.address()
    ));
    assert_eq!(serin.admin_status("/readyz"), 503);
    let rejected = serin.admin_text("/api/v1/rejected");
    assert!(rejected.contains("not heard yet"), "{rejected}");
    assert_eq!(Client::connect(serin.address()).get("/").status, 404);
}
