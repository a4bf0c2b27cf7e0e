//! What has been learned about each endpoint of a group, and the step that learns (specification of the balancing, §3).
//!
//! Endpoints are compared with the median of their group, so what befalls all of them moves nobody. Every step goes a
//! part of the way, faster down than up, and only for differences that chance does not explain.
//!
//! Invariant: a learned weight stays between the configured floor and 4.

use super::evidence::{Counts, Evidence};
use super::window::{TICK_US, Window};

/// How weights are learned.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Learning {
    /// The slots of the look-back, 1 to 60.
    pub slots: usize,
    /// ε: differences well below this do not matter, in seconds.
    pub latency_floor: f64,
    /// α: 1 is inversely proportional to the latency.
    pub sensitivity: f64,
    /// The smallest learned weight.
    pub min_share: f64,
    /// g: the share of the distance that one tick goes.
    pub gain: f64,
    /// How long a newcomer's weight rises, in µs.
    pub slow_start_us: u64,
}

impl Default for Learning {
    fn default() -> Self {
        Self {
            slots: 10,
            latency_floor: 0.001,
            sensitivity: 1.25,
            min_share: 1.0 / 16.0,
            gain: 0.3,
            slow_start_us: 10_000_000,
        }
    }
}

/// What was learned about one endpoint. It belongs to the endpoint, not to the rules of the moment.
#[derive(Clone, Debug)]
pub struct Learned {
    /// v: the natural logarithm of the learned weight.
    ln_weight: f64,
    slowness: f64,
    window: Window,
    ramp_start_us: Option<u64>,
}

impl Learned {
    /// Nothing yet, of an endpoint whose counters stand as `counts` says.
    pub fn new(counts: Counts) -> Self {
        Self { ln_weight: 0.0, slowness: 0.0, window: Window::new(counts), ramp_start_us: None }
    }

    /// Goes on from counters that stand as `counts` says: what they counted meanwhile is not of the last seconds.
    pub fn restart(&mut self, counts: Counts) {
        self.window = Window::new(counts);
    }

    /// Closes the slot of a tick.
    pub fn close_slot(&mut self, counts: Counts) {
        self.window.close_slot(counts);
    }

    /// The evidence of the look-back.
    pub fn evidence(&self, learning: &Learning, now_us: u64) -> Evidence {
        self.window.look_back(learning.slots).evidence(now_us)
    }

    /// How many answers and errors there are in the look-back.
    pub fn results(&self, learning: &Learning) -> u64 {
        self.window.look_back(learning.slots).results()
    }

    /// Forgets what was learned and seen: a breaker opened.
    pub fn forget(&mut self) {
        self.window.clear();
        (self.ln_weight, self.slowness) = (0.0, 0.0);
    }

    /// Lets the weight rise from a tenth: the endpoint is new, or was down.
    pub fn start_ramp(&mut self, now_us: u64) {
        self.ramp_start_us = Some(now_us);
    }

    /// How far the ramp is, 0.1 to 1.
    pub fn ramp(&self, learning: &Learning, now_us: u64) -> f64 {
        self.ramp_start_us.map_or(1.0, |start_us| ramp(now_us.saturating_sub(start_us), learning.slow_start_us))
    }

    /// The learned weight; 1 is the usual.
    pub fn weight(&self) -> f64 {
        self.ln_weight.exp()
    }

    /// v: the natural logarithm of the learned weight.
    pub fn ln_weight(&self) -> f64 {
        self.ln_weight
    }

    /// y: how much slower than usual the endpoint was at the last tick, logarithmic; 0 where chance explains it.
    pub fn slowness(&self) -> f64 {
        self.slowness
    }

    /// No evidence: back to the usual weight, slowly.
    fn drift(&mut self) {
        self.slowness = 0.0;
        self.ln_weight -= self.ln_weight * TICK_S / IDLE_S;
    }

    fn step(&mut self, learning: &Learning, slowness: f64) {
        let target = (-learning.sensitivity * slowness).clamp(learning.min_share.ln(), CAP.ln());
        self.slowness = slowness;
        self.ln_weight += (learning.gain * (target - self.ln_weight)).clamp(DOWN, UP);
    }
}

