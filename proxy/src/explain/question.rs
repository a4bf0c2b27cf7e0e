//! The request that somebody asks about.

use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A request to explain.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The whole URL, for example `http://shop.example.com/cart?id=7`.
    pub url: String,
    /// Default `GET`.
    #[serde(default = "get")]
    pub method: String,
    /// Header fields in order.
    #[serde(default)]
    #[schema(value_type = Vec<Vec<String>>)]
    pub headers: Vec<(String, String)>,
    /// The address the connection comes from.
    #[serde(default = "unspecified")]
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// The listener it came through. Default: the first by name; where that matters, the answer says so.
    #[serde(default)]
    pub listener: String,
    /// When, as in RFC 3339 or `-2h`: who was where then. Default: now. Only an instance that keeps history can tell.
    #[serde(default)]
    pub at: Option<String>,
}

fn get() -> String {
    "GET".into()
}

fn unspecified() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

/// Why a question cannot be answered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadQuestion(pub(super) String);

impl Question {
    /// A GET without headers.
    pub fn get(url: impl Into<String>, ip: IpAddr) -> Self {
        Self { url: url.into(), method: get(), headers: Vec::new(), ip, listener: String::new(), at: None }
    }

    /// For which time it asks, in milliseconds since 1970, if that is not `now_ms`.
    ///
    /// # Errors
    /// It is no time, or not in the past.
    pub fn at_ms(&self, now_ms: u64) -> Result<Option<u64>, BadQuestion> {
        let Some(text) = &self.at else { return Ok(None) };
        let wrong = || BadQuestion(format!("`{text}` is not a time such as 2026-11-28T10:00:00Z or -2h"));
        let at_ms = match text.strip_prefix('-') {
            Some(ago) => {
                let ago = humantime::parse_duration(ago).map_err(|_| wrong())?;
                u64::try_from(ago.as_millis()).ok().and_then(|ago| now_ms.checked_sub(ago)).ok_or_else(wrong)?
            }
            None => {
                let at = humantime::parse_rfc3339_weak(text).map_err(|_| wrong())?;
                at.duration_since(UNIX_EPOCH).map_err(|_| wrong())?.as_millis() as u64
            }
        };
        if at_ms > now_ms {
            return Err(BadQuestion(format!("`{text}` is in the future")));
        }
        Ok(Some(at_ms))
    }

    /// Whether it is asked for a client that speaks TLS.
    pub(super) fn is_secure(&self) -> bool {
        self.url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
    }

    /// The head as hyper would have parsed it.
    pub(super) fn parts(&self) -> Result<Parts, BadQuestion> {
        let method: Method =
            self.method.parse().map_err(|_| BadQuestion(format!("`{}` is not a method", self.method)))?;
        let uri: http::Uri =
            self.url.parse().map_err(|error| BadQuestion(format!("`{}` is not a URL: {error}", self.url)))?;
        let authority = uri
            .authority()
            .ok_or_else(|| BadQuestion(format!("`{}` has no host; write http://HOST/PATH", self.url)))?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| BadQuestion("the host is not text".into()))?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| BadQuestion(format!("`{target}` is not a path")))?;
        request.headers_mut().insert(HOST, host);
        for (name, value) in &self.headers {
            let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (name, value) =
                parsed.ok_or_else(|| BadQuestion(format!("`{name}: {value}` is not a header field")))?;
            match name == HOST {
                true => drop(request.headers_mut().insert(name, value)),
                false => drop(request.headers_mut().append(name, value)),
            }
        }
        Ok(request.into_parts().0)
    }
}
