//! A state as a text: how long it is, and what is refused.

use routing_rules::analysis::{Analysis, Phase, Settings, Start, State, Window};
use serde_json::{Value, json};

use crate::random::Random;
use crate::traffic::{ALIKE, Source};

fn some_analysis() -> Analysis {
    let mut source = Source::new(ALIKE, 1);
    let mut analysis = source.analysis(5);
    for window in 1_000..1_100 {
        analysis.close(&Window::new(window).with("all", &source.record())).unwrap();
    }
    analysis
}

fn written() -> Value {
    serde_json::to_value(some_analysis().state()).unwrap()
}

#[test]
fn it_is_short_and_comes_back() {
    let first = Phase::new(0, 1, 10_000).unwrap();
    let start = Start { phases: 3, first, edges: None, usual_failure_rate: f64::NAN, window: u64::MAX };
    // The winnings of a release that has not begun are −∞, which JSON could not say.
    let unborn = Analysis::new(Settings::default(), start);
    for analysis in [unborn, some_analysis()] {
        let text = serde_json::to_string(analysis.state()).unwrap();
        assert!(text.len() < 2_500, "{} bytes: {text}", text.len());
        assert_eq!(&serde_json::from_str::<State>(&text).unwrap(), analysis.state());
    }
}

#[test]
fn what_no_analysis_has_written_is_refused() {
    let damage = |damage: &dyn Fn(&mut Value)| {
        let mut value = written();
        damage(&mut value);
        serde_json::from_value::<State>(value).map(drop).unwrap_err().to_string()
    };
    let set = |key: &'static str, new: Value| damage(&move |value: &mut Value| value[key] = new.clone());
    let cases = [
        (set("form", json!(2)), "it has a form that is not known here"),
        (set("phase", json!([1, 0, 10])), "it has no such phase"),
        (set("phase", json!([1, 10_000, 10_000])), "it has no such phase"),
        (set("phase", json!([1, -1, 10_000])), "invalid value"),
        (set("stakes", json!([0, 0, 0])), "it counts more stakes than can have been made"),
        (set("stakes", json!([5, 6, 1])), "it counts more stakes than can have been made"),
        (set("edges", json!([1, 2, 3, 155])), "it has edges that no latency has"),
        (set("edges", json!([4, 3, 2, 1])), "it has edges that no latency has"),
        (set("edges", json!([4, 3, 2])), "invalid length"),
        (set("rolled_back", json!("luck")), "it was rolled back for an unknown metric"),
        (set("numbers", json!("")), "bytes in base64"),
        (set("numbers", json!("…")), "bytes in base64"),
        (set("unknown", json!(1)), "unknown field"),
        (damage(&|value| value["counts"][0][0] = json!(u64::MAX)), "it has more events than requests"),
        (damage(&|value| drop(value.as_object_mut().unwrap().remove("recent"))), "missing field"),
        (damage(&|value| *value = json!("a text")), "invalid type"),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{error}, not {expected}");
    }
}

/// The first and the last character carry eight bytes each of some number; NaN, infinities and what is out of its
/// range.
#[test]
fn numbers_are_checked_one_by_one() {
    let text = serde_json::to_string(&written()).unwrap();
    let begin = text.find("\"numbers\":\"").unwrap() + 11;
    let length = text[begin..].find('"').unwrap();
    // "/w" and "8D8" are parts of NaN and ∞ in base64: a run of `/` is eight bytes of 0xff, wherever it lies.
    for at in (0..length - 22).step_by(4) {
        let mut damaged = text.clone();
        damaged.replace_range(begin + at..begin + at + 22, &"/".repeat(22));
        let error = serde_json::from_str::<State>(&damaged).map(drop).unwrap_err().to_string();
        assert!(error.contains("it has a number that cannot be"), "at {at}: {error}");
    }
}

/// Whatever becomes of a text: an error, or a state that goes on without a panic and without NaN.
#[test]
fn damaged_texts_never_panic() {
    let text = serde_json::to_string(&written()).unwrap().into_bytes();
    let mut random = Random(9);
    let mut source = Source::new(ALIKE, 2);
    let record = source.record();
    let mut read = 0;
    for _ in 0..20_000 {
        let mut damaged = text.clone();
        for _ in 0..1 + random.below(3) {
            let at = random.below(damaged.len());
            damaged[at] = b"0123456789ABCdef+/\"[],:{}"[random.below(25)];
        }
        let Ok(state) = serde_json::from_slice::<State>(&damaged) else { continue };
        read += 1;
        let mut analysis = Analysis::resume(Settings::default(), state);
        let next = analysis.state().window().saturating_add(1);
        _ = analysis.close(&Window::new(next).with("all", &record));
        let report = analysis.report(u64::MAX);
        assert!(report.evidence >= 0.0 && report.metrics.iter().all(|metric| metric.promotion >= 0.0), "{report:?}");
    }
    assert!(read > 100, "only {read} were read: nothing was tried");
}
