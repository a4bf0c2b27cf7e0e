//! Dials, which the data path, health probes and webhooks do, shakes hands with endpoints, which the former two do, asks once, which the
//! latter two do, says how a silent other end is noticed, and tells endpoints whose a connection is.

mod announce;
mod exchange;
mod liveness;
mod stream;
mod tls;
mod write;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpStream;

pub(crate) use announce::{Ends, PROXY_SIGNATURE, announce};
pub(crate) use exchange::{exchange, exchange_http2, name_authority, scheme};
pub(crate) use liveness::Liveness;
pub(crate) use stream::Stream;
pub(crate) use tls::{EndpointStream, secure, timed_out};
pub(crate) use write::poll_write_gathered;

/// Opens a TCP connection.
///
/// # Errors
/// What the operating system says, or `TimedOut` after `timeout`.
pub(crate) async fn tcp(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let connected = tokio::time::timeout(timeout, TcpStream::connect(address)).await;
    let stream = connected.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // Request head and body leave in one write; waiting for more would only add latency.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Whether this machine is out of something, for which no endpoint is to blame: descriptors (ENFILE, EMFILE) or memory
/// (ENOMEM, ENOBUFS).
pub(crate) fn is_our_own(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(23 | 24 | 12 | 105))
}

/// What the operating system says, without its number.
pub(crate) fn in_words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests;
