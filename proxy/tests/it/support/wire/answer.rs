//! Reading answers. `parse_answers` is the client's side and strict: a proxy must not write anything it rejects.
//! `lenient_answer` reads an endpoint's script the way a forgiving proxy may, to know what such a proxy would relay.

use crate::support::witness::grammar::is_token;

/// One answer, interim or final.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    pub(crate) fn header_lines(&self, name: &str) -> Vec<&str> {
        let same = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        same.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn announces_close(&self) -> bool {
        self.header_lines("connection").iter().any(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Reads the answers on one connection, in order; the last may be incomplete. `ended` says that no byte can follow,
/// which is what completes an answer without a length. An error is a breach of RFC 9112.
pub(crate) fn parse_answers(bytes: &[u8], first_to_head: bool, ended: bool) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    let mut rest = bytes;
    let mut to_head = first_to_head;
    while !rest.is_empty() {
        let Some(head_length) = find(rest, b"\r\n\r\n").map(|at| at + 4) else {
            answers.push(Answer::default());
            break;
        };
        let mut answer = head(&rest[..head_length - 2])?;
        let body = &rest[head_length..];
        let taken = read_body(&mut answer, body, to_head, ended)?;
        let (complete, interim) = (answer.complete, answer.is_interim());
        answers.push(answer);
        if !complete {
            break;
        }
        to_head &= interim;
        rest = &body[taken..];
    }
    Ok(answers)
}

/// Status line and field lines, each with its CRLF.
fn head(bytes: &[u8]) -> Result<Answer, String> {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let mut lines = text.strip_suffix("\r\n").unwrap_or(&text).split("\r\n");
    let status = status_line(lines.next().unwrap_or_default())?;
    let headers = lines.map(field).collect::<Result<Vec<_>, _>>()?;
    let answer = Answer { status, headers, ..Answer::default() };
    match leftover(&answer) {
        Some(name) => Err(format!("hop-by-hop field {name} in an answer")),
        None => Ok(answer),
    }
}

fn status_line(line: &str) -> Result<u16, String> {
    let breach = || format!("status line {line:?}");
    let rest = line.strip_prefix("HTTP/1.1 ").or_else(|| line.strip_prefix("HTTP/1.0 ")).ok_or_else(breach)?;
    let (code, reason) = rest.split_once(' ').ok_or_else(breach)?;
    let digits = code.len() == 3 && code.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || !reason.chars().all(is_field_character) {
        return Err(breach());
    }
    code.parse().ok().filter(|status| (100..600).contains(status)).ok_or_else(breach)
}

fn field(line: &str) -> Result<(String, String), String> {
    let Some((name, value)) = line.split_once(':') else {
        return Err(format!("line without colon in an answer: {line:?}"));
    };
    if !is_token(name.as_bytes()) || !value.chars().all(is_field_character) {
        return Err(format!("bad field line in an answer: {line:?}"));
    }
    Ok((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()))
}

fn is_field_character(c: char) -> bool {
    c == '\t' || !c.is_control() || ('\u{80}'..='\u{9f}').contains(&c)
}

fn leftover(answer: &Answer) -> Option<String> {
    let switching = matches!(answer.status, 101 | 426);
    let hop_by_hop =
        |name: &str| matches!(name, "keep-alive" | "proxy-connection" | "te") || (name == "upgrade" && !switching);
    answer.headers.iter().map(|(name, _)| name.to_ascii_lowercase()).find(|name| hop_by_hop(name))
}

/// Fills in the body and says how many bytes it took.
fn read_body(answer: &mut Answer, rest: &[u8], to_head: bool, ended: bool) -> Result<usize, String> {
    let lengths = answer.header_lines("content-length").join(",");
    let codings = answer.header_lines("transfer-encoding").join(",");
    let has_no_framing = lengths.is_empty() && codings.is_empty();
    if !lengths.is_empty() && !codings.is_empty() {
        return Err("Content-Length with Transfer-Encoding in an answer".to_owned());
    }
    if (answer.is_interim() || answer.status == 204) && !has_no_framing {
        return Err(format!("framing field in a {}", answer.status));
    }
    if answer.is_interim() || to_head || matches!(answer.status, 204 | 304) {
        answer.complete = true;
        return Ok(0);
    }
    if answer.status == 101 || has_no_framing {
        // A tunnel and a close-delimited body take everything.
        answer.body = rest.to_vec();
        answer.complete = ended || answer.status == 101;
        return Ok(rest.len());
    }
    if lengths.is_empty() {
        if codings != "chunked" {
            return Err(format!("Transfer-Encoding {codings:?} in an answer"));
        }
        return read_chunks(answer, rest, |line| line);
    }
    read_sized(answer, rest, &lengths)
}

fn read_sized(answer: &mut Answer, rest: &[u8], lengths: &str) -> Result<usize, String> {
    let breach = || format!("Content-Length {lengths:?} in an answer");
    if !lengths.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(breach());
    }
    let length: usize = lengths.parse().map_err(|_| breach())?;
    let taken = length.min(rest.len());
    answer.body = rest[..taken].to_vec();
    answer.complete = taken == length;
    Ok(taken)
}

