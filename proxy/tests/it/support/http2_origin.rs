//! An endpoint that speaks HTTP/2 and does what a test tells it, request by request. What comes is read by h2, which refuses
//! heads that HTTP/2 does not have: fields that speak of a connection, pseudo-fields out of place.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, Request, Response};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{PATIENCE, eventually};

/// A programmable endpoint on a loopback port of its own.
pub(crate) struct Http2Origin {
    address: SocketAddr,
    log: Arc<Mutex<Log>>,
    /// The endpoint is there as long as this.
    _end: oneshot::Sender<()>,
}

/// What the endpoint has seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    /// Every request whose head came.
    pub(crate) calls: Vec<SeenCall>,
    /// Connections accepted.
    pub(crate) accepted: usize,
    /// Connections of these that are still open.
    pub(crate) open: usize,
    /// What calls said of themselves.
    pub(crate) notes: Vec<String>,
}

/// The head of a request.
#[derive(Clone, Debug)]
pub(crate) struct SeenCall {
    pub(crate) method: String,
    /// As the pseudo-fields say it: scheme, authority, path.
    pub(crate) target: String,
    pub(crate) fields: HeaderMap,
    /// Which of the connections it came on, from 0.
    pub(crate) connection: usize,
}

/// One request at the endpoint.
pub(crate) struct Call {
    pub(crate) head: http::request::Parts,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    log: Arc<Mutex<Log>>,
}

impl Http2Origin {
    /// Starts an endpoint; `serve` runs for every request.
    pub(crate) fn start<F: Future<Output = ()> + 'static>(serve: impl Fn(Call) -> F + Send + 'static) -> Self {
        Self::start_with(Builder::new(), serve)
    }

    /// As [`Self::start`], with settings of the test's.
    pub(crate) fn start_with<F: Future<Output = ()> + 'static>(
        builder: Builder,
        serve: impl Fn(Call) -> F + Send + 'static,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        listener.set_nonblocking(true).expect("a fresh socket");
        let address = listener.local_addr().expect("a bound listener has an address");
        let log = Arc::new(Mutex::new(Log::default()));
        let (end, ended) = oneshot::channel();
        let shared = Arc::clone(&log);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            tokio::task::LocalSet::new().block_on(&runtime, async move {
                let listener = TcpListener::from_std(listener).expect("within a runtime");
                tokio::select! {
                    () = accept(listener, builder, serve, shared) => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, log, _end: end }
    }

    /// An endpoint that answers every request with its own name.
    pub(crate) fn named(name: &'static str) -> Self {
        Self::start(move |mut call| async move {
            call.read().await.ok();
            call.answer(200, &[], name.as_bytes());
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn log(&self) -> Log {
        lock(&self.log).clone()
    }

    /// The only request seen so far.
    pub(crate) fn call(&self) -> SeenCall {
        let calls = self.log().calls;
        assert_eq!(calls.len(), 1, "the endpoint saw {calls:?}");
        calls.into_iter().next().expect("there is one")
    }

    /// The only call of a method seen so far.
    pub(crate) fn call_to(&self, method: &str) -> SeenCall {
        let mut calls = self.log().calls;
        calls.retain(|call| call.target.ends_with(method));
        assert_eq!(calls.len(), 1, "the endpoint saw {calls:?}");
        calls.remove(0)
    }

    /// Waits until the log is as wanted.
    pub(crate) fn wait_until(&self, what: &str, reached: impl Fn(&Log) -> bool) {
        eventually(PATIENCE, what, || reached(&lock(&self.log)));
    }
}

fn lock(log: &Mutex<Log>) -> MutexGuard<'_, Log> {
    log.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept<F: Future<Output = ()> + 'static>(
    listener: TcpListener,
    builder: Builder,
    serve: impl Fn(Call) -> F + 'static,
    log: Arc<Mutex<Log>>,
) {
    let serve = std::rc::Rc::new(serve);
    while let Ok((stream, _)) = listener.accept().await {
        let connection = {
            let mut log = lock(&log);
            log.accepted += 1;
            log.open += 1;
            log.accepted - 1
        };
        let (builder, serve, log) = (builder.clone(), std::rc::Rc::clone(&serve), Arc::clone(&log));
        tokio::task::spawn_local(async move {
            if let Ok(mut served) = builder.handshake(stream).await {
                while let Some(Ok((request, respond))) = served.accept().await {
                    let (head, body) = request.into_parts();
                    lock(&log).calls.push(SeenCall {
                        method: head.method.to_string(),
                        target: head.uri.to_string(),
                        fields: head.headers.clone(),
                        connection,
                    });
                    tokio::task::spawn_local(serve(Call { head, body, respond, log: Arc::clone(&log) }));
                }
            }
            lock(&log).open -= 1;
        });
    }
}

impl Call {
    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// Reads the next piece of the body, if there is one.
    pub(crate) async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let piece = self.body.data().await;
        if let Some(Ok(data)) = &piece {
            let _ = self.body.flow_control().release_capacity(data.len());
        }
        piece
    }

    /// Reads the whole body.
    pub(crate) async fn read(&mut self) -> Result<Vec<u8>, h2::Error> {
        let mut all = Vec::new();
        while let Some(piece) = self.data().await {
            all.extend_from_slice(&piece?);
        }
        Ok(all)
    }

    /// What came behind the body.
    pub(crate) async fn trailers(&mut self) -> Option<HeaderMap> {
        self.body.trailers().await.ok().flatten()
    }

    /// Answers whole.
    pub(crate) fn answer(&mut self, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        let mut stream = self.begin(status, fields, body.is_empty());
        if !body.is_empty() {
            stream.send_data(Bytes::copy_from_slice(body), true).ok();
        }
    }

    /// Begins an answer.
    pub(crate) fn begin(&mut self, status: u16, fields: &[(&str, &str)], ends: bool) -> SendStream<Bytes> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            // As they are written, also those that are none in HTTP/1.
            let name = HeaderName::from_lowercase(name.as_bytes()).expect("a name of HTTP/2");
            response = response.header(name, *value);
        }
        let response = response.body(()).expect("the test writes a head");
        self.respond.send_response(response, ends).expect("nobody has answered yet")
    }

    /// Answers for the time being.
    pub(crate) fn hint(&mut self) {
        let hints = Response::builder().status(103).header("link", "</a.css>").body(()).expect("a head");
        self.respond.send_informational(hints).expect("nobody has answered yet");
    }

    /// Ends the stream.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.respond.send_reset(reason);
    }

    /// Waits until the proxy ends the stream before its time.
    pub(crate) async fn is_reset(&mut self) -> Result<Reason, h2::Error> {
        poll_fn(|cx| self.respond.poll_reset(cx)).await
    }

    /// Says something that the test waits for.
    pub(crate) fn note(&self, text: impl Into<String>) {
        lock(&self.log).notes.push(text.into());
    }
}

/// Fields of a block of trailers.
pub(crate) fn fields(all: &[(&str, &str)]) -> HeaderMap {
    let request = all.iter().fold(Request::builder(), |request, (name, value)| request.header(*name, *value));
    request.body(()).expect("the test writes fields").headers().clone()
}
