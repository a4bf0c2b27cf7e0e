//! The report: a Markdown page, with what must hold first. Losses are printed like wins.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::outcome::{Measured, Stormed, ascending};
use super::{Change, Contender};
use crate::compare::Spread;
use crate::peers::{Installed, Proxy};
use crate::report::{bold_unless, cell, mib, not_measured, number, thousands};
use crate::scenario::outcome::percentile;

/// What the page is made of.
#[derive(Debug)]
pub struct Report<'r> {
    /// By Ingresses, then as contenders were given.
    pub results: &'r [Measured],
    pub pods_each: u32,
    pub proxies: &'r [Installed],
    /// Proxies not measured, and why.
    pub skipped: &'r [(Proxy, String)],
    pub machine: Vec<(&'static str, String)>,
    /// How the run was made, in words.
    pub method: String,
    pub quick: bool,
    pub date: String,
}

/// A row of the storm's table: what it is, and what it is of all rounds.
type Row = (&'static str, fn(&[&Stormed]) -> String);

impl Report<'_> {
    /// Writes the page into `folder`; never over an earlier one of the same day.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let stem = crate::report::free_stem(folder, &format!("{}-kubernetes", self.date));
        let page = folder.join(format!("{stem}.md"));
        fs::write(&page, self.page())?;
        Ok(page)
    }

    #[must_use]
    pub fn page(&self) -> String {
        let mut page = crate::report::opening(&format!("Kubernetes, {}", self.date), self.quick, &self.method);
        page += &crate::report::about(&self.machine, self.proxies, self.skipped);
        page += &self.verdicts();
        page += "\n## A start\n\n";
        page += &self.starts();
        for change in Change::ALL {
            let _ = write!(page, "\n## {}\n\n", change.title());
            page += &self.changes(change);
        }
        page += &self.storms();
        page += &self.broken();
        page
    }

    fn verdicts(&self) -> String {
        let is_serin = |measured: &&Measured| measured.contender == Contender::Serin;
        let mut text = String::new();
        for measured in self.results.iter().filter(is_serin) {
            if text.is_empty() {
                text += "\n## What must hold\n\n| Serin's | measured | |\n|---|---|---|\n";
            }
            for (what, found, holds) in demands(measured) {
                let holds = if holds { "met" } else { "**missed**" };
                let ingresses = thousands(measured.ingresses.into());
                let _ = writeln!(text, "| {what}, {ingresses} Ingresses | {found} | {holds} |");
            }
        }
        text
    }

    fn starts(&self) -> String {
        let mut text = "From the start of the process, with nothing stored: until `/readyz` says 200 (Traefik's `/ping` does sooner), and until a pod has answered for the \
                        last of the hosts. Processor time and memory at that moment.\n\n\
                        | | Ingresses | pods | ready s | served s | processor s | RSS MiB |\n|---|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
        for measured in self.results {
            let pods = thousands(u64::from(measured.ingresses) * u64::from(self.pods_each));
            let row = self.row(measured);
            let figures = [
                spread(measured.spread(|visit| visit.start.ready_s), seconds),
                spread(measured.spread(|visit| visit.start.served_s), seconds),
                spread(measured.spread(|visit| visit.start.cpu_s), seconds),
                spread(measured.spread(|visit| kib(visit.start.memory.rss_kib)), mebibytes),
            ];
            let _ = writeln!(text, "{row} | {pods} | {} |", figures.join(" | "));
        }
        text
    }

    fn changes(&self, change: Change) -> String {
        let mut text = "| | Ingresses | p50 ms | p90 ms | p99 ms | most ms | changes | of it the API server's write, p50 ms | not served |\n\
                        |---|---:|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
        for measured in self.results {
            let row = self.row(measured);
            let Some(times) = measured.times(change) else {
                let _ = writeln!(text, "{row} | – | – | – | – | 0 | – | – |");
                continue;
            };
            let figures = [times.p50_ms, times.p90_ms, times.p99_ms, times.most_ms].map(number).join(" | ");
            let unserved = bold_unless(times.unserved == 0, &times.unserved.to_string());
            let (count, stored) = (times.count, times.stored_p50_ms);
            let _ = writeln!(text, "{row} | {figures} | {count} | {stored:.1} | {unserved} |");
        }
        text
    }

    fn row(&self, measured: &Measured) -> String {
        format!("| {} | {}", measured.contender.name(), thousands(measured.ingresses.into()))
    }

    fn storms(&self) -> String {
        let stormed = |measured: &&Measured| measured.storms().next().is_some();
        let columns: Vec<&Measured> = self.results.iter().filter(stormed).collect();
        let Some(first) = columns.first() else { return String::new() };
        let mut text = format!("\n## A storm, among {} Ingresses\n\n| |", thousands(first.ingresses.into()));
        columns.iter().for_each(|measured| text += &format!(" {} |", measured.contender.name()));
        text += "\n|---|";
        columns.iter().for_each(|_| text += "---:|");
        text += "\n";
        for (what, of) in STORM {
            let _ = write!(text, "| {what} |");
            for measured in &columns {
                let _ = write!(text, " {} |", of(&measured.storms().collect::<Vec<_>>()));
            }
            text += "\n";
        }
        text
    }

    fn broken(&self) -> String {
        not_measured(self.results.iter().filter_map(|measured| {
            let (name, ingresses) = (measured.contender.name(), thousands(measured.ingresses.into()));
            let why = measured.broken.as_ref()?;
            Some(format!("{name}, {ingresses} Ingresses, round {}: {why}", measured.visits.len() + 1))
        }))
    }
}

