//! Certificates and TLS as written.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::CertificateAcmeSpec;

/// What Serin shows clients who ask for one of some hosts over TLS, and what it asks of them.
///
/// Of `cert_file` and `cert` there is exactly one, and of `key_file` and `key`; or there is `acme` instead. Files are watched: what changes in them is used
/// for the next handshake. While they cannot be used, what they said last stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CertificateSpec {
    /// Names for which clients get it: exact (`shop.example.com`), or `*.example.com` for those one label below. A host that
    /// two certificates name belongs to the one whose name comes first in the alphabet. Without any, only listeners that name
    /// it as their `default_certificate` use it.
    pub hosts: Vec<String>,
    /// A file with the certificate (PEM), and behind it those that lead to the authority. Relative to the main file's folder.
    pub cert_file: Option<String>,
    /// A file with its key (PEM: PKCS#8, PKCS#1 or SEC1).
    pub key_file: Option<String>,
    /// The certificate itself (PEM), for sources without files.
    pub cert: Option<String>,
    /// The key itself (PEM). It is shown nowhere.
    pub key: Option<SecretText>,
    /// It is ordered, and renewed in time, by ACME, for the `hosts`, of which none begins with `*.`. Default: it is what is written.
    pub acme: Option<CertificateAcmeSpec>,
    /// A file with the authority's word that the certificate is not revoked (an OCSP response, DER), which is sent along.
    /// Serin does not ask for it; whoever does replaces the file. Default: none.
    pub ocsp_file: Option<String>,
    /// What is asked of clients of these hosts. Default: what the listener asks.
    pub client_certificates: Option<ClientCertificatesSpec>,
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenerTlsSpec {
    /// `"1.2"` (default) or `"1.3"`.
    pub min_version: Option<TlsVersionSpec>,
    /// Which cipher suites there may be, the most wanted first, for example `TLS13_AES_128_GCM_SHA256`. Default: all that are
    /// held to be safe.
    pub cipher_suites: Option<Vec<String>>,
    /// The certificate for clients that name no host, or one of which there is no certificate. Default: none, and their
    /// handshake ends with an alert.
    pub default_certificate: Option<String>,
    /// What is asked of clients, where the certificate of their host does not say. Default: nothing.
    pub client_certificates: Option<ClientCertificatesSpec>,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TlsVersionSpec {
    /// TLS 1.2.
    #[serde(rename = "1.2")]
    V12,
    /// TLS 1.3.
    #[serde(rename = "1.3")]
    V13,
}

/// Certificates that clients show. Endpoints are told of a verified one by the field `client-cert` (RFC 9440).
///
/// Of `ca_file` and `ca` there is exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientCertificatesSpec {
    /// A file with the certificates (PEM) of who may have signed those of clients. Relative to the main file's folder.
    pub ca_file: Option<String>,
    /// The same itself.
    pub ca: Option<String>,
    /// `required` (default), or `optional`: then who shows none is served, and who shows a wrong one is not.
    pub mode: ClientCertificateModeSpec,
}

/// Whether a client must show a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificateModeSpec {
    /// Without one the handshake fails.
    #[default]
    Required,
    /// It is asked for one.
    Optional,
}

/// TLS with the endpoints of an upstream. Whoever answers must show a certificate that one of the authorities has signed, for the right name,
/// and valid now: otherwise nothing is sent, and the client gets 502. There is no way to do without.
///
/// Of `ca_file` and `ca` there is at most one, as of `cert_file` and `cert`, and of `key_file` and `key`. Files are watched: what changes in
/// them is used for the next connection, and those that are open get no further requests. While they cannot be used, what they said last stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTlsSpec {
    /// A file with the certificates (PEM) of who may have signed those of endpoints. Relative to the main file's folder. Default: those that the
    /// system trusts, as they are when they are first needed.
    pub ca_file: Option<String>,
    /// The same itself.
    pub ca: Option<String>,
    /// The name, or address, that the certificates of all endpoints must be for; a name is also what endpoints are asked for (SNI). Default:
    /// the name that is looked up, if they come from DNS, and else the address of each.
    pub server_name: Option<String>,
    /// A file with Serin's own certificate (PEM) for endpoints that ask for one, and behind it those that lead to its authority. Default: none.
    pub cert_file: Option<String>,
    /// The same itself.
    pub cert: Option<String>,
    /// A file with its key (PEM: PKCS#8, PKCS#1 or SEC1).
    pub key_file: Option<String>,
    /// The same itself. It is shown nowhere.
    pub key: Option<SecretText>,
}

/// A text that is shown nowhere. It is only written where rules are stored.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretText(String);

impl SecretText {
    /// What must not be shown.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
