//! Before a release: two groups on stable, which of them is the canary to be.

use routing_rules::analysis::{
    Arm, Dispersion, Division, Metric, Newcomers, Preflight, PreflightState, Record, Refused, Settings, Window,
};
use serde_json::{Value, json};

use crate::traffic::{ALIKE, Source, Traffic};

fn newcomers(salts: u8) -> Newcomers {
    Newcomers { share: 1_000, lasts_s: 600, salts, may_have_another: true }
}

fn preflight(source: &mut Source, newcomers: Newcomers) -> Preflight {
    let mut preflight = Preflight::new(Settings::default(), newcomers);
    preflight.fix_edges(Some(source.edges()));
    preflight.set_dispersion(source.dispersion());
    preflight
}

#[test]
fn an_even_division_passes_after_ten_minutes() {
    let mut uneven = 0;
    for seed in 0..200 {
        let mut source = Source::new(ALIKE, seed);
        let mut preflight = preflight(&mut source, newcomers(0));
        let divisions: Vec<Division> = (1..=121)
            .map(|window| preflight.close(&Window::new(window).with("all", &source.record())).unwrap())
            .collect();
        uneven += usize::from(divisions.contains(&Division::NewSalt));
        if !divisions.contains(&Division::NewSalt) {
            assert_eq!(divisions[118..], [Division::Comparing, Division::Even, Division::Even]);
        }
    }
    assert!(uneven <= 10, "{uneven} of 200 asked for another salt");
}

#[test]
fn an_uneven_division_is_final_and_three_other_salts_are_tried() {
    for (salts, may_have_another, expected) in [
        (0, true, Division::NewSalt),
        (2, true, Division::NewSalt),
        (3, true, Division::Uneven),
        (0, false, Division::Uneven),
    ] {
        let mut source = Source::new(Traffic { canary_failing: 0.03, ..ALIKE }, 1);
        let mut preflight = preflight(&mut source, Newcomers { may_have_another, ..newcomers(salts) });
        let mut found = None;
        for window in 1..=200 {
            let division = preflight.close(&Window::new(window).with("all", &source.record())).unwrap();
            if found.is_none() && division != Division::Comparing {
                found = Some((division, preflight.state().clone()));
            }
        }
        let (division, state) = found.expect("three failures in a hundred are seen");
        assert_eq!((division, preflight.division()), (expected, expected));
        assert_eq!(&state, preflight.state(), "nothing more counts");
        assert_eq!(preflight.report().trigger, Some(Metric::Errors));
    }
}

#[test]
fn each_window_counts_once_and_in_order() {
    let mut preflight = Preflight::new(Settings::default(), newcomers(0));
    assert!(!preflight.has_begun());
    assert_eq!(preflight.close(&Window::new(5)), Ok(Division::Comparing));
    for window in [1, 5] {
        assert_eq!(preflight.close(&Window::new(window)), Err(Refused::Done { window, last: 5 }));
    }
    let at_once = Preflight::new(Settings::default(), Newcomers { lasts_s: 0, ..newcomers(0) });
    assert_eq!(at_once.division(), Division::Even);
}

fn record(canary_failed: u64) -> Record {
    let arm = |requests, failed| Arm { requests, failed, ..Arm::default() };
    Record { canary: arm(50, canary_failed), control: arm(450, 2) }
}

#[test]
fn it_says_in_words_how_it_stands() {
    let mut preflight = Preflight::new(Settings::default(), newcomers(0));
    let mut said = vec![preflight.report().text];
    for window in 1..=120 {
        preflight.close(&Window::new(window).with("all", &record(0))).unwrap();
        if [72, 120].contains(&window) {
            said.push(preflight.report().text);
        }
    }
    let mut bad = Preflight::new(Settings::default(), newcomers(0));
    bad.set_dispersion(Dispersion::NONE);
    (1..=3).for_each(|window| _ = bad.close(&Window::new(window).with("all", &record(6))));
    said.push(bad.report().text);
    bad.set(Settings::default(), newcomers(3));
    said.push(bad.report().text);
    bad.set(Settings::default(), Newcomers { may_have_another: false, ..newcomers(0) });
    said.push(bad.report().text);
    let unlike = "Before the release: the next 10 % are unlike all others, and all are on stable. Errors: 12.00 % (12/100), \
                  all others 0.44 % (4/900). Evidence 143 of 20.";
    assert_eq!(said, [
        "Before the release: it is not known yet what stable is like. Then the next 10 % are compared with all others for 10 min."
            .to_owned(),
        "Before the release: 6 min of 10 min, the next 10 % are like all others so far (evidence 0.66 of 20).".to_owned(),
        "Before the release: in 10 min the next 10 % were like all others (evidence 0.61 of 20).".to_owned(),
        format!("{unlike} With another salt others come first."),
        format!("{unlike} So were those whom other salts chose. Look into it, or promote the release by hand."),
        format!("{unlike} Its rules allow no other salt. Look into it, or promote the release by hand."),
    ]);
}

#[test]
fn whoever_goes_on_finds_the_same() {
    let mut source = Source::new(ALIKE, 2);
    let mut one = preflight(&mut source, newcomers(0));
    let mut other = one.clone();
    for window in 1..=130 {
        let window = Window::new(window).with("all", &source.record());
        let text = serde_json::to_string(other.state()).unwrap();
        assert!(text.len() < 1_000, "{} bytes", text.len());
        other = Preflight::resume(Settings::default(), newcomers(0), serde_json::from_str(&text).unwrap());
        assert_eq!(one.close(&window), other.close(&window));
        assert_eq!(one, other);
    }
}

#[test]
fn what_no_preflight_has_written_is_refused() {
    let mut preflight = Preflight::new(Settings::default(), newcomers(0));
    preflight.close(&Window::new(1).with("all", &record(0))).unwrap();
    let good = serde_json::to_value(preflight.state()).unwrap();
    let with = |key: &str, new: Value| {
        let mut value = good.clone();
        value[key] = new;
        serde_json::from_value::<PreflightState>(value).map(drop).unwrap_err().to_string()
    };
    for (said, reason) in [
        (with("form", json!(2)), "it has a form that is not known here"),
        (with("edges", json!([4, 3, 2, 1])), "it has edges that no latency has"),
        (with("counts", json!([[2_u64, 1, 0, 0]; 5].to_vec())), "it has more events than requests"),
        (with("numbers", json!("")), "bytes in base64"),
        (with("numbers", json!("A".repeat(598))), "it has a number that cannot be"),
        (with("more", json!(1)), "unknown field"),
    ] {
        assert!(said.contains(reason), "{said}");
    }
}
