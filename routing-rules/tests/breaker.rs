//! The states of breakers, step by step: streaks, gates, openings, probes, ramps, and who is held.

use routing_rules::breaker::{
    Admission, Breaker, Cause, Condition, Gate, GroupBreaker, Hold, Layout, Member, Outcome, ProbeEnd, Settings, Signs,
    State, Streak, Ticked, Transition, Window, tick,
};

const FINE: Outcome = Outcome::Answer(200);
const BROKEN: Outcome = Outcome::Answer(500);

#[test]
fn five_failures_in_a_row_are_a_streak() {
    let streak = Streak::new(5);
    let failures = [BROKEN, Outcome::NetworkError, Outcome::Answer(503), Outcome::BodyCut];
    let mut state = failures.iter().fold(Streak::start(0), |state, outcome| streak.next(state, *outcome, 1));
    assert!(!streak.is_full(state));
    let interrupted = streak.next(state, Outcome::Answer(404), 2);
    assert!(!streak.is_full(streak.next(interrupted, BROKEN, 3)));
    state = streak.next(state, BROKEN, 2);
    assert!(streak.is_full(state));
    // It stays full however long it becomes.
    state = (0..100_000).fold(state, |state, now| streak.next(state, BROKEN, now));
    assert!(streak.is_full(state) && !streak.is_full(streak.next(state, FINE, 0)));
    assert!(!Streak::new(0).is_full(state), "there is no streak of nothing");
}

#[test]
fn timeouts_count_once_nothing_has_succeeded_for_a_second() {
    let streak = Streak::new(2);
    let state = streak.next(Streak::start(0), FINE, 5_000);
    let at = |now_ms: u64| streak.next(streak.next(state, Outcome::Timeout, now_ms), Outcome::Timeout, now_ms);
    assert_eq!(at(5_001), state);
    assert_eq!(at(5_999), state);
    assert!(!streak.is_full(at(6_000)), "the last success may be written 100 ms late");
    assert!(streak.is_full(at(6_100)));
    // Successes beside them keep them patient; other failures count at once.
    let kept = (0..100).fold(state, |state, step| {
        let now_ms = 6_000 + 90 * step;
        streak.next(streak.next(state, FINE, now_ms), Outcome::Timeout, now_ms + 1)
    });
    assert!(!streak.is_full(kept) && !streak.is_full(streak.next(kept, BROKEN, 15_000)));
    // Nothing has ever been seen: the start counts.
    assert_eq!(streak.next(Streak::start(3_000), Outcome::Timeout, 4_000), Streak::start(3_000));
}

#[test]
fn a_healthy_endpoint_writes_its_streak_ten_times_a_second() {
    let streak = Streak::new(5);
    let mut state = Streak::start(0);
    let mut writes = 0;
    for now_us in (0..10_000_000).step_by(100) {
        let next = streak.next(state, FINE, now_us / 1_000);
        writes += usize::from(next != state);
        state = next;
    }
    assert_eq!(writes, 99);
}

#[test]
fn a_gate_lets_one_probe_through_at_a_time() {
    let mut bench = Bench::new(4);
    bench.open(0);
    assert_eq!(bench.gates[0].admission(true), Admission::Refused);
    assert_eq!(
        bench.run_to(|bench| matches!(bench.breakers[0].state(), State::Probing { .. })),
        Transition::BeganProbing
    );
    let Admission::Probe(taken) = bench.gates[0].admission(true) else { panic!("no probe") };
    let epoch = taken.epoch();
    assert_eq!(taken.admission(true), Admission::Refused);
    assert_eq!(bench.gates[0].probed(epoch, ProbeEnd::Success), None, "there is none in flight");
    assert_eq!(taken.probed(epoch + 1, ProbeEnd::Success), None, "it is of another period");
    let given_back = taken.probed(epoch, ProbeEnd::Abandoned).unwrap();
    assert_eq!(given_back, bench.gates[0]);
    assert_eq!(Gate::from_bits(taken.bits()), taken);
}

/// The ends of probes, one after the other, and what the breaker does at the last of them.
const PROBES: &[(&str, Transition)] = &[
    ("f", Transition::OpenedAgain),
    ("sff", Transition::OpenedAgain),
    ("sfsff", Transition::OpenedAgain),
    ("sss", Transition::Recovered),
    ("sfss", Transition::Recovered),
    ("sfsfs", Transition::Recovered),
    ("asaasas", Transition::Recovered),
    ("af", Transition::OpenedAgain),
];

