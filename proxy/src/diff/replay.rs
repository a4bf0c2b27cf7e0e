//! Recorded requests, decided by both sides.
//!
//! An access log has most of what a request showed: client, method, host, target, user agent, and the bucket. It does
//! not have the other header fields and cookies. Wherever one of those could decide, the request counts as unknown,
//! with the cause: what is counted as moved or as staying is certain for a log that the old rules have written.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead};
use std::net::IpAddr;
use std::time::SystemTime;

use http::header::{HOST, HeaderName, HeaderValue, USER_AGENT};
use http::request::Parts;
use http::{Method, Request};
use routing_rules::release::{Assigner, Assignment, Bucket, Group, KnownUser, Moment};
use routing_rules::request::RequestView;
use routing_rules::rules::{Conditions, KeySource, Release, Route, Target};
use routing_rules::spec::RouteSpec;
use routing_rules::table::RouteMatch;
use serde::{Deserialize, Serialize};

use super::Version;
use crate::data_path::decide;
use crate::data_path::request::Head;
use crate::snapshot::Snapshot;

/// What recorded requests say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replay {
    /// Lines that are requests, and were decided by both sides.
    pub requests: u64,
    /// Lines that are not, or that neither side could have served.
    pub unreadable: u64,
    /// Requests for which nothing changes.
    pub unchanged: u64,
    /// Requests for which something changes.
    pub moved: u64,
    /// Requests of which the log does not say enough.
    pub unknown: u64,
    /// Requests that had another group in the log than the old rules give them. A release that has gone on from its
    /// first phase since the file was written does this: then the log knows more than the old file.
    pub log_differs: u64,
    /// Requests that enter the canary group.
    pub enter: u64,
    /// Requests that leave the canary group.
    pub leave: u64,
    /// Requests that get another route.
    pub route: Moved,
    /// Requests that get another upstream.
    pub upstream: Moved,
    /// Requests that get another group or release.
    pub group: Moved,
    /// How many requests are unknown for which cause.
    pub unknown_because: BTreeMap<String, u64>,
}

/// Requests that change in one respect.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Moved {
    /// How many.
    pub requests: u64,
    /// The first of them.
    pub samples: Vec<Sample>,
}

/// One request that changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sample {
    /// Its line in the log, counted from 1.
    pub line: u64,
    /// The client's address.
    pub client: IpAddr,
    /// The request, for example `GET shop.example.com/cart`.
    pub request: String,
    /// The user's bucket, if the log has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u16>,
    /// What it was.
    pub old: String,
    /// What it is.
    pub new: String,
}

/// What a replay needs of a line. Fields that are not named here may come and go.
#[derive(Deserialize)]
struct LogLine {
    client: IpAddr,
    method: String,
    host: String,
    target: String,
    #[serde(default)]
    listener: Option<String>,
    #[serde(default)]
    route: Option<String>,
    #[serde(default)]
    release: Option<String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    rule: Option<String>,
    #[serde(default)]
    bucket: Option<u16>,
    #[serde(default)]
    user_agent: Option<String>,
}

/// Replays a log.
///
/// # Errors
/// It cannot be read.
pub fn replay(old: &Version, new: &Version, log: &mut dyn BufRead) -> io::Result<Replay> {
    let replayer = Replayer::new(old, new);
    let mut result = Replay::default();
    let mut text = Vec::new();
    for number in 1.. {
        text.clear();
        if log.read_until(b'\n', &mut text)? == 0 {
            break;
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let line = serde_json::from_slice::<LogLine>(&text).ok();
        match line.and_then(|line| replayer.compare(&line).map(|compared| (line, compared))) {
            None => result.unreadable += 1,
            Some((line, compared)) => result.count(number, &line, compared),
        }
    }
    Ok(result)
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq)]
struct Fate {
    route: Option<String>,
    /// `Err`: the log does not say enough.
    place: Result<Place, Cause>,
}

/// What follows from a route.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    upstream: String,
    release: Option<(String, Group)>,
}

/// Why a fate is unknown, in words.
type Cause = String;

/// A line, decided by both sides.
enum Compared {
    Fates(Fates),
    Unknown(Cause),
}

