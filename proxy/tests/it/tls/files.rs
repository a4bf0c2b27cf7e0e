//! Certificates that change, and files that are wrong.

use std::os::unix::fs::symlink;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use super::{Authority, Browser, Fixture, rules};
use crate::support::control::replace;
use crate::support::{Origin, PATIENCE, Serin, eventually};

#[test]
fn a_new_certificate_is_shown_soon_and_no_handshake_fails_meanwhile() {
    let authority = Authority::new("any");
    let mut pair = authority.sign(&["a.test"]);
    let fixture = Fixture::with_one(Origin::named("app"), &pair, "a.test");
    let (browser, address, is_over) = (Browser::new(), fixture.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients = [0; 2].map(|_| {
            scope.spawn(|| {
                let mut count = 0;
                while !is_over.load(Relaxed) {
                    let answer = Browser::new().get(address, "a.test").expect("every handshake succeeds");
                    assert_eq!(answer.body, "app");
                    count += 1;
                }
                count
            })
        });
        for _ in 0..5 {
            pair = authority.sign(&["a.test"]);
            // The key comes last, and for a moment belongs to the certificate before.
            fixture.replace("one", &pair);
            eventually(PATIENCE, "the new one", || browser.is_shown(address, "a.test") == Ok(pair.der()));
        }
        is_over.store(true, Relaxed);
        assert!(clients.into_iter().all(|client| client.join().expect("it has no complaints") > 0));
    });
    assert_eq!(fixture.problems(), "");
}

#[test]
fn files_that_are_wrong_change_nothing_and_say_so() {
    let authority = Authority::new("any");
    let (pair, other) = (authority.sign(&["a.test"]), authority.sign(&["a.test"]));
    let fixture = Fixture::with_one(Origin::named("app"), &pair, "a.test");
    let at = |name: &str| fixture.serin.folder.path().join(name);
    let kept = || assert_eq!(Browser::new().is_shown(fixture.address(), "a.test"), Ok(pair.der()));
    for (name, text, reason) in [
        (
            "one.key",
            other.key.as_str(),
            "certificates.one.key_file: is not the key of the certificate; what was used before stays",
        ),
        ("one.key", "", "certificates.one.key_file: there is no private key in it"),
        ("one.crt", "", "certificates.one.cert_file: there is no certificate in it"),
        (
            "one.crt",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "the first certificate in it cannot be read",
        ),
    ] {
        replace(&at(name), text);
        eventually(PATIENCE, reason, || fixture.problems().contains(reason));
        kept();
        fixture.replace("one", &pair);
        eventually(PATIENCE, "nothing is wrong", || fixture.problems().is_empty());
    }
    std::fs::remove_file(at("one.crt")).expect("it was there");
    eventually(PATIENCE, "gone", || fixture.problems().contains("cert_file: cannot be read: No such file"));
    kept();
    assert!(!fixture.serin.admin_text("/api/v1/rejected").contains("PRIVATE"));
}

#[test]
fn a_certificate_that_never_was_right_serves_nobody_and_its_hosts_get_no_other() {
    let authority = Authority::new("any");
    let (wrong, default) = (authority.sign(&["a.test"]), authority.sign(&["b.test"]));
    let files = vec![
        [("a.crt".to_owned(), wrong.certificate.clone()), ("a.key".to_owned(), default.key.clone())],
        default.files("b"),
    ];
    let certificates = "{a: {hosts: [a.test], cert_file: a.crt, key_file: a.key}, \
        b: {hosts: [b.test], cert_file: b.crt, key_file: b.key}}";
    let fixture = Fixture::start(Origin::named("app"), files, "{default_certificate: b}", certificates);
    let browser = Browser::new();
    assert!(fixture.problems().contains("its hosts get an alert"), "{}", fixture.problems());
    assert!(browser.is_shown(fixture.address(), "a.test").is_err());
    assert_eq!(browser.is_shown(fixture.address(), "other.test"), Ok(default.der()));
    // Who gets the default does not reach them either.
    let mut page = browser.open(fixture.address(), "other.test").expect("a connection");
    assert_eq!(["other.test", "a.test"].map(|host| page.get(host).expect("an answer").status), [200, 421]);
    fixture.replace("a", &wrong);
    eventually(PATIENCE, "its own", || browser.is_shown(fixture.address(), "a.test") == Ok(wrong.der()));
}

