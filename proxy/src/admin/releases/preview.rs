//! Whom another percent or an edit would move: `POST /api/v1/releases/NAME/preview`. It changes nothing.
//!
//! It tells of the users who came lately to this instance, which keeps a sample of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use routing_rules::release::{Assigner, DeviceClass, Forecast, Group, Preview, Refusal as OrderRefusal};
use routing_rules::rules::{Release, Share};
use routing_rules::spec::{Percent, ReleaseSpec};
use routing_rules::table::CompiledRelease;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::view::number;
use super::{AdminState, unknown};
use crate::admin::aside;
use crate::admin::change::{Object, Refusal, read, refuse};
use crate::admin::openapi::{QuestionRefusal, Refused};
use crate::control_path::release::{as_it_would_be, seen, time};
use crate::snapshot::{RecentUser, Snapshot};

/// What would be: at least one of both.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = PreviewQuestion)]
pub(in crate::admin) struct Question {
    /// The share of the users who follow the phases, 0 to 100. Default: the one of now.
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 100, multiple_of = 0.01)]
    percent: Option<Percent>,
    /// The release as it would stand in the rules. Default: as it does.
    #[schema(value_type = Option<Object>)]
    rules: Option<ReleaseSpec>,
}

/// Whom that would move.
#[derive(Serialize, ToSchema)]
#[schema(as = Preview)]
struct View {
    name: String,
    /// The instance whose users these are. Each has its own.
    instance: String,
    /// The share of the users who follow the phases, as it would be.
    percent: f64,
    /// How many users this instance knows: a sample of those who came lately, at most 4,096 for each of its workers.
    users: usize,
    /// When the one of them came who has been away for longest. Null if there is none.
    since: Option<String>,
    /// Why the edit would not be accepted as it is.
    refused: Option<String>,
    /// What becomes of them.
    moves: Moves,
    /// Why all of them would be drawn anew, if they would: then nobody can say who moves.
    redraw: Option<RedrawView>,
    /// The same by the rule that would decide; null: by none, or which one cannot be told.
    rules: Vec<OfRule>,
    /// The same by what they came from.
    devices: Vec<OfDevice>,
    /// Some of those who would move, the last ones who came.
    samples: Vec<Sample>,
}

/// Users by what becomes of them.
#[derive(Clone, Copy, Default, Serialize, ToSchema)]
struct Moves {
    to_canary: usize,
    to_stable: usize,
    stay: usize,
    /// It depends on headers or cookies that nobody remembers, or on chance.
    unknown: usize,
}

/// Users who are drawn anew.
#[derive(Serialize, ToSchema)]
struct RedrawView {
    /// What of the rules does it.
    because: &'static str,
    /// The share of these users who are in the canary group now.
    canary_percent_now: f64,
    /// The share to be expected then. Null if that cannot be told of any of them.
    canary_percent_then: Option<f64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MovesOfRule)]
struct OfRule {
    rule: Option<String>,
    #[serde(flatten)]
    moves: Moves,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MovesOfDevice)]
struct OfDevice {
    device: &'static str,
    #[serde(flatten)]
    moves: Moves,
}

/// A user who would move.
#[derive(Serialize, ToSchema)]
#[schema(as = MovingUser)]
struct Sample {
    client: String,
    device: &'static str,
    /// The rule that would decide.
    rule: Option<String>,
    /// On the line from 0 to 9999.
    bucket: u16,
    /// `canary` or `stable`.
    to: &'static str,
    last_seen: String,
}

/// Say whom another percent, or an edit of the rules, would move.
///
/// Of the users who came lately to this instance, which keeps a sample of them. It changes nothing.
#[utoipa::path(post, operation_id = "preview_release", path = "/api/v1/releases/{release}/preview", tag = "releases",
    params(("release" = String, Path)), request_body = Question,
    responses(
        (status = 200, description = "What would become of them", body = View), QuestionRefusal,
        (status = 404, description = "There is no such release", body = Refused),
        (status = 409, description = "A percent would mean nothing", body = Refused),
        (status = 413, description = "The body has more than 64 KiB", body = Refused),
        (status = 415, description = "The body does not say that it is JSON", body = Refused),
        (status = 422, description = "The body has other fields, or other values, than it may have", body = Refused)))]
pub(in crate::admin) async fn preview(
    State(state): State<AdminState>,
    Path(name): Path<String>,
    question: Result<Json<Object<Question>>, JsonRejection>,
) -> Response {
    let question = match read(question) {
        Ok(question) => question,
        Err(refusal) => return refuse(refusal),
    };
    aside(move || {
        let snapshot = state.shared.snapshots.load_full();
        let id = snapshot.table.release_id(&name);
        let Some((id, release)) = id.and_then(|id| Some((id, snapshot.table.release(id)?))) else {
            return unknown(&name);
        };
        let users = snapshot.traffic.comparison(id).map(|comparison| comparison.recent_users()).unwrap_or_default();
        match then(&snapshot, release, question) {
            Ok((then, percent)) => {
                let geo = snapshot.geo.as_deref();
                let preview = Preview { now: &release.assigner, then: &then, geo };
                let view = View::new(name, state.shared.me.id.clone(), percent, &preview, users);
                Json(View { refused: refused(release, then.rules()), ..view }).into_response()
            }
            Err(refusal) => refuse(refusal),
        }
    })
    .await
}

