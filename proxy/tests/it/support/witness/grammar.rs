//! The strict grammar of what a proxy may write to an endpoint: RFC 9112 without any of its leniency.
//!
//! Two kinds of finding. What makes the framing or the line structure doubtful is an error of `next_request`, and
//! nothing after it is read. What is well delimited but must not have been forwarded (hop-by-hop leftovers, underscore
//! aliases, a second Cookie line) is listed by `faults`, so that one run names all of them.

use std::net::Ipv6Addr;

/// One request as it came off the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SeenRequest {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Names as sent; values as Latin-1, so that no byte is lost.
    pub(crate) headers: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// False when the connection ended before the request did.
    pub(crate) complete: bool,
    /// Which connection of the witness carried it.
    pub(crate) connection: u64,
}

impl SeenRequest {
    /// The value of the only header line of this name; `None` when there are none or several.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        match self.header_lines(name).as_slice() {
            [value] => Some(value),
            _ => None,
        }
    }

    pub(crate) fn header_lines(&self, name: &str) -> Vec<&str> {
        lines_named(&self.headers, name)
    }
}

/// Names and values, in the order they came.
pub(crate) type Fields = Vec<(String, String)>;

/// How far the bytes of a connection reach.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    Partial,
    /// The request and the number of bytes it took.
    Complete(SeenRequest, usize),
}

/// Reads one request from the front of `bytes`. An error is a violation that ends the connection.
pub(crate) fn next_request(bytes: &[u8]) -> Result<Progress, String> {
    let Some((mut request, head_length)) = head(bytes)? else {
        return Ok(Progress::Partial);
    };
    let rest = &bytes[head_length..];
    let body = match framing(&request.headers)? {
        Framing::None => Some(0),
        Framing::Length(length) => sized_body(rest, length, &mut request.body),
        Framing::Chunked => chunked_body(rest, &mut request)?,
    };
    let Some(body_length) = body else {
        return Ok(Progress::Partial);
    };
    request.complete = true;
    Ok(Progress::Complete(request, head_length + body_length))
}

/// What can be said about a request whose connection ended too early.
pub(crate) fn unfinished(bytes: &[u8]) -> SeenRequest {
    if let Ok(Some((request, _))) = head(bytes) {
        return request;
    }
    let first_line = bytes.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = first_line.split(|byte| *byte == b' ').map(latin1);
    SeenRequest {
        method: words.next().unwrap_or_default(),
        target: words.next().unwrap_or_default(),
        ..SeenRequest::default()
    }
}

/// Everything about a well delimited request that a proxy must not have let through.
pub(crate) fn faults(request: &SeenRequest) -> Vec<String> {
    let mut faults = Vec::new();
    if lines_named(&request.headers, "cookie").len() > 1 {
        faults.push("several Cookie lines".to_owned());
    }
    for (name, value) in &request.headers {
        let name = name.to_ascii_lowercase();
        if name.contains('_') && TRUSTED_NAMES.contains(&name.replace('_', "-").as_str()) {
            faults.push(format!("underscore alias {name}"));
        }
        if HOP_BY_HOP.contains(&name.as_str()) {
            faults.push(format!("hop-by-hop leftover {name}: {value}"));
        }
    }
    faults.extend(connection_fault(request));
    for (name, _) in &request.trailers {
        if NEVER_A_TRAILER.contains(&name.to_ascii_lowercase().replace('_', "-").as_str()) {
            faults.push(format!("trailer {name}"));
        }
    }
    faults
}

/// `Connection` may say close or keep-alive, or announce the one upgrade a proxy forwards.
fn connection_fault(request: &SeenRequest) -> Option<String> {
    let lines = request.header_lines("connection");
    let upgrade = request.header_lines("upgrade");
    let fine = match (lines.as_slice(), upgrade.as_slice()) {
        ([], []) => true,
        ([line], []) => matches!(line.to_ascii_lowercase().as_str(), "close" | "keep-alive"),
        ([line], [protocol]) => line.eq_ignore_ascii_case("upgrade") && protocol.eq_ignore_ascii_case("websocket"),
        _ => false,
    };
    (!fine).then(|| format!("connection {lines:?} with upgrade {upgrade:?}"))
}

/// Request line and fields; `None` while the empty line has not come.
fn head(bytes: &[u8]) -> Result<Option<(SeenRequest, usize)>, String> {
    let Some((request_line, mut position)) = line(bytes, 0)? else {
        return Ok(None);
    };
    let (method, target) = split_request_line(request_line)?;
    let Some(headers) = fields(bytes, &mut position)? else {
        return Ok(None);
    };
    check_host(&headers)?;
    let request = SeenRequest { method, target, headers, ..SeenRequest::default() };
    Ok(Some((request, position)))
}

/// The line at `from` without its CRLF, and where the next one starts.
fn line(bytes: &[u8], from: usize) -> Result<Option<(&[u8], usize)>, String> {
    let rest = &bytes[from..];
    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let Some(content) = rest[..end].strip_suffix(b"\r") else {
        return Err("bare LF as line end".to_owned());
    };
    if content.contains(&b'\r') {
        return Err("bare CR in a line".to_owned());
    }
    Ok(Some((content, from + end + 1)))
}

fn split_request_line(line: &[u8]) -> Result<(String, String), String> {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = words.as_slice() else {
        return Err("request line is not three words".to_owned());
    };
    if !is_token(method) {
        return Err("method is not a token".to_owned());
    }
    if *version != b"HTTP/1.1" {
        return Err("version is not HTTP/1.1".to_owned());
    }
    check_target(method, target)?;
    Ok((latin1(method), latin1(target)))
}

