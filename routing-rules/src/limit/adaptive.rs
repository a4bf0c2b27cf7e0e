//! A limit of requests in flight that finds itself, for upstreams that are asked for more than they can do.
//!
//! By Little's law an upstream that serves R requests a second in B seconds each works on R·B of them; all beyond that
//! wait, and waiting adds latency and nothing else. Under overload the limit is therefore twice R·B, with R the most it
//! has delivered lately and B its latency without a queue: the bandwidth-delay product of BBR (Cardwell et al., ACM Queue
//! 2016), which estimates its two factors one at a time for the same reason. Twice keeps a queue of one service time,
//! enough to be never idle. Refused are those who come when the limit is reached, at once; those who entered are quick.
//!
//! Two things differ from BBR. There is no limit while nothing is wrong, only a cap far above what has been seen, so that a
//! surge cannot build a long queue before it is noticed. And latency alone proves no overload: a service may have become
//! slower. So a suspicion is tried first: with half in flight a queue takes half the time and delivers as much, while a
//! slow service takes as long and delivers half (the gradient idea of TCP Vegas and of Envoy's and Netflix's limiters, but
//! as a test with an answer instead of a control loop, whose base latency drifts upwards under lasting load). B is measured
//! anew every ten seconds of overload, with half of R·B in flight.
//!
//! Clients that go away unanswered count as answers that were slow, if they had waited for longer than usual. Where a queue as
//! long as the cap outlasts their patience there are hardly any others, and nothing would ever be found out.
//!
//! An upstream that works on a handful of requests, each for a second or longer, is better off with a fixed number: nothing
//! is suspected before the cap is reached or clients give up, and the cap is never below what many clients at once may need.
//!
//! It is fed every 100 ms and knows no clock. It neither counts requests nor refuses any.

/// How often [`Adaptive::tick`] is called.
pub const TICK_MS: u64 = 100;

/// What happened since the last tick.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Requests that were answered or timed out. Answers of 429 and 503 are left out: the upstream is protecting itself,
    /// and how quickly it does so says nothing of how long its work takes.
    pub finished: u32,
    /// The sum of their times; each counts for [`Adaptive::clip_us`] at most.
    pub latency_us: u64,
    /// The most requests in flight at once.
    pub in_flight: u32,
    /// Requests that the limit kept out, whether refused or queued.
    pub refused: u32,
    /// Requests without an answer whose clients went away after [`Adaptive::slow_us`] or more.
    pub given_up: u32,
    /// The sum of the times these have waited, each clipped as above. Their answers would have taken longer.
    pub given_up_us: u64,
}

/// What the limit is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is wrong: the limit is a cap above what has been seen.
    Free,
    /// It is slow: is it a queue?
    Trial,
    /// Overload.
    Limiting,
    /// Overload, and its latency without a queue is measured.
    Measuring,
}

/// The limit of one upstream.
#[derive(Clone, Debug)]
pub struct Adaptive {
    phase: Phase,
    limit: u32,
    /// Latency without a queue, 0 before the first answers.
    base_us: f64,
    reading: Reading,
    /// The largest number in flight, fading.
    peak: f64,
    /// Ticks in a row that look like overload (free), or like its end (limiting).
    signs: u32,
    /// Readings in a row whose latency the base does not explain.
    unexplained: u32,
    /// Delivered for each tick, in the last readings.
    rates: [f64; RATES],
    rate_at: usize,
    /// Ticks of this phase, or since fewer were in flight while it settles.
    age: u32,
    /// The fewest in flight while it settles.
    least: u32,
    /// Ticks whose answers still belong to the phase before. They are counted from when there are no more in flight than
    /// this phase allows.
    settle: u32,
    /// What was delivered before a trial, and how long it took.
    before: (f64, f64),
    /// Ticks of overload until the base is measured again.
    measure_in: u32,
}

/// Ticks taken together until they say something.
#[derive(Clone, Copy, Debug, Default)]
struct Reading {
    ticks: u32,
    sample: Sample,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self::new()
    }
}

