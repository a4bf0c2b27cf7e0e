//! A comparison for people.

use std::fmt::{self, Write};

use serde_json::Value;

use super::replay::{Moved, Replay};
use super::{
    BucketRange, Change, Diff, EndpointChange, Extent, FieldChange, Handover, HookChange, HookMove, ObjectChange,
    ReleaseChange, RouteChange, RuleChange, Transition, UpstreamChange,
};

impl fmt::Display for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        section(f, "settings", &self.settings, |f, field| write_field(f, "  ", field))?;
        section(f, "listeners", &self.listeners, write_object)?;
        section(f, "certificates", &self.certificates, write_object)?;
        section(f, "acme_accounts", &self.acme_accounts, write_object)?;
        section(f, "routes", &self.routes, write_route)?;
        write_handovers(f, &self.handovers)?;
        section(f, "upstreams", &self.upstreams, write_upstream)?;
        section(f, "releases", &self.releases, write_release)?;
        if let Some(sample) = &self.sample {
            write!(f, "{sample}")?;
        }
        f.write_str(match (self.is_empty(), self.moves) {
            (true, false) => "Both are the same.",
            (false, false) => "Nothing moves: no request gets another route, upstream, endpoint or group.",
            (_, true) => "Requests move.",
        })
    }
}

fn section<T>(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    entries: &[T],
    write: impl Fn(&mut fmt::Formatter<'_>, &T) -> fmt::Result,
) -> fmt::Result {
    if entries.is_empty() {
        return Ok(());
    }
    writeln!(f, "{title}")?;
    entries.iter().try_for_each(|entry| write(f, entry))?;
    writeln!(f)
}

fn write_object(f: &mut fmt::Formatter<'_>, object: &ObjectChange) -> fmt::Result {
    writeln!(f, "  {} {}", mark(object.change), object.name)?;
    object.fields.iter().try_for_each(|field| write_field(f, "      ", field))
}

fn write_route(f: &mut fmt::Formatter<'_>, route: &RouteChange) -> fmt::Result {
    writeln!(f, "  {} {}", mark(route.change), route.name)?;
    route.fields.iter().try_for_each(|field| write_field(f, "      ", field))?;
    route.releases.iter().try_for_each(|hook| write_hook(f, hook))
}

fn write_hook(f: &mut fmt::Formatter<'_>, hook: &HookChange) -> fmt::Result {
    let word = if hook.change == Change::Added { "is asked now" } else { "is not asked any more" };
    match &*hook.moves {
        [] => writeln!(f, "      release {} {word}: nobody changes the upstream by it", hook.release),
        moves => {
            writeln!(f, "      release {} {word}:", hook.release)?;
            moves.iter().try_for_each(|users| write_hook_move(f, users))
        }
    }
}

/// `everyone: buckets 0-99 (canary): upstream shop-v2 -> upstream shop`
fn write_hook_move(f: &mut fmt::Formatter<'_>, users: &HookMove) -> fmt::Result {
    let who = match (&users.override_, &users.rule) {
        (Some(place), _) => format!("users with an override in {place}"),
        (None, Some(rule)) => format!("{rule}: {}", buckets(&users.buckets).unwrap_or_default()),
        (None, None) => "users whom no rule takes".to_owned(),
    };
    writeln!(f, "        {who} ({}): {} -> {}", users.group, users.from, users.to)
}

fn write_handovers(f: &mut fmt::Formatter<'_>, handovers: &[Handover]) -> fmt::Result {
    let (shown, more) = handovers.split_at(handovers.len().min(SHOWN));
    section(f, "requests", shown, write_handover)?;
    match more.len() {
        0 => Ok(()),
        more => writeln!(f, "  and {more} more; --json has them all\n"),
    }
}

/// `blog -> docs: all requests, for example GET blog.example.com/`
fn write_handover(f: &mut fmt::Formatter<'_>, handover: &Handover) -> fmt::Result {
    let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "no route".to_owned());
    write!(f, "  {} -> {}: ", name(&handover.from), name(&handover.to))?;
    f.write_str(match handover.extent {
        Extent::All => "all requests",
        Extent::Some => "some requests",
        Extent::May => "requests may move, which their patterns do not tell exactly",
    })?;
    match &handover.example {
        Some(example) => writeln!(f, ", for example {example}"),
        None => writeln!(f),
    }
}