/// The factor of an endpoint that has been coming for this long.
///
/// ```
/// # use routing_rules::balance::ramp;
/// let [begin, middle, end] = [0, 5_000_000, 10_000_000].map(|elapsed_us| ramp(elapsed_us, 10_000_000));
/// assert_eq!((begin, middle, end), (0.1, 0.55, 1.0));
/// ```
pub fn ramp(elapsed_us: u64, length_us: u64) -> f64 {
    match elapsed_us >= length_us {
        true => 1.0,
        false => 0.1 + 0.9 * elapsed_us as f64 / length_us as f64,
    }
}

/// Whether newcomers to a group begin with a ramp. Where most are new, as at the start of the process, there is nobody to
/// take the load meanwhile.
pub fn newcomers_ramp(members: usize, newcomers: usize) -> bool {
    2 * newcomers <= members
}

/// One tick of one group: every endpoint with its evidence. Endpoints whose breaker is open or probing are left out.
pub fn recompute(learning: &Learning, group: &mut [(&mut Learned, Evidence)]) {
    let means = group.iter().filter(|(_, seen)| seen.answered >= 1.0).map(|(_, seen)| seen.time() / seen.answered);
    let Some(reference) = median(means) else { return };
    let is_seen = |seen: &Evidence| seen.results() >= 1.0 || seen.in_flight_time > 0.0;
    if group.iter().filter(|(_, seen)| is_seen(seen)).count() < 2 {
        group.iter_mut().for_each(|(learned, _)| learned.drift());
        return;
    }
    let with_results = group.iter().filter(|(_, seen)| seen.results() >= 1.0);
    let Some(usual) = median(with_results.map(|(_, seen)| Cost::of(seen, reference).mean)) else { return };
    for (learned, seen) in group {
        match seen.results() == 0.0 && seen.in_flight_time + seen.given_up_time == 0.0 {
            true => learned.drift(),
            false => learned.step(learning, Cost::of(seen, reference).slowness(usual, learning.latency_floor)),
        }
    }
}

/// What a request costs at an endpoint, in seconds.
struct Cost {
    /// c
    mean: f64,
    /// u: the relative error of the mean.
    uncertainty: f64,
}

impl Cost {
    /// The reference latency counts as one more result: who has few of their own is judged mildly.
    fn of(seen: &Evidence, reference: f64) -> Self {
        let per_error = match seen.errors > 0.0 {
            true => (seen.errors_time / seen.errors).max(ERROR_COST * reference),
            false => 0.0,
        };
        let (time, squares) = (seen.time(), seen.squares());
        // One long request alone cannot convict: without the others there is next to nothing left.
        let weighed = if time > 0.0 { (time - squares / time).max(0.0) } else { 0.0 };
        let all = time + seen.errors * per_error + reference;
        let spread = (squares + seen.errors * per_error * per_error + reference * reference).sqrt();
        Self {
            mean: (weighed + seen.errors * per_error + reference) / (seen.results() + 1.0),
            uncertainty: if all > 0.0 { spread / all } else { 0.0 },
        }
    }

    /// y: the logarithm of how much more than usual it is, less what chance explains.
    fn slowness(&self, usual: f64, latency_floor: f64) -> f64 {
        let distance = ((self.mean + latency_floor) / (usual + latency_floor)).ln();
        let doubt = DEAD_BAND + EVIDENCE_FACTOR * self.uncertainty;
        match distance.abs() <= doubt {
            true => 0.0,
            false => distance - doubt * doubt / distance,
        }
    }
}

/// The middle value, or the geometric mean of the middle two.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(values[middle]),
        _ => Some((values[middle - 1] * values[middle]).sqrt()),
    }
}

const TICK_S: f64 = TICK_US as f64 / 1e6;
/// An error costs this many reference latencies.
const ERROR_COST: f64 = 20.0;
/// δ, in units of the logarithm.
const DEAD_BAND: f64 = 0.1;
/// z
const EVIDENCE_FACTOR: f64 = 1.5;
/// The largest steps of one tick: away from a slow endpoint fast, back with care.
const DOWN: f64 = -0.7;
const UP: f64 = 0.25;
/// A lone fast endpoint gets at most this many times its share.
const CAP: f64 = 4.0;
/// The time constant of forgetting without evidence.
const IDLE_S: f64 = 30.0;
