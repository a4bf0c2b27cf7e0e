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
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{AdminState, find, trouble, unknown};
use crate::admin::change::{self, Object, Refusal, refuse};
use crate::admin::openapi::{ChangeRefusal, Refused};
use crate::admin::wait::{Wait, Waited};
use crate::control_path::release::{Done, Expected, OrderError, RolledBack};

/// What goes with an order.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = Order)]
pub(in crate::admin) struct Body {
    /// Who gives it, as history will say: at most 100 bytes on one line.
    #[schema(max_length = 25, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    by: Option<String>,
    /// Why: at most 1,000 bytes on one line.
    #[schema(max_length = 250, pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$")]
    reason: Option<String>,
    /// Of `set`, and only of that: the share of the users who follow the phases, 0 to 100.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 100, multiple_of = 0.01)]
    percent: Option<Percent>,
    /// Also if it takes users of the canary back to stable, or if the canary's endpoints would get more than any has carried.
    force: bool,
}

/// What an order came to: the release as it is then.
#[derive(Serialize, ToSchema)]
struct Outcome {
    name: String,
    /// False if it was so already.
    changed: bool,
    /// The newest number.
    number: u64,
    /// `running`, `paused`, `rolled_back` or `completed`.
    status: &'static str,
    /// The share of the users who follow the phases.
    percent: f64,
}

/// A rollback that holds in this instance, and nowhere else yet.
#[derive(Serialize, ToSchema)]
struct RolledBackHere {
    rolled_back_here: bool,
    error: String,
}

/// Give an order to a release.
///
/// `If-Match` says which number the release has, so that the order does not undo what somebody else did meanwhile. Only a rollback
/// does not need it.
#[utoipa::path(post, operation_id = "order_release", path = "/api/v1/releases/{release}/{order}", tag = "releases",
    params(
        ("release" = String, Path), ("order" = String, Path, pattern = "^(start|promote|set|pause|resume|rollback|complete)$"), Wait,
        ("if-match" = Option<String>, Header, pattern = r#"^(\*|"[0-9]{1,19}")$"#,
            description = "The number of the release as you know it, as in its `ETag`; `*` is any"),
    ),
    request_body = Body, security((), ("token" = [])),
    responses(
        (status = 200, description = "It is so now", body = Waited<Outcome>),
        (status = 202, description = "Rolled back in this instance only: the store could not be told yet", body = RolledBackHere),
        ChangeRefusal,
        (status = 409, description = "It makes no sense now; or it would take users back, or take in more than there is room for, without `force`", body = Refused),
        (status = 412, description = "Somebody else was faster: the release has another number", body = Refused),
        (status = 428, description = "`If-Match` is missing", body = Refused),
        (status = 503, description = "The store did not take it; nothing has changed", body = Refused),
        (status = 504, description = "Done, but not all instances have applied it in time", body = Waited<Outcome>)))]
pub(in crate::admin) async fn order(
    State(state): State<AdminState>,
    peer: ConnectInfo<SocketAddr>,
    Path((name, order)): Path<(String, String)>,
    wait: Result<Query<Wait>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Json<Object<Body>>, JsonRejection>,
) -> Response {
    let prepared = change::check(&state.shared, peer.ip(), &headers, body)
        .and_then(|body| Ok((wait.map_err(|rejection| (rejection.status(), rejection.body_text()))?.0, body)));
    let (wait, body) = match prepared {
        Ok(prepared) => prepared,
        Err(refusal) => return refuse(refusal),
    };
    let Some(release) = find(&state, &name) else { return unknown(&name) };
    let given = state.clone();
    let order = async move { carry_out(&given, &release, &order, &headers, &body).await };
    let failed = || Err((StatusCode::INTERNAL_SERVER_ERROR, "that went wrong".to_owned()));
    let carried_out = state.shared.releases.to_its_end(order).await.unwrap_or_else(failed);
    match carried_out {
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
    let stored = state.shared.snapshots.load().table.context().records.get(rules.name()).cloned();
    let outcome = match command {
        Command::Rollback => releases.roll_back(rules, stored, (by, reason), expected).await,
        _ => {
            let order = SignedCommand { command, by, reason };
            let done = releases.desk.order(rules, stored.as_deref(), &order, expected, body.force).await;
            done.map(RolledBack::Written)
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
            return (StatusCode::ACCEPTED, Json(RolledBackHere { rolled_back_here: true, error })).into_response();
        }
    };
    state.shared.has_record(name, record.number).await;
    let outcome = Outcome {
        name: name.to_owned(),
        changed: has_changed,
        number: record.number,
        status: record.state.status.as_str(),
        percent: f64::from(record.state.percent.basis_points()) / 100.0,
    };
    // What is not in etcd has no revision, and nobody says when he has it.
    let fleet = state.shared.etcd.as_ref().filter(|_| revision > 0);
    wait.answer(fleet.map(|etcd| (&*etcd.fleet, revision)), outcome).await
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
        OrderError::Refused(_) | OrderError::ThrowsBack { .. } | OrderError::NoRoom(_) | OrderError::Foreign { .. } => {
            StatusCode::CONFLICT
        }
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
