//! Asks the admin API ten times a second whether it is still there.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::http::status;

const PATHS: [&str; 2] = ["/healthz", "/metrics"];
const EVERY: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(2);

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watched {
    pub asked: u32,
    /// Without an answer of 200 in time.
    pub failed: u32,
    pub worst_ms: f64,
}

/// Asks until it is told to stop.
pub fn watch(admin: SocketAddrV4, stop: &AtomicBool) -> Watched {
    let mut watched = Watched::default();
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        for path in PATHS {
            let asked = Instant::now();
            watched.asked += 1;
            watched.failed += u32::from(!matches!(ask(admin, path), Ok(200)));
            watched.worst_ms = watched.worst_ms.max(asked.elapsed().as_secs_f64() * 1e3);
        }
        due = (due + EVERY).max(Instant::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    watched
}

/// A connection of its own, as somebody who looks at a proxy in trouble has.
fn ask(admin: SocketAddrV4, path: &str) -> io::Result<u16> {
    let mut stream = TcpStream::connect_timeout(&admin.into(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(status(&answer))
}
