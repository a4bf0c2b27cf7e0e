//! The one canonical form of a host and of a path: computed once, then used for matching, logs and forwarding.
//!
//! Whatever has two readings is either brought to one form or refused, so that a rule about `/admin` cannot be
//! walked around by another spelling of it. Escapes are decoded once; what stays encoded is never decoded
//! later. Both functions are idempotent, and borrow a text that is canonical already, which is the common case (a few escapes
//! that need a closer look are copied all the same).

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv6Addr;

/// A canonical host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host<'a> {
    name: Cow<'a, str>,
    port: Option<u16>,
    canonical: bool,
}

impl Host<'_> {
    /// The name: lower case, no dot at the end, IPv6 in brackets and as short as RFC 5952 writes it. Empty if the
    /// field was empty.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, if one was written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether the text was already what [`fmt::Display`] writes, so that it can be forwarded as it came.
    pub fn is_canonical(&self) -> bool {
        self.canonical
    }
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Why a text is not a host. Reads on from the text: `a..b` *has an empty label*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostError {
    /// User information, slashes, escapes, lists, white space, control and non-ASCII bytes.
    #[error("has a character that a host name cannot have")]
    Character,
    /// Two dots in a row, or a dot at the beginning.
    #[error("has an empty label")]
    EmptyLabel,
    /// A port without a name.
    #[error("has a port but no name")]
    NoName,
    /// RFC 1035 §2.3.4.
    #[error("has a label longer than 63 characters")]
    LongLabel,
    /// RFC 1035 §2.3.4, less the root.
    #[error("is longer than 253 characters")]
    Long,
    /// In brackets, but not an IPv6 address. Zone identifiers mean nothing outside one machine and are refused.
    #[error("has brackets without an IPv6 address in them")]
    Ipv6,
    /// Not a number from 1 to 65535.
    #[error("has a port that is not a number from 1 to 65535")]
    Port,
}

/// Reads `name[:port]` as in the `Host` field and the authority of a target.
///
/// A port without digits (`example.com:`) is no port: RFC 3986 §3.2.3 allows it and §6.2.3 normalises it so.
/// The empty text is a host without a name, as HTTP/1.1 clients send for targets that have none.
///
/// # Errors
/// Everything that RFC 9110 §7.2 does not call a host, and names longer than DNS has them.
pub fn host(raw: &[u8]) -> Result<Host<'_>, HostError> {
    if raw.first() == Some(&b'[') {
        return ipv6(raw);
    }
    if is_plain_name(raw) {
        let name = ascii(raw).ok_or(HostError::Character)?;
        return Ok(Host { name: Cow::Borrowed(name), port: None, canonical: true });
    }
    let (end, upper) = scan_name(raw)?;
    let name = ascii(&raw[..end]).ok_or(HostError::Character)?;
    let port = port(&raw[end..])?;
    let trimmed = name.strip_suffix('.').unwrap_or(name);
    if trimmed.is_empty() && !raw.is_empty() {
        return Err(if name.is_empty() { HostError::NoName } else { HostError::EmptyLabel });
    }
    if trimmed.len() > 253 {
        return Err(HostError::Long);
    }
    let canonical = !upper && trimmed.len() == end && is_canonical_port(&raw[end..]);
    let name = if upper { Cow::Owned(trimmed.to_ascii_lowercase()) } else { Cow::Borrowed(trimmed) };
    Ok(Host { name, port, canonical })
}

/// The common case, without a branch for each byte: lower case, no port, and too short for a label to be too long.
fn is_plain_name(raw: &[u8]) -> bool {
    let (odd, last) = raw.iter().fold((false, true), |(odd, after_dot), &byte| {
        let is_dot = byte == b'.';
        let plain = matches!(HOST_CLASS[usize::from(byte)], HostByte::Plain);
        (odd | !(plain | is_dot) | (after_dot & is_dot), is_dot)
    });
    !odd && !last && raw.len() <= 63
}

/// Checks the labels; where the name ends, and whether it has capitals.
fn scan_name(raw: &[u8]) -> Result<(usize, bool), HostError> {
    let mut upper = false;
    let mut label_start = 0;
    for (at, &byte) in raw.iter().enumerate() {
        match HOST_CLASS[usize::from(byte)] {
            HostByte::Plain => {}
            HostByte::Upper => upper = true,
            HostByte::Dot if at == label_start => return Err(HostError::EmptyLabel),
            HostByte::Dot => {
                label(at - label_start)?;
                label_start = at + 1;
            }
            HostByte::Colon => return label(at - label_start).map(|()| (at, upper)),
            HostByte::Bad => return Err(HostError::Character),
        }
    }
    label(raw.len() - label_start).map(|()| (raw.len(), upper))
}