#[test]
fn probes_decide() {
    for (ends, expected) in PROBES {
        let mut bench = Bench::new(4);
        bench.open(0);
        bench.run_to(|bench| matches!(bench.breakers[0].state(), State::Probing { .. }));
        for (index, end) in ends.chars().enumerate() {
            let transition = bench.probe(0, end);
            let last = index + 1 == ends.len();
            assert_eq!(transition, last.then_some(*expected), "{ends} at {index}");
        }
        // Once decided, nothing passes until the breaker has moved; then it has.
        assert_eq!(bench.breakers[0].is_out(), *expected == Transition::OpenedAgain);
    }
}

#[test]
fn a_decided_gate_admits_nothing() {
    let mut bench = Bench::new(4);
    bench.open(0);
    bench.run_to(|bench| matches!(bench.breakers[0].state(), State::Probing { .. }));
    let mut gate = bench.gates[0];
    for _ in 0..3 {
        let Admission::Probe(taken) = gate.admission(true) else { panic!("no probe") };
        gate = taken.probed(taken.epoch(), ProbeEnd::Success).unwrap();
    }
    assert_eq!(gate.admission(true), Admission::Refused);
}

#[test]
fn probes_are_left_to_requests_that_may_be_repeated_for_half_a_second() {
    let mut bench = Bench::new(4);
    bench.open(0);
    bench.run_to(|bench| matches!(bench.breakers[0].state(), State::Probing { .. }));
    let began_ms = bench.now_ms;
    while bench.now_ms < began_ms + 500 {
        assert_eq!(bench.gates[0].admission(false), Admission::Refused, "after {} ms", bench.now_ms - began_ms);
        assert!(matches!(bench.gates[0].admission(true), Admission::Probe(_)));
        bench.tick();
    }
    // Where all requests are of the other kind, the endpoint must come back too.
    for _ in 0..3 {
        let Admission::Probe(taken) = bench.gates[0].admission(false) else { panic!("{:?}", bench.gates[0]) };
        assert_eq!(taken.admission(true), Admission::Refused, "one at a time");
        bench.gates[0] = taken.probed(taken.epoch(), ProbeEnd::Success).expect("it is that probe's gate");
    }
    assert_eq!(bench.tick().changes[0].transition, Some(Transition::Recovered));
    assert_eq!(bench.gates[0].admission(false), Admission::Pass);
}

#[test]
fn openings_last_longer_each_time_and_forget_slowly() {
    let settings = Settings::endpoint();
    let mut breaker = Breaker::new(settings);
    let mut now_ms = 1_000_000;
    let mut lasted = Vec::new();
    breaker.step(&signs(now_ms, Some(Cause::Condition)));
    for _ in 0..6 {
        let State::Open { until_ms } = breaker.state() else { panic!("{:?}", breaker.state()) };
        lasted.push(until_ms - now_ms);
        assert_eq!(breaker.step(&signs(until_ms - 1, None)), None);
        now_ms = until_ms;
        assert_eq!(breaker.step(&signs(now_ms, None)), Some(Transition::BeganProbing));
        assert_eq!(
            breaker.step(&Signs { gate: failed_probe(&breaker), ..signs(now_ms, None) }),
            Some(Transition::OpenedAgain)
        );
    }
    assert_eq!(lasted, [5_000, 10_000, 20_000, 40_000, 60_000, 60_000]);
    assert_eq!(breaker.level(), 4, "levels that make nothing longer are not climbed");

    // Closed again, it loses a level each minute.
    assert!(matches!(breaker.state(), State::Open { .. }));
    now_ms += 100_000;
    assert_eq!(breaker.step(&signs(now_ms, None)), Some(Transition::BeganProbing));
    assert_eq!(recover(&mut breaker, now_ms), Some(Transition::Recovered));
    assert_eq!(breaker.step(&signs(now_ms + 9_999, None)), None);
    now_ms += 10_000;
    assert_eq!(breaker.step(&signs(now_ms, None)), Some(Transition::Closed));
    let mut levels = Vec::new();
    for seconds in [59, 60, 119, 120, 179, 180, 239, 240, 1_000] {
        breaker.step(&signs(now_ms + seconds * 1_000, None));
        levels.push(breaker.level());
    }
    assert_eq!(levels, [4, 3, 3, 2, 2, 1, 1, 0, 0]);
}

