//! As much of HTTP/1.1 as a benchmark needs: where a head ends and how long the body behind it is.
//!
//! Not a parser to learn from: it trusts its peers, which are all on this machine. The endpoint, the relay and the
//! load generator share it, so none of them gets a cheaper view of the wire than another.

/// How the body behind a head is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
}

/// A complete head at the start of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Bytes of the head, the empty line included.
    pub len: usize,
    pub framing: Framing,
    /// The sender closes the connection after this message.
    pub close: bool,
    /// Where the `connection` header with `close` begins; the relay masks it.
    pub close_at: Option<usize>,
}

impl Head {
    /// The head that begins `bytes`, once all of it is there.
    #[must_use]
    pub fn find(bytes: &[u8]) -> Option<Self> {
        let mut head = Self { len: 0, framing: Framing::Length(0), close: false, close_at: None };
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            let line = bytes[start..end].strip_suffix(b"\r").unwrap_or(&bytes[start..end]);
            if line.is_empty() {
                head.len = end + 1;
                return Some(head);
            }
            head.note(line, start);
            start = end + 1;
        }
        None
    }

    /// Takes what a line says about the body and the connection; most lines are dismissed by their first letter.
    fn note(&mut self, line: &[u8], at: usize) {
        match line[0] | 0x20 {
            b'c' => {
                if let Some(value) = value_of(line, b"content-length") {
                    self.framing = Framing::Length(number(value));
                } else if let Some(value) = value_of(line, b"connection")
                    && value.eq_ignore_ascii_case(b"close")
                {
                    self.close = true;
                    self.close_at = Some(at);
                }
            }
            b't' if value_of(line, b"transfer-encoding").is_some() => self.framing = Framing::Chunked,
            _ => {}
        }
    }
}

/// The status code of a response head.
#[must_use]
pub fn status(head: &[u8]) -> u16 {
    head.get(9..12).map_or(0, |digits| u16::try_from(number(digits)).unwrap_or(0))
}

/// The path of a request head.
#[must_use]
pub fn path(head: &[u8]) -> &[u8] {
    head.split(|&byte| byte == b' ').nth(1).unwrap_or_default()
}

/// What is left of a request body that is read and thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drain {
    Bytes(u64),
    /// In a chunked body: the next thing is a size line.
    ChunkSize,
    /// In a chunked body: this much data and its line end.
    ChunkData(u64),
    /// After the last chunk: trailers up to an empty line.
    Trailers,
}

impl Drain {
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        match framing {
            Framing::Length(bytes) => Self::Bytes(bytes),
            Framing::Chunked => Self::ChunkSize,
        }
    }

    #[must_use]
    pub fn done(self) -> bool {
        self == Self::Bytes(0)
    }

    /// Takes the body's next bytes from the front of `bytes` and says how many; less than all with `done` false means
    /// that a line is not complete yet.
    pub fn take(&mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while !self.done() {
            let rest = &bytes[taken..];
            let step = match *self {
                Self::Bytes(left) | Self::ChunkData(left) => {
                    usize::try_from(left).unwrap_or(usize::MAX).min(rest.len())
                }
                Self::ChunkSize | Self::Trailers => memchr::memchr(b'\n', rest).map_or(0, |end| end + 1),
            };
            if step == 0 {
                break;
            }
            *self = self.after(&rest[..step]);
            taken += step;
        }
        taken
    }

    fn after(self, taken: &[u8]) -> Self {
        match self {
            Self::Bytes(left) => Self::Bytes(left - taken.len() as u64),
            Self::ChunkData(left) if left == taken.len() as u64 => Self::ChunkSize,
            Self::ChunkData(left) => Self::ChunkData(left - taken.len() as u64),
            Self::ChunkSize => match hex(taken) {
                0 => Self::Trailers,
                size => Self::ChunkData(size + 2),
            },
            Self::Trailers if taken.len() <= 2 => Self::Bytes(0),
            Self::Trailers => Self::Trailers,
        }
    }
}

fn value_of<'l>(line: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

fn number(digits: &[u8]) -> u64 {
    digits
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0_u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
}

fn hex(line: &[u8]) -> u64 {
    line.iter()
        .map_while(|&byte| char::from(byte).to_digit(16))
        .fold(0_u64, |sum, digit| sum.wrapping_mul(16).wrapping_add(u64::from(digit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_found_only_when_complete() {
        let bytes = b"GET /1k HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\nConnection: close\r\n\r\nbody";
        let head = Head::find(bytes).unwrap();
        assert_eq!(head.len, bytes.len() - 4);
        assert_eq!(head.framing, Framing::Length(12));
        assert!(head.close);
        assert!(bytes[head.close_at.unwrap()..].starts_with(b"Connection"));
        assert_eq!(path(bytes), b"/1k");
        assert_eq!(Head::find(&bytes[..head.len - 1]), None);
    }

    #[test]
    fn a_status_is_three_digits() {
        assert_eq!(status(b"HTTP/1.1 503 Service Unavailable\r\n"), 503);
        assert_eq!(status(b"HT"), 0);
    }

    #[test]
    fn bodies_are_drained_however_they_are_cut() {
        let chunked = b"5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nA: b\r\n\r\n";
        for cut in 0..chunked.len() {
            let mut drain = Drain::new(Framing::Chunked);
            let first = drain.take(&chunked[..cut]);
            let second = drain.take(&chunked[first..]);
            assert!(drain.done(), "cut at {cut}");
            assert_eq!(first + second, chunked.len());
        }
        let mut drain = Drain::new(Framing::Length(3));
        assert_eq!(drain.take(b"abcdef"), 3);
        assert!(drain.done());
    }
}
