//! The client side of a handshake with an endpoint, and what is left when it fails: one word and a sentence.
//!
//! Who answers is checked by rustls, with what the terms say, before a byte of a request is written. Nothing here goes on without.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, HandshakeKind, PeerMisbehaved, ProtocolVersion};

use super::{Stream, in_words};
use crate::snapshot::{EndpointTls, TlsEnd, TlsFailure};

/// A connection to an endpoint.
pub(crate) type EndpointStream = Stream<Secured>;

/// A connection whose handshake is over. It says farewell before it ends, if there is room for that: else the end looks like an attack.
pub(crate) struct Secured(TlsStream<TcpStream>);

/// Shakes hands with the endpoint at an address over a fresh connection. The other value says whether a session goes on. Nothing if that
/// was a session with somebody who would not be trusted any more: it is forgotten, and over another connection the endpoint says anew who it is.
///
/// # Errors
/// It is not who it has to be, or does not speak what it has to, or there was no end to it.
pub(crate) async fn secure(
    socket: TcpStream,
    tls: &EndpointTls,
    address: SocketAddr,
) -> Result<Option<(EndpointStream, TlsEnd)>, TlsFailure> {
    let config = tls.config();
    let connector = TlsConnector::from(Arc::clone(&config));
    let shaken = connector.connect(tls.name_at(address), socket).await;
    let stream = Secured(shaken.map_err(|error| failure(&error))?);
    let session = stream.0.get_ref().1;
    if !tls.agrees(session.alpn_protocol()) {
        return Err(TlsFailure { end: TlsEnd::NoProtocol, reason: NO_PROTOCOL.to_owned() });
    }
    let end = match session.handshake_kind() {
        Some(HandshakeKind::Resumed) => {
            if !tls.trusts_still(session.peer_certificates().unwrap_or_default(), address) {
                tls.forget_sessions(&config);
                return Ok(None);
            }
            TlsEnd::Resumed
        }
        _ => TlsEnd::Completed,
    };
    Ok(Some((EndpointStream::Tls(Box::new(stream)), end)))
}

/// A handshake that was given up.
pub(crate) fn timed_out() -> TlsFailure {
    TlsFailure { end: TlsEnd::TimedOut, reason: "the handshake was not over in time".to_owned() }
}

impl EndpointStream {
    /// What an endpoint says to a handshake that was over on this side: with TLS 1.3 it looks at our certificate after that, and reads
    /// nothing that came behind it if it does not like it. All else that it may complain of it may have read.
    pub(crate) fn refusal(&self, error: &io::Error) -> Option<TlsFailure> {
        let Self::Tls(stream) = self else { return None };
        let Error::AlertReceived(alert) = cause(error)? else { return None };
        let version = stream.0.get_ref().1.protocol_version();
        (version == Some(ProtocolVersion::TLSv1_3) && is_of_handshake(*alert)).then(|| failure(error))
    }
}

fn is_of_handshake(alert: AlertDescription) -> bool {
    use AlertDescription::{
        AccessDenied, BadCertificate, CertificateExpired, CertificateRequired, CertificateRevoked, CertificateUnknown,
        DecryptError, HandshakeFailure, UnknownCA, UnsupportedCertificate,
    };
    matches!(
        alert,
        AccessDenied
            | BadCertificate
            | CertificateExpired
            | CertificateRequired
            | CertificateRevoked
            | CertificateUnknown
            | DecryptError
            | HandshakeFailure
            | UnknownCA
            | UnsupportedCertificate
    )
}

/// Why a handshake failed.
fn failure(error: &io::Error) -> TlsFailure {
    let Some(cause) = cause(error) else {
        let reason = format!("the connection ended in the handshake: {}", in_words(error));
        return TlsFailure { end: TlsEnd::Left, reason };
    };
    let (end, reason) = match cause {
        Error::InvalidCertificate(wrong) => of_certificate(wrong),
        Error::NoApplicationProtocol
        | Error::AlertReceived(AlertDescription::NoApplicationProtocol)
        | Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedApplicationProtocol) => {
            (TlsEnd::NoProtocol, NO_PROTOCOL.to_owned())
        }
        Error::AlertReceived(alert) => {
            (TlsEnd::RefusedByEndpoint, format!("the endpoint refuses it: {}", said(*alert)))
        }
        Error::PeerIncompatible(_) => {
            (TlsEnd::Incompatible, "no version or cipher suite of TLS is common to both".to_owned())
        }
        Error::NoCertificatesPresented => (TlsEnd::BadCertificate, "the endpoint shows no certificate".to_owned()),
        Error::InvalidMessage(_) => (TlsEnd::Broken, "the endpoint does not speak TLS".to_owned()),
        other => (TlsEnd::Broken, format!("the endpoint breaks TLS: {other}")),
    };
    TlsFailure { end, reason }
}

