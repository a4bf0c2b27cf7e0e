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
        let (mut bench, mut gathering) = (stored.bench(), Gathering::default());
        for since in 821..833 {
            close(&mut bench, &mut gathering, &mut stored, FIRST + since).expect("it is taken");
        }
        assert!(run(stored.text()).is_ahead(5 * (FIRST + 113)));
        if another_leads_then {
            (bench, gathering) = (stored.bench(), Gathering::default());
        }
        // Some of this one was counted by the other clock.
        assert!(close(&mut bench, &mut gathering, &mut stored, FIRST + 113).is_none());
        for since in 115..160 {
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
    let closable = gathering.next(&BTreeSet::new(), 5 * window + 6).expect("it was reported");
    let closed = bench.close(&rules(), &closable, window + 1)?;
    // Those that were over too early are over once more.
    closed.blocks.iter().for_each(|(number, _)| drop(stored.blocks.remove(&format!("r/{number}"))));
    bench.keep(rules().name(), stored.keep(&closed));
    Some(())
}
