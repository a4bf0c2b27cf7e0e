//! Answers as they go over the wire.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::TryStreamExt;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use serde_json::Value;

use crate::read::watch::{Cut, Watch};
use crate::status::Failure;

/// An answer; one of a watch may end in the middle.
pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, Cut>>;

pub(super) fn json(code: StatusCode, value: &Value) -> Answer {
    whole(code, "application/json", value.to_string() + "\n")
}

pub(super) fn text(code: StatusCode, text: &str) -> Answer {
    whole(code, "text/plain; charset=utf-8", text.to_owned())
}

/// What a server says of kinds a group it has does not have.
pub(super) fn unknown_kind() -> Failure {
    Failure::generic(404, "NotFound", "the server could not find the requested resource")
}

/// What a server says of paths nothing is at.
pub(super) fn not_found() -> Answer {
    text(StatusCode::NOT_FOUND, "404 page not found\n")
}

pub(super) fn method_not_allowed() -> Failure {
    Failure::generic(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
}

pub(super) fn failure(failure: &Failure) -> Answer {
    let code = StatusCode::from_u16(failure.code).expect("failures have codes of answers");
    let mut answer = json(code, &failure.to_json());
    if let Some(seconds) = failure.retry_after() {
        answer.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    answer
}

/// Adds what a client should tell its user (RFC 7234 §5.5, as the API uses it).
pub(super) fn with_warnings(mut answer: Answer, warnings: &[String]) -> Answer {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            answer.headers_mut().append(WARNING, value);
        }
    }
    answer
}

pub(super) fn watch(watch: Watch) -> Answer {
    let body = StreamBody::new(watch.lines().map_ok(Frame::data));
    let mut answer = Response::new(BodyExt::boxed_unsync(body));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn whole(code: StatusCode, kind: &'static str, body: String) -> Answer {
    let body = Full::new(Bytes::from(body)).map_err(|never: Infallible| match never {});
    let mut answer = Response::new(body.boxed_unsync());
    *answer.status_mut() = code;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
