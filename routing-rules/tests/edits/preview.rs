//! What a preview says of a user is what the user's next request meets.

use routing_rules::release::{Group, Preview, Reason, Redraw, SeenUser};
use routing_rules::spec::{KeySourceSpec, ReleaseSpec};

use crate::crowd::{Draw, User, assigner, draw_edit, draw_release, percent, running};

/// What is known of a user after this request.
fn seen(user: &User, now: &routing_rules::release::Assigner) -> Option<SeenUser> {
    let assignment = user.assignment(now);
    Some(SeenUser {
        bucket: assignment.bucket?,
        client: user.client,
        device: user.device(),
        rule: assignment.place,
        is_pinned: assignment.reason == Reason::Pin,
    })
}

#[test]
fn what_is_foretold_comes_true() {
    let mut draw = Draw(1);
    let (mut told, mut unknown, mut moved) = (0, 0, 0);
    for _ in 0..3_000 {
        let spec = draw_release(&mut draw);
        let edited = draw_edit(&spec, &mut draw);
        let now = assigner(&spec, &running([0, 10, 50][draw.below(3)]));
        let then = assigner(&edited, &running([0, 10, 50, 100][draw.below(4)]));
        let preview = Preview { now: &now, then: &then, geo: None };
        for _ in 0..20 {
            let mut user = User::draw(&mut draw);
            user.visits(&now);
            let Some(seen) = seen(&user, &now) else { continue };
            let forecast = preview.of(&seen);
            if seen.rule.is_some() {
                assert_eq!(forecast.now, Some(user.assignment(&now).group), "{spec:?}\n{seen:?}");
            }
            if preview.redraw().is_some() {
                continue;
            }
            let real = user.assignment(&then);
            match forecast.then {
                Some(group) => {
                    assert_eq!(group, real.group, "{spec:?}\n{edited:?}\n{seen:?}\n{real:?}");
                    assert!(forecast.rule.is_none() || forecast.rule == real.place, "{edited:?}\n{seen:?}\n{real:?}");
                    told += 1;
                    moved += usize::from(forecast.now.is_some_and(|now| now != group));
                }
                None => unknown += 1,
            }
        }
    }
    assert!(unknown > 0 && unknown * 10 < told && moved > 1_000, "{unknown} of {told}, {moved} moved");
}

/// A release with this audience, and whom it takes at 50 %.
fn spec(audience: &str) -> ReleaseSpec {
    let text = format!(
        r#"{{"stable": "a", "canary": "b", "audience": [{audience}], "phases": [50], "sticky": {{"key": ["client_ip"]}}}}"#
    );
    serde_json::from_str(&text).expect("a release")
}

#[test]
fn headers_are_known_as_far_as_the_rule_tells() {
    const BETA: &str = r#"{"name": "beta", "header": {"x-plan": "beta"}, "percent": 100}"#;
    const TRIAL: &str = r#"{"name": "trial", "header": {"x-plan": "trial"}, "percent": 100}"#;
    const PAYS: &str = r#"{"name": "pays", "header": {"x-plan": {"present": true}}, "percent": 100}"#;
    const ALL: &str = r#"{"name": "all", "percent": 0}"#;
    let group = |before: &str, after: &str, rule| {
        let [now, then] = [before, after].map(|audience| assigner(&spec(audience), &running(50)));
        let user = User::draw(&mut Draw(2));
        let bucket = routing_rules::release::Bucket::from_hash(7);
        let seen = SeenUser { bucket, client: user.client, device: user.device(), rule, is_pinned: false };
        Preview { now: &now, then: &then, geo: None }.of(&seen).then
    };
    let list = |rules: &[&str]| rules.join(", ");
    // Whom `beta` took has that header, and no other value of it.
    assert_eq!(group(&list(&[BETA, ALL]), &list(&[ALL]), Some(0)), Some(Group::Stable));
    assert_eq!(group(&list(&[BETA, ALL]), &list(&[TRIAL, BETA]), Some(0)), Some(Group::Canary));
    assert_eq!(group(&list(&[BETA, ALL]), &list(&[TRIAL, ALL]), Some(0)), Some(Group::Stable));
    assert_eq!(group(&list(&[BETA, ALL]), &list(&[PAYS, ALL]), Some(0)), Some(Group::Canary));
    // Whom it did not take has not, but may have another one.
    assert_eq!(group(&list(&[BETA, ALL]), &list(&[ALL, BETA]), Some(1)), Some(Group::Stable));
    assert_eq!(group(&list(&[BETA, ALL]), &list(&[BETA, ALL]), Some(1)), Some(Group::Stable));
    assert_eq!(group(&list(&[BETA, ALL]), &list(&[TRIAL, ALL]), Some(1)), None);
    assert_eq!(group(&list(&[PAYS, ALL]), &list(&[TRIAL, ALL]), Some(1)), Some(Group::Stable));
    // Of whom the rule is not known, nothing is.
    assert_eq!(group(&list(&[BETA, ALL]), &list(&[BETA, ALL]), None), None);
    assert_eq!(group(&list(&[BETA, ALL]), &list(&[ALL]), None), Some(Group::Stable));
}

#[test]
fn users_who_are_drawn_anew_have_a_share() {
    let before = spec(r#"{"name": "all"}"#);
    let mut other_key = before.clone();
    other_key.sticky.key = vec![KeySourceSpec::SerinId];
    let mut other_salt = other_key.clone();
    other_salt.sticky.salt = Some("00".repeat(16));
    let mut other_version = before.clone();
    other_version.canary = "c".into();
    let now = assigner(&before, &running(50));
    let redraw = |spec: &ReleaseSpec| {
        let then = assigner(spec, &running(10));
        let user = User::draw(&mut Draw(3));
        let seen = seen(&user, &now).expect("a user");
        let preview = Preview { now: &now, then: &then, geo: None };
        assert_eq!(preview.of(&seen).share, Some(percent(10)));
        preview.redraw()
    };
    assert_eq!(redraw(&before), None);
    assert_eq!(redraw(&other_key), Some(Redraw::Key));
    assert_eq!(redraw(&other_salt), Some(Redraw::Salt));
    assert_eq!(redraw(&other_version), Some(Redraw::Versions));
}
