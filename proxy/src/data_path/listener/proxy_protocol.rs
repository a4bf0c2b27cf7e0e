//! The PROXY protocol, versions 1 and 2: what a load balancer says of a connection before the first byte of its client.
//!
//! It is read to its last byte and never beyond, so that whatever comes behind it, TLS included, finds the socket as if
//! the client had connected here. Only those peers are asked for it whom the listener's rules name; what others send is
//! never looked at in this way.

use std::io;

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::connect::{Ends, PROXY_SIGNATURE as SIGNATURE};

/// What was said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// Who connected to whom; nothing if the load balancer speaks for itself, as in its health checks.
    pub(crate) client: Option<Ends>,
    /// Whether the client spoke TLS, which ended at the load balancer.
    pub(crate) is_secure: bool,
}

/// Why a connection is closed that should have begun with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// It began with something else.
    Missing,
    /// The header breaks its own rules, or the connection ended within it.
    Malformed,
    /// It is longer than [`LONGEST`].
    TooLong,
    /// It did not come in time.
    Late,
}

/// How much of the stream belongs to the header for sure.
#[derive(Debug, PartialEq, Eq)]
enum Wants {
    Bytes(usize),
    /// All up to the end of the line.
    Line,
    Nothing,
}

/// Reads the header. `None` if the connection ended before it began, as those of simple health checks do.
///
/// # Errors
/// Why there is none.
pub(crate) async fn read(socket: &mut TcpStream) -> Result<Option<Announced>, Refused> {
    let mut came = Vec::with_capacity(TYPICAL);
    loop {
        let count = match wants(&came)? {
            Wants::Nothing => return announced(&came).map(Some),
            Wants::Bytes(count) => count,
            Wants::Line => within_line(socket, LONGEST_LINE - came.len()).await.map_err(|_| Refused::Malformed)?,
        };
        let before = came.len();
        let read = (&mut *socket).take(count as u64).read_buf(&mut came).await;
        match read {
            Ok(1..) => {}
            Ok(0) | Err(_) if before == 0 => return Ok(None),
            Ok(0) | Err(_) => return Err(Refused::Malformed),
        }
    }
}

/// How many of the bytes that wait belong to the line, looked at without taking them.
async fn within_line(socket: &TcpStream, most: usize) -> io::Result<usize> {
    let mut waiting = [0; LONGEST_LINE];
    let count = socket.peek(&mut waiting[..most]).await?;
    Ok(waiting[..count].iter().position(|byte| *byte == b'\n').map_or(count, |end| end + 1).max(1))
}

fn wants(came: &[u8]) -> Result<Wants, Refused> {
    let begins = |mark: &[u8]| came.iter().zip(mark).all(|(byte, expected)| byte == expected);
    if begins(SIGNATURE) {
        let Some(length) = came.get(14..16) else {
            // Either version is longer than this, and nothing is read of what follows the shorter one.
            return Ok(Wants::Bytes(if came.is_empty() { SHORTEST } else { 16 - came.len() }));
        };
        let whole = 16 + usize::from(u16::from_be_bytes([length[0], length[1]]));
        return match whole.saturating_sub(came.len()) {
            _ if whole > LONGEST => Err(Refused::TooLong),
            0 => Ok(Wants::Nothing),
            missing => Ok(Wants::Bytes(missing)),
        };
    }
    match came {
        _ if !begins(LINE) => Err(Refused::Missing),
        [.., b'\n'] => Ok(Wants::Nothing),
        _ if came.len() < SHORTEST => Ok(Wants::Bytes(SHORTEST - came.len())),
        _ if came.len() >= LONGEST_LINE => Err(Refused::TooLong),
        _ => Ok(Wants::Line),
    }
}

/// What a whole header says.
fn announced(bytes: &[u8]) -> Result<Announced, Refused> {
    let (header, length) = ProxyHeader::parse(bytes, ParseConfig::default()).map_err(|_| Refused::Malformed)?;
    // The library reads `+80` as a number. Where there is no address, whatever there is means nothing.
    let has_plus = bytes[0] != SIGNATURE[0] && bytes.contains(&b'+') && header.proxied_address().is_some();
    let is_sound = length == bytes.len() && !has_plus;
    if !is_sound || !header.tlvs().all(|field| field.is_ok()) || !has_right_sum(bytes, header.crc32c()) {
        return Err(Refused::Malformed);
    }
    let client = match header.proxied_address() {
        Some(address) if address.protocol == Protocol::Datagram => return Err(Refused::Malformed),
        Some(address) => Some(Ends::new(address.source, address.destination)),
        // A client that came by a socket file has no address, and the load balancer's is none that it may have.
        None if bytes[0] == SIGNATURE[0] && bytes[12..14] == [PROXIED, bytes[13] & 0x0f | UNIX] => {
            return Err(Refused::Malformed);
        }
        None => None,
    };
    let is_secure = client.is_some() && header.ssl().is_some_and(|ssl| ssl.client_ssl());
    Ok(Announced { client, is_secure })
}

/// Whether the checksum is right, where there is one: over the whole header with zeros in its own place.
fn has_right_sum(bytes: &[u8], sum: Option<u32>) -> bool {
    const CRC32C: u8 = 3;
    let Some(sum) = sum else { return true };
    let addresses = match bytes[13] >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    let mut at = 16 + addresses;
    while let Some([kind, high, low]) = bytes.get(at..at + 3) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if (*kind, length) == (CRC32C, 4) {
            let zeroed = crc32c::crc32c_append(crc32c::crc32c(&bytes[..at + 3]), &[0; 4]);
            return crc32c::crc32c_append(zeroed, &bytes[at + 7..]) == sum;
        }
        at += 3 + length;
    }
    false
}

impl Refused {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Missing, Self::Malformed, Self::TooLong, Self::Late];

    /// The word for it in metrics.
    pub(crate) fn token(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Late => "late",
        }
    }
}

/// The command of version 2 that speaks of a client, and the family of socket files.
const PROXIED: u8 = 0x21;
const UNIX: u8 = 0x30;

/// And version 1.
const LINE: &[u8] = b"PROXY ";

/// The shortest header: `PROXY UNKNOWN` and the end of the line.
const SHORTEST: usize = 15;

/// The longest of version 1, as its description promises.
const LONGEST_LINE: usize = 107;

/// The longest of version 2: addresses, and whatever the load balancer has to say of TLS besides.
const LONGEST: usize = 4 << 10;

/// Enough for most.
const TYPICAL: usize = 128;

#[cfg(test)]
mod tests;