impl Adaptive {
    /// Free.
    pub fn new() -> Self {
        Self {
            phase: Phase::Free,
            limit: FIRST_CAP,
            base_us: 0.0,
            reading: Reading::default(),
            peak: 0.0,
            signs: 0,
            unexplained: 0,
            rates: [0.0; RATES],
            rate_at: 0,
            age: 0,
            least: 0,
            settle: 0,
            before: (0.0, 0.0),
            measure_in: 0,
        }
    }

    /// How many may be in flight.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// What it is about.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// A longer time counts as this one: a few requests that are slow by nature must not look like a queue.
    pub fn clip_us(&self) -> u64 {
        match self.base_us {
            base if base > 0.0 => ((base * CLIP) as u64).max(1),
            _ => u64::MAX,
        }
    }

    /// A request that is given up after this time or later says that the upstream is slow. Earlier it says nothing: clients
    /// go away for reasons of their own.
    pub fn slow_us(&self) -> u64 {
        (self.base_us * SLOW) as u64
    }

    /// Takes what happened in the last 100 ms; the limit from now on.
    pub fn tick(&mut self, sample: Sample) -> u32 {
        self.age = self.age.saturating_add(1);
        self.measure_in = self.measure_in.saturating_sub(1);
        match self.settle {
            0 => self.reading.add(&sample),
            _ => self.drain(&sample),
        }
        match self.phase {
            Phase::Free => self.follow(&sample),
            Phase::Limiting => self.calm_down(&sample),
            Phase::Trial | Phase::Measuring => {}
        }
        if self.reading.is_enough(if self.phase == Phase::Free { FEW } else { MANY }) {
            let reading = std::mem::take(&mut self.reading);
            self.weigh(&reading);
        } else if self.reading.is_stale() {
            self.reading = Reading::default();
            self.give_up();
        }
        self.limit
    }

    /// Waits until there are no more in flight than this phase allows, and then until the answers are of this phase. Requests
    /// that do not end at all must not hold it up.
    fn drain(&mut self, sample: &Sample) {
        if sample.in_flight <= self.limit {
            self.settle -= 1;
        } else if sample.in_flight < self.least {
            (self.least, self.age) = (sample.in_flight, 0);
        } else if self.age >= LONGEST {
            self.give_up();
        }
    }

    fn weigh(&mut self, reading: &Reading) {
        match self.phase {
            Phase::Free => self.watch(reading),
            Phase::Trial => self.judge(reading),
            Phase::Limiting => self.keep(reading),
            Phase::Measuring => {
                // A base from a time of overload comes down in steps, as there is less and less of the queue in it.
                let fell = reading.latency_us() < BASE_FELL * self.base_us;
                if !reading.is_hopeless() {
                    self.base_us = reading.latency_us();
                }
                self.begin_limiting(if fell { MEASURE_SOON } else { MEASURE_EVERY });
            }
        }
    }

    /// The cap stays well above what is in flight as long as answers come, and in time.
    fn follow(&mut self, sample: &Sample) {
        let in_time = sample.latency_us as f64 <= WARY * self.base_us * f64::from(sample.finished);
        let answers = sample.finished > 0 && sample.given_up == 0;
        if self.base_us == 0.0 || self.signs == 0 && answers && in_time {
            self.peak = f64::from(sample.in_flight).max(self.peak * FADE);
        }
        let least = if self.base_us == 0.0 { FIRST_CAP } else { LEAST_CAP };
        self.limit = whole(self.peak * HEADROOM).max(least);
    }

    /// Free: learns the base, and becomes suspicious when it is slow at its cap, or for too long for its clients. Otherwise a
    /// queue is short and may come by chance; it goes again.
    fn watch(&mut self, reading: &Reading) {
        let latency_us = reading.latency_us();
        if self.base_us == 0.0 {
            self.base_us = latency_us;
            // It begins in the middle of it.
            if reading.is_hopeless() {
                self.try_less(reading);
            }
            return;
        }
        let slow = latency_us > SLOW * self.base_us;
        if !slow || !reading.is_harm() {
            return self.learn(latency_us);
        }
        self.signs += reading.ticks;
        if self.signs >= SUSPICIOUS_TICKS {
            self.try_less(reading);
        }
    }

