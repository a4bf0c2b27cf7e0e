//! Accounts at authorities that sign certificates by ACME, and certificates that are ordered there, as written.

use serde::{Deserialize, Serialize};

use super::SecretText;

/// An account at an authority that signs certificates by ACME (RFC 8555). It is opened with the first order of a certificate that
/// names it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AcmeAccountSpec {
    /// Where the authority says what it offers: `https://HOST/PATH`, for example `https://acme-v02.api.letsencrypt.org/directory`.
    pub directory: String,
    /// Addresses of mail to which the authority may write. Default: none.
    pub contact: Vec<String>,
    /// That the terms of the authority are agreed to. Without it there is no account, so it has to be `true`.
    pub agree_to_terms: bool,
    /// A file with the certificates (PEM) of who signed that of the directory itself. Relative to the main file's folder.
    /// Default: those of the system.
    pub ca_file: Option<String>,
    /// The same itself.
    pub ca: Option<String>,
    /// What binds it to an account that the authority has opened elsewhere. Default: nothing.
    pub external_account: Option<ExternalAccountSpec>,
}

/// See [`AcmeAccountSpec::external_account`]. Of `key_file` and `key` there is exactly one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExternalAccountSpec {
    /// What the authority calls the key.
    pub key_id: String,
    /// A file with the key, as the authority gives it (base64url). Relative to the main file's folder.
    pub key_file: Option<String>,
    /// The key itself. It is shown nowhere.
    pub key: Option<SecretText>,
}

/// How a certificate is ordered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateAcmeSpec {
    /// One of `acme_accounts`.
    pub account: String,
    /// How the authority is shown that the hosts lead here: `http_01` (default), by a request to port 80 of each, or `tls_alpn_01`, by a
    /// handshake at port 443.
    #[serde(default)]
    pub challenge: AcmeChallengeSpec,
}

/// See [`CertificateAcmeSpec::challenge`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum AcmeChallengeSpec {
    /// A request for `/.well-known/acme-challenge/…`, which all listeners in clear text answer (RFC 8555 §8.3).
    #[default]
    #[serde(rename = "http_01")]
    Http01,
    /// A handshake of `acme-tls/1`, which all listeners that speak TLS answer (RFC 8737).
    #[serde(rename = "tls_alpn_01")]
    TlsAlpn01,
}
