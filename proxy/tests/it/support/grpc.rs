//! A client of gRPC as far as tests need one: messages in frames of five bytes and more, and how a call went.

use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::PATIENCE;

/// A connection to a proxy.
pub(crate) struct GrpcClient {
    sender: SendRequest<Bytes>,
    _driver: JoinSet<()>,
}

/// A call under way.
pub(crate) struct GrpcCall {
    pub(crate) sending: SendStream<Bytes>,
    answer: Option<ResponseFuture>,
    receiving: Option<RecvStream>,
    unread: BytesMut,
    pub(crate) head: HeaderMap,
    pub(crate) http_status: u16,
}

impl GrpcClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("the proxy accepts connections");
        stream.set_nodelay(true).expect("a fresh socket");
        let (sender, connection) = h2::client::handshake(stream).await.expect("a fresh connection");
        let mut driver = JoinSet::new();
        driver.spawn(async { drop(connection.await) });
        Self { sender, _driver: driver }
    }

    /// Begins a call of a method, as `/package.Service/Method`.
    pub(crate) async fn call(&self, path: &str, fields: &[(&str, &str)]) -> GrpcCall {
        let mut sender = self.sender.clone().ready().await.expect("the connection is open");
        let request = Request::post(format!("http://a.test{path}"))
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let request = request.body(()).expect("the test writes a head");
        let (answer, sending) = sender.send_request(request, false).expect("the connection is open");
        let (unread, head) = (BytesMut::new(), HeaderMap::new());
        GrpcCall { sending, answer: Some(answer), receiving: None, unread, head, http_status: 0 }
    }

    /// A call with one message. Returns the messages of the answer and how it went.
    pub(crate) async fn unary(&self, path: &str, fields: &[(&str, &str)]) -> (Vec<Vec<u8>>, String) {
        let mut call = self.call(path, fields).await;
        call.send(b"message", true);
        call.finish().await
    }
}

impl GrpcCall {
    pub(crate) fn send(&mut self, message: &[u8], is_last: bool) {
        // The proxy may have ended the call by now.
        let _ = self.sending.send_data(framed(message), is_last);
    }

    /// Says that no more messages come.
    pub(crate) fn close(&mut self) {
        let _ = self.sending.send_data(Bytes::new(), true);
    }

    /// The next message of the answer, if there is one.
    pub(crate) async fn message(&mut self) -> Result<Option<Vec<u8>>, h2::Error> {
        timeout(PATIENCE, self.next()).await.expect("something comes in time")
    }

    async fn next(&mut self) -> Result<Option<Vec<u8>>, h2::Error> {
        if let Some(answer) = self.answer.take() {
            let (head, body) = answer.await?.into_parts();
            (self.http_status, self.head) = (head.status.as_u16(), head.headers);
            self.receiving = Some(body);
        }
        let receiving = self.receiving.as_mut().expect("there is a head");
        loop {
            if let Some(message) = unframed(&mut self.unread) {
                return Ok(Some(message));
            }
            let Some(piece) = receiving.data().await else { return Ok(None) };
            let piece = piece?;
            let _ = receiving.flow_control().release_capacity(piece.len());
            self.unread.extend_from_slice(&piece);
        }
    }

    /// Reads to the end. Returns the messages that were left and how the call went: the code and what is said of it.
    pub(crate) async fn finish(&mut self) -> (Vec<Vec<u8>>, String) {
        let mut messages = Vec::new();
        loop {
            match self.message().await {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, format!("reset: {:?}", error.reason())),
            }
        }
        let receiving = self.receiving.as_mut().expect("there is a head");
        let trailers = receiving.trailers().await.ok().flatten();
        let fields = trailers.as_ref().unwrap_or(&self.head);
        let text = |name: &str| fields.get(name).map_or("", |value| value.to_str().unwrap_or("?")).to_owned();
        (messages, format!("{} {}", text("grpc-status"), text("grpc-message")).trim_end().to_owned())
    }
}

/// A message in its frame.
pub(crate) fn framed(message: &[u8]) -> Bytes {
    Bytes::from([&[0][..], &(message.len() as u32).to_be_bytes(), message].concat())
}

/// Takes a whole message, if one is there.
pub(crate) fn unframed(bytes: &mut BytesMut) -> Option<Vec<u8>> {
    let length = u32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?) as usize;
    if bytes.len() < 5 + length {
        return None;
    }
    bytes.advance(5);
    Some(bytes.split_to(length).to_vec())
}
