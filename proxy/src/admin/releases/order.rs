//! Orders: `POST /api/v1/releases/NAME/ORDER`.

use std::net::SocketAddr;

use axum::Json;
use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::header::IF_MATCH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use routing_rules::release::{Command, SignedCommand};
use routing_rules::spec::Percent;
use routing_rules::table::CompiledRelease;
use serde::Deserialize;
use serde_json::json;

use super::{AdminState, find, trouble, unknown};
use crate::admin::change::{self, Refusal, refuse};
use crate::admin::wait::Wait;
use crate::control_path::release::{Done, Expected, OrderError, RolledBack};

/// What goes with an order.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::admin) struct Body {
    /// Who gives it, as history will say.
    by: Option<String>,
    /// Why.
    reason: Option<String>,
    /// Of `set`: the share of users, 0 to 100.
    percent: Option<Percent>,
    /// Also if it takes users of the canary back to stable.
    force: bool,
}

pub(in crate::admin) async fn order(
    State(state): State<AdminState>,
    peer: ConnectInfo<SocketAddr>,
    Path((name, order)): Path<(String, String)>,
    wait: Result<Query<Wait>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Json<Body>, JsonRejection>,
) -> Response {
    let prepared = change::check(&state.shared, peer.ip(), &headers, body)
        .and_then(|body| Ok((wait.map_err(|rejection| (rejection.status(), rejection.body_text()))?.0, body)));
    let (wait, body) = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => return refuse(refusal),
    };
    let Some(release) = find(&state, &name) else { return unknown(&name) };
    match carry_out(&state, &release, &order, &headers, &body).await {
        Ok(outcome) => answer(&state, &name, &wait, outcome).await,
        Err(refusal) => refuse(refusal),
    }
}

async fn carry_out(
    state: &AdminState,
    release: &CompiledRelease,
    order: &str,
    headers: &HeaderMap,
    body: &Body,
) -> Result<RolledBack, Refusal> {
    let command = command(order, body.percent)?;
    let expected = expected(headers, command, release)?;
    let (by, reason) = (said("by", body.by.as_deref(), MOST_BY)?, said("reason", body.reason.as_deref(), MOST_REASON)?);
    let (rules, releases) = (release.assigner.rules(), &state.shared.releases);
    let outcome = match command {
        Command::Rollback => releases.roll_back(rules, release.record.as_deref(), (by, reason), expected).await,
        _ => {
            let order = SignedCommand { command, by, reason };
            releases.desk.order(rules, &order, expected, body.force).await.map(RolledBack::Written)
        }
    };
    outcome.map_err(|error| refusal(&error))
}

/// The release as it is then. With `wait=applied`, when all instances have it.
async fn answer(state: &AdminState, name: &str, wait: &Wait, outcome: RolledBack) -> Response {
    let Done { record, has_changed, revision } = match outcome {
        RolledBack::Written(done) => done,
        RolledBack::Here(error) => {
            let error = format!("rolled back here; other instances are told as soon as that is possible: {error}");
            return (StatusCode::ACCEPTED, Json(json!({"rolled_back_here": true, "error": error}))).into_response();
        }
    };
    state.shared.has_record(name, record.number).await;
    let body = json!({
        "name": name,
        "changed": has_changed,
        "number": record.number,
        "status": record.state.status.as_str(),
        "percent": f64::from(record.state.percent.basis_points()) / 100.0,
    });
    match &state.shared.etcd {
        // Nothing was written that others could be waited for.
        Some(etcd) => wait.answer(&etcd.fleet, revision, body).await,
        None => Json(body).into_response(),
    }
}

fn command(order: &str, percent: Option<Percent>) -> Result<Command, Refusal> {
    let command = match (order, percent) {
        ("set", Some(percent)) => return Ok(Command::Set(percent)),
        ("set", None) => return Err(bad("`set` needs a percent, as in {\"percent\": 20}")),
        ("start", _) => Command::Start,
        ("promote", _) => Command::Promote,
        ("pause", _) => Command::Pause,
        ("resume", _) => Command::Resume,
        ("rollback", _) => Command::Rollback,
        ("complete", _) => Command::Complete,
        _ => {
            let reason = format!("a release knows no `{}`, but {ORDERS}", order.escape_debug());
            return Err((StatusCode::NOT_FOUND, reason));
        }
    };
    match percent {
        Some(_) => Err(bad("only `set` takes a percent")),
        None => Ok(command),
    }
}

/// What the client takes for the newest number. A rollback needs none: it is right whatever happened meanwhile.
fn expected(headers: &HeaderMap, command: Command, release: &CompiledRelease) -> Result<Expected, Refusal> {
    let number = release.record.as_ref().map_or(0, |record| record.number);
    let Some(value) = headers.get(IF_MATCH) else {
        return match command {
            Command::Rollback => Ok(Expected::Any),
            _ => {
                let reason = format!(
                    "an order needs If-Match with the release's number, so that it does not undo what somebody else did \
                     meanwhile: \"{number}\" is the newest; * is any"
                );
                Err((StatusCode::PRECONDITION_REQUIRED, reason))
            }
        };
    };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(Expected::Any);
    }
    let digits = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    let number = digits.parse().map_err(|_| bad("If-Match is not the number of a release, such as \"7\""))?;
    Ok(Expected::Number(number))
}

/// What people say about an order, which history keeps.
fn said<'b>(field: &str, text: Option<&'b str>, most: usize) -> Result<&'b str, Refusal> {
    let text = text.unwrap_or_default();
    if text.len() > most || text.chars().any(char::is_control) {
        return Err(bad(&format!("{field}: at most {most} bytes on one line")));
    }
    Ok(text)
}

fn refusal(error: &OrderError) -> Refusal {
    let code = match error {
        OrderError::Refused(_) | OrderError::ThrowsBack { .. } => StatusCode::CONFLICT,
        OrderError::Overtaken { .. } => StatusCode::PRECONDITION_FAILED,
        OrderError::Store(error) => return trouble(error),
    };
    (code, error.to_string())
}

fn bad(reason: &str) -> Refusal {
    (StatusCode::BAD_REQUEST, reason.to_owned())
}

const ORDERS: &str = "start, promote, set, pause, resume, rollback, complete";
const MOST_BY: usize = 100;
const MOST_REASON: usize = 1_000;
