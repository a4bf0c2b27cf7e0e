//! Filters: what a route changes on the way, where it redirects, and whom it lets in at all.

mod basic_auth;
mod compress;
mod cors;
mod edge;
mod forward_auth;
mod https;
mod security_headers;

use std::sync::Arc;

use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use http::uri::Scheme;

use super::HostPattern;
use super::path::canonical_pattern;
use super::route::header_name;
use crate::error::Problems;
use crate::spec::{FilterSpec, RedirectSpec};

pub use basic_auth::{BasicAuth, Credentials};
pub use compress::{Coding, Compress};
pub use cors::Cors;
pub use edge::Edge;
pub use forward_auth::ForwardAuth;
pub use https::{Hsts, HttpsRedirect};
pub use security_headers::SecurityHeaders;

/// A change to the request or the response.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Puts other segments in the place of the first ones; stripping is replacing by nothing.
    ReplacePrefix(ReplacePrefix),
    /// Puts a canonical path in the place of the whole one.
    ReplacePath(Box<str>),
    /// Puts a host name in the place of the one that endpoints would be told.
    ReplaceHost(HeaderValue),
    /// Changes request header fields.
    RequestHeader(HeaderEdit),
    /// Changes response header fields.
    ResponseHeader(HeaderEdit),
}

/// A change of the first segments of the path. Both texts are canonical and without a slash at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplacePrefix {
    /// The segments that go.
    pub from: Box<str>,
    /// The segments that come.
    pub to: Box<str>,
}

/// A change of one header field.
#[derive(Clone, Debug, PartialEq)]
pub enum HeaderEdit {
    /// Replaces all fields of the name.
    Set(HeaderName, HeaderValue),
    /// Adds a field.
    Add(HeaderName, HeaderValue),
    /// Removes all fields of the name.
    Remove(HeaderName),
}

/// Where a redirect leads; what is absent stays as in the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// A 3xx status with a Location.
    pub status: StatusCode,
    /// `http` or `https`.
    pub scheme: Option<Scheme>,
    /// Host name.
    pub host: Option<Box<str>>,
    /// Port.
    pub port: Option<u16>,
    /// Path.
    pub path: Option<Box<str>>,
    /// A change of the path, where there is no other one.
    pub replace_prefix: Option<ReplacePrefix>,
}

/// All filters of a route, sorted by what they are.
pub(super) struct Filters {
    /// Changes in order.
    pub(super) changes: Vec<Filter>,
    pub(super) redirect: Option<Redirect>,
    /// `None` without any: such a route has nothing to look at.
    pub(super) edge: Option<Arc<Edge>>,
}

/// The filters of the route of this name.
pub(super) fn filters(route: &str, specs: &[FilterSpec], mut problems: Problems<'_>) -> Option<Filters> {
    let mut filters = Vec::new();
    let mut redirect = None;
    let mut edge = Edge::default();
    let before = problems.count();
    for (index, spec) in specs.iter().enumerate() {
        let mut problems = problems.at(format_args!("[{index}]"));
        let problems = &mut problems;
        match spec {
            FilterSpec::StripPrefix(from) => {
                filters.extend(problems.at("strip_prefix").ok(replace_prefix(from, "/")).map(Filter::ReplacePrefix));
            }
            FilterSpec::ReplacePrefix(replace) => {
                let replace = problems.at("replace_prefix").ok(replace_prefix(&replace.from, &replace.to));
                filters.extend(replace.map(Filter::ReplacePrefix));
            }
            FilterSpec::ReplacePath(path) => {
                filters.extend(problems.at("replace_path").ok(canonical_pattern(path)).map(Filter::ReplacePath));
            }
            FilterSpec::ReplaceHost(host) => {
                filters.extend(problems.at("replace_host").ok(one_host(host)).map(Filter::ReplaceHost));
            }
            FilterSpec::SetRequestHeader(fields) => {
                edits(fields, problems.at("set_request_header"), |name, value| {
                    filters.push(Filter::RequestHeader(HeaderEdit::Set(name, value)));
                });
            }
            FilterSpec::AddRequestHeader(fields) => {
                edits(fields, problems.at("add_request_header"), |name, value| {
                    filters.push(Filter::RequestHeader(HeaderEdit::Add(name, value)));
                });
            }
            FilterSpec::RemoveRequestHeader(names) => {
                let names = problems.at("remove_request_header").each(names, |name| editable(name));
                filters.extend(names.into_iter().flatten().map(|name| Filter::RequestHeader(HeaderEdit::Remove(name))));
            }
            FilterSpec::SetResponseHeader(fields) => {
                edits(fields, problems.at("set_response_header"), |name, value| {
                    filters.push(Filter::ResponseHeader(HeaderEdit::Set(name, value)));
                });
            }
            FilterSpec::AddResponseHeader(fields) => {
                edits(fields, problems.at("add_response_header"), |name, value| {
                    filters.push(Filter::ResponseHeader(HeaderEdit::Add(name, value)));
                });
            }
            FilterSpec::RemoveResponseHeader(names) => {
                let names = problems.at("remove_response_header").each(names, |name| editable(name));
                filters
                    .extend(names.into_iter().flatten().map(|name| Filter::ResponseHeader(HeaderEdit::Remove(name))));
            }
            FilterSpec::Redirect(_) if redirect.is_some() => problems.report("a route has at most one redirect"),
            FilterSpec::Redirect(spec) => redirect = problems.at("redirect").ok(self::redirect(spec)),
            of_edge => edge.take(route, index, of_edge, problems),
        }
    }
    let edge = Some(edge).filter(|edge| *edge != Edge::default()).map(Arc::new);
    (problems.count() == before).then_some(Filters { changes: filters, redirect, edge })
}

