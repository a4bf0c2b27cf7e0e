//! One check of one endpoint, on a connection of its own: a connection that was kept for requests would only say that it
//! was well before.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use routing_rules::rules::{HealthCheck, HttpProbe, Probe, Protocol};
use routing_rules::spec::Span;
use tokio::net::TcpStream;

use super::grpc;
use crate::connect::{self, EndpointStream};
use crate::snapshot::Transport;

/// What a check found, in words.
pub(super) enum Outcome {
    Passed(String),
    Failed(String),
    /// This machine is short of something, for which no endpoint is to blame.
    NotAsked(String),
}

/// How connections to an endpoint begin.
pub(super) struct Opening {
    pub(super) transport: Transport,
    /// Whether the endpoint is told whose they are: Serin's own.
    pub(super) announces: bool,
}

/// Checks an endpoint once.
pub(super) async fn probe(rules: &HealthCheck, opening: &Opening, address: SocketAddr) -> Outcome {
    let asked = tokio::time::timeout(rules.timeout, ask(rules, opening, address)).await;
    asked.unwrap_or_else(|_| Outcome::Failed(format!("no answer within {}", Span::from(rules.timeout))))
}

async fn ask(rules: &HealthCheck, opening: &Opening, address: SocketAddr) -> Outcome {
    let tls = match &opening.transport {
        Transport::Clear => None,
        Transport::Tls(tls) => Some(tls),
        Transport::Closed => {
            return Outcome::NotAsked("what TLS with the endpoint takes cannot be used".to_owned());
        }
    };
    let stream = loop {
        let socket = match open(rules, opening, address).await {
            Ok(socket) => socket,
            Err(error) if connect::is_our_own(&error) => return Outcome::NotAsked(error.to_string()),
            Err(error) => return Outcome::Failed(format!("cannot connect: {}", connect::in_words(&error))),
        };
        let Some(tls) = tls else { break EndpointStream::Plain(socket) };
        // As requests do it.
        match connect::secure(socket, tls, address).await {
            Ok(Some((stream, _))) => break stream,
            // A session was gone on with that is not good any more, and has been forgotten.
            Ok(None) => {}
            Err(failure) => return Outcome::Failed(format!("no TLS: {}", failure.reason)),
        }
    };
    match &rules.probe {
        Probe::Tcp => Outcome::Passed("connected".to_owned()),
        Probe::Http(http) => outcome(get(stream, http, rules.protocol, address).await),
        Probe::Grpc(service) => outcome(grpc::check(stream, service, address).await),
    }
}

async fn open(rules: &HealthCheck, opening: &Opening, address: SocketAddr) -> io::Result<TcpStream> {
    let mut socket = connect::tcp(address, rules.timeout).await?;
    if opening.announces {
        connect::announce(&mut socket, None).await?;
    }
    Ok(socket)
}

fn outcome(found: Result<String, String>) -> Outcome {
    match found {
        Ok(result) => Outcome::Passed(result),
        Err(reason) => Outcome::Failed(reason),
    }
}

async fn get(
    stream: EndpointStream,
    http: &HttpProbe,
    protocol: Protocol,
    address: SocketAddr,
) -> Result<String, String> {
    let request = request(http, address)?;
    match protocol {
        Protocol::Http1 => connect::exchange(stream, request, |response| judge(http, response)).await,
        Protocol::Http2 => connect::exchange_http2(stream, request, |response| judge(http, response)).await,
    }
}

fn request(http: &HttpProbe, address: SocketAddr) -> Result<Request<Empty<Bytes>>, String> {
    let host = http.host.as_deref().map_or_else(|| address.to_string(), str::to_owned);
    let request = Request::get(&*http.path).header(HOST, host).header(USER_AGENT, "serin-health");
    let request = request.header(ACCEPT, "*/*").header(CONNECTION, "close");
    request.body(Empty::new()).map_err(|error| format!("no request: {error}"))
}

/// Reads the body in any case: what the endpoint does not finish is not well.
async fn judge(http: &HttpProbe, response: Response<Incoming>) -> Result<String, String> {
    let status = response.status();
    if !http.takes(status.as_u16()) {
        return Err(format!("status {}", shown(status)));
    }
    let body = beginning(response.into_body()).await.map_err(|error| format!("the body breaks off: {error}"))?;
    match &http.body {
        Some(wanted) if !contains(&body, wanted.as_bytes()) => {
            Err(format!("status {}, but the body does not have {wanted:?} in it", shown(status)))
        }
        _ => Ok(format!("status {}", shown(status))),
    }
}

fn shown(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

async fn beginning(mut body: Incoming) -> Result<Vec<u8>, hyper::Error> {
    let mut bytes = Vec::new();
    while bytes.len() < MOST_BODY
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    bytes.truncate(MOST_BODY);
    Ok(bytes)
}

fn contains(body: &[u8], wanted: &[u8]) -> bool {
    body.windows(wanted.len()).any(|part| part == wanted)
}

/// How much of a body is read.
const MOST_BODY: usize = 64 << 10;
