//! One request on a connection of its own, which is over with its answer.

use std::error::Error;
use std::pin::pin;

use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri, header};
use hyper::body::{Body, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::EndpointStream;

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
    finish(connection, async {
        let response = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
        read(response).await
    })
    .await
}

/// As [`exchange`], with an endpoint in HTTP/2. The request is as for HTTP/1.
pub(crate) async fn exchange_http2<B, F, T>(
    stream: EndpointStream,
    request: Request<B>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, String>
where
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + Send + Unpin + 'static,
    F: Future<Output = Result<T, String>>,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.max_header_list_size(MOST_HEAD as u32);
    let scheme = scheme(stream.is_secure());
    let opened = builder.handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = opened.map_err(|error| format!("no connection: {error}"))?;
    let (mut head, body) = request.into_parts();
    head.headers.remove(header::CONNECTION);
    name_authority(&mut head, scheme).map_err(|error| format!("no request: {error}"))?;
    let request = Request::from_parts(head, body);
    finish(connection, async {
        let response = sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))?;
        read(response).await
    })
    .await
}

/// Drives a connection until its answer has been read.
async fn finish<T>(connection: impl Future, answer: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    // The connection may be over before all of its answer has been read, and never says more than the answer does.
    let drive = pin!(async {
        connection.await;
        std::future::pending().await
    });
    tokio::select! {
        answered = pin!(answer) => answered,
        answered = drive => answered,
    }
}

/// What is spoken with an endpoint, as requests of HTTP/2 say it.
pub(crate) fn scheme(is_secure: bool) -> Scheme {
    if is_secure { Scheme::HTTPS } else { Scheme::HTTP }
}

/// Has a head name its host as HTTP/2 does (RFC 9113 §8.3.1).
///
/// # Errors
/// `Host` is no authority.
pub(crate) fn name_authority(head: &mut Parts, scheme: Scheme) -> Result<(), http::Error> {
    let mut target = std::mem::take(&mut head.uri).into_parts();
    target.scheme = Some(scheme);
    if let Some(host) = head.headers.remove(header::HOST) {
        target.authority = Some(Authority::try_from(host.as_bytes())?);
    }
    head.uri = Uri::from_parts(target)?;
    Ok(())
}

/// As much as a response to a client's request may have.
const MOST_HEAD: usize = 32 << 10;