fn check_target(method: &[u8], target: &[u8]) -> Result<(), String> {
    if target == b"*" && method == b"OPTIONS" {
        return Ok(());
    }
    if target.first() != Some(&b'/') {
        return Err("target is not in origin-form".to_owned());
    }
    if !target.iter().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'#' | b'\\')) {
        return Err("control, non-ASCII, fragment or backslash in the target".to_owned());
    }
    let path = target.split(|byte| *byte == b'?').next().unwrap_or_default();
    if !escapes_are_whole(path) {
        return Err("broken percent-escape in the path".to_owned());
    }
    Ok(())
}

/// Field lines up to and with the empty line; `None` while it has not come.
fn fields(bytes: &[u8], position: &mut usize) -> Result<Option<Fields>, String> {
    let mut fields = Vec::new();
    loop {
        let Some((content, next)) = line(bytes, *position)? else {
            return Ok(None);
        };
        *position = next;
        if content.is_empty() {
            return Ok(Some(fields));
        }
        fields.push(field(content)?);
    }
}

fn field(line: &[u8]) -> Result<(String, String), String> {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Err("field line without colon".to_owned());
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err("field name is not a token".to_owned());
    }
    if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
        return Err("control byte in a field value".to_owned());
    }
    Ok((latin1(name), latin1(value).trim_matches([' ', '\t']).to_owned()))
}

fn check_host(headers: &[(String, String)]) -> Result<(), String> {
    match lines_named(headers, "host").as_slice() {
        [host] if is_host(host) => Ok(()),
        [_] => Err("Host is not host[:port]".to_owned()),
        lines => Err(format!("{} Host lines", lines.len())),
    }
}

fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((literal, port)) if literal.parse::<Ipv6Addr>().is_ok() => ("literal", port),
            _ => return false,
        },
        None => host.split_at(host.find(':').unwrap_or(host.len())),
    };
    let name_is_fine = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte))
        && escapes_are_whole(name.as_bytes());
    name_is_fine && is_port(port)
}

fn is_port(suffix: &str) -> bool {
    let Some(digits) = suffix.strip_prefix(':') else {
        return suffix.is_empty();
    };
    digits.is_empty() || (digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok())
}

enum Framing {
    None,
    Length(usize),
    Chunked,
}

fn framing(headers: &[(String, String)]) -> Result<Framing, String> {
    let lengths = lines_named(headers, "content-length");
    let codings = lines_named(headers, "transfer-encoding");
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Framing::None),
        ([length], []) => content_length(length).map(Framing::Length),
        ([], ["chunked"]) => Ok(Framing::Chunked),
        ([], [coding]) => Err(format!("Transfer-Encoding is {coding:?}")),
        ([_], [_]) => Err("Content-Length with Transfer-Encoding".to_owned()),
        _ => Err("several framing fields".to_owned()),
    }
}

fn content_length(value: &str) -> Result<usize, String> {
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("Content-Length is {value:?}"));
    }
    value.parse().map_err(|_| "Content-Length out of range".to_owned())
}

fn sized_body(rest: &[u8], length: usize, body: &mut Vec<u8>) -> Option<usize> {
    body.extend_from_slice(rest.get(..length)?);
    Some(length)
}

/// The length of the chunked body at the front of `rest`; `None` while it is not all there.
fn chunked_body(rest: &[u8], request: &mut SeenRequest) -> Result<Option<usize>, String> {
    let mut position = 0;
    loop {
        let Some((size_line, start)) = line(rest, position)? else {
            return Ok(None);
        };
        let size = chunk_size(size_line)?;
        if size == 0 {
            position = start;
            break;
        }
        let end = start.checked_add(size).ok_or("chunk size out of range")?;
        let Some(data) = rest.get(start..end) else {
            return Ok(None);
        };
        match rest.get(end..) {
            Some([b'\r', b'\n', ..]) => position = end + 2,
            Some([] | [b'\r']) | None => return Ok(None),
            Some(_) => return Err("chunk data does not end with CRLF".to_owned()),
        }
        request.body.extend_from_slice(data);
    }
    let Some(trailers) = fields(rest, &mut position)? else {
        return Ok(None);
    };
    request.trailers = trailers;
    Ok(Some(position))
}

fn chunk_size(line: &[u8]) -> Result<usize, String> {
    let digits = std::str::from_utf8(line).unwrap_or_default();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err("chunk size line is not only hex digits".to_owned());
    }
    usize::from_str_radix(digits, 16).map_err(|_| "chunk size out of range".to_owned())
}

fn lines_named<'h>(headers: &'h [(String, String)], wanted: &str) -> Vec<&'h str> {
    let same = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted));
    same.map(|(_, value)| value.as_str()).collect()
}

pub(crate) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn escapes_are_whole(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| bytes.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// RFC 9110 §7.6.1 and what custom adds to it. `Connection`, `Upgrade` and `Transfer-Encoding` are judged apart;
/// `Expect` is here because the proxy answers it itself.
const HOP_BY_HOP: &[&str] =
    &["keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "http2-settings", "expect"];

/// Names that frame, route or lend trust: some programs read `_` in a name as `-`, which would let a client set them.
const TRUSTED_NAMES: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-by",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-server",
    "x-real-ip",
    "x-request-id",
    "x-serin-group",
    "x-serin-release",
];

/// RFC 9110 §6.5.1: framing, routing, request modifiers, authentication.
const NEVER_A_TRAILER: &[&str] = &[
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "proxy-authorization",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-real-ip",
    "x-serin-group",
    "x-serin-release",
];

#[cfg(test)]
#[path = "grammar/tests.rs"]
mod tests;
