//! Filters of the edge as written: who is let in, and what browsers are told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::route::TextMatchSpec;
use super::scalar::{ByteSize, Rate, Span};

/// Where clients are sent that came in clear text.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpsRedirectSpec {
    /// 301, 302, 307 or 308. Default 308: the method stays, and clients remember it.
    pub status: Option<u16>,
    /// The port of the TLS listener as clients see it. Default 443.
    pub port: Option<u16>,
}

/// How long browsers come by TLS only, and for which hosts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HstsSpec {
    /// How long, for example `8760h` (a year). `0s` takes it back.
    pub max_age: Span,
    /// All hosts below this one, too. Default `false`.
    #[serde(default)]
    pub include_subdomains: bool,
    /// Consents to being on the lists that browsers are delivered with; asks for a year at least and `include_subdomains`. Default
    /// `false`.
    #[serde(default)]
    pub preload: bool,
}

/// What browsers are told besides the answer. With `{}`: `x-content-type-options: nosniff`, `x-frame-options: SAMEORIGIN` and
/// `referrer-policy: strict-origin-when-cross-origin`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SecurityHeadersSpec {
    /// Who may show the answer in a frame: `same_origin` (default), `deny` or `any`.
    pub frames: FramesSpec,
    /// The `referrer-policy`. Default `strict-origin-when-cross-origin`.
    pub referrer_policy: Option<String>,
    /// The `content-security-policy`. Default: none.
    pub content_security_policy: Option<String>,
}

/// See [`SecurityHeadersSpec::frames`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FramesSpec {
    /// Pages of the same origin.
    #[default]
    SameOrigin,
    /// Nobody.
    Deny,
    /// Everybody: no field is added.
    Any,
}

/// Who is let in by name and password. Others get 401.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BasicAuthSpec {
    /// Hashes of the passwords by user name: bcrypt (`$2y$12$…`, as `htpasswd -B` writes) or argon2 (`$argon2id$…`).
    pub users: BTreeMap<String, String>,
    /// What browsers show when they ask. Default: the route's name.
    #[serde(default)]
    pub realm: Option<String>,
    /// Whether the endpoint gets the `authorization` field. Default `false`.
    #[serde(default)]
    pub keep_authorization: bool,
    /// How often passwords of one client address are looked at that were not right lately; further ones get 429. Default `60/m`.
    #[serde(default)]
    pub attempts: Option<Rate>,
}

/// A service that is asked whether a request may pass, before it does. A 2xx answer lets it in; any other goes to the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForwardAuthSpec {
    /// The upstream that is asked.
    pub upstream: String,
    /// The path that is asked for, for example `/api/authz/forward-auth`; it may have a query. Default: that of the request, with its
    /// query.
    #[serde(default)]
    pub path: Option<String>,
    /// Request header fields that the service sees, besides those that it always does (`docs/filters.md`). Default
    /// `[cookie, authorization]`.
    #[serde(default)]
    pub request_headers: Option<Vec<String>>,
    /// Fields of its 2xx answer that the endpoint gets as request header fields. What clients send by these names is removed in any
    /// case.
    #[serde(default)]
    pub response_headers: Vec<String>,
    /// How long it may take in all, up to 1m. Then 503. Default 2s.
    #[serde(default)]
    pub timeout: Option<Span>,
}

/// Which pages of other origins may read the answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSpec {
    /// Origins, as browsers write them: `https://shop.example.com`, `https://*.example.com` (one label) or `*`; or `{regex: …}`, which
    /// must match the whole origin.
    pub origins: Vec<TextMatchSpec>,
    /// Methods that pages may use. Default `[GET, HEAD, POST]`.
    #[serde(default)]
    pub methods: Option<Vec<String>>,
    /// Request header fields that pages may set, besides those that all may.
    #[serde(default)]
    pub headers: Vec<String>,
    /// Response header fields that pages may read, besides those that all may.
    #[serde(default)]
    pub expose: Vec<String>,
    /// How long browsers remember the answer to what they ask before, up to 24h. Default: as long as they like (5s).
    #[serde(default)]
    pub max_age: Option<Span>,
    /// Whether requests may carry cookies and passwords. Default `false`; not with the origin `*`.
    #[serde(default)]
    pub credentials: bool,
}

/// Which answers are compressed, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CompressSpec {
    /// Content types, also as `text/*`. Default: `text/*` but no event streams, JSON, JavaScript, XML, SVG, WebAssembly and the like.
    pub types: Option<Vec<String>>,
    /// Answers that are known to be smaller stay as they are. Default 1KiB.
    pub min_size: Option<ByteSize>,
    /// Codings, the favourite first: `zstd`, `br`, `gzip`. Default: all, in this order.
    pub algorithms: Option<Vec<CodingSpec>>,
    /// Whether also answers are compressed that may hold secrets beside what others choose: to requests with `cookie` or
    /// `authorization`, or with `set-cookie`. From their sizes secrets can be guessed (BREACH). Default `false`.
    pub with_credentials: bool,
}

/// A content coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodingSpec {
    /// Zstandard (RFC 8878).
    Zstd,
    /// Brotli (RFC 7932).
    Br,
    /// gzip (RFC 1952).
    Gzip,
}