fn of_certificate(wrong: &CertificateError) -> (TlsEnd, String) {
    match wrong {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            (TlsEnd::Expired, "the certificate has expired".to_owned())
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            (TlsEnd::Expired, "the certificate is not valid yet".to_owned())
        }
        CertificateError::UnknownIssuer => {
            (TlsEnd::UnknownIssuer, "nobody who is trusted has signed the certificate".to_owned())
        }
        CertificateError::NotValidForName => (TlsEnd::WrongName, "the certificate is for another name".to_owned()),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let wanted = expected.to_str();
            let reason = match &**presented {
                [] => format!("the certificate is not for {wanted}"),
                names => {
                    let more = if names.len() > MOST_NAMES { ", …" } else { "" };
                    let names: Vec<String> = names.iter().take(MOST_NAMES).map(|name| shown(bare(name))).collect();
                    format!("the certificate is not for {wanted}, but for {}{more}", names.join(", "))
                }
            };
            (TlsEnd::WrongName, reason)
        }
        CertificateError::BadSignature => {
            (TlsEnd::BadCertificate, "a signature of the certificate, or of the handshake, is wrong".to_owned())
        }
        CertificateError::Other(reason) if reason.to_string().contains("CaUsedAsEndEntity") => {
            (TlsEnd::BadCertificate, "the certificate cannot be used: it is that of an authority".to_owned())
        }
        other => {
            let reason = other.to_string();
            (TlsEnd::BadCertificate, format!("the certificate cannot be used: {}", shown(&reason)))
        }
    }
}

fn said(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => "it asks for a certificate".to_owned(),
        AlertDescription::UnknownCA => "it does not know who has signed our certificate".to_owned(),
        AlertDescription::UnrecognisedName => "it has no certificate for that name".to_owned(),
        AlertDescription::ProtocolVersion => "no version of TLS is common to both".to_owned(),
        other => format!("alert {}", u8::from(other)),
    }
}

