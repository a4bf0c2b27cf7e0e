//! What rules may look at: the facts of one request, and nothing else.
//!
//! Host and path are canonical before they get here ([`canonical`]), and the same values are what the proxy
//! logs and forwards: what was matched is what is sent.

pub mod canonical;
mod cookies;
mod trailers;

use std::net::IpAddr;

use http::{HeaderMap, Method};

pub use cookies::cookie;
pub use trailers::may_be_trailer;

/// The facts of one request.
#[derive(Clone, Copy)]
pub struct RequestView<'a> {
    /// The method.
    pub method: &'a Method,
    /// The canonical host name: lower case, without port and trailing dot. Empty if the request has none.
    pub host: &'a str,
    /// The canonical path, beginning with `/` (or `*` for `OPTIONS *`).
    pub path: &'a str,
    /// The query without `?`, as the client sent it.
    pub query: Option<&'a str>,
    /// The header fields as the client sent them.
    pub headers: &'a HeaderMap,
    /// The client's address: the peer, or what a trusted proxy in front says.
    pub client: IpAddr,
    /// The listener's name.
    pub listener: &'a str,
    /// Where addresses are; absent without a geo database.
    pub geo: Option<&'a dyn GeoDatabase>,
}

impl<'a> RequestView<'a> {
    /// A request with the required facts; the others are fields to set.
    pub fn new(method: &'a Method, host: &'a str, path: &'a str, headers: &'a HeaderMap, client: IpAddr) -> Self {
        Self { method, host, path, query: None, headers, client, listener: "", geo: None }
    }
}

/// Answers where an address is. Asked at most once per request and only by rules with a `geo` condition.
pub trait GeoDatabase: Send + Sync {
    /// The place of an address; `None` if the database does not know it.
    fn locate(&self, address: IpAddr) -> Option<Place<'_>>;
}

/// A place as the geo database names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place<'a> {
    /// ISO 3166-1 alpha-2 code.
    pub country: Option<&'a str>,
    /// ISO codes and English names of the subdivisions, largest first.
    pub subdivisions: Vec<&'a str>,
    /// English name.
    pub city: Option<&'a str>,
}
