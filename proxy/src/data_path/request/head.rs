//! The request head, checked: what hyper lets through but a proxy must not, and the canonical host and path.

use std::borrow::Cow;

use http::Request;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Version};
use routing_rules::request::canonical;
use routing_rules::rules::Route;

use crate::data_path::error::RequestError;
use crate::data_path::headers::Seen;

/// Largest request head in bytes, including the request line; larger ones get 431.
pub(crate) const MAX_HEAD: usize = 32 << 10;

/// Most fields of a request head; more get 431. It is hyper's limit for HTTP/1.
pub(crate) const MAX_FIELDS: usize = 100;

/// Longest request target in bytes; longer ones get 414.
const MAX_TARGET: usize = 8 << 10;

/// Canonical path and query.
type Target<'a> = (Cow<'a, str>, Option<Cow<'a, str>>);

/// A head whose meaning is beyond doubt.
pub(crate) struct Head<'a> {
    /// The host, from the target if it has one (RFC 9112 §3.2.2), else from `Host`.
    pub(crate) host: canonical::Host<'a>,
    /// The canonical path, or `*`.
    pub(crate) path: Cow<'a, str>,
    pub(crate) query: Option<Cow<'a, str>>,
    /// Whether the target can be sent on as it came.
    pub(crate) is_as_sent: bool,
    has_encoded_slash: bool,
    /// The announced length of the body; 0 if there is none or it is chunked.
    content_length: u64,
    is_absolute: bool,
    /// Which fields of interest there are.
    pub(crate) seen: Seen,
}

impl<'a> Head<'a> {
    /// Checks a head that hyper has parsed.
    pub(crate) fn check(parts: &'a Parts) -> Result<Self, RequestError> {
        if parts.method == Method::CONNECT {
            return Err(RequestError::ConnectMethod);
        }
        let seen = Seen::of(&parts.headers);
        if seen.transfer_encoding {
            check_transfer_coding(parts)?;
        }
        if seen.expect {
            check_expectation(parts)?;
        }
        let (host, is_absolute) = host(parts)?;
        let (path, query) = target(parts)?;
        let is_as_sent = !is_absolute && matches!((&path, &query), (Cow::Borrowed(_), None | Some(Cow::Borrowed(_))));
        let has_encoded_slash = canonical::has_encoded_slash(&path);
        let content_length = if seen.content_length { content_length(parts)? } else { 0 };
        Ok(Self { host, path, query, is_as_sent, has_encoded_slash, content_length, is_absolute, seen })
    }

    /// Whether the route lets such a request in.
    pub(crate) fn admitted_by(&self, route: &Route) -> Result<(), RequestError> {
        if self.has_encoded_slash && !route.keeps_encoded_slashes() {
            return Err(RequestError::Malformed("encoded slash in the path"));
        }
        match self.content_length > route.body_limit() {
            true => Err(RequestError::BodyTooLarge),
            false => Ok(()),
        }
    }

    /// The canonical path and query.
    pub(crate) fn target(&self) -> String {
        match &self.query {
            Some(query) => format!("{}?{query}", self.path),
            None => self.path.to_string(),
        }
    }

    /// The `Host` to send, if it differs from the one that came.
    pub(crate) fn host_value(&self) -> Option<HeaderValue> {
        if !self.is_absolute && self.host.is_canonical() {
            return None;
        }
        let text = match self.host.port() {
            Some(port) => format!("{}:{port}", self.host.name()),
            None => self.host.name().to_owned(),
        };
        Some(HeaderValue::try_from(text).expect("a canonical host is visible ASCII"))
    }
}

/// Exactly one `chunked` or nothing: of every other transfer coding Serin could not tell where the body ends.
/// hyper looks at the last coding only.
fn check_transfer_coding(parts: &Parts) -> Result<(), RequestError> {
    let mut codings = parts.headers.get_all(header::TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(RequestError::TransferCoding),
    }
}

/// hyper answers `100-continue` itself when the body is first read (RFC 9110 §10.1.1).
fn check_expectation(parts: &Parts) -> Result<(), RequestError> {
    let mut all = parts.headers.get_all(header::EXPECT).iter();
    match all.all(|expectation| expectation.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
        true => Ok(()),
        false => Err(RequestError::Expectation),
    }
}

/// The host the request is for, and whether the target says so (RFC 9112 §3.2).
fn host(parts: &Parts) -> Result<(canonical::Host<'_>, bool), RequestError> {
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(RequestError::Malformed("more than one Host"));
    }
    let of_field = match field {
        Some(field) => field.as_bytes(),
        None if parts.version == Version::HTTP_10 => b"",
        None => return Err(RequestError::Malformed("no Host")),
    };
    if field.is_some() && of_field.is_empty() {
        return Err(RequestError::Malformed("empty Host"));
    }
    let of_field = canonical::host(of_field).map_err(|_| RequestError::Malformed("invalid Host"))?;
    match (parts.uri.scheme_str(), parts.uri.authority()) {
        (None, None) => Ok((of_field, false)),
        (Some("http" | "https"), Some(authority)) => {
            let host = canonical::host(authority.as_str().as_bytes())
                .map_err(|_| RequestError::Malformed("invalid authority"))?;
            match host.name().is_empty() {
                true => Err(RequestError::Malformed("empty authority")),
                false => Ok((host, true)),
            }
        }
        _ => Err(RequestError::Malformed("request target is not a path")),
    }
}

fn target(parts: &Parts) -> Result<Target<'_>, RequestError> {
    let path = parts.uri.path();
    let query = parts.uri.query();
    if path.len() + query.map_or(0, str::len) > MAX_TARGET {
        return Err(RequestError::TargetTooLong);
    }
    let query = match query {
        Some(raw) => Some(canonical::query(raw.as_bytes()).ok_or(RequestError::Malformed("invalid query"))?),
        None => None,
    };
    if path == "*" {
        return match parts.method {
            Method::OPTIONS => Ok((Cow::Borrowed("*"), query)),
            _ => Err(RequestError::Malformed("request target is not a path")),
        };
    }
    let path = canonical::path(path.as_bytes()).map_err(|_| RequestError::Malformed("invalid path"))?;
    Ok((path, query))
}

fn content_length(parts: &Parts) -> Result<u64, RequestError> {
    let Some(length) = parts.headers.get(header::CONTENT_LENGTH) else { return Ok(0) };
    let text = length.to_str().map_err(|_| RequestError::Malformed("invalid Content-Length"))?;
    text.parse().map_err(|_| RequestError::Malformed("invalid Content-Length"))
}

/// The head of a request that is sent twice. What hyper and we attached to the first stays there.
pub(crate) fn copy_of<B>(request: &Request<B>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}
