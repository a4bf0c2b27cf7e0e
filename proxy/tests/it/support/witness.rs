//! The witness: an endpoint that trusts nobody. It keeps the raw bytes of every connection, holds each request
//! against the strict grammar in `grammar`, and answers so that a test can tell whose answer it got.
//!
//! It never repairs what it reads: bytes outside the grammar are recorded as a violation and the connection ends
//! there, because nothing behind them can be delimited with certainty. A request cut short is recorded as incomplete,
//! which is what a proxy does to a request it gives up on, and is no violation.

pub(crate) mod grammar;

mod scripted;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use grammar::SeenRequest;
pub(crate) use scripted::{After, ScriptedEndpoint};

use grammar::Progress;
use scripted::Script;

/// A strict HTTP/1.1 endpoint on a loopback port of its own.
pub(crate) struct Witness {
    address: SocketAddr,
    ledger: Arc<Ledger>,
}

impl Witness {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let ledger = Arc::new(Ledger::default());
        let accepting = Arc::clone(&ledger);
        thread::spawn(move || accept(&listener, &accepting));
        Self { address, ledger }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every request seen since the last `clear`, complete or not, in the order their last byte arrived.
    pub(crate) fn requests(&self) -> Vec<SeenRequest> {
        self.ledger.notes().seen.clone()
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.ledger.notes().violations.clone()
    }

    /// The raw bytes of each connection, in the order the connections were accepted.
    pub(crate) fn raw_bytes(&self) -> Vec<Vec<u8>> {
        self.ledger.notes().raw.values().cloned().collect()
    }

    /// Waits until `count` complete requests were seen since the last `clear`; false when `patience` ran out.
    pub(crate) fn wait_for_requests(&self, count: usize, patience: Duration) -> bool {
        self.ledger.wait_until(patience, |notes| notes.seen.iter().filter(|request| request.complete).count() >= count)
    }

    /// Forgets what was seen. Connections stay open, and their numbers go on counting.
    pub(crate) fn clear(&self) {
        let mut notes = self.ledger.notes();
        notes.seen.clear();
        notes.violations.clear();
        notes.raw.clear();
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.ledger.stopping.store(true, Ordering::SeqCst);
        for stream in self.ledger.notes().streams.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // The accept loop looks at the flag only when somebody connects.
        let _ = TcpStream::connect(self.address);
    }
}

/// What all connections of one witness write down.
#[derive(Default)]
struct Ledger {
    notes: Mutex<Notes>,
    changed: Condvar,
    connections: AtomicU64,
    answers: AtomicU64,
    stopping: AtomicBool,
}

#[derive(Default)]
struct Notes {
    seen: Vec<SeenRequest>,
    violations: Vec<String>,
    raw: BTreeMap<u64, Vec<u8>>,
    streams: BTreeMap<u64, TcpStream>,
    /// When set, requests to the scripted path get these bytes instead of an honest answer.
    script: Option<Script>,
    /// Parts of scripts that are still to be sent.
    late_parts: usize,
    /// The connection that carried the last late part.
    late_connection: Option<u64>,
}

impl Ledger {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        // A test that failed while holding the lock has said so already; the notes stay readable.
        self.notes.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn note(&self, change: impl FnOnce(&mut Notes)) {
        change(&mut self.notes());
        self.changed.notify_all();
    }

