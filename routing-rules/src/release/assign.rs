//! One release, compiled: from a request to its group.

use std::sync::Arc;

use super::assignment::CookiesToSet;
use super::audience::Facts;
use super::bucket::Cut;
use super::device::DeviceClass;
use super::key::{KeyMatch, UserIds};
use super::page::is_of_a_page;
use super::pin::{Pin, Pins, RuleTag};
use super::{Arm, Assignment, Bucket, Group, Growth, Reason, ReleaseState, Secret, Status};
use crate::request::{RequestView, cookie};
use crate::rules::{Conditions, KeySource, Override, Release, Share};
use crate::spec::Percent;

/// What a request brings from outside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Seconds since 1970.
    pub unix_secs: u64,
    /// Random bits, used only for the id of a new user. Requests must not share them.
    pub draw: [u64; 2],
}

/// A user about whom a record says what the request would have shown.
#[derive(Clone, Copy, Debug)]
pub struct KnownUser<'a> {
    /// The user's bucket under the release's salt.
    pub bucket: Bucket,
    /// The name of the rule through which the user came in, if the request had a pin.
    pub pinned_by: Option<&'a str>,
}

/// A release in one state, ready for requests.
#[derive(Clone, Debug)]
pub struct Assigner {
    rules: Arc<Release>,
    status: Status,
    /// Number and time of its record, where other instances may know a later one.
    shared: Option<(u64, u64)>,
    preflight: Option<Percent>,
    /// One for each rule of the audience, in its order.
    shares: Box<[RuleShare]>,
    /// Absent if the release does not pin.
    pins: Option<Pins>,
    /// Absent if no key source asks for them, or without a secret.
    ids: Option<UserIds>,
}

/// What the percent of a rule means today.
#[derive(Clone, Copy, Debug)]
struct RuleShare {
    percent: Percent,
    cut: Cut,
    /// Who is compared with those outside: those it takes; before it takes anybody, those whom it will take first.
    compared: Cut,
    tag: RuleTag,
    /// Who was in before it grew, and until when that matters.
    before: Option<(Cut, u64)>,
}

impl RuleShare {
    /// Whether it has grown so lately that pages may be open that another version served.
    fn has_just_grown(&self, moment: &Moment) -> bool {
        self.before.is_some_and(|(_, until_secs)| moment.unix_secs < until_secs)
    }

    /// Whether a user of the share came in so lately that pages may be open that stable served.
    fn is_newcomer(&self, bucket: Bucket, moment: &Moment) -> bool {
        self.before.is_some_and(|(before, until_secs)| moment.unix_secs < until_secs && !before.takes(bucket))
    }
}

impl Assigner {
    /// Compiles a release.
    pub fn new(rules: Arc<Release>, state: &ReleaseState, secret: &Secret) -> Self {
        let sticky = rules.sticky();
        let preflight = state.preflight(&rules);
        let shares = rules.audience().iter().map(|rule| {
            let (percent, growth, preflight) = match rule.share {
                Share::Phase => (state.percent, state.growth, preflight),
                Share::Fixed(percent) => (percent, None, None),
            };
            let before = growth.filter(|_| sticky.pin).map(|Growth { from, at_secs }| {
                (Cut::new(from, sticky.range), at_secs.saturating_add(sticky.page_life.as_secs()))
            });
            let compared = Cut::new(preflight.unwrap_or(percent), sticky.range);
            RuleShare { percent, cut: Cut::new(percent, sticky.range), compared, tag: RuleTag::of(&rule.name), before }
        });
        let wants_ids = sticky.key.contains(&KeySource::SerinId);
        // Also where no rule asks for devices: whoever keeps a record of users will, and requests must not wait for it.
        DeviceClass::prepare();
        Self {
            status: state.status,
            shared: None,
            preflight,
            shares: shares.collect(),
            pins: sticky.pin.then(|| Pins::new(&rules, secret)),
            ids: wants_ids.then(|| UserIds::new(secret)).flatten(),
            rules,
        }
    }

    /// Of a record with this number and time, in milliseconds since 1970, which other instances share. One of them may know a
    /// later record: canary users whom it has let in stay there.
    #[must_use]
    pub fn sharing(self, number: u64, at_ms: u64) -> Self {
        Self { shared: Some((number, at_ms / 1_000)), ..self }
    }

