//! `?wait=applied`: an answer that comes when all instances have what was written.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::control_path::fleet::{Fleet, Progress};

/// What a change waits for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wait {
    wait: Option<For>,
    /// No longer than this.
    #[serde(default = "usual", deserialize_with = "span")]
    timeout: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum For {
    Applied,
}

impl Wait {
    /// What was written at a revision, and how far the instances are with it.
    pub(super) async fn answer(&self, fleet: &Fleet, revision: i64, mut body: Value) -> Response {
        body["revision"] = revision.into();
        if self.wait.is_none() {
            return Json(body).into_response();
        }
        let progress = fleet.applied(revision, self.timeout).await;
        let is_done = progress.is_done();
        let Progress { applied, waiting } = progress;
        let code = if is_done { StatusCode::OK } else { StatusCode::GATEWAY_TIMEOUT };
        body["applied"] = json!(applied);
        if !is_done {
            body["error"] = "it is written, but not all instances have applied it in time".into();
            body["waiting"] = json!(waiting);
        }
        (code, Json(body)).into_response()
    }
}

fn usual() -> Duration {
    Duration::from_secs(15)
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span =
        humantime::parse_duration(&text).map_err(|error| format!("{text:?} is not a duration such as 10s: {error}"));
    let span = span.and_then(|span| if span <= LONGEST { Ok(span) } else { Err("it is at most 60s".to_owned()) });
    span.map_err(|reason| serde::de::Error::custom(format!("timeout: {reason}")))
}

const LONGEST: Duration = Duration::from_secs(60);
