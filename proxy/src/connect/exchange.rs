//! One request on a connection of its own, which is over with its answer.

use std::error::Error;
use std::pin::pin;

use http::uri::Scheme;
use http::{Request, Response};
use http::{Uri, header};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

/// Sends a request, and reads of its answer what somebody wants. Says in words why that did not come to be.
pub(crate) async fn exchange<B, F, T>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<B>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, String>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    F: Future<Output = Result<T, String>>,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MOST_HEAD);
    let opened = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| format!("no connection: {error}"))?;
    let answer = pin!(async {
        let response = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
        read(response).await
    });
    // The connection may be over before all of its answer has been read, and never says more than the answer does.
    let drive = pin!(async {
        let _ = connection.await;
        std::future::pending().await
    });
    tokio::select! {
        answered = answer => answered,
        answered = drive => answered,
    }
}

/// As [`exchange`], in HTTP/2 without TLS. The request is as for HTTP/1.
pub(crate) async fn exchange_http2<B, F, T>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<B>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, String>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    F: Future<Output = Result<T, String>>,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(MOST_HEAD as u32);
    let opened = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| format!("no connection: {error}"))?;
    let request = with_authority(request).map_err(|error| format!("no request: {error}"))?;
    let answer = pin!(async {
        let response = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
        read(response).await
    });
    let drive = pin!(async {
        let _ = connection.await;
        std::future::pending().await
    });
    tokio::select! {
        answered = answer => answered,
        answered = drive => answered,
    }
}

fn with_authority<B>(request: Request<B>) -> Result<Request<B>, http::Error> {
    let (mut head, body) = request.into_parts();
    let mut target = std::mem::take(&mut head.uri).into_parts();
    head.headers.remove(header::CONNECTION);
    if let Some(host) = head.headers.remove(header::HOST) {
        (target.scheme, target.authority) = (Some(Scheme::HTTP), Some(host.as_bytes().try_into()?));
    }
    head.uri = Uri::from_parts(target)?;
    Ok(Request::from_parts(head, body))
}

/// As much as a response to a client's request may have.
const MOST_HEAD: usize = 32 << 10;