    /// The release as validated.
    pub fn rules(&self) -> &Arc<Release> {
        &self.rules
    }

    /// The share whose users are compared with all others before they come in, if that is so now ([`ReleaseState::preflight`]).
    pub fn preflight(&self) -> Option<Percent> {
        self.preflight
    }

    /// The share that a rule of the audience has now, by its place; nobody's for a place that does not exist.
    pub fn share(&self, rule: usize) -> Percent {
        self.shares.get(rule).map_or(Percent::ZERO, |share| share.percent)
    }

    /// The group of a request's user: by override, else by pin, else by the first rule whose conditions hold.
    pub fn assign<'r>(&'r self, request: &RequestView<'_>, moment: &Moment) -> Assignment<'r> {
        if let Some(ended) = self.ended() {
            return ended;
        }
        if let Some(group) = self.overridden(request) {
            return self.without_rule(group, Reason::Override);
        }
        match self.pins.as_ref().and_then(|pins| pins.read(request.headers, moment.unix_secs)) {
            None => self.by_rules(None, request, moment),
            Some(Ok(pin)) => {
                let by_pin = self.by_pin(pin, request, moment);
                by_pin.unwrap_or_else(|| self.by_rules(Some(pin.bucket), request, moment))
            }
            Some(Err(refusal)) => Assignment { pin_refused: Some(refusal), ..self.by_rules(None, request, moment) },
        }
    }