#[derive(Clone, PartialEq)]
struct Fates {
    old: Fate,
    new: Fate,
    /// Whether both sides have the same route and releases: then nothing moves, also where the log does not say
    /// what decided.
    is_same: bool,
}

struct Replayer<'v> {
    old: Side<'v>,
    new: Side<'v>,
    /// Names of listeners, or one that no route asks for.
    listeners: BTreeSet<String>,
    /// Routes that are the same on both sides, together with their releases.
    same_routes: BTreeSet<String>,
}

/// One of the two versions.
#[derive(Clone, Copy)]
struct Side<'v> {
    version: &'v Version,
    /// Whether the log was written by these rules, as far as can be said.
    wrote_the_log: bool,
}

impl<'v> Replayer<'v> {
    fn new(old: &'v Version, new: &'v Version) -> Self {
        let specs = [old.spec(), new.spec()];
        let asks = |spec: &&routing_rules::spec::Spec| spec.routes.values().any(|route| !route.listeners.is_empty());
        let listeners = match specs.iter().any(asks) {
            true => specs.iter().flat_map(|spec| spec.listeners.keys().cloned()).collect(),
            false => BTreeSet::from([String::new()]),
        };
        let same_routes = specs[0].routes.iter().filter(|(name, route)| {
            specs[1].routes.get(*name) == Some(*route)
                && route.release.iter().all(|name| specs[0].releases.get(name) == specs[1].releases.get(name))
        });
        Self {
            old: Side { version: old, wrote_the_log: true },
            new: Side { version: new, wrote_the_log: false },
            listeners,
            same_routes: same_routes.map(|(name, _)| name.clone()).collect(),
        }
    }

    /// `None` if the line is not a request that could exist.
    fn compare(&self, line: &LogLine) -> Option<Compared> {
        let parts = line.parts()?;
        let head = Head::check(&parts).ok()?;
        let all: Vec<Fates> = match &line.listener {
            Some(listener) => vec![self.decide(line, &parts, &head, listener)],
            None => self.listeners.iter().map(|listener| self.decide(line, &parts, &head, listener)).collect(),
        };
        // A line names its route: listeners through which the old rules choose another one are out of the question.
        let fitting: Vec<&Fates> = all.iter().filter(|fates| fates.old.route == line.route).collect();
        let considered = if fitting.is_empty() { all.iter().collect() } else { fitting };
        let fates = *considered.first()?;
        if considered.iter().any(|other| *other != fates) {
            return Some(Compared::Unknown("the log does not say which listener the request came through".into()));
        }
        Some(match self.doubt_of_template(&head, fates).or_else(|| self.doubt_of_route(line, &head, fates)) {
            Some(cause) => Compared::Unknown(cause),
            None => Compared::Fates(fates.clone()),
        })
    }

    fn decide(&self, line: &LogLine, parts: &Parts, head: &Head<'_>, listener: &str) -> Fates {
        let [(old_route, old), (new_route, new)] = [self.old, self.new].map(|side| {
            let snapshot = side.version.snapshot();
            let view = view(line, parts, head, listener, snapshot);
            let found = decide::find(snapshot, &view);
            let place = match found {
                Some(found) => self.place(side, &found, line, &view),
                None => Ok(Place { upstream: "404 no route".into(), release: None }),
            };
            (found.map(|found| found.route().name().to_string()), place)
        });
        let is_same = old_route == new_route && old_route.as_ref().is_some_and(|name| self.same_routes.contains(name));
        Fates { old: Fate { route: old_route, place: old }, new: Fate { route: new_route, place: new }, is_same }
    }

    /// What templates make of branches that are registered is in no file.
    fn doubt_of_template(&self, head: &Head<'_>, fates: &Fates) -> Option<Cause> {
        let templates = [self.old, self.new].map(|side| {
            let (spec, rules) = (side.version.spec(), side.version.snapshot().table.rules());
            let named = rules.route_templates().filter(|template| template.may_have(head.host.name()));
            let of = |route: &RouteSpec| Some((route.clone(), spec.upstreams.get(route.upstream.as_deref()?).cloned()));
            named.filter_map(|template| of(spec.routes.get(template.name().as_str())?)).collect::<Vec<(_, _)>>()
        });
        let [old, new] = &templates;
        let is_none = old.is_empty() && new.is_empty();
        let is_same = old == new && fates.old == fates.new;
        (!is_none && !is_same).then(|| "the host may be that of an environment, which no file has".to_owned())
    }

