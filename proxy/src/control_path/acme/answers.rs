//! Answers as the data path gives them.
//!
//! Whoever says what is to be answered may be wrong; what cannot be an answer is left out.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::{self, ServerConfig};

use super::kept::Answer;
use crate::snapshot::{Answers, CHALLENGE_PROTOCOL};

/// Handshakes that were made before, by host and digest.
#[derive(Default)]
pub(super) struct Handshakes(BTreeMap<(String, String), Arc<ServerConfig>>);

impl Handshakes {
    /// What to answer.
    pub(super) fn answers<'a>(&mut self, all: impl Iterator<Item = &'a Answer>) -> Answers {
        let mut before = std::mem::take(&mut self.0);
        let (mut requests, mut handshakes) = (HashMap::new(), HashMap::new());
        for answer in all {
            match answer {
                Answer::Http01 { token, text } if is_token(token) => {
                    requests.insert(token.as_str().into(), text.clone().into());
                }
                Answer::Http01 { .. } => {}
                Answer::TlsAlpn01 { host, digest } => {
                    let key = (host.clone(), digest.clone());
                    let known = before.remove(&key).map(Ok);
                    match known.unwrap_or_else(|| handshake(host, digest)) {
                        Ok(config) => {
                            handshakes.insert(host.as_str().into(), Arc::clone(&config));
                            self.0.insert(key, config);
                        }
                        Err(reason) => tracing::error!(host, reason, "a challenge cannot be answered"),
                    }
                }
            }
        }
        Answers { requests, handshakes }
    }
}

/// Whether a token is one (RFC 8555 §8.1).
pub(super) fn is_token(token: &str) -> bool {
    let is_of_it = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=MOST_TOKEN).contains(&token.len()) && token.bytes().all(is_of_it)
}

/// How to shake hands with an authority that wants to see this digest (RFC 8737 §3).
fn handshake(host: &str, digest: &str) -> Result<Arc<ServerConfig>, String> {
    fn in_words(error: impl ToString) -> String {
        error.to_string()
    }
    let digest = octets(digest).ok_or("it has no digest")?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(in_words)?;
    let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(in_words)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(&digest)];
    let certificate = params.self_signed(&key).map_err(in_words)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = provider.key_provider.load_private_key(key).map_err(in_words)?;
    // Not by way of what looks at certificates first, which knows nothing of the extension, and must not pass over it.
    let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], key));
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error: rustls::Error| error.to_string())?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![CHALLENGE_PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// 32 of them.
fn octets(hexadecimal: &str) -> Option<[u8; 32]> {
    let mut octets = [0; 32];
    let digits = hexadecimal.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(digits.chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(octets)
}

/// Authorities give some dozens of characters.
const MOST_TOKEN: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_an_answer_is_none() {
        let request = |token: &str| Answer::Http01 { token: token.into(), text: format!("{token}.x") };
        let shake = |digest: &str| Answer::TlsAlpn01 { host: "a.test".into(), digest: digest.into() };
        let (long, good) = ("a".repeat(257), "0f".repeat(32));
        let all = ["aZ-_9", "", "a/b", "..", "a b", &long].map(request);
        let mut made = Handshakes::default();
        let answers = made.answers(all.iter().chain(&[shake("00"), shake(&"+f".repeat(32)), shake(&good)]));
        assert_eq!(answers.requests.keys().map(|token| &**token).collect::<Vec<_>>(), ["aZ-_9"]);
        let first = Arc::clone(&answers.handshakes["a.test"]);
        let again = made.answers([shake(&good)].iter());
        assert!(Arc::ptr_eq(&first, &again.handshakes["a.test"]), "it is made once");
        assert!(made.answers([].iter()).handshakes.is_empty() && made.0.is_empty());
    }
}
