//! Answers authorities that look whether a host leads here, before they sign a certificate for it (RFC 8555, RFC 8737).
//!
//! Answered is only what is known at this moment to be asked; anything else is a request or a handshake like all others. A
//! handshake of this kind lets nobody in: it is over when it is completed.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, header};
use tokio::net::TcpStream;
use tokio_rustls::StartHandshake;
use tokio_rustls::rustls::ServerConfig;

use super::response::ResponseBody;
use crate::snapshot::{CHALLENGE_PATH, CHALLENGE_PROTOCOL};
use crate::worker::Worker;

/// What a request in clear text is answered, if it is one that an authority was told to send.
pub(super) fn answer(worker: &Worker, method: &Method, path: &str) -> Option<Response<ResponseBody>> {
    let token = path.strip_prefix(CHALLENGE_PATH)?;
    if method != Method::GET && method != Method::HEAD {
        return None;
    }
    let text = worker.answers.load().requests.get(token).cloned()?;
    let mut response = Response::new(ResponseBody::text(text));
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, octets);
    Some(response)
}

/// How to shake hands with a client that is an authority which was told to come.
pub(super) fn handshake(worker: &Worker, hello: &StartHandshake<TcpStream>) -> Option<Arc<ServerConfig>> {
    let hello = hello.client_hello();
    // RFC 8737 §3: it is the only protocol on offer.
    let is_challenge = hello.alpn()?.eq([CHALLENGE_PROTOCOL]);
    let host = hello.server_name().filter(|_| is_challenge)?.to_ascii_lowercase();
    worker.answers.load().handshakes.get(&*host).cloned()
}
