//! Which users an Ingress takes from another one.

use std::collections::BTreeMap;

use routing_rules::spec::{
    AnalysisSpec, AudienceRuleSpec, Percent, PercentSpec, ReleaseSpec, SplitSpec, StickySpec, TextMatchSpec,
};

use super::given::Given;
use super::trial;

/// What a canary asks for.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::ingress) struct Canary {
    header: Option<Header>,
    cookie: Option<String>,
    weight: u32,
    total: u32,
    /// Whether users stay where they are.
    is_sticky: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Header {
    name: String,
    /// What it must be; `always` and `never` if that is not said.
    value: Option<TextMatchSpec>,
}

/// A canary, if an Ingress is one.
pub(super) fn read(given: &mut Given<'_>) -> Option<Canary> {
    if !given.is_on("canary") {
        return None;
    }
    let header = header(given);
    let cookie = given.read("canary-by-cookie", |name| {
        let cookie = BTreeMap::from([(name.to_owned(), TextMatchSpec::Present(true))]);
        tried(AudienceRuleSpec { cookie, ..AudienceRuleSpec::default() }).map(|()| name.to_owned())
    });
    // A smaller total is none in ingress-nginx, either.
    let total = given.number("canary-weight-total", 100..=MOST).unwrap_or(100);
    let weight = given.number("canary-weight", 0..=MOST).unwrap_or(0).min(total);
    if weight == 0 || weight == total {
        given.same("canary-weight");
    }
    if (u64::from(weight) * 10_000).is_multiple_of(total.into()) {
        given.same("canary-weight-total");
    }
    let mut is_sticky = given.flag("serin.dev/sticky").unwrap_or(true);
    if !is_sticky && (header.is_some() || cookie.is_some()) {
        given.lacks(
            "serin.dev/sticky",
            "with a header or a cookie users stay where they are: only a weight alone can be one of requests",
        );
        is_sticky = true;
    }
    if !is_sticky {
        given.same("canary-weight");
    }
    Some(Canary { header, cookie, weight, total, is_sticky })
}

fn header(given: &mut Given<'_>) -> Option<Header> {
    let name = given.read("canary-by-header", |name| {
        let header = BTreeMap::from([(name.to_owned(), TextMatchSpec::Present(true))]);
        tried(AudienceRuleSpec { header, ..AudienceRuleSpec::default() }).map(|()| name.to_owned())
    })?;
    if let Some(value) = given.text("canary-by-header-value").filter(|value| !value.is_empty()) {
        if given.has("canary-by-header-pattern") {
            given.text("canary-by-header-pattern");
            given.needless("canary-by-header-pattern", "canary-by-header-value goes first");
        }
        return Some(Header { name, value: Some(TextMatchSpec::Exact(value.into())) });
    }
    if !given.has("canary-by-header-pattern") {
        return Some(Header { name, value: None });
    }
    // With one that is wrong nobody is meant, also not those who say `always`.
    let pattern = given.read("canary-by-header-pattern", |pattern| {
        let value = TextMatchSpec::Regex(pattern.into());
        let header = BTreeMap::from([(name.clone(), value.clone())]);
        tried(AudienceRuleSpec { header, ..AudienceRuleSpec::default() }).map(|()| value)
    })?;
    given.same("canary-by-header-pattern");
    Some(Header { name, value: Some(pattern) })
}

fn tried(rule: AudienceRuleSpec) -> Result<(), String> {
    let rule = AudienceRuleSpec { name: "a".into(), percent: PercentSpec::Fixed(Percent::ALL), ..rule };
    trial::release(&release("a".into(), "b".into(), vec![rule], true))
}

impl Canary {
    /// The parts of a division by requests, if it is to be one.
    pub(in crate::ingress) fn split(&self, stable: &str, canary: &str) -> Option<Vec<SplitSpec>> {
        let part = |upstream: &str, weight| SplitSpec { upstream: upstream.to_owned(), weight };
        (!self.is_sticky).then(|| vec![part(stable, self.total - self.weight), part(canary, self.weight)])
    }

    /// The release that takes its users. Header before cookie before weight, and the first that says something decides.
    pub(in crate::ingress) fn release(&self, stable: String, canary: String) -> ReleaseSpec {
        let mut audience = Vec::new();
        match &self.header {
            Some(Header { name, value: Some(value) }) => {
                let header = BTreeMap::from([(name.clone(), value.clone())]);
                audience.push(rule("header", Percent::ALL, AudienceRuleSpec { header, ..AudienceRuleSpec::default() }));
            }
            Some(Header { name, value: None }) => audience.extend(said("header", |value| AudienceRuleSpec {
                header: BTreeMap::from([(name.clone(), value)]),
                ..AudienceRuleSpec::default()
            })),
            None => {}
        }
        if let Some(name) = &self.cookie {
            audience.extend(said("cookie", |value| AudienceRuleSpec {
                cookie: BTreeMap::from([(name.clone(), value)]),
                ..AudienceRuleSpec::default()
            }));
        }
        // A pin goes before all rules: it would keep in a user who says `never`, or says `always` no more.
        let has_pin = audience.is_empty();
        let weight = share(self.weight, self.total).unwrap_or_default();
        audience.push(rule("weight", weight, AudienceRuleSpec::default()));
        release(stable, canary, audience, has_pin)
    }
}

fn release(stable: String, canary: String, audience: Vec<AudienceRuleSpec>, has_pin: bool) -> ReleaseSpec {
    ReleaseSpec {
        stable,
        canary,
        audience,
        phases: Vec::new(),
        sticky: StickySpec { pin: (!has_pin).then_some(false), ..StickySpec::default() },
        override_: None,
        expose: false,
        analysis: AnalysisSpec::default(),
        force: None,
    }
}

/// The two rules for who says `always` and who says `never`.
fn said(place: &str, rule_of: impl Fn(TextMatchSpec) -> AudienceRuleSpec) -> [AudienceRuleSpec; 2] {
    let said =
        |value: &str, percent| rule(&format!("{place} {value}"), percent, rule_of(TextMatchSpec::Exact(value.into())));
    [said("always", Percent::ALL), said("never", Percent::ZERO)]
}

fn rule(name: &str, percent: Percent, rule: AudienceRuleSpec) -> AudienceRuleSpec {
    AudienceRuleSpec { name: name.into(), percent: PercentSpec::Fixed(percent), ..rule }
}

/// To a hundredth of a percent, and never nobody or everybody where that is not meant.
fn share(weight: u32, total: u32) -> Option<Percent> {
    let points = (u64::from(weight) * 10_000 + u64::from(total) / 2) / u64::from(total).max(1);
    let points = u16::try_from(points).unwrap_or(10_000);
    let points = if weight == 0 || weight >= total { points } else { points.clamp(1, 9_999) };
    Percent::from_basis_points(points)
}

/// The most a part of a split can have.
const MOST: u32 = 1_000_000;
