//! Releases: who may be in the canary group.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use http::header::HeaderName;

use super::address::parse_network;
use super::route::{header_name, text_conditions};
use super::{AddressSet, Name, TextCondition};
use crate::RuleError;
use crate::analysis::{self, OptionError};
use crate::error::Problems;
use crate::release::{DeviceClass, Salt};
use crate::spec::{
    AnalysisModeSpec, AnalysisSpec, AudienceRuleSpec, GeoSpec, KeySourceSpec, OverrideSpec, Percent, PercentSpec,
    PhaseSpec, ReleaseSpec, Span, StickyRangeSpec, StickySpec,
};

/// A release: stable, canary, audience, phases.
#[derive(Clone, Debug, PartialEq)]
pub struct Release {
    name: Name,
    stable: Name,
    canary: Name,
    audience: Box<[AudienceRule]>,
    phases: Box<[Phase]>,
    sticky: Sticky,
    override_: Option<Override>,
    expose: bool,
    analysis: ReleaseAnalysis,
    written: Arc<ReleaseSpec>,
}

/// A step of the percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// The share of users in the canary group.
    pub percent: Percent,
    /// How long it lasts if nothing holds it; `None` for as long as nobody ends it.
    pub lasts: Option<Duration>,
}

/// One rule of an audience.
#[derive(Clone, Debug, PartialEq)]
pub struct AudienceRule {
    /// Unique within the audience; shown to people, so it may hold spaces.
    pub name: Box<str>,
    /// Who is meant.
    pub conditions: Conditions,
    /// How many of them.
    pub share: Share,
}

/// Conditions of an audience rule; all must hold, and empty ones do.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conditions {
    /// The client's address.
    pub ip: AddressSet,
    /// The client's device.
    pub device: Box<[DeviceClass]>,
    /// Where the client's address is.
    pub geo: Option<GeoPattern>,
    /// Header fields.
    pub header: Box<[TextCondition<HeaderName>]>,
    /// Cookies.
    pub cookie: Box<[TextCondition<Box<str>>]>,
}

/// Places; every non-empty list must have the client's place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GeoPattern {
    /// ISO country codes.
    pub country: Box<[Box<str>]>,
    /// Subdivision names or codes.
    pub subdivision: Box<[Box<str>]>,
    /// City names.
    pub city: Box<[Box<str>]>,
}

/// The percent of an audience rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The percent of the release's current phase.
    Phase,
    /// Always the same.
    Fixed(Percent),
}

/// How the canary of a release is judged.
#[derive(Clone, Debug, PartialEq)]
pub struct ReleaseAnalysis {
    /// What may follow from it.
    pub mode: AnalysisMode,
    /// How strictly.
    pub settings: analysis::Settings,
}

/// What may follow from an analysis. Each may do what those before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AnalysisMode {
    /// There is none.
    Off,
    /// It is shown.
    Observe,
    /// It may roll back, and keeps a phase from ending by itself.
    Guard,
    /// It may promote.
    Drive,
}

impl AnalysisMode {
    /// The mode as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Observe => "observe",
            Self::Guard => "guard",
            Self::Drive => "drive",
        }
    }
}

/// What identifies a user and how users stay in their group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sticky {
    /// Sources of the key, never empty; the first that the request has is used.
    pub key: Box<[KeySource]>,
    /// Whether canary users get a pin.
    pub pin: bool,
    /// Which users come first.
    pub salt: Salt,
    /// What pins are signed for: the salt as the rules have it, so that users stay where they are while others are tried.
    pub pin_salt: Salt,
    /// Which end of the hash line the canary takes.
    pub range: Range,
    /// How long pages that stable served are taken to be open after the percent has grown.
    pub page_life: Duration,
}

/// Which end of the hash line a canary takes (specification of the analysis, §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// `h < T`
    Low,
    /// `h >= 2^64 - T`
    High,
}

/// Where a sticky key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// A request header.
    Header(HeaderName),
    /// A cookie of the application.
    Cookie(Box<str>),
    /// Serin's own signed cookie.
    SerinId,
    /// The client's address.
    ClientIp,
}

/// Where an override is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Override {
    /// A request header; it is not forwarded.
    Header(HeaderName),
    /// A cookie.
    Cookie(Box<str>),
}

