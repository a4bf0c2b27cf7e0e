//! What a release looks like: lines of text, made from answers.

use std::time::{Duration, SystemTime};

use super::answer::{
    Arm, Change, Entry, FailingUsers, Fleet, Instance, Outcome, Phase, Preflight, Release, Report, Rule, Verdict,
};
use super::shown;
use crate::cli::terminal::{Paint, Style};

/// One line each.
pub(super) fn list(releases: &[Release], style: &Style) -> Vec<String> {
    if releases.is_empty() {
        return vec!["there is no release".to_owned()];
    }
    let width = releases.iter().map(|release| release.name.chars().count()).max().unwrap_or(0).max(RELEASE.len());
    let head = format!("{RELEASE:width$}  {:11}  {:>8}  {:>6}  LAST", "STATUS", "PERCENT", "NUMBER");
    let mut lines = vec![style.paint(Paint::Dim, &head)];
    lines.extend(releases.iter().map(|release| {
        let Release { name, status: word, percent, number, last, .. } = release;
        let percent = match word.as_str() {
            "rolled_back" => "0 %".to_owned(),
            "completed" => "100 %".to_owned(),
            _ => format!("{percent} %"),
        };
        let name = format!("{:width$}", shown(name));
        let status = style.paint(tone(release), &format!("{:11}", shown(word)));
        let last = last.as_ref().map(signed).unwrap_or_default();
        let hold = release.hold.as_deref().map(|hold| format!("  {}", shown(hold))).unwrap_or_default();
        format!("{name}  {status}  {percent:>8}  {number:>6}  {last}{hold}").trim_end().to_owned()
    }));
    lines
}

/// Everything about one. More that is known of its groups belongs between its audience and the instances.
pub(super) fn status(release: &Release, fleet: &Fleet, now: SystemTime, style: &Style) -> Vec<String> {
    let mut lines = vec![title(release, style)];
    lines.extend(row("status", vec![state(release, now, style)]));
    lines.extend(row("phases", phases(release, style)));
    lines.extend(row("last", last(release, now)));
    lines.extend(row("hold", hold(release, style)));
    lines.extend(row("headroom", headroom(release, style)));
    lines.extend(row("audience", audience(release, style)));
    lines.extend(row("compared", compared(release, style)));
    lines.extend(row("analysis", analysis(release, style)));
    lines.extend(row("instances", instances(fleet, style)));
    lines
}

/// An entry of history.
pub(super) fn entry(entry: &Entry) -> String {
    let Entry { number, change: change @ Change { at, action, reason, .. }, status, percent } = entry;
    let (at, action, by) = (shown(at), shown(action), shown(&change.by));
    let stands = stands(&shown(status), &percent.to_string());
    let reason = if reason.is_empty() { String::new() } else { format!(": {}", shown(reason)) };
    format!("{number:>4}  {at}  {action:13}  {stands}  by {by}{reason}")
}

/// What an order came to.
pub(super) fn outcome(outcome: &Outcome) -> String {
    let Outcome { name, changed, number, status, percent, .. } = outcome;
    let already = if *changed { "" } else { "already " };
    let stands = stands(&shown(status), &percent.to_string());
    format!("{} is {already}{stands}, number {number}", shown(name))
}

/// Whether a release may go on.
pub(super) fn verdict(verdict: &Verdict) -> String {
    let Verdict { release, verdict: word, reason, status, percent, number, .. } = verdict;
    let stands = stands(&shown(status), &percent.to_string());
    format!("{}: {}, {stands}, number {number}\n{}", shown(release), shown(word), shown(reason))
}

/// How many instances have applied an order.
pub(super) fn applied(applied: usize, waiting: &[String]) -> String {
    format!("applied by {applied} of {} instances", applied + waiting.len())
}

/// Which have not.
pub(super) fn waiting(waiting: &[String]) -> String {
    match waiting {
        [] => "no instance is there that could apply it".to_owned(),
        _ => format!("not yet applied by {}", names(waiting)),
    }
}

fn title(Release { name, stable, canary, .. }: &Release, style: &Style) -> String {
    let arrow = if style.has_unicode() { "→" } else { "->" };
    let (stable, canary) = (style.paint(Paint::Stable, &shown(stable)), style.paint(Paint::Canary, &shown(canary)));
    format!("{}  {stable} {arrow} {canary}", style.paint(Paint::Bold, &shown(name)))
}

fn state(release: &Release, now: SystemTime, style: &Style) -> String {
    let Release { status, percent, number, since, rolled_back_here, .. } = release;
    let words = stands(&shown(status), &percent.to_string());
    let words = style.paint(tone(release), &words);
    let since = since.as_deref().map(|since| format!(" since {}", ago(since, now))).unwrap_or_default();
    let here = match rolled_back_here {
        true => style.paint(Paint::Bad, "; in this instance only: others are told as soon as that is possible"),
        false => String::new(),
    };
    format!("{words}{since}, number {number}{here}")
}

