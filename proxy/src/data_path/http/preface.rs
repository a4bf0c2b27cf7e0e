//! Tells HTTP/2 from HTTP/1 by the first bytes of a connection in clear text ("prior knowledge", RFC 9113 §3.3).
//!
//! The preface was chosen so that no request of HTTP/1 begins with it.

/// What a client begins an HTTP/2 connection with (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a client speaks, as far as its first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    Http1,
    Http2,
    /// All that came is the beginning of the preface, and not all of it.
    Unclear,
}

/// Looks at the first bytes of a connection, of which there is at least one.
pub(super) fn of(first: &[u8]) -> Speaks {
    let length = first.len().min(PREFACE.len());
    match first[..length] == PREFACE[..length] {
        false => Speaks::Http1,
        true if length < PREFACE.len() => Speaks::Unclear,
        true => Speaks::Http2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_preface_and_nothing_else_is_http_two() {
        let more = [&PREFACE[..], b"\0\0\0\x04"].concat();
        assert_eq!((of(PREFACE), of(&more)), (Speaks::Http2, Speaks::Http2));
        for length in 1..PREFACE.len() {
            assert_eq!(of(&PREFACE[..length]), Speaks::Unclear);
            let mut other = PREFACE[..length].to_vec();
            other[length - 1] ^= 1;
            assert_eq!(of(&other), Speaks::Http1);
        }
        assert_eq!((of(b"P"), of(b"PO"), of(b"GET / HTTP/1.1")), (Speaks::Unclear, Speaks::Http1, Speaks::Http1));
    }
}