impl Release {
    /// Validates one release; reports every problem. References are checked by [`super::RuleSet::dangling`].
    pub fn new(name: &str, spec: &ReleaseSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        let mut problems = Problems::new(format!("releases.{name}"), found);
        let stable = problems.at("stable").ok(Name::new(&spec.stable));
        let canary = problems.at("canary").ok(Name::new(&spec.canary));
        let is_same = stable.is_some() && stable == canary;
        if is_same {
            problems.at("canary").report("stable and canary are the same upstream");
        }
        let audience = audience(&spec.audience, problems.at("audience"));
        let phases = phases(spec, &mut problems);
        let override_ = spec.override_.as_ref().map(|spec| problems.at("override").ok(override_source(spec)));
        let analysis = analysis(&spec.analysis, problems.at("analysis"));
        let name = problems.ok(Name::new(name));
        let sticky = sticky(&spec.sticky, problems.at("sticky"), [name.as_ref(), stable.as_ref(), canary.as_ref()]);
        Some(Self {
            name: name?,
            stable: stable?,
            canary: canary.filter(|_| !is_same)?,
            audience: audience?.into(),
            phases: phases?.into(),
            sticky: sticky?,
            override_: match override_ {
                Some(parsed) => Some(parsed?),
                None => None,
            },
            expose: spec.expose,
            analysis: analysis?,
            written: Arc::new(spec.clone()),
        })
    }

    /// How its canary is judged.
    pub fn analysis(&self) -> &ReleaseAnalysis {
        &self.analysis
    }

    /// As it was written: what history keeps.
    pub fn written(&self) -> &Arc<ReleaseSpec> {
        &self.written
    }

    /// The release's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// The upstream of the stable group.
    pub fn stable(&self) -> &Name {
        &self.stable
    }

    /// The upstream of the canary group.
    pub fn canary(&self) -> &Name {
        &self.canary
    }

    /// The rules in order; the first whose conditions hold decides.
    pub fn audience(&self) -> &[AudienceRule] {
        &self.audience
    }

    /// The steps of the percent, growing.
    pub fn phases(&self) -> &[Phase] {
        &self.phases
    }

    /// Sticky key, pin and salt.
    pub fn sticky(&self) -> &Sticky {
        &self.sticky
    }

    /// The same release after so many other salts were tried; with one that was written, that one.
    #[must_use]
    pub fn with_another_salt(&self, number: u8) -> Self {
        let is_written = self.written.sticky.salt.is_some();
        let salt = if number == 0 || is_written { self.sticky.pin_salt } else { self.sticky.pin_salt.another(number) };
        Self { sticky: Sticky { salt, ..self.sticky.clone() }, ..self.clone() }
    }

    /// Whether another salt moves nobody as long as nobody is in the canary group by the phases, and is not against what was
    /// written: two releases that share a salt divide users between them.
    pub fn may_have_another_salt(&self) -> bool {
        let fixed = |rule: &AudienceRule| match rule.share {
            Share::Phase => None,
            Share::Fixed(percent) => Some(percent),
        };
        let divides = |percent| percent != Percent::ZERO && percent != Percent::ALL;
        self.written.sticky.salt.is_none() && !self.audience.iter().filter_map(fixed).any(divides)
    }

    /// The override, if there is one.
    pub fn override_source(&self) -> Option<&Override> {
        self.override_.as_ref()
    }

    /// Whether clients are told their group.
    pub fn expose(&self) -> bool {
        self.expose
    }
}

fn audience(specs: &[AudienceRuleSpec], mut problems: Problems<'_>) -> Option<Vec<AudienceRule>> {
    if specs.is_empty() {
        problems.report("an audience needs at least one rule, for example [{name: everyone}]");
        return None;
    }
    let mut seen = HashSet::new();
    let mut rules = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let mut problems = problems.at(format_args!("[{index}]"));
        // A rule without a name has a problem of its own.
        if !seen.insert(spec.name.as_str()) && !spec.name.is_empty() {
            problems.at("name").report(format_args!("another rule is already called `{}`", spec.name.escape_debug()));
            continue;
        }
        rules.extend(audience_rule(spec, &mut problems));
    }
    (rules.len() == specs.len()).then_some(rules)
}

