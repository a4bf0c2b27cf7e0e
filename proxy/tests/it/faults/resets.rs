//! Connections that an endpoint resets, at each point of an exchange.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use crate::support::client::request;
use crate::support::{Cut, PATIENCE, Serin, find};

/// An endpoint that resets its connections: at `/length` and `/chunked` in the middle of the answer when it is told to,
/// at `/later` before the answer if the connection has served before, at `/always` in any case.
struct Resetting {
    address: SocketAddr,
    /// The connection and the first line of every request.
    seen: Arc<Mutex<Vec<(usize, String)>>>,
    go_on: mpsc::Sender<()>,
}

impl Resetting {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("it is bound");
        let (go_on, word) = mpsc::channel();
        let (seen, word) = (Arc::default(), Arc::new(Mutex::new(word)));
        let log = Arc::clone(&seen);
        std::thread::spawn(move || {
            for (connection, stream) in listener.incoming().flatten().enumerate() {
                let (seen, word) = (Arc::clone(&log), Arc::clone(&word));
                std::thread::spawn(move || converse(stream, connection, &seen, &word));
            }
        });
        Self { address, seen, go_on }
    }

    fn serin(&self) -> Serin {
        Serin::serving(&format!(
            "routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
            self.address
        ))
    }

    /// On which connections requests for this target came.
    fn connections(&self, target: &str) -> Vec<usize> {
        let seen = self.seen.lock().unwrap();
        seen.iter().filter(|(_, line)| line.contains(target)).map(|(connection, _)| *connection).collect()
    }
}

fn converse(
    mut stream: TcpStream,
    connection: usize,
    seen: &Mutex<Vec<(usize, String)>>,
    word: &Mutex<mpsc::Receiver<()>>,
) -> io::Result<()> {
    let (mut unread, mut buffer) = (Vec::new(), [0; 16 << 10]);
    for place in 0.. {
        let end = loop {
            match find(&unread, b"\r\n\r\n") {
                Some(at) => break at + 4,
                None => match stream.read(&mut buffer)? {
                    0 => return Ok(()),
                    count => unread.extend_from_slice(&buffer[..count]),
                },
            }
        };
        let head = String::from_utf8_lossy(&unread[..end]).into_owned();
        unread.drain(..end);
        let line = head.lines().next().unwrap_or_default().to_owned();
        let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap().push((connection, line.clone()));
        match target.as_str() {
            "/length" => stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")?,
            "/chunked" => stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")?,
            "/later" if place > 0 => return reset(stream),
            "/always" => return reset(stream),
            _ => {
                let body = if line.starts_with("HEAD ") { "" } else { "whole" };
                write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{body}")?;
                continue;
            }
        }
        // A reset throws away what has not been read yet.
        let _ = word.lock().unwrap().recv();
        return reset(stream);
    }
    Ok(())
}

/// Ends a connection as the kernel does for a process that has died and has unread bytes.
fn reset(stream: TcpStream) -> io::Result<()> {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))
}

/// The client has the head, so nothing can be taken back; but it must not take a part for the whole.
#[test]
fn in_the_middle_of_an_answer_the_client_sees_it() {
    for target in ["/length", "/chunked"] {
        let endpoint = Resetting::start();
        let serin = endpoint.serin();
        let mut client = serin.client();
        assert_eq!(client.get("/").text(), "whole");
        client.send(request("GET", target, &[], b""));
        assert!(client.hears_within(PATIENCE));
        endpoint.go_on.send(()).expect("it listens");
        assert_eq!(client.try_reply(false), Err(Cut::Incomplete), "{target}");
        serin.wait_until_quiet(PATIENCE);
        assert_eq!(serin.metric_of("serin_request_errors_total", "response_cut"), 1.0, "{target}");
        assert_eq!(serin.metric("serin_endpoint_errors_total"), 1.0, "{target}");
        assert_eq!(serin.metric("serin_endpoint_retries_total"), 0.0, "{target}");
        assert_eq!(serin.client().get("/again").text(), "whole");
        assert_eq!((endpoint.connections(target), endpoint.connections("/again")), (vec![0], vec![1]), "{target}");
    }
}

#[test]
fn of_a_kept_connection_before_the_answer_it_is_repeated_where_that_does_no_harm() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
        let endpoint = Resetting::start();
        let serin = endpoint.serin();
        let mut client = serin.client();
        assert_eq!(client.get("/").text(), "whole");
        assert_eq!(client.request(method, "/later", &[], b"").status, 200, "{method}");
        assert_eq!(endpoint.connections("/later"), [0, 1], "{method}");
        assert_eq!(serin.metric("serin_endpoint_retries_total"), 1.0, "{method}");
    }
    for (method, body) in [("POST", &b"order"[..]), ("POST", b""), ("PATCH", b"order"), ("PUT", b"order")] {
        let endpoint = Resetting::start();
        let serin = endpoint.serin();
        let mut client = serin.client();
        assert_eq!(client.get("/").text(), "whole");
        assert_eq!(client.request(method, "/later", &[], body).status, 502, "{method}");
        assert_eq!(endpoint.connections("/later"), [0], "{method}");
        assert_eq!(client.get("/").text(), "whole", "the client's connection goes on");
    }
}

/// A request that ends a fresh connection may be what does it: it is not carried to the next endpoint.
#[test]
fn of_a_new_connection_before_the_answer_nothing_is_repeated() {
    for method in ["GET", "POST"] {
        let endpoint = Resetting::start();
        let serin = endpoint.serin();
        assert_eq!(serin.client().request(method, "/always", &[], b"").status, 502, "{method}");
        assert_eq!(endpoint.connections("/always"), [0], "{method}");
        assert_eq!(serin.metric_of("serin_request_errors_total", "bad_response"), 1.0, "{method}");
        assert_eq!(serin.metric("serin_endpoint_errors_total"), 1.0, "{method}");
    }
}
