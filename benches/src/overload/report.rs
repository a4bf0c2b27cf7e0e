//! The report: a Markdown page with the numbers to reach, a plot of the goodput, and every half second as CSV.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::outcome::{Figures, Measured};
use super::{Contestant, Phase, capacity};
use crate::peers::{Installed, Proxy};
use crate::plot::lines::{self, Frame, Line};

/// What the page is made of.
#[derive(Debug)]
pub struct Report<'r> {
    pub results: &'r [(Contestant, Result<Measured, String>)],
    pub proxies: &'r [Installed],
    /// Proxies not measured, and why.
    pub skipped: &'r [(Proxy, String)],
    pub machine: Vec<(&'static str, String)>,
    /// How the run was made, in words.
    pub method: String,
    /// Of each phase.
    pub seconds: f64,
    pub date: String,
}

impl Report<'_> {
    /// Writes the page, its plot and its half seconds into `folder`; never over an earlier one of the same day.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let stem = crate::report::free_stem(folder, &format!("{}-overload", self.date));
        fs::write(folder.join(format!("{stem}.svg")), self.plot())?;
        fs::write(folder.join(format!("{stem}.csv")), self.halves())?;
        let page = folder.join(format!("{stem}.md"));
        fs::write(&page, self.page(Some(&stem)))?;
        Ok(page)
    }

    /// The page; with the stem of the plot's name it shows it.
    #[must_use]
    pub fn page(&self, stem: Option<&str>) -> String {
        let mut page = crate::report::opening(&format!("Overload, {}", self.date), false, &self.method);
        page += &crate::report::about(&self.machine, self.proxies, self.skipped);
        for (contestant, measured) in self.measured().filter(|(contestant, _)| *contestant == Contestant::Auto) {
            let _ = write!(page, "\n## Numbers to reach: {}\n\n{}", contestant.name(), verdicts(measured));
        }
        page += "\n## All\n\n";
        if let Some(stem) = stem {
            let _ = write!(page, "![{TITLE}]({stem}.svg)\n\n");
        }
        page += "| | phase | asked for /s | goodput /s | of the peak | p50 | p99 ms | refused /s | p99 ms | late | failed |\n\
                 |---|---|---|---|---|---|---|---|---|---|---|\n";
        for (contestant, result) in self.results {
            page += &match result {
                Ok(measured) => rows(*contestant, measured, self.seconds),
                Err(why) => format!(
                    "| {} | not measured: {} | | | | | | | | | |\n",
                    contestant.name(),
                    crate::report::cell(why)
                ),
            };
        }
        page += "\n† the load generator itself was more than 5 ms late for one request in a hundred: measure again on a quieter machine.\n";
        page
    }

    fn measured(&self) -> impl Iterator<Item = (Contestant, &Measured)> {
        self.results.iter().filter_map(|(contestant, result)| Some((*contestant, result.as_ref().ok()?)))
    }

    fn plot(&self) -> String {
        let line = |(contestant, measured): (Contestant, &Measured)| Line {
            name: contestant.name().to_owned(),
            values: measured.halves.iter().map(Figures::share).collect(),
            is_serin: contestant == Contestant::Auto,
        };
        let frame = Frame {
            title: TITLE.to_owned(),
            note: "right answers within a second, in each half second; 1 is what the endpoints can do".to_owned(),
            step_s: 0.5,
            length_s: Phase::After.seconds(self.seconds).end,
            fault_s: Phase::Double.seconds(self.seconds).start..Phase::Fivefold.seconds(self.seconds).end,
            top: 1.2,
        };
        lines::plot(&frame, &self.measured().map(line).collect::<Vec<_>>())
    }

    fn halves(&self) -> String {
        let mut text =
            "contestant,seconds,offered,goodput,p50_ms,p99_ms,refused,refused_p99_ms,late,failed\n".to_owned();
        for (contestant, measured) in self.measured() {
            for (half, figures) in (0_u32..).zip(&measured.halves) {
                let Figures { offered, goodput, accepted, refused, refused_p99_ms, late, failed, .. } = figures;
                let (name, seconds) = (contestant.name().replace(',', ""), f64::from(half) / 2.0);
                let _ = writeln!(
                    text,
                    "{name},{seconds},{offered:.0},{goodput:.0},{:.1},{:.1},{refused},{refused_p99_ms:.1},{late},{failed}",
                    accepted.p50_ms, accepted.p99_ms
                );
            }
        }
        text
    }
}

const TITLE: &str = "goodput while more and more is asked for";

#[expect(clippy::cast_precision_loss, reason = "requests of a run")]
fn rows(contestant: Contestant, measured: &Measured, seconds: f64) -> String {
    let mark = if measured.is_disturbed() { " †" } else { "" };
    let mut text = String::new();
    for (phase, figures) in &measured.phases {
        let Figures { offered, goodput, accepted, refused, refused_p99_ms, late, failed, .. } = figures;
        let (name, phase, share) = (contestant.name(), phase.name(), goodput / measured.peak());
        let (p50_ms, p99_ms, refused) = (accepted.p50_ms, accepted.p99_ms, *refused as f64 / seconds);
        let _ = writeln!(
            text,
            "| {name}{mark} | {phase} | {offered:.0} | {goodput:.0} | {:.0} % | {p50_ms:.0} | {p99_ms:.0} | {refused:.0} | {refused_p99_ms:.1} | {late} | {failed} |",
            share * 100.0
        );
    }
    text
}