fn audience_rule(spec: &AudienceRuleSpec, problems: &mut Problems<'_>) -> Option<AudienceRule> {
    let name = problems.at("name").ok(rule_name(&spec.name));
    let ip = problems.at("ip").each(&spec.ip, |text| parse_network(text));
    let device = problems.at("device").each(&spec.device, |text| text.parse::<DeviceClass>());
    let geo = spec.geo.as_ref().map(|spec| problems.at("geo").ok(geo(spec)));
    let header = text_conditions(&spec.header, problems.at("header"), header_name);
    let cookie = text_conditions(&spec.cookie, problems.at("cookie"), cookie_name);
    let conditions = Conditions {
        ip: ip?.into_iter().collect(),
        device: device?.into(),
        geo: match geo {
            Some(parsed) => Some(parsed?),
            None => None,
        },
        header: header?.into(),
        cookie: cookie?.into(),
    };
    let share = match spec.percent {
        PercentSpec::Phase => Share::Phase,
        PercentSpec::Fixed(percent) => Share::Fixed(percent),
    };
    Some(AudienceRule { name: name?, conditions, share })
}

/// Rule names are shown to people and may hold spaces and any letters; control characters would break logs.
fn rule_name(text: &str) -> Result<Box<str>, String> {
    match text {
        "" => Err("a rule needs a name, which logs and `explain` show".into()),
        _ if text.len() > 100 => Err("a rule's name is at most 100 bytes long".into()),
        _ if text.chars().any(char::is_control) => {
            Err(format!("name `{}` has a control character", text.escape_debug()))
        }
        _ => Ok(text.into()),
    }
}

fn geo(spec: &GeoSpec) -> Result<GeoPattern, String> {
    let list = |names: &[String]| names.iter().map(|name| name.as_str().into()).collect();
    let pattern =
        GeoPattern { country: list(&spec.country), subdivision: list(&spec.subdivision), city: list(&spec.city) };
    if pattern == GeoPattern::default() {
        return Err("a geo condition needs a country, subdivision or city".into());
    }
    if let Some(code) =
        spec.country.iter().find(|code| code.len() != 2 || !code.bytes().all(|byte| byte.is_ascii_uppercase()))
    {
        return Err(format!("country `{}` is not a two-letter code such as CN", code.escape_debug()));
    }
    Ok(pattern)
}

fn phases(spec: &ReleaseSpec, problems: &mut Problems<'_>) -> Option<Vec<Phase>> {
    let follows = spec.audience.iter().any(|rule| rule.percent == PercentSpec::Phase);
    if follows && spec.phases.is_empty() {
        problems
            .at("phases")
            .report("a rule follows the phases, but there are none; write for example [1, 10, 50, 100]");
        return None;
    }
    if let Some(index) = spec.phases.windows(2).position(|pair| pair[0].percent >= pair[1].percent) {
        let (before, after) = (spec.phases[index].percent, spec.phases[index + 1].percent);
        problems
            .at(format_args!("phases[{}]", index + 1))
            .report(format_args!("phases must grow, but {after} follows {before}"));
        return None;
    }
    let last = spec.phases.len().saturating_sub(1);
    let phases = spec.phases.iter().enumerate().map(|(index, phase)| {
        let lasts = lasts(phase, index == last);
        let lasts = problems.at(format_args!("phases[{index}].lasts")).ok(lasts);
        Some(Phase { percent: phase.percent, lasts: lasts? })
    });
    // All of them are looked at, whatever the first one says.
    phases.collect::<Vec<_>>().into_iter().collect()
}

fn lasts(phase: &PhaseSpec, is_last: bool) -> Result<Option<Duration>, String> {
    match phase.lasts {
        None => Ok(None),
        Some(_) if is_last && phase.percent < Percent::ALL => Err("no phase follows it".into()),
        Some(span) if span.duration() < SHORTEST_PHASE => {
            Err(format!("{span} is less than {}", Span::from(SHORTEST_PHASE)))
        }
        Some(span) => Ok(Some(span.duration())),
    }
}