    /// A route that asks for a header which is not in the log may have been chosen, or may be now.
    fn doubt_of_route(&self, line: &LogLine, head: &Head<'_>, fates: &Fates) -> Option<Cause> {
        let specs = [self.old, self.new].map(|side| (side.version.spec(), side.version.snapshot().table.rules()));
        for (spec, rules) in specs {
            for route in rules.routes() {
                let name = route.name().as_str();
                let Some(header) = spec.routes.get(name).and_then(unlogged_header) else { continue };
                let is_decided = self.same_routes.contains(name) && line.route.as_deref() != Some(name);
                let was_found = [&fates.old, &fates.new].iter().all(|fate| fate.route.as_deref() == Some(name));
                if could_take(route, &spec.routes[name], head, &line.method) && !is_decided && !was_found {
                    return Some(format!("route `{name}` asks for header `{header}`, which the log does not have"));
                }
            }
        }
        None
    }

    /// As a request is placed, with what the log says in the place of what it does not have.
    fn place(
        &self,
        side: Side<'_>,
        found: &RouteMatch<'_>,
        line: &LogLine,
        view: &RequestView<'_>,
    ) -> Result<Place, Cause> {
        let snapshot = side.version.snapshot();
        let name_of = |id| snapshot.upstream(id).map(|upstream| upstream.name().to_string()).unwrap_or_default();
        let mut first = None;
        for id in found.route().releases() {
            let Some(release) = snapshot.table.release(*id) else { continue };
            let name = release.assigner.rules().name().to_string();
            match self.group(side, &release.assigner, line, view)? {
                Group::Canary => {
                    let release_and_group = Some((name, Group::Canary));
                    return Ok(Place { upstream: name_of(release.canary), release: release_and_group });
                }
                Group::Stable => drop(first.get_or_insert((release.stable, name))),
            }
        }
        Ok(match first {
            Some((stable, name)) => Place { upstream: name_of(stable), release: Some((name, Group::Stable)) },
            None => Place { upstream: target_text(found.route().rules().target()), release: None },
        })
    }

    fn group(
        &self,
        side: Side<'_>,
        assigner: &Assigner,
        line: &LogLine,
        view: &RequestView<'_>,
    ) -> Result<Group, Cause> {
        let rules = assigner.rules();
        let name = rules.name().as_str();
        let other = self.other_release(side, name);
        let is_logged = line.release.as_deref() == Some(name);
        let reason = line.reason.as_deref().filter(|_| is_logged);
        if reason == Some("override") {
            let is_same = other.is_some_and(|other| other.override_source() == rules.override_source());
            let group = line.group.as_deref().and_then(|group| group.parse().ok());
            return group.filter(|_| is_same).ok_or_else(|| format!("release `{name}` has another override"));
        }
        let user = is_logged.then(|| self.known_bucket(side, rules, line)).flatten();
        let assignments = self.assignments(assigner, user, reason, line, view);
        let Some(first) = assignments.first() else { return Err(format!("release `{name}`: no decision")) };
        if assignments.iter().any(|assignment| assignment.group != first.group) {
            return Err(format!("the log does not have the sticky key of release `{name}`"));
        }
        let decided = first.rule.and_then(|rule| place_of(rules, rule));
        let asked = decided.map_or(rules.audience(), |decided| &rules.audience()[..=decided]);
        if asked.iter().any(|rule| asks_unlogged(&rule.conditions)) && reason != Some("pin") {
            return self
                .by_logged_rule(assigner, other, user, line)
                .ok_or_else(|| format!("release `{name}` asks for headers or cookies, which the log does not have"));
        }
        if side.wrote_the_log && reason == Some("rule") && first.rule != line.rule.as_deref() {
            return Err(format!("release `{name}` was decided by a rule that the old rules would not choose"));
        }
        Ok(first.group)
    }