fn write_field(f: &mut fmt::Formatter<'_>, indent: &str, field: &FieldChange) -> fmt::Result {
    writeln!(f, "{indent}{}: {} -> {}", field.field, plain(&field.old), plain(&field.new))
}

fn write_upstream(f: &mut fmt::Formatter<'_>, upstream: &UpstreamChange) -> fmt::Result {
    writeln!(f, "  {} {}", mark(upstream.change), upstream.name)?;
    upstream.fields.iter().try_for_each(|field| write_field(f, "      ", field))?;
    upstream.endpoints.iter().try_for_each(|endpoint| write_endpoint(f, endpoint))
}

fn write_endpoint(f: &mut fmt::Formatter<'_>, endpoint: &EndpointChange) -> fmt::Result {
    write!(f, "    {} {}", mark(endpoint.change), endpoint.address)?;
    match (endpoint.old_weight, endpoint.new_weight) {
        (Some(old), Some(new)) => write!(f, ": weight {old} -> {new}")?,
        (Some(weight), None) | (None, Some(weight)) => write!(f, ": weight {weight}")?,
        (None, None) => {}
    }
    writeln!(f, " ({} % -> {} % of the weight)", rounded(endpoint.old_percent), rounded(endpoint.new_percent))
}

fn write_release(f: &mut fmt::Formatter<'_>, release: &ReleaseChange) -> fmt::Result {
    let routes = match &*release.routes {
        [] => "no route uses it".to_owned(),
        routes => format!("on {}", routes.join(", ")),
    };
    writeln!(f, "  {} {} ({routes})", mark(release.change), release.name)?;
    release.fields.iter().try_for_each(|field| write_field(f, "      ", field))?;
    release.audience.iter().try_for_each(|rule| write_rule(f, rule))?;
    if let Some(redraw) = &release.redraw {
        writeln!(f, "      {}: {} -> {}: every user is drawn anew", redraw.because, redraw.old, redraw.new)?;
        if redraw.pins_hold {
            writeln!(f, "      canary users whose browser kept the pin keep their bucket")?;
        }
    }
    for transition in release.transitions.iter().take(SHOWN) {
        write_transition(f, transition, release.redraw.is_some())?;
    }
    match release.transitions.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => writeln!(f, "      and {more} more; --json has them all"),
    }
}

fn write_rule(f: &mut fmt::Formatter<'_>, rule: &RuleChange) -> fmt::Result {
    match rule.change {
        Change::Added => writeln!(f, "      rule \"{}\" is new", rule.name),
        Change::Removed => writeln!(f, "      rule \"{}\" is gone", rule.name),
        Change::Changed => rule.fields.iter().try_for_each(|field| {
            write!(f, "      rule \"{}\" ", rule.name)?;
            write_field(f, "", field)
        }),
    }
}

/// `everyone: 1 % -> 10 %: buckets 100-999 enter the canary; nobody leaves`
fn write_transition(f: &mut fmt::Formatter<'_>, transition: &Transition, redrawn: bool) -> fmt::Result {
    let Transition { old_percent, new_percent, .. } = transition;
    let who = who(transition);
    write!(f, "      {who}: {} % -> {} %: ", rounded(*old_percent), rounded(*new_percent))?;
    if redrawn {
        let moved = transition.enter_percent + transition.leave_percent;
        let [moved, enter, leave] = [moved, transition.enter_percent, transition.leave_percent].map(rounded);
        return writeln!(f, "{moved} % of them change group ({enter} % enter the canary, {leave} % leave)");
    }
    let enter = buckets(&transition.enter);
    let leave = buckets(&transition.leave);
    match (enter, leave) {
        (Some(enter), None) => writeln!(f, "{enter} the canary; nobody leaves", enter = verb(&enter, "enter")),
        (None, Some(leave)) => writeln!(f, "{leave} the canary; nobody enters", leave = verb(&leave, "leave")),
        (Some(enter), Some(leave)) => writeln!(f, "{} the canary; {} it", verb(&enter, "enter"), verb(&leave, "leave")),
        (None, None) => writeln!(f, "nobody enters or leaves"),
    }
}