fn cause(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// `a.test` of `DnsName("a.test")`, and `10.0.0.1` of `IpAddress(10.0.0.1)`.
fn bare(name: &str) -> &str {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    inner.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(inner)
}

/// The beginning of what an endpoint says, without what would do something to a terminal.
fn shown(text: &str) -> String {
    text.chars().take(MOST_TEXT).flat_map(char::escape_debug).collect()
}

impl AsyncRead for Secured {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl Drop for Secured {
    fn drop(&mut self) {
        let _ = Pin::new(&mut self.0).poll_shutdown(&mut Context::from_waker(Waker::noop()));
    }
}

const NO_PROTOCOL: &str = "the endpoint does not agree to speak what the rules say (ALPN)";

/// How many names of a certificate are told.
const MOST_NAMES: usize = 3;

/// How many characters of each.
const MOST_TEXT: usize = 100;

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tokio_rustls::TlsAcceptor;
    use tokio_rustls::rustls::client::WebPkiServerVerifier;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
    use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

    use super::*;

    /// A certificate that an endpoint shows, and its key.
    type Shown = (CertificateDer<'static>, Vec<u8>);

    fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
    }

    fn signed(authority: &CertifiedIssuer<'static, KeyPair>, names: &[&str]) -> Shown {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let (params, key) = (CertificateParams::new(names).expect("names"), KeyPair::generate().expect("a key"));
        let certificate = params.signed_by(&key, authority).expect("a certificate");
        (certificate.der().clone(), key.serialize_der())
    }

    fn signed_by_itself(is_ca: IsCa) -> Shown {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
        params.is_ca = is_ca;
        let key = KeyPair::generate().expect("a key");
        (params.self_signed(&key).expect("a certificate").der().clone(), key.serialize_der())
    }

    /// An endpoint that shakes hands and says a byte.
    async fn endpoint((certificate, key): Shown) -> (SocketAddr, JoinSet<()>) {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("there are versions").with_no_client_auth();
        let config = builder.with_single_cert(vec![certificate], PrivatePkcs8KeyDer::from(key).into());
        let acceptor = TlsAcceptor::from(Arc::new(config.expect("they belong together")));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(socket).await else { continue };
                if stream.write_all(b"!").await.is_ok() && stream.flush().await.is_ok() {
                    let _ = stream.read(&mut [0]).await;
                }
            }
        });
        (address, serving)
    }

    fn verifier(trusted: &CertificateDer<'static>) -> Arc<WebPkiServerVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).expect("a certificate");
        let provider = Arc::new(aws_lc_rs::default_provider());
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().expect("somebody is trusted")
    }

    /// Terms by which one is trusted when a session begins, and another when it goes on.
    fn terms(first: &CertificateDer<'static>, later: &CertificateDer<'static>) -> EndpointTls {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("there are versions").with_webpki_verifier(verifier(first));
        EndpointTls::new(builder.with_no_client_auth(), verifier(later), None, false)
    }

    /// How a handshake ends; nothing if a session was forgotten.
    async fn shake(tls: &EndpointTls, address: SocketAddr) -> Result<Option<TlsEnd>, TlsFailure> {
        let socket = TcpStream::connect(address).await.expect("it listens");
        let Some((mut stream, end)) = secure(socket, tls, address).await? else { return Ok(None) };
        // Tickets come before it.
        assert_eq!(stream.read_u8().await.ok(), Some(b'!'));
        Ok(Some(end))
    }

    #[tokio::test]
    async fn a_session_goes_on_only_with_somebody_who_would_still_be_trusted() {
        let (ours, other) = (authority("ours"), authority("other"));
        let (address, _serving) = endpoint(signed(&ours, &["127.0.0.1"])).await;
        let tls = terms(ours.der(), ours.der());
        for end in [TlsEnd::Completed, TlsEnd::Resumed, TlsEnd::Resumed] {
            assert_eq!(shake(&tls, address).await, Ok(Some(end)));
        }
        let tls = terms(ours.der(), other.der());
        for end in [Some(TlsEnd::Completed), None, Some(TlsEnd::Completed), None] {
            assert_eq!(shake(&tls, address).await, Ok(end));
        }
    }

    #[tokio::test]
    async fn a_certificate_can_be_its_own_authority_unless_it_says_that_it_is_one() {
        let authority = IsCa::Ca(BasicConstraints::Unconstrained);
        for (is_ca, reason) in [(IsCa::NoCa, None), (IsCa::ExplicitNoCa, None), (authority, Some(OF_AUTHORITY))] {
            let shown = signed_by_itself(is_ca);
            let tls = terms(&shown.0, &shown.0);
            let (address, _serving) = endpoint(shown).await;
            let shaken = shake(&tls, address).await;
            assert_eq!(
                shaken.map_err(|failure| failure.reason),
                reason.map_or(Ok(Some(TlsEnd::Completed)), |reason| { Err(reason.to_owned()) })
            );
        }
    }

    const OF_AUTHORITY: &str = "the certificate cannot be used: it is that of an authority";

    #[tokio::test]
    async fn names_are_told_without_what_would_do_something_to_a_terminal() {
        let ours = authority("ours");
        let tls = terms(ours.der(), ours.der());
        for (names, told) in [
            (&["a.test", "127.0.0.2", "*.b.test", "c.test"][..], "a.test, 127.0.0.2, *.b.test, …"),
            (&["10.0.0.1"], "10.0.0.1"),
            (&["\u{1b}[2J(\"a\")"], "\\u{1b}[2J(\\\"a\\\")"),
        ] {
            let (address, _serving) = endpoint(signed(&ours, names)).await;
            let failure = shake(&tls, address).await.expect_err("it is not trusted");
            assert_eq!(failure.reason, format!("the certificate is not for 127.0.0.1, but for {told}"));
            assert_eq!(failure.end, TlsEnd::WrongName);
        }
    }
}
