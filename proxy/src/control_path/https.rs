//! Calls of others over HTTPS: who signed their certificates, and the way to their host.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::connect;

/// Whose certificates are good for a call: those that a file (PEM) names, or the system if there is none.
///
/// # Errors
/// The file cannot be used; says why.
pub(super) fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, String> {
    let Some(path) = ca_file else { return Ok(roots_of_system()) };
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    roots_of_text(&text).map_err(|reason| format!("{}: {reason}", path.display()))
}

/// The same of a text.
///
/// # Errors
/// As above.
pub(super) fn roots_of_text(text: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() { Err("there is no certificate in it".into()) } else { Ok(roots) }
}

/// Those that cannot be read are left out; without any of them, no certificate is good, and each call says so.
pub(super) fn roots_of_system() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// What speaks TLS with whoever these have signed for.
///
/// # Errors
/// None today.
pub(super) fn connector(roots: RootCertStore) -> Result<TlsConnector, String> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects to the first of a host's addresses that answers.
///
/// # Errors
/// None does.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::other("the host has no address");
    for address in lookup_host((host, port)).await? {
        match connect::tcp(address, CONNECT).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The time for one address.
const CONNECT: Duration = Duration::from_secs(3);
