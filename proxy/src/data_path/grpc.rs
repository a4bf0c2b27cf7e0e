//! gRPC as far as a proxy has to know it: which requests are calls, until when their clients wait, how a call went, and how it
//! is told that it was not served. Messages are never looked at.
//!
//! Invariant: what Serin answers itself is something a client of gRPC understands. Its library would make UNKNOWN of a page.

use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::response::Parts;
use http::{Request, Response, StatusCode, Version};

use super::error::RequestError;
use super::headers::X_REQUEST_ID;
use super::response::ResponseBody;

/// How a call went, as gRPC numbers it: 0 is good.
pub(crate) type Code = u16;

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// Whether these are the fields of a call. That of a browser (`application/grpc-web`) is a request like any other.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    let rest = kind.as_bytes().strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// Whether a request is a call; only HTTP/2 carries them.
pub(crate) fn is_call<B>(request: &Request<B>) -> bool {
    request.version() == Version::HTTP_2 && is_grpc(request.headers())
}

/// How long the client of a call waits, if it says so in a way that can be read: up to eight digits and a unit.
pub(crate) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let (unit, digits) = headers.get(TIMEOUT)?.as_bytes().split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3_600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Says that no more than this is left, where anything is said of it.
pub(crate) fn shorten_timeout(fields: &mut HeaderMap, left: Duration) {
    let Some(timeout) = fields.get_mut(TIMEOUT) else { return };
    let text = match left.as_millis() {
        millis @ ..100_000_000 => format!("{}m", millis.max(1)),
        _ => format!("{}S", left.as_secs().min(99_999_999)),
    };
    *timeout = HeaderValue::try_from(text).expect("digits and a letter");
}

/// What the head of an answer to a call says of how it went.
pub(crate) enum Begun {
    /// It is no answer of gRPC, and goes by its status.
    No,
    /// That follows behind the messages.
    Yes,
    /// It has ended, without a message.
    AndEnded(Code),
}

/// Looks at the head of an answer to a call.
pub(crate) fn begun(head: &Parts) -> Begun {
    match (head.status, head.headers.contains_key(STATUS)) {
        (StatusCode::OK, true) => Begun::AndEnded(code(&head.headers)),
        (StatusCode::OK, false) if is_grpc(&head.headers) => Begun::Yes,
        _ => Begun::No,
    }
}

/// How a call went, as these fields say it. One that does not say it went wrong.
pub(crate) fn code(fields: &HeaderMap) -> Code {
    let text = fields.get(STATUS).and_then(|code| code.to_str().ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN)
}

/// The status of HTTP that a call counts as where statuses are counted: by breakers, by analyses, in metrics. An endpoint
/// fails with UNKNOWN, DEADLINE_EXCEEDED, INTERNAL, UNAVAILABLE and DATA_LOSS; the others blame the call.
pub(crate) fn counts_as(code: Code) -> StatusCode {
    match code {
        0 => StatusCode::OK,
        4 => StatusCode::GATEWAY_TIMEOUT,
        5 | 12 => StatusCode::NOT_FOUND,
        6 | 10 => StatusCode::CONFLICT,
        7 => StatusCode::FORBIDDEN,
        8 => StatusCode::TOO_MANY_REQUESTS,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        16 => StatusCode::UNAUTHORIZED,
        1 | 3 | 9 | 11 => StatusCode::BAD_REQUEST,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// What a call is told that was not served.
pub(crate) fn code_of(error: RequestError) -> Code {
    match error {
        // Nothing of it was sent, so it may be tried again.
        RequestError::ConnectTimeout => UNAVAILABLE,
        RequestError::RouteFull | RequestError::UpstreamFull | RequestError::QueueTimeout => RESOURCE_EXHAUSTED,
        error => code_of_status(error.status()),
    }
}

/// As gRPC maps statuses of HTTP, but for those whose reason is known better here.
fn code_of_status(status: StatusCode) -> Code {
    match status.as_u16() {
        400 | 417 | 414 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 | 405 | 501 => UNIMPLEMENTED,
        408 | 504 => DEADLINE_EXCEEDED,
        413 | 429 | 431 => RESOURCE_EXHAUSTED,
        499 => CANCELLED,
        502 | 503 => UNAVAILABLE,
        _ => UNKNOWN,
    }
}

/// The answer to a call that was not served: a head that is all of it.
pub(crate) fn refusal(error: RequestError, request_id: &HeaderValue) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::text(Bytes::new()));
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    fields.insert(STATUS, code_of(error).into());
    fields.insert(MESSAGE, message(error.reason()));
    fields.insert(X_REQUEST_ID, request_id.clone());
    response
}