    /// All the decisions that are possible with what is known about the user.
    fn assignments<'a>(
        &self,
        assigner: &'a Assigner,
        user: Option<Bucket>,
        reason: Option<&str>,
        line: &'a LogLine,
        view: &RequestView<'_>,
    ) -> Vec<Assignment<'a>> {
        let rules = assigner.rules();
        let sticky = rules.sticky();
        if let Some(bucket) = user {
            let pinned_by = line.rule.as_deref().filter(|_| reason == Some("pin") && sticky.pin);
            return vec![assigner.assign_known(&KnownUser { bucket, pinned_by }, view)];
        }
        let has_no_key = reason == Some("no_key") && !sticky.key.contains(&KeySource::ClientIp);
        if sticky.key.first() == Some(&KeySource::ClientIp) || has_no_key {
            return vec![assigner.assign(view, &now())];
        }
        // Any bucket: where both ends of the line are in the same group, all are.
        let ends = [0, 9_999].into_iter().filter_map(Bucket::from_line);
        ends.map(|bucket| assigner.assign_known(&KnownUser { bucket, pinned_by: None }, view)).collect()
    }

    /// The bucket in the log, as long as it is still the user's: same salt, and the same key unless a pin carries it.
    fn known_bucket(&self, side: Side<'_>, rules: &Release, line: &LogLine) -> Option<Bucket> {
        let bucket = Bucket::from_line(line.bucket?)?;
        if side.wrote_the_log {
            return Some(bucket);
        }
        let before = self.other_release(side, rules.name().as_str())?;
        let (before, after) = (before.sticky(), rules.sticky());
        let is_pinned = line.reason.as_deref() == Some("pin");
        let holds = if is_pinned { after.pin } else { before.key == after.key };
        (before.salt == after.salt && holds).then_some(bucket)
    }

    /// The log says which rule decided. If the conditions are the same on both sides, the same one decides now.
    fn by_logged_rule(
        &self,
        assigner: &Assigner,
        other: Option<&Release>,
        user: Option<Bucket>,
        line: &LogLine,
    ) -> Option<Group> {
        let rules = assigner.rules();
        let conditions = |rules: &'_ Release| -> Vec<Conditions> {
            rules.audience().iter().map(|rule| rule.conditions.clone()).collect()
        };
        if conditions(other?) != conditions(rules) || line.release.as_deref() != Some(rules.name().as_str()) {
            return None;
        }
        if line.reason.as_deref() == Some("no_rule") {
            return Some(Group::Stable);
        }
        // The name may have changed; the place tells which rule it was.
        let wrote = self.old.version.snapshot().table.rules().releases().find(|old| old.name() == rules.name())?;
        let share = assigner.share(place_of(wrote, line.rule.as_deref()?)?);
        let is_in = user?.in_share(share, rules.sticky().range);
        Some(if is_in { Group::Canary } else { Group::Stable })
    }

    /// The release of the same name on the other side.
    fn other_release(&self, side: Side<'_>, name: &str) -> Option<&Release> {
        let other = if side.wrote_the_log { self.new } else { self.old };
        let rules = other.version.snapshot().table.rules();
        rules.releases().find(|release| release.name().as_str() == name).map(|release| &**release)
    }
}

impl LogLine {
    /// The head as far as the log has it.
    fn parts(&self) -> Option<Parts> {
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(self.method.as_bytes()).ok()?;
        *request.uri_mut() = self.target.parse().ok()?;
        request.headers_mut().insert(HOST, HeaderValue::from_str(&self.host).ok()?);
        if let Some(agent) = self.user_agent.as_ref().and_then(|agent| HeaderValue::from_str(agent).ok()) {
            request.headers_mut().insert(USER_AGENT, agent);
        }
        Some(request.into_parts().0)
    }
}

fn view<'a>(
    line: &LogLine,
    parts: &'a Parts,
    head: &'a Head<'_>,
    listener: &'a str,
    snapshot: &'a Snapshot,
) -> RequestView<'a> {
    RequestView {
        method: &parts.method,
        host: head.host.name(),
        path: &head.path,
        query: head.query.as_deref(),
        headers: &parts.headers,
        client: line.client.to_canonical(),
        listener,
        geo: snapshot.geo.as_deref(),
    }
}

/// A header that a route asks for and that access logs do not have.
fn unlogged_header(route: &RouteSpec) -> Option<&str> {
    route.headers.keys().map(String::as_str).find(|name| !is_logged(name))
}