fn verdicts(measured: &Measured) -> String {
    let mark = if measured.is_disturbed() { " †" } else { "" };
    let mut text = "| | to reach | measured | |\n|---|---|---|---|\n".to_owned();
    for bar in bars(measured) {
        let verdict = if bar.is_met { "met" } else { "**missed**" };
        let _ = writeln!(text, "| {} | {} | {}{mark} | {verdict} |", bar.what, bar.to_reach, bar.measured);
    }
    text
}

/// What is expected of Serin, and what it did.
struct Bar {
    what: String,
    to_reach: String,
    measured: String,
    is_met: bool,
}

fn bars(measured: &Measured) -> Vec<Bar> {
    let mut bars = Vec::new();
    for phase in Phase::ALL.into_iter().filter(|phase| phase.is_overload()) {
        bars.extend(bars_of(measured, phase));
    }
    let recovered_s = measured.recovered_s.unwrap_or(f64::INFINITY);
    bars.push(Bar {
        what: "recovery: from the end of 5x until a second begins without a refusal and with a p99 of at most 1.5 times the normal".to_owned(),
        to_reach: "at most 2 s".to_owned(),
        measured: measured.recovered_s.map_or("never".to_owned(), |after_s| format!("{after_s:.1} s")),
        is_met: recovered_s <= 2.0,
    });
    bars.extend(measured.admin.as_ref().map(|admin| Bar {
        what: "`/healthz` and `/metrics`, asked ten times a second".to_owned(),
        to_reach: "all answered".to_owned(),
        measured: format!("{} of {}, after {:.0} ms at worst", admin.asked - admin.failed, admin.asked, admin.worst_ms),
        is_met: admin.failed == 0,
    }));
    bars
}

fn bars_of(measured: &Measured, phase: Phase) -> [Bar; 5] {
    let (figures, name) = (measured.figures(phase), phase.name());
    let saturated_ms = measured.figures(Phase::Saturated).accepted.p99_ms;
    let (share, p99_ms) = (figures.goodput / measured.peak(), figures.accepted.p99_ms);
    let bar = |what: &str, to_reach: String, measured: String, is_met: bool| Bar {
        what: format!("{name}: {what}"),
        to_reach,
        measured,
        is_met,
    };
    [
        bar(
            "goodput, of the highest of any phase",
            "90 %".to_owned(),
            format!("{:.1} % ({:.1} % of the capacity, {:.0}/s)", share * 100.0, figures.share() * 100.0, capacity()),
            share >= 0.9,
        ),
        bar(
            "p99 of the accepted",
            format!("at most {:.0} ms, twice that of saturation", 2.0 * saturated_ms),
            format!("{p99_ms:.0} ms"),
            p99_ms <= 2.0 * saturated_ms,
        ),
        bar(
            "p99 of refusals",
            "less than 10 ms".to_owned(),
            format!("{:.1} ms", figures.refused_p99_ms),
            figures.refused_p99_ms < 10.0,
        ),
        bar(
            "refusals without Retry-After",
            "0".to_owned(),
            format!("{} of {}", figures.without_retry_after, figures.refused),
            figures.without_retry_after == 0,
        ),
        bar(
            "other ends: late, failed",
            "0".to_owned(),
            format!("{}, {}", figures.late, figures.failed),
            figures.late + figures.failed == 0,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::outcome::Times;

    fn measured(overload: &Figures) -> Measured {
        let usual =
            Figures { goodput: 600.0, accepted: Times { p99_ms: 200.0, ..Times::default() }, ..Figures::default() };
        let of = |phase: Phase| (phase, if phase.is_overload() { overload.clone() } else { usual.clone() });
        Measured {
            phases: Phase::ALL.map(of).into(),
            halves: vec![usual.clone(); 3],
            recovered_s: None,
            admin: None,
            lag_p99_ms: 0.0,
        }
    }

    fn page(measured: Measured) -> String {
        let results = [(Contestant::Auto, Ok(measured)), (Contestant::Nginx, Err("it | fell".to_owned()))];
        let (machine, method, date) = (Vec::new(), String::new(), "2026-01-31".to_owned());
        Report { results: &results, proxies: &[], skipped: &[], machine, method, seconds: 10.0, date }.page(None)
    }

    #[test]
    fn bars_are_met_or_missed() {
        let well =
            Figures { goodput: 550.0, accepted: Times { p99_ms: 399.0, ..Times::default() }, ..Figures::default() };
        let page_of = page(measured(&well));
        assert!(page_of.contains("| 91.7 % (85.9 % of the capacity, 640/s) | met |"), "{page_of}");
        assert_eq!(page_of.matches("**missed**").count(), 1, "{page_of}");
        assert!(page_of.contains("| never | **missed** |") && page_of.contains("it \\| fell"), "{page_of}");
        let bad = Figures { goodput: 530.0, refused_p99_ms: 10.0, without_retry_after: 1, late: 1, ..well };
        assert_eq!(page(measured(&bad)).matches("**missed**").count(), 9);
    }

    #[test]
    fn what_was_disturbed_is_marked() {
        let late = Measured { lag_p99_ms: 6.0, ..measured(&Figures::default()) };
        assert!(page(late).contains("| serin, auto † | 2x |"));
    }
}
