//! Why a request was not served as the endpoint would have served it.
//!
//! One enum; total `match`es say which status the client gets, whose fault it is, and whether the connection to
//! the client can go on. One place ([`RequestError::response`]) turns it into an answer.

use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use routing_rules::breaker::Outcome;

use super::response::ResponseBody;

/// Why a request was not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RequestError {
    /// The request breaks RFC 9110 or 9112 in a way that makes its meaning doubtful.
    Malformed(&'static str),
    /// CONNECT is for forward proxies.
    ConnectMethod,
    /// A transfer coding other than `chunked`.
    TransferCoding,
    /// An expectation other than `100-continue`.
    Expectation,
    /// The target is longer than the limit.
    TargetTooLong,
    /// The header fields are larger than the limit.
    HeadTooLarge,
    /// The head did not come in time.
    HeadTimeout,
    /// The body is larger than the route allows.
    BodyTooLarge,
    /// The client did not send its body in time.
    ClientTooSlow,
    /// The client went away.
    ClientGone,
    /// The connection is not for this host: its handshake was for another one, with other terms.
    Misdirected,
    /// No route matches.
    NoRoute,
    /// The upstream has no endpoint that takes requests.
    NoEndpoint,
    /// The upstream has no endpoints at all, and this is what it says of that.
    Empty(StatusCode),
    /// The breaker of the upstream as a whole is open, and nothing stands in for it; it is worth while to come again after so
    /// many seconds.
    BreakerOpen(u64),
    /// No connection to the endpoint.
    Connect,
    /// No connection to the endpoint in time.
    ConnectTimeout,
    /// Whoever answers at the endpoint's address is not who it has to be, or there is no TLS with it.
    EndpointTls,
    /// What TLS with the upstream's endpoints takes cannot be used.
    TlsUnusable,
    /// The endpoint closed the connection or sent something that is not a response.
    BadResponse,
    /// The endpoint did not answer in time.
    ResponseTimeout,
    /// The endpoint's response stopped or broke in its middle.
    ResponseCut,
    /// Serin is shutting down or over its limits.
    Unavailable,
    /// The client asks more often than the route allows; it may ask again after so many seconds.
    RateLimited(u64),
    /// The client has as many requests in flight as the route allows, or as any client may have.
    ClientFull,
    /// The route has as many requests in flight as it may have.
    RouteFull,
    /// The upstream has as many requests in flight as it may have, and as many wait as may.
    UpstreamFull,
    /// The request waited for a place at the upstream for too long.
    QueueTimeout,
    /// The client's address is not let in.
    AddressDenied,
    /// The request has no credentials, or wrong ones.
    Unauthorized,
    /// Passwords of the client were looked at too often; it may try again after so many seconds.
    TooManyAttempts(u64),
    /// Too many passwords wait to be looked at.
    PasswordsBusy,
    /// The client asks for another protocol, which connections that requests share cannot be turned to.
    SharedUpgrade,
    /// The time is over that the client itself allows.
    DeadlineExceeded,
    /// Nobody said whether the request may pass.
    AuthUnavailable,
}

/// Whose fault an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The client's.
    Client,
    /// The endpoint's or upstream's.
    Upstream,
    /// Serin's, or its configuration's.
    Proxy,
}

impl RequestError {
    /// Every error once, for metrics that exist before the first event.
    pub(crate) const ALL: [Self; 35] = [
        Self::Malformed(""),
        Self::ConnectMethod,
        Self::TransferCoding,
        Self::Expectation,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::HeadTimeout,
        Self::BodyTooLarge,
        Self::ClientTooSlow,
        Self::ClientGone,
        Self::NoRoute,
        Self::NoEndpoint,
        Self::Connect,
        Self::ConnectTimeout,
        Self::BadResponse,
        Self::ResponseTimeout,
        Self::ResponseCut,
        Self::Unavailable,
        Self::RateLimited(1),
        Self::RouteFull,
        Self::UpstreamFull,
        Self::QueueTimeout,
        Self::BreakerOpen(1),
        Self::ClientFull,
        Self::AddressDenied,
        Self::Unauthorized,
        Self::TooManyAttempts(1),
        Self::PasswordsBusy,
        Self::SharedUpgrade,
        Self::DeadlineExceeded,
        Self::Misdirected,
        Self::AuthUnavailable,
        Self::EndpointTls,
        Self::TlsUnusable,
        Self::Empty(StatusCode::SERVICE_UNAVAILABLE),
    ];