    fn try_less(&mut self, reading: &Reading) {
        let latency_us = reading.latency_us();
        self.before = (reading.rate(), latency_us);
        let in_flight = reading.ended() / reading.length() * latency_us / TICK_US;
        self.begin(Phase::Trial, in_flight * TRIAL_SHARE, latency_us);
    }

    fn learn(&mut self, latency_us: f64) {
        self.signs = 0;
        let gain = if latency_us < self.base_us { DOWN } else { UP };
        self.base_us += gain * (latency_us - self.base_us);
    }

    /// Trial: with less in flight, was less delivered, or did it take less time? By Little's law one of them fell.
    fn judge(&mut self, reading: &Reading) {
        if reading.sample.refused == 0 {
            return self.begin_free();
        }
        let (rate, latency_us) = self.before;
        let delivers_less = reading.rate() * latency_us < SLOWER * rate * reading.latency_us();
        // Where clients give up, what came before the trial is still being worked on, perhaps for those who have gone.
        if delivers_less && !reading.are_many_given_up() {
            self.base_us = reading.latency_us();
            return self.begin_free();
        }
        self.rates = [0.0; RATES];
        self.remember(rate);
        self.begin_limiting(MEASURE_SOON);
    }

    /// Limiting: ends when nobody has been refused for a while.
    fn calm_down(&mut self, sample: &Sample) {
        let calm = sample.refused == 0 && sample.in_flight < self.limit;
        self.signs = if calm { self.signs + 1 } else { 0 };
        if self.signs >= CALM_TICKS {
            self.begin_free();
        }
    }

    /// Limiting: follows what is delivered.
    fn keep(&mut self, reading: &Reading) {
        self.remember(reading.rate());
        self.limit = self.worked_on(GAIN);
        let unexplained = reading.latency_us() > GAIN * UNEXPLAINED * self.base_us;
        self.unexplained = if unexplained { self.unexplained + 1 } else { 0 };
        let due = self.measure_in == 0 || self.unexplained >= 3 && self.age >= MEASURE_SOON;
        if due && self.signs == 0 {
            let half = f64::from(self.worked_on(0.5));
            self.begin(Phase::Measuring, half, reading.latency_us());
        }
    }

    /// Too little has come back for too long to say anything.
    fn give_up(&mut self) {
        match self.phase {
            Phase::Free => {}
            Phase::Trial | Phase::Limiting => self.begin_free(),
            Phase::Measuring => self.begin_limiting(MEASURE_EVERY),
        }
    }

    fn begin(&mut self, phase: Phase, limit: f64, latency_us: f64) {
        self.phase = phase;
        self.limit = whole(limit).max(LEAST_LIMIT);
        self.age = 0;
        self.least = u32::MAX;
        self.settle = whole(2.0 * latency_us / TICK_US).clamp(1, MOST_SETTLE);
        self.signs = 0;
        self.unexplained = 0;
        self.reading = Reading::default();
    }

    fn begin_limiting(&mut self, measure_in: u32) {
        self.begin(Phase::Limiting, 0.0, self.base_us);
        self.limit = self.worked_on(GAIN);
        self.measure_in = measure_in;
    }

    fn begin_free(&mut self) {
        let peak = self.peak.max(f64::from(self.limit) / HEADROOM);
        self.begin(Phase::Free, peak * HEADROOM, 0.0);
        self.limit = self.limit.max(LEAST_CAP);
        self.peak = peak;
    }

    fn remember(&mut self, rate: f64) {
        self.rates[self.rate_at] = rate;
        self.rate_at = (self.rate_at + 1) % RATES;
    }

    /// So many times what an upstream works on that delivers as much as it has lately, without a queue.
    fn worked_on(&self, times: f64) -> u32 {
        let rate = self.rates.iter().copied().fold(0.0, f64::max);
        whole((times * rate * self.base_us / TICK_US).ceil()).max(LEAST_LIMIT)
    }
}

impl Reading {
    fn add(&mut self, sample: &Sample) {
        let own = &mut self.sample;
        self.ticks += 1;
        own.finished = own.finished.saturating_add(sample.finished);
        own.latency_us = own.latency_us.saturating_add(sample.latency_us);
        own.refused = own.refused.saturating_add(sample.refused);
        own.given_up = own.given_up.saturating_add(sample.given_up);
        own.given_up_us = own.given_up_us.saturating_add(sample.given_up_us);
        own.in_flight = own.in_flight.max(sample.in_flight);
    }