/// Probes that all succeed.
fn recover(breaker: &mut Breaker, now_ms: u64) -> Option<Transition> {
    let mut gate = breaker.gate(now_ms, Gate::NEW, true);
    for _ in 0..3 {
        let Admission::Probe(taken) = gate.admission(true) else { panic!("no probe") };
        gate = taken.probed(taken.epoch(), ProbeEnd::Success).expect("it is that probe's gate");
    }
    breaker.step(&Signs { gate, ..signs(now_ms, None) })
}

#[test]
fn times_stay_in_their_limits_for_any_numbers() {
    for (open_ms, max_open_ms) in [(0, 0), (1, u64::MAX), (u64::MAX, 5), (5, 1)] {
        let settings = Settings { open_ms, max_open_ms, ..Settings::endpoint() };
        for level in [0, 1, 63, 64, 255] {
            for draw in [f64::NAN, -1.0, 0.0, 1.0, f64::INFINITY] {
                let time = settings.open_time_ms(level, draw);
                assert!(time >= (open_ms.min(max_open_ms) as f64 * 0.79) as u64);
            }
        }
        let mut breaker = Breaker::new(settings);
        breaker.step(&signs(u64::MAX, Some(Cause::Streak)));
        breaker.step(&signs(u64::MAX, None));
    }
}

#[test]
fn a_ramp_rises_from_a_tenth_and_may_open() {
    let mut breaker = Breaker::new(Settings::endpoint());
    breaker.step(&signs(0, Some(Cause::Streak)));
    breaker.step(&signs(5_000, None));
    assert_eq!(recover(&mut breaker, 6_000), Some(Transition::Recovered));
    let factors = [0, 6_000, 11_000, 16_000, 99_000].map(|now_ms| breaker.factor(now_ms));
    assert_eq!(factors, [0.1, 0.1, 0.55, 1.0, 1.0]);
    assert_eq!(breaker.step(&signs(10_000, Some(Cause::Streak))), Some(Transition::Opened(Cause::Streak)));
    assert_eq!((breaker.factor(10_000), breaker.retry_after_s(10_001)), (0.0, 10));
}

#[test]
fn health_checks_prolong_an_opening_and_do_not_shorten_it() {
    let mut breaker = Breaker::new(Settings::endpoint());
    breaker.step(&signs(0, Some(Cause::Condition)));
    let failing = |now_ms| Signs { check_fails: true, ..signs(now_ms, None) };
    assert_eq!(breaker.step(&failing(5_000)), None);
    assert_eq!(breaker.step(&failing(70_000)), None);
    assert_eq!(breaker.step(&signs(70_100, None)), Some(Transition::BeganProbing));
}

#[test]
fn half_of_the_endpoints_stay() {
    for (members, may_open) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2), (8, 4), (9, 4)] {
        let mut bench = Bench::new(members);
        // One after the other begins to fail outright, each alone long enough not to look like the others.
        for endpoint in 0..members {
            bench.fill(|index| if index == endpoint { (20, 20) } else { (1_000, 0) });
            bench.fail_in_a_row(endpoint);
        }
        let out = bench.breakers.iter().filter(|breaker| breaker.is_out()).count();
        assert_eq!(out, may_open, "of {members}");
        let held = bench.breakers.iter().filter_map(Breaker::held).collect::<Vec<_>>();
        assert!(held.iter().all(|held| *held == (Cause::Streak, Hold::TooFewLeft)));
        assert_eq!(held.len(), members - may_open);
    }
}

#[test]
fn down_and_draining_endpoints_count_as_gone() {
    let mut bench = Bench::new(4);
    bench.available = vec![true, true, false, true];
    bench.fill(|index| if index == 0 { (20, 20) } else { (1_000, 0) });
    assert_eq!(bench.tick().trips_left, 1);
    bench.fail_in_a_row(0);
    assert!(bench.breakers[0].is_out());
    assert_eq!(bench.tick().trips_left, 0);
    bench.fail_in_a_row(1);
    assert_eq!(bench.breakers[1].held(), Some((Cause::Streak, Hold::TooFewLeft)));
    // One that is gone anyway may open: nobody misses it.
    bench.fail_in_a_row(2);
    assert!(bench.breakers[2].is_out());
}

#[test]
fn a_streak_is_held_while_the_others_fail_about_as_often() {
    let mut bench = Bench::new(8);
    bench.fill(|_| (600, 60));
    bench.fail_in_a_row(3);
    assert_eq!(bench.breakers[3].held(), Some((Cause::Streak, Hold::PeersFailToo)));
    assert_eq!(bench.gates[3].admission(true), Admission::Pass);
    assert_eq!(bench.gates[3].tripped(), None, "a worker may not trip it either");
    // The others recover; the streak goes on: it opens without a further failure.
    bench.fill(|index| if index == 3 { (600, 600) } else { (6_000, 60) });
    bench.tick();
    assert!(bench.breakers[3].is_out());
}

