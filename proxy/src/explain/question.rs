//! The request that somebody asks about.

use std::net::IpAddr;

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
        Self { url: url.into(), method: get(), headers: Vec::new(), ip, listener: String::new() }
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