fn label(length: usize) -> Result<(), HostError> {
    if length > 63 { Err(HostError::LongLabel) } else { Ok(()) }
}

fn ipv6(raw: &[u8]) -> Result<Host<'_>, HostError> {
    let close = raw.iter().position(|&byte| byte == b']').ok_or(HostError::Ipv6)?;
    let literal = ascii(&raw[..=close]).ok_or(HostError::Character)?;
    let address: Ipv6Addr = literal[1..close].parse().map_err(|_| HostError::Ipv6)?;
    let port = port(&raw[close + 1..])?;
    let name = format!("[{address}]");
    let same = name == literal;
    let name = if same { Cow::Borrowed(literal) } else { Cow::Owned(name) };
    Ok(Host { name, port, canonical: same && is_canonical_port(&raw[close + 1..]) })
}

/// What follows the name: nothing, `:`, or `:` and a port.
fn port(rest: &[u8]) -> Result<Option<u16>, HostError> {
    let digits = match rest {
        [] | [b':'] => return Ok(None),
        [b':', digits @ ..] => digits,
        _ => return Err(HostError::Character),
    };
    // The length keeps the number below 100,000.
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(HostError::Port);
    }
    let number = digits.iter().fold(0_u32, |number, digit| number * 10 + u32::from(digit - b'0'));
    match u16::try_from(number) {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err(HostError::Port),
    }
}

fn is_canonical_port(rest: &[u8]) -> bool {
    !matches!(rest, [b':'] | [b':', b'0', ..])
}

/// Why a text is not a path. Reads on from the text: path `/%zz` *has a `%` without two hexadecimal digits*.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// Empty, or another form of target.
    #[error("does not begin with `/`")]
    Relative,
    /// Control and non-ASCII bytes, space, `\`, `?` and `#`.
    #[error("has a character that must be escaped")]
    Character,
    /// `%4`, `%zz`.
    #[error("has a `%` without two hexadecimal digits")]
    Escape,
    /// `%00` to `%1F`, `%7F`.
    #[error("has an escaped control character")]
    Control,
    /// `%C0%AF` is `/` to a careless decoder (RFC 3629 §3 forbids it).
    #[error("has an overlong UTF-8 form of an ASCII character")]
    Overlong,
    /// `..;x` and `..%2F`, which some servers take for `..` after they have decoded or cut more.
    #[error("has `.` or `..` beside `;`, `%2F` or `%5C`, which servers read differently")]
    HiddenDots,
}

/// Brings the path of an origin-form target (without the query) into canonical form.
///
/// - Escapes of unreserved characters are decoded (RFC 3986 §6.2.2.2), the hexadecimal digits of all others are
///   capitals. `%2F` and `%5C` stay as they are, for the route to refuse ([`has_encoded_slash`]).
/// - Printable characters that RFC 3986 does not allow raw in a path (`"<>[]^{|}` and the backtick), which browsers and
///   scripts send all the same, are escaped.
/// - Slashes in a row are one, then `.` and `..` are resolved, also where they were escaped. Nothing is above the
///   root: `/../x` is `/x`.
/// - Parameters (`/a;v=1`) are part of their segment.
///
/// # Errors
/// What has no one reading; see [`PathError`].
///
/// ```
/// use routing_rules::request::canonical::path;
/// assert_eq!(path(b"/a//b/%2e%2e/%63%2fd").unwrap(), "/a/c%2Fd");
/// ```
pub fn path(raw: &[u8]) -> Result<Cow<'_, str>, PathError> {
    if raw.first() != Some(&b'/') {
        return Err(PathError::Relative);
    }
    match is_plain_path(raw) || scan_path(raw)? {
        true => ascii(raw).map(Cow::Borrowed).ok_or(PathError::Character),
        false => resolve(&decode(raw)?).map(Cow::Owned),
    }
}