#[test]
fn a_condition_is_held_while_it_holds_for_the_others_together() {
    let mut bench = Bench::with_condition(4, "ResponseCodeRatio(500, 600, 0, 600) > 0.3");
    bench.fill(|index| if index == 0 { (100, 100) } else { (100, 31) });
    bench.tick();
    assert_eq!(bench.breakers[0].held(), Some((Cause::Condition, Hold::PeersAlike)));
    bench.clear();
    bench.fill(|index| if index == 0 { (100, 31) } else { (100, 30) });
    assert_eq!(bench.tick().changes[0].transition, Some(Transition::Opened(Cause::Condition)));
    assert_eq!(Layout::results(bench.windows[0].total()), 0);
}

#[test]
fn a_condition_is_not_asked_below_the_least_number_of_results() {
    let mut bench = Bench::with_condition(4, "NetworkErrorRatio() >= 0 && ResponseCodeRatio(500, 600, 0, 600) > 0.3");
    bench.fill(|index| if index == 0 { (19, 19) } else { (100, 0) });
    assert_eq!(bench.tick().changes[0].transition, None);
    bench.fill(|index| if index == 0 { (1, 0) } else { (0, 0) });
    assert_eq!(bench.tick().changes[0].transition, Some(Transition::Opened(Cause::Condition)));
}

#[test]
fn a_tripped_gate_is_confirmed_or_taken_back() {
    let mut bench = Bench::new(4);
    assert_eq!(Gate::NEW.tripped(), None, "nobody has looked at it yet");
    bench.fill(|_| (100, 0));
    bench.tick();
    let tripped = bench.gates[0].tripped().unwrap();
    assert_eq!((tripped.admission(true), tripped.tripped()), (Admission::Refused, None));
    bench.gates[0] = tripped;
    assert_eq!(bench.tick().changes[0].transition, Some(Transition::Opened(Cause::Streak)));

    bench.gates[1] = bench.gates[1].tripped().unwrap();
    bench.fill(|_| (100, 50));
    assert_eq!(bench.tick().changes[1].transition, None);
    assert_eq!(bench.breakers[1].held(), Some((Cause::Streak, Hold::PeersFailToo)));
    assert_eq!(bench.gates[1].admission(true), Admission::Pass);
}

#[test]
fn a_group_opens_alone_and_ramps_by_place() {
    let condition: Condition = "NetworkErrorRatio() > 0.5".parse().unwrap();
    let layout = condition.layout().clone();
    let streak = Settings::group().streak;
    let mut group = GroupBreaker::new(condition, Settings::group());
    let (mut gate, start) = (Gate::NEW, Streak::start(0));
    assert_eq!([0, 9_999].map(|place| gate.admission_at(place, true)), [Admission::Pass; 2]);

    // 19 failures are not enough, 20 are.
    let failing = |count: usize| (0..count).fold(start, |state, _| streak.next(state, Outcome::NetworkError, 1));
    assert_eq!(group.tick(100, &vec![0; layout.cells()], gate, failing(19), 0.5).transition, None);
    let change = group.tick(200, &vec![0; layout.cells()], gate, failing(20), 0.5);
    assert_eq!(change.transition, Some(Transition::Opened(Cause::Streak)));
    gate = change.gate;
    assert_eq!(gate.admission_at(0, true), Admission::Refused);
    assert_eq!(group.breaker().retry_after_s(200), 5);

    gate = group.tick(5_200, &[], gate, start, 0.5).gate;
    for _ in 0..3 {
        let Admission::Probe(taken) = gate.admission_at(9_999, true) else { panic!("{gate:?}") };
        assert_eq!(taken.admission_at(0, true), Admission::Refused);
        gate = taken.probed(taken.epoch(), ProbeEnd::Success).unwrap();
    }
    let change = group.tick(5_300, &[], gate, start, 0.5);
    assert_eq!(change.transition, Some(Transition::Recovered));
    let passes = |gate: Gate, place| gate.admission_at(place, true) == Admission::Pass;
    assert!(passes(change.gate, 999) && !passes(change.gate, 1_000));
    let half = group.tick(10_300, &[], change.gate, start, 0.5).gate;
    assert!(passes(half, 5_499) && !passes(half, 5_500));
    let closed = group.tick(15_300, &[], half, start, 0.5);
    assert_eq!(closed.transition, Some(Transition::Closed));
    assert!(passes(closed.gate, 9_999));

    // The condition, from results after retries.
    let mut row = vec![0; layout.cells()];
    (0..30).flat_map(|_| layout.touched(Outcome::Timeout, Some(0))).for_each(|cell| row[cell] += 1);
    let change = group.tick(16_000, &row, closed.gate, start, 0.5);
    assert_eq!(change.transition, Some(Transition::Opened(Cause::Condition)));
    assert_eq!(group.breaker().level(), 2);
}

