//! What every server of HTTP/2 does, paragraph by paragraph of RFC 9113 and RFC 7541, in clear text and over TLS. The cases are data;
//! beside what each of them names, a connection that may live on has to serve another request.

use std::net::SocketAddr;

use crate::support::http2::{
    Frames, GOAWAY, NO_ERROR, PING, PREFACE, SETTINGS, Seen, Stream, field, frame, head, request,
};
use crate::support::{Origin, PATIENCE, Serin};
use crate::tls;

const CASES: &str = include_str!("../data/h2-conformance.tsv");

#[test]
fn every_paragraph_in_clear_text() {
    let origin = origin();
    run_all(Serin::with_endpoint(origin.address()).address());
}

#[test]
fn every_paragraph_over_tls() {
    let origin = origin();
    let serin = tls::in_front_of(origin.address());
    run_all(tls::bridge::speaking(serin.address(), &["h2"]));
}

fn origin() -> Origin {
    Origin::start(|visit| {
        // An answer before the end of its request would end a stream that a case still has something to say of.
        visit.read_body()?;
        visit.answer(200, &[], b"0123456789")
    })
}

fn run_all(address: SocketAddr) {
    let cases: Vec<Case> = CASES.lines().filter(|line| !line.starts_with('#')).map(Case::parse).collect();
    assert!(cases.len() >= 150, "{}", cases.len());
    let failures: Vec<String> = cases.iter().filter_map(|case| case.run(address).err()).collect();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

struct Case {
    id: &'static str,
    steps: Vec<Step>,
    /// Any of these will do, each of which is all of its parts.
    expected: Vec<Vec<Sign>>,
    what: &'static str,
}

enum Step {
    Send(Vec<u8>),
    /// Until a stream is over.
    WaitForEnd(u32),
    /// Until a stream has a head and so much of its body, of which no more may come.
    WaitForJust(u32, usize),
}

/// What can be seen of a case's outcome.
enum Sign {
    Connection(u32),
    Stream(u32, u32),
    Answer(u32, u16),
    Pong(Option<Vec<u8>>),
    Acknowledged(usize),
    Closed,
    Goodbye,
    Nothing,
}

impl Case {
    fn parse(line: &'static str) -> Self {
        let [id, sends, expected, what] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let mut steps = Vec::new();
        let mut frames = sends.split(" | ").filter(|text| !text.is_empty()).peekable();
        match frames.peek() {
            Some(&"HELLO none") => drop(frames.next()),
            _ => steps.push(Step::Send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())),
        }
        steps.extend(frames.map(|text| step(text).unwrap_or_else(|| panic!("{id}: {text}"))));
        let signs = |text: &'static str| {
            let sign = |text| sign(text).unwrap_or_else(|| panic!("{id}: {text}"));
            text.split(" and ").map(sign).collect::<Vec<_>>()
        };
        Self { id, steps, expected: expected.split(" or ").map(|any| signs(any.trim_end_matches('*'))).collect(), what }
    }

    fn run(&self, address: SocketAddr) -> Result<(), String> {
        let mut client = Frames::silent(address).that_keeps_windows();
        for step in &self.steps {
            // What was sent before may have ended the connection.
            match step {
                Step::Send(bytes) => drop(client.try_send(bytes)),
                Step::WaitForEnd(stream) => drop(client.comes(PATIENCE, |seen| is_over(seen, *stream))),
                Step::WaitForJust(stream, count) => {
                    let came = |seen: &Seen| seen.streams.get(stream).map(|it| (it.heads > 0, it.body.len()));
                    client
                        .comes(PATIENCE, |seen| came(seen).is_some_and(|(has_head, body)| has_head && body >= *count));
                    ping(&mut client);
                    let came = came(&client.seen);
                    if came != Some((true, *count)) {
                        return Err(format!("{} ({}): {came:?} in place of {count}", self.id, self.what));
                    }
                }
            }
        }
        let is_quiet = |signs: &Vec<Sign>| signs.iter().all(|sign| matches!(sign, Sign::Nothing));
        let shows = |signs: &Vec<Sign>, seen: &Seen| signs.iter().all(|sign| sign.shows(seen));
        if !self.expected.iter().any(is_quiet) {
            client.comes(PATIENCE, |seen| self.expected.iter().any(|signs| shows(signs, seen)));
        }
        let may_end = |signs: &Vec<Sign>| {
            signs.iter().any(|sign| matches!(sign, Sign::Connection(_) | Sign::Closed | Sign::Goodbye))
        };
        if self.expected.iter().any(|signs| may_end(signs) && shows(signs, &client.seen)) {
            return Ok(());
        }
        // Who says goodbye asks nothing more.
        let has_left = self.steps.iter().any(|step| matches!(step, Step::Send(bytes) if bytes.get(3) == Some(&GOAWAY)));
        match has_left {
            true => ping(&mut client),
            false => {
                let _ = client.try_send(&head(ANOTHER, &request("GET", "/"), true));
                client.comes(PATIENCE, |seen| is_over(seen, ANOTHER));
            }
        }
        if !client.seen.goaways.is_empty() {
            client.comes(PATIENCE, |seen| seen.is_over);
        }
        let lives = has_left || client.stream(ANOTHER).status == Some(200);
        let is_as_expected = lives && self.expected.iter().any(|signs| !may_end(signs) && shows(signs, &client.seen))
            || self.expected.iter().any(|signs| may_end(signs) && shows(signs, &client.seen));
        let Self { id, what, .. } = self;
        if is_as_expected { Ok(()) } else { Err(format!("{id} ({what}): {:?}", client.seen)) }
    }
}

