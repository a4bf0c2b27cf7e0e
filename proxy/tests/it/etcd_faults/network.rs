//! What happens to the way to a cluster.

use std::time::Duration;

use super::stage::{Setting, route};
use super::{fault, is_full, length};
use crate::support::link::Weather;
use crate::support::{PATIENCE, eventually};

const LINKED: fn() -> Setting = || Setting { is_linked: true, ..Setting::default() };

#[test]
fn the_way_is_slow() {
    fault("delay", "every piece of an answer and a question arrives 0.2 s later", LINKED(), |stage| {
        stage.links[0].set(Weather::Slow(Duration::from_millis(200)));
        for _ in 0..5 {
            stage.follows_a_change();
        }
        stage.links[0].reset();
        stage.follows_a_change();
        stage.links[0].set(Weather::Fair);
        stage.change();
        stage.is_over();
    });
}

#[test]
fn the_way_is_cut_and_mended() {
    let what = "a partition, once shorter and once longer than it takes to be noticed";
    fault("partition", what, LINKED(), |stage| {
        stage.links[0].set(Weather::Silent);
        stage.change();
        stage.steady.goes_on(500);
        stage.links[0].set(Weather::Fair);
        stage.is_over();
        stage.is_right();

        stage.links[0].set(Weather::Silent);
        stage.change();
        stage.is_noticed();
        stage.steady.goes_on_for(length(1, 60));
        stage.change();
        stage.links[0].set(Weather::Fair);
        stage.is_over();
    });
}

#[test]
fn connections_are_half_open() {
    let what = "the member's end closes, Serin's stays open and swallows what it says, again and again";
    let setting = Setting { most_seconds: 16, ..LINKED() };
    fault("half-open", what, setting, |stage| {
        for _ in 0..if is_full() { 4 } else { 2 } {
            stage.links[0].halve();
            stage.is_over();
            stage.change();
            // Fifteen seconds of silence are the most.
            stage.is_right();
        }
        stage.change();
        stage.is_over();
    });
}

#[test]
fn connections_are_reset() {
    let setting = Setting { members: 3, is_linked: true, ..Setting::default() };
    fault("reset", "all connections reset again and again while keys change", setting, |stage| {
        for _ in 0..if is_full() { 100 } else { 15 } {
            let accepted = || stage.links.iter().map(|link| link.accepted()).sum::<u64>();
            let before = accepted();
            stage.links.iter().for_each(|link| link.reset());
            stage.etcd.put("/serin/routes/r9", route(9, before));
            eventually(PATIENCE, "a new connection", || accepted() > before);
        }
        stage.is_over();
        stage.change();
    });
}
