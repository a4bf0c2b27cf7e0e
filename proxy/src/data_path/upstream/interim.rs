//! Counts the interim answers (1xx) that an endpoint sends before the final one, in the bytes as they come: hyper skips
//! them silently, and an endless row of them would keep a request and its connection for as long as it may last.
//!
//! It judges nothing: what is no HTTP hyper refuses. An answer that is final from the start, which nearly all are,
//! costs one look at its first digit.

/// How far the answer to a request has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Interim {
    at: At,
    seen: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum At {
    /// The final head has begun, or nothing was asked.
    #[default]
    Final,
    /// Within `HTTP/1.1 `, so far.
    Version(u8),
    /// Behind the first digit of an interim status, and the second if it has come.
    Code(Option<u8>),
    /// In the fields of an interim answer; at the beginning of a line or not.
    Fields { line_begins: bool },
}

/// There were more than [`MAX`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

impl Interim {
    /// A request is about to be sent.
    pub(super) fn expected() -> Self {
        Self { at: At::Version(0), seen: 0 }
    }

    /// Looks at what came.
    pub(super) fn look(&mut self, bytes: &[u8]) -> Result<(), TooMany> {
        match (self.at, bytes) {
            (At::Final, _) => Ok(()),
            (At::Version(0), [b'H', _, _, _, _, _, _, _, _, digit, ..]) if *digit != b'1' => {
                self.at = At::Final;
                Ok(())
            }
            _ => bytes.iter().try_for_each(|byte| self.step(*byte)),
        }
    }

    fn step(&mut self, byte: u8) -> Result<(), TooMany> {
        self.at = match (self.at, byte) {
            (At::Final, _) => At::Final,
            // Empty lines before a head are skipped by parsers.
            (At::Version(0), b'\r' | b'\n') => At::Version(0),
            (At::Version(DIGIT), b'1') => At::Code(None),
            (At::Version(DIGIT), _) => At::Final,
            (At::Version(place), _) => At::Version(place + 1),
            (At::Code(None), digit) => At::Code(Some(digit)),
            // 101 ends what is HTTP: what follows belongs to another protocol.
            (At::Code(Some(b'0')), b'1') => At::Final,
            (At::Code(Some(_)), _) => {
                self.seen += 1;
                At::Fields { line_begins: false }
            }
            (At::Fields { line_begins: true }, b'\n') => At::Version(0),
            (At::Fields { .. }, b'\n') => At::Fields { line_begins: true },
            (fields @ At::Fields { .. }, b'\r') => fields,
            (At::Fields { .. }, _) => At::Fields { line_begins: false },
        };
        if self.seen > MAX { Err(TooMany) } else { Ok(()) }
    }
}

/// The place of the status's first digit.
const DIGIT: u8 = "HTTP/1.1 ".len() as u8;

/// Interim answers to one request; more are a bad response.
const MAX: u8 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n";
    const FINAL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n";

    /// In pieces of this size.
    fn looked(text: &str, size: usize) -> Result<u8, TooMany> {
        let mut interim = Interim::expected();
        text.as_bytes().chunks(size).try_for_each(|piece| interim.look(piece))?;
        Ok(interim.seen)
    }

    #[test]
    fn interim_answers_are_counted_however_they_come() {
        for size in [1, 2, 9, 10, 11, 1_000] {
            // What looks like one in a body is none.
            let body = "\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n";
            assert_eq!(looked(&format!("{FINAL}{body}"), size), Ok(0));
            assert_eq!(looked(&format!("{}{FINAL}{body}", HINTS.repeat(3)), size), Ok(3));
            assert_eq!(looked(&format!("{}{FINAL}", HINTS.repeat(32)), size), Ok(32));
            assert_eq!(looked(&HINTS.repeat(33), size), Err(TooMany));
        }
    }

    #[test]
    fn what_follows_a_switch_of_protocols_is_not_looked_at() {
        for size in [1, 10, 1_000] {
            let text = format!("HTTP/1.1 101 Switching Protocols\r\n\r\n{}", HINTS.repeat(40));
            assert_eq!(looked(&text, size), Ok(0));
        }
    }

    #[test]
    fn bare_line_ends_and_empty_lines_hide_nothing() {
        for size in [1, 3, 1_000] {
            assert_eq!(looked(&"HTTP/1.1 100 Continue\n\n".repeat(33), size), Err(TooMany));
            assert_eq!(looked(&"\r\n\nHTTP/1.1 100 Continue\r\nx: 1\n\r\n".repeat(33), size), Err(TooMany));
        }
    }

    #[test]
    fn without_a_request_nothing_is_looked_at() {
        assert_eq!(Interim::default().look(HINTS.repeat(40).as_bytes()), Ok(()));
    }
}
