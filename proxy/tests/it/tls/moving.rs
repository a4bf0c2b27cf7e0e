//! Listeners that cannot go where the rules want them: there they would speak something else.

use std::net::TcpListener;

use super::{Authority, Browser, rules};
use crate::support::control::replace;
use crate::support::{Origin, PATIENCE, Serin, eventually};

#[test]
fn whoever_stays_speaks_as_before() {
    let authority = Authority::new("any");
    let (one, two) = (authority.sign(&["a.test"]), authority.sign(&["a.test"]));
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let elsewhere = format!("\"{}\"", taken.local_addr().expect("it is bound"));
    let origin = Origin::named("app");
    let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}}";
    let rules = |tls: &str| rules(origin.address(), tls, certificates);
    let serin = Serin::beside(&one.files("a"), &rules("null"), Default::default());
    let refuses = |tls: &str| {
        replace(&serin.config(), &rules(tls).replacen("\"127.0.0.1:0\"", &elsewhere, 1));
        eventually(PATIENCE, "a problem", || {
            serin.server().problems().iter().any(|problem| problem.to_string().contains("the old address stays open"))
        });
    };
    let is_right = || eventually(PATIENCE, "nothing is wrong", || serin.server().problems().is_empty());
    // TLS, or a load balancer's word, is wanted there and not here.
    for tls in ["{}", "null, proxy_protocol: {from: [127.0.0.1]}"] {
        refuses(tls);
        assert_eq!(serin.client().get("/").text(), "app", "{tls}");
        replace(&serin.config(), &rules("null"));
        is_right();
    }
    // It is as it was before the rules wanted it elsewhere, not as it was opened.
    replace(&serin.config(), &rules("{}"));
    let is_shown = || Browser::new().is_shown(serin.address(), "a.test");
    eventually(PATIENCE, "TLS", || is_shown() == Ok(one.der()));
    refuses("null");
    assert_eq!(is_shown(), Ok(one.der()));
    // And its certificates are renewed.
    for (name, text) in two.files("a") {
        replace(&serin.folder.path().join(name), &text);
    }
    eventually(PATIENCE, "the new one", || is_shown() == Ok(two.der()));
}
