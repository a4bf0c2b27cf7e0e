//! How connections to the endpoints of an upstream begin: in clear text, or with TLS.
//!
//! Nothing here opens a file or a socket. What is to be TLS and cannot be is no connection at all: never one in clear text,
//! nor one that trusts somebody else.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};

/// How connections to endpoints are secured.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// They are not.
    #[default]
    Clear,
    /// By TLS.
    Tls(Arc<EndpointTls>),
    /// They are to be, and what that takes cannot be used: there are none.
    Closed,
}

/// The terms of TLS with the endpoints of one upstream. Other terms are another one of these.
pub struct EndpointTls {
    /// Whom to trust, what to show, what to agree on, and sessions to go on with.
    config: ArcSwap<ClientConfig>,
    /// Whom to trust, for sessions that go on.
    verifier: Arc<dyn ServerCertVerifier>,
    /// What certificates must be for; none stands for the address of each endpoint.
    name: Option<ServerName<'static>>,
    /// Whether HTTP/2 is to be agreed on.
    is_http2: bool,
}

/// Equal ones may use the same connections.
impl PartialEq for Transport {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tls(one), Self::Tls(other)) => Arc::ptr_eq(one, other),
            (Self::Clear, Self::Clear) | (Self::Closed, Self::Closed) => true,
            (Self::Clear | Self::Tls(_) | Self::Closed, _) => false,
        }
    }
}

impl EndpointTls {
    /// The terms of a configuration, which has the same `verifier`. It offers one protocol: HTTP/2 if `is_http2`.
    pub fn new(
        mut config: ClientConfig,
        verifier: Arc<dyn ServerCertVerifier>,
        name: Option<ServerName<'static>>,
        is_http2: bool,
    ) -> Self {
        let offer: &[u8] = if is_http2 { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![offer.to_vec()];
        Self { config: ArcSwap::from_pointee(config), verifier, name, is_http2 }
    }

    /// For one handshake.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.config.load_full()
    }

    /// Whether an endpoint that goes on with a session is still who it has to be: rustls looks at what it showed only when the session
    /// begins, and each that goes on can be gone on with in its turn.
    pub fn trusts_still(&self, shown: &[CertificateDer<'_>], address: SocketAddr) -> bool {
        let [certificate, others @ ..] = shown else { return false };
        let name = self.name_at(address);
        self.verifier.verify_server_cert(certificate, others, &name, &[], UnixTime::now()).is_ok()
    }

    /// No session of a configuration goes on from now on, and handshakes begin anew.
    pub fn forget_sessions(&self, config: &Arc<ClientConfig>) {
        if Arc::ptr_eq(&self.config.load(), config) {
            let mut another = ClientConfig::clone(config);
            another.resumption = Resumption::default();
            self.config.store(Arc::new(another));
        }
    }

    /// What the certificate of the endpoint at an address must be for.
    pub fn name_at(&self, address: SocketAddr) -> ServerName<'static> {
        self.name.clone().unwrap_or_else(|| ServerName::from(address.ip()))
    }

    /// Whether an endpoint that has agreed on this speaks what is wanted. HTTP/1 is what is spoken without a word.
    pub fn agrees(&self, protocol: Option<&[u8]>) -> bool {
        match protocol {
            Some(protocol) => (protocol == b"h2") == self.is_http2,
            None => !self.is_http2,
        }
    }
}

/// Says nothing of keys.
impl fmt::Debug for EndpointTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointTls")
            .field("name", &self.name)
            .field("is_http2", &self.is_http2)
            .finish_non_exhaustive()
    }
}
