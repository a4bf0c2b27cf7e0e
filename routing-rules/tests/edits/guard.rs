//! Which edits of a release under way are refused, and that those that are not take nobody back.

use routing_rules::release::{Group, ReleaseRecord, ReleaseState, Status, throws_back};
use routing_rules::spec::ReleaseSpec;

use crate::crowd::{Draw, User, assigner, draw_edit, draw_release, release, running};

#[test]
fn an_edit_that_only_grows_takes_nobody_back() {
    let mut draw = Draw(7);
    let (mut grows, mut refused, mut taken_back) = (0, 0, 0);
    for _ in 0..6_000 {
        let spec = draw_release(&mut draw);
        let edited = draw_edit(&spec, &mut draw);
        let state = running([0, 10, 50][draw.below(3)]);
        let (now, then) = (assigner(&spec, &state), assigner(&edited, &state));
        let cause = throws_back(now.rules(), then.rules(), state);
        let mut loses = false;
        for _ in 0..20 {
            let mut user = User::draw(&mut draw);
            user.visits(&now);
            // By now somewhere else, where only the pin may keep it in.
            if draw.one_in(2) {
                user.moves(&mut draw);
            }
            let (before, after) = (user.assignment(&now), user.assignment(&then));
            let is_taken_back = (before.group, after.group) == (Group::Canary, Group::Stable);
            assert!(
                !is_taken_back || cause.is_some(),
                "{before:?}\n{after:?}\n{:?}\nin {spec:?}\nedited to {edited:?} at {state:?}",
                user.headers
            );
            loses |= is_taken_back;
        }
        match cause {
            None => grows += 1,
            Some(_) => refused += 1,
        }
        taken_back += usize::from(loses);
    }
    // It does not come out right by refusing everything.
    assert!(grows > 1_800 && taken_back > 900 && refused < 4 * taken_back, "{grows} {refused} {taken_back}");
}

/// A release with this audience and these fields.
fn spec(audience: &str, more: &str) -> ReleaseSpec {
    let text = format!(
        r#"{{"stable": "a", "canary": "b", "audience": [{audience}], "phases": [10, 50, 100], "sticky": {{"key": ["client_ip"]}}{more}}}"#
    );
    serde_json::from_str(&text).expect("a release")
}

const OFFICE: &str = r#"{"name": "office", "ip": ["10.0.0.0/8"], "percent": 100}"#;
const PHONES: &str = r#"{"name": "phones", "device": ["iphone", "ipad"], "percent": 50}"#;
const CHINA: &str = r#"{"name": "china", "geo": {"country": ["CN"]}, "percent": 50}"#;
const ALL: &str = r#"{"name": "all"}"#;

/// Why an edit is refused at 10 %.
fn cause(before: &[&str], after: &[&str]) -> Option<(String, String)> {
    let [before, after] = [before, after].map(|rules| release(&spec(&rules.join(", "), "")));
    throws_back(&before, &after, running(10)).map(|cause| (cause.at, cause.reason))
}

