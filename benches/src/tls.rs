//! TLS as every case of it is spoken: TLS 1.3 with one cipher, one group, and one certificate for all proxies.
//!
//! What a client offers is all that is agreed on, so nobody's own preference makes one proxy's handshake dearer than
//! another's. Servers send tickets as they do by themselves; whether the next connection shows one is the client's choice.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, NamedGroup, RootCertStore, StreamOwned};

/// The name that clients ask for, in the handshake and in every request.
pub const HOST: &str = "bench.test";

/// What all that speak TLS here agree on, as OpenSSL calls it.
pub const CIPHER: &str = "TLS_AES_128_GCM_SHA256";
pub const GROUP: &str = "X25519";

/// A certificate (ECDSA, P-256) for `HOST`, and its key.
#[derive(Debug)]
pub struct Certificate(CertificateDer<'static>);

impl Certificate {
    /// Makes one and writes it where the configurations of the proxies have it: `bench.crt`, `bench.key`, and both in
    /// `bench.pem`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn make(folder: &Path) -> io::Result<Self> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(io::Error::other)?;
        let params = CertificateParams::new([HOST.to_owned()]).map_err(io::Error::other)?;
        let certificate = params.self_signed(&key).map_err(io::Error::other)?;
        let (certificate_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        fs::write(folder.join("bench.crt"), &certificate_pem)?;
        fs::write(folder.join("bench.key"), &key_pem)?;
        fs::write(folder.join("bench.pem"), certificate_pem + &key_pem)?;
        Ok(Self(certificate.der().clone()))
    }

    /// How clients that trust it speak: `protocol` is the one they offer (ALPN).
    ///
    /// # Errors
    /// When it is no certificate.
    pub fn client(&self, protocol: &str, tickets: Tickets) -> io::Result<Tls> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.clone()).map_err(io::Error::other)?;
        let provider = CryptoProvider {
            cipher_suites: vec![ring::cipher_suite::TLS13_AES_128_GCM_SHA256],
            kx_groups: vec![ring::kx_group::X25519],
            ..ring::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config.resumption = match tickets {
            Tickets::Forgotten => Resumption::disabled(),
            Tickets::Shown => Resumption::store(Arc::new(Kept::default())),
        };
        Ok(Tls(Arc::new(config)))
    }
}

/// What a client does with the tickets it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tickets {
    /// Every handshake is a full one.
    Forgotten,
    /// Every handshake goes on with an earlier session, as soon as there is one.
    Shown,
}

/// How a client of the load speaks TLS.
#[derive(Clone, Debug)]
pub struct Tls(Arc<ClientConfig>);

impl Tls {
    /// The first that a client says, in a record.
    pub(crate) fn hello(&self) -> io::Result<Vec<u8>> {
        let mut hello = Vec::new();
        self.connection()?.write_tls(&mut hello)?;
        Ok(hello)
    }

    /// A connection that begins its handshake with the first read or write.
    pub(crate) fn over(&self, stream: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        Ok(StreamOwned::new(self.connection()?, stream))
    }

    fn connection(&self) -> io::Result<ClientConnection> {
        let host = ServerName::try_from(HOST).map_err(io::Error::other)?;
        ClientConnection::new(Arc::clone(&self.0), host).map_err(io::Error::other)
    }
}

/// Tickets, each to be shown once. The library's own store keeps eight of a server, and here 64 connections want one.
#[derive(Debug, Default)]
struct Kept(Mutex<VecDeque<Tls13ClientSessionValue>>);

impl Kept {
    const MOST: usize = 1_024;
}

impl ClientSessionStore for Kept {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == Self::MOST {
            kept.pop_front();
        }
        kept.push_back(ticket);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}
