//! What a request has to do with another protocol: which one it asks for, and how it is answered.
//!
//! With HTTP/1 the connection is switched (RFC 9110 §7.8), with HTTP/2 one of its streams (RFC 8441). Endpoints are asked in
//! HTTP/1.1 for both; the key of a WebSocket handshake, which HTTP/2 has no use for, is made up and its answer checked
//! here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::response::Parts;
use http::{StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use sha1::{Digest, Sha1};

use crate::data_path::headers;

/// A switch that a client asks for and its route allows.
pub(crate) struct Upgrade {
    protocol: HeaderValue,
    stream: Option<Box<Switching>>,
}

/// A stream of HTTP/2 that is to speak another protocol.
#[derive(Clone)]
pub(crate) struct Switching {
    stream: OnUpgrade,
    /// What the endpoint has to answer to the key it was given, if it was given one.
    accept: Option<HeaderValue>,
}

/// What is switched.
pub(super) enum Switched {
    /// The client's connection.
    Connection,
    Stream(OnUpgrade),
}

impl Upgrade {
    pub(crate) fn new(protocol: HeaderValue, stream: Option<Switching>) -> Self {
        Self { protocol, stream: stream.map(Box::new) }
    }

    /// Which protocol it is about, as the client wrote it.
    pub(crate) fn protocol(&self) -> &HeaderValue {
        &self.protocol
    }

    /// Whether an answer that does not switch would tell the client that it did: to a CONNECT every success does.
    pub(crate) fn misleads(&self, status: StatusCode) -> bool {
        self.stream.is_some() && status.is_success()
    }

    /// Makes of an endpoint's 101 what the client is told. `None` if it is not the answer to what was asked.
    pub(super) fn agreed(self, parts: &mut Parts) -> Option<Switched> {
        let given = parts
            .headers
            .get(header::UPGRADE)
            .filter(|given| given.as_bytes().eq_ignore_ascii_case(self.protocol.as_bytes()));
        let given = given.cloned()?;
        let seen = headers::Seen::of(&parts.headers);
        headers::clean_response(&mut parts.headers, seen);
        let Some(switching) = self.stream else {
            parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            parts.headers.insert(header::UPGRADE, given);
            return Some(Switched::Connection);
        };
        if switching.accept != parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT) && switching.accept.is_some() {
            return None;
        }
        parts.status = StatusCode::OK;
        parts.version = Version::HTTP_2;
        parts.headers.remove(header::CONTENT_LENGTH);
        headers::detach_values(&mut parts.headers);
        Some(Switched::Stream(switching.stream))
    }
}

impl Switching {
    /// Adds to the head what the protocol asks for in HTTP/1.
    pub(crate) fn new(stream: OnUpgrade, fields: &mut HeaderMap) -> Self {
        let is_websocket =
            fields.get(header::UPGRADE).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"));
        fields.remove(header::SEC_WEBSOCKET_KEY);
        let accept = is_websocket.then(|| {
            let (key, accept) = handshake(crate::random::seed(), crate::random::seed());
            fields.insert(header::SEC_WEBSOCKET_KEY, key);
            accept
        });
        Self { stream, accept }
    }
}

/// A key of 16 bytes, and what accepts it (RFC 6455 §4.2.2).
fn handshake(one: u64, other: u64) -> (HeaderValue, HeaderValue) {
    let text = |bytes: &[u8]| HeaderValue::try_from(STANDARD.encode(bytes)).expect("base64 is visible ASCII");
    let key = text(&[one.to_be_bytes(), other.to_be_bytes()].concat());
    let accept = text(&Sha1::new().chain_update(key.as_bytes()).chain_update(WEBSOCKET).finalize());
    (key, accept)
}

/// What shows that the other end knows the protocol (RFC 6455 §1.3).
const WEBSOCKET: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_accepted_as_the_protocol_says() {
        // The example of RFC 6455 §1.3: "the sample nonce".
        let one = u64::from_be_bytes(*b"the samp");
        let other = u64::from_be_bytes(*b"le nonce");
        let (key, accept) = handshake(one, other);
        assert_eq!(key, "dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