#[test]
fn what_takes_users_back_is_named() {
    let office_of = |ip: &str| format!(r#"{{"name": "office", "ip": [{ip}], "percent": 100}}"#);
    let says = |before: &[&str], after: &[&str], at: &str, reason: &str| {
        assert_eq!(cause(before, after), Some((at.into(), reason.into())), "{before:?} {after:?}");
    };
    let all_at = |percent: u8| format!(r#"{{"name": "all", "percent": {percent}}}"#);
    says(&[ALL], &[&all_at(5)], "audience[0].percent", "`all` goes from 10 % to 5 %");
    says(&[&all_at(20)], &[ALL], "audience[0].percent", "`all` goes from 20 % to 10 %");
    says(&[OFFICE, ALL], &[ALL], "audience[0]", "whom `office` (100 %) takes may come under `all` (10 %)");
    says(&[OFFICE, ALL], &[OFFICE], "audience", "whom `all` (10 %) takes may come under no rule");
    says(&[OFFICE], &[&office_of("\"10.8.0.0/16\"")], "audience", "whom `office` (100 %) takes may come under no rule");
    says(&[PHONES, ALL], &[ALL, PHONES], "audience[0]", "whom `phones` (50 %) takes may come under `all` (10 %)");
    says(&[CHINA, ALL], &[ALL], "audience[0]", "whom `china` (50 %) takes may come under `all` (10 %)");
    says(
        &[OFFICE, PHONES],
        &[PHONES, OFFICE],
        "audience[0]",
        "whom `office` (100 %) takes may come under `phones` (50 %)",
    );
    let headquarters = OFFICE.replace("office", "hq");
    let renamed = "users with a pin of `office` (100 %) may come under another rule, or none";
    says(&[OFFICE, ALL], &[&headquarters, ALL], "audience", renamed);
}

#[test]
fn what_only_adds_users_is_accepted() {
    let all_at = |percent: u8| format!(r#"{{"name": "all", "percent": {percent}}}"#);
    let campus = r#"{"name": "office", "ip": ["10.0.0.0/8", "192.0.2.0/24"], "percent": 100}"#;
    let none = r#"{"name": "none", "ip": ["192.0.2.0/24"], "percent": 0}"#;
    let nobody = r#"{"name": "all", "percent": 0}"#;
    for (before, after) in [
        (&[ALL][..], &[ALL][..]),
        (&[ALL], &[&all_at(10)]),
        (&[ALL], &[&all_at(20)]),
        (&[OFFICE, ALL], &[campus, ALL]),
        (&[ALL], &[OFFICE, ALL]),
        (&[ALL], &[PHONES, OFFICE, ALL]),
        (&[OFFICE], &[OFFICE, none]),
        (&[OFFICE, PHONES], &[OFFICE, CHINA, PHONES]),
        // They have no user in common.
        (&[OFFICE, none], &[none, OFFICE]),
        // Whoever it takes is in another rule, and had the name from nobody else.
        (&[ALL], &[r#"{"name": "everybody", "percent": 10}"#]),
        (&[nobody], &[PHONES]),
        // The second one never decides.
        (&[ALL, r#"{"name": "shadow", "ip": ["10.0.0.0/8"], "percent": 0}"#], &[ALL]),
    ] {
        assert_eq!(cause(before, after), None, "{before:?} {after:?}");
    }
}

#[test]
fn another_line_is_refused_unless_nobody_can_lose_by_it() {
    let before = spec(ALL, "");
    let mut salt = before.clone();
    salt.sticky.salt = Some("00".repeat(16));
    let mut key = before.clone();
    key.sticky.key.insert(0, routing_rules::spec::KeySourceSpec::SerinId);
    let mut pin = before.clone();
    pin.sticky.pin = Some(false);
    let at = |edited: &ReleaseSpec, percent| {
        throws_back(&release(&before), &release(edited), running(percent)).map(|cause| cause.at)
    };
    for (edited, place) in [(&salt, "sticky.salt"), (&key, "sticky.key"), (&pin, "sticky")] {
        assert_eq!(at(edited, 10).as_deref(), Some(place));
        assert_eq!((at(edited, 0), at(edited, 100)), (None, None));
    }
    for status in [Status::RolledBack, Status::Completed] {
        let state = ReleaseState { status, ..running(50) };
        assert_eq!(throws_back(&release(&before), &release(&salt), state), None);
    }
}

#[test]
fn force_is_about_one_edit() {
    let before = release(&spec(OFFICE, ""));
    let record = ReleaseRecord::begin(&before, 1, None, 0);
    let nobody = OFFICE.replace("100", "0");
    let [plain, zero, one] = ["", r#", "force": 0"#, r#", "force": 1"#].map(|force| release(&spec(&nobody, force)));
    let refusal = record.refuses(&before, &plain).expect("a refusal").to_string();
    assert_eq!(
        refusal,
        "users of the canary may go back to stable: `office` goes from 100 % to 0 %; the release stays as it was \
         accepted. Write `force: 0` into it to do it all the same"
    );
    assert!(record.refuses(&before, &one).expect("a refusal").to_string().ends_with("this one takes `force: 0`"));
    assert_eq!(record.refuses(&before, &zero), None);
    // It was accepted. What it forced is over.
    let record = record.after_edit(&zero, 2, 1).expect("an edit");
    assert_eq!((record.epoch, record.after_edit(&plain, 2, 2)), (1, None));
    assert!(record.has_accepted(&plain) && record.has_accepted(&zero) && !record.has_accepted(&before));
    let again = record.after_edit(&before, 1, 3).expect("an edit");
    assert_eq!(again.refuses(&before, &zero).map(|refusal| (refusal.epoch, refusal.force)), Some((2, Some(0))));
    // Another pair of versions begins anew.
    let mut other = spec(&nobody, "");
    other.canary = "c".into();
    assert_eq!(record.refuses(&before, &release(&other)), None);
    // What does not say who is where is no edit that anything is counted by.
    let mut longer = spec(&nobody, "");
    longer.phases.pop();
    let longer = record.after_edit(&release(&longer), 2, 4).expect("an edit");
    assert_eq!((longer.epoch, longer.number, &*longer.last.action), (1, 3, "edit"));
}
