//! `?wait=applied`: an answer that comes when all instances have what was written.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::control_path::fleet::{Fleet, Progress};

/// What a change waits for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wait {
    /// `applied`: answer when all instances have applied it, or when the time is over.
    #[param(inline)]
    wait: Option<For>,
    /// No longer than this: a duration such as `10s`, at most `60s`. Default: `15s`.
    #[serde(default = "usual", deserialize_with = "span")]
    #[param(value_type = Option<String>, pattern = "^([1-5]?[0-9]|60)s$")]
    timeout: Duration,
}

/// What was done, and how far the instances of the fleet are with it.
#[derive(Serialize, ToSchema)]
pub(super) struct Waited<T> {
    #[serde(flatten)]
    done: T,
    /// The revision of etcd that has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<i64>,
    /// The instances that have applied it, if it was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<Vec<String>>,
    /// Those that have not.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum For {
    Applied,
}

impl Wait {
    /// What was done, written at a revision, and how far the instances are with it. One that is alone waits for nobody.
    pub(super) async fn answer<T: Serialize>(&self, fleet: Option<(&Fleet, i64)>, done: T) -> Response {
        let revision = fleet.map(|(_, revision)| revision);
        let mut answer = Waited { done, revision, applied: None, waiting: None, error: None };
        let Some((fleet, revision)) = fleet.filter(|_| self.wait.is_some()) else {
            return Json(answer).into_response();
        };
        let progress = fleet.applied(revision, self.timeout).await;
        let is_done = progress.is_done();
        let Progress { applied, waiting } = progress;
        answer.applied = Some(applied);
        if is_done {
            return Json(answer).into_response();
        }
        answer.waiting = Some(waiting);
        answer.error = Some("it is written, but not all instances have applied it in time");
        (StatusCode::GATEWAY_TIMEOUT, Json(answer)).into_response()
    }
}

fn usual() -> Duration {
    Duration::from_secs(15)
}

/// A duration that somebody waits.
pub(super) fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span =
        humantime::parse_duration(&text).map_err(|error| format!("{text:?} is not a duration such as 10s: {error}"));
    let span = span.and_then(|span| if span <= LONGEST { Ok(span) } else { Err("it is at most 60s".to_owned()) });
    span.map_err(serde::de::Error::custom)
}

const LONGEST: Duration = Duration::from_secs(60);
