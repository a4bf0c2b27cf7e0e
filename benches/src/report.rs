//! The report: a Markdown page with its plots beside it. Losses are printed like wins.
//!
//! Ratios are to Serin, so above 1.00 means that Serin needs less; where another proxy needs less the ratio is bold.
//! Without Serin in the run the first proxy stands in, and the page says so.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::cases::{Case, Figure, Sample};
use crate::compare::{Against, BARS, Results, Verdict};
use crate::peers::{Installed, Proxy};
use crate::plot::{self, Row};

/// Where a page goes: if nobody has said so, beside the others; one that measures nothing, beside what was built.
#[must_use]
pub fn folder(out: Option<&Path>, quick: bool, name: &str) -> PathBuf {
    let built = || Some(std::env::current_exe().ok()?.parent()?.parent()?.join(name));
    match out {
        Some(out) => out.to_owned(),
        None if quick => built().unwrap_or_else(|| name.into()),
        None => concat!(env!("CARGO_MANIFEST_DIR"), "/results").into(),
    }
}

/// The part of a page about what could not be measured; nothing, where all could.
pub(crate) fn not_measured(reasons: impl IntoIterator<Item = String>) -> String {
    let lines: String = reasons.into_iter().map(|reason| format!("- {reason}\n")).collect();
    if lines.is_empty() { lines } else { format!("\n## Not measured\n\n{lines}") }
}

/// What the page is made of.
#[derive(Debug)]
pub struct Report<'r> {
    pub results: &'r Results,
    pub cases: &'r [Case],
    pub proxies: &'r [Installed],
    /// Proxies not measured, and why.
    pub skipped: &'r [(Proxy, String)],
    pub machine: Vec<(&'static str, String)>,
    /// How the run was made, in words.
    pub method: String,
    pub quick: bool,
    pub date: String,
}