    fn is_enough(&self, ended: f64) -> bool {
        self.ended() >= ended || self.is_stale() && self.ended() >= FEWEST
    }

    fn is_stale(&self) -> bool {
        self.ticks >= LONGEST
    }

    /// Requests are refused, or many of the others given up.
    fn is_harm(&self) -> bool {
        self.sample.refused > 0 || self.are_many_given_up()
    }

    fn are_many_given_up(&self) -> bool {
        f64::from(self.sample.given_up) >= MANY_GIVEN_UP * self.ended()
    }

    /// Most are given up: how long the upstream's work takes does not show.
    fn is_hopeless(&self) -> bool {
        self.sample.given_up > self.sample.finished
    }

    /// Requests that were answered or given up.
    fn ended(&self) -> f64 {
        f64::from(self.sample.finished) + f64::from(self.sample.given_up)
    }

    /// Answers a tick.
    fn rate(&self) -> f64 {
        f64::from(self.sample.finished) / self.length()
    }

    fn length(&self) -> f64 {
        f64::from(self.ticks.max(1))
    }

    fn latency_us(&self) -> f64 {
        (self.sample.latency_us as f64 + self.sample.given_up_us as f64) / self.ended().max(1.0)
    }
}

fn whole(number: f64) -> u32 {
    number.round() as u32
}

const TICK_US: f64 = TICK_MS as f64 * 1_000.0;
/// Below this nothing is limited: so few in flight are no overload worth refusing for.
const LEAST_LIMIT: u32 = 4;
/// While free: so many may come at once wherever there is usually little to do.
const LEAST_CAP: u32 = 128;
/// While nothing is known: a process that takes over from another gets all of its traffic in the first tick.
const FIRST_CAP: u32 = 512;
/// While free: the cap above the largest number that was in flight.
const HEADROOM: f64 = 3.0;
/// The peak loses half in 14 s.
const FADE: f64 = 0.995;
/// Latencies beyond this many times the base count as that many.
const CLIP: f64 = 8.0;
/// Times the base that look like a queue.
const SLOW: f64 = 2.0;
/// Times the base from which on the cap does not rise.
const WARY: f64 = 1.5;
const SUSPICIOUS_TICKS: u32 = 3;
/// The base follows lower readings more quickly than higher ones: not a minimum, which noise would pull down, and slow
/// enough upwards that a queue is noticed before it is taken for the base.
const DOWN: f64 = 0.02;
const UP: f64 = 0.005;
/// Requests that make a reading when free, and when something depends on it: a mean of fifty is right to within an eighth
/// for usual services, one of two hundred to a sixteenth. Of ten, when there are no more, to a third.
const FEW: f64 = 50.0;
const MANY: f64 = 200.0;
const FEWEST: f64 = 10.0;
/// Ticks after which a reading says what it can.
const LONGEST: u32 = 50;
/// The part of requests given up that is as bad as refusing some.
const MANY_GIVEN_UP: f64 = 0.1;
/// What is left of the rate at the same latency when a slow service has half in flight is a half; where there is a queue, all of
/// it, or at half of the latency, which need not show: latencies are clipped.
const SLOWER: f64 = 0.7;
/// What a trial leaves in flight.
const TRIAL_SHARE: f64 = 0.5;
/// Times what the upstream works on that may be in flight under overload.
const GAIN: f64 = 2.0;
/// Times the latency that this leads to, from which on the base must have changed.
const UNEXPLAINED: f64 = 1.5;
/// A base that fell below this share of the one before is measured again soon.
const BASE_FELL: f64 = 0.75;
/// Ticks without a refusal after which overload is over.
const CALM_TICKS: u32 = 5;
const MEASURE_SOON: u32 = 10;
const MEASURE_EVERY: u32 = 100;
const MOST_SETTLE: u32 = 20;
/// Readings of which the highest rate counts.
const RATES: usize = 10;
