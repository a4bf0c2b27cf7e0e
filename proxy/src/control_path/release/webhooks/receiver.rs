//! A receiver: where it is, and one call of it on a connection of its own. Changes are rare, and a kept connection would have gone.
//!
//! Redirects are not followed: whoever may answer there must not send signed messages elsewhere.

use std::future::ready;
use std::path::Path;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::message::Message;
use super::signature::Secrets;
use crate::connect;
use crate::control_path::https;

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
                let roots = https::roots(ca_file).map_err(|reason| format!("ca_file: {reason}"))?;
                Some((https::connector(roots)?, name))
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
        let stream = https::dial(&self.host, self.port)
            .await
            .map_err(|error| format!("cannot connect: {}", connect::in_words(&error)))?;
        let answer = |response| ready(Ok(response));
        match &self.tls {
            None => connect::exchange(stream, request, answer).await,
            Some((connector, name)) => {
                let encrypted = connector.connect(name.clone(), stream).await;
                connect::exchange(encrypted.map_err(|error| format!("no TLS: {error}"))?, request, answer).await
            }
        }
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

/// The time for one call, from the lookup to the head of the answer.
pub(super) const CALL: Duration = Duration::from_secs(10);
