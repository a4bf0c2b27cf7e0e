//! The case tables: one case a line, columns apart by tabs, `#` starts a comment line.
//!
//! The shape of the third column says what a line is: `c`, `k` or `H` an endpoint case, a list an HTTP/2 case, anything
//! else a request case. Columns behind the description are optional: assertions (apart by ` ; `), and for an endpoint
//! case the client's request. A line that cannot be read is a panic that names it: a lost case would pass in silence.

use super::literal::Literals;
use crate::support::witness::After;

/// Everything one table holds.
#[derive(Debug, Default)]
pub(crate) struct CaseSet {
    pub(crate) requests: Vec<RequestCase>,
    pub(crate) endpoints: Vec<EndpointCase>,
    pub(crate) http_two: Vec<HttpTwoCase>,
}

/// What a client sends, and what must come of it.
#[derive(Clone, Debug)]
pub(crate) struct RequestCase {
    pub(crate) id: String,
    pub(crate) expect: Expect,
    pub(crate) bytes: Vec<u8>,
    pub(crate) text: String,
    pub(crate) assertions: Vec<Assertion>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expect {
    Reject,
    Serve,
    Either,
}

/// What an endpoint answers, and what the client may see of it.
#[derive(Clone, Debug)]
pub(crate) struct EndpointCase {
    pub(crate) id: String,
    pub(crate) outcomes: Vec<EndpointOutcome>,
    pub(crate) after: After,
    pub(crate) to_head: bool,
    pub(crate) bytes: Vec<u8>,
    pub(crate) late: Option<Vec<u8>>,
    pub(crate) text: String,
    pub(crate) assertions: Vec<Assertion>,
    /// The client's request; a plain GET or HEAD of the scripted path when absent.
    pub(crate) request: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EndpointOutcome {
    /// 502.
    BadGateway,
    /// The endpoint's final answer arrives whole.
    Pass,
    /// The client can tell that the answer was cut.
    Truncated,
    /// 101, and then the endpoint's bytes.
    Tunnel,
}

/// An HTTP/2 request: pseudo-fields and fields, and the data if any. A field `#trailers` holds `name=value` of a trailer.
#[derive(Clone, Debug)]
pub(crate) struct HttpTwoCase {
    pub(crate) id: String,
    pub(crate) expect: Expect,
    pub(crate) text: String,
    pub(crate) assertions: Vec<Assertion>,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) data: Option<Vec<u8>>,
}

/// One fact a case demands beyond its expectation. Facts about the forwarded request hold only if it was served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Assertion {
    /// `status=400|431`: the status the client gets.
    Status(Vec<u16>),
    /// `target=/b`: what the endpoint sees as target of the first request.
    Target(String),
    /// `header name=value`: the endpoint sees exactly one such line, with this value.
    Header(String, String),
    /// `never name=value`: the endpoint sees no such line with this value.
    Never(String, String),
    /// `absent name`: the endpoint sees no such line.
    Absent(String),
    /// `body=text`: what the endpoint sees as body.
    Body(Vec<u8>),
    /// `requests=2`: how many requests reach the endpoint.
    Requests(usize),
    /// `closed`: the connection does not live on.
    Closed,
    /// `interim=100`: the client sees this interim answer.
    Interim(u16),
    /// `no interim`: the client sees none.
    NoInterim,
    /// `answer name=value`: the client sees exactly one such line, with this value.
    AnswerHeader(String, String),
    /// `answer absent name`: the client sees no such line.
    AnswerAbsent(String),
    /// `answer lines name=2`: how many such lines the client sees.
    AnswerLines(String, usize),
}

/// Reads a table.
pub(crate) fn load(table: &str) -> CaseSet {
    let mut cases = CaseSet::default();
    for (number, line) in table.lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Err(reason) = add(&mut cases, line) {
            panic!("case table, line {}: {reason}: {line}", number + 1);
        }
    }
    cases
}

fn add(cases: &mut CaseSet, line: &str) -> Result<(), String> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [id, expect, third, ..] = columns.as_slice() else {
        return Err("fewer than three columns".to_owned());
    };
    let column = |at: usize| columns.get(at).copied().unwrap_or_default();
    let id = (*id).to_owned();
    if matches!(*third, "c" | "k" | "H") {
        let (bytes, late) = split_late(Literals::bytes_to_end(column(3))?);
        cases.endpoints.push(EndpointCase {
            id,
            outcomes: expect.split('/').map(endpoint_outcome).collect::<Result<_, _>>()?,
            after: if *third == "c" { After::Close } else { After::Keep },
            to_head: *third == "H",
            bytes,
            late,
            text: column(4).to_owned(),
            assertions: assertions(column(5))?,
            request: (columns.len() > 6).then(|| Literals::bytes_to_end(column(6))).transpose()?,
        });
    } else if third.starts_with('[') {
        cases.http_two.push(HttpTwoCase {
            id,
            expect: expectation(expect)?,
            text: column(4).to_owned(),
            assertions: assertions(column(5))?,
            fields: field_list(third)?,
            data: optional_bytes(column(3))?,
        });
    } else {
        cases.requests.push(RequestCase {
            id,
            expect: expectation(expect)?,
            bytes: Literals::bytes_to_end(third)?,
            text: column(3).to_owned(),
            assertions: assertions(column(4))?,
        });
    }
    Ok(())
}

fn expectation(text: &str) -> Result<Expect, String> {
    match text {
        "R" => Ok(Expect::Reject),
        "N" => Ok(Expect::Serve),
        "RN" => Ok(Expect::Either),
        _ => Err(format!("unknown expectation {text}")),
    }
}

