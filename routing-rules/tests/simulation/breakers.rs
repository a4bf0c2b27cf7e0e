//! The breakers of a process's endpoints: what its workers share, and the tick.
//!
//! All that is decided is decided by `routing_rules::breaker`; this is what the proxy keeps in atomics, without them. The
//! workers of a simulated process see each other's changes at once, so nothing has to be tried twice.

use routing_rules::breaker::{
    Admission, Breaker, Condition, Gate, Layout, Member, Outcome, ProbeEnd, Settings, State, Streak, Transition,
    Window, tick,
};

use crate::scenario::Breaking;

/// All of one process.
pub(crate) struct Breakers {
    is_on: bool,
    condition: Option<Condition>,
    layout: Layout,
    endpoints: Vec<Own>,
    /// How many gates workers may shut until the next tick.
    trips_left: usize,
}

/// The leave of one request to go to an endpoint.
#[derive(Clone, Copy)]
pub(crate) struct Admitted {
    epoch: u32,
    is_probe: bool,
}

/// What a tick came to.
#[derive(Default)]
pub(crate) struct Ticked {
    pub(crate) transitions: Vec<Option<Transition>>,
    /// How many would have opened and were held.
    pub(crate) held: usize,
    /// How many get nothing or only probes.
    pub(crate) out: usize,
    /// Whether weights follow: something moved, or ramps up.
    pub(crate) moves_weights: bool,
}

struct Own {
    breaker: Breaker,
    window: Window,
    gate: Gate,
    streak: u64,
    /// What was counted since the last tick.
    row: Vec<u64>,
}

impl Breakers {
    pub(crate) fn new(breaking: Breaking, len: usize) -> Self {
        let condition = match breaking {
            Breaking::Condition(text) => Some(text.parse().expect("a condition")),
            Breaking::Off | Breaking::Streak => None,
        };
        let layout = Layout::of(condition.as_ref());
        let endpoints = (0..len).map(|_| Own::new(&layout, 0)).collect();
        Self { is_on: breaking != Breaking::Off, condition, layout, endpoints, trips_left: 0 }
    }

    pub(crate) fn join(&mut self, now_us: u64) {
        self.endpoints.push(Own::new(&self.layout, now_us / 1_000));
    }

    pub(crate) fn may_pass(&self, endpoint: usize) -> bool {
        self.endpoints[endpoint].gate.admission(true) != Admission::Refused
    }

    /// Whether it gets nothing or only probes.
    pub(crate) fn is_out(&self, endpoint: usize) -> bool {
        self.endpoints[endpoint].breaker.is_out()
    }

    pub(crate) fn factor(&self, endpoint: usize, now_us: u64) -> f64 {
        self.endpoints[endpoint].breaker.factor(now_us / 1_000)
    }

    /// Lets a request pass at an endpoint that said it may.
    pub(crate) fn enter(&mut self, endpoint: usize) -> Admitted {
        let gate = &mut self.endpoints[endpoint].gate;
        let is_probe = match gate.admission(true) {
            Admission::Probe(taken) => {
                *gate = taken;
                true
            }
            Admission::Pass | Admission::Refused => false,
        };
        Admitted { epoch: gate.epoch(), is_probe }
    }

    /// A request ended so; `None` says nothing of the endpoint.
    pub(crate) fn judge(&mut self, endpoint: usize, admitted: Admitted, outcome: Option<Outcome>, times_us: [u64; 2]) {
        if !self.is_on {
            return;
        }
        let own = &mut self.endpoints[endpoint];
        if let Some(outcome) = outcome.filter(|_| own.gate.epoch() == admitted.epoch) {
            let is_full = own.count(&self.layout, outcome, times_us);
            if is_full
                && self.trips_left > 0
                && let Some(tripped) = own.gate.tripped()
            {
                own.gate = tripped;
                self.trips_left -= 1;
            }
        }
        if admitted.is_probe {
            let end = match outcome.map(Outcome::is_failure) {
                Some(true) => ProbeEnd::Failure,
                Some(false) => ProbeEnd::Success,
                None => ProbeEnd::Abandoned,
            };
            own.gate = own.gate.probed(admitted.epoch, end).unwrap_or(own.gate);
        }
    }

    /// Ten times a second.
    pub(crate) fn tick(&mut self, is_up: &[bool], now_us: u64, draw: impl FnMut() -> f64) -> Ticked {
        if !self.is_on {
            return Ticked::default();
        }
        let now_ms = now_us / 1_000;
        let own = self.endpoints.iter_mut().zip(is_up);
        let mut members: Vec<Member<'_>> = own.map(|(own, is_up)| own.member(*is_up, now_ms)).collect();
        let ticked = tick(&mut members, self.condition.as_ref(), now_ms, draw);
        self.trips_left = ticked.trips_left;
        for (own, change) in self.endpoints.iter_mut().zip(&ticked.changes) {
            own.gate = change.gate;
            if change.transition.is_some_and(Transition::clears) {
                own.streak = Streak::start(now_ms);
            }
        }
        let count = |is: fn(&Breaker) -> bool| self.endpoints.iter().filter(|own| is(&own.breaker)).count();
        let transitions: Vec<_> = ticked.changes.iter().map(|change| change.transition).collect();
        let ramps = count(|breaker| matches!(breaker.state(), State::Ramp { .. }));
        Ticked {
            held: count(|breaker| breaker.held().is_some()),
            out: count(Breaker::is_out),
            moves_weights: ramps > 0 || transitions.iter().any(Option::is_some),
            transitions,
        }
    }
}

impl Own {
    fn new(layout: &Layout, now_ms: u64) -> Self {
        let (breaker, window) = (Breaker::new(Settings::endpoint()), Window::new(layout));
        Self { breaker, window, gate: Gate::NEW, streak: Streak::start(now_ms), row: vec![0; layout.cells()] }
    }

    /// Counts a result; whether the streak is full now.
    fn count(&mut self, layout: &Layout, outcome: Outcome, [start_us, now_us]: [u64; 2]) -> bool {
        layout.touched(outcome, Some(now_us - start_us)).for_each(|cell| self.row[cell] += 1);
        let rule = self.breaker.settings().streak;
        self.streak = rule.next(self.streak, outcome, now_us / 1_000);
        rule.is_full(self.streak)
    }

    fn member(&mut self, is_up: bool, now_ms: u64) -> Member<'_> {
        self.window.add(now_ms, &self.row);
        self.row.fill(0);
        let Self { breaker, window, gate, streak, .. } = self;
        Member { breaker, window, gate: *gate, streak: *streak, available: is_up, check_fails: !is_up }
    }
}
