//! What Secrets hold.

use k8s_openapi::api::core::v1::Secret;
use routing_rules::spec::CertificateSpec;

use crate::ObjectName;
use crate::objects::Objects;

/// A certificate and its key (PEM).
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Pair {
    /// As rules have it, for these hosts.
    pub(crate) fn spec(&self, hosts: Vec<String>) -> CertificateSpec {
        let (cert, key) = (Some(self.cert.clone()), Some(self.key.clone().into()));
        CertificateSpec { hosts, cert, key, ..CertificateSpec::default() }
    }
}

/// What a Secret of the kind `kubernetes.io/tls` has.
///
/// # Errors
/// There is no such Secret, or something of it is missing.
pub(crate) fn certificate(objects: &Objects, secret: &ObjectName) -> Result<Pair, &'static str> {
    let secret = objects.secrets.get(secret).ok_or("there is none")?;
    let cert = text(secret, "tls.crt").ok_or("it has no certificate (tls.crt, PEM)")?;
    let key = text(secret, "tls.key").ok_or("it has no key (tls.key, PEM)")?;
    Ok(Pair { cert, key })
}

/// A text that a Secret has under this key, if it is no empty one.
pub(crate) fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref().and_then(|data| data.get(key));
    value.and_then(|value| String::from_utf8(value.0.clone()).ok()).filter(|text| !text.trim().is_empty())
}
