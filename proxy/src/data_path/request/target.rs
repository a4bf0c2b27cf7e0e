//! Targets: the one an endpoint gets, and the one a redirect names.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode, Uri};
use routing_rules::request::canonical;
use routing_rules::rules::{Filter, Redirect, Route};

use super::Head;
use crate::data_path::error::RequestError;
use crate::data_path::http::ConnectionState;
use crate::data_path::response::ResponseBody;

/// The target to send, if it differs from the one that came.
pub(super) fn rewritten_uri(head: &Head<'_>, route: &Route) -> Result<Option<Uri>, RequestError> {
    let mut path = None;
    for filter in route.filters() {
        match filter {
            Filter::ReplacePrefix(replace) => {
                let current: &str = path.as_deref().unwrap_or(&*head.path);
                path = canonical::replace_prefix(current, &replace.from, &replace.to).or(path);
            }
            Filter::ReplacePath(replacement) => path = Some(replacement.to_string()),
            Filter::ReplaceHost(_) | Filter::RequestHeader(_) | Filter::ResponseHeader(_) => {}
        }
    }
    let path = match (path, head.is_as_sent) {
        (None, true) => return Ok(None),
        (Some(path), _) => path,
        (None, false) => head.path.clone().into_owned(),
    };
    let target = match &head.query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    };
    Uri::try_from(target).map(Some).map_err(|_| RequestError::Malformed("target is not a URI"))
}

/// Puts the host of the target in the place of the one that came, if it differs.
pub(super) fn name_host(fields: &mut HeaderMap, host: Option<HeaderValue>, connection: &ConnectionState) {
    if let Some(host) = host {
        fields.insert(header::HOST, host);
    } else if !fields.contains_key(header::HOST) {
        // HTTP/1.0 without Host: 1.1 needs one, and this is where the client turned to (RFC 9112 §3.3).
        let address = connection.listener.bound.to_string();
        fields.insert(header::HOST, HeaderValue::try_from(address).expect("an address is visible ASCII"));
    }
}

/// The answer that sends a client elsewhere.
pub(super) fn redirected(
    redirect: &Redirect,
    head: &Head<'_>,
    is_secure: bool,
    listener_port: u16,
) -> Response<ResponseBody> {
    let mut response = without_content(redirect.status);
    if let Ok(location) = HeaderValue::try_from(location(redirect, head, is_secure, listener_port)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// An answer that is all said by its head.
pub(super) fn without_content(status: StatusCode) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(bytes::Bytes::new()));
    *response.status_mut() = status;
    response
}

/// Where a redirect leads a client that came through this port, encrypted or not.
pub(crate) fn location(redirect: &Redirect, head: &Head<'_>, is_secure: bool, listener_port: u16) -> String {
    let scheme = redirect.scheme.as_ref().map_or(if is_secure { "https" } else { "http" }, |scheme| scheme.as_str());
    let host = redirect.host.as_deref().unwrap_or(head.host.name());
    let default_port = if scheme == "https" { 443 } else { 80 };
    // A change of scheme leaves the old port behind: 8080 speaks no TLS.
    let port = match (redirect.port, &redirect.scheme) {
        (Some(port), _) => port,
        (None, Some(_)) => default_port,
        (None, None) => head.host.port().unwrap_or(if redirect.host.is_some() { default_port } else { listener_port }),
    };
    let port = if port == default_port || (redirect.port.is_none() && head.host.port().is_none()) {
        String::new()
    } else {
        format!(":{port}")
    };
    let replaced = redirect.replace_prefix.as_ref();
    let replaced = replaced.and_then(|replace| canonical::replace_prefix(&head.path, &replace.from, &replace.to));
    let path = redirect.path.as_deref().or(replaced.as_deref()).unwrap_or(&head.path);
    let query = head.query.as_deref().map(|query| format!("?{query}")).unwrap_or_default();
    match host {
        // HTTP/1.0 without Host: only the client knows where it is.
        "" => format!("{path}{query}"),
        _ => format!("{scheme}://{host}{port}{path}{query}"),
    }
}
