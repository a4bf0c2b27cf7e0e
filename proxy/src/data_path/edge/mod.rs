//! The filters of a route's edge: who is let in, and what clients are told beside the answer.
//!
//! A request meets them in one order, however they are written: its address, TLS, a browser's question ahead of a page's
//! request, then (behind the route's limits, which so also limit who guesses) its password and the word of a service. Answers meet theirs where they are
//! given to the client, those that Serin makes itself among them.
//!
//! Routes without such filters have nothing of this: neither a [`Visit`] nor a look beyond an empty field of the route.

mod compressed;
mod encoder;
mod known;
mod looks;
mod memory;
mod passwords;
mod question;
mod visit;

use http::header::HeaderMap;
use routing_rules::request::RequestView;
use routing_rules::rules::{Cors, Edge};

use super::headers;

pub(crate) use compressed::Compressed;
pub(crate) use memory::EncoderMemory;
pub(crate) use passwords::{Passwords, Verification};
pub(crate) use question::Question;
pub(crate) use visit::Visit;

/// What a request meets before anything else. Pure, so that `explain` can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Obstacle {
    /// Its address is not let in.
    Address,
    /// It is sent to TLS.
    HttpsRedirect,
    /// It is a browser's question, which Serin answers; whether the page may go on.
    Preflight(bool),
}

/// The first of the filters that need nothing but the request.
pub(crate) fn obstacle(edge: &Edge, request: &RequestView<'_>, is_secure: bool) -> Option<Obstacle> {
    if !edge.lets_in(request.client) {
        return Some(Obstacle::Address);
    }
    if edge.https_redirect.is_some() && !is_secure {
        return Some(Obstacle::HttpsRedirect);
    }
    let cors = edge.cors.as_ref().filter(|_| Cors::is_preflight(request))?;
    Some(Obstacle::Preflight(Cors::origin(request.headers).is_some_and(|origin| cors.allows(origin))))
}

/// Whether the client came by TLS, all the way: a trusted proxy in front of Serin knows better how.
pub(crate) fn is_secure(headers: &HeaderMap, is_trusted: bool, connection_is_secure: bool) -> bool {
    if !is_trusted {
        return connection_is_secure;
    }
    let mut said = headers.get_all(headers::X_FORWARDED_PROTO).iter();
    let (Some(first), None) = (said.next(), said.next()) else { return connection_is_secure };
    // Of a chain of proxies the one that met the client comes first. Some name the scheme of WebSocket.
    let first = first.as_bytes().split(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
    let is = |scheme: &str| first.eq_ignore_ascii_case(scheme.as_bytes());
    match () {
        () if is("https") || is("wss") => true,
        () if is("http") || is("ws") => false,
        () => connection_is_secure,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_trusted_proxies_say_how_a_client_came() {
        let cases: [(&[&str], bool, bool, bool); 14] = [
            (&[], false, false, false),
            (&[], false, true, true),
            (&["https"], false, false, false),
            (&["http"], false, true, true),
            (&["https"], true, false, true),
            (&["http"], true, true, false),
            (&["wss"], true, false, true),
            (&["ws"], true, true, false),
            (&["HTTPS"], true, false, true),
            (&["https,http"], true, false, true),
            (&["http , https"], true, true, false),
            (&["gopher"], true, false, false),
            (&["https", "http"], true, false, false),
            (&[], true, true, true),
        ];
        for (said, is_trusted, by_tls, expected) in cases {
            let mut fields = HeaderMap::new();
            for value in said {
                fields.append(headers::X_FORWARDED_PROTO, HeaderValue::from_str(value).expect("a value"));
            }
            assert_eq!(is_secure(&fields, is_trusted, by_tls), expected, "{said:?} {is_trusted} {by_tls}");
        }
    }
}
