//! A clock that is ahead closes windows that are yet to come. When it is right again, or another one leads, the release goes on.

use std::collections::BTreeSet;

use super::bench::Bench;
use super::gathering::Gathering;
use super::tests::{FIRST, Stored, replay, report, rules, run, seen};

/// The clock of who leads is an hour ahead for a minute, and then right again.
#[test]
fn a_clock_that_was_ahead_does_not_hold_a_release_until_then() {
    let (kept, recorded) = replay(&[]);
    for another_leads_then in [false, true] {
        let mut stored = Stored::default();
        let state = stored.value(&kept[&(FIRST + 100)]);
        stored.state = Some(state);
        let number = |rest: &str| rest.trim_start_matches("r/").parse::<u64>().unwrap();
        let blocks = recorded.blocks.iter().filter(|(rest, _)| number(rest) < (FIRST + 100) / 60);
        stored.blocks = blocks.map(|(rest, block)| (rest.clone(), block.clone())).collect();
        let evidence = |stored: &Stored| run(stored.text()).analysis.report(0).evidence;
        let (mut bench, mut gathering) = (stored.bench(), Gathering::default());
        for since in 821..833 {
            close(&mut bench, &mut gathering, &mut stored, FIRST + since).expect("it is taken");
        }
        assert!(run(stored.text()).is_ahead(5 * (FIRST + 113)));
        let found = evidence(&stored);
        if another_leads_then {
            (bench, gathering) = (stored.bench(), Gathering::default());
        }
        // As long as another one says that it is so late, it may be this clock that is wrong.
        gathering.note("b", 7, FIRST + 833);
        assert!(close(&mut bench, &mut gathering, &mut stored, FIRST + 113).is_none());
        assert_eq!(evidence(&stored), found);
        gathering.note("b", 8, FIRST + 114);
        // Some of this one was counted by the other clock.
        assert!(close(&mut bench, &mut gathering, &mut stored, FIRST + 114).is_none());
        close(&mut bench, &mut gathering, &mut stored, FIRST + 116).expect("it goes on");
        // It is the first of a phase that is judged anew, and what was found stays: with no stake and one window more.
        let (before, after) = (found, evidence(&stored));
        assert!((after / before - 1.0).abs() < 0.1, "{before} became {after}");
        for since in 117..160 {
            close(&mut bench, &mut gathering, &mut stored, FIRST + since).expect("it goes on");
        }
        let last = run(stored.text());
        assert_eq!(last.analysis.state().window(), FIRST + 159);
        assert!(last.analysis.phase_s() >= 200, "{} s", last.analysis.phase_s());
    }
}

/// One instance has reported a good window, and it is closed.
fn close(bench: &mut Bench, gathering: &mut Gathering, stored: &mut Stored, window: u64) -> Option<()> {
    gathering.take("a", report(window, seen(50, 0)), 5 * window + 6);
    let live = BTreeSet::from(["a", "b"].map(Box::from));
    // Nobody waits for the other one.
    let closable = gathering.next(&live, 5 * window + 20)?;
    let closed = bench.close(&rules(), &closable, window + 1)?;
    // Those that were over too early are over once more.
    closed.blocks.iter().for_each(|(number, _)| drop(stored.blocks.remove(&format!("r/{number}"))));
    bench.keep(rules().name(), stored.keep(&closed));
    Some(())
}