/// The release as it would be, and the share of those who follow its phases.
fn then(snapshot: &Snapshot, release: &CompiledRelease, question: Question) -> Result<(Assigner, Percent), Refusal> {
    let now = release.assigner.rules();
    let rules = match &question.rules {
        Some(spec) => edited(now, spec)?,
        None if question.percent.is_none() => {
            let reason =
                r#"what is to be looked at? {"percent": 20}, or {"rules": …} with the release as it would be written"#;
            return Err((StatusCode::BAD_REQUEST, reason.to_owned()));
        }
        None => Arc::clone(now),
    };
    if question.percent.is_some() && !rules.audience().iter().any(|rule| rule.share == Share::Phase) {
        return Err((StatusCode::CONFLICT, OrderRefusal::NoPhases.to_string()));
    }
    let (then, state) = as_it_would_be(snapshot, release, &rules, question.percent);
    Ok((then, state.percent))
}

fn edited(now: &Release, spec: &ReleaseSpec) -> Result<Arc<Release>, Refusal> {
    let mut problems = Vec::new();
    Release::new(now.name().as_str(), spec, &mut problems).map(Arc::new).ok_or_else(|| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        (StatusCode::UNPROCESSABLE_ENTITY, problems.join("; "))
    })
}

/// Why the guard would not accept an edit.
fn refused(release: &CompiledRelease, edited: &Release) -> Option<String> {
    Some(release.record.as_ref()?.refuses_edit(edited)?.to_string())
}

impl View {
    fn new(
        name: String,
        instance: String,
        percent: Percent,
        preview: &Preview<'_>,
        mut users: Vec<RecentUser>,
    ) -> Self {
        users.sort_by_key(|user| (std::cmp::Reverse(user.last_seen), user.bucket));
        let told: Vec<(RecentUser, Forecast)> =
            users.into_iter().map(|user| (user, preview.of(&seen(&user)))).collect();
        let redraw = preview.redraw().map(|redraw| RedrawView {
            because: redraw.as_str(),
            canary_percent_now: percent_of(told.iter().map(|(user, _)| f64::from(user.group == Group::Canary))),
            canary_percent_then: Some(percent_of(told.iter().filter_map(|(_, forecast)| Some(share(forecast.share?)))))
                .filter(|_| told.iter().any(|(_, forecast)| forecast.share.is_some())),
        });
        let is_drawn = redraw.is_some();
        let rule = |forecast: &Forecast| {
            forecast.rule.and_then(|place| Some(preview.then.rules().audience().get(place)?.name.to_string()))
        };
        let mut moves = Moves::default();
        let (mut by_rule, mut by_device) = (BTreeMap::new(), BTreeMap::new());
        for (user, forecast) in &told {
            // Those of no rule come last.
            let place = forecast.rule.unwrap_or(usize::MAX);
            let of_rule =
                by_rule.entry(place).or_insert_with(|| OfRule { rule: rule(forecast), moves: Moves::default() });
            let of_device: &mut Moves = by_device.entry(place_of(user.device)).or_default();
            [&mut moves, &mut of_rule.moves, of_device].into_iter().for_each(|it| it.count(forecast, is_drawn));
        }
        let sample = |to: Group| {
            let moving = told.iter().filter(move |(_, forecast)| !is_drawn && forecast.moves_to() == Some(to));
            moving.take(MOST_SAMPLES).map(move |(user, forecast)| Sample {
                client: user.client.to_string(),
                device: user.device.as_str(),
                rule: rule(forecast),
                bucket: user.bucket.line(),
                to: to.as_str(),
                last_seen: time(user.last_seen * 1_000),
            })
        };
        Self {
            name,
            instance,
            percent: number(percent),
            refused: None,
            users: told.len(),
            since: told.iter().map(|(user, _)| user.last_seen).min().map(|secs| time(secs * 1_000)),
            moves,
            redraw,
            rules: by_rule.into_values().collect(),
            devices: by_device
                .into_iter()
                .map(|(place, moves)| OfDevice { device: DeviceClass::ALL[place].as_str(), moves })
                .collect(),
            samples: sample(Group::Stable).chain(sample(Group::Canary)).collect(),
        }
    }
}

impl Moves {
    fn count(&mut self, forecast: &Forecast, is_drawn: bool) {
        let cell = match (forecast.now, forecast.then) {
            _ if is_drawn => &mut self.unknown,
            (Some(Group::Stable), Some(Group::Canary)) => &mut self.to_canary,
            (Some(Group::Canary), Some(Group::Stable)) => &mut self.to_stable,
            (Some(_), Some(_)) => &mut self.stay,
            (None, _) | (_, None) => &mut self.unknown,
        };
        *cell += 1;
    }
}

fn place_of(device: DeviceClass) -> usize {
    DeviceClass::ALL.iter().position(|other| *other == device).unwrap_or(0)
}

/// 0.125 for 12.5 %.
fn share(percent: Percent) -> f64 {
    f64::from(percent.basis_points()) / 10_000.0
}

/// The mean of shares as a percent with two decimals; 0 of nobody.
fn percent_of(shares: impl Iterator<Item = f64>) -> f64 {
    let (count, sum) = shares.fold((0.0_f64, 0.0), |(count, sum), share| (count + 1.0, sum + share));
    (sum / count.max(1.0) * 10_000.0).round() / 100.0
}

/// Users of each kind in an answer.
const MOST_SAMPLES: usize = 5;
