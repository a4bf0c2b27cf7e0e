//! Certificates that come from a real etcd, keys and all.

use super::{Authority, Browser};
use crate::support::etcd::Etcd;
use crate::support::{Origin, PATIENCE, Serin, eventually};

#[test]
fn certificates_come_and_go_with_their_keys() {
    let Some(etcd) = Etcd::start() else { return };
    let authority = Authority::new("any");
    let origin = Origin::named("app");
    let put = |pair: &super::Pair| {
        let value = serde_json::json!({"hosts": ["a.test"], "cert": pair.certificate, "key": pair.key});
        etcd.put("/serin/certificates/a", value.to_string());
    };
    let (one, two) = (authority.sign(&["a.test"]), authority.sign(&["a.test"]));
    put(&one);
    let state = tempfile::tempdir().expect("a temporary folder");
    let serin = Serin::start(&format!(
        "listeners: {{secure: {{address: \"127.0.0.1:0\", tls: {{}}}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
         sources: {{etcd: {}}}\nstate_dir: \"{}\"\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        etcd.source(),
        state.path().display(),
        origin.address()
    ));
    let browser = Browser::new();
    let is_shown = |serin: &Serin| browser.is_shown(serin.address(), "a.test");
    assert_eq!(is_shown(&serin), Ok(one.der()));
    put(&two);
    eventually(PATIENCE, "the new one", || is_shown(&serin) == Ok(two.der()));
    // A key that does not fit is refused, and says so without a word of it.
    let wrong = serde_json::json!({"hosts": ["a.test"], "cert": one.certificate, "key": two.key});
    etcd.put("/serin/certificates/a", wrong.to_string());
    eventually(PATIENCE, "a problem", || !serin.server().problems().is_empty());
    let rejected = serin.admin_text("/api/v1/rejected");
    assert!(rejected.contains("is not the key of the certificate"), "{rejected}");
    assert!(!rejected.contains(two.key.lines().nth(1).expect("a key")), "{rejected}");
    assert_eq!(is_shown(&serin), Ok(two.der()));
    put(&two);
    eventually(PATIENCE, "nothing is wrong", || serin.server().problems().is_empty());
    etcd.delete("/serin/certificates/a");
    eventually(PATIENCE, "none", || is_shown(&serin).is_err());
}