/// In the order of the table. Counts are sums of all rounds; times, shares and sizes are medians of them.
const STORM: &[Row] = &[
    ("events", |storms| total(storms, |storm| storm.events.into())),
    ("events a second", |storms| median(storms, |storm| f64::from(storm.events) / storm.blown_s, number)),
    ("rules in force anew", |storms| {
        let all: Option<u64> = storms.iter().map(|storm| storm.swaps).sum();
        all.map_or("–".to_owned(), thousands)
    }),
    ("requests", |storms| total(storms, Stormed::requests)),
    ("of them failed", |storms| {
        let failed: u64 = storms.iter().map(|storm| storm.failed()).sum();
        bold_unless(failed == 0, &thousands(failed))
    }),
    ("the first failure", |storms| {
        let windows = storms.iter().flat_map(|storm| [&storm.quiet, &storm.during]);
        cell(&windows.filter_map(|window| window.asked.first_failure.clone()).next().unwrap_or_default())
    }),
    ("p50 ms, before and during", |storms| before_and_during(storms, 0.5)),
    ("p99 ms, before and during", |storms| before_and_during(storms, 0.99)),
    ("most ms, before and during", |storms| before_and_during(storms, 1.0)),
    ("core used, before", |storms| median(storms, |storm| storm.quiet.core_use, percent)),
    ("core used, during", |storms| median(storms, |storm| storm.during.core_use, percent)),
    ("RSS MiB, before", |storms| median(storms, |storm| kib(storm.memory_before.rss_kib), mebibytes)),
    ("RSS MiB, after", |storms| median(storms, |storm| kib(storm.memory_after.rss_kib), mebibytes)),
    ("last EndpointSlice until its pods are asked, ms", |storms| last(storms, |storm| storm.slice_ms)),
    ("last Ingress until it is served, ms", |storms| last(storms, |storm| storm.ingress_ms)),
    ("requests that pods got which had left", |storms| total(storms, |storm| storm.stale_ms.len() as u64)),
    ("how long after at most, ms", |storms| {
        let most = storms.iter().filter_map(|storm| storm.stale_ms.last().copied()).reduce(f64::max);
        most.map_or("–".to_owned(), number)
    }),
    ("hosts and paths that are wrong at the end", |storms| {
        let wrong: usize = storms.iter().map(|storm| storm.wrong).sum();
        bold_unless(wrong == 0, &thousands(wrong as u64))
    }),
];

/// What must hold, what was found, and whether it does.
fn demands(measured: &Measured) -> Vec<(&'static str, String, bool)> {
    let mut demands = Vec::new();
    let times: Vec<_> = Change::ALL.iter().filter_map(|change| measured.times(*change)).collect();
    let unserved: usize = times.iter().map(|times| times.unserved).sum();
    let served: usize = times.iter().map(|times| times.count).sum();
    let is_whole = measured.broken.is_none() && unserved == 0 && times.len() == Change::ALL.len();
    demands.push(("every change is served", format!("{served} of {}", served + unserved), is_whole));
    let storms: Vec<&Stormed> = measured.storms().collect();
    if !storms.is_empty() {
        let failed: u64 = storms.iter().map(|storm| storm.failed()).sum();
        let requests: u64 = storms.iter().map(|storm| storm.requests()).sum();
        let found = format!("{} of {}", thousands(failed), thousands(requests));
        demands.push(("no request of the storm fails", found, failed == 0 && requests > 0));
        let wrong: usize = storms.iter().map(|storm| storm.wrong).sum();
        let is_right = storms.iter().all(|storm| storm.is_whole() || storm.failed() > 0) && wrong == 0;
        demands.push(("all is served as it should be after it", format!("{wrong} wrong"), is_right));
    }
    demands
}