fn is_over(seen: &Seen, stream: u32) -> bool {
    seen.streams.get(&stream).is_some_and(Stream::is_over)
}

/// Waits until all that was sent before has been looked at, unless the connection has ended.
fn ping(client: &mut Frames) {
    let said = b"all read".to_vec();
    let _ = client.try_send(&frame(PING, 0, 0, &said));
    client.comes(PATIENCE, |seen| seen.pongs.contains(&said));
    client.seen.pongs.retain(|pong| *pong != said);
}

impl Sign {
    fn shows(&self, seen: &Seen) -> bool {
        match self {
            Self::Connection(code) => seen.is_over && seen.goaways.iter().any(|(_, said)| said == code),
            Self::Stream(stream, code) => seen.streams.get(stream).is_some_and(|it| it.reset == Some(*code)),
            Self::Answer(stream, status) => {
                seen.streams.get(stream).is_some_and(|it| it.has_ended && it.status == Some(*status))
            }
            Self::Pong(None) => !seen.pongs.is_empty(),
            Self::Pong(Some(said)) => seen.pongs.contains(said),
            Self::Acknowledged(count) => seen.acknowledged >= *count,
            Self::Closed => seen.is_over,
            Self::Goodbye => seen.is_over && seen.goaways.iter().all(|(_, code)| *code == NO_ERROR),
            Self::Nothing => seen.goaways.is_empty() && !seen.is_over,
        }
    }
}

fn sign(text: &str) -> Option<Sign> {
    let mut words = text.split(':');
    let (kind, mut number) = (words.next()?, || words.next());
    Some(match kind {
        "connection" => Sign::Connection(code(number()?)?),
        "stream" => Sign::Stream(number()?.parse().ok()?, code(number()?)?),
        "answer" => Sign::Answer(number()?.parse().ok()?, number()?.parse().ok()?),
        "pong" => Sign::Pong(number().map(hex)),
        "ack" => Sign::Acknowledged(number()?.parse().ok()?),
        "closed" => Sign::Closed,
        "goodbye" => Sign::Goodbye,
        "nothing" => Sign::Nothing,
        _ => return None,
    })
}