fn who(transition: &Transition) -> String {
    let name = |rule: &Option<String>| rule.as_ref().map_or_else(|| "no rule".to_owned(), |name| format!("\"{name}\""));
    match (&transition.old_rule, &transition.new_rule) {
        (Some(old), Some(new)) if old == new && transition.same_conditions => old.clone(),
        (None, Some(new)) => format!("{new}, of users whom no rule took"),
        (old, new) => format!("users whom {} took and {} takes now, if any", name(old), name(new)),
    }
}

fn verb(buckets: &str, verb: &str) -> String {
    let ending = if buckets.starts_with("bucket ") { "s" } else { "" };
    format!("{buckets} {verb}{ending}")
}

fn buckets(ranges: &[BucketRange]) -> Option<String> {
    let texts: Vec<String> = ranges.iter().map(ToString::to_string).collect();
    let word = match ranges {
        [] => return None,
        [one] if one.first == one.last => "bucket",
        _ => "buckets",
    };
    Some(format!("{word} {}", texts.join(" and ")))
}

impl fmt::Display for BucketRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "sample")?;
        let Self { requests, unchanged, moved, unknown, .. } = self;
        writeln!(f, "  {requests} requests: {unchanged} stay, {moved} move, {unknown} unknown")?;
        if self.unreadable > 0 {
            writeln!(f, "  not requests of an access log: {} lines", self.unreadable)?;
        }
        if self.log_differs > 0 {
            let requests = self.log_differs;
            writeln!(
                f,
                "  {requests} had another group in the log: the old file is not what was in force (a later phase?)"
            )?;
        }
        if self.enter + self.leave > 0 {
            writeln!(f, "  into the canary: {}, out of it: {}", self.enter, self.leave)?;
        }
        write_moved(f, "route", &self.route)?;
        write_moved(f, "upstream", &self.upstream)?;
        write_moved(f, "group", &self.group)?;
        for (cause, requests) in &self.unknown_because {
            writeln!(f, "  unknown: {requests}, {cause}")?;
        }
        writeln!(f)
    }
}

fn write_moved(f: &mut fmt::Formatter<'_>, what: &str, moved: &Moved) -> fmt::Result {
    if moved.requests == 0 {
        return Ok(());
    }
    writeln!(f, "  another {what}: {}", moved.requests)?;
    for sample in &moved.samples {
        write!(f, "    line {}: {} from {}", sample.line, visible(&sample.request), sample.client)?;
        if let Some(bucket) = sample.bucket {
            write!(f, ", bucket {bucket}")?;
        }
        writeln!(f, ": {} -> {}", sample.old, sample.new)?;
    }
    Ok(())
}

fn mark(change: Change) -> char {
    match change {
        Change::Added => '+',
        Change::Removed => '-',
        Change::Changed => '~',
    }
}

/// As an operator would write it; nothing given is `unset`.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "unset".into(),
        Value::String(text) => visible(text),
        Value::Array(entries) => format!("[{}]", entries.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries: Vec<String> = map
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(key, value)| format!("{}: {}", visible(key), plain(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => other.to_string(),
    }
}

/// Control characters could write into an operator's terminal.
fn visible(text: &str) -> String {
    let mut shown = String::new();
    for letter in text.chars() {
        match letter.is_control() {
            true => drop(write!(shown, "{}", letter.escape_default())),
            false => shown.push(letter),
        }
    }
    shown
}

/// At most four decimals, and no zeros at the end.
fn rounded(number: f64) -> f64 {
    (number * 10_000.0).round() / 10_000.0
}

/// How many transitions of one release are shown, and how many handovers.
const SHOWN: usize = 20;