#[test]
fn a_group_keeps_where_it_stands_when_its_condition_changes() {
    let mut group = GroupBreaker::new("NetworkErrorRatio() > 0.5".parse().unwrap(), Settings::group());
    group.tick(0, &[30, 10, 10], Gate::NEW, Streak::start(0), 0.5);
    group.set("NetworkErrorRatio() > 0.3".parse().unwrap(), Settings::group());
    let change = group.tick(100, &[], Gate::NEW, Streak::start(0), 0.5);
    assert_eq!(change.transition, Some(Transition::Opened(Cause::Condition)));
    group.set("LatencyAtQuantileMS(50) > 1000".parse().unwrap(), Settings::group());
    assert!(group.breaker().is_out());
}

/// Whatever comes in whatever order: half of the endpoints stay, gates say what states mean, and periods only begin anew.
#[test]
fn any_traffic_keeps_the_promises() {
    let mut random = Random(13);
    for case in 0..60 {
        let members = 1 + random.below(9) as usize;
        let mut bench = Bench::with_condition(members, "ResponseCodeRatio(500, 600, 0, 600) > 0.4");
        for step in 0..400 {
            bench.now_ms += random.below(2_000);
            let row: Vec<(usize, usize)> = (0..members).map(|_| (20, random.below(21) as usize)).collect();
            bench.fill(|index| row[index]);
            for index in 0..members {
                bench.happens(index, &mut random);
            }
            let (before, gates) = (bench.breakers.clone(), bench.gates.clone());
            let ticked = bench.tick();
            let up = |index: &usize| bench.available[*index] && !bench.breakers[*index].is_out();
            let left = (0..members).filter(up).count();
            assert!(ticked.trips_left <= left, "case {case}, step {step}");
            for (index, change) in ticked.changes.iter().enumerate() {
                let what = format!("case {case}, step {step}, {index}: {:?}, {change:?}", before[index]);
                let opened = matches!(change.transition, Some(Transition::Opened(_)));
                assert!(!opened || !bench.available[index] || left >= members.div_ceil(2), "{what}");
                let clears = change.transition.is_some_and(Transition::clears);
                assert_eq!(change.gate.epoch() != gates[index].epoch(), clears, "{what}");
                let refuses = change.gate.admission(true) == Admission::Refused;
                match bench.breakers[index].state() {
                    State::Open { .. } => assert!(refuses, "{what}"),
                    State::Closed | State::Ramp { .. } => {
                        assert_eq!(change.gate.admission(true), Admission::Pass, "{what}")
                    }
                    State::Probing { .. } => {}
                }
            }
        }
    }
}

#[test]
fn what_happened_can_be_read() {
    assert_eq!(Transition::Opened(Cause::Streak).to_string(), "opened: too many failures in a row");
    assert_eq!(Transition::Opened(Cause::Condition).to_string(), "opened: the condition holds");
    assert_eq!(Hold::PeersFailToo.to_string(), "the other endpoints fail about as often");
    assert_eq!(State::Open { until_ms: 0 }.to_string(), "open");
}

/// The endpoints of an upstream on the control path, ten ticks a second.
struct Bench {
    condition: Option<Condition>,
    now_ms: u64,
    breakers: Vec<Breaker>,
    windows: Vec<Window>,
    gates: Vec<Gate>,
    streaks: Vec<u64>,
    available: Vec<bool>,
}

impl Bench {
    fn new(members: usize) -> Self {
        Self::build(members, None)
    }

    fn with_condition(members: usize, text: &str) -> Self {
        Self::build(members, Some(text.parse().unwrap()))
    }

    fn build(members: usize, condition: Option<Condition>) -> Self {
        let layout = Layout::of(condition.as_ref());
        Self {
            condition,
            now_ms: 1_000,
            breakers: vec![Breaker::new(Settings::endpoint()); members],
            windows: vec![Window::new(&layout); members],
            gates: vec![Gate::NEW; members],
            streaks: vec![Streak::start(1_000); members],
            available: vec![true; members],
        }
    }