/// A shorter one is over before anybody has met it.
const SHORTEST_PHASE: Duration = Duration::from_secs(1);

fn sticky(spec: &StickySpec, mut problems: Problems<'_>, identity: [Option<&Name>; 3]) -> Option<Sticky> {
    let key = problems.at("key").each(&spec.key, |source| match source {
        KeySourceSpec::Header(name) => header_name(name).map(KeySource::Header),
        KeySourceSpec::Cookie(name) => cookie_name(name).map(KeySource::Cookie),
        KeySourceSpec::SerinId => Ok(KeySource::SerinId),
        KeySourceSpec::ClientIp => Ok(KeySource::ClientIp),
    });
    let salt = match &spec.salt {
        Some(text) => problems.at("salt").ok(Salt::from_hex(text)),
        None => match identity {
            [Some(name), Some(stable), Some(canary)] => Some(Salt::derive(name, stable, canary)),
            _ => None,
        },
    };
    let page_life = problems.at("page_life").ok(match spec.page_life {
        None => Ok(PAGE_LIFE),
        Some(span) if span.duration() <= LONGEST_PAGE_LIFE => Ok(span.duration()),
        Some(span) => Err(format!("{span} is longer than {}", Span::from(LONGEST_PAGE_LIFE))),
    });
    let mut key = key?;
    if key.is_empty() {
        key = vec![KeySource::SerinId, KeySource::ClientIp];
    }
    let salt = salt?;
    Some(Sticky {
        key: key.into(),
        pin: spec.pin.unwrap_or(true),
        salt,
        pin_salt: salt,
        range: match spec.range {
            StickyRangeSpec::Low => Range::Low,
            StickyRangeSpec::High => Range::High,
        },
        page_life: page_life?,
    })
}

fn analysis(spec: &AnalysisSpec, mut problems: Problems<'_>) -> Option<ReleaseAnalysis> {
    let usual = analysis::Options::default();
    let seconds = |span: Option<Span>, usual: u32| {
        span.map_or(usual, |span| u32::try_from(span.duration().as_secs()).unwrap_or(u32::MAX))
    };
    let (min_phase_s, max_phase_s) =
        (seconds(spec.min_phase, usual.min_phase_s), seconds(spec.max_phase, usual.max_phase_s));
    let options = analysis::Options {
        alpha: spec.alpha.unwrap_or(usual.alpha),
        beta: spec.beta.unwrap_or(usual.beta),
        // Suspicion comes before the threshold, however low that is.
        suspect: usual.suspect.min(spec.alpha.map_or(usual.suspect, |alpha| 1.0 / alpha)),
        min_phase_s,
        max_phase_s,
        latency_after_s: usual.latency_after_s.min(max_phase_s),
        preflight_s: seconds(spec.preflight, usual.preflight_s),
        ..usual
    };
    let settings = analysis::Settings::new(options).map_err(|OptionError { option, reason }| {
        format!(
            "{}: {reason}",
            option.strip_suffix("_s").map_or_else(|| option.to_owned(), |span| format!("{span}, in seconds"))
        )
    });
    let mode = match spec.mode {
        AnalysisModeSpec::Off => AnalysisMode::Off,
        AnalysisModeSpec::Observe => AnalysisMode::Observe,
        AnalysisModeSpec::Guard => AnalysisMode::Guard,
        AnalysisModeSpec::Drive => AnalysisMode::Drive,
    };
    Some(ReleaseAnalysis { mode, settings: problems.ok(settings)? })
}

/// What most pages live.
const PAGE_LIFE: Duration = Duration::from_secs(10 * 60);
const LONGEST_PAGE_LIFE: Duration = Duration::from_secs(24 * 3_600);

fn override_source(spec: &OverrideSpec) -> Result<Override, String> {
    match spec {
        OverrideSpec::Header(name) => header_name(name).map(Override::Header),
        OverrideSpec::Cookie(name) => cookie_name(name).map(Override::Cookie),
    }
}

/// A cookie name is a token (RFC 6265 §4.1.1), which is what a header name is.
pub(super) fn cookie_name(text: &str) -> Result<Box<str>, String> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("`{}` is not a cookie name", text.escape_debug()))?;
    Ok(text.into())
}