/// Kubernetes keeps the files of a secret in a folder that a link leads to, and lets the link lead elsewhere.
#[test]
fn files_may_be_switched_by_a_link() {
    let authority = Authority::new("any");
    let pairs = [authority.sign(&["a.test"]), authority.sign(&["a.test"])];
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (version, pair) in ["..1", "..2"].iter().zip(&pairs) {
        std::fs::create_dir(folder.path().join(version)).expect("a folder");
        for (name, text) in pair.files("tls") {
            replace(&folder.path().join(version).join(name), &text);
        }
    }
    let switch = |version: &str| {
        symlink(version, folder.path().join("..next")).expect("a link");
        std::fs::rename(folder.path().join("..next"), folder.path().join("..data")).expect("it takes its place");
    };
    switch("..1");
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.path().join(name)).expect("a link");
    }
    let at = |name: &str| folder.path().join(name).display().to_string();
    let certificates =
        format!("{{a: {{hosts: [a.test], cert_file: \"{}\", key_file: \"{}\"}}}}", at("tls.crt"), at("tls.key"));
    let origin = Origin::named("app");
    let serin = Serin::start(&rules(origin.address(), "{}", &certificates));
    let browser = Browser::new();
    for (version, pair) in [("..1", &pairs[0]), ("..2", &pairs[1]), ("..1", &pairs[0])] {
        switch(version);
        eventually(PATIENCE, version, || browser.is_shown(serin.address(), "a.test") == Ok(pair.der()));
    }
}

#[test]
fn rules_add_and_take_away_certificates_and_listeners_learn_tls() {
    let authority = Authority::new("any");
    let (one, two) = (authority.sign(&["one.test"]), authority.sign(&["two.test"]));
    let origin = Origin::named("app");
    let files = [one.files("one"), two.files("two")].concat();
    let serin = Serin::beside(&files, &rules(origin.address(), "null", "{}"), Default::default());
    let mut clear = serin.client();
    assert_eq!(clear.get("/").text(), "app");
    let certificate =
        |name: &str| format!("{name}: {{hosts: [{name}.test], cert_file: {name}.crt, key_file: {name}.key}}");
    let is_shown = |host: &str| Browser::new().is_shown(serin.address(), host);
    replace(&serin.config(), &rules(origin.address(), "{}", &format!("{{{}}}", certificate("one"))));
    eventually(PATIENCE, "TLS", || is_shown("one.test") == Ok(one.der()));
    assert!(is_shown("two.test").is_err());
    assert!(clear.ends_within(PATIENCE), "whoever came in clear text is not served any more");
    replace(
        &serin.config(),
        &rules(origin.address(), "{}", &format!("{{{}, {}}}", certificate("one"), certificate("two"))),
    );
    eventually(PATIENCE, "another one", || is_shown("two.test") == Ok(two.der()));
    // A listener still needs it.
    replace(
        &serin.config(),
        &rules(origin.address(), "{default_certificate: one}", &format!("{{{}}}", certificate("two"))),
    );
    eventually(PATIENCE, "a problem", || !serin.server().problems().is_empty());
    let problem = serin.server().problems()[0].to_string();
    assert!(problem.contains("there is no certificate `one`"), "{problem}");
    assert_eq!(is_shown("one.test"), Ok(one.der()));
}

#[test]
fn what_expires_is_served_and_its_end_is_known() {
    let pair = Authority::new("any").sign_until(&["a.test"], 2_020);
    let fixture = Fixture::with_one(Origin::named("app"), &pair, "a.test");
    assert_eq!(Browser::new().is_shown(fixture.address(), "a.test"), Ok(pair.der()));
    assert_eq!(fixture.serin.metric("serin_certificate_expires_seconds"), 1_577_836_800.0);
}

#[test]
fn keys_in_rules_are_shown_nowhere() {
    let pair = Authority::new("any").sign(&["a.test"]);
    let inline = |pem: &str| serde_json::to_string(pem).expect("text");
    let certificates =
        format!("{{a: {{hosts: [a.test], cert: {}, key: {}}}}}", inline(&pair.certificate), inline(&pair.key));
    let fixture = Fixture::start(Origin::named("app"), Vec::new(), "{}", &certificates);
    assert_eq!(Browser::new().is_shown(fixture.address(), "a.test"), Ok(pair.der()));
    let secret = pair.key.lines().nth(1).expect("the key itself");
    let listed: serde_json::Value = fixture.serin.admin_json("/api/v1/openapi.json");
    let targets = listed["paths"].as_object().expect("there are paths");
    for target in targets.keys().filter(|target| !target.contains('{') && !target.contains("events")) {
        let text = fixture.serin.admin_text(target);
        assert!(!text.contains(secret) && !text.contains("PRIVATE KEY"), "{target}");
    }
    let wrong = format!("{{a: {{hosts: [a.test], cert: {}, key: {}}}}}", inline(&pair.key), inline(&pair.key));
    replace(&fixture.serin.config(), &rules(fixture.origin.address(), "{}", &wrong));
    eventually(PATIENCE, "a problem", || !fixture.problems().is_empty());
    assert!(!fixture.problems().contains(secret));
    let rules = fixture.serin.server().snapshot();
    assert!(!format!("{:?}", rules.table.rules()).contains(secret));
}