/// Brings a query (without `?`) into a form that every server reads the same way: what RFC 3986 §3.4 does not allow raw
/// and browsers send all the same (`\\`, `"`, `<`, `>`) and bytes beyond ASCII are escaped. Nothing is decoded, because
/// only the application knows what its escapes mean. `None` if there is a control character, a space or a `#`.
///
/// ```
/// use routing_rules::request::canonical::query;
/// assert_eq!(query(b"a=1&b=%2f").unwrap(), "a=1&b=%2f");
/// assert_eq!(query(br"a=\").unwrap(), "a=%5C");
/// ```
pub fn query(raw: &[u8]) -> Option<Cow<'_, str>> {
    let must_escape = |byte: u8| matches!(byte, b'\\' | b'"' | b'<' | b'>' | 0x80..);
    let allowed = |byte: u8| (byte.is_ascii_graphic() && byte != b'#') || byte >= 0x80;
    if !raw.iter().copied().all(allowed) {
        return None;
    }
    if !raw.iter().copied().any(must_escape) {
        return ascii(raw).map(Cow::Borrowed);
    }
    let mut text = String::with_capacity(raw.len() + 16);
    for &byte in raw {
        match must_escape(byte) {
            true => push_escape(&mut text, byte),
            false => text.push(char::from(byte)),
        }
    }
    Some(Cow::Owned(text))
}

/// Whether a canonical path has an escaped slash or backslash.
pub fn has_encoded_slash(path: &str) -> bool {
    path.split('%').skip(1).any(|rest| rest.starts_with("2F") || rest.starts_with("5C"))
}

/// Puts `to` in the place of the segments `from` at the front of a canonical path; both are canonical themselves and
/// without a slash at the end, so the empty text is the root. `None` where the path does not begin with them.
///
/// ```
/// use routing_rules::request::canonical::replace_prefix;
/// assert_eq!(replace_prefix("/api/x", "/api", "").as_deref(), Some("/x"));
/// assert_eq!(replace_prefix("/apix", "/api", ""), None);
/// ```
pub fn replace_prefix(path: &str, from: &str, to: &str) -> Option<String> {
    let rest = path.strip_prefix(from)?;
    match (rest.as_bytes().first(), to) {
        (None, "") => Some("/".to_owned()),
        (None | Some(b'/'), _) => Some([to, rest].concat()),
        (Some(_), _) => None,
    }
}

/// The common case, without a branch for each byte: only plain characters, and no segment that is empty or begins with a dot.
fn is_plain_path(raw: &[u8]) -> bool {
    let (odd, _) = raw.iter().fold((false, false), |(odd, after_slash), &byte| {
        let class = PATH_CLASS[usize::from(byte)];
        let is_slash = matches!(class, PathByte::Slash);
        let plain = is_slash | matches!(class, PathByte::Plain);
        (odd | !plain | (after_slash & (is_slash | (byte == b'.'))), is_slash)
    });
    !odd
}

/// Whether the path is canonical already. `false` where it may not be: the slow way decides then.
fn scan_path(raw: &[u8]) -> Result<bool, PathError> {
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        at += match PATH_CLASS[usize::from(byte)] {
            PathByte::Plain => 1,
            PathByte::Slash if raw.get(at + 1).is_some_and(|next| matches!(next, b'/' | b'.')) => {
                if !begins_plain_segment(&raw[at + 1..]) {
                    return Ok(false);
                }
                1
            }
            PathByte::Slash => 1,
            PathByte::Percent if stays_escaped(raw, at)? => 3,
            PathByte::Percent | PathByte::Escape => return Ok(false),
            PathByte::Bad => return Err(PathError::Character),
        };
    }
    Ok(true)
}

/// Whether a segment with a dot in front is an ordinary name such as `.well-known`.
fn begins_plain_segment(segment: &[u8]) -> bool {
    let dots = segment.iter().take(3).take_while(|&&byte| byte == b'.').count();
    dots > 0 && (dots > 2 || !matches!(segment.get(dots), None | Some(b'/' | b';' | b'%')))
}

/// Whether the escape is canonical and of a byte that nothing else depends on.
fn stays_escaped(raw: &[u8], at: usize) -> Result<bool, PathError> {
    let byte = escaped(raw, at)?;
    let capitals = !raw[at + 1..at + 3].iter().any(u8::is_ascii_lowercase);
    let watched = is_unreserved(byte) || matches!(byte, b'/' | b'\\' | b';' | 0xC0 | 0xC1 | 0xE0 | 0xF0);
    Ok(capitals && !watched)
}

