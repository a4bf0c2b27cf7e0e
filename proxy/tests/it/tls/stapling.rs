//! The authority's word that a certificate is good, shown with it: made and read by OpenSSL.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serin_proxy::server::ConnectionLimits;

use super::{Authority, rules};
use crate::support::control::replace;
use crate::support::{Origin, PATIENCE, Serin, eventually, said_by};

#[test]
fn what_the_authority_says_of_a_certificate_is_shown_with_it_and_follows_its_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let authority = Authority::new("any");
    let pair = authority.sign(&["a.test"]);
    for (name, text) in pair.files("one").into_iter().chain(authority.pair().files("ca")) {
        fs::write(folder.path().join(name), text).expect("room");
    }
    let Some(good) = response(folder.path(), "V") else { return };
    let certificates = "{one: {hosts: [a.test], cert_file: one.crt, key_file: one.key, ocsp_file: one.ocsp}, \
        bare: {hosts: [b.test], cert_file: bare.crt, key_file: bare.key}}";
    let texts = pair.files("one").into_iter().chain(authority.sign(&["b.test"]).files("bare"));
    let mut files: Vec<(String, Vec<u8>)> = texts.map(|(name, text)| (name, text.into_bytes())).collect();
    files.push(("one.ocsp".to_owned(), good));
    let origin = Origin::named("app");
    let serin = Serin::beside(&files, &rules(origin.address(), "{}", certificates), ConnectionLimits::default());
    let said = |host: &str| staple(folder.path(), serin.address(), host);
    assert!(said("a.test").contains("Cert Status: good"), "{}", said("a.test"));
    assert!(said("b.test").contains("no response sent"), "{}", said("b.test"));
    let revoked = response(folder.path(), "R").expect("OpenSSL was there");
    replace(&serin.folder.path().join("one.ocsp"), &revoked);
    eventually(PATIENCE, "the newer word", || said("a.test").contains("Cert Status: revoked"));
    assert!(serin.server().problems().is_empty(), "{:?}", serin.server().problems());
}

/// What the authority says of the certificate `one`: that it is valid (`V`) or revoked (`R`). `None` if there is no OpenSSL.
fn response(folder: &Path, state: &str) -> Option<Vec<u8>> {
    let serial = openssl(folder, "x509 -in one.crt -noout -serial")?;
    let serial = serial.trim().strip_prefix("serial=").expect("a number");
    let revoked_at = if state == "R" { "250101000000Z" } else { "" };
    let index = format!("{state}\t491231235959Z\t{revoked_at}\t{serial}\tunknown\t/CN=a\n");
    fs::write(folder.join("index.txt"), index).expect("room");
    let words = "ocsp -index index.txt -CA ca.crt -rsigner ca.crt -rkey ca.key -issuer ca.crt -cert one.crt -ndays 1 \
         -respout one.ocsp -noverify";
    openssl(folder, words)?;
    Some(fs::read(folder.join("one.ocsp")).expect("it was written"))
}

/// What a client that asks for it is shown.
fn staple(folder: &Path, address: SocketAddr, host: &str) -> String {
    let words = format!("s_client -connect {address} -servername {host} -status -CAfile ca.crt -verify_return_error");
    openssl(folder, &words).expect("OpenSSL was there")
}

fn openssl(folder: &Path, words: &str) -> Option<String> {
    said_by(Command::new("openssl").current_dir(folder).args(words.split(' ')))
}