fn is_logged(header: &str) -> bool {
    HeaderName::from_bytes(header.as_bytes()).is_ok_and(|name| name == HOST || name == USER_AGENT)
}

fn asks_unlogged(conditions: &Conditions) -> bool {
    !conditions.cookie.is_empty() || conditions.header.iter().any(|condition| !is_logged(condition.name.as_str()))
}

/// Whether a route would take a request if its other conditions held.
fn could_take(route: &Route, spec: &RouteSpec, head: &Head<'_>, method: &str) -> bool {
    (route.hosts().is_empty() || route.hosts().iter().any(|pattern| pattern.matches(head.host.name())))
        && (route.paths().is_empty() || route.paths().iter().any(|pattern| pattern.matches(&head.path)))
        && (spec.methods.is_empty() || spec.methods.iter().any(|allowed| allowed == method))
}

fn place_of(rules: &Release, name: &str) -> Option<usize> {
    rules.audience().iter().position(|rule| *rule.name == *name)
}

fn target_text(target: &Target) -> String {
    match target {
        Target::Upstream(name) => name.to_string(),
        Target::Redirect(redirect) => format!("{} redirect", redirect.status.as_u16()),
        Target::Split(parts) => {
            let parts: Vec<String> = parts.iter().map(|part| format!("{} {}", part.upstream, part.weight)).collect();
            format!("split {}", parts.join(", "))
        }
    }
}

fn now() -> Moment {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment { unix_secs: now.as_secs(), draw: [crate::random::seed(), crate::random::seed()] }
}

impl Replay {
    fn count(&mut self, number: u64, line: &LogLine, compared: Compared) {
        self.requests += 1;
        let Fates { old, new, is_same } = match compared {
            Compared::Fates(fates) => fates,
            Compared::Unknown(cause) => return self.count_unknown(cause),
        };
        let sample = |old: String, new: String| Sample {
            line: number,
            client: line.client,
            request: format!("{} {}{}", line.method, line.host, line.target),
            bucket: line.bucket,
            old,
            new,
        };
        let route_text = |fate: &Fate| fate.route.clone().unwrap_or_else(|| "no route".into());
        let logged_group = line.group.as_deref().and_then(|group| group.parse::<Group>().ok());
        let decided = old.place.as_ref().ok().and_then(|place| place.release.as_ref());
        let differs = decided
            .zip(logged_group)
            .is_some_and(|((release, group), logged)| line.release.as_deref() == Some(release) && *group != logged);
        self.log_differs += u64::from(differs);
        let mut moved = old.route != new.route;
        if moved {
            self.route.count(|| sample(route_text(&old), route_text(&new)));
        }
        match (&old.place, &new.place) {
            (Ok(before), Ok(after)) => {
                if before.upstream != after.upstream {
                    moved = true;
                    self.upstream.count(|| sample(before.upstream.clone(), after.upstream.clone()));
                }
                if before.release != after.release {
                    moved = true;
                    self.group.count(|| sample(before.group_text(), after.group_text()));
                    self.enter += u64::from(!before.is_canary() && after.is_canary());
                    self.leave += u64::from(before.is_canary() && !after.is_canary());
                }
            }
            (_, Err(cause)) | (Err(cause), _) if !moved && !is_same => return self.count_unknown(cause.clone()),
            _ => {}
        }
        self.moved += u64::from(moved);
        self.unchanged += u64::from(!moved);
    }

    fn count_unknown(&mut self, cause: Cause) {
        self.unknown += 1;
        *self.unknown_because.entry(cause).or_default() += 1;
    }
}

impl Place {
    fn is_canary(&self) -> bool {
        self.release.as_ref().is_some_and(|(_, group)| *group == Group::Canary)
    }

    fn group_text(&self) -> String {
        match &self.release {
            Some((release, group)) => format!("{release} {group}"),
            None => "no release".into(),
        }
    }
}

impl Moved {
    fn count(&mut self, sample: impl FnOnce() -> Sample) {
        self.requests += 1;
        if self.samples.len() < SAMPLES {
            self.samples.push(sample());
        }
    }
}

/// How many of the requests that change in one respect are shown.
const SAMPLES: usize = 10;
