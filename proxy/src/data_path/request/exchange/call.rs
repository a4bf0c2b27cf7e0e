//! A call of gRPC under way: its answer says with its last fields how it went, and counts by that.
//!
//! How long the endpoint took is known with the head; whether it failed is not. One whose client leaves in between has
//! been answered well so far.

use std::cell::Cell;

use http::response::Parts;
use http::{HeaderMap, StatusCode};

use super::Exchange;
use crate::data_path::error::RequestError;
use crate::data_path::grpc::{self, Begun, Code};
use crate::moment;

/// What is particular about a call.
#[derive(Default)]
pub(super) struct Call {
    /// It has been answered, and is yet to say how it went.
    is_open: Cell<bool>,
    code: Cell<Option<Code>>,
}

impl Exchange {
    /// Whether it is a call of gRPC.
    pub(crate) fn is_call(&self) -> bool {
        self.call.is_some()
    }

    /// Its endpoint speaks HTTP/2, as calls need.
    pub(crate) fn goes_to_http2(&self) {
        if self.is_call() {
            self.timing.becomes_call();
        }
    }

    /// It is about to be sent. Its endpoint is to know how long the client still waits.
    pub(crate) fn shorten_deadline(&self, fields: &mut HeaderMap) {
        if let Some(left) = self.timing.deadline_left(self.now_ms()) {
            grpc::shorten_timeout(fields, left);
        }
    }

    /// The endpoint answered with a valid head; that of a call may say less than others do.
    pub(crate) fn endpoint_began(&self, head: &Parts) {
        let Some(call) = &self.call else { return self.endpoint_answered(head.status) };
        match grpc::begun(head) {
            Begun::No => self.endpoint_answered(head.status),
            Begun::AndEnded(code) => self.judge_call(call, code),
            Begun::Yes => {
                call.is_open.set(true);
                self.head_time_us.set(self.with_attempt(|attempt| attempt.began(moment::now_us())).flatten());
            }
        }
    }

    /// The answer has come whole, with these fields behind it if there are any.
    pub(crate) fn call_ended(&self, trailers: Option<&HeaderMap>) {
        if let Some(call) = self.call.as_ref().filter(|call| call.is_open.take()) {
            self.judge_call(call, trailers.map_or(grpc::UNKNOWN, grpc::code));
        }
    }

    /// It will not be known how the call went.
    pub(super) fn call_is_left(&self) {
        if self.call.as_ref().is_some_and(|call| call.is_open.take()) {
            self.endpoint_answered(StatusCode::OK);
        }
    }

    fn judge_call(&self, call: &Call, code: Code) {
        call.code.set(Some(code));
        self.endpoint_answered(grpc::counts_as(code));
    }

    /// How the call went, for the client: as the endpoint said, or we did instead.
    pub(super) fn grpc_code(&self) -> Option<Code> {
        let call = self.call.as_ref()?;
        call.code.get().or_else(|| self.error.get().map(grpc::code_of))
    }

    /// The status as which the request counts: that of its answer, or what a call's code or error stands for.
    pub(super) fn counted_status(&self, status: StatusCode) -> StatusCode {
        match &self.call {
            Some(call) if status == StatusCode::OK => {
                let of_code = call.code.get().map(grpc::counts_as);
                of_code.or_else(|| self.error.get().map(RequestError::status)).unwrap_or(status)
            }
            _ => status,
        }
    }
}