    /// The group of a user who is known from elsewhere, for example from an access log: as [`Self::assign`], but
    /// the request's override, pin and sticky key are not looked at, and there are no cookies to set.
    pub fn assign_known(&self, user: &KnownUser<'_>, request: &RequestView<'_>) -> Assignment<'_> {
        if let Some(ended) = self.ended() {
            return ended;
        }
        // The time decides only about cookies, which are dropped.
        let moment = Moment { unix_secs: 0, draw: [0, 0] };
        let by_pin = self.by_known_pin(user, request, &moment);
        let assignment = by_pin.unwrap_or_else(|| self.by_rules(Some(user.bucket), request, &moment));
        Assignment { to_set: CookiesToSet::default(), ..assignment }
    }

    /// The groups of such a user as far as it is known which conditions hold: one for each rule that may decide. `holds` does
    /// not know of all of them.
    pub(super) fn assign_possible(
        &self,
        user: &KnownUser<'_>,
        request: &RequestView<'_>,
        holds: impl Fn(&Conditions) -> Option<bool>,
    ) -> Vec<Assignment<'_>> {
        let moment = Moment { unix_secs: 0, draw: [0, 0] };
        if let Some(certain) = self.ended().or_else(|| self.by_known_pin(user, request, &moment)) {
            return vec![certain];
        }
        let audience = self.rules.audience().iter().enumerate();
        let mut held = audience.map(|(index, rule)| (Some(index), holds(&rule.conditions))).chain([(None, Some(true))]);
        let mut possible = Vec::new();
        let certain = held.find_map(|(index, held)| match held {
            Some(true) => Some(index),
            Some(false) => None,
            None => {
                possible.push(index);
                None
            }
        });
        possible.extend(certain);
        possible.into_iter().map(|index| self.by_rule(index, Some(user.bucket), request, &moment)).collect()
    }

    /// Where everybody is once nobody is asked any more.
    pub(super) fn ended(&self) -> Option<Assignment<'_>> {
        let group = match self.status {
            Status::RolledBack => Group::Stable,
            Status::Completed => Group::Canary,
            Status::Running | Status::Paused => return None,
        };
        Some(self.without_rule(group, Reason::Inactive(self.status)))
    }

    fn by_known_pin(&self, user: &KnownUser<'_>, request: &RequestView<'_>, moment: &Moment) -> Option<Assignment<'_>> {
        let rule = user.pinned_by?;
        self.by_pin(Pin::new(user.bucket, RuleTag::of(rule), moment.unix_secs), request, moment)
    }

    fn overridden(&self, request: &RequestView<'_>) -> Option<Group> {
        let value = match self.rules.override_source()? {
            Override::Header(name) => request.headers.get(name)?.as_bytes(),
            Override::Cookie(name) => cookie(request.headers, name)?,
        };
        Group::from_bytes(value)
    }

    /// A user who came in through a rule stays in as long as the rule has room, even where its conditions no longer
    /// hold. `None`: there is no such rule any more, or its share has shrunk below the user. If the pin is of a later record than
    /// this one, that share has grown.
    fn by_pin(&self, pin: Pin, request: &RequestView<'_>, moment: &Moment) -> Option<Assignment<'_>> {
        let is_ahead = self.shared.is_some_and(|(number, at_secs)| pin.is_ahead_of(number, at_secs));
        let takes = |share: &RuleShare| share.tag == pin.rule && (is_ahead || share.cut.takes(pin.bucket));
        let index = self.shares.iter().position(takes)?;
        let is_worn = pin.is_worn(moment.unix_secs) && !is_ahead;
        let renewed = is_worn.then(|| self.pin(pin.bucket, index, moment)).flatten();
        let to_set = CookiesToSet { pin: renewed, id: None };
        let facts = Facts::new(request);
        // Users of the control are those for whom this very rule decides, so these must be as well.
        let share = &self.shares[index];
        let is_left_out = share.has_just_grown(moment) && is_of_a_page(request);
        let is_in = share.cut.leaves_some() && share.cut.takes(pin.bucket);
        let is_compared = is_in && !is_left_out && self.first_rule(&facts) == Some(index);
        Some(Assignment {
            arm: is_compared.then_some(Arm::Canary),
            device: facts.known_device(),
            ..self.with_rule(index, Group::Canary, Reason::Pin, Some(pin.bucket), to_set)
        })
    }

    /// The place of the first rule whose conditions hold.
    fn first_rule(&self, facts: &Facts<'_>) -> Option<usize> {
        self.rules.audience().iter().position(|rule| facts.fulfil(&rule.conditions))
    }

    /// `pinned` is the bucket of a pin whose rule does not decide; it still says who the user is.
    fn by_rules<'r>(&'r self, pinned: Option<Bucket>, request: &RequestView<'_>, moment: &Moment) -> Assignment<'r> {
        let facts = Facts::new(request);
        let assignment = self.by_rule(self.first_rule(&facts), pinned, request, moment);
        Assignment { device: facts.known_device(), ..assignment }
    }

    /// The group by the rule at this place, or where none decides.
    fn by_rule<'r>(
        &'r self,
        index: Option<usize>,
        pinned: Option<Bucket>,
        request: &RequestView<'_>,
        moment: &Moment,
    ) -> Assignment<'r> {
        let Some(index) = index else {
            return Assignment { bucket: pinned, ..self.without_rule(Group::Stable, Reason::NoRule) };
        };
        let cut = self.shares[index].cut;
        let key = match pinned {
            Some(bucket) => Some(KeyMatch { bucket, new_id: None, without_cookie: false }),
            None => KeyMatch::find(self.rules.sticky(), self.ids.as_ref(), request, moment),
        };
        let Some(KeyMatch { bucket, new_id, without_cookie }) = key else {
            let (group, reason) = match cut.takes_everybody() {
                true => (Group::Canary, Reason::Rule),
                false => (Group::Stable, Reason::NoKey),
            };
            return self.with_rule(index, group, reason, None, CookiesToSet::default());
        };
        if cut.takes(bucket) && self.shares[index].is_newcomer(bucket, moment) && is_of_a_page(request) {
            // The page had no pin, so stable served it before its user came in.
            return self.with_rule(index, Group::Stable, Reason::Page, Some(bucket), CookiesToSet::default());
        }
        let group = if cut.takes(bucket) { Group::Canary } else { Group::Stable };
        let to_set = CookiesToSet {
            pin: (group == Group::Canary).then(|| self.pin(bucket, index, moment)).flatten(),
            id: self.ids.as_ref().zip(new_id),
        };
        let RuleShare { compared, .. } = self.shares[index];
        // What belongs to a page is left out on both sides, or newcomers would be compared without it.
        let is_compared =
            compared.leaves_some() && !(self.shares[index].has_just_grown(moment) && is_of_a_page(request));
        Assignment {
            arm: is_compared.then_some(if compared.takes(bucket) { Arm::Canary } else { Arm::Control }),
            without_cookie,
            ..self.with_rule(index, group, Reason::Rule, Some(bucket), to_set)
        }
    }

    fn pin(&self, bucket: Bucket, index: usize, moment: &Moment) -> Option<(&Pins, Pin)> {
        let pins = self.pins.as_ref()?;
        let pin = Pin::new(bucket, self.shares[index].tag, moment.unix_secs);
        Some((pins, pin.under(self.shared.map_or(0, |(number, _)| number))))
    }

    fn with_rule<'r>(
        &'r self,
        index: usize,
        group: Group,
        reason: Reason,
        bucket: Option<Bucket>,
        to_set: CookiesToSet<'r>,
    ) -> Assignment<'r> {
        let rule = Some(&*self.rules.audience()[index].name);
        Assignment {
            group,
            reason,
            bucket,
            rule,
            place: Some(index),
            arm: None,
            without_cookie: false,
            share: self.shares[index].percent,
            device: None,
            pin_refused: None,
            to_set,
        }
    }

    fn without_rule(&self, group: Group, reason: Reason) -> Assignment<'_> {
        let share = match group {
            Group::Stable => Percent::ZERO,
            Group::Canary => Percent::ALL,
        };
        Assignment {
            group,
            reason,
            bucket: None,
            rule: None,
            place: None,
            arm: None,
            without_cookie: false,
            share,
            device: None,
            pin_refused: None,
            to_set: CookiesToSet::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method};

    use super::*;
    use crate::spec::{AudienceRuleSpec, PercentSpec, ReleaseSpec};

    fn assigner(percents: [u16; 2], status: Status) -> Assigner {
        let rule = |name: &str, ip: &[&str], points| AudienceRuleSpec {
            name: name.into(),
            ip: ip.iter().map(ToString::to_string).collect(),
            percent: PercentSpec::Fixed(Percent::from_basis_points(points).unwrap()),
            ..AudienceRuleSpec::default()
        };
        let spec: ReleaseSpec = ReleaseSpec {
            stable: "a".into(),
            canary: "b".into(),
            audience: vec![rule("office", &["10.0.0.0/8"], percents[0]), rule("everyone", &[], percents[1])],
            phases: Vec::new(),
            sticky: crate::spec::StickySpec::default(),
            override_: Some(crate::spec::OverrideSpec::Header("x-group".into())),
            expose: false,
            analysis: crate::spec::AnalysisSpec::default(),
            force: None,
        };
        let rules = Release::new("r", &spec, &mut Vec::new()).unwrap();
        let state = ReleaseState { percent: Percent::ZERO, status, growth: None };
        Assigner::new(Arc::new(rules), &state, &Secret::default())
    }

    #[test]
    fn who_knows_less_than_a_pin_believes_it() {
        let secret = Secret::from_bytes([7; 32]);
        let text = r#"{"stable": "a", "canary": "b", "audience": [{"name": "all"}], "phases": [10, 50, 100],
            "sticky": {"key": [{"header": "x-user"}]}}"#;
        let rules = Arc::new(Release::new("r", &serde_json::from_str(text).unwrap(), &mut Vec::new()).unwrap());
        let (unix_secs, hour_ms) = (1_800_000_000, 3_600_000);
        let of = |points, status, number: Option<u64>, at_ms| {
            let percent = Percent::from_basis_points(points).unwrap();
            let assigner = Assigner::new(Arc::clone(&rules), &ReleaseState { percent, status, growth: None }, &secret);
            match number {
                Some(number) => assigner.sharing(number, at_ms),
                None => assigner,
            }
        };
        let at = |points, status, number| of(points, status, number, 1_000 * unix_secs - hour_ms);
        let mut headers = HeaderMap::new();
        // Bucket 3,000 or so: in at 50 %, and out at 10 %.
        let user = (0..).map(|user| format!("user-{user}")).find(|user| {
            let line = Bucket::of(&rules.sticky().salt, user.as_bytes()).line();
            (2_000..4_000).contains(&line)
        });
        headers.insert("x-user", HeaderValue::from_str(&user.unwrap()).unwrap());
        let moment = Moment { unix_secs, draw: [1, 2] };
        let cookies = |assigner: &Assigner, headers: &HeaderMap| {
            let request = RequestView::new(&Method::GET, "h", "/", headers, [192, 0, 2, 1].into());
            let assignment = assigner.assign(&request, &moment);
            let cookies: Vec<_> = assignment.cookies(true).collect();
            (assignment.group, assignment.reason, assignment.arm, cookies)
        };
        let behind = at(1_000, Status::Running, Some(4));
        assert_eq!(cookies(&behind, &headers).0, Group::Stable);
        let (group, _, _, set) = cookies(&at(5_000, Status::Running, Some(5)), &headers);
        assert_eq!(group, Group::Canary);
        let pin = set[0].to_str().unwrap().split(';').next().unwrap().to_owned();
        headers.insert("cookie", HeaderValue::from_str(&pin).unwrap());
        // There it is not of those whose share this is, so it is not compared.
        assert_eq!(cookies(&behind, &headers), (Group::Canary, Reason::Pin, None, Vec::new()));
        // A store that was set back counts anew: what is written then is later than the pin.
        let later = of(1_000, Status::Running, Some(4), 1_000 * unix_secs + hour_ms);
        assert_eq!(cookies(&later, &headers).0, Group::Stable);
        // Who knows as much or more, or of nobody who might, goes by its own percent; and a rollback goes before any pin.
        for (number, status) in [
            (Some(5), Status::Running),
            (Some(6), Status::Paused),
            (None, Status::Running),
            (Some(4), Status::RolledBack),
        ] {
            assert_eq!(cookies(&at(1_000, status, number), &headers).0, Group::Stable, "{number:?} {status}");
        }
    }

    #[test]
    fn an_address_stands_in_for_what_should_have_said_who_it_is() {
        let said = |key: &str, cookie: &'static str| {
            let text = format!(
                r#"{{"stable": "a", "canary": "b", "audience": [{{"name": "all", "percent": 50}}], "sticky": {{"key": {key}}}}}"#
            );
            let rules = Release::new("r", &serde_json::from_str(&text).unwrap(), &mut Vec::new()).unwrap();
            let state = ReleaseState { percent: Percent::ZERO, status: Status::Running, growth: None };
            let assigner = Assigner::new(Arc::new(rules), &state, &Secret::default());
            let mut headers = HeaderMap::new();
            headers.insert("cookie", HeaderValue::from_static(cookie));
            let view = RequestView::new(&Method::GET, "h", "/", &headers, [192, 0, 2, 1].into());
            assigner.assign(&view, &Moment { unix_secs: 0, draw: [0, 0] }).without_cookie
        };
        assert!(said(r#"[{"cookie": "uid"}, "client_ip"]"#, "other=1"));
        assert!(!said(r#"[{"cookie": "uid"}, "client_ip"]"#, "uid=1"));
        assert!(!said(r#"["client_ip"]"#, "other=1"), "nothing else was asked for");
        assert!(!said(r#"[{"cookie": "uid"}]"#, "other=1"), "nobody knows who it is");
    }

    #[test]
    fn known_users() {
        let method = Method::GET;
        let mut headers = HeaderMap::new();
        headers.insert("x-group", HeaderValue::from_static("canary"));
        let view = RequestView::new(&method, "h", "/", &headers, [192, 0, 2, 1].into());
        let group = |assigner: &Assigner, line, pinned_by| {
            let user = KnownUser { bucket: Bucket::from_line(line).unwrap(), pinned_by };
            let assignment = assigner.assign_known(&user, &view);
            assert!(assignment.cookies(true).next().is_none());
            (assignment.group, assignment.reason.as_str())
        };
        let running = assigner([5_000, 100], Status::Running);
        assert_eq!(group(&running, 99, None), (Group::Canary, "rule"));
        assert_eq!(group(&running, 100, None), (Group::Stable, "rule"));
        assert_eq!(group(&running, 4_999, Some("office")), (Group::Canary, "pin"));
        assert_eq!(group(&running, 5_000, Some("office")), (Group::Stable, "rule"));
        assert_eq!(group(&running, 50, Some("gone")), (Group::Canary, "rule"));
        assert_eq!(group(&assigner([0, 0], Status::Completed), 9_999, None), (Group::Canary, "inactive"));
        assert_eq!(group(&assigner([5_000, 100], Status::RolledBack), 0, None), (Group::Stable, "inactive"));
    }
}