/// A column of a case's table: its name and how a sample is written there.
type Column = (&'static str, fn(&Sample) -> String);

/// Above this share of somebody else on the proxy's core a measurement is marked.
const DISTURBED: f64 = 0.03;

impl Report<'_> {
    /// Writes the page and its plots into `folder`; never over an earlier one of the same day.
    ///
    /// # Errors
    /// When the folder or a file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let stem = free_stem(folder, &format!("{}-side-by-side", self.date));
        for &case in self.cases {
            if let Some(svg) = self.plot(case) {
                fs::write(folder.join(format!("{stem}-{}.svg", case.name())), svg)?;
            }
        }
        let page = folder.join(&stem).with_extension("md");
        fs::write(&page, self.page(Some(&stem)))?;
        Ok(page)
    }

    /// The page; with the stem of the plots' names it shows them.
    #[must_use]
    pub fn page(&self, stem: Option<&str>) -> String {
        let mut page = opening(&format!("Side by side, {}", self.date), self.quick, &self.method);
        page += &about(&self.machine, self.proxies, self.skipped);
        page += "\n## Numbers to reach\n\n";
        page += &self.verdicts();
        for &case in self.cases {
            let _ = write!(page, "\n## {}\n\n", case.title());
            if let Some(stem) = stem
                && self.plot(case).is_some()
            {
                let _ = write!(page, "![{}: {}]({stem}-{}.svg)\n\n", case.title(), case.figure().title(), case.name());
            }
            page += &self.table(case);
        }
        page += &self.broken();
        page
    }

    /// Whom ratios refer to.
    fn base(&self) -> Option<Proxy> {
        let serin = self.proxies.iter().find(|installed| installed.proxy == Proxy::Serin);
        serin.or(self.proxies.first()).map(|installed| installed.proxy)
    }

    fn verdicts(&self) -> String {
        let mut text =
            "| Serin's | compared with | at most | measured (least to most) | |\n|---|---|---|---|---|\n".to_owned();
        let bars = BARS.iter().filter(|bar| self.cases.contains(&bar.case));
        for verdict in bars.map(|&bar| Verdict::of(bar, self.results)) {
            let _ = writeln!(text, "{}", verdict_row(&verdict, self.failures(verdict.bar.case, Proxy::Serin)));
        }
        text
    }

    fn failures(&self, case: Case, proxy: Proxy) -> u64 {
        self.results.of(case, proxy).map(|(_, sample)| sample.failures.total()).sum()
    }

    /// Those measured in the case, best first.
    fn ranked(&self, case: Case) -> Vec<(Proxy, f64)> {
        let figure = |sample: &Sample| case.figure().of(sample);
        let mut ranked: Vec<(Proxy, f64)> = self
            .proxies
            .iter()
            .filter_map(|installed| Some((installed.proxy, self.results.spread(case, installed.proxy, figure)?.median)))
            .collect();
        ranked.sort_by(|one, other| one.1.total_cmp(&other.1));
        ranked
    }

    fn table(&self, case: Case) -> String {
        let Some(base) = self.base() else {
            return "Nothing was measured.\n".to_owned();
        };
        let columns: &[Column] = match case.figure() {
            Figure::Cpu => &[
                ("user", |sample| format!("{:.1}", sample.user_us)),
                ("system", |sample| format!("{:.1}", sample.system_us)),
                ("requests/s", |sample| format!("{:.0}", sample.rate)),
                ("p50 µs", |sample| format!("{:.0}", sample.p50_us)),
                ("p99 µs", |sample| format!("{:.0}", sample.p99_us)),
                ("p99.9 µs", |sample| format!("{:.0}", sample.p999_us)),
                ("RSS MiB", |sample| mib(sample.memory.rss_kib)),
                ("PSS MiB", |sample| mib(sample.memory.pss_kib)),
                ("core used", |sample| format!("{:.0} %", sample.core_use * 100.0)),
            ],
            Figure::P99 => &[
                ("p50 µs", |sample| format!("{:.0}", sample.p50_us)),
                ("p99 of all µs", |sample| format!("{:.0}", sample.p99_us)),
                ("p99.9 µs", |sample| format!("{:.0}", sample.p999_us)),
                ("due/s", |sample| format!("{:.0}", sample.offered)),
                ("answered/s", |sample| format!("{:.0}", sample.rate)),
                ("CPU µs", |sample| format!("{:.1}", sample.cpu_us())),
                ("core used", |sample| format!("{:.0} %", sample.core_use * 100.0)),
            ],
            Figure::PerConnection => &[
                ("by PSS", |sample| format!("{:.2}", sample.per_connection_pss_kib)),
                ("RSS MiB", |sample| mib(sample.memory.rss_kib)),
                ("PSS MiB", |sample| mib(sample.memory.pss_kib)),
            ],
            Figure::P99TimesQuiet => &[
                ("reloads/s", |sample| format!("{:.0}", sample.reloads_per_s)),
                ("p99 without µs", |sample| format!("{:.0}", sample.quiet.typical_p99_us)),
                ("p99 µs", |sample| format!("{:.0}", sample.typical_p99_us)),
                ("p99.9 µs", |sample| format!("{:.0}", sample.p999_us)),
                ("CPU without µs", |sample| format!("{:.1}", sample.quiet.cpu_us)),
                ("CPU µs", |sample| format!("{:.1}", sample.cpu_us())),
                ("answered/s", |sample| format!("{:.0}", sample.rate)),
            ],
        };
        let names: String = columns.iter().map(|(name, _)| format!(" {name} |")).collect();
        let mut text = format!(
            "{}; ratio to {}.\n\n| proxy | median | ratio (least to most) |{names} failures |\n|---|---:|---:|{}---:|\n",
            case.figure().title(),
            base.name(),
            "---:|".repeat(columns.len())
        );
        for (proxy, median) in self.ranked(case) {
            let numbers: String =
                columns.iter().map(|(_, write)| format!(" {} |", self.typical(case, proxy, *write))).collect();
            let _ = writeln!(
                text,
                "| {} | {}{} | {} |{numbers} {} |",
                proxy.name(),
                case.figure().write(median),
                self.mark(case, proxy),
                self.ratio(case, proxy, base),
                bold_unless(self.failures(case, proxy) == 0, &self.failures(case, proxy).to_string())
            );
        }
        text + &self.left_out(case)
    }

    /// Who takes part in the run but not in this case, and why.
    fn left_out(&self, case: Case) -> String {
        let mut text = String::new();
        for proxy in self.proxies.iter().map(|installed| installed.proxy) {
            if let Some(why) = case.leaves_out(proxy) {
                let _ = write!(text, "\nNot in it: {}, {why}.\n", proxy.name());
            }
        }
        text
    }

    /// The sample in the middle by the case's figure speaks for the other columns: they belong together.
    fn typical(&self, case: Case, proxy: Proxy, write: fn(&Sample) -> String) -> String {
        let mut samples: Vec<&Sample> = self.results.of(case, proxy).map(|(_, sample)| sample).collect();
        samples.sort_by(|one, other| case.figure().of(one).total_cmp(&case.figure().of(other)));
        samples.get(samples.len() / 2).map_or_else(String::new, |sample| write(sample))
    }

    fn ratio(&self, case: Case, proxy: Proxy, base: Proxy) -> String {
        let Some(ratio) = self.results.ratio(case, proxy, base) else {
            return "–".to_owned();
        };
        if proxy == base {
            return "1.00".to_owned();
        }
        format!(
            "{} ({:.2} to {:.2})",
            bold_unless(ratio.median >= 1.0, &format!("{:.2}", ratio.median)),
            ratio.least,
            ratio.most
        )
    }

    fn mark(&self, case: Case, proxy: Proxy) -> &'static str {
        let disturbed = self
            .results
            .spread(case, proxy, |sample| case.figure().disturbance(sample))
            .is_some_and(|share| share.median > DISTURBED);
        if disturbed { " †" } else { "" }
    }

    fn broken(&self) -> String {
        let mut text = String::new();
        let marked = self
            .cases
            .iter()
            .any(|&case| self.proxies.iter().any(|installed| !self.mark(case, installed.proxy).is_empty()));
        if marked {
            text += "\n† Somebody else used more than 3 % of the proxy's core meanwhile (for p99: or of the load's): latencies and rates suffer, processor time a little.\n";
        }
        let broken: Vec<_> = self.results.broken().collect();
        if !broken.is_empty() {
            text += "\n## Not measured\n\n";
        }
        for (case, proxy, round, why) in broken {
            let _ = writeln!(text, "- {} in {}, round {}: {why}", proxy.name(), case.name(), round + 1);
        }
        text
    }

    fn plot(&self, case: Case) -> Option<String> {
        let rows: Vec<Row> = self
            .ranked(case)
            .into_iter()
            .map(|(proxy, median)| Row {
                name: proxy.name().to_owned(),
                parts: self.parts(case, proxy, median),
                label: case.figure().write(median),
                is_serin: proxy == Proxy::Serin,
            })
            .collect();
        (!rows.is_empty()).then(|| plot::bars(case.title(), case.figure().title(), &rows))
    }

    /// Processor time is drawn in two parts whose sum is the median.
    fn parts(&self, case: Case, proxy: Proxy, median: f64) -> Vec<f64> {
        let user_share =
            self.results.spread(case, proxy, |sample| sample.user_us / sample.cpu_us().max(f64::MIN_POSITIVE));
        match (case.figure(), user_share) {
            (Figure::Cpu, Some(share)) => {
                vec![median * share.median, median * (1.0 - share.median)]
            }
            _ => vec![median],
        }
    }
}

