//! Which certificate a client is shown, and on which connection a request may come.

use super::{Authority, Browser, Fixture, echoing};
use crate::support::{Origin, PATIENCE, eventually};

#[test]
fn each_host_gets_its_own_certificate_and_unknown_ones_the_default() {
    let authority = Authority::new("any");
    let [shop, wild, exact, default] = [&["shop.test"][..], &["*.wild.test"], &["exact.wild.test"], &["default.test"]]
        .map(|names| authority.sign(names));
    let files = vec![shop.files("shop"), wild.files("wild"), exact.files("exact"), default.files("default")];
    let certificates = "{shop: {hosts: [shop.test], cert_file: shop.crt, key_file: shop.key}, \
        wild: {hosts: [\"*.wild.test\"], cert_file: wild.crt, key_file: wild.key}, \
        exact: {hosts: [exact.wild.test], cert_file: exact.crt, key_file: exact.key}, \
        default: {cert_file: default.crt, key_file: default.key}}";
    let tls = "{default_certificate: default}";
    let fixture = Fixture::start(Origin::named("app"), files, tls, certificates);
    let browser = Browser::new();
    for (host, pair) in [
        ("shop.test", &shop),
        ("SHOP.test", &shop),
        ("a.wild.test", &wild),
        ("exact.wild.test", &exact),
        ("a.b.wild.test", &default),
        ("wild.test", &default),
        ("other.test", &default),
        ("127.0.0.1", &default),
    ] {
        assert_eq!(browser.is_shown(fixture.address(), host).as_ref(), Ok(&pair.der()), "{host}");
    }
    assert_eq!(browser.clone().silent().is_shown(fixture.address(), "shop.test"), Ok(default.der()));
    assert_eq!(fixture.problems(), "");
}

#[test]
fn without_a_default_unknown_hosts_get_an_alert() {
    let pair = Authority::new("any").sign(&["shop.test"]);
    let fixture = Fixture::with_one(Origin::named("app"), &pair, "shop.test");
    let browser = Browser::new();
    for browser in [browser.clone(), browser.clone().silent()] {
        let refused = browser.is_shown(fixture.address(), "other.test").expect_err("there is none");
        assert!(refused.contains("UnrecognisedName"), "{refused}");
    }
    eventually(PATIENCE, "counted", || fixture.handshakes("no_certificate") == 2.0);
    assert_eq!(browser.get(fixture.address(), "shop.test").expect("it is served").body, "app");
}

#[test]
fn a_request_for_another_host_needs_another_connection_unless_the_certificate_is_good_for_it() {
    let authority = Authority::new("any");
    let [one, two] = [&["one.test", "two.test"][..], &["two.test"]].map(|names| authority.sign(names));
    let certificates = "{one: {hosts: [one.test], cert_file: one.crt, key_file: one.key}, \
        two: {hosts: [two.test], cert_file: two.crt, key_file: two.key}}";
    let files = vec![one.files("one"), two.files("two")];
    let fixture = Fixture::start(Origin::named("app"), files, "{}", certificates);
    let (browser, address) = (Browser::new(), fixture.address());
    let mut page = browser.open(address, "one.test").expect("a connection");
    let asked = ["one.test", "two.test", "ONE.test:8443", "three.test", "one.test"];
    let answers = asked.map(|host| page.get(host).expect("an answer").status);
    assert_eq!(answers, [200, 200, 200, 421, 200]);
    let mut page = browser.open(address, "two.test").expect("a connection");
    assert_eq!(["two.test", "one.test"].map(|host| page.get(host).expect("an answer").status), [200, 421]);
    assert_eq!(fixture.serin.metric_of("serin_request_errors_total", "\"misdirected\""), 2.0);
}

#[test]
fn endpoints_learn_that_the_client_came_encrypted() {
    for (field, wanted) in [("x-forwarded-proto", "https"), ("x-forwarded-host", "one.test")] {
        let fixture = Fixture::with_one(echoing(field), &Authority::new("any").sign(&["one.test"]), "one.test");
        assert_eq!(Browser::new().get(fixture.address(), "one.test").expect("an answer").body, wanted);
    }
}

#[test]
fn of_two_certificates_for_a_host_the_first_by_name_counts() {
    let authority = Authority::new("any");
    let [one, two] = [authority.sign(&["a.test"]), authority.sign(&["a.test"])];
    let certificates = "{two: {hosts: [a.test], cert_file: two.crt, key_file: two.key}, \
        one: {hosts: [a.test], cert_file: one.crt, key_file: one.key}}";
    let files = vec![one.files("one"), two.files("two")];
    let fixture = Fixture::start(Origin::named("app"), files, "{}", certificates);
    assert_eq!(Browser::new().is_shown(fixture.address(), "a.test"), Ok(one.der()));
    let problems = fixture.problems();
    assert!(problems.contains("certificates.two.hosts: `a.test` belongs to certificate `one`"), "{problems}");
}