fn edits(
    fields: &std::collections::BTreeMap<String, String>,
    mut problems: Problems<'_>,
    mut push: impl FnMut(HeaderName, HeaderValue),
) {
    for (name, value) in fields {
        let edit = editable(name).and_then(|name| {
            let value = HeaderValue::from_str(value)
                .map_err(|_| format!("`{}` is not a header value", value.escape_debug()))?;
            Ok((name, value))
        });
        if let Some((name, value)) = problems.at(name).ok(edit) {
            push(name, value);
        }
    }
}

/// A host name as a value of `host`.
fn one_host(text: &str) -> Result<HeaderValue, String> {
    match HostPattern::new(text)? {
        HostPattern::Exact(name) => HeaderValue::try_from(&*name).map_err(|error| error.to_string()),
        _ => Err("endpoints cannot be told a wildcard".into()),
    }
}

fn replace_prefix(from: &str, to: &str) -> Result<ReplacePrefix, String> {
    let segments = |text: &str| canonical_pattern(text).map(|path| path.trim_end_matches('/').into());
    Ok(ReplacePrefix { from: segments(from)?, to: segments(to)? })
}

fn redirect(spec: &RedirectSpec) -> Result<Redirect, String> {
    let status = match spec.status.unwrap_or(302) {
        code @ (301 | 302 | 303 | 307 | 308) => StatusCode::from_u16(code).map_err(|error| error.to_string())?,
        code => return Err(format!("status {code} is not a redirect; use 301, 302, 303, 307 or 308")),
    };
    let scheme = match spec.scheme.as_deref() {
        None => None,
        Some("http") => Some(Scheme::HTTP),
        Some("https") => Some(Scheme::HTTPS),
        Some(other) => return Err(format!("scheme `{}` is neither http nor https", other.escape_debug())),
    };
    let host = match spec.host.as_deref().map(HostPattern::new).transpose()? {
        Some(HostPattern::Wildcard(_) | HostPattern::Below(_)) => {
            return Err("the host of a redirect cannot have a wildcard".into());
        }
        Some(HostPattern::Exact(host)) => Some(host),
        None => None,
    };
    let path = spec.path.as_deref().map(canonical_pattern).transpose()?;
    let replace_prefix = match &spec.replace_prefix {
        Some(_) if path.is_some() => return Err("a redirect has only one of `path` and `replace_prefix`".into()),
        Some(replace) => Some(replace_prefix(&replace.from, &replace.to)?),
        None => None,
    };
    if (&scheme, &host, spec.port, &path, &replace_prefix) == (&None, &None, None, &None, &None) {
        return Err("a redirect must change scheme, host, port or path, or it leads back to itself".into());
    }
    Ok(Redirect { status, scheme, host, port: spec.port, path, replace_prefix })
}

/// A header name that a filter may change: framing and connection fields belong to the proxy.
pub(super) fn editable(text: &str) -> Result<HeaderName, String> {
    let name = header_name(text)?;
    let framing = [
        header::CONNECTION,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::TE,
        header::TRAILER,
        header::UPGRADE,
        header::EXPECT,
        header::HOST,
    ];
    match framing.contains(&name) || matches!(name.as_str(), "keep-alive" | "proxy-connection") {
        true => Err(format!("`{name}` is part of the message framing and cannot be changed by a filter")),
        false => Ok(name),
    }
}
