//! The head of an HTTP/2 request in terms of HTTP/1, in which everything behind it reads, decides and writes.
//!
//! What one version of HTTP says by its frames the other says by fields. Nothing is left of the first: the authority has
//! become `Host`, a body without a length is chunked, and there is one length at most. h2 has refused fields that speak
//! of a connection, pseudo-fields out of place, and lengths that are none (RFC 9113 §8.2, §8.3).

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, Version};
use http_body::Body;
use hyper::ext::Protocol;
use hyper::upgrade::OnUpgrade;
use routing_rules::request::canonical;

use crate::data_path::error::RequestError;
use crate::data_path::headers;
use crate::data_path::request::{MAX_FIELDS, MAX_HEAD};
use crate::data_path::tunnel::Switching;

/// Rewrites the head of an HTTP/2 request; that of any other stays as it is.
pub(crate) fn in_terms_of_http1(parts: &mut Parts, body: &impl Body) -> Result<(), RequestError> {
    if parts.version != Version::HTTP_2 {
        return Ok(());
    }
    parts.version = Version::HTTP_11;
    let connects = parts.method == Method::CONNECT;
    let protocol = parts.extensions.remove::<Protocol>();
    if connects && protocol.is_none() {
        // It is refused whatever it says, and has neither path nor body.
        return Ok(());
    }
    check_fields(parts)?;
    name_host(parts)?;
    leave_path(parts)?;
    match protocol.filter(|_| connects) {
        Some(protocol) => switch(parts, &protocol)?,
        None => frame(parts, !body.is_end_stream()),
    }
    Ok(())
}

/// A request to speak another protocol over its stream asks for an upgrade in HTTP/1 (RFC 8441 §5). The stream waits in the
/// extensions.
fn switch(parts: &mut Parts, protocol: &Protocol) -> Result<(), RequestError> {
    let name = HeaderValue::from_str(protocol.as_str()).map_err(|_| RequestError::Malformed("invalid protocol"))?;
    if parts.headers.remove(header::CONTENT_LENGTH).is_some() {
        return Err(RequestError::Malformed("a length of what has none"));
    }
    let Some(stream) = parts.extensions.remove::<OnUpgrade>() else { return Err(RequestError::ConnectMethod) };
    parts.method = Method::GET;
    parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    parts.headers.insert(header::UPGRADE, name);
    parts.extensions.insert(Switching::new(stream, &mut parts.headers));
    Ok(())
}

/// The limits that hyper keeps with HTTP/1, counted as on its wire.
fn check_fields(parts: &Parts) -> Result<(), RequestError> {
    if parts.headers.len() > MAX_FIELDS {
        return Err(RequestError::HeadTooLarge);
    }
    let authority = parts.uri.authority().map_or(0, |authority| authority.as_str().len());
    let mut size = parts.uri.path_and_query().map_or(0, |path| path.as_str().len()) + authority;
    for (name, value) in &parts.headers {
        if !headers::is_token(name) {
            return Err(RequestError::Malformed("a field name that is no token"));
        }
        let value = value.as_bytes();
        size += name.as_str().len() + value.len() + ": \r\n".len();
        // RFC 9113 §8.2.1. HTTP/1 would take it for what stands around the value.
        if value.first().is_some_and(is_blank) || value.last().is_some_and(is_blank) {
            return Err(RequestError::Malformed("white space around a field value"));
        }
    }
    match size > MAX_HEAD {
        true => Err(RequestError::HeadTooLarge),
        false => Ok(()),
    }
}

fn is_blank(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The authority is the host (RFC 9113 §8.3.1). A `Host` beside it must say the same, or someone behind would read the other.
fn name_host(parts: &mut Parts) -> Result<(), RequestError> {
    let Some(authority) = parts.uri.authority() else { return Ok(()) };
    let mut fields = parts.headers.get_all(header::HOST).iter();
    if let Some(field) = fields.next()
        && !are_the_same(authority.as_str().as_bytes(), field.as_bytes())
    {
        return Err(RequestError::Malformed("Host is not the authority"));
    }
    if fields.next().is_some() {
        return Err(RequestError::Malformed("more than one Host"));
    }
    let host = HeaderValue::from_str(authority.as_str());
    parts.headers.insert(header::HOST, host.map_err(|_| RequestError::Malformed("invalid authority"))?);
    Ok(())
}

fn are_the_same(one: &[u8], other: &[u8]) -> bool {
    match (canonical::host(one), canonical::host(other)) {
        (Ok(one), Ok(other)) => one.name() == other.name() && one.port() == other.port(),
        _ => false,
    }
}

/// What is left of the target is what stands in a request line.
fn leave_path(parts: &mut Parts) -> Result<(), RequestError> {
    if !matches!(parts.uri.scheme_str(), None | Some("http" | "https")) {
        return Err(RequestError::Malformed("scheme is not served"));
    }
    let Some(path) = parts.uri.path_and_query().cloned() else { return Err(RequestError::Malformed("no path")) };
    parts.uri = Uri::from(path);
    Ok(())
}

/// Says how long the body is, in exactly one way.
fn frame(parts: &mut Parts, has_body: bool) {
    let length = parts.headers.get(header::CONTENT_LENGTH).cloned();
    // One that announces nothing and goes on would be complete for its endpoint before it is known to be right.
    let is_nothing = |length: &HeaderValue| !length.is_empty() && length.as_bytes().iter().all(|digit| *digit == b'0');
    if let Some(length) = length.filter(|length| !has_body || !is_nothing(length)) {
        // Several are equal here.
        parts.headers.insert(header::CONTENT_LENGTH, length);
    } else if has_body {
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
}
