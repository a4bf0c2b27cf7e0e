//! Who is let in by the word of a service, and what is passed on between it, the client and the endpoint.
//!
//! Fields that say something about the connection, or that only Serin says, cannot be had from the service or given to it: it
//! would hear of, or speak for, somebody else.

use std::time::Duration;

use http::header::{self, HeaderName};
use http::uri::PathAndQuery;

use super::editable;
use crate::error::Problems;
use crate::rules::Name;
use crate::spec::{ForwardAuthSpec, Span};

/// A service that is asked whether requests may pass.
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardAuth {
    /// Where it stands in the list of the route's filters.
    place: usize,
    upstream: Name,
    path: Option<PathAndQuery>,
    request_headers: Box<[HeaderName]>,
    response_headers: Box<[HeaderName]>,
    timeout: Duration,
}

impl ForwardAuth {
    pub(super) fn new(place: usize, spec: &ForwardAuthSpec, problems: &mut Problems<'_>) -> Option<Self> {
        let upstream = problems.at("upstream").ok(Name::new(&spec.upstream));
        let path = problems.at("path").ok(spec.path.as_deref().map(path).transpose());
        let request_headers = match &spec.request_headers {
            Some(names) => problems.at("request_headers").each(names, |name| passable(name)),
            None => Some(vec![header::COOKIE, header::AUTHORIZATION]),
        };
        let response_headers = problems.at("response_headers").each(&spec.response_headers, |name| passable(name));
        let timeout = problems.at("timeout").ok(timeout(spec.timeout));
        let mut own = Vec::new();
        for name in response_headers? {
            if !own.contains(&name) {
                own.push(name);
            }
        }
        Some(Self {
            place,
            upstream: upstream?,
            path: path?,
            request_headers: request_headers?.into(),
            response_headers: own.into(),
            timeout: timeout?,
        })
    }

    /// The upstream that is asked.
    pub fn upstream(&self) -> &Name {
        &self.upstream
    }

    /// What it is asked for, with a query if there is one; `None`: for what the request is for.
    pub fn path(&self) -> Option<&PathAndQuery> {
        self.path.as_ref()
    }

    /// Whether it sees these fields of a request.
    pub fn sees(&self, name: &HeaderName) -> bool {
        self.request_headers.contains(name) || ALWAYS_SEEN.contains(&name.as_str())
    }

    /// The fields that are its own to say to the endpoint, and nobody else's.
    pub fn response_headers(&self) -> &[HeaderName] {
        &self.response_headers
    }

    /// How long it may take in all.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The field of the route that names the upstream.
    pub(in crate::rules) fn field(&self) -> String {
        format!("filters[{}].forward_auth.upstream", self.place)
    }
}

fn path(text: &str) -> Result<PathAndQuery, String> {
    let is_whole = text.starts_with('/') && !text.contains('#');
    let path = text.parse().ok().filter(|_| is_whole);
    path.ok_or_else(|| format!("`{}` is not a path, such as `/verify`", text.escape_debug()))
}

/// A field that the service may see or say.
fn passable(text: &str) -> Result<HeaderName, String> {
    let name = editable(text)?;
    match name.as_str() {
        "proxy-authorization" | "proxy-authenticate" | "http2-settings" => {
            Err(format!("`{name}` is about the connection to Serin and ends there"))
        }
        said if SAID_BY_SERIN.contains(&said) || said.starts_with("x-serin-") => {
            Err(format!("`{name}` is said by Serin itself"))
        }
        _ => Ok(name),
    }
}

fn timeout(span: Option<Span>) -> Result<Duration, String> {
    match span.map_or(DEFAULT_TIMEOUT, |span| span.duration()) {
        Duration::ZERO => Err("a time limit of 0 would fail every request; leave the field out for the default".into()),
        timeout if timeout > MAX_TIMEOUT => Err("it is above 1m, the most a request can wait for it".into()),
        timeout => Ok(timeout),
    }
}

/// What services need to tell browsers that can be sent to a login page from programs that cannot, and logs to find each other.
const ALWAYS_SEEN: [&str; 6] =
    ["accept", "accept-language", "user-agent", "x-requested-with", "traceparent", "tracestate"];

/// Written anew for the service and for the endpoint, whatever anybody says.
const SAID_BY_SERIN: [&str; 8] = [
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-uri",
    "x-request-id",
];

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_TIMEOUT: Duration = Duration::from_secs(60);
