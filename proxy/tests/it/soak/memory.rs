//! Resident memory over reloads: the straight line through the samples, and what it may rise.

use std::fmt;

/// One look at the proxy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Sample {
    pub(super) reloads: u64,
    pub(super) resident_kib: u64,
}

/// Looks in their order; at least one.
#[derive(Debug)]
pub(super) struct Samples(Vec<Sample>);

/// What memory did.
pub(super) struct Growth {
    first: Sample,
    last: Sample,
    /// After the warm-up, if the run was long enough: KiB per 1,000 reloads.
    slope: Option<f64>,
}

impl From<Sample> for Samples {
    fn from(first: Sample) -> Self {
        Self(vec![first])
    }
}

impl Samples {
    pub(super) fn push(&mut self, sample: Sample) {
        self.0.push(sample);
    }

    /// From the first look to the last.
    pub(super) fn reloads(&self) -> u64 {
        self.last().reloads - self.first().reloads
    }

    fn first(&self) -> Sample {
        *self.0.first().expect("there is one from the beginning")
    }

    fn last(&self) -> Sample {
        *self.0.last().expect("there is one from the beginning")
    }

    pub(super) fn growth(&self) -> Growth {
        let (first, last) = (self.first(), self.last());
        let warm: Vec<Sample> =
            self.0.iter().filter(|sample| sample.reloads - first.reloads >= WARM_UP).copied().collect();
        let is_long = self.reloads() >= 2 * WARM_UP;
        Growth { first, last, slope: is_long.then(|| slope(&warm)) }
    }
}

/// Least squares: KiB per 1,000 reloads.
fn slope(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let x = |sample: &Sample| sample.reloads as f64 / 1_000.0;
    let y = |sample: &Sample| sample.resident_kib as f64;
    let (mean_x, mean_y) = (samples.iter().map(x).sum::<f64>() / count, samples.iter().map(y).sum::<f64>() / count);
    let both: f64 = samples.iter().map(|sample| (x(sample) - mean_x) * (y(sample) - mean_y)).sum();
    let square: f64 = samples.iter().map(|sample| (x(sample) - mean_x).powi(2)).sum();
    both / square
}

impl Growth {
    pub(super) fn judge(&self) {
        match self.slope {
            Some(slope) => assert!(slope < MOST_SLOPE, "{self}"),
            None => assert!(self.last.resident_kib < self.first.resident_kib + MOST_GROWTH_KIB, "{self}"),
        }
    }
}

impl fmt::Display for Growth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.first.resident_kib, self.last.resident_kib);
        write!(
            f,
            "resident memory: {first} KiB before, {last} KiB after {} reloads",
            self.last.reloads - self.first.reloads
        )?;
        match self.slope {
            Some(slope) => write!(f, "; after the first {WARM_UP}, {slope:+.1} KiB per 1,000 reloads"),
            None => Ok(()),
        }
    }
}

/// An endpoint that is gone is remembered for a minute: until then memory grows with every new one, and must.
const WARM_UP: u64 = 3_500;

/// KiB per 1,000 reloads that are noise of the allocator: a rule set of this size leaked each time would be tens
/// of times as much.
const MOST_SLOPE: f64 = 256.0;

/// In a run that is too short for a line.
const MOST_GROWTH_KIB: u64 = 32 << 10;

#[test]
fn the_slope_is_that_of_the_line() {
    let at = |reloads, resident_kib| Sample { reloads, resident_kib };
    let rising: Vec<Sample> = (0..10).map(|step| at(step * 500, 9_000 + step * 20)).collect();
    assert!((slope(&rising) - 40.0).abs() < 1e-6);
    // Ups and downs are no rise.
    let level = [at(0, 100), at(1_000, 200), at(2_000, 200), at(3_000, 100)];
    assert!(slope(&level).abs() < 1e-6);
}

#[test]
fn a_long_run_is_judged_by_its_slope() {
    let leaking = |kib_each: u64| {
        let sample = |reloads| Sample { reloads, resident_kib: 20_000 + reloads * kib_each };
        let samples = Samples((0..10).map(|step| sample(step * 1_000)).collect());
        samples.growth().slope.expect("long enough")
    };
    assert!(leaking(0) < MOST_SLOPE && leaking(1) > MOST_SLOPE);
}
