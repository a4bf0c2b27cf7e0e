//! Random audiences, and users who meet them. Few values, so that conditions overlap in every way.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{COOKIE, HeaderValue, USER_AGENT};
use http::{HeaderMap, Method};
use routing_rules::release::{Assigner, Assignment, DeviceClass, Group, Moment, ReleaseState, Secret, Status};
use routing_rules::request::RequestView;
use routing_rules::rules::Release;
use routing_rules::spec::{
    AudienceRuleSpec, KeySourceSpec, OverrideSpec, Percent, PercentSpec, ReleaseSpec, StickyRangeSpec, TextMatchSpec,
};

/// Numbers that look random, the same each time.
pub(crate) struct Draw(pub(crate) u64);

impl Draw {
    /// A number below this one.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }

    pub(crate) fn one_in(&mut self, end: usize) -> bool {
        self.below(end) == 0
    }

    fn of<'l, T>(&mut self, list: &'l [T]) -> &'l T {
        &list[self.below(list.len())]
    }
}

/// A user with a browser: what it sends, and the cookie that keeps its pin.
pub(crate) struct User {
    pub(crate) client: IpAddr,
    pub(crate) headers: HeaderMap,
    cookies: Vec<String>,
}

impl User {
    pub(crate) fn draw(draw: &mut Draw) -> Self {
        let mut user = Self { client: IpAddr::from([10, 8, 0, 1]), headers: HeaderMap::new(), cookies: Vec::new() };
        let name = format!("user-{}", draw.below(10_000));
        user.headers.insert("x-user", HeaderValue::try_from(name).expect("a header"));
        user.cookies.push(format!("uid=person-{}", draw.below(10_000)));
        let agent = draw.of(&["Mozilla/5.0 (iPhone)", "Mozilla/5.0 (Windows)"]);
        user.headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if draw.one_in(2) {
            user.cookies.push("lab=on".into());
        }
        user.tell();
        user.moves(draw);
        user
    }

    /// The same person in another place, with another plan.
    pub(crate) fn moves(&mut self, draw: &mut Draw) {
        self.client = draw.of(&["10.8.0.1", "10.9.0.1", "192.0.2.1", "2001:db8::1"]).parse().expect("an address");
        match draw.of(&["", "beta", "basic"]) {
            &"" => drop(self.headers.remove("x-plan")),
            plan => drop(self.headers.insert("x-plan", HeaderValue::from_static(plan))),
        }
    }

    fn tell(&mut self) {
        let cookies = HeaderValue::try_from(self.cookies.join("; ")).expect("a header");
        self.headers.insert(COOKIE, cookies);
    }

    pub(crate) fn view(&self) -> RequestView<'_> {
        RequestView::new(&Method::GET, "shop.test", "/", &self.headers, self.client)
    }

    pub(crate) fn device(&self) -> DeviceClass {
        DeviceClass::of(&self.headers)
    }

    pub(crate) fn assignment<'a>(&self, assigner: &'a Assigner) -> Assignment<'a> {
        assigner.assign(&self.view(), &NOW)
    }

    /// One request, after which the browser has the cookies it was given.
    pub(crate) fn visits(&mut self, assigner: &Assigner) -> Group {
        let assignment = self.assignment(assigner);
        let group = assignment.group;
        let given: Vec<String> =
            assignment.cookies(false).map(|cookie| cookie.to_str().expect("text").to_owned()).collect();
        for cookie in given {
            let pair = cookie.split(';').next().expect("a cookie").to_owned();
            let name = pair.split('=').next().expect("a name").to_owned();
            self.cookies.retain(|kept| !kept.starts_with(&format!("{name}=")));
            self.cookies.push(pair);
        }
        self.tell();
        group
    }
}

