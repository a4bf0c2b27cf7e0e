//! What the demo looks like: lines of text, made from counts. At most 79 columns on a narrow terminal.

use std::time::Duration;

use super::super::terminal::{Paint, Style};
use super::acts::{ACTS, RULES};
use super::ledger::{ActCounts, ActStage, Ledger, RECENT};

/// One moment.
pub(super) struct Scene {
    pub(super) ledger: Ledger,
    pub(super) elapsed: Duration,
    pub(super) length: Duration,
}

/// How many lines a frame has: one less than the smallest terminal.
pub(super) const LINES: usize = 23;

/// A frame of the live view.
pub(super) fn frame(scene: &Scene, style: &Style) -> Vec<String> {
    let mut lines = vec![title(scene, style), String::new()];
    lines.extend(audience(scene, style));
    lines.push(String::new());
    lines.extend(endpoints(scene, style, Shares::Recent));
    lines.push(String::new());
    lines.extend(acts(scene, style));
    lines.push(String::new());
    lines.push(totals(scene, style));
    lines.push(style.paint(Paint::Dim, " Each step only rewrites serin.yaml; Serin sees it by itself. Ctrl-C ends."));
    debug_assert_eq!(lines.len(), LINES);
    lines
}

/// The one table of `--once`.
pub(super) fn table(scene: &Scene, style: &Style) -> Vec<String> {
    let mut lines = vec![format!(" serin demo: {}", cast(&scene.ledger)), String::new()];
    lines.extend(acts(scene, style));
    lines.push(String::new());
    lines.extend(endpoints(scene, style, Shares::Whole));
    lines.push(String::new());
    lines.push(totals(scene, style));
    lines
}

/// The first lines where nothing can be drawn over.
pub(super) fn opening(scene: &Scene, style: &Style) -> Vec<String> {
    vec![format!(" serin demo: {}", cast(&scene.ledger)), String::new(), acts_head(style)]
}

/// The row of an act that is over.
pub(super) fn act_row(scene: &Scene, index: usize, style: &Style) -> Vec<String> {
    vec![act(index, &scene.ledger.acts[index], &scene.ledger.audience(), style)]
}

/// The last lines where nothing can be drawn over.
pub(super) fn closing(scene: &Scene, style: &Style) -> Vec<String> {
    let mut lines = vec![String::new()];
    lines.extend(endpoints(scene, style, Shares::Whole));
    lines.push(String::new());
    lines.push(totals(scene, style));
    lines
}

/// How it ended.
pub(super) fn verdict(scene: &Scene, is_whole: bool, style: &Style) -> Vec<String> {
    let ledger = &scene.ledger;
    let mut lines: Vec<String> =
        ledger.troubles.iter().map(|trouble| style.paint(Paint::Bad, &format!(" {trouble}"))).collect();
    lines.push(match (ledger.all_is_well(), is_whole) {
        (true, true) => style
            .paint(Paint::Good, " Nobody changed back: users moved in with the percent, and out by the rollback only."),
        (true, false) => " Ended before its time.".into(),
        (false, _) => style.paint(Paint::Bad, " Not as promised."),
    });
    lines
}

fn title(scene: &Scene, style: &Style) -> String {
    let left = format!(" serin demo  {}", cast(&scene.ledger));
    let right = format!("{:.0} of {} s", scene.elapsed.as_secs_f64(), scene.length.as_secs());
    let gap = style.width().saturating_sub(left.len() + right.len() + 1).max(1);
    style.paint(Paint::Bold, &format!("{left}{:gap$}{right}", ""))
}

fn cast(ledger: &Ledger) -> String {
    format!("one proxy, {} endpoints, {} users", ledger.endpoints.len(), ledger.user_count())
}

fn audience(scene: &Scene, style: &Style) -> Vec<String> {
    let ledger = &scene.ledger;
    let head = format!(" {:<47}{:>8}{:>13}", "WHO IS IN THE CANARY", "percent", "users");
    let mut lines = vec![style.paint(Paint::Dim, &head)];
    let users = ledger.audience();
    for (index, rule) in RULES.iter().enumerate() {
        let (inside, all) = (ledger.act().inside[index], users[index]);
        let share = format!("{} %", ledger.shares[index]);
        let text = format!("   {:<16}{:<29}{share:>8}{:>13}  ", rule.name, rule.meaning, format!("{inside} of {all}"));
        let room = style.width().saturating_sub(text.len() + 1);
        lines.push(format!("{text}{}", style.bar(Paint::Canary, inside as f64 / all.max(1) as f64, room)));
    }
    lines
}

/// Of which requests endpoints get a share.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shares {
    Recent,
    Whole,
}

