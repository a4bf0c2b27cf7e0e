//! Before a release: two groups on stable, which of them is the canary to be.

use routing_rules::analysis::{Arm, Dispersion, Division, Preflight, Record, Refused, Settings, Window};

use crate::traffic::{ALIKE, Source, Traffic};

#[test]
fn an_even_division_passes_after_ten_minutes() {
    let mut uneven = 0;
    for seed in 0..200 {
        let mut source = Source::new(ALIKE, seed);
        let mut preflight = Preflight::new(Settings::default(), Some(source.edges()), source.dispersion(), 0);
        let divisions: Vec<Division> = (1..=120)
            .map(|window| preflight.close(&Window::new(window).with("all", &source.record())).unwrap())
            .collect();
        uneven += usize::from(divisions.contains(&Division::NewSalt));
        if !divisions.contains(&Division::NewSalt) {
            assert_eq!((divisions[118], divisions[119]), (Division::Comparing, Division::Even));
        }
    }
    assert!(uneven <= 10, "{uneven} of 200 asked for another salt");
}

#[test]
fn an_uneven_division_is_tried_three_more_times() {
    // Whoever is chosen fails more often: no salt helps.
    let mut source = Source::new(Traffic { canary_failing: 0.03, ..ALIKE }, 1);
    let mut preflight = Preflight::new(Settings::default(), Some(source.edges()), source.dispersion(), 0);
    let mut divisions = Vec::new();
    for window in 1..=600 {
        let division = preflight.close(&Window::new(window).with("all", &source.record())).unwrap();
        if division != Division::Comparing {
            divisions.push(division);
        }
    }
    assert_eq!(divisions[..3], [Division::NewSalt; 3]);
    assert!(divisions[3..].iter().all(|division| *division == Division::Uneven) && divisions.len() > 3);
    assert_eq!(preflight.salts(), 3);
    // Somebody else who goes on does not begin to count anew.
    let mut other = Preflight::new(Settings::default(), None, Dispersion::NONE, 3);
    let bad = Arm { requests: 50, failed: 50, ..Arm::default() };
    let good = Arm { requests: 450, failed: 2, ..Arm::default() };
    let record = Record { canary: bad, control: good };
    let divisions = [1, 2].map(|window| other.close(&Window::new(window).with("all", &record)).unwrap());
    assert!(divisions.contains(&Division::Uneven), "{divisions:?}");
}

#[test]
fn each_window_counts_once_and_in_order() {
    let mut preflight = Preflight::new(Settings::default(), None, Dispersion::NONE, 0);
    assert_eq!(preflight.close(&Window::new(5)), Ok(Division::Comparing));
    for window in [1, 5] {
        assert_eq!(preflight.close(&Window::new(window)), Err(Refused::Done { window, last: 5 }));
    }
}