fn verdict_row(verdict: &Verdict, failures: u64) -> String {
    let bar = verdict.bar;
    let figure = bar.case.figure();
    let with = match (bar.against, verdict.with) {
        (Against::Absolute, _) => "–".to_owned(),
        (Against::BestOf(_), Some(best)) => format!("best of its peers: {}", best.name()),
        (Against::BestOf(_), None) => "best of its peers".to_owned(),
        (Against::One(proxy), _) => proxy.name().to_owned(),
    };
    let measured = verdict.measured.map_or_else(
        || "–".to_owned(),
        |spread| format!("{:.2} ({:.2} to {:.2})", spread.median, spread.least, spread.most),
    );
    let outcome = match verdict.margin() {
        None => "not measured".to_owned(),
        Some(_) if failures > 0 => format!("**missed: {failures} failures**"),
        Some(margin) if margin >= 0.0 => format!("met by {:.0} %", margin * 100.0),
        Some(margin) => format!("**missed by {:.0} %**", -margin * 100.0),
    };
    let unit = if figure == Figure::PerConnection { " KiB" } else { "" };
    format!("| {} ({}) | {with} | {:.2}{unit} | {measured} | {outcome} |", short(figure), bar.case.name(), bar.at_most)
}

fn short(figure: Figure) -> &'static str {
    match figure {
        Figure::Cpu => "processor time per request",
        Figure::P99 => "p99",
        Figure::PerConnection => "memory of an idle connection",
        Figure::P99TimesQuiet => "p99 while reloading, by p99 without",
    }
}

