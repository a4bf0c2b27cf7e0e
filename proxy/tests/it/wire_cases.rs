//! Hostile bytes against the whole proxy: the open table, our own table, the corpus of `http_desync_guardian` and a
//! generated set of broken requests, each with a strict witness behind the proxy.
//!
//! A test runs all of its cases and then prints one table of what failed; the first failure hides nothing. Cases run
//! in lanes, each with a witness and a proxy of its own, one case at a time per lane, so that whatever reaches a
//! witness belongs to the case that is running.

mod desync;
mod http_two;
mod lane;
mod mutation;
mod timing;
mod verdict;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::support::wire::{Assertion, CaseSet, load};

use http_two::HttpTwoLane;
use lane::{EndpointLane, RequestLane};
use verdict::Report;

const OPEN: &str = include_str!("data/wire-cases.tsv");
const OWN: &str = include_str!("data/wire-cases-own.tsv");

#[test]
fn open_request_cases() {
    run_requests(&load(OPEN));
}

#[test]
fn own_request_cases() {
    run_requests(&load(OWN));
}

#[test]
fn open_endpoint_cases() {
    run_endpoints(&load(OPEN));
}

#[test]
fn own_endpoint_cases() {
    run_endpoints(&load(OWN));
}

#[test]
fn request_cases_over_tls() {
    let mut cases = [load(OPEN).requests, load(OWN).requests].concat();
    // The tables are written for clear text.
    for assertion in cases.iter_mut().flat_map(|case| &mut case.assertions) {
        if let Assertion::Header(name, value) = assertion
            && name == "x-forwarded-proto"
        {
            *value = "https".to_owned();
        }
    }
    finish(in_lanes(&cases, RequestLane::over_tls, |lane, case| lane.run(case)));
}

#[test]
fn endpoint_cases_over_tls() {
    let cases = [load(OPEN).endpoints, load(OWN).endpoints].concat();
    finish(in_lanes(&cases, EndpointLane::over_tls, |lane, case| lane.run(case)));
}

#[test]
fn open_http_two_cases() {
    let cases = load(OPEN).http_two;
    assert_eq!(cases.len(), 27);
    finish(in_lanes(&cases, HttpTwoLane::start, |lane, case| lane.run(case)));
}

#[test]
fn own_http_two_cases() {
    let cases = load(OWN).http_two;
    assert!(cases.len() >= 40, "{}", cases.len());
    finish(in_lanes(&cases, HttpTwoLane::start, |lane, case| lane.run(case)));
}

#[test]
fn the_tables_are_large_enough_and_their_ids_unique() {
    let (open, own) = (load(OPEN), load(OWN));
    assert_eq!((open.requests.len(), open.endpoints.len()), (64, 25));
    assert!(own.requests.len() + own.endpoints.len() >= 120);
    let mut ids: Vec<String> = [open, own]
        .into_iter()
        .flat_map(|set| {
            let requests = set.requests.into_iter().map(|case| case.id);
            let requests = requests.chain(set.http_two.into_iter().map(|case| case.id));
            requests.chain(set.endpoints.into_iter().map(|case| case.id)).collect::<Vec<_>>()
        })
        .collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all, "an id is used twice");
}

/// The corpus of the crate, read from its packaged source.
#[test]
fn desync_corpus() {
    finish(in_lanes(&desync::corpus(), RequestLane::start, |lane, case| lane.run(case)));
}

#[test]
fn generated_requests() {
    let cases = mutation::requests(600);
    finish(in_lanes(&cases, RequestLane::start, |lane, case| lane.run_broken(case)));
}

fn run_requests(cases: &CaseSet) {
    finish(in_lanes(&cases.requests, RequestLane::start, |lane, case| lane.run(case)));
}

fn run_endpoints(cases: &CaseSet) {
    finish(in_lanes(&cases.endpoints, EndpointLane::start, |lane, case| lane.run(case)));
}

/// Runs every case once, in as many lanes as keep two processors busy while cases wait for silence.
fn in_lanes<C: Sync, L>(
    cases: &[C],
    start: impl Fn(usize) -> L + Sync,
    run: impl Fn(&mut L, &C) -> Report + Sync,
) -> Vec<Report> {
    let next = AtomicUsize::new(0);
    let reports = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for number in 0..LANES {
            let (next, reports, start, run) = (&next, &reports, &start, &run);
            scope.spawn(move || {
                let mut lane = start(number);
                while let Some((index, case)) = take(cases, next) {
                    let report = run(&mut lane, case);
                    reports.lock().unwrap().push((index, report));
                }
            });
        }
    });
    let mut reports = reports.into_inner().unwrap();
    reports.sort_by_key(|(index, _)| *index);
    reports.into_iter().map(|(_, report)| report).collect()
}

const LANES: usize = 4;

fn take<'c, C>(cases: &'c [C], next: &AtomicUsize) -> Option<(usize, &'c C)> {
    let index = next.fetch_add(1, Ordering::SeqCst);
    cases.get(index).map(|case| (index, case))
}

/// Prints what is worth knowing, and fails with a table if anything failed.
fn finish(reports: Vec<Report>) {
    let reached: Vec<&str> = reports.iter().filter(|r| r.reached_partly).map(|r| r.id.as_str()).collect();
    eprintln!("{} cases; {} refused after a part had reached the endpoint: {reached:?}", reports.len(), reached.len());
    let notes = reports.iter().flat_map(|report| report.notes.iter().map(move |note| (&report.id, note)));
    for (id, note) in notes {
        eprintln!("note {id}: {note}");
    }
    let failed: Vec<Report> = reports.into_iter().filter(|report| !report.failures.is_empty()).collect();
    assert!(failed.is_empty(), "{} cases failed\n{}", failed.len(), table(&failed));
}

fn table(failed: &[Report]) -> String {
    let mut lines = vec![format!("{:<10} {:<10} {:<34} why", "id", "expected", "got")];
    for report in failed {
        let row =
            format!("{:<10} {:<10} {:<34} {}", report.id, report.expected, report.got, report.failures.join("; "));
        lines.push(format!("{row} [{}]", report.text));
    }
    lines.join("\n")
}
