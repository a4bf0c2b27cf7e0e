//! The report: a Markdown page, a plot of the bad endpoint's share for each scenario, and all shares as CSV.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::outcome::{Measured, Times};
use super::{Figure, Scenario};
use crate::peers::{Installed, Proxy};
use crate::plot::lines::{self, Frame, Line};

/// A scenario and what each proxy made of it, or why there is nothing.
#[derive(Debug)]
pub struct Played {
    pub scenario: Scenario,
    pub results: Vec<(Proxy, Result<Measured, String>)>,
}

/// What the page is made of.
#[derive(Debug)]
pub struct Report<'r> {
    pub played: &'r [Played],
    pub proxies: &'r [Installed],
    /// Proxies not measured, and why.
    pub skipped: &'r [(Proxy, String)],
    pub machine: Vec<(&'static str, String)>,
    /// How the run was made, in words.
    pub method: String,
    /// Times are so many times longer than by design, and bars with them.
    pub slower: f64,
    pub quick: bool,
    pub date: String,
}

impl Report<'_> {
    /// Writes the page, its plots and its shares into `folder`; never over an earlier one of the same day.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let stem = crate::report::free_stem(folder, &format!("{}-scenarios", self.date));
        for played in self.played {
            let name = played.scenario.name.text();
            fs::write(folder.join(format!("{stem}-{name}.svg")), plot(played))?;
        }
        fs::write(folder.join(format!("{stem}.csv")), self.shares())?;
        let page = folder.join(format!("{stem}.md"));
        fs::write(&page, self.page(Some(&stem)))?;
        Ok(page)
    }

    /// The page; with the stem of the plots' names it shows them.
    #[must_use]
    pub fn page(&self, stem: Option<&str>) -> String {
        let mut page =
            crate::report::opening(&format!("Scenarios of balancing, {}", self.date), self.quick, &self.method);
        page += &crate::report::about(&self.machine, self.proxies, self.skipped);
        page += "\n## Numbers to reach\n\n";
        page += &self.verdicts();
        for played in self.played {
            let name = played.scenario.name.text();
            let _ = write!(page, "\n## {name}: {}\n\n", sentence(&played.scenario));
            if let Some(stem) = stem {
                let _ = write!(page, "![{name}: {}]({stem}-{name}.svg)\n\n", Figure::Share.title());
            }
            page += &table(played);
        }
        page += "\n† the load generator itself was more than 5 ms late for one request in a hundred, twice: measure again on a quieter machine.\n";
        page
    }

    fn verdicts(&self) -> String {
        let mut text = "| scenario | Serin's | at most | measured | |\n|---|---|---|---|---|\n".to_owned();
        for played in self.played {
            let serin = played.results.iter().find(|(proxy, _)| *proxy == Proxy::Serin);
            let name = played.scenario.name.text();
            for bar in &played.scenario.bars {
                let scale = if bar.figure == Figure::P99 { self.slower } else { 1.0 };
                let at_most = bar.at_most * scale;
                let (measured, verdict) = match serin {
                    None => ("–".to_owned(), "Serin did not take part"),
                    Some((_, Err(_))) => ("–".to_owned(), "not measured"),
                    Some((_, Ok(measured))) => {
                        let number = measured.figure(bar.figure);
                        let mark = if measured.is_disturbed() { " †" } else { "" };
                        let verdict = if number <= at_most { "met" } else { "**missed**" };
                        (write_number(bar.figure, number) + mark, verdict)
                    }
                };
                let at_most = write_number(bar.figure, at_most);
                let _ = writeln!(text, "| {name} | {} | {at_most} | {measured} | {verdict} |", bar.figure.title());
            }
            if played.scenario.bars.is_empty() {
                let _ = writeln!(text, "| {name} | – | – | – | no number is set |");
            }
        }
        text
    }

    /// Every endpoint's share in every half second.
    fn shares(&self) -> String {
        let mut text = "scenario,proxy,seconds,endpoint,share\n".to_owned();
        for (scenario, proxy, measured) in self.played.iter().flat_map(good) {
            for (endpoint, shares) in measured.shares.iter().enumerate() {
                for (half, share) in (0_u32..).zip(shares) {
                    let seconds = f64::from(half) / 2.0;
                    let _ = writeln!(text, "{},{},{seconds},{endpoint},{share:.3}", scenario.name.text(), proxy.name());
                }
            }
        }
        text
    }
}

fn good(played: &Played) -> impl Iterator<Item = (&Scenario, Proxy, &Measured)> {
    let results = played.results.iter();
    results.filter_map(|(proxy, result)| Some((&played.scenario, *proxy, result.as_ref().ok()?)))
}

fn sentence(scenario: &Scenario) -> String {
    let title = scenario.name.title();
    let mut letters = title.chars();
    letters.next().map(|first| first.to_lowercase().collect::<String>() + letters.as_str()).unwrap_or_default()
}

