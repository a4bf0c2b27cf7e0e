//! Five small endpoints: three of the stable version, one of them slow, and two of the new one.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The endpoints, on a thread of their own. They end when dropped.
pub(super) struct Endpoints {
    addresses: [SocketAddr; DELAYS.len()],
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Endpoints {
    pub(super) fn start() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut listeners = Vec::new();
        let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); DELAYS.len()];
        for address in &mut addresses {
            let listener = runtime.block_on(TcpListener::bind(*address))?;
            *address = listener.local_addr()?;
            listeners.push(listener);
        }
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("endpoints".into()).spawn(move || {
            runtime.block_on(async {
                let mut serving = JoinSet::new();
                for (listener, delay) in listeners.into_iter().zip(DELAYS) {
                    serving.spawn(serve(listener, delay));
                }
                let _ = stopped.await;
            });
        })?;
        Ok(Self { addresses, stop: Some(stop), thread: Some(thread) })
    }

    pub(super) fn stable(&self) -> &[SocketAddr] {
        &self.addresses[..STABLE]
    }

    pub(super) fn canary(&self) -> &[SocketAddr] {
        &self.addresses[STABLE..]
    }
}

impl Drop for Endpoints {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(listener: TcpListener, delay: Duration) {
    let id = listener.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(connections.spawn(serve_connection(stream, id.clone(), delay))),
                // Out of descriptors, most likely: not worth a busy loop.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, id: String, delay: Duration) {
    let _ = stream.set_nodelay(true);
    let answer = |_: Request<Incoming>| {
        let response = Response::builder().header(ENDPOINT, &id).body(Full::new(Bytes::from_static(b"hello\n")));
        async move {
            tokio::time::sleep(delay).await;
            Ok::<_, Infallible>(response.unwrap_or_default())
        }
    };
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new());
    // A client that goes away is no fault of the endpoint.
    let _ = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

/// The response field in which an endpoint says its address.
pub(super) const ENDPOINT: &str = "x-endpoint";

/// How many of the endpoints are of the stable version.
const STABLE: usize = 3;

/// How long each endpoint takes for a response. The third is five times slower.
const DELAYS: [Duration; 5] = [
    Duration::from_millis(4),
    Duration::from_millis(4),
    Duration::from_millis(20),
    Duration::from_millis(4),
    Duration::from_millis(4),
];
