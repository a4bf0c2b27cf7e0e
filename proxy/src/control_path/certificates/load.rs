//! From PEM texts to what handshakes use.
//!
//! Whatever is wrong is said without quoting a text, since that may be a key.

use std::sync::Arc;

use routing_rules::rules::{HostPattern, Name};
use sha2::{Digest, Sha256};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::Issued;
use crate::control_path::source::file;
use crate::snapshot::Certificate;

/// What is in a chain, and what is not right about it though it can be used.
pub(super) struct Loaded {
    pub(super) certificate: Certificate,
    /// Hosts that the rules name and the certificate does not.
    pub(super) uncovered: Vec<String>,
}

/// Reads a certificate and its key; what it asks of clients is for others to say. An error names the field behind which the culprit is.
pub(super) fn certificate(
    name: &Name,
    hosts: &[HostPattern],
    (chain, key, ocsp): (&str, &str, Option<&str>),
    provider: &CryptoProvider,
) -> Result<Loaded, (Field, String)> {
    let (mut key, facts) = certified(chain, key, provider)?;
    key.ocsp = ocsp.map(file::bytes_of);
    let Facts { names, not_before, not_after } = facts;
    let certificate = Certificate {
        name: name.clone(),
        resolver: Certificate::resolver(key),
        covers: names.into(),
        not_before,
        not_after,
        clients: None,
    };
    let uncovered = hosts.iter().filter(|host| !certificate.covers_pattern(host)).map(ToString::to_string).collect();
    Ok(Loaded { certificate, uncovered })
}

/// A certificate and its key for endpoints that ask for one, and until when it is good, in seconds since 1970.
pub(super) fn identity(
    chain: &str,
    key: &str,
    provider: &CryptoProvider,
) -> Result<(CertifiedKey, i64), (Field, String)> {
    let (key, facts) = certified(chain, key, provider)?;
    Ok((key, facts.not_after))
}

/// Holds a key against its certificate.
fn certified(chain: &str, key: &str, provider: &CryptoProvider) -> Result<(CertifiedKey, Facts), (Field, String)> {
    let of_chain = |reason: String| (Field::Chain, reason);
    let chain = certificates(chain).map_err(of_chain)?;
    let leaf = chain.first().ok_or_else(|| of_chain("there is no certificate in it".into()))?;
    let facts = Facts::of(leaf).map_err(of_chain)?;
    let key = PrivateKeyDer::from_pem_slice(&file::bytes_of(key));
    let key = key.map_err(|_| (Field::Key, "there is no private key in it that can be read".to_owned()))?;
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            (Field::Key, "is not the key of the certificate".to_owned())
        }
        Error::InvalidCertificate(_) => of_chain("the first certificate in it cannot be read".into()),
        _ => (Field::Key, "is a key of a kind that cannot be used".to_owned()),
    })?;
    Ok((key, facts))
}

/// What was issued for these hosts, if it can be used for all of them.
///
/// # Errors
/// Says why it cannot.
pub fn examine(name: &Name, hosts: &[HostPattern], issued: &Issued) -> Result<Certificate, String> {
    let texts = (&*issued.chain, &*issued.key, None);
    let loaded = certificate(name, hosts, texts, &aws_lc_rs::default_provider());
    let Loaded { certificate, uncovered } = loaded.map_err(|(_, reason)| reason)?;
    match uncovered.first() {
        Some(host) => Err(format!("the certificate is not good for `{host}`")),
        None => Ok(certificate),
    }
}

/// Which part of a certificate is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Chain,
    Key,
    Ocsp,
    Clients,
}

/// What a certificate says of itself.
struct Facts {
    names: Vec<HostPattern>,
    not_before: i64,
    not_after: i64,
}

impl Facts {
    fn of(leaf: &CertificateDer<'_>) -> Result<Self, String> {
        let unreadable = || "the first certificate in it cannot be read".to_owned();
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|_| unreadable())?;
        let alternative = leaf.subject_alternative_name().map_err(|_| unreadable())?;
        let names = alternative.iter().flat_map(|names| &names.value.general_names).filter_map(|name| match name {
            // What rules mean by `**` certificates do not.
            GeneralName::DNSName(name) => {
                HostPattern::new(name).ok().filter(|host| !matches!(host, HostPattern::Below(_)))
            }
            GeneralName::IPAddress(bytes) => HostPattern::new(&address(bytes)?).ok(),
            _ => None,
        });
        let names = names.collect();
        let validity = leaf.validity();
        Ok(Self { names, not_before: validity.not_before.timestamp(), not_after: validity.not_after.timestamp() })
    }
}

/// An address as a host is written.
fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => Some(std::net::Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).to_string()),
        16 => Some(format!("[{}]", std::net::Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?))),
        _ => None,
    }
}

/// Reads who may have signed certificates of clients, or of endpoints.
pub(super) fn authorities(text: &str) -> Result<(RootCertStore, [u8; 32]), String> {
    let (mut roots, mut digest) = (RootCertStore::empty(), Sha256::new());
    for authority in certificates(text)? {
        digest.update((authority.len() as u64).to_be_bytes());
        digest.update(&authority);
        roots.add(authority).map_err(|_| "a certificate in it cannot be read".to_owned())?;
    }
    match roots.is_empty() {
        true => Err("there is no certificate in it, so nobody could show one".into()),
        false => Ok((roots, digest.finalize().into())),
    }
}

/// What looks at certificates of clients.
pub(super) fn verifier(
    roots: RootCertStore,
    is_required: bool,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| error.to_string())
}

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    // Around the blocks there may be whatever somebody noted there, in any encoding.
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file::bytes_of(text)).collect();
    all.map_err(|_| "is not PEM text: a block in it has no end, or is not base64".into())
}
