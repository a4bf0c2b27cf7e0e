//! Certificates, and how listeners speak TLS.
//!
//! Where files are and what goes with what is known here, not what is in them: whoever reads them finds out whether a key
//! fits, and what a certificate is worth.

use std::fmt;
use std::net::IpAddr;

use super::{AcmeOrder, HostPattern, Name};
use crate::RuleError;
use crate::error::Problems;
use crate::spec::{
    CertificateAcmeSpec, CertificateSpec, ClientCertificateModeSpec, ClientCertificatesSpec, ListenerTlsSpec,
    SecretText, TlsVersionSpec,
};

/// A certificate, with its key and whom it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    name: Name,
    hosts: Box<[HostPattern]>,
    origin: Origin,
    client_certificates: Option<ClientCertificates>,
}

/// Where a certificate and its key come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Whoever wrote the rules has them.
    Written {
        /// The certificate and those behind it.
        chain: Pem,
        /// Its key.
        key: Pem,
        /// A file with an OCSP response.
        ocsp_file: Option<Box<str>>,
    },
    /// It is ordered.
    Ordered(AcmeOrder),
}

/// Where a PEM text is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Pem {
    /// In a file, relative to the main file's folder.
    File(Box<str>),
    /// Here.
    Text(Box<str>),
}

/// Says nothing of a text, which may be a key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text(_) => f.write_str("Text"),
        }
    }
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientCertificates {
    /// Who may have signed their certificates.
    pub authorities: Pem,
    /// Whether they must have one.
    pub is_required: bool,
}

/// How a listener speaks TLS.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenerTls {
    protocol: TlsProtocol,
    default_certificate: Option<Name>,
    client_certificates: Option<ClientCertificates>,
}

/// What of TLS a listener allows, whoever comes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TlsProtocol {
    /// Whether there is nothing below TLS 1.3.
    pub is_13_only: bool,
    /// The cipher suites by their names, the most wanted first; none: the usual ones.
    pub cipher_suites: Box<[&'static str]>,
}

impl Certificate {
    /// Validates one certificate; reports every problem.
    pub fn new(name: &str, spec: &CertificateSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        let mut problems = Problems::new(format!("certificates.{name}"), found);
        let hosts = problems.at("hosts").each(&spec.hosts, |text| host(text));
        let origin = match &spec.acme {
            Some(order) => ordered(spec, order, hosts.as_deref(), &mut problems),
            None => written(spec, &mut problems),
        };
        let client = clients(&mut problems, spec.client_certificates.as_ref());
        let name = problems.ok(Name::new(name));
        Some(Self { name: name?, hosts: hosts?.into(), origin: origin?, client_certificates: client? })
    }

    /// The certificate's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The hosts it is for.
    pub fn hosts(&self) -> &[HostPattern] {
        &self.hosts
    }

    /// Where it comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How it is ordered, if it is.
    pub fn order(&self) -> Option<&AcmeOrder> {
        match &self.origin {
            Origin::Ordered(order) => Some(order),
            Origin::Written { .. } => None,
        }
    }

    /// What is asked of clients, if it says.
    pub fn client_certificates(&self) -> Option<&ClientCertificates> {
        self.client_certificates.as_ref()
    }

    /// The files it names.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let client = self.client_certificates.as_ref().map(|client| &client.authorities);
        let (chain, key, ocsp_file) = match &self.origin {
            Origin::Written { chain, key, ocsp_file } => (Some(chain), Some(key), ocsp_file.as_deref()),
            Origin::Ordered(_) => (None, None, None),
        };
        [chain, key, client].into_iter().flatten().filter_map(Pem::file).chain(ocsp_file)
    }
}

impl Pem {
    /// The file, if it is in one.
    pub fn file(&self) -> Option<&str> {
        match self {
            Self::File(path) => Some(path),
            Self::Text(_) => None,
        }
    }
}

impl ListenerTls {
    /// Validates the TLS of a listener; reports every problem.
    pub(super) fn new(spec: &ListenerTlsSpec, mut problems: Problems<'_>) -> Option<Self> {
        let is_13_only = spec.min_version == Some(TlsVersionSpec::V13);
        let named = spec.cipher_suites.as_ref();
        let suites = named.map(|names| problems.at("cipher_suites").each(names, |name| suite(name, is_13_only)));
        if named.is_some_and(Vec::is_empty) {
            problems.at("cipher_suites").report("without any there is no TLS; leave it out for the usual ones");
        }
        let default = spec.default_certificate.as_deref();
        let default = default.map_or(Some(None), |name| {
            let name = problems.at("default_certificate").ok(Name::new(name));
            name.map(Some)
        });
        let client = clients(&mut problems, spec.client_certificates.as_ref());
        Some(Self {
            protocol: TlsProtocol { is_13_only, cipher_suites: suites.unwrap_or(Some(Vec::new()))?.into() },
            default_certificate: default?,
            client_certificates: client?,
        })
    }