/// What a status makes of a percent: it counts as long as the release is under way.
fn stands(status: &str, percent: &str) -> String {
    match status {
        "rolled_back" => format!("{status} from {percent} %"),
        "completed" => status.to_owned(),
        _ => format!("{status} at {percent} %"),
    }
}

/// `1 - 10 - [20] - 50 - 100`. A percent between two phases stands between them.
fn phases(release: &Release, style: &Style) -> Vec<String> {
    let Release { percent: now, phases, .. } = release;
    if phases.is_empty() {
        return Vec::new();
    }
    let here = |text: String| style.paint(Paint::Bold, &format!("[{text}]"));
    let mut steps: Vec<(f64, String)> = phases.iter().map(|phase| (phase.percent, step(phase))).collect();
    match steps.iter_mut().find(|(percent, _)| percent == now) {
        Some((_, text)) => *text = here(std::mem::take(text)),
        None => {
            let place = steps.partition_point(|(percent, _)| percent < now);
            steps.insert(place, (*now, here(now.to_string())));
        }
    }
    let line = if style.has_unicode() { " ─ " } else { " - " };
    let bar = steps.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(line);
    let mut lines = vec![bar];
    if let Some(left) = release.next_phase_in_seconds {
        let lasted = span(seconds(release.phase_seconds));
        lines.push(format!("this one has lasted {lasted}; the next begins in {}", span(seconds(left))));
    }
    lines
}

/// A phase that ends by itself says when.
fn step(Phase { percent, lasts_seconds }: &Phase) -> String {
    match lasts_seconds {
        Some(lasts) => format!("{percent} for {}", span(seconds(*lasts))),
        None => percent.to_string(),
    }
}

fn last(release: &Release, now: SystemTime) -> Vec<String> {
    let Some(change) = &release.last else { return vec!["nothing was written down yet".to_owned()] };
    let mut lines = vec![format!("{}, {} ago", signed(change), ago(&change.at, now))];
    if !change.reason.is_empty() {
        lines.push(shown(&change.reason));
    }
    lines
}

fn hold(release: &Release, style: &Style) -> Vec<String> {
    let Some(hold) = release.hold.as_deref() else { return Vec::new() };
    let why = match hold {
        "canary_down" => "the breaker of the canary's upstream is open",
        "canary_absent" => "the canary's upstream has no endpoint that takes requests",
        "headroom" => {
            let why = "headroom: the next phase begins as soon as there is room for its users";
            return vec![style.paint(Paint::Bad, why)];
        }
        other => return vec![style.paint(Paint::Bad, &shown(other))],
    };
    let then = "stable serves the canary's users, and the clock of the phase stands";
    vec![style.paint(Paint::Bad, &format!("{hold}: {why}")), then.to_owned()]
}

/// Where the endpoints have too little room for whoever comes next.
fn headroom(Release { headroom, .. }: &Release, style: &Style) -> Vec<String> {
    let short = headroom.iter().filter(|headroom| !headroom.enough);
    short.map(|headroom| style.paint(Paint::Bad, &shown(&headroom.text))).collect()
}

/// Who has the canary. Where the release has ended nobody is asked.
fn audience(Release { audience: rules, status, stable, canary, .. }: &Release, style: &Style) -> Vec<String> {
    match status.as_str() {
        "rolled_back" => return vec![format!("everybody has {}", style.paint(Paint::Stable, &shown(stable)))],
        "completed" => return vec![format!("everybody has {}", style.paint(Paint::Canary, &shown(canary)))],
        _ => {}
    }
    let width = rules.iter().map(|rule| shown(&rule.name).chars().count()).max().unwrap_or(0);
    let rows = rules.iter().map(|Rule { name, percent, follows_phase, .. }| {
        let bar = style.bar(Paint::Canary, percent / 100.0, BAR);
        let follows = if *follows_phase { "  follows the phases" } else { "" };
        format!("{:width$}  {:>7}  {bar}{follows}", shown(name), format!("{percent} %"))
    });
    rows.collect()
}

/// How the groups of each rule fare, once there is somebody to compare.
fn compared(Release { audience: rules, .. }: &Release, style: &Style) -> Vec<String> {
    let is_seen = |rule: &&Rule| rule.compared.canary.requests > 0;
    let lines = rules.iter().filter(is_seen).flat_map(|Rule { name, compared, .. }| {
        let arm = |paint, group, arm| format!("  {}  {}", style.paint(paint, group), fares(arm));
        let canary = arm(Paint::Canary, "canary", &compared.canary);
        [shown(name), canary, arm(Paint::Stable, "stable", &compared.control)]
    });
    lines.collect()
}