    /// The place in [`Self::ALL`], which is also the place of its counter.
    pub(crate) fn index(self) -> usize {
        match self {
            Self::Malformed(_) => 0,
            Self::ConnectMethod => 1,
            Self::TransferCoding => 2,
            Self::Expectation => 3,
            Self::TargetTooLong => 4,
            Self::HeadTooLarge => 5,
            Self::HeadTimeout => 6,
            Self::BodyTooLarge => 7,
            Self::ClientTooSlow => 8,
            Self::ClientGone => 9,
            Self::NoRoute => 10,
            Self::NoEndpoint => 11,
            Self::Connect => 12,
            Self::ConnectTimeout => 13,
            Self::BadResponse => 14,
            Self::ResponseTimeout => 15,
            Self::ResponseCut => 16,
            Self::Unavailable => 17,
            Self::RateLimited(_) => 18,
            Self::RouteFull => 19,
            Self::UpstreamFull => 20,
            Self::QueueTimeout => 21,
            Self::BreakerOpen(_) => 22,
            Self::ClientFull => 23,
            Self::AddressDenied => 24,
            Self::Unauthorized => 25,
            Self::TooManyAttempts(_) => 26,
            Self::PasswordsBusy => 27,
            Self::SharedUpgrade => 28,
            Self::DeadlineExceeded => 29,
            Self::Misdirected => 30,
            Self::AuthUnavailable => 31,
            Self::EndpointTls => 32,
            Self::TlsUnusable => 33,
            Self::Empty(_) => 34,
        }
    }

