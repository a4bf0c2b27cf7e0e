//! TLS with endpoints: who may have signed their certificates, for which name these must be, and what endpoints are shown.
//!
//! Where files are is known here, not what is in them. The name never comes from an answer of a name service: it is written, or is
//! the name that was asked for, or each endpoint's own address.

use std::net::IpAddr;

use super::certificate::pem;
use super::{Discovery, HostPattern, Pem, Protocol};
use crate::error::Problems;
use crate::spec::{ProtocolSpec, SecretText, UpstreamSpec, UpstreamTlsSpec};

/// How what is spoken with endpoints is secured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UpstreamTls {
    /// Who may have signed their certificates; none stands for those whom the system trusts.
    pub authorities: Option<Pem>,
    /// The name or address that their certificates must be for; none stands for the address of each.
    pub server_name: Option<Box<str>>,
    /// What they are shown if they ask.
    pub identity: Option<Identity>,
    /// What is agreed on, or there is no connection.
    pub protocol: Protocol,
}

/// A certificate of our own.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The certificate and those behind it.
    pub chain: Pem,
    /// Its key.
    pub key: Pem,
}

/// Validates the TLS of an upstream; reports every problem. Nothing of nothing; no value if what there is is wrong.
pub(super) fn tls(
    spec: &UpstreamSpec,
    discovery: Option<&Discovery>,
    problems: &mut Problems<'_>,
) -> Option<Option<UpstreamTls>> {
    let protocol = match (spec.protocol, &spec.tls) {
        (ProtocolSpec::H2, None) => {
            let reason = "`h2` is HTTP/2 with TLS, so it needs `tls`: `{}` trusts whom the system trusts; without TLS it is `h2c`";
            problems.at("protocol").report(reason);
            return None;
        }
        (_, None) => return Some(None),
        (ProtocolSpec::H2c, Some(_)) => {
            problems.at("protocol").report("`h2c` is HTTP/2 without TLS; with `tls` it is `h2`");
            return None;
        }
        (ProtocolSpec::Http1, Some(_)) => Protocol::Http1,
        (ProtocolSpec::H2, Some(_)) => Protocol::Http2,
    };
    let spec = spec.tls.as_ref()?;
    let mut problems = problems.at("tls");
    let authorities = match (&spec.ca, &spec.ca_file) {
        (None, None) => Some(None),
        (ca, ca_file) => pem(&mut problems, "ca", ca.as_deref(), ca_file.as_deref()).map(Some),
    };
    let server_name = match &spec.server_name {
        Some(name) => problems.at("server_name").ok(server_name(name)).map(Some),
        None => Some(looked_up(discovery)),
    };
    let identity = identity(spec, &mut problems);
    Some(Some(UpstreamTls { authorities: authorities?, server_name: server_name?, identity: identity?, protocol }))
}

/// A certificate and its key: both or none.
fn identity(spec: &UpstreamTlsSpec, problems: &mut Problems<'_>) -> Option<Option<Identity>> {
    let UpstreamTlsSpec { cert, cert_file, key, key_file, .. } = spec;
    if cert.is_none() && cert_file.is_none() && key.is_none() && key_file.is_none() {
        return Some(None);
    }
    let chain = pem(problems, "cert", cert.as_deref(), cert_file.as_deref());
    let key = pem(problems, "key", key.as_ref().map(SecretText::reveal), key_file.as_deref());
    Some(Some(Identity { chain: chain?, key: key? }))
}

fn server_name(text: &str) -> Result<Box<str>, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string().into());
    }
    match HostPattern::new(text) {
        Ok(HostPattern::Exact(name)) if !name.starts_with('[') => Ok(name),
        _ => Err(format!("`{}` is not a host name such as app.internal, nor an address", text.escape_debug())),
    }
}

fn looked_up(discovery: Option<&Discovery>) -> Option<Box<str>> {
    match discovery? {
        Discovery::Dns(dns) => Some(dns.name.to_ascii_lowercase().into()),
        Discovery::Etcd(_) | Discovery::Kubernetes(_) => None,
    }
}
