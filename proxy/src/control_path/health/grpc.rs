//! A check by `grpc.health.v1.Health/Check`. Its two messages have one field each, so they are written and read by hand.

use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;

use crate::connect::{self, EndpointStream};

/// Asks whether a service is served. Says what the endpoint said, or why that is not good.
pub(super) async fn check(stream: EndpointStream, service: &str, address: SocketAddr) -> Result<String, String> {
    let request = Request::post("/grpc.health.v1.Health/Check")
        .header(HOST, address.to_string())
        .header(USER_AGENT, "serin-health")
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .body(Full::new(Bytes::from(framed(&question(service)))));
    let request = request.map_err(|error| format!("no request: {error}"))?;
    connect::exchange_http2(stream, request, judge).await
}

async fn judge(response: Response<Incoming>) -> Result<String, String> {
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("status {}", head.status.as_u16()));
    }
    let body = Limited::new(body, MOST_ANSWER).collect().await;
    let body = body.map_err(|error| format!("the answer breaks off: {error}"))?;
    let code = code(body.trailers().unwrap_or(&head.headers)).unwrap_or("none");
    if code != "0" {
        return Err(format!("grpc-status {code}"));
    }
    match body.to_bytes().get(FRAME..).and_then(answer) {
        Some(1) => Ok("SERVING".to_owned()),
        Some(0) => Err("UNKNOWN".to_owned()),
        Some(2) => Err("NOT_SERVING".to_owned()),
        Some(3) => Err("SERVICE_UNKNOWN".to_owned()),
        _ => Err("an answer that cannot be read".to_owned()),
    }
}

fn code(fields: &HeaderMap) -> Option<&str> {
    fields.get("grpc-status")?.to_str().ok()
}

/// `string service = 1`; an empty text is left out.
fn question(service: &str) -> Vec<u8> {
    if service.is_empty() {
        return Vec::new();
    }
    let length = service.len();
    // A length below 16,384 has two bytes at most.
    let length = match length {
        ..128 => vec![length as u8],
        _ => vec![(length % 128) as u8 | 0x80, (length / 128) as u8],
    };
    [&[0x0a], &length[..], service.as_bytes()].concat()
}

/// `ServingStatus status = 1`, whose 0 is left out.
fn answer(message: &[u8]) -> Option<u8> {
    match message {
        [] => Some(0),
        [0x08, status @ 0..128] => Some(*status),
        _ => None,
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// What stands before a message: whether it is compressed, and its length.
const FRAME: usize = 5;

/// Bytes of an answer that are read.
const MOST_ANSWER: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_protobuf_writes_them() {
        assert_eq!(framed(&question("")), [0, 0, 0, 0, 0]);
        assert_eq!(question("a.B"), [0x0a, 3, b'a', b'.', b'B']);
        let long = question(&"x".repeat(200));
        assert_eq!((&long[..3], long.len()), (&[0x0a, 0xc8, 0x01][..], 203));
        assert_eq!([answer(&[]), answer(&[8, 1]), answer(&[8, 2])], [Some(0), Some(1), Some(2)]);
        assert_eq!([answer(&[8]), answer(&[8, 0x81, 1]), answer(&[10, 1, 1])], [None; 3]);
    }
}