/// What is not visible ASCII is percent-encoded, and `%` is.
fn message(text: &str) -> HeaderValue {
    let encoded: String = text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    });
    HeaderValue::try_from(encoded).expect("only visible ASCII is left")
}

/// What nobody says better.
pub(crate) const UNKNOWN: Code = 2;

const CANCELLED: Code = 1;
const DEADLINE_EXCEEDED: Code = 4;
const PERMISSION_DENIED: Code = 7;
const RESOURCE_EXHAUSTED: Code = 8;
const UNIMPLEMENTED: Code = 12;
const INTERNAL: Code = 13;
const UNAVAILABLE: Code = 14;
const UNAUTHENTICATED: Code = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &str) -> HeaderMap {
        let value = HeaderValue::from_str(value).unwrap();
        [(HeaderName::from_static(name), value)].into_iter().collect()
    }

    #[test]
    fn calls_are_known_by_their_type() {
        let is_grpc = |kind: &str| is_grpc(&with("content-type", kind));
        let calls = ["application/grpc", "application/grpc+proto", "application/grpc; x=y", "application/grpc+json;x"];
        assert!(calls.into_iter().all(is_grpc));
        assert!(
            !["application/grpc-web", "application/grpcx", "text/plain", "application/json"].into_iter().any(is_grpc)
        );
    }

    #[test]
    fn a_timeout_is_read_or_it_is_none() {
        let read = |text: &str| timeout(&with("grpc-timeout", text)).map(|timeout| timeout.as_nanos());
        let good = [
            ("1H", 3_600_000_000_000),
            ("2M", 120_000_000_000),
            ("3S", 3_000_000_000),
            ("4m", 4_000_000),
            ("5u", 5_000),
        ];
        good.into_iter().for_each(|(text, nanos)| assert_eq!(read(text), Some(nanos), "{text}"));
        assert_eq!((read("6n"), read("99999999H")), (Some(6), Some(359_999_996_400_000_000_000)));
        for bad in ["", "S", "5", "-5S", "+5S", "1.5S", "123456789S", "5s", "5 S", "0x5S"] {
            assert_eq!(read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_is_left_of_a_timeout_can_be_read() {
        let shortened = |left: Duration| {
            let mut fields = with("grpc-timeout", "99999999H");
            shorten_timeout(&mut fields, left);
            timeout(&fields)
        };
        for left in [Duration::from_millis(1), Duration::from_millis(99_999_999), Duration::from_secs(200_000)] {
            assert_eq!(shortened(left), Some(left));
        }
        assert_eq!(shortened(Duration::ZERO), Some(Duration::from_millis(1)));
        assert_eq!(shortened(Duration::MAX), Some(Duration::from_secs(99_999_999)));
        let mut none = HeaderMap::new();
        shorten_timeout(&mut none, Duration::ZERO);
        assert!(none.is_empty());
    }

    #[test]
    fn what_is_no_number_is_unknown() {
        let read = |text: &str| code(&with("grpc-status", text));
        assert_eq!([read("0"), read("14"), read(""), read("-1"), read("ok")], [0, 14, 2, 2, 2]);
        assert_eq!(code(&HeaderMap::new()), 2);
    }

    #[test]
    fn endpoints_fail_with_five_codes_and_those_nobody_knows() {
        let failing: Vec<Code> = (0..20).filter(|code| counts_as(*code).is_server_error()).collect();
        assert_eq!(failing, [2, 4, 13, 14, 15, 17, 18, 19]);
    }

    #[test]
    fn every_error_has_a_code_that_is_not_good() {
        for error in RequestError::ALL {
            assert!((1..=16).contains(&code_of(error)), "{error:?}");
            let answer = refusal(error, &HeaderValue::from_static("1"));
            assert_eq!(answer.status(), 200);
            assert_eq!(code(answer.headers()), code_of(error));
        }
        assert_eq!(message("100% ä\n"), "100%25 %C3%A4%0A");
    }
}