/// `807 requests, 19.83 % failed, half within 0.16 ms, 99 % within 0.55 ms`
fn fares(Arm { requests, failed, p50_ms, p99_ms }: &Arm) -> String {
    let percent = 100.0 * *failed as f64 / (*requests).max(1) as f64;
    let latency = p50_ms.zip(*p99_ms);
    let latency = latency.map(|(p50, p99)| format!(", half within {p50:.3} ms, 99 % within {p99:.3} ms"));
    format!("{requests} requests, {percent:.2} % failed{}", latency.unwrap_or_default())
}

/// What the analysis makes of it: of those who come in first, and of the canary once it has seen anything.
fn analysis(Release { analysis, .. }: &Release, style: &Style) -> Vec<String> {
    if let Some(Preflight { division, text }) = &analysis.preflight {
        let tone = match division.as_str() {
            "even" => Paint::Good,
            "comparing" => Paint::Bold,
            _ => Paint::Bad,
        };
        return vec![format!("{} ({})", style.paint(tone, &shown(division)), shown(&analysis.mode)), shown(text)];
    }
    let is_seen = |report: &&Report| report.metrics.iter().any(|it| it.canary.requests + it.control.requests > 0);
    let Some(report) = analysis.report.as_ref().filter(is_seen) else { return Vec::new() };
    let tone = match report.verdict.as_str() {
        "promote" => Paint::Good,
        "observing" => Paint::Bold,
        _ => Paint::Bad,
    };
    let verdict = style.paint(tone, &shown(&report.verdict));
    let mut lines = vec![
        format!("{verdict} ({}), evidence {:.1} of {:.0}", shown(&analysis.mode), report.evidence, report.threshold),
        shown(&report.text),
    ];
    let FailingUsers { canary, stable } = &analysis.failing_users;
    if canary + stable > 0 {
        lines.push(format!("users with failures, of those who came lately: canary {canary}, stable {stable}"));
    }
    if let Some(part) = report.without_cookie.filter(|part| *part > 0.0) {
        lines.push(format!("{:.1} % of the requests have no cookie that says whose they are", 100.0 * part));
    }
    lines
}

/// How far the fleet is. One that is alone needs no word.
fn instances(fleet: &Fleet, style: &Style) -> Vec<String> {
    let Fleet { instances, heard } = fleet;
    let newest = instances.iter().filter_map(|it| it.applied).max().unwrap_or(0);
    if instances.len() < 2 && *heard {
        return Vec::new();
    }
    let ids = |is: &dyn Fn(&Instance) -> bool| -> Vec<String> {
        instances.iter().filter(|it| is(it)).map(|it| it.id.clone()).collect()
    };
    let behind = ids(&|it| it.applied != Some(newest));
    let not_ready = ids(&|it| it.ready == Some(false));
    let mut lines =
        vec![format!("{} of {} have applied what is newest", instances.len() - behind.len(), instances.len())];
    let mut bad = |text: String| lines.push(style.paint(Paint::Bad, &text));
    if !behind.is_empty() {
        bad(format!("behind: {}", names(&behind)));
    }
    if !not_ready.is_empty() {
        bad(format!("not ready: {}", names(&not_ready)));
    }
    if !heard {
        bad("etcd is not heard: it may be otherwise by now".to_owned());
    }
    lines
}

/// Lines behind a word.
pub(super) fn row(word: &str, lines: Vec<String>) -> impl Iterator<Item = String> {
    let words = std::iter::once(word.to_owned()).chain(std::iter::repeat(String::new()));
    lines.into_iter().zip(words).map(|(line, word)| format!("{word:MARGIN$}{line}")).collect::<Vec<_>>().into_iter()
}

fn signed(Change { action, by, .. }: &Change) -> String {
    format!("{} by {}", shown(action), shown(by))
}

fn names(ids: &[String]) -> String {
    shown(&ids.join(", "))
}

fn tone(Release { status, hold, .. }: &Release) -> Paint {
    match (status.as_str(), hold) {
        (_, Some(_)) | ("rolled_back", _) => Paint::Bad,
        ("paused", _) => Paint::Bold,
        _ => Paint::Good,
    }
}

/// How long ago a time was. What is ahead of this machine's clock is now.
pub(super) fn ago(time: &str, now: SystemTime) -> String {
    match humantime::parse_rfc3339(time) {
        Ok(time) => span(now.duration_since(time).unwrap_or_default()),
        Err(_) => shown(time),
    }
}

/// The two largest parts: `2h 5m`.
fn span(span: Duration) -> String {
    let whole = humantime::format_duration(Duration::from_secs(span.as_secs())).to_string();
    whole.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

/// Whatever a server says is a duration.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

const RELEASE: &str = "RELEASE";
const MARGIN: usize = 11;
const BAR: usize = 20;

#[cfg(test)]
mod tests;