fn total(storms: &[&Stormed], count: fn(&Stormed) -> u64) -> String {
    thousands(storms.iter().map(|storm| count(storm)).sum())
}

fn median(storms: &[&Stormed], figure: fn(&Stormed) -> f64, write: fn(f64) -> String) -> String {
    spread(Spread::of(storms.iter().map(|storm| figure(storm)).collect()), write)
}

fn before_and_during(storms: &[&Stormed], part: f64) -> String {
    let of = |took: Vec<Vec<f64>>| number(percentile(&ascending(took.into_iter().flatten()), part));
    let quiet = of(storms.iter().map(|storm| storm.quiet.asked.took_ms()).collect());
    let during = of(storms.iter().map(|storm| storm.during.asked.took_ms()).collect());
    format!("{quiet}, {during}")
}

fn last(storms: &[&Stormed], figure: fn(&Stormed) -> Option<f64>) -> String {
    let all: Option<Vec<f64>> = storms.iter().map(|storm| figure(storm)).collect();
    all.map_or("**never**".to_owned(), |all| spread(Spread::of(all), number))
}

/// The median of rounds, and their extremes where there are several.
fn spread(spread: Option<Spread>, write: fn(f64) -> String) -> String {
    let Some(Spread { median, least, most }) = spread else { return "–".to_owned() };
    let (median, least, most) = (write(median), write(least), write(most));
    if least == most { median } else { format!("{median} ({least} to {most})") }
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.2}")
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

fn mebibytes(kib: f64) -> String {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "KiB of a process")]
    mib(kib as u64)
}

#[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
fn kib(kib: u64) -> f64 {
    kib as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::outcome::{Changes, Start, Visit};
    use crate::usage::Memory;

    fn page(failed: u64, ingress_ms: Option<f64>) -> String {
        let changes = Changes { served_ms: vec![12.34; 100], stored_ms: vec![0.25; 100], unserved: 0 };
        let memory = Memory { rss_kib: 51_200, pss_kib: 0 };
        let storm = |core_use| {
            let mut storm = Stormed { events: 6_000, blown_s: 60.0, ingress_ms, ..Stormed::default() };
            (storm.during.core_use, storm.during.asked.failed) = (core_use, failed);
            (storm.slice_ms, storm.memory_after, storm.stale_ms) = (Some(2.5), memory, vec![1.0, 7.0]);
            storm.during.asked.first_failure = (failed > 0).then(|| "app-1.test: 503 | 504".to_owned());
            storm
        };
        let start = Start { ready_s: 1.25, served_s: 1.5, cpu_s: 1.0, memory };
        let visit =
            |core_use| Visit { start, slice: changes.clone(), ingress: changes.clone(), storm: Some(storm(core_use)) };
        let visits = vec![visit(0.25), visit(0.35)];
        let results = [Measured { contender: Contender::Serin, ingresses: 2_000, visits, broken: None }];
        Report {
            results: &results,
            pods_each: 5,
            proxies: &[],
            skipped: &[],
            machine: Vec::new(),
            method: String::new(),
            quick: false,
            date: "2026-01-31".to_owned(),
        }
        .page()
    }

    #[test]
    fn figures_are_where_they_belong() {
        let page = page(0, Some(30.0));
        for row in [
            "| serin | 2,000 | 10,000 | 1.25 | 1.50 | 1.00 | 50.0 |",
            "| serin | 2,000 | 12.3 | 12.3 | 12.3 | 12.3 | 200 | 0.2 | 0 |",
            "| events | 12,000 |",
            "| events a second | 100 |",
            "| core used, during | 30 % (25 % to 35 %) |",
            "| how long after at most, ms | 7.0 |",
            "| every change is served, 2,000 Ingresses | 400 of 400 | met |",
        ] {
            assert!(page.contains(row), "{row} in\n{page}");
        }
    }

    #[test]
    fn what_does_not_hold_is_said_first() {
        let page = page(1, None);
        for row in [
            "| no request of the storm fails, 2,000 Ingresses | 2 of 2 | **missed** |",
            "| of them failed | **2** |",
            "| the first failure | app-1.test: 503 \\| 504 |",
            "| last Ingress until it is served, ms | **never** |",
        ] {
            assert!(page.contains(row), "{row} in\n{page}");
        }
    }
}