/// A release as somebody may have written it.
pub(crate) fn draw_release(draw: &mut Draw) -> ReleaseSpec {
    let mut spec: ReleaseSpec =
        serde_json::from_str(r#"{"stable": "a", "canary": "b", "audience": [], "phases": [10, 50, 100]}"#)
            .expect("a release");
    spec.sticky.key = vec![KeySourceSpec::Header("x-user".into())];
    spec.sticky.pin = Some(!draw.one_in(3));
    let names = ["office", "phones", "beta", "everyone"];
    let count = 1 + draw.below(names.len());
    spec.audience = names.iter().take(count).map(|name| draw_rule(name, draw)).collect();
    if draw.one_in(2) {
        spec.audience.push(AudienceRuleSpec { name: "rest".into(), percent: draw_percent(draw), ..Default::default() });
    }
    spec
}

fn draw_rule(name: &str, draw: &mut Draw) -> AudienceRuleSpec {
    let mut rule = AudienceRuleSpec { name: name.into(), percent: draw_percent(draw), ..Default::default() };
    if draw.one_in(2) {
        rule.ip = draw_ip(draw);
    }
    if draw.one_in(3) {
        rule.device = vec![(*draw.of(&["iphone", "windows"])).into()];
    }
    if draw.one_in(3) {
        rule.header.insert("x-plan".into(), draw_text(draw));
    }
    if draw.one_in(4) {
        rule.cookie.insert("lab".into(), TextMatchSpec::Present(draw.one_in(2)));
    }
    rule
}

fn draw_ip(draw: &mut Draw) -> Vec<String> {
    let networks = ["10.0.0.0/8", "10.8.0.0/16", "10.8.0.1", "192.0.2.0/24", "2001:db8::/32"];
    (0..=draw.below(2)).map(|_| (*draw.of(&networks)).into()).collect()
}

fn draw_text(draw: &mut Draw) -> TextMatchSpec {
    match draw.below(5) {
        0 => TextMatchSpec::Exact("beta".into()),
        1 => TextMatchSpec::Prefix("b".into()),
        2 => TextMatchSpec::Regex("b.+".into()),
        other => TextMatchSpec::Present(other == 3),
    }
}

fn draw_percent(draw: &mut Draw) -> PercentSpec {
    match draw.below(5) {
        0 => PercentSpec::Phase,
        other => PercentSpec::Fixed(percent([0, 10, 50, 100][other - 1])),
    }
}

/// An edit as somebody may make it: mostly small ones.
pub(crate) fn draw_edit(spec: &ReleaseSpec, draw: &mut Draw) -> ReleaseSpec {
    let mut spec = spec.clone();
    for _ in 0..=draw.below(2) {
        let place = draw.below(spec.audience.len());
        match draw.below(14) {
            0 | 1 => spec.audience[place].percent = draw_percent(draw),
            2 => spec.audience[place].ip = draw_ip(draw),
            3 => spec.audience[place].ip.clear(),
            4 => spec.audience[place].ip.push("10.0.0.0/8".into()),
            5 => drop(spec.audience[place].header.insert("x-plan".into(), draw_text(draw))),
            6 => spec.audience[place].header.clear(),
            7 => spec.audience[place].device.clear(),
            8 if spec.audience.len() > 1 => drop(spec.audience.remove(place)),
            9 => {
                let other = draw.below(spec.audience.len());
                spec.audience.swap(place, other);
            }
            10 => {
                let name = format!("new {}", spec.audience.len());
                spec.audience.insert(place, draw_rule(&name, draw));
            }
            11 => spec.sticky.pin = Some(draw.one_in(2)),
            12 if draw.one_in(3) => spec.sticky.key = vec![KeySourceSpec::Cookie("uid".into())],
            13 if draw.one_in(3) => spec.sticky.salt = Some(format!("{:032x}", draw.below(3))),
            13 if draw.one_in(2) => spec.sticky.range = StickyRangeSpec::High,
            13 => spec.override_ = Some(OverrideSpec::Header("x-group".into())),
            _ => spec.audience[place].name.push('\''),
        }
    }
    let mut seen = std::collections::HashSet::new();
    spec.audience.retain(|rule| seen.insert(rule.name.clone()));
    spec
}

pub(crate) fn release(spec: &ReleaseSpec) -> Arc<Release> {
    let mut problems = Vec::new();
    let release = Release::new("next", spec, &mut problems);
    Arc::new(release.unwrap_or_else(|| panic!("{problems:?} in {spec:?}")))
}

pub(crate) fn assigner(spec: &ReleaseSpec, state: &ReleaseState) -> Assigner {
    Assigner::new(release(spec), state, &Secret::from_bytes([7; 32]))
}

pub(crate) fn running(points: u16) -> ReleaseState {
    ReleaseState { percent: percent(points), status: Status::Running, growth: None }
}

pub(crate) fn percent(percent: u16) -> Percent {
    Percent::from_basis_points(percent * 100).expect("a percent")
}

const NOW: Moment = Moment { unix_secs: 1_800_000_000, draw: [1, 2] };
