//! What a run of a scenario came to.

use std::ops::Range;

use routing_rules::balance::Learned;

use crate::breakers::Ticked;
use crate::scenario::{SECOND, Scenario};

/// Counts of one run.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// When times and weights are looked at.
    looked_at: Range<u64>,
    endpoints: usize,
    /// Picks in each half second, by endpoint.
    picks: Vec<Vec<u32>>,
    times_us: Vec<u32>,
    /// How many requests did not get a good answer, in the whole run.
    pub(crate) lost: u64,
    /// How many of these found no endpoint.
    pub(crate) refused: u64,
    /// When breakers opened, in µs.
    pub(crate) opened_us: Vec<u64>,
    /// How often a tick held one that would have opened.
    pub(crate) held: usize,
    /// How many were out at the same time, at most.
    pub(crate) most_out: usize,
    /// ln of the learned weights at each tick, by process and endpoint.
    weights: Vec<Vec<Vec<f64>>>,
}

impl Outcome {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self {
            looked_at: scenario.from_s * SECOND..scenario.to_s * SECOND,
            endpoints: scenario.slots.len(),
            picks: vec![Vec::new(); 2 * scenario.end_s as usize],
            times_us: Vec::new(),
            lost: 0,
            refused: 0,
            opened_us: Vec::new(),
            held: 0,
            most_out: 0,
            weights: vec![Vec::new(); scenario.processes],
        }
    }

    pub(crate) fn picked(&mut self, now_us: u64, endpoint: usize) {
        let bin = &mut self.picks[(2 * now_us / SECOND) as usize];
        if bin.len() <= endpoint {
            bin.resize(endpoint + 1, 0);
        }
        bin[endpoint] += 1;
    }

    pub(crate) fn ended(&mut self, start_us: u64, now_us: u64, is_good: bool) {
        self.lost += u64::from(!is_good);
        if self.looked_at.contains(&start_us) {
            self.times_us.push((now_us - start_us) as u32);
        }
    }

    /// A request found no endpoint.
    pub(crate) fn refused(&mut self) {
        self.lost += 1;
        self.refused += 1;
    }

    pub(crate) fn broke(&mut self, now_us: u64, ticked: &Ticked) {
        let opened = ticked.transitions.iter().flatten().filter(|transition| transition.opening().is_some());
        self.opened_us.extend(opened.map(|_| now_us));
        self.held += ticked.held;
        self.most_out = self.most_out.max(ticked.out);
    }

    pub(crate) fn learned(&mut self, now_us: u64, process: usize, learned: &[Learned]) {
        if self.looked_at.contains(&now_us) {
            self.weights[process].resize(learned.len(), Vec::new());
            let series = self.weights[process].iter_mut().zip(learned);
            series.for_each(|(series, learned)| series.push(learned.ln_weight()));
        }
    }

    /// The time that one in a hundred requests exceeds, in ms.
    pub(crate) fn p99_ms(&mut self) -> f64 {
        let rank = self.times_us.len() * 99 / 100;
        let (_, time_us, _) = self.times_us.select_nth_unstable(rank);
        f64::from(*time_us) / 1e3
    }

    /// What an endpoint got between two seconds, as a part of what it would get if all got the same.
    pub(crate) fn share(&self, endpoint: usize, from_s: u64, to_s: u64) -> f64 {
        self.share_of_bins(endpoint, 2 * from_s as usize, 2 * to_s as usize)
    }

    fn share_of_bins(&self, endpoint: usize, from: usize, to: usize) -> f64 {
        let bins = &self.picks[from..to];
        let endpoints = bins.iter().map(Vec::len).max().unwrap_or(1);
        let all: u32 = bins.iter().flatten().sum();
        let own: u32 = bins.iter().filter_map(|bin| bin.get(endpoint)).sum();
        f64::from(own) * endpoints as f64 / f64::from(all.max(1))
    }

    /// The largest share of all while it is looked at.
    pub(crate) fn largest_share(&self) -> f64 {
        let [from, to] = [self.looked_at.start, self.looked_at.end].map(|at_us| 2 * (at_us / SECOND) as usize);
        (0..self.endpoints).map(|endpoint| self.share_of_bins(endpoint, from, to)).fold(0.0, f64::max)
    }

    /// How many seconds after `end_s` an endpoint first got 90 % of its part, for a whole second.
    pub(crate) fn back_s(&self, endpoint: usize, end_s: u64) -> f64 {
        let first = 2 * end_s as usize;
        let back = (first..self.picks.len() - 1).find(|bin| self.share_of_bins(endpoint, *bin, bin + 2) >= 0.9);
        back.map_or(f64::INFINITY, |bin| (bin + 2 - first) as f64 / 2.0)
    }

    /// How much learned weights move: the standard deviation of their logarithms over time.
    pub(crate) fn std_ln_w(&self) -> f64 {
        let series: Vec<&Vec<f64>> = self.weights.iter().flatten().collect();
        let variance = |series: &[f64]| {
            let mean = series.iter().sum::<f64>() / series.len() as f64;
            series.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / series.len() as f64
        };
        (series.iter().map(|series| variance(series)).sum::<f64>() / series.len() as f64).sqrt()
    }
}