    /// The status the client gets. `ClientGone` is logged as 499, as nginx does, since nobody reads it.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::ConnectMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::TransferCoding | Self::SharedUpgrade => StatusCode::NOT_IMPLEMENTED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::HeadTimeout | Self::ClientTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::ClientGone => StatusCode::from_u16(499).expect("499 is within 100 to 999"),
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::AddressDenied => StatusCode::FORBIDDEN,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::RateLimited(_) | Self::ClientFull | Self::TooManyAttempts(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::NoEndpoint | Self::BreakerOpen(_) | Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Empty(status) => status,
            Self::PasswordsBusy | Self::AuthUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::RouteFull | Self::UpstreamFull | Self::QueueTimeout => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect | Self::BadResponse | Self::ResponseCut => StatusCode::BAD_GATEWAY,
            Self::EndpointTls | Self::TlsUnusable => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::ResponseTimeout | Self::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Whose fault it is.
    pub(crate) fn blame(self) -> Blame {
        match self {
            Self::Malformed(_)
            | Self::ConnectMethod
            | Self::TransferCoding
            | Self::Expectation
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::HeadTimeout
            | Self::BodyTooLarge
            | Self::ClientTooSlow
            | Self::ClientGone
            | Self::Misdirected
            | Self::NoRoute
            | Self::RateLimited(_)
            | Self::AddressDenied
            | Self::Unauthorized
            | Self::TooManyAttempts(_)
            | Self::DeadlineExceeded
            | Self::ClientFull => Blame::Client,
            Self::Connect
            | Self::ConnectTimeout
            | Self::EndpointTls
            | Self::BadResponse
            | Self::ResponseTimeout
            | Self::ResponseCut
            | Self::AuthUnavailable => Blame::Upstream,
            Self::NoEndpoint
            | Self::Empty(_)
            | Self::TlsUnusable
            | Self::BreakerOpen(_)
            | Self::Unavailable
            | Self::RouteFull
            | Self::UpstreamFull
            | Self::PasswordsBusy
            | Self::SharedUpgrade
            | Self::QueueTimeout => Blame::Proxy,
        }
    }

    /// What a breaker makes of it.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Self::ConnectTimeout | Self::ResponseTimeout => Outcome::Timeout,
            Self::ResponseCut => Outcome::BodyCut,
            _ => Outcome::NetworkError,
        }
    }

    /// A short stable word for metrics and logs.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::ConnectMethod => "connect_method",
            Self::TransferCoding => "transfer_coding",
            Self::Expectation => "expectation",
            Self::TargetTooLong => "target_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTooLarge => "body_too_large",
            Self::ClientTooSlow => "client_too_slow",
            Self::ClientGone => "client_gone",
            Self::Misdirected => "misdirected",
            Self::NoRoute => "no_route",
            Self::NoEndpoint => "no_endpoint",
            Self::Empty(_) => "empty_upstream",
            Self::BreakerOpen(_) => "breaker_open",
            Self::Connect => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::EndpointTls => "endpoint_tls",
            Self::TlsUnusable => "tls_unusable",
            Self::BadResponse => "bad_response",
            Self::ResponseTimeout => "response_timeout",
            Self::ResponseCut => "response_cut",
            Self::Unavailable => "unavailable",
            Self::RateLimited(_) => "rate_limited",
            Self::ClientFull => "client_full",
            Self::RouteFull => "route_full",
            Self::UpstreamFull => "upstream_full",
            Self::QueueTimeout => "queue_timeout",
            Self::AddressDenied => "address_denied",
            Self::Unauthorized => "unauthorized",
            Self::TooManyAttempts(_) => "too_many_attempts",
            Self::PasswordsBusy => "passwords_busy",
            Self::SharedUpgrade => "shared_upgrade",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::AuthUnavailable => "auth_unavailable",
        }
    }

    /// What the client reads.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Malformed(reason) => reason,
            Self::ConnectMethod => "CONNECT is not served",
            Self::TransferCoding => "transfer coding not implemented",
            Self::Expectation => "expectation not supported",
            Self::TargetTooLong => "request target too long",
            Self::HeadTooLarge => "request head too large",
            Self::HeadTimeout => "request head came too slowly",
            Self::BodyTooLarge => "request body too large",
            Self::ClientTooSlow => "request body came too slowly",
            Self::ClientGone => "client closed the connection",
            Self::Misdirected => "this connection is not for that host",
            Self::NoRoute => "no route",
            Self::NoEndpoint | Self::Empty(_) => "no endpoint available",
            Self::BreakerOpen(_) => "the upstream fails and is left alone for a while",
            Self::Connect => "no connection to the endpoint",
            Self::ConnectTimeout => "no connection to the endpoint in time",
            Self::EndpointTls => "no secure connection to the endpoint",
            Self::TlsUnusable => "no way to secure connections to the endpoint",
            Self::BadResponse => "invalid response from the endpoint",
            Self::ResponseTimeout => "no response from the endpoint in time",
            Self::ResponseCut => "incomplete response from the endpoint",
            Self::Unavailable => "not available",
            Self::RateLimited(_) => "too many requests",
            Self::ClientFull => "too many requests in flight from one client",
            Self::RouteFull => "too many requests in flight",
            Self::UpstreamFull => "upstream is busy",
            Self::QueueTimeout => "upstream was busy for too long",
            Self::AddressDenied => "not from this address",
            Self::Unauthorized => "name and password needed",
            Self::TooManyAttempts(_) => "too many passwords tried",
            Self::PasswordsBusy => "too many passwords at once",
            Self::SharedUpgrade => "no upgrade over HTTP/2 to the endpoint",
            Self::DeadlineExceeded => "the client's deadline is over",
            Self::AuthUnavailable => "nobody says whether the request may pass",
        }
    }

    /// Whether the connection to the client must not carry another request, because what follows on it is
    /// doubtful or unwanted.
    pub(crate) fn closes(self) -> bool {
        match self {
            Self::Malformed(_)
            | Self::ConnectMethod
            | Self::TransferCoding
            | Self::Expectation
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::HeadTimeout
            | Self::BodyTooLarge
            | Self::ClientTooSlow
            | Self::ClientGone
            | Self::ResponseCut
            | Self::Unavailable => true,
            Self::Misdirected
            | Self::NoRoute
            | Self::NoEndpoint
            | Self::Empty(_)
            | Self::BreakerOpen(_)
            | Self::Connect
            | Self::ConnectTimeout
            | Self::EndpointTls
            | Self::TlsUnusable
            | Self::BadResponse
            | Self::ResponseTimeout
            | Self::RateLimited(_)
            | Self::ClientFull
            | Self::RouteFull
            | Self::UpstreamFull
            | Self::AddressDenied
            | Self::Unauthorized
            | Self::TooManyAttempts(_)
            | Self::PasswordsBusy
            | Self::SharedUpgrade
            | Self::DeadlineExceeded
            | Self::AuthUnavailable
            | Self::QueueTimeout => false,
        }
    }

    /// The answer: `404 no route`, with the request id so that a user's report can be found in the logs.
    pub(crate) fn response(self, request_id: &HeaderValue) -> Response<ResponseBody> {
        let mut response = self.answer(request_id).map(|text| ResponseBody::text(Bytes::from(text)));
        if self.closes() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// The same as bytes of HTTP/1.1, for what hyper has no way to answer. The connection ends with it.
    pub(crate) fn bytes(self, request_id: &HeaderValue, now: SystemTime) -> Vec<u8> {
        let (head, text) = self.answer(request_id).into_parts();
        let reason = head.status.canonical_reason().unwrap_or_default();
        let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", head.status.as_u16()).into_bytes();
        for (name, value) in &head.headers {
            bytes.extend_from_slice(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
        }
        let date = httpdate::fmt_http_date(now);
        let rest = format!("connection: close\r\ncontent-length: {}\r\ndate: {date}\r\n\r\n{text}", text.len());
        bytes.extend_from_slice(rest.as_bytes());
        bytes
    }

    fn answer(self, request_id: &HeaderValue) -> Response<String> {
        let status = self.status();
        let id = request_id.to_str().unwrap_or_default();
        let mut response = Response::new(format!("{} {}\nrequest id: {id}\n", status.as_u16(), self.reason()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(super::headers::X_REQUEST_ID, request_id.clone());
        if let Some(seconds) = self.retry_after_s() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// When it is worth while to ask again.
    fn retry_after_s(self) -> Option<u64> {
        match self {
            Self::RateLimited(seconds) | Self::BreakerOpen(seconds) | Self::TooManyAttempts(seconds) => Some(seconds),
            Self::ClientFull => Some(1),
            _ => (self.status() == StatusCode::SERVICE_UNAVAILABLE).then_some(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_own_place_and_token() {
        for (place, error) in RequestError::ALL.into_iter().enumerate() {
            assert_eq!(error.index(), place);
            let same = RequestError::ALL.into_iter().filter(|other| other.token() == error.token()).count();
            assert_eq!(same, 1, "{}", error.token());
        }
    }
}
