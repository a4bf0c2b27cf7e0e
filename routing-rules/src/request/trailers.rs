//! Which fields may stand behind a body.

use http::header::{self, HeaderName};

/// Whether a field may be passed on as a trailer. RFC 9110 §6.5.1 forbids those that frame, route, authenticate, modify a request,
/// control an answer, or say how the content is to be read; RFC 9440 §2.4 those that say what a client has shown.
pub fn may_be_trailer(name: &HeaderName) -> bool {
    let forbidden = [
        header::AGE,
        header::AUTHORIZATION,
        header::CACHE_CONTROL,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_RANGE,
        header::CONTENT_TYPE,
        header::COOKIE,
        header::DATE,
        header::EXPECT,
        header::EXPIRES,
        header::HOST,
        header::LOCATION,
        header::MAX_FORWARDS,
        header::PRAGMA,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::RANGE,
        header::RETRY_AFTER,
        header::SET_COOKIE,
        header::STRICT_TRANSPORT_SECURITY,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::VARY,
        header::WWW_AUTHENTICATE,
    ];
    !forbidden.contains(name) && !["client-cert", "client-cert-chain"].contains(&name.as_str())
}