    fn wait_until(&self, patience: Duration, reached: impl Fn(&Notes) -> bool) -> bool {
        let deadline = Instant::now() + patience;
        let mut notes = self.notes();
        while !reached(&notes) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            notes = match self.changed.wait_timeout(notes, left) {
                Ok((notes, _)) => notes,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }
}

fn accept(listener: &TcpListener, ledger: &Arc<Ledger>) {
    for stream in listener.incoming() {
        if ledger.stopping.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else { continue };
        let number = ledger.connections.fetch_add(1, Ordering::SeqCst);
        if let Ok(copy) = stream.try_clone() {
            ledger.notes().streams.insert(number, copy);
        }
        let ledger = Arc::clone(ledger);
        thread::spawn(move || {
            converse(&stream, number, &ledger);
            let _ = stream.shutdown(Shutdown::Both);
            ledger.note(|notes| drop(notes.streams.remove(&number)));
        });
    }
}

/// Reads requests off one connection until it ends, one way or the other.
fn converse(mut stream: &TcpStream, connection: u64, ledger: &Ledger) {
    let _ = stream.set_nodelay(true);
    let mut unread = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        match grammar::next_request(&unread) {
            Ok(Progress::Complete(request, length)) => {
                unread.drain(..length);
                if !answer(stream, connection, request, ledger) {
                    return;
                }
                continue;
            }
            Ok(Progress::Partial) => {}
            Err(violation) => {
                record_violation(ledger, connection, &violation, &unread);
                let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
                return;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => break,
            Ok(count) => {
                unread.extend_from_slice(&chunk[..count]);
                ledger.note(|notes| notes.raw.entry(connection).or_default().extend_from_slice(&chunk[..count]));
            }
        }
    }
    if !unread.is_empty() {
        record_incomplete(ledger, connection, &unread);
    }
}

/// Notes the request and answers it; false when the connection is over.
fn answer(mut stream: &TcpStream, connection: u64, mut request: SeenRequest, ledger: &Ledger) -> bool {
    request.connection = connection;
    let sequence = ledger.answers.fetch_add(1, Ordering::SeqCst);
    let echo = echo(&request, sequence);
    let faults = grammar::faults(&request);
    let closing = request.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let script = ledger.notes().script.clone().filter(|_| scripted::applies_to(&request));
    let place = format!("connection {connection}, {} {}", request.method, escape(request.target.as_bytes()));
    ledger.note(|notes| {
        notes.violations.extend(faults.iter().map(|fault| format!("{fault} ({place})")));
        notes.seen.push(request);
    });
    match script {
        Some(script) => scripted::play(stream, connection, &script, ledger),
        None => stream.write_all(&echo).is_ok() && !closing,
    }
}

/// The honest answer: a body that names the request it belongs to, and a number no other answer has.
fn echo(request: &SeenRequest, sequence: u64) -> Vec<u8> {
    let body = echo_body(&request.method, &request.target);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nx-witness-seq: {sequence}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let mut answer = head.into_bytes();
    if request.method != "HEAD" {
        answer.extend_from_slice(body.as_bytes());
    }
    answer
}

/// The body of the honest answer to a request.
pub(crate) fn echo_body(method: &str, target: &str) -> String {
    format!("witness saw {method} {}\n", escape(target.as_bytes()))
}

fn record_violation(ledger: &Ledger, connection: u64, violation: &str, unread: &[u8]) {
    let excerpt = escape(&unread[..unread.len().min(160)]);
    ledger.note(|notes| {
        notes.violations.push(format!("{violation} (connection {connection}): {excerpt}"));
    });
}

fn record_incomplete(ledger: &Ledger, connection: u64, unread: &[u8]) {
    let mut request = grammar::unfinished(unread);
    request.connection = connection;
    ledger.note(|notes| notes.seen.push(request));
}

/// Bytes as a reader can see them in a failure message.
pub(crate) fn escape(bytes: &[u8]) -> String {
    bytes.iter().flat_map(|byte| std::ascii::escape_default(*byte)).map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn talk(witness: &Witness, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(witness.address()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[test]
    fn answers_name_the_request_they_belong_to() {
        let witness = Witness::start();
        let answer =
            talk(&witness, b"GET /a?id=7 HTTP/1.1\r\nHost: a.test\r\n\r\nGET /b HTTP/1.1\r\nHost: a.test\r\n\r\n");
        assert!(answer.contains("witness saw GET /a?id=7\n"), "{answer}");
        assert!(answer.contains("witness saw GET /b\n"), "{answer}");
        assert!(answer.contains("x-witness-seq: 0") && answer.contains("x-witness-seq: 1"), "{answer}");
        assert_eq!(witness.requests().len(), 2);
        assert_eq!(witness.violations(), Vec::<String>::new());
        assert_eq!(witness.raw_bytes().len(), 1);
    }

    #[test]
    fn a_cut_request_is_incomplete_and_no_violation() {
        let witness = Witness::start();
        talk(&witness, b"POST /cut HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\nabc");
        let seen = witness.requests();
        assert_eq!((seen.len(), seen[0].complete, seen[0].target.as_str()), (1, false, "/cut"));
        assert_eq!(witness.violations(), Vec::<String>::new());
    }

    #[test]
    fn bytes_outside_the_grammar_are_kept_as_a_violation() {
        let witness = Witness::start();
        let answer = talk(&witness, b"GET / HTTP/1.1\nHost: a.test\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert_eq!(witness.violations().len(), 1);
        witness.clear();
        assert!(witness.violations().is_empty() && witness.requests().is_empty());
    }

    #[test]
    fn a_script_answers_its_path_and_nothing_else() {
        let endpoint =
            ScriptedEndpoint::start(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(), After::Keep, Some(b"LATE".to_vec()));
        let mut stream = TcpStream::connect(endpoint.address()).unwrap();
        stream.write_all(b"GET /scripted/1 HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        let mut answer = vec![0; 31];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer, b"HTTP/1.1 204 No Content\r\n\r\nLATE");
        endpoint.wait_for_late_bytes();
        stream.write_all(b"GET /honest HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("witness saw GET /honest\n"), "{rest}");
        assert_eq!(endpoint.witness().requests().len(), 2);
    }
}