fn endpoints(scene: &Scene, style: &Style, shares: Shares) -> Vec<String> {
    let ledger = &scene.ledger;
    let of_which = match shares {
        Shares::Recent => format!("share of the last {}", grouped(RECENT as u64)),
        Shares::Whole => "share".to_owned(),
    };
    let head = format!(" {:<31}{:>10}{:>10}    {of_which}", "WHERE REQUESTS GO", "requests", "median");
    let mut lines = vec![style.paint(Paint::Dim, &head)];
    let fastest = ledger.endpoints.iter().filter_map(|endpoint| endpoint.median()).min().unwrap_or_default();
    for (index, endpoint) in ledger.endpoints.iter().enumerate() {
        let (group, paint) =
            if endpoint.place.is_canary { ("canary", Paint::Canary) } else { ("stable", Paint::Stable) };
        let share = match shares {
            Shares::Recent => ledger.recent_share(index),
            Shares::Whole => ledger.whole_share(index),
        };
        let median = endpoint.median();
        let latency = median.map_or_else(|| "-".into(), |median| format!("{:.1} ms", median.as_secs_f64() * 1_000.0));
        let latency = match median.is_some_and(|median| median > fastest * 3) {
            true => style.paint(Paint::Bad, &format!("{latency:>10}")),
            false => format!("{latency:>10}"),
        };
        let address = endpoint.place.address.to_string();
        let group = style.paint(paint, &format!("{group:<8}"));
        let requests = grouped(endpoint.requests);
        let percent = format!("{:.1} %", 100.0 * share);
        // What is left beside the other columns, without the last one.
        let bar = style.bar(paint, share, style.width().saturating_sub(65));
        lines.push(format!("   {group}{address:<21}{requests:>10}{latency}   {percent:>7}  {bar}"));
    }
    lines
}

fn acts_head(style: &Style) -> String {
    let head = format!(
        " {:<11}{:>10}{:>16}{:>12}{:>10}{:>11}{:>8}",
        "RELEASE AT", RULES[0].name, RULES[1].name, RULES[2].name, "moved in", "moved out", "reload"
    );
    style.paint(Paint::Dim, &head)
}

fn acts(scene: &Scene, style: &Style) -> Vec<String> {
    let users = scene.ledger.audience();
    let rows = scene.ledger.acts.iter().enumerate().map(|(index, counts)| act(index, counts, &users, style));
    std::iter::once(acts_head(style)).chain(rows).collect()
}

fn mark(stage: ActStage, style: &Style) -> char {
    match (stage, style.has_unicode()) {
        (ActStage::Ahead, _) => ' ',
        (ActStage::Now, true) => '▶',
        (ActStage::Now, false) => '>',
        (ActStage::Over, true) => '✓',
        (ActStage::Over, false) => ' ',
    }
}

fn act(index: usize, counts: &ActCounts, users: &[usize; RULES.len()], style: &Style) -> String {
    let label = format!(" {} {:<9}", mark(counts.stage, style), ACTS[index].label);
    if counts.stage == ActStage::Ahead {
        return style.paint(Paint::Dim, label.trim_end());
    }
    let [office, campus, everyone] = std::array::from_fn(|rule| format!("{} of {}", counts.inside[rule], users[rule]));
    let reload = match counts.reload {
        Some(reload) => format!("{} ms", reload.as_millis()),
        None if index == 0 => "start".into(),
        None => String::new(),
    };
    let row = format!("{label}{office:>10}{campus:>16}{everyone:>12}{:>10}{:>11}{reload:>8}", counts.came, counts.went);
    match counts.stage {
        ActStage::Now => style.paint(Paint::Bold, &row),
        _ => row,
    }
}

fn totals(scene: &Scene, style: &Style) -> String {
    let ledger = &scene.ledger;
    let count = |number: u64, what: &str| {
        let paint = if number == 0 { Paint::Good } else { Paint::Bad };
        style.paint(paint, &format!("{} {what}", grouped(number)))
    };
    let requests = format!("{} requests", grouped(ledger.requests));
    format!(" {requests}, {}, {}", count(ledger.failed, "failed"), count(ledger.changed_back, "users changed back"))
}

/// `12,345`
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::ledger::Place;
    use super::*;

    #[test]
    fn thousands() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn a_frame_fits_into_80_columns_and_24_lines() {
        let places =
            (0..5).map(|index| Place { address: ([127, 0, 0, 1], 60_000 + index).into(), is_canary: index > 2 });
        let mut ledger = Ledger::new(vec![Some(2); 400], places.collect());
        ledger.requests = 1_234_567;
        for act in 0..ACTS.len() {
            ledger.begin(act);
            ledger.in_force(vec!["12.34".into(); RULES.len()], Some(Duration::from_millis(1_234)));
        }
        let scene = Scene { ledger, elapsed: Duration::from_secs(30), length: Duration::from_secs(30) };
        let lines = frame(&scene, &Style::plain());
        assert_eq!(lines.len(), LINES);
        for line in lines {
            assert!(line.chars().count() < 80, "{line}");
        }
    }
}
