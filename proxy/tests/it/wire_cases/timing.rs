//! What depends on who speaks first: `100-continue`, and an endpoint that answers before the body has ended.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::support::Serin;
use crate::support::wire::{Answer, parse_answers};
use crate::support::witness::Witness;

/// The body is sent only when the proxy has asked for it, and the endpoint never hears of the expectation (D3).
#[test]
fn a_waiting_body_is_asked_for() {
    let witness = Witness::start();
    let serin = Serin::with_endpoint(witness.address());
    let mut client = client(serin.address());
    client.write_all(b"POST /p HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    let asked = answers_until(&mut client, &mut seen, |answers| !answers.is_empty());
    assert_eq!((asked[0].status, asked[0].is_interim()), (100, true), "{asked:?}");
    client.write_all(b"xxxx").unwrap();
    let answers = answers_until(&mut client, &mut seen, |answers| answers.len() == 2);
    assert_eq!(answers.last().map(|answer| answer.status), Some(200), "{answers:?}");
    assert!(witness.wait_for_requests(1, Duration::from_secs(1)));
    let requests = witness.requests();
    assert_eq!((requests.len(), requests[0].body.as_slice()), (1, b"xxxx".as_slice()));
    assert_eq!(witness.violations(), Vec::<String>::new());
}

/// An expectation the proxy cannot meet is refused before the body, and the connection ends (D3).
#[test]
fn an_unknown_expectation_is_refused_before_the_body() {
    let witness = Witness::start();
    let serin = Serin::with_endpoint(witness.address());
    let mut client = client(serin.address());
    client.write_all(b"POST /p HTTP/1.1\r\nHost: a.test\r\nExpect: miracles\r\nContent-Length: 4\r\n\r\n").unwrap();
    let mut seen = Vec::new();
    let _ = client.read_to_end(&mut seen);
    let answers = parse_answers(&seen, false, true).unwrap();
    assert_eq!(answers.iter().map(|answer| answer.status).collect::<Vec<_>>(), [417]);
    assert_eq!(witness.requests(), []);
}

/// The answer arrives although the body never ends, and the endpoint's connection does not live on (D4).
#[test]
fn an_early_answer_is_delivered() {
    let (endpoint, gone) = hasty_endpoint();
    let serin = Serin::with_endpoint(endpoint);
    let mut client = client(serin.address());
    client.write_all(b"POST /p HTTP/1.1\r\nHost: a.test\r\nContent-Length: 200000\r\n\r\n").unwrap();
    client.write_all(&[b'x'; 50_000]).unwrap();
    let mut seen = Vec::new();
    let answers = answers_until(&mut client, &mut seen, |answers| answers.iter().any(|answer| answer.complete));
    let answer = answers.first().expect("an answer before the body has ended");
    assert_eq!((answer.status, answer.body.as_slice(), answer.complete), (200, b"early".as_slice(), true));
    drop(client);
    gone.recv_timeout(Duration::from_secs(4)).expect("the endpoint's connection is closed");
}

fn client(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// Reads on until the answers are what is waited for; whatever is there when the connection ends or falls silent.
fn answers_until(client: &mut TcpStream, seen: &mut Vec<u8>, enough: impl Fn(&[Answer]) -> bool) -> Vec<Answer> {
    let mut chunk = [0; 4096];
    loop {
        let answers: Vec<Answer> =
            parse_answers(seen, false, false).unwrap().into_iter().filter(|answer| answer.complete).collect();
        if enough(&answers) {
            return answers;
        }
        match client.read(&mut chunk) {
            Ok(0) | Err(_) => return answers,
            Ok(count) => seen.extend_from_slice(&chunk[..count]),
        }
    }
}

/// Answers as soon as it has seen a head, then reads until the proxy closes, and says so.
fn hasty_endpoint() -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, gone) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
            head.push(byte[0]);
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly").unwrap();
        let mut rest = vec![0; 64 * 1024];
        while stream.read(&mut rest).is_ok_and(|count| count > 0) {}
        let _ = sender.send(());
    });
    (address, gone)
}
