//! Whether a release may go on: one answer for a pipeline, which waits until it is decided.
//!
//! A word is not given before the analysis has seen the release as it is now.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use routing_rules::table::CompiledRelease;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep_until, timeout_at};
use utoipa::{IntoParams, ToSchema};

use super::{find, unknown};
use crate::admin::AdminState;
use crate::admin::change::refuse;
use crate::admin::openapi::{QuestionRefusal, Refused};
use crate::admin::wait::span;
use crate::control_path::release::Judgement;

/// `?wait=60s`
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::admin) struct Patience {
    /// How long to wait until it is decided: a duration such as `30s`, at most `60s`. Default: not at all.
    #[serde(default, deserialize_with = "span")]
    #[param(value_type = Option<String>, pattern = "^([1-5]?[0-9]|60)s$")]
    wait: Duration,
}

/// Whether a release may go on.
#[derive(Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Verdict)]
struct VerdictView {
    release: String,
    /// `promote`, `rolled_back`, `hold`, `observing` or `inconclusive`.
    verdict: &'static str,
    /// Whether it stays so unless somebody changes the release: `promote`, `rolled_back` or `inconclusive`.
    decided: bool,
    /// The same in words.
    reason: String,
    /// `running`, `paused`, `rolled_back` or `completed`. A verdict of `rolled_back` on a release that still runs is for somebody to
    /// carry out.
    status: &'static str,
    /// The share of the users who follow the phases.
    percent: f64,
    /// The number of the release.
    number: u64,
}

/// Ask whether a release may go on, and wait until that is decided.
///
/// `promote`: it is good enough for the next phase, or completed. `rolled_back`: it is rolled back, or worse than it may be.
/// `inconclusive`: the phase has lasted too long to hope for more, or nobody is compared. `hold` and `observing`: ask again.
#[utoipa::path(get, operation_id = "release_verdict", path = "/api/v1/releases/{release}/verdict", tag = "releases",
    params(("release" = String, Path), Patience),
    responses(
        (status = 200, description = "As it is when it is decided, or when the time is over", body = VerdictView), QuestionRefusal,
        (status = 404, description = "There is no such release", body = Refused),
        (status = 409, description = "It is not judged: `analysis.mode` is `off`", body = Refused)))]
pub(in crate::admin) async fn verdict(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    wait: Result<Query<Patience>, QueryRejection>,
) -> Response {
    let deadline = match wait {
        Ok(Query(Patience { wait })) => Instant::now() + wait,
        Err(rejection) => return refuse((rejection.status(), rejection.body_text())),
    };
    let mut swaps = state.shared.swaps.clone();
    loop {
        swaps.mark_unchanged();
        let Some(release) = find(&state, &name) else { return unknown(&name) };
        let Some(view) = view(&state, &release) else {
            let reason = "it is not judged: `analysis.mode` of this release is `off`";
            return refuse((StatusCode::CONFLICT, reason.to_owned()));
        };
        if view.decided || Instant::now() >= deadline {
            return Json(view).into_response();
        }
        // What analyses say, nobody tells.
        let look_again = deadline.min(Instant::now() + LOOK_AGAIN);
        if let Ok(Err(_)) = timeout_at(look_again, swaps.changed()).await {
            sleep_until(look_again).await;
        }
    }
}

fn view(state: &AdminState, release: &CompiledRelease) -> Option<VerdictView> {
    let (rules, record) = (release.assigner.rules(), release.record.as_deref());
    let finding = state.shared.releases.reports.load().get(rules.name()).cloned();
    let Judgement { verdict, is_decided, reason } = Judgement::of(rules, record, finding.as_deref())?;
    let now = record.map_or_else(|| state.shared.snapshots.load().table.context().state(rules), |record| record.state);
    Some(VerdictView {
        release: rules.name().to_string(),
        verdict,
        decided: is_decided,
        reason,
        status: now.status.as_str(),
        percent: f64::from(now.percent.basis_points()) / 100.0,
        number: record.map_or(0, |record| record.number),
    })
}

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
