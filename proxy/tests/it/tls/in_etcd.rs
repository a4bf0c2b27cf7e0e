//! Certificates that come from a real etcd, keys and all.

use std::cell::RefCell;

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

#[test]
fn a_session_goes_on_at_another_instance_and_after_a_restart() {
    let Some(etcd) = Etcd::start() else { return };
    let pair = Authority::new("any").sign(&["a.test"]);
    let value = serde_json::json!({"hosts": ["a.test"], "cert": pair.certificate, "key": pair.key});
    etcd.put("/serin/certificates/a", value.to_string());
    let origin = Origin::named("app");
    let start = || {
        Serin::start(&format!(
            "listeners: {{secure: {{address: \"127.0.0.1:0\", tls: {{}}}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\n\
             sources: {{etcd: {}}}\nroutes: {{all: {{upstream: app}}}}\n\
             upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
            etcd.source().replacen('{', "{share_ticket_keys: true, ", 1),
            origin.address()
        ))
    };
    // Whoever does not know of it goes on with its own keys until it does.
    let goes_on = |browser: &Browser, serin: &Serin| {
        let mut page = browser.open(serin.address(), "a.test").expect("a connection");
        assert_eq!(page.get("a.test").expect("an answer").body, "app");
        page.is_resumed()
    };
    let (one, other) = (start(), start());
    eventually(PATIENCE, "keys of the fleet", || {
        let browser = Browser::new();
        !goes_on(&browser, &one) && goes_on(&browser, &other)
    });
    // One that was turned away has a new session, which says nothing of the one before.
    let browsers = RefCell::new((0..400).map(|_| Browser::new()).collect::<Vec<_>>());
    assert!(browsers.borrow().iter().all(|browser| !goes_on(browser, &one)));
    drop(one);
    assert!(goes_on(&browsers.borrow_mut().pop().expect("another"), &other));
    drop(other);
    let again = start();
    eventually(PATIENCE, "the fleet is heard", || goes_on(&browsers.borrow_mut().pop().expect("another"), &again));
    let resumed = again.metric_of("serin_tls_handshakes_total", "\"resumed\"");
    assert!(resumed >= 1.0, "{resumed}");
}