fn table(played: &Played) -> String {
    let mut text = format!(
        "From {} to {} s of {} s.\n\n| proxy | share | p50 | p99 | p99.9 ms | p50 after | p99 after | p99.9 after | back | lost | of | how |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n",
        played.scenario.fault_s.start, played.scenario.fault_s.end, played.scenario.end_s
    );
    for (proxy, result) in &played.results {
        let name = proxy.name();
        let _ = match result {
            Ok(measured) => writeln!(text, "| {name}{} |", row(measured)),
            Err(why) => writeln!(text, "| {name} | not measured: {} | | | | | | | | | | |", crate::report::cell(why)),
        };
    }
    text
}

fn row(measured: &Measured) -> String {
    let Measured { during, after, failures, .. } = measured;
    let mark = if measured.is_disturbed() { " †" } else { "" };
    let back = after.map_or("–".to_owned(), |_| write_number(Figure::Back, measured.figure(Figure::Back)));
    let kinds =
        [("status", failures.status), ("cut", failures.cut), ("late", failures.late), ("connect", failures.connect)];
    let kinds: Vec<String> =
        kinds.iter().filter(|(_, count)| *count > 0).map(|(kind, count)| format!("{kind} {count}")).collect();
    format!(
        "{mark} | {:.2} | {} | {} | {back} | {} | {} | {}",
        measured.share,
        write_times(Some(during)),
        write_times(after.as_ref()),
        measured.lost,
        measured.requests,
        kinds.join(", ")
    )
}

fn write_times(times: Option<&Times>) -> String {
    times.map_or("– | – | –".to_owned(), |times| {
        format!("{:.0} | {:.0} | {:.0}", times.p50_ms, times.p99_ms, times.p999_ms)
    })
}

fn write_number(figure: Figure, number: f64) -> String {
    match figure {
        _ if number.is_infinite() => "never".to_owned(),
        Figure::Share => format!("{number:.2}"),
        Figure::P99 | Figure::Lost => format!("{number:.0}"),
        Figure::Back => format!("{number:.1} s"),
    }
}

fn plot(played: &Played) -> String {
    let scenario = &played.scenario;
    let lines: Vec<Line> = good(played)
        .map(|(_, proxy, measured)| Line {
            name: proxy.name().to_owned(),
            values: measured.shares[scenario.watched].clone(),
            is_serin: proxy == Proxy::Serin,
        })
        .collect();
    let frame = Frame {
        title: format!("{}: {}", scenario.name.text(), sentence(scenario)),
        note: format!("endpoint {}: its share of the requests in each half second, 1 is fair", scenario.watched),
        step_s: 0.5,
        length_s: scenario.end_s,
        fault_s: scenario.fault_s.clone(),
        top: 2.0,
    };
    lines::plot(&frame, &lines)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Failures;
    use crate::scenario::{Lengths, Name};

    fn played(share: f64) -> [Played; 1] {
        let lengths = Lengths { before_s: 5.0, fault_s: 10.0, after_s: 15.0, stall_s: 0.0 };
        let measured = Measured {
            during: Times { p99_ms: 100.0, ..Times::default() },
            after: None,
            requests: 1_000,
            lost: 0,
            failures: Failures::default(),
            shares: vec![vec![share; 60]; 8],
            share,
            back_s: None,
            lag_p99_ms: 0.0,
        };
        let results = vec![(Proxy::Serin, Ok(measured)), (Proxy::Nginx, Err("it | fell".to_owned()))];
        [Played { scenario: Name::Slow10.scenario(&lengths), results }]
    }

    fn report(played: &[Played], slower: f64) -> String {
        let report = Report {
            played,
            proxies: &[],
            skipped: &[(Proxy::Envoy, "not installed".to_owned())],
            machine: Vec::new(),
            method: String::new(),
            slower,
            quick: false,
            date: "2026-01-31".to_owned(),
        };
        report.page(None)
    }

    #[test]
    fn bars_are_met_or_missed_and_times_scale_with_the_load() {
        let page = report(&played(0.05), 1.0);
        assert!(page.contains("| 0.08 | 0.05 | met |"), "{page}");
        assert!(
            page.contains("| 65 | 100 | **missed** |") && page.contains("| 12.0 s | never | **missed** |"),
            "{page}"
        );
        assert!(report(&played(0.05), 2.0).contains("| 130 | 100 | met |"));
    }

    #[test]
    fn what_was_disturbed_is_marked() {
        let mut played = played(0.05);
        assert!(!report(&played, 1.0).contains("| 0.05 † | met |"));
        played[0].results[0].1.as_mut().unwrap().lag_p99_ms = 6.0;
        assert!(report(&played, 1.0).contains("| 0.05 † | met |"));
    }

    #[test]
    fn nobody_is_left_out_in_silence() {
        let page = report(&played(0.05), 1.0);
        assert!(
            page.contains("envoy | skipped: not installed") && page.contains("not measured: it \\| fell"),
            "{page}"
        );
    }
}
