//! A client that speaks TLS, and looks at what it is shown instead of judging it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme, StreamOwned,
    SupportedProtocolVersion,
};

use super::authority::Pair;
use crate::support::PATIENCE;

/// A client and what it remembers.
#[derive(Clone)]
pub(crate) struct Browser(ClientConfig);

/// A connection.
pub(crate) struct Page {
    stream: StreamOwned<ClientConnection, TcpStream>,
}

/// An answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Browser {
    pub(crate) fn new() -> Self {
        Self::of(&[&tokio_rustls::rustls::version::TLS13, &tokio_rustls::rustls::version::TLS12], None)
    }

    pub(crate) fn with_version(version: &'static SupportedProtocolVersion) -> Self {
        Self::of(&[version], None)
    }

    pub(crate) fn showing(pair: &Pair) -> Self {
        Self::showing_in(&tokio_rustls::rustls::version::TLS13, pair)
    }

    pub(crate) fn showing_in(version: &'static SupportedProtocolVersion, pair: &Pair) -> Self {
        Self::of(&[version], Some(pair))
    }

    fn of(versions: &[&'static SupportedProtocolVersion], shows: Option<&Pair>) -> Self {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let builder = builder.with_protocol_versions(versions).expect("they are known");
        let verifier = Arc::new(Looker(Arc::new(aws_lc_rs::default_provider())));
        let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
        let mut config = match shows {
            Some(pair) => builder.with_client_auth_cert(vec![pair.der()], pair.key_der()).expect("they are a pair"),
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::in_memory_sessions(32);
        Self(config)
    }

    /// Offers these protocols.
    pub(crate) fn speaking(mut self, protocols: &[&str]) -> Self {
        self.0.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        self
    }

    /// Names no host.
    pub(crate) fn silent(mut self) -> Self {
        self.0.enable_sni = false;
        self
    }

    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::new(self.0.clone())
    }

    /// Shakes hands. With TLS 1.3 what the other side makes of a certificate shows later.
    pub(crate) fn open(&self, address: SocketAddr, host: &str) -> std::io::Result<Page> {
        self.open_behind(address, b"", host)
    }

    /// The same, with something in front of the handshake.
    pub(crate) fn open_behind(&self, address: SocketAddr, first: &[u8], host: &str) -> std::io::Result<Page> {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(first)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let host = ServerName::try_from(host.to_owned()).expect("it is a name");
        let mut connection = ClientConnection::new(self.config(), host).expect("it can begin");
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(Page { stream: StreamOwned::new(connection, socket) })
    }

    /// What it would begin a handshake with.
    pub(crate) fn hello(&self, host: &str) -> Vec<u8> {
        let host = ServerName::try_from(host.to_owned()).expect("it is a name");
        let mut hello = Vec::new();
        let mut connection = ClientConnection::new(self.config(), host).expect("it can begin");
        connection.write_tls(&mut hello).expect("there is room");
        hello
    }

    /// What it is shown for a host.
    pub(crate) fn is_shown(&self, address: SocketAddr, host: &str) -> Result<CertificateDer<'static>, String> {
        let page = self.open(address, host).map_err(|error| error.to_string())?;
        Ok(page.stream.conn.peer_certificates().expect("the handshake is over")[0].clone().into_owned())
    }

    /// Asks for something on a connection of its own.
    pub(crate) fn get(&self, address: SocketAddr, host: &str) -> std::io::Result<Answer> {
        self.open(address, host)?.get(host)
    }
}

impl Page {
    pub(crate) fn get(&mut self, host: &str) -> std::io::Result<Answer> {
        self.send(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"))?;
        self.answer()
    }

    pub(crate) fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.stream.write_all(text.as_bytes())?;
        self.stream.flush()
    }

    pub(crate) fn answer(&mut self) -> std::io::Result<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.extend(self.take(1)?);
        }
        let head = String::from_utf8(head).expect("heads are ASCII");
        let field = |name: &str| {
            head.lines().find_map(|line| {
                let (known, value) = line.split_once(": ")?;
                known.eq_ignore_ascii_case(name).then_some(value)
            })
        };
        let length = field("content-length").map_or(0, |length| length.parse().expect("a number"));
        let body = String::from_utf8(self.take(length)?).expect("bodies are text");
        let status = head[9..12].parse().expect("a status");
        Ok(Answer { status, head, body })
    }

    pub(crate) fn take(&mut self, count: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; count];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// What comes until the other side has said that nothing more will. Fails if it merely ends.
    pub(crate) fn rest(&mut self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.stream.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Goes on with new keys, which is nothing to HTTP.
    pub(crate) fn renew_keys(&mut self) -> std::io::Result<()> {
        self.stream.conn.refresh_traffic_keys().map_err(std::io::Error::other)?;
        self.stream.flush()
    }

    /// Whether anything comes, or the end, within some time.
    pub(crate) fn hears_within(&mut self, patience: Duration) -> bool {
        self.stream.sock.set_read_timeout(Some(patience)).expect("a limit");
        let read = self.stream.read(&mut [0; 64]);
        self.stream.sock.set_read_timeout(Some(PATIENCE)).expect("a limit");
        !read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Whether the handshake went on with an earlier session.
    pub(crate) fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    pub(crate) fn protocol(&self) -> Option<&[u8]> {
        self.stream.conn.alpn_protocol()
    }
}

/// Takes every certificate. The signature with it is still checked, so whoever shows it has its key.
#[derive(Debug)]
struct Looker(Arc<CryptoProvider>);

impl ServerCertVerifier for Looker {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls12_signature(message, certificate, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.0.signature_verification_algorithms;
        tokio_rustls::rustls::crypto::verify_tls13_signature(message, certificate, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
