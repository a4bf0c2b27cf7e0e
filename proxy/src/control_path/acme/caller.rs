//! One request to an authority on a connection of its own; there are a dozen in two months.
//!
//! How much is read, and how long that may take, is bounded. Redirects are not followed.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderMap, RETRY_AFTER};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::ServerName;

use super::schedule::LONGEST_ASKED;
use crate::connect;
use crate::control_path::https;

/// Calls one authority.
#[derive(Clone)]
pub(super) struct Caller {
    connector: TlsConnector,
    said: Arc<Mutex<Said>>,
}

/// What an authority has said with its refusals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// How long it wants to be left alone at most.
    pub(super) wait: Option<Duration>,
    /// It has too much to do, or had too much of us.
    pub(super) is_busy: bool,
}

impl Said {
    fn hear(&mut self, status: StatusCode, wait: Option<Duration>) {
        if status.is_client_error() || status.is_server_error() {
            self.wait = self.wait.max(wait);
        }
        self.is_busy |= matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    }
}

impl Caller {
    /// Those who have signed for it.
    ///
    /// # Errors
    /// None today.
    pub(super) fn new(roots: RootCertStore) -> Result<Self, String> {
        Ok(Self { connector: https::connector(roots)?, said: Arc::default() })
    }

    /// What the authority has said so far.
    pub(super) fn said(&self) -> Said {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, String> {
        let (request, host, port) = prepared(request)?;
        let name = ServerName::try_from(host.clone()).map_err(|_| format!("no certificate has the host `{host}`"))?;
        let stream = https::dial(&host, port).await;
        let stream =
            stream.map_err(|error| format!("cannot connect to {host}:{port}: {}", connect::in_words(&error)))?;
        let encrypted = self.connector.connect(name, stream).await;
        let encrypted = encrypted.map_err(|error| format!("no TLS with {host}:{port}: {error}"))?;
        let mut answer = connect::exchange(encrypted, request, read).await?;
        let wait = clip_wait(answer.headers_mut(), SystemTime::now());
        self.said.lock().unwrap_or_else(PoisonError::into_inner).hear(answer.status(), wait);
        Ok(answer.into())
    }
}

impl HttpClient for Caller {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let caller = self.clone();
        Box::pin(async move {
            let called = tokio::time::timeout(CALL, caller.call(request)).await;
            let answered = called.unwrap_or_else(|_| Err(format!("no answer within {CALL:?}")));
            answered.map_err(|reason| Error::Other(reason.into()))
        })
    }
}

/// A request as it goes over a connection to its host, and where that is.
fn prepared(request: Request<BodyWrapper<Bytes>>) -> Result<(Request<BodyWrapper<Bytes>>, String, u16), String> {
    let (mut head, body) = request.into_parts();
    let wrong = || "the authority names an address that is not `https://HOST/PATH`".to_owned();
    let authority = head.uri.authority().filter(|_| head.uri.scheme_str() == Some("https")).ok_or_else(wrong)?.clone();
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
    let named = HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?;
    head.uri = path.parse::<Uri>().map_err(|_| wrong())?;
    head.headers.insert(HOST, named);
    head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok((Request::from_parts(head, body), host, authority.port_u16().unwrap_or(443)))
}

async fn read(response: Response<Incoming>) -> Result<Response<Full<Bytes>>, String> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, MOST_BYTES).collect().await.map_err(|error| format!("half an answer: {error}"))?;
    Ok(Response::from_parts(head, Full::new(body.to_bytes())))
}

/// Leaves of a wait what the protocol's client can reckon with, and returns that.
fn clip_wait(fields: &mut HeaderMap, now: SystemTime) -> Option<Duration> {
    let wait = retry_after(fields, now).map(|wait| wait.min(LONGEST_ASKED));
    match wait {
        Some(wait) => drop(fields.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs()))),
        None => drop(fields.remove(RETRY_AFTER)),
    }
    wait
}

/// Seconds, or a date (RFC 9110 §10.2.3).
fn retry_after(fields: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = fields.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let until = |date: SystemTime| date.duration_since(now).ok();
    text.parse().map(Duration::from_secs).ok().or_else(|| httpdate::parse_http_date(text).ok().and_then(until))
}

/// The time for one call, from the lookup to the end of the answer.
const CALL: Duration = Duration::from_secs(30);

/// Chains of certificates have some kilobytes.
const MOST_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_seconds_or_dates() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 10);
        for (text, wanted) in [
            ("120", Some(120)),
            (" 7 ", Some(7)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
            ("Sun, 06 Nov 1984 08:49:37 GMT", None),
            ("-1", None),
            ("soon", None),
        ] {
            let fields = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            assert_eq!(retry_after(&fields, now), wanted.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn waits_are_clipped_before_anybody_reckons_with_them() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 10);
        for (text, wanted) in [
            ("18446744073709551615", Some("172800")),
            ("Fri, 31 Dec 9999 23:59:59 GMT", Some("172800")),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some("10")),
            ("7", Some("7")),
            ("99999999999999999999", None),
            ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ] {
            let mut fields = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            let wait = clip_wait(&mut fields, now);
            let left = fields.get(RETRY_AFTER).map(|left| left.to_str().expect("digits"));
            assert_eq!((left, wait.map(|wait| wait.as_secs().to_string()).as_deref()), (wanted, wanted), "{text}");
        }
    }

    #[test]
    fn of_all_waits_the_longest_counts() {
        let mut said = Said::default();
        said.hear(StatusCode::OK, Some(Duration::from_secs(99)));
        assert_eq!(said, Said::default());
        said.hear(StatusCode::TOO_MANY_REQUESTS, Some(Duration::from_secs(60)));
        said.hear(StatusCode::FORBIDDEN, Some(Duration::from_secs(5)));
        said.hear(StatusCode::BAD_REQUEST, None);
        assert_eq!(said, Said { wait: Some(Duration::from_secs(60)), is_busy: true });
    }

    #[test]
    fn only_https_is_called() {
        for (url, wanted) in [
            ("https://acme.test/a?b", Some(("/a?b", "acme.test", 443))),
            ("https://[::1]:14000", Some(("/", "::1", 14_000))),
            ("http://acme.test/a", None),
            ("/a", None),
        ] {
            let request = Request::get(url).body(BodyWrapper::default()).expect("a request");
            let prepared = prepared(request).ok();
            let got = prepared.as_ref().map(|(request, host, port)| (request.uri().path_and_query(), &**host, *port));
            let got = got.map(|(path, host, port)| (path.map_or("", |path| path.as_str()), host, port));
            assert_eq!(got, wanted, "{url}");
        }
    }
}