fn endpoint_outcome(text: &str) -> Result<EndpointOutcome, String> {
    match text {
        "502" => Ok(EndpointOutcome::BadGateway),
        "PASS" => Ok(EndpointOutcome::Pass),
        "TRUNC" => Ok(EndpointOutcome::Truncated),
        "TUNNEL" => Ok(EndpointOutcome::Tunnel),
        _ => Err(format!("unknown expectation {text}")),
    }
}

fn split_late(bytes: Vec<u8>) -> (Vec<u8>, Option<Vec<u8>>) {
    match bytes.windows(LATE.len()).position(|window| window == LATE) {
        Some(at) => (bytes[..at].to_vec(), Some(bytes[at + LATE.len()..].to_vec())),
        None => (bytes, None),
    }
}

/// What follows is sent a moment later.
const LATE: &[u8] = b"|LATE|";

fn field_list(text: &str) -> Result<Vec<(String, String)>, String> {
    let mut literals = Literals::new(text);
    let mut fields = Vec::new();
    literals.take("[");
    while literals.take("(") {
        let name = literals.text()?;
        let parted = literals.take(",");
        let value = literals.text()?;
        if !parted || !literals.take(")") {
            return Err("not a pair".to_owned());
        }
        fields.push((name, value));
        literals.take(",");
    }
    if !literals.take("]") {
        return Err("list does not end".to_owned());
    }
    literals.end().map(|()| fields)
}

fn optional_bytes(text: &str) -> Result<Option<Vec<u8>>, String> {
    if text == "None" { Ok(None) } else { Literals::bytes_to_end(text).map(Some) }
}

fn assertions(text: &str) -> Result<Vec<Assertion>, String> {
    text.split(" ; ").map(str::trim).filter(|part| !part.is_empty()).map(assertion).collect()
}

fn assertion(text: &str) -> Result<Assertion, String> {
    let (subject, value) = text.split_once('=').unwrap_or((text, ""));
    let number = || value.parse::<u16>().map_err(|_| format!("not a number in {text}"));
    let words: Vec<&str> = subject.split(' ').collect();
    Ok(match words.as_slice() {
        ["status"] => Assertion::Status(statuses(value)?),
        ["target"] => Assertion::Target(value.to_owned()),
        ["header", name] => Assertion::Header((*name).to_owned(), value.to_owned()),
        ["never", name] => Assertion::Never((*name).to_owned(), value.to_owned()),
        ["absent", name] => Assertion::Absent((*name).to_owned()),
        ["body"] => Assertion::Body(value.as_bytes().to_vec()),
        ["requests"] => Assertion::Requests(number()?.into()),
        ["closed"] => Assertion::Closed,
        ["interim"] => Assertion::Interim(number()?),
        ["no", "interim"] => Assertion::NoInterim,
        ["answer", "absent", name] => Assertion::AnswerAbsent((*name).to_owned()),
        ["answer", "lines", name] => Assertion::AnswerLines((*name).to_owned(), number()?.into()),
        ["answer", name] => Assertion::AnswerHeader((*name).to_owned(), value.to_owned()),
        _ => return Err(format!("unknown assertion {text:?}")),
    })
}

fn statuses(text: &str) -> Result<Vec<u16>, String> {
    text.split('|').map(|part| part.parse().map_err(|_| format!("not a status: {part:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_shapes_of_line() {
        let cases = load(concat!(
            "# comment\n",
            "A\tR\tb'x'*2\ttext\tstatus=400|431 ; target=/b=c ; closed\n",
            "E\t502/PASS\tH\tb'a|LATE|b'\ttext\n",
            "F\tRN\t[(':path', '/p'), ('x', 'a\\r\\n')]\tNone\ttext\n",
        ));
        let request = &cases.requests[0];
        assert_eq!(
            (request.expect, request.bytes.as_slice(), request.text.as_str()),
            (Expect::Reject, b"xx".as_slice(), "text")
        );
        let expected = [Assertion::Status(vec![400, 431]), Assertion::Target("/b=c".to_owned()), Assertion::Closed];
        assert_eq!(request.assertions, expected);
        let endpoint = &cases.endpoints[0];
        assert_eq!(endpoint.outcomes, [EndpointOutcome::BadGateway, EndpointOutcome::Pass]);
        assert_eq!((endpoint.bytes.as_slice(), endpoint.late.as_deref()), (b"a".as_slice(), Some(b"b".as_slice())));
        assert!(endpoint.to_head && endpoint.after == After::Keep && endpoint.request.is_none());
        let http_two = &cases.http_two[0];
        assert_eq!(http_two.fields[1], ("x".to_owned(), "a\r\n".to_owned()));
        assert_eq!((http_two.id.as_str(), &http_two.data), ("F", &None));
    }

    #[test]
    fn assertions_read_back() {
        assert_eq!(assertion("header x-a=b c"), Ok(Assertion::Header("x-a".to_owned(), "b c".to_owned())));
        assert_eq!(assertion("answer lines set-cookie=2"), Ok(Assertion::AnswerLines("set-cookie".to_owned(), 2)));
        assert_eq!(assertion("answer x=1"), Ok(Assertion::AnswerHeader("x".to_owned(), "1".to_owned())));
        assert!(assertion("headers x").is_err());
    }

    #[test]
    #[should_panic(expected = "line 2")]
    fn an_unreadable_line_is_named() {
        load("# fine\nA\tMAYBE\tb''\ttext");
    }
}
