//! What is kept where, and whose word counts.

use rcgen::{CertificateParams, KeyPair};

use super::*;

fn kept(host: &str) -> Certificate {
    let key = KeyPair::generate().expect("a key");
    let signed = CertificateParams::new(vec![host.to_owned()]).expect("a name").self_signed(&key);
    let chain = signed.expect("a certificate").pem();
    Certificate { directory: "https://acme.test/".into(), chain, key: key.serialize_pem() }
}

fn failed(count: u32) -> Failures {
    Failures { what: "w".into(), count, at_ms: 1, wait_ms: 2, problem: "p".into(), is_open: false }
}

fn value(text: &str, mod_revision: i64) -> Value {
    Value { bytes: text.as_bytes().into(), mod_revision, create_revision: 1, lease: 0 }
}

#[tokio::test]
async fn a_folder_keeps_what_was_issued_and_no_less_when_it_is_damaged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let state_dir = StateDir::open(folder.path()).expect("it is opened");
    let vault = Vault::in_folder(state_dir.clone());
    let account = Account { directory: "d".into(), key_id: None, contact: Vec::new(), credentials: Default::default() };
    vault.keep_account("le", Some(account)).await.expect("a folder");
    vault.keep_failures("a", failed(3)).await.expect("a folder");
    vault.save().await;
    vault.keep_certificate("a", kept("a.test")).await.expect("a folder");
    assert!(vault.lock().is_unsaved && vault.failures("a").is_none());
    vault.save().await;
    assert!(!vault.lock().is_unsaved);
    let again = Vault::in_folder(state_dir.clone());
    assert!(again.in_hand("a").is_some_and(|it| it.covers("a.test") && !it.covers("b.test")));
    assert!(again.account("le").is_some() && again.failures("a").is_none() && again.issued() == vault.issued());
    let path = folder.path().join("acme.json");
    let text = std::fs::read(&path).expect("it is there");
    for damaged in [&text[..text.len() - 2], b"", b"{}\n{}", &text[1..]] {
        std::fs::write(&path, damaged).expect("room");
        let before = Vault::in_folder(state_dir.clone());
        assert!(before.account("le").is_some() && before.failures("a") == Some(failed(3)), "the one before it");
    }
    std::fs::remove_file(folder.path().join("acme.previous.json")).expect("it was there");
    assert!(Vault::in_folder(state_dir).account("le").is_none());
}

#[test]
fn what_keys_say_counts_unless_this_instance_has_written_since() {
    let vault = Vault::default();
    let hear = |all: &[(&str, Value)]| {
        let keys = all.iter().map(|(key, value)| (Box::<str>::from(*key), value.clone())).collect();
        vault.hear(&keys)
    };
    let certificate = text(&kept("a.test"));
    assert!(hear(&[("certificates/a", value(&certificate, 5)), ("failures/a", value(&text(&failed(1)), 6))]));
    assert_eq!((vault.issued().len(), vault.failures("a")), (1, Some(failed(1))));
    // A watch that is behind.
    vault.lock().own.insert("failures/a".into(), 9);
    vault.lock().stored.failures.insert("a".into(), failed(3));
    let behind = [("certificates/a", value(&certificate, 5)), ("failures/a", value(&text(&failed(2)), 8))];
    assert!(!hear(&behind));
    assert_eq!(vault.failures("a"), Some(failed(3)));
    // A backup, once others may have written.
    vault.end_term();
    assert_eq!(vault.failures("a"), Some(failed(2)));
    // Nonsense is nothing, and a certificate that has gone is ordered anew.
    let nonsense = [("failures/a", value("nonsense", 10)), ("certificates/a", value("[]", 11))];
    assert!(hear(&nonsense));
    assert!(vault.failures("a").is_none() && vault.in_hand("a").is_none() && vault.issued().is_empty());
    let answer = Answer::Http01 { token: "t".into(), text: "t.x".into() };
    let more = [("answers/1", value(&text(&answer), 12)), ("other/1", value("", 13))];
    assert!(!hear(&[nonsense.clone(), more].concat()));
    assert_eq!(vault.answers().load().requests.get("t").map(|text| &**text), Some(&b"t.x"[..]));
    assert!(!hear(&nonsense));
    assert!(vault.answers().load().requests.is_empty());
}
