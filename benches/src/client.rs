//! A client with one connection that it keeps, which asks for a host and says who answered.
//!
//! A connection that the proxy has closed meanwhile is replaced before the next request and no loss: a client can see that.
//! One that breaks after a request was sent is.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use crate::http::{Framing, Head, status};

/// A request that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Client {
    target: SocketAddrV4,
    stream: Option<TcpStream>,
}

/// Status and body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// This endpoint's own answer.
    #[must_use]
    pub fn is_from(&self, endpoint: SocketAddrV4) -> bool {
        self.status == 200 && self.body == endpoint.to_string()
    }
}

impl Client {
    #[must_use]
    pub fn new(target: SocketAddrV4) -> Self {
        Self { target, stream: None }
    }

    /// # Errors
    /// When nobody takes the connection, or there is no answer to the request.
    pub fn ask(&mut self, host: &str) -> io::Result<Answer> {
        self.ask_for(host, "/")
    }

    /// # Errors
    /// As [`Self::ask`].
    pub fn ask_for(&mut self, host: &str, path: &str) -> io::Result<Answer> {
        let mut stream = match self.stream.take().filter(is_open) {
            Some(stream) => stream,
            None => connect(self.target)?,
        };
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())?;
        let (answer, stays) = read_answer(&mut stream)?;
        self.stream = stays.then_some(stream);
        Ok(answer)
    }
}

fn connect(target: SocketAddrV4) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&target.into(), PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Nobody has closed it, and nothing is there that was not asked for.
fn is_open(stream: &TcpStream) -> bool {
    let looked = stream.set_nonblocking(true).and_then(|()| stream.peek(&mut [0]));
    let waits = looked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).is_ok() && waits
}

/// The answer, and whether the connection can be used again.
fn read_answer(stream: &mut TcpStream) -> io::Result<(Answer, bool)> {
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        if let Some(head) = Head::find(&read) {
            // Chunked answers are the proxy's own words, which nobody reads here: the connection ends with them.
            let (length, has_length) = match head.framing {
                Framing::Length(length) => (usize::try_from(length).unwrap_or(usize::MAX), true),
                Framing::Chunked => (0, false),
            };
            if let Some(body) = read.get(head.len..head.len.saturating_add(length)) {
                let body = String::from_utf8_lossy(body).into_owned();
                return Ok((Answer { status: status(&read), body }, has_length && !head.close));
            }
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => read.extend_from_slice(&buffer[..bytes]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Shutdown, TcpListener};

    use super::*;
    use crate::etcd::endpoint;
    use crate::peers::local;

    #[test]
    fn a_closed_connection_is_replaced_before_it_is_used() {
        let endpoint = endpoint::start().unwrap();
        let mut client = Client::new(endpoint);
        for _ in 0..2 {
            assert!(client.ask("a.test").unwrap().is_from(endpoint));
            client.stream.as_ref().unwrap().shutdown(Shutdown::Both).unwrap();
        }
    }

    #[test]
    fn a_connection_that_breaks_without_an_answer_is_a_loss() {
        let listener = TcpListener::bind(local(0)).unwrap();
        let address = local(listener.local_addr().unwrap().port());
        let server = std::thread::spawn(move || drop(listener.accept().unwrap().0.read(&mut [0; 4096])));
        assert!(Client::new(address).ask("a.test").is_err());
        server.join().unwrap();
    }
}
