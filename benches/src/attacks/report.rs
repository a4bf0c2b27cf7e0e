//! The report: a Markdown page with what the users noticed, and what Serin made of the attackers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::outcome::Measured;
use super::{Attack, Honest, Phase};
use crate::peers::Installed;
use crate::report::{about, bold_unless, cell, free_stem, mib, opening};

/// What the page is made of.
#[derive(Debug)]
pub struct Report<'r> {
    pub results: &'r [(Attack, Result<Measured, String>)],
    pub proxies: &'r [Installed],
    pub machine: Vec<(&'static str, String)>,
    /// How the run was made, in words.
    pub method: String,
    pub quick: bool,
    pub date: String,
}

impl Report<'_> {
    /// Writes the page into `folder`; never over an earlier one of the same day.
    ///
    /// # Errors
    /// When the folder or the file cannot be written.
    pub fn save(&self, folder: &Path) -> io::Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let page = folder.join(free_stem(folder, &format!("{}-attacks", self.date))).with_extension("md");
        fs::write(&page, self.page())?;
        Ok(page)
    }

    #[must_use]
    pub fn page(&self) -> String {
        let mut page = opening(&format!("Attacks, {}", self.date), self.quick, &self.method);
        page += &about(&self.machine, self.proxies, &[]);
        page += "\n## What the users noticed\n\n\
                 p99 in ms before, during and after the attack; resident memory in MiB before, at most, and at the end.\n\n\
                 | attack | regulars | newcomers | failed, of | memory | core used |\n|---|---|---|---:|---|---:|\n";
        for (attack, result) in self.results {
            page += &match result {
                Ok(measured) => noticed(*attack, measured),
                Err(why) => format!("| {} | not measured: {} | | | | |\n", attack.name(), cell(why)),
            };
        }
        if self.measured().any(|(_, measured)| measured.is_disturbed()) {
            page += "\n† the users themselves were more than 5 ms late for one request in a hundred: measure again on a quieter machine.\n";
        }
        page += "\n## What the attackers did, and what Serin counted\n\n";
        page += "| attack | what | opened | ended by Serin | sent MiB | counters |\n|---|---|---:|---:|---:|---|\n";
        for (attack, measured) in self.measured() {
            page += &counted(attack, measured);
        }
        page
    }

    fn measured(&self) -> impl Iterator<Item = (Attack, &Measured)> {
        self.results.iter().filter_map(|(attack, result)| Some((*attack, result.as_ref().ok()?)))
    }
}

fn noticed(attack: Attack, measured: &Measured) -> String {
    let p99s = |honest| {
        let p99 = |phase| {
            measured.figures(honest, phase).times.map_or_else(|| "–".to_owned(), |times| format!("{:.1}", times.p99_ms))
        };
        Phase::ALL.map(p99).join(", ")
    };
    let (failed, all) = measured.failed();
    let mark = if measured.is_disturbed() { " †" } else { "" };
    let memory = &measured.memory;
    format!(
        "| {}{mark} | {} | {} | {}, {all} | {} | {:.0} % |\n",
        attack.name(),
        p99s(Honest::Regulars),
        p99s(Honest::Newcomers),
        bold_unless(failed == 0, &failed.to_string()),
        [memory.before, memory.peak, memory.after].map(mib).join(", "),
        measured.core_use * 100.0
    )
}

fn counted(attack: Attack, measured: &Measured) -> String {
    let told = measured.counters.iter().filter(|(name, _)| tells(name));
    let counters: Vec<String> = told.map(|(name, count)| format!("`{name}` {count}")).collect();
    let did = measured.did;
    let sent = mib(did.sent >> 10);
    format!(
        "| {} | {} | {} | {} | {sent} | {} |\n",
        attack.name(),
        attack.what(),
        did.opened,
        did.ended,
        cell(&counters.join(", "))
    )
}

/// A counter that is not the users' requests once more, by route, release, worker or endpoint.
fn tells(name: &str) -> bool {
    const SAME_AGAIN: [&str; 5] = ["endpoint_", "route_requests", "release_", "worker_", "response_body_bytes"];
    !SAME_AGAIN.iter().any(|begin| name.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::super::outcome::tests::measured;
    use super::*;

    #[test]
    fn failures_of_users_are_bold() {
        let results = [(Attack::Ping, Ok(measured())), (Attack::Idle, Err("it ended".to_owned()))];
        let report = Report {
            results: &results,
            proxies: &[],
            machine: Vec::new(),
            method: "how".to_owned(),
            quick: false,
            date: "2026-01-31".to_owned(),
        };
        let page = report.page();
        assert!(page.contains("| ping | 1.0, 30.0, 2.0 | –, –, – | **1**, 4 | 2.0, 9.0, 3.0 | 50 % |"), "{page}");
        assert!(page.contains("| idle | not measured: it ended |"), "{page}");
        assert!(page.contains("| 8 | 8 | 1.0 | `http2_excesses {of=\"ping\"}` 8 |"), "{page}");
        assert!(!tells("endpoint_requests {code=\"2xx\"}") && tells("request_head_timeouts"));
    }
}
