//! The report: a Markdown page with the numbers to reach and a plot of what changes took. Losses are printed like wins.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::outcome::{Measured, Times};
use super::{Change, Contender};
use crate::peers::{Installed, Proxy};
use crate::plot::spans::{self, Span};
use crate::report::{bold_unless, cell, not_measured, number, thousands};

/// What the page is made of.
#[derive(Debug)]
pub struct Report<'r> {
    /// By routes, then as contenders were given.
    pub results: &'r [Measured],
    pub proxies: &'r [Installed],
    /// Proxies not measured, and why.
    pub skipped: &'r [(Proxy, String)],
    pub machine: Vec<(&'static str, String)>,
    /// How the run was made, in words.
    pub method: String,
    pub quick: bool,
    pub date: String,
}

/// A number that Serin is to reach.
struct Bar {
    what: String,
    to_reach: String,
    measured: String,
    is_met: bool,
}

impl Report<'_> {
    /// Writes the page and its plots into `folder`; never over an earlier one of the same day.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let stem = crate::report::free_stem(folder, &format!("{}-etcd", self.date));
        for change in Change::ALL {
            fs::write(folder.join(format!("{stem}-{}.svg", change.name())), self.plot(change))?;
        }
        let page = folder.join(format!("{stem}.md"));
        fs::write(&page, self.page(Some(&stem)))?;
        Ok(page)
    }

    /// The page; with the stem of the plots' names it shows them.
    #[must_use]
    pub fn page(&self, stem: Option<&str>) -> String {
        let mut page = crate::report::opening(&format!("etcd, {}", self.date), self.quick, &self.method);
        page += &crate::report::about(&self.machine, self.proxies, self.skipped);
        page += "\n## Numbers to reach\n\n";
        page += &self.verdicts();
        for change in Change::ALL {
            let _ = write!(page, "\n## {}\n\n", change.title());
            if let Some(stem) = stem {
                let _ = write!(page, "![{}]({stem}-{}.svg)\n\n", change.title(), change.name());
            }
            page += &self.changes(change);
        }
        page += "\n## A cold start\n\n";
        page += &self.starts();
        page += "\n## Requests during the changes\n\n";
        page += &self.requests();
        page += &self.broken();
        page
    }

    fn verdicts(&self) -> String {
        let mut text = "| Serin's | to reach | measured | |\n|---|---|---|---|\n".to_owned();
        for measured in self.results.iter().filter(|measured| measured.contender == Contender::Serin) {
            for bar in bars(measured) {
                let met = if bar.is_met { "met" } else { "**missed**" };
                let _ = writeln!(text, "| {} | {} | {} | {met} |", bar.what, bar.to_reach, bar.measured);
            }
        }
        text
    }

    fn changes(&self, change: Change) -> String {
        let mut text = "| | routes | p50 ms | p99 ms | most ms | changes | of it etcd's write, p50 ms | not served |\n\
                        |---|---:|---:|---:|---:|---:|---:|---:|\n"
            .to_owned();
        for measured in self.results {
            let (name, routes) = (measured.contender.name(), thousands(measured.routes.into()));
            let _ = match measured.times(change) {
                Some(times) => writeln!(
                    text,
                    "| {name} | {routes} | {} | {} | {} | {} | {:.1} | {} |",
                    number(times.p50_ms),
                    number(times.p99_ms),
                    number(times.most_ms),
                    times.count,
                    times.stored_p50_ms,
                    bold_unless(times.unserved == 0, &times.unserved.to_string())
                ),
                None => writeln!(text, "| {name} | {routes} | – | – | – | 0 | – | {} |", none(measured)),
            };
        }
        text
    }

    fn starts(&self) -> String {
        let mut text = "From the start of the process until the last route is served. Memory a second later; nginx's master and worker \
                        together, without the daemon.\n\n\
                        | | routes | s, median (least to most) | RSS MiB | PSS MiB |\n|---|---:|---:|---:|---:|\n"
            .to_owned();
        for measured in self.results {
            let (name, routes) = (measured.contender.name(), thousands(measured.routes.into()));
            let _ = match measured.spread(|visit| visit.cold_s) {
                Some([median, least, most]) => writeln!(
                    text,
                    "| {name} | {routes} | {median:.2} ({least:.2} to {most:.2}) | {} | {} |",
                    mib(measured, |visit| visit.memory.rss_kib),
                    mib(measured, |visit| visit.memory.pss_kib)
                ),
                None => writeln!(text, "| {name} | {routes} | {} | – | – |", none(measured)),
            };
        }
        text
    }

    fn requests(&self) -> String {
        let mut text = "A client that asks 250 times a second, as far as it gets answers. Lost is what was sent and got no answer of 200.\n\n\
                        | | routes | requests | lost | the first | p99 ms | most ms |\n|---|---:|---:|---:|---|---:|---:|\n"
            .to_owned();
        for measured in self.results.iter().filter(|measured| !measured.visits.is_empty()) {
            let seen = measured.seen();
            let _ = writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} |",
                measured.contender.name(),
                thousands(measured.routes.into()),
                thousands(seen.asked),
                bold_unless(seen.lost == 0, &thousands(seen.lost)),
                cell(&seen.first_loss.unwrap_or_default()),
                number(seen.p99_ms),
                number(seen.most_ms)
            );
        }
        text
    }

    fn broken(&self) -> String {
        not_measured(self.results.iter().filter_map(|measured| {
            let (name, routes) = (measured.contender.name(), thousands(measured.routes.into()));
            let why = measured.broken.as_ref()?;
            Some(format!("{name} at {routes} routes, round {}: {why}", measured.visits.len() + 1))
        }))
    }

    fn plot(&self, change: Change) -> String {
        let span = |measured: &Measured| {
            let times = measured.times(change);
            Span {
                group: format!("{} routes", thousands(measured.routes.into())),
                name: measured.contender.name().to_owned(),
                from: times.as_ref().map_or(0.0, |times| times.p50_ms),
                to: times.as_ref().map_or(0.0, |times| times.p99_ms),
                label: times.map_or("not measured".to_owned(), |times| {
                    format!("{} to {} ms", number(times.p50_ms), number(times.p99_ms))
                }),
                is_serin: measured.contender == Contender::Serin,
            }
        };
        let spans: Vec<Span> = self.results.iter().map(span).collect();
        spans::plot(change.title(), "p50 to p99 in milliseconds, each tick ten times the one before", &spans)
    }
}