pub(crate) fn bold_unless(plain: bool, text: &str) -> String {
    if plain { text.to_owned() } else { format!("**{text}**") }
}

#[expect(clippy::cast_precision_loss, reason = "KiB of a process")]
pub(crate) fn mib(kib: u64) -> String {
    format!("{:.1}", kib as f64 / 1024.0)
}

/// The stem with which a file of the folder's reports may begin: nobody has it yet.
pub(crate) fn free_stem(folder: &Path, stem: &str) -> String {
    let numbered = |number| if number == 1 { stem.to_owned() } else { format!("{stem}-{number}") };
    let is_free = |stem: &String| !folder.join(format!("{stem}.md")).exists();
    (1..).map(numbered).find(is_free).unwrap_or_default()
}

/// How a page begins: what was run, whether it means anything, and how it was done.
pub(crate) fn opening(title: &str, quick: bool, method: &str) -> String {
    let quick = if quick { "**A quick run: it shows that everything works and measures nothing.**\n\n" } else { "" };
    format!("# {title}\n\n{quick}{method}\n\n")
}

/// The machine, the proxies, and who is missing.
pub(crate) fn about(machine: &[(&'static str, String)], proxies: &[Installed], skipped: &[(Proxy, String)]) -> String {
    let mut text = "| | |\n|---|---|\n".to_owned();
    for (what, which) in machine {
        let _ = writeln!(text, "| {what} | {} |", cell(which));
    }
    for installed in proxies {
        let _ = writeln!(text, "| {} | {} |", installed.proxy.name(), cell(&installed.version));
    }
    for (proxy, why) in skipped {
        let _ = writeln!(text, "| {} | skipped: {} |", proxy.name(), cell(why));
    }
    text
}

pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// Three digits that mean something are enough.
pub(crate) fn number(ms: f64) -> String {
    if ms < 100.0 { format!("{ms:.1}") } else { format!("{ms:.0}") }
}

pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let begins = digits.len() % 3;
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && place % 3 == begins {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_as_plain_as_a_win() {
        let mut results = Results::default();
        for (proxy, us) in [(Proxy::Serin, 10.0), (Proxy::Nginx, 9.0), (Proxy::Haproxy, 12.0)] {
            results.record(Case::Small, proxy, 0, Ok(Sample { user_us: us, ..Sample::default() }));
        }
        let proxies = [Proxy::Serin, Proxy::Nginx, Proxy::Haproxy].map(|proxy| Installed {
            proxy,
            program: PathBuf::new(),
            version: "1".to_owned(),
        });
        let report = Report {
            results: &results,
            cases: &[Case::Small],
            proxies: &proxies,
            skipped: &[(Proxy::Envoy, "not installed".to_owned())],
            machine: Vec::new(),
            method: "how".to_owned(),
            quick: false,
            date: "2026-01-31".to_owned(),
        };
        let page = report.page(None);
        assert!(page.contains("| nginx | 9.0 | **0.90** (0.90 to 0.90) |"), "{page}");
        assert!(page.contains("| haproxy | 12.0 | 1.20 (1.20 to 1.20) |"), "{page}");
        assert!(
            page.contains("best of its peers: nginx | 1.00 | 1.11 (1.11 to 1.11) | **missed by 11 %** |"),
            "{page}"
        );
        assert!(page.contains("| envoy | skipped: not installed |"), "{page}");
    }

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1_000, 100_000, 1_234_567].map(thousands), ["0", "999", "1,000", "100,000", "1,234,567"]);
    }
}
