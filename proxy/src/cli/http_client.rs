//! One kept HTTP/1 connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A connection. It ends when dropped.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<()>,
}

/// A whole response.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.map_err(|_| late())??;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        // How a connection ends is told to the request that was on it.
        driver.spawn(async move { drop(connection.await) });
        Ok(Self { sender, _driver: driver })
    }

    /// Sends a request and waits for the whole response.
    pub(super) async fn send(&mut self, request: Request<Full<Bytes>>) -> io::Result<Reply> {
        self.send_within(PATIENCE, request).await
    }

    /// Sends a request and waits for the whole response, but no longer than that.
    pub(super) async fn send_within(&mut self, patience: Duration, request: Request<Full<Bytes>>) -> io::Result<Reply> {
        let exchange = async {
            self.sender.ready().await.map_err(io::Error::other)?;
            let (head, body) = self.sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
            let body = Limited::new(body, MOST_BYTES).collect().await.map_err(io::Error::other)?.to_bytes();
            Ok(Reply { status: head.status, headers: head.headers, body })
        };
        timeout(patience, exchange).await.unwrap_or_else(|_| Err(late()))
    }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no response")
}

/// Far more than any response takes that is not waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Far more than any response has.
const MOST_BYTES: usize = 64 << 20;
