//! A receiver: where it is, and one call of it on a connection of its own. Changes are rare, and a kept connection would have gone.
//!
//! Redirects are not followed: whoever may answer there must not send signed messages elsewhere.

use std::future::ready;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::message::Message;
use super::signature::Secrets;
use crate::connect;

/// Where messages go.
pub(super) struct Receiver {
    host: String,
    port: u16,
    /// What goes into `Host`.
    authority: HeaderValue,
    path_and_query: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// What became of a call.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was taken.
    Delivered,
    /// The receiver wants no more of it.
    Gone,
    /// It was not. The receiver may have said how long to wait.
    Failed { reason: String, wait: Option<Duration> },
}

impl Receiver {
    /// One at a URL, which settings have checked.
    ///
    /// # Errors
    /// The certificates cannot be read.
    pub(super) fn new(url: &str, ca_file: Option<&Path>) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "url: it is not a URL".to_owned())?;
        let authority = uri.authority().ok_or("url: it has no host")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let is_tls = uri.scheme_str() == Some("https");
        let tls = match is_tls {
            true => {
                let name = ServerName::try_from(host.clone()).map_err(|_| "url: no certificate has such a host")?;
                Some((connector(ca_file)?, name))
            }
            false => None,
        };
        Ok(Self {
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| "url: the host is not text")?,
            path_and_query: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
            host,
            tls,
        })
    }

    /// Sends a message, signed at this moment (seconds since 1970). It does not take longer than [`CALL`].
    pub(super) async fn post(&self, message: &Message, secrets: &Secrets, at_s: u64) -> Outcome {
        let called = tokio::time::timeout(CALL, self.call(message, secrets, at_s)).await;
        match called {
            Ok(Ok(response)) => judge(&response),
            Ok(Err(reason)) => Outcome::Failed { reason, wait: None },
            Err(_) => Outcome::Failed { reason: format!("no answer within {CALL:?}"), wait: None },
        }
    }

    async fn call(&self, message: &Message, secrets: &Secrets, at_s: u64) -> Result<Response<Incoming>, String> {
        let request = Request::post(&*self.path_and_query)
            .header(HOST, &self.authority)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("serin/", env!("CARGO_PKG_VERSION")))
            .header(CONNECTION, "close")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", at_s)
            .header("webhook-signature", secrets.sign(&message.id, at_s, &message.body))
            .body(Full::new(message.body.clone()))
            .map_err(|error| format!("no request: {error}"))?;
        let stream = self.connect().await.map_err(|error| format!("cannot connect: {}", connect::in_words(&error)))?;
        let answer = |response| ready(Ok(response));
        match &self.tls {
            None => connect::exchange(stream, request, answer).await,
            Some((connector, name)) => {
                let encrypted = connector.connect(name.clone(), stream).await;
                connect::exchange(encrypted.map_err(|error| format!("no TLS: {error}"))?, request, answer).await
            }
        }
    }

    /// To the first of the host's addresses that answers.
    async fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::other("the host has no address");
        for address in lookup_host((self.host.as_str(), self.port)).await? {
            match connect::tcp(address, CONNECT).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

/// The body of the answer is not read: nothing in it would change anything.
fn judge(response: &Response<Incoming>) -> Outcome {
    let status = response.status();
    if status.is_success() {
        return Outcome::Delivered;
    }
    if status == StatusCode::GONE {
        return Outcome::Gone;
    }
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let reason = match status.is_redirection() {
        true => format!("status {}: redirects are not followed", status.as_u16()),
        false => format!("status {}", status.as_u16()),
    };
    Outcome::Failed { reason, wait: seconds.map(Duration::from_secs) }
}

fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let wrong = |reason: &dyn std::fmt::Display| format!("ca_file: {}: {reason}", path.display());
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))?;
            for certificate in certificates {
                roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
            }
            if roots.is_empty() {
                return Err(wrong(&"there is no certificate in it"));
            }
        }
        // Those that cannot be read are left out; without any of them, no certificate is good, and each call says so.
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The time for one address.
const CONNECT: Duration = Duration::from_secs(3);

/// The time for one call, from the lookup to the head of the answer.
pub(super) const CALL: Duration = Duration::from_secs(10);
