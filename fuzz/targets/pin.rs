//! Any cookies at a release that issues pins: whatever was not issued is not believed, and nothing panics.
#![no_main]

use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use http::Method;
use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use routing_rules::release::{Assigner, Assignment, Group, Moment, Reason, ReleaseState, Secret};
use routing_rules::request::RequestView;
use routing_rules::rules::Release;
use routing_rules::spec::ReleaseSpec;

#[derive(Arbitrary, Debug)]
struct Input {
    /// What happens to the pin that was issued: bytes to flip, and a length to cut it to.
    flips: Vec<(u8, u8)>,
    cut: Option<u8>,
    /// Cookies before it.
    others: Vec<u8>,
    minutes_later: u32,
    draw: u64,
}

static ASSIGNER: LazyLock<Assigner> = LazyLock::new(|| {
    let spec: ReleaseSpec = serde_json::from_str(SPEC).expect("the text is a spec");
    let mut problems = Vec::new();
    let rules = Arc::new(Release::new("r", &spec, &mut problems).expect("the release is right"));
    let state = ReleaseState::initial(&rules);
    Assigner::new(rules, &state, &Secret::from_bytes([7; 32]))
});

const SPEC: &str = r#"{
    "stable": "a",
    "canary": "b",
    "audience": [{"name": "everyone", "percent": 100}],
    "sticky": {"key": [{"header": "x-user"}], "pin": true}
}"#;

const BEGIN: u64 = 1_800_000_000;

fuzz_target!(|input: Input| {
    let pin = issued();
    let mut cookie = input.others.clone();
    cookie.extend_from_slice(b"; serin-pin-r=");
    let mut value = pin.clone().into_bytes();
    for (place, flip) in &input.flips {
        let place = usize::from(*place) % value.len();
        value[place] ^= flip;
    }
    value.truncate(input.cut.map_or(value.len(), usize::from));
    let is_as_issued = value == pin.as_bytes();
    cookie.extend_from_slice(&value);
    let later = u64::from(input.minutes_later % (60 * 24 * 60)) * 60;
    let Some(assignment) = assign(&cookie, "someone", BEGIN + later, input.draw) else { return };
    // A pin among the other cookies comes first and may be anything but one that was issued.
    let is_alone = !contains(&input.others, b"serin-pin-r");
    if is_alone && is_as_issued && !input.others.contains(&b'"') {
        let is_young = later < LIFE_SECS;
        assert_eq!(assignment.reason == Reason::Pin, is_young, "{assignment} after {later} s");
    }
    if !is_as_issued {
        assert_ne!(assignment.reason, Reason::Pin, "{:?} is believed", String::from_utf8_lossy(&cookie));
    }
    assert_eq!(assignment.group, Group::Canary);
});

/// 30 days.
const LIFE_SECS: u64 = 30 * 24 * 60 * 60;

/// The value of a pin as a browser would get it.
fn issued() -> String {
    let assignment = assign(b"", "somebody", BEGIN, 0).expect("no cookies are good cookies");
    let cookie = assignment.cookies(true).next().expect("a canary user gets a pin");
    let text = cookie.to_str().expect("cookies are text");
    let value = text.strip_prefix("serin-pin-r=").and_then(|rest| rest.split(';').next());
    value.expect("the pin has a value").to_owned()
}

fn assign(cookie: &[u8], user: &str, unix_secs: u64, draw: u64) -> Option<Assignment<'static>> {
    let mut headers = HeaderMap::new();
    headers.insert(HeaderName::from_static("x-user"), HeaderValue::from_str(user).ok()?);
    if !cookie.is_empty() {
        headers.insert(COOKIE, HeaderValue::from_bytes(cookie).ok()?);
    }
    let request = RequestView::new(&Method::GET, "a", "/", &headers, [192, 0, 2, 1].into());
    Some(ASSIGNER.assign(&request, &Moment { unix_secs, draw: [draw, !draw] }))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