fn step(text: &str) -> Option<Step> {
    let mut words = text.split_whitespace();
    match words.next()? {
        "WAIT" => {
            let wanted: Vec<&str> = words.next()?.split(':').collect();
            Some(match wanted[..] {
                [stream] => Step::WaitForEnd(stream.parse().ok()?),
                ["just", stream, count] => Step::WaitForJust(stream.parse().ok()?, count.parse().ok()?),
                _ => return None,
            })
        }
        "RAW" => Some(Step::Send(words.map(bytes).collect::<Option<Vec<_>>>()?.concat())),
        kind => {
            let kind = place(&FRAMES, kind).or_else(|| u8::from_str_radix(kind.strip_prefix("0x")?, 16).ok())?;
            let (stream, flags) = (words.next()?.parse().ok()?, self::flags(words.next()?)?);
            let payload = words.map(bytes).collect::<Option<Vec<_>>>()?.concat();
            Some(Step::Send(frame(kind, flags, stream, &payload)))
        }
    }
}

fn flags(text: &str) -> Option<u8> {
    if text == "-" {
        return Some(0);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return u8::from_str_radix(digits, 16).ok();
    }
    text.split('+').try_fold(0, |flags, name| Some(flags | FLAGS.iter().find(|(known, _)| *known == name)?.1))
}

/// What a word of a payload stands for.
fn bytes(word: &str) -> Option<Vec<u8>> {
    let pseudo = |method| {
        request(method, "/").iter().flat_map(|(name, value)| field(name.as_bytes(), value.as_bytes())).collect()
    };
    if let Some((id, value)) = word.split_once('=').filter(|(id, _)| id.bytes().all(|byte| byte.is_ascii_digit())) {
        let (id, value): (u16, u32) = (id.parse().ok()?, value.parse().ok()?);
        return Some([&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
    }
    let Some((kind, rest)) = word.split_once(':') else {
        return match word {
            "get" => Some(pseudo("GET")),
            "post" => Some(pseudo("POST")),
            "head" => Some(pseudo("HEAD")),
            _ => None,
        };
    };
    Some(match kind {
        "f" => {
            // A pseudo-field's name begins with a colon.
            let (name, value) = rest.split_once('=')?;
            let letters = value.strip_prefix('@').map(|count| count.parse().map(|count| vec![b'x'; count]));
            field(&percent(name)?, &letters.unwrap_or_else(|| Ok(percent(value).unwrap_or_default())).ok()?)
        }
        "u8" => vec![rest.parse().ok()?],
        "u16" => rest.parse::<u16>().ok()?.to_be_bytes().into(),
        "u32" => rest.parse::<u32>().ok()?.to_be_bytes().into(),
        "x" => hex(rest),
        "t" => percent(rest)?,
        "n" => vec![0; rest.parse().ok()?],
        _ => return None,
    })
}

fn percent(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut bytes: Vec<u8> = parts.next()?.into();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    Some(bytes)
}

fn hex(digits: &str) -> Vec<u8> {
    let byte = |place: usize| u8::from_str_radix(&digits[place..place + 2], 16).expect("two hexadecimal digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn code(name: &str) -> Option<u32> {
    place(&CODES, name).map(u32::from)
}

fn place(names: &[&str], name: &str) -> Option<u8> {
    names.iter().position(|known| *known == name).and_then(|place| u8::try_from(place).ok())
}

/// By number (RFC 9113 §6).
const FRAMES: [&str; 10] = [
    "DATA",
    "HEADERS",
    "PRIORITY",
    "RST_STREAM",
    "SETTINGS",
    "PUSH_PROMISE",
    "PING",
    "GOAWAY",
    "WINDOW_UPDATE",
    "CONTINUATION",
];

/// By number (RFC 9113 §7).
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

const FLAGS: [(&str, u8); 5] = [("ES", 1), ("ACK", 1), ("EH", 4), ("PAD", 8), ("PRI", 32)];

/// A stream that no case uses.
const ANOTHER: u32 = 101;
