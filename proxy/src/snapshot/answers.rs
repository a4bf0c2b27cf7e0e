//! What authorities are answered that want to see whether a host leads here.
//!
//! Apart from the snapshot: answers come and go with each order, and no decision of a request depends on them and on rules at
//! once. Only requests and handshakes that can be of an authority look here at all.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio_rustls::rustls::ServerConfig;

/// The answers in force.
pub type AnswerCell = ArcSwap<Answers>;

/// Answers to challenges that are open now; mostly there are none.
#[derive(Default)]
pub struct Answers {
    /// What a request is answered, by token (RFC 8555 §8.3).
    pub requests: HashMap<Box<str>, Bytes>,
    /// How to shake hands, by host, which is lower case (RFC 8737).
    pub handshakes: HashMap<Box<str>, Arc<ServerConfig>>,
}

/// The path of a request by which an authority looks, up to the token.
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// The protocol by which it looks.
pub const CHALLENGE_PROTOCOL: &[u8] = b"acme-tls/1";