    /// What it allows.
    pub fn protocol(&self) -> &TlsProtocol {
        &self.protocol
    }

    /// The certificate for clients that name no host, or one of which there is none.
    pub fn default_certificate(&self) -> Option<&Name> {
        self.default_certificate.as_ref()
    }

    /// What is asked of clients, where the certificate of their host does not say.
    pub fn client_certificates(&self) -> Option<&ClientCertificates> {
        self.client_certificates.as_ref()
    }
}

fn written(spec: &CertificateSpec, problems: &mut Problems<'_>) -> Option<Origin> {
    let chain = pem(problems, "cert", spec.cert.as_deref(), spec.cert_file.as_deref());
    let key = spec.key.as_ref().map(SecretText::reveal);
    let key = pem(problems, "key", key, spec.key_file.as_deref());
    let ocsp_file = spec.ocsp_file.as_deref().map_or(Some(None), |path| {
        let path = problems.at("ocsp_file").ok(file(path));
        path.map(Some)
    });
    Some(Origin::Written { chain: chain?, key: key?, ocsp_file: ocsp_file? })
}

fn ordered(
    spec: &CertificateSpec,
    order: &CertificateAcmeSpec,
    hosts: Option<&[HostPattern]>,
    problems: &mut Problems<'_>,
) -> Option<Origin> {
    let written = [
        ("cert", spec.cert.is_some()),
        ("cert_file", spec.cert_file.is_some()),
        ("key", spec.key.is_some()),
        ("key_file", spec.key_file.is_some()),
        ("ocsp_file", spec.ocsp_file.is_some()),
    ];
    let before = problems.count();
    for (field, _) in written.into_iter().filter(|(_, is_written)| *is_written) {
        problems
            .at(field)
            .report("a certificate that is ordered (`acme`) has none that is written; one of the two must go");
    }
    let order = AcmeOrder::new(order, hosts, problems.at("acme"));
    order.filter(|_| problems.count() == before).map(Origin::Ordered)
}

fn host(text: &str) -> Result<HostPattern, String> {
    let pattern = HostPattern::new(text)?;
    let is_address = |name: &str| name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    match &pattern {
        HostPattern::Exact(name) if is_address(name) => Err(format!(
            "`{name}` is an address; a client that connects to one names no host, and gets the listener's \
             `default_certificate`"
        )),
        HostPattern::Below(_) => Err(format!("`{pattern}` is more than a certificate can be for: `*` is one label")),
        _ => Ok(pattern),
    }
}

/// A text, or where it is: one of the two.
pub(super) fn pem(problems: &mut Problems<'_>, field: &str, text: Option<&str>, path: Option<&str>) -> Option<Pem> {
    match (text, path) {
        (Some(text), None) => Some(Pem::Text(text.into())),
        (None, Some(path)) => problems.at(format_args!("{field}_file")).ok(file(path)).map(Pem::File),
        (None, None) => {
            problems.report(format_args!("`{field}_file` or `{field}` is missing"));
            None
        }
        (Some(_), Some(_)) => {
            problems.at(field).report(format_args!("`{field}_file` says it already; one of the two must go"));
            None
        }
    }
}

pub(super) fn file(path: &str) -> Result<Box<str>, &'static str> {
    match path {
        "" => Err("is empty"),
        path => Ok(path.into()),
    }
}

/// Nothing of nothing; no value if what there is is wrong.
fn clients(problems: &mut Problems<'_>, spec: Option<&ClientCertificatesSpec>) -> Option<Option<ClientCertificates>> {
    let Some(ClientCertificatesSpec { ca_file, ca, mode }) = spec else { return Some(None) };
    let authorities = pem(&mut problems.at("client_certificates"), "ca", ca.as_deref(), ca_file.as_deref())?;
    Some(Some(ClientCertificates { authorities, is_required: *mode == ClientCertificateModeSpec::Required }))
}

fn suite(name: &str, is_13_only: bool) -> Result<&'static str, String> {
    let known = CIPHER_SUITES.iter().find(|known| **known == name);
    let known = known.ok_or_else(|| {
        format!("there is no cipher suite `{}`; there are {}", name.escape_debug(), CIPHER_SUITES.join(", "))
    })?;
    match is_13_only && !known.starts_with("TLS13_") {
        true => Err(format!("`{known}` is of TLS 1.2, which `min_version` does not allow")),
        false => Ok(known),
    }
}

/// All that are held to be safe, the most wanted first.
pub const CIPHER_SUITES: &[&str] = &[
    "TLS13_AES_256_GCM_SHA384",
    "TLS13_AES_128_GCM_SHA256",
    "TLS13_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
];