/// `size_of` finds the digits in a size line; a forgiving reader looks only as far as the extension.
fn read_chunks(answer: &mut Answer, rest: &[u8], size_of: impl Fn(&str) -> &str) -> Result<usize, String> {
    let mut position = 0;
    loop {
        let Some(end) = find(&rest[position..], b"\r\n") else {
            return Ok(rest.len());
        };
        let line = String::from_utf8_lossy(&rest[position..position + end]);
        let digits = size_of(&line);
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(format!("chunk size {digits:?} in an answer"));
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| "chunk size out of range in an answer")?;
        position += end + 2;
        if size == 0 {
            return Ok(read_trailers(answer, rest, position));
        }
        let data_end = position.saturating_add(size).min(rest.len());
        answer.body.extend_from_slice(&rest[position..data_end]);
        match &rest[data_end..] {
            [b'\r', b'\n', ..] => position = data_end + 2,
            [] | [b'\r'] => return Ok(rest.len()),
            _ => return Err("chunk data without CRLF in an answer".to_owned()),
        }
    }
}

/// Trailers are skipped: whether they may pass is a question of the route, not of framing.
fn read_trailers(answer: &mut Answer, rest: &[u8], from: usize) -> usize {
    if rest[from..].starts_with(b"\r\n") {
        answer.complete = true;
        return from + 2;
    }
    match find(&rest[from..], b"\r\n\r\n") {
        Some(end) => {
            answer.complete = true;
            from + end + 4
        }
        None => rest.len(),
    }
}

/// The final answer in an endpoint's script as a forgiving reader takes it: lines may end in LF, chunked wins over a
/// length, interim answers are passed over. `None` when there is none to relay.
pub(crate) fn lenient_answer(script: &[u8], to_head: bool) -> Option<Answer> {
    let mut rest = script;
    loop {
        let (mut answer, body) = lenient_head(rest)?;
        if answer.is_interim() {
            rest = body;
            continue;
        }
        if to_head || matches!(answer.status, 204 | 304) {
            answer.complete = true;
            return Some(answer);
        }
        let coding = answer.header_lines("transfer-encoding").join(",").to_ascii_lowercase();
        let length = answer
            .header_lines("content-length")
            .first()
            .and_then(|value| value.split(',').next())
            .map(|value| value.trim().to_owned());
        if coding == "chunked" {
            read_chunks(&mut answer, body, |line| line.split(';').next().unwrap_or_default()).ok()?;
        } else if let Some(length) = length {
            read_sized(&mut answer, body, &length).ok()?;
        } else {
            answer.body = body.to_vec();
            answer.complete = true;
        }
        return Some(answer);
    }
}

fn lenient_head(bytes: &[u8]) -> Option<(Answer, &[u8])> {
    let mut answer = Answer::default();
    let mut rest = bytes;
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line: String = rest[..end].iter().map(|byte| char::from(*byte)).collect();
        let line = line.trim_end_matches('\r');
        rest = &rest[end + 1..];
        match (answer.status, line.split_once(':')) {
            (0, _) if line.is_empty() => {}
            (0, _) => answer.status = line.split(' ').nth(1)?.parse().ok()?,
            _ if line.is_empty() => return Some((answer, rest)),
            (_, Some((name, value))) => answer.headers.push((name.to_owned(), value.trim().to_owned())),
            (_, None) => {}
        }
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests;
