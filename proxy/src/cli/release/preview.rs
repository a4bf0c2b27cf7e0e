//! Whom another percent, or an edit, would move: what is asked, and what it looks like.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use serin_proxy::control_path::decode::Problem;
use serin_proxy::control_path::release::written;

use super::answer;
use super::args::PreviewArgs;
use super::text::{ago, row};
use super::{json_text, path, shown, style};
use crate::cli::api::{Api, Trouble};
use crate::cli::say;
use crate::cli::terminal::{Paint, Style};

/// What the API says.
#[derive(Clone, Debug, Deserialize)]
struct Preview {
    name: String,
    instance: String,
    percent: f64,
    users: usize,
    since: Option<String>,
    refused: Option<String>,
    moves: Moves,
    redraw: Option<Redraw>,
    rules: Vec<OfRule>,
    devices: Vec<OfDevice>,
    samples: Vec<Sample>,
}

/// Users by what becomes of them.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Moves {
    to_canary: usize,
    to_stable: usize,
    stay: usize,
    unknown: usize,
}

#[derive(Clone, Debug, Deserialize)]
struct Redraw {
    because: String,
    canary_percent_now: f64,
    canary_percent_then: Option<f64>,
}

#[derive(Clone, Debug, Deserialize)]
struct OfRule {
    rule: Option<String>,
    #[serde(flatten)]
    moves: Moves,
}

#[derive(Clone, Debug, Deserialize)]
struct OfDevice {
    device: String,
    #[serde(flatten)]
    moves: Moves,
}

#[derive(Clone, Debug, Deserialize)]
struct Sample {
    client: String,
    device: String,
    rule: Option<String>,
    bucket: u16,
    to: String,
}

/// Asks, and says what the answer is.
pub(super) async fn preview(api: &Api, args: &PreviewArgs, json: bool) -> Result<ExitCode, Trouble> {
    let mut question = json!({});
    if let Some(percent) = args.percent {
        question["percent"] = percent.into();
    }
    if let Some(file) = &args.file {
        question["rules"] = edited(file, &args.name)?;
    }
    let answer = api.post(&path(&args.name, "/preview"), None, &question, Duration::ZERO).await?;
    if answer.status != StatusCode::OK {
        return Err(answer.trouble());
    }
    match json {
        true => say(json_text(&answer.body)),
        false => lines(&answer::read(answer.body)?, SystemTime::now(), &style()).into_iter().for_each(say),
    }
    Ok(ExitCode::SUCCESS)
}

/// The release as a file has it.
fn edited(file: &Path, name: &str) -> Result<Value, Trouble> {
    let source: Arc<str> = file.display().to_string().into();
    let bytes = std::fs::read(file).map_err(|error| Trouble::Usage(format!("{source}: {error}")))?;
    let all = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let spec = written(&source, &bytes, name).map_err(|problems| Trouble::Usage(all(problems)))?;
    serde_json::to_value(spec).map_err(|error| Trouble::Usage(format!("{source}: {error}")))
}

fn lines(preview: &Preview, now: SystemTime, style: &Style) -> Vec<String> {
    let Preview { name, instance, percent, users, since, .. } = preview;
    let mut lines = vec![format!("{} at {percent} %", style.paint(Paint::Bold, &shown(name)))];
    let refused = preview.refused.iter().map(|reason| style.paint(Paint::Bad, &shown(reason)));
    lines.extend(row("refused", refused.collect()));
    let Some(since) = since else {
        lines.extend(row("users", vec![format!("none has come to instance {} lately", shown(instance))]));
        return lines;
    };
    let since = ago(since, now);
    let known =
        format!("{users} who came to instance {} within {since}: a sample, others have others", shown(instance));
    lines.extend(row("users", vec![known]));
    match &preview.redraw {
        Some(redraw) => lines.extend(row("moves", drawn(redraw, style))),
        None => {
            lines.extend(row("moves", vec![moves(&preview.moves, style)]));
            lines.extend(row("rules", parts(preview.rules.iter().map(|of| (rule(of.rule.as_deref()), of.moves)))));
            lines.extend(row("devices", parts(preview.devices.iter().map(|of| (shown(&of.device), of.moves)))));
            lines.extend(row("such as", preview.samples.iter().map(sample).collect()));
        }
    }
    lines
}

/// Nobody can say who moves.
fn drawn(Redraw { because, canary_percent_now, canary_percent_then }: &Redraw, style: &Style) -> Vec<String> {
    let then = canary_percent_then.map_or_else(|| "a share that is not known".to_owned(), |then| format!("{then} %"));
    vec![
        style.paint(Paint::Bad, &format!("everybody may move: {} draws all users anew", shown(because))),
        format!("{canary_percent_now} % of them are in the canary group now, and {then} are to be expected then"),
    ]
}

/// `78 to the canary (18.9 %), 0 back to stable, 330 stay, 4 cannot be told`
fn moves(moves: &Moves, style: &Style) -> String {
    let Moves { to_canary, to_stable, stay, unknown } = *moves;
    let all = to_canary + to_stable + stay + unknown;
    let percent = |count: usize| match count {
        0 => String::new(),
        _ => format!(" ({:.1} %)", 100.0 * count as f64 / all as f64),
    };
    let canary = style.paint(Paint::Canary, &format!("{to_canary} to the canary{}", percent(to_canary)));
    let tone = if to_stable > 0 { Paint::Bad } else { Paint::Stable };
    let stable = style.paint(tone, &format!("{to_stable} back to stable{}", percent(to_stable)));
    let unknown = if unknown > 0 { format!(", {unknown} cannot be told") } else { String::new() };
    format!("{canary}, {stable}, {stay} stay{unknown}")
}

/// The same of each part.
fn parts(all: impl Iterator<Item = (String, Moves)>) -> Vec<String> {
    let all: Vec<(String, Moves)> = all.collect();
    let width = all.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    all.iter().map(|(name, of)| format!("{name:width$}  {}", moves(of, &Style::plain()))).collect()
}

fn rule(name: Option<&str>) -> String {
    name.map_or_else(|| "(no rule)".to_owned(), shown)
}

fn sample(Sample { client, device, rule: name, bucket, to }: &Sample) -> String {
    let [client, device, to] = [client, device, to].map(|text| shown(text));
    format!("{client}  {device}  {}  bucket {bucket}  to {to}", rule(name.as_deref()))
}
