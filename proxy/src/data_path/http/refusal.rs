//! Answers to heads that never became a request: not HTTP, too large, or too slow. They get what every other error
//! gets: the short body with the request id, a line in the log, the counters.
//!
//! hyper would answer what it cannot parse by itself, with neither; [`super::ClientIo`] keeps those bytes back. They
//! come only when every answer before them has left, so the order of answers stays.

use std::rc::Rc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use tokio::io::AsyncWriteExt;

use super::{ClientStream, ConnectionState, Phase};
use crate::data_path::error::RequestError;
use crate::snapshot::Ended;
use crate::telemetry::access_log::{Outcome, Record};
use crate::worker::Worker;

/// What is wrong with a head for which hyper meant to answer this, or nothing.
pub(super) fn unreadable(status: Option<StatusCode>) -> RequestError {
    match status {
        Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE) => RequestError::HeadTooLarge,
        Some(StatusCode::URI_TOO_LONG) => RequestError::TargetTooLong,
        _ => RequestError::Malformed("invalid request head"),
    }
}

/// Answers, counts and logs. Whether the answer could be written, because then the client should get to read it.
pub(super) async fn refuse(
    worker: &Rc<Worker>,
    state: &ConnectionState,
    stream: &mut ClientStream,
    error: RequestError,
) -> bool {
    let request_id = worker.next_request_id();
    let answer = error.bytes(&request_id, SystemTime::now());
    let began_ms = if state.phase() == Phase::Head { state.since_ms() } else { worker.clock.now_ms() };
    let duration_us = worker.clock.now_ms().saturating_sub(began_ms) * 1_000;
    worker.counters.request_began();
    worker.counters.request_ended(Ended::new(error.status(), duration_us), Some(error), 0, 0);
    worker.log.write(
        &Record::without_head(&worker.log, state.peer()),
        &Outcome {
            grpc_status: None,
            request_id: &request_id,
            status: error.status(),
            error: Some(error),
            duration_us,
            head_time_us: None,
            request_bytes: 0,
            response_bytes: 0,
            retries: 0,
        },
    );
    // A client that still has earlier answers to read gets a moment for it; one that reads nothing is left.
    let written = async {
        stream.write_all(&answer).await?;
        stream.flush().await
    };
    matches!(tokio::time::timeout(PATIENCE, written).await, Ok(Ok(())))
}

/// How long the socket may take to have room for the answer.
const PATIENCE: Duration = Duration::from_secs(2);