    fn tick(&mut self) -> Ticked {
        self.now_ms += 100;
        let parts =
            self.breakers.iter_mut().zip(&mut self.windows).zip(&self.gates).zip(&self.streaks).zip(&self.available);
        let mut members: Vec<Member<'_>> = parts
            .map(|((((breaker, window), gate), streak), available)| Member {
                breaker,
                window,
                gate: *gate,
                streak: *streak,
                available: *available,
                check_fails: false,
            })
            .collect();
        let ticked = tick(&mut members, self.condition.as_ref(), self.now_ms, || 0.5);
        for (index, change) in ticked.changes.iter().enumerate() {
            self.gates[index] = change.gate;
            if change.transition.is_some_and(Transition::clears) {
                self.streaks[index] = Streak::start(self.now_ms);
            }
        }
        ticked
    }

    /// Ticks until something holds; what the first endpoint's breaker did then.
    fn run_to(&mut self, reached: impl Fn(&Self) -> bool) -> Transition {
        for _ in 0..1_000 {
            let transition = self.tick().changes[0].transition;
            if reached(self) {
                return transition.unwrap();
            }
        }
        panic!("{:?}", self.breakers);
    }

    /// Results and how many of them are answers of 500.
    fn fill(&mut self, of: impl Fn(usize) -> (usize, usize)) {
        let layout = Layout::of(self.condition.as_ref());
        for (index, window) in self.windows.iter_mut().enumerate() {
            let (results, failures) = of(index);
            let mut row = vec![0; layout.cells()];
            for result in 0..results {
                let outcome = if result < failures { BROKEN } else { FINE };
                layout.touched(outcome, Some(1_000)).for_each(|cell| row[cell] += 1);
            }
            window.add(self.now_ms, &row);
        }
    }

    /// Something that workers and health checks may do between two ticks.
    fn happens(&mut self, index: usize, random: &mut Random) {
        let gate = self.gates[index];
        match random.below(12) {
            0 => self.available[index] = !self.available[index],
            1..4 => self.gates[index] = gate.tripped().unwrap_or(gate),
            4..8 => {
                let Admission::Probe(taken) = gate.admission(true) else { return };
                let ends = [ProbeEnd::Success, ProbeEnd::Success, ProbeEnd::Failure, ProbeEnd::Abandoned];
                self.gates[index] = taken.probed(taken.epoch(), ends[random.below(4) as usize]).unwrap();
            }
            8 => {
                let streak = Settings::endpoint().streak;
                (0..5).for_each(|_| self.streaks[index] = streak.next(self.streaks[index], BROKEN, self.now_ms));
            }
            9 => self.streaks[index] = Streak::start(self.now_ms),
            _ => {}
        }
    }

    fn clear(&mut self) {
        self.windows.iter_mut().for_each(Window::clear);
    }

    fn fail_in_a_row(&mut self, endpoint: usize) -> Ticked {
        let streak = Settings::endpoint().streak;
        self.streaks[endpoint] =
            (0..5).fold(self.streaks[endpoint], |state, _| streak.next(state, BROKEN, self.now_ms));
        self.tick()
    }

    fn open(&mut self, endpoint: usize) {
        let ticked = self.fail_in_a_row(endpoint);
        assert_eq!(ticked.changes[endpoint].transition, Some(Transition::Opened(Cause::Streak)));
    }

    fn probe(&mut self, endpoint: usize, end: char) -> Option<Transition> {
        let end = match end {
            's' => ProbeEnd::Success,
            'f' => ProbeEnd::Failure,
            _ => ProbeEnd::Abandoned,
        };
        let Admission::Probe(taken) = self.gates[endpoint].admission(true) else {
            panic!("{:?}", self.gates[endpoint])
        };
        self.gates[endpoint] = taken.probed(taken.epoch(), end).unwrap();
        self.tick().changes[endpoint].transition
    }
}

fn signs(now_ms: u64, cause: Option<Cause>) -> Signs {
    Signs { now_ms, draw: 0.5, gate: Gate::NEW, cause, hold: None, check_fails: false }
}

fn failed_probe(breaker: &Breaker) -> Gate {
    let Admission::Probe(taken) = breaker.gate(0, Gate::NEW, true).admission(true) else { panic!("no probe") };
    taken.probed(taken.epoch(), ProbeEnd::Failure).unwrap()
}

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}