fn bars(measured: &Measured) -> Vec<Bar> {
    let routes = thousands(measured.routes.into());
    let at_most_ms = [(10_000, 10.0), (100_000, 25.0)].into_iter().find(|(of, _)| *of == measured.routes);
    let endpoint = at_most_ms.map(|(_, at_most_ms)| {
        let times = measured.times(Change::Endpoint);
        Bar {
            what: format!("put of an endpoint until it is served, {routes} routes: p99"),
            to_reach: format!("at most {at_most_ms:.0} ms"),
            is_met: times.as_ref().is_some_and(|times| times.unserved == 0 && times.p99_ms <= at_most_ms),
            measured: times.as_ref().map_or("nothing".to_owned(), Times::said),
        }
    });
    let start = (measured.routes == 100_000).then(|| {
        let cold = measured.spread(|visit| visit.cold_s);
        Bar {
            what: format!("{routes} routes loaded cold"),
            to_reach: "at most 3 s".to_owned(),
            is_met: cold.is_some_and(|[median, ..]| median <= 3.0),
            measured: cold.map_or("nothing".to_owned(), |[median, least, most]| {
                format!("{median:.2} s ({least:.2} to {most:.2})")
            }),
        }
    });
    let seen = measured.seen();
    let lost = Bar {
        what: format!("requests lost during the changes, {routes} routes"),
        to_reach: "0".to_owned(),
        measured: format!("{} of {}", thousands(seen.lost), thousands(seen.asked)),
        is_met: seen.lost == 0 && seen.asked > 0,
    };
    endpoint.into_iter().chain(start).chain([lost]).collect()
}

impl Times {
    fn said(&self) -> String {
        let unserved = if self.unserved == 0 { String::new() } else { format!(", {} not served", self.unserved) };
        format!("{} ms of {} changes{unserved}", number(self.p99_ms), self.count)
    }
}

/// In the place of a figure.
fn none(measured: &Measured) -> &'static str {
    if measured.broken.is_some() { "see below" } else { "–" }
}

#[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
fn mib(measured: &Measured, kib: impl Fn(&super::outcome::Visit) -> u64) -> String {
    measured.spread(|visit| kib(visit) as f64 / 1024.0).map_or("–".to_owned(), |[median, ..]| format!("{median:.0}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::etcd::outcome::{Changes, Visit};
    use crate::etcd::steady::Steady;

    fn page(served_ms: f64, lost: u64) -> String {
        let changes = Changes { served_ms: vec![served_ms; 200], stored_ms: vec![0.5; 200], unserved: 0 };
        let steady = Steady { asked: 1_000, lost, first_loss: None, took_ms: vec![1.0] };
        let visit = Visit { cold_s: 2.0, endpoint: changes.clone(), route: changes, steady, ..Visit::default() };
        let of = |contender, visits, broken| Measured { contender, routes: 100_000, visits, broken };
        let results = [
            of(Contender::Serin, vec![visit], None),
            of(Contender::Traefik0s, Vec::new(), Some("it | fell".to_owned())),
        ];
        let (machine, method, date) = (Vec::new(), String::new(), "2026-01-31".to_owned());
        Report { results: &results, proxies: &[], skipped: &[], machine, method, quick: false, date }.page(None)
    }

    #[test]
    fn bars_are_met_or_missed() {
        let well = page(24.96, 0);
        assert!(well.contains("| at most 25 ms | 25.0 ms of 200 changes | met |"), "{well}");
        assert!(
            !well.contains("missed") && well.contains("- traefik, 0 s at 100,000 routes, round 1: it | fell"),
            "{well}"
        );
        let bad = page(25.1, 1);
        assert!(
            bad.contains("| 25.1 ms of 200 changes | **missed** |") && bad.contains("| 1 of 1,000 | **missed** |"),
            "{bad}"
        );
    }
}
