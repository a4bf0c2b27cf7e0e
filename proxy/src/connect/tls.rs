//! The client side of a handshake with an endpoint, and what is left when it fails: one word and a sentence.
//!
//! Who answers is checked by rustls, with what the terms say, before a byte of a request is written. Nothing here goes on without.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error, HandshakeKind, PeerMisbehaved};

use super::{Stream, in_words};
use crate::snapshot::{EndpointTls, TlsEnd, TlsFailure};

/// A connection to an endpoint.
pub(crate) type EndpointStream = Stream<Secured>;

/// A connection whose handshake is over. It says farewell before it ends, if there is room for that: else the end looks like an attack.
pub(crate) struct Secured(TlsStream<TcpStream>);

/// Shakes hands with the endpoint at an address over a fresh connection. The other value says whether a session goes on.
///
/// # Errors
/// It is not who it has to be, or does not speak what it has to, or there was no end to it.
pub(crate) async fn secure(
    socket: TcpStream,
    tls: &EndpointTls,
    address: SocketAddr,
) -> Result<(EndpointStream, TlsEnd), TlsFailure> {
    let connector = TlsConnector::from(tls.config());
    let shaken = connector.connect(tls.name_at(address), socket).await;
    let stream = Secured(shaken.map_err(|error| failure(&error))?);
    let session = stream.0.get_ref().1;
    if !tls.agrees(session.alpn_protocol()) {
        return Err(TlsFailure { end: TlsEnd::NoProtocol, reason: NO_PROTOCOL.to_owned() });
    }
    let end = match session.handshake_kind() {
        Some(HandshakeKind::Resumed) => TlsEnd::Resumed,
        _ => TlsEnd::Completed,
    };
    Ok((EndpointStream::Tls(Box::new(stream)), end))
}

/// A handshake that was given up.
pub(crate) fn timed_out() -> TlsFailure {
    TlsFailure { end: TlsEnd::TimedOut, reason: "the handshake was not over in time".to_owned() }
}

/// What an endpoint says to a handshake that was over on this side: with TLS 1.3 it looks at our certificate after that.
pub(crate) fn refusal(error: &io::Error) -> Option<TlsFailure> {
    matches!(cause(error)?, Error::AlertReceived(_)).then(|| failure(error))
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
                    let names: Vec<&str> = names.iter().take(MOST_NAMES).map(|name| shortened(bare(name))).collect();
                    format!("the certificate is not for {wanted}, but for {}{more}", names.join(", "))
                }
            };
            (TlsEnd::WrongName, reason)
        }
        CertificateError::BadSignature => {
            (TlsEnd::BadCertificate, "a signature of the certificate, or of the handshake, is wrong".to_owned())
        }
        other => {
            let reason = other.to_string();
            (TlsEnd::BadCertificate, format!("the certificate cannot be used: {}", shortened(&reason)))
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

/// `a.test` of `DnsName("a.test")`.
fn bare(name: &str) -> &str {
    name.split('"').nth(1).unwrap_or(name)
}

/// The beginning of what an endpoint says.
fn shortened(text: &str) -> &str {
    text.char_indices().nth(MOST_TEXT).map_or(text, |(end, _)| &text[..end])
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