/// The byte that the escape at this place stands for.
fn escaped(raw: &[u8], at: usize) -> Result<u8, PathError> {
    let digit = |offset: usize| raw.get(at + offset).and_then(|&digit| char::from(digit).to_digit(16));
    let (Some(high), Some(low)) = (digit(1), digit(2)) else { return Err(PathError::Escape) };
    match (high * 16 + low) as u8 {
        byte if byte.is_ascii_control() => Err(PathError::Control),
        byte => Ok(byte),
    }
}

/// Every character in its one spelling; segments as they are.
fn decode(raw: &[u8]) -> Result<String, PathError> {
    let mut text = String::with_capacity(raw.len() + 16);
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        match PATH_CLASS[usize::from(byte)] {
            PathByte::Plain | PathByte::Slash => text.push(char::from(byte)),
            PathByte::Escape => push_escape(&mut text, byte),
            PathByte::Bad => return Err(PathError::Character),
            PathByte::Percent => {
                let byte = escaped(raw, at)?;
                refuse_overlong(byte, raw, at + 3)?;
                match is_unreserved(byte) {
                    true => text.push(char::from(byte)),
                    false => push_escape(&mut text, byte),
                }
                at += 2;
            }
        }
        at += 1;
    }
    Ok(text)
}

fn push_escape(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 15)]));
}

/// Overlong forms begin with C0 or C1, with E0 and a byte below A0, or with F0 and a byte below 90 (RFC 3629 §4). Other
/// encodings than UTF-8 use the same bytes, so a lead byte alone is let through.
fn refuse_overlong(lead: u8, raw: &[u8], next: usize) -> Result<(), PathError> {
    let limit = match lead {
        0xC0 | 0xC1 => 0xC0,
        0xE0 => 0xA0,
        0xF0 => 0x90,
        _ => return Ok(()),
    };
    match raw.get(next) == Some(&b'%') && (0x80..limit).contains(&escaped(raw, next)?) {
        true => Err(PathError::Overlong),
        false => Ok(()),
    }
}

/// Merges slashes and resolves dot segments.
fn resolve(text: &str) -> Result<String, PathError> {
    let mut path = String::with_capacity(text.len());
    let mut open = true;
    for segment in text.split('/').skip(1) {
        open = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => path.truncate(path.rfind('/').unwrap_or(0)),
            _ if hides_dots(segment) => return Err(PathError::HiddenDots),
            _ => {
                path.push('/');
                path.push_str(segment);
            }
        }
    }
    // `/a/`, `/a/.` and `/a/b/..` are all the folder `/a/`.
    if open {
        path.push('/');
    }
    Ok(path)
}

/// Whether a part of the segment becomes `.` or `..` once a server cuts parameters or decodes slashes.
fn hides_dots(segment: &str) -> bool {
    if !segment.contains('.') {
        return false;
    }
    let parts = segment.split("%2F").flat_map(|part| part.split("%5C"));
    parts.into_iter().any(|part| {
        let name = part.split(';').next().unwrap_or(part);
        matches!(name.split("%3B").next().unwrap_or(name), "." | "..")
    })
}

/// Bytes that a class table has let through are ASCII.
fn ascii(raw: &[u8]) -> Option<&str> {
    std::str::from_utf8(raw).ok()
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

#[derive(Clone, Copy)]
enum HostByte {
    Bad,
    Plain,
    Upper,
    Dot,
    Colon,
}

static HOST_CLASS: [HostByte; 256] = {
    let mut table = [HostByte::Bad; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => HostByte::Plain,
            b'A'..=b'Z' => HostByte::Upper,
            b'.' => HostByte::Dot,
            b':' => HostByte::Colon,
            _ => HostByte::Bad,
        };
        byte += 1;
    }
    table
};

#[derive(Clone, Copy)]
enum PathByte {
    /// Never allowed.
    Bad,
    /// `pchar` of RFC 3986 §3.3, less the escapes.
    Plain,
    Slash,
    Percent,
    /// Printable, but only allowed as an escape.
    Escape,
}

static PATH_CLASS: [PathByte; 256] = {
    let mut table = [PathByte::Bad; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = match byte as u8 {
            b'/' => PathByte::Slash,
            b'%' => PathByte::Percent,
            b'"' | b'<' | b'>' | b'[' | b']' | b'^' | b'`' | b'{' | b'|' | b'}' => PathByte::Escape,
            b'!' | b'$' | b'&'..=b',' | b':' | b';' | b'=' | b'@' => PathByte::Plain,
            other if is_unreserved(other) => PathByte::Plain,
            _ => PathByte::Bad,
        };
        byte += 1;
    }
    table
};
