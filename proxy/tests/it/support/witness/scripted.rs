//! An endpoint that misbehaves on purpose: requests to `/scripted/…` get bytes written by the test, all others the
//! witness's honest answer. One endpoint can therefore poison a pool and then prove that nobody drank from it.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use super::grammar::SeenRequest;
use super::{Ledger, Witness};

/// What happens to the connection after the scripted bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Close,
    Keep,
}

/// A witness with a script.
pub(crate) struct ScriptedEndpoint {
    witness: Witness,
}

impl ScriptedEndpoint {
    /// `late` is sent 60 ms after `bytes`, when a proxy may already have put the connection back into its pool.
    pub(crate) fn start(bytes: Vec<u8>, after: After, late: Option<Vec<u8>>) -> Self {
        let endpoint = Self { witness: Witness::start() };
        endpoint.play(bytes, after, late);
        endpoint
    }

    /// Replaces the script; connections stay as they are.
    pub(crate) fn play(&self, bytes: Vec<u8>, after: After, late: Option<Vec<u8>>) {
        self.witness.ledger.notes().script = Some(Script { bytes, after, late });
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.witness.address()
    }

    pub(crate) fn witness(&self) -> &Witness {
        &self.witness
    }

    /// Returns when no late part is left to send, and the proxy has had a fair chance to notice: bytes that come
    /// while a connection idles in a pool can be told from an answer, bytes that come after the next request cannot.
    /// False when the late part could not be sent.
    pub(crate) fn wait_for_late_bytes(&self) -> bool {
        let ledger = &self.witness.ledger;
        let sent = ledger.wait_until(Duration::from_secs(2), |notes| notes.late_parts == 0);
        let connection = ledger.notes().late_connection.take();
        if let Some(connection) = connection {
            ledger.wait_until(NOTICE, |notes| !notes.streams.contains_key(&connection));
        }
        sent
    }
}

#[derive(Clone)]
pub(super) struct Script {
    bytes: Vec<u8>,
    after: After,
    late: Option<Vec<u8>>,
}

pub(super) fn applies_to(request: &SeenRequest) -> bool {
    request.target.starts_with("/scripted/")
}

/// Writes the script; false when the connection is over. A proxy may hang up on the script, so failing to write is
/// an end like any other.
pub(super) fn play(mut stream: &TcpStream, connection: u64, script: &Script, ledger: &Ledger) -> bool {
    if script.late.is_some() {
        ledger.note(|notes| {
            notes.late_parts += 1;
            notes.late_connection = Some(connection);
        });
    }
    let mut written = stream.write_all(&script.bytes).is_ok();
    if let Some(late) = &script.late {
        thread::sleep(LATENESS);
        written = stream.write_all(late).is_ok();
        ledger.note(|notes| notes.late_parts -= 1);
    }
    written && script.after == After::Keep
}

const LATENESS: Duration = Duration::from_millis(60);
const NOTICE: Duration = Duration::from_millis(150);
