//! The table of `docs/analysis.md`: what the analysis and its rivals make of each fault, with and without bursts.

use super::{Fault, Hour, WINDOWS, hours};
use crate::traffic::{Bursts, Illness};

/// Runs of each row without a fault: `SERIN_SIMULATION_RUNS`, or few. Rows with a fault have a fifth of them.
const FEW: u64 = 10;

const FAULTS: [(&str, Fault); 5] = [
    ("none", Fault::Nothing),
    ("errors ×2", Fault::Errors(2.0)),
    ("errors ×5", Fault::Errors(5.0)),
    ("errors +1 point", Fault::MoreErrors(0.01)),
    ("p99 ×1.5", Fault::P99(1.5)),
];

const BURSTS: [(&str, Bursts); 4] = [
    ("none", Bursts::None),
    ("of users", Bursts::Users),
    ("an instance, up to 5 s", Bursts::Instance(Illness::Short)),
    ("an instance, 10 s and more", LONG),
];

/// Beyond what is promised: a burst over many windows is not told from a fault. It is shown for good canaries.
const LONG: Bursts = Bursts::Instance(Illness::Long);

#[test]
fn table() {
    let runs = std::env::var("SERIN_SIMULATION_RUNS").map_or(FEW, |runs| runs.parse().expect("a number of runs"));
    let mut lines = vec![
        "| fault | bursts | analysis | fixed thresholds | rank test per interval |".to_owned(),
        "|---|---|---|---|---|".to_owned(),
    ];
    let mut false_alarms = Vec::new();
    for (fault_name, fault) in FAULTS {
        for (bursts_name, bursts) in BURSTS.iter().filter(|(_, bursts)| fault == Fault::Nothing || *bursts != LONG) {
            let hours = hours(fault, *bursts, if fault == Fault::Nothing { runs } else { runs.div_ceil(5) });
            let mut cells = [0, 1, 2].map(|judge| cell(fault, &hours, judge));
            if fault == Fault::Nothing {
                let promoted: Vec<Option<u64>> = hours.iter().map(|hour| hour.promoted).collect();
                cells[0] += &format!("; next phase after {}", spread(&promoted, time));
                if *bursts != LONG {
                    false_alarms.push((bursts_name, ended(&hours, 0), hours.len()));
                }
            }
            lines.push(format!("| {fault_name} | {bursts_name} | {} |", cells.join(" | ")));
        }
    }
    #[expect(clippy::print_stdout, reason = "`cargo xtask simulate` shows the lines that are part of a table")]
    lines.iter().for_each(|line| println!("{line}"));
    for (bursts, alarms, hours) in false_alarms {
        assert!(alarms * 100 <= hours, "bursts {bursts}: {alarms} of {hours} good canaries were rolled back");
    }
}

/// `20 s (35 s), 85 bad (160)`: half of the runs have ended by then, and nine of ten.
fn cell(fault: Fault, hours: &[Hour], judge: usize) -> String {
    let count = ended(hours, judge);
    if fault == Fault::Nothing {
        return format!("{count} of {} rolled back", hours.len());
    }
    let times: Vec<Option<u64>> = hours.iter().map(|hour| Some(hour.ends[judge]?.windows)).collect();
    // Where nobody rolls back, the hour goes on.
    let bad: Vec<Option<u64>> =
        hours.iter().map(|hour| Some(hour.ends[judge].map_or(hour.bad, |end| end.bad))).collect();
    let missed = if count < hours.len() {
        format!(", {} of {} missed", hours.len() - count, hours.len())
    } else {
        String::new()
    };
    format!("{}, {} bad{missed}", spread(&times, time), spread(&bad, |bad| bad.to_string()))
}

fn ended(hours: &[Hour], judge: usize) -> usize {
    hours.iter().filter(|hour| hour.ends[judge].is_some()).count()
}

/// The median, and in brackets what nine of ten do not exceed. What has not happened takes longer than all else.
fn spread(values: &[Option<u64>], show: impl Fn(u64) -> String) -> String {
    let mut values = values.to_vec();
    values.sort_by_key(|value| value.unwrap_or(u64::MAX));
    let at = |part: usize| values.get((values.len() * part).div_ceil(10).max(1) - 1).copied().flatten();
    let show = |value: Option<u64>| value.map_or_else(|| time(WINDOWS + 1), &show);
    format!("{} ({})", show(at(5)), show(at(9)))
}

fn time(windows: u64) -> String {
    match windows * 5 {
        _ if windows > WINDOWS => "more than 1 h".to_owned(),
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds => format!("{:.1} min", seconds as f64 / 60.0),
    }
}
