//! Tests that take minutes, one after the other, at full length, with the program as it is released: `cargo xtask faults etcd`,
//! everything that may happen to etcd; `cargo xtask rollout`, releases that take their way by themselves. It shows a line for
//! each; what tests print besides is shown when one fails.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::install::{self, Needed};
use crate::shell::{cargo, line, say};

const USAGE: &str = "\
cargo xtask faults etcd [NAME]   every fault of etcd, or those with NAME in their name; half an hour

  SERIN_FAULTS_OUTAGE_SECONDS    how long all members are away; default 600";

const USAGE_ROLLOUT: &str = "\
cargo xtask rollout [NAME]   releases of good and bad canaries, or those with NAME in their name; half an hour";

const PROGRAMS: [Needed; 2] = [("etcd", "etcd-server"), ("kill", "procps")];

/// The faults of one thing that Serin uses.
pub(crate) fn faults(args: &[String]) -> Outcome {
    match args {
        [thing] if thing == "etcd" => one_by_one("fault", "etcd_faults::"),
        [thing, name] if thing == "etcd" => one_by_one("fault", &format!("etcd_faults::{name}")),
        _ => Err(USAGE.to_owned()),
    }
}

/// Releases that take their way by themselves.
pub(crate) fn rollout(args: &[String]) -> Outcome {
    match args {
        [] => one_by_one("rollout", "rollout::"),
        [name] if !name.starts_with('-') => one_by_one("rollout", &format!("rollout::{name}")),
        _ => Err(USAGE_ROLLOUT.to_owned()),
    }
}

/// Runs the tests of this name; each says what came of it in a line that begins with a word.
fn one_by_one(word: &'static str, tests: &str) -> Outcome {
    install::to_build()?;
    install::packages(&PROGRAMS)?;
    let mut command = cargo(["test", "--quiet", "--release", "--package", "serin", "--test", "it", "--"]);
    command.args(["--test-threads", "1", "--nocapture", "--include-ignored", tests]);
    command.env("SERIN_TEST_PROGRAMS_REQUIRED", "1").env("SERIN_FAULTS", "full");
    // It shows what is decided, not how fast requests are: nothing is optimised across crates, which takes the longest.
    command.env("CARGO_PROFILE_RELEASE_LTO", "off").env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    let (seen, has_exited_well) = watch(word, &mut command)?;
    say(&format!("{} {word}s, {} failed", seen.told, seen.failed));
    match has_exited_well && seen.failed == 0 && seen.told > 0 {
        true => Ok(()),
        false => Err(format!("not every {word} came to a good end")),
    }
}

/// What the lines of the tests add up to.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// What such a line begins with.
    word: &'static str,
    told: u32,
    failed: u32,
    /// Since the last one.
    other: Vec<String>,
}

fn watch(word: &'static str, command: &mut Command) -> Result<(Seen, bool), String> {
    say(&format!("$ {}", line(command)));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cargo: {error}"))?;
    let mut seen = Seen::of(word);
    for text in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).split(b'\n')) {
        let text = text.map_err(|error| format!("cargo's output: {error}"))?;
        for shown in seen.read(&String::from_utf8_lossy(&text)) {
            #[expect(clippy::print_stdout, reason = "it is what the person asked for")]
            {
                println!("{shown}");
            }
        }
    }
    let has_exited_well = child.wait().map_err(|error| format!("cargo: {error}"))?.success();
    if !has_exited_well {
        seen.other.iter().for_each(|text| say(text));
    }
    Ok((seen, has_exited_well))
}

impl Seen {
    fn of(word: &'static str) -> Self {
        Self { word, told: 0, failed: 0, other: Vec::new() }
    }

    /// Takes in one line, such as `fault: wiped: good: …`. Returns what is to be shown.
    fn read(&mut self, text: &str) -> Vec<String> {
        let told = text.strip_prefix(self.word).and_then(|told| told.strip_prefix(": ")?.split_once(": "));
        let Some((name, rest)) = told else {
            self.other.push(text.to_owned());
            return Vec::new();
        };
        self.told += 1;
        let (verdict, rest) = rest.split_once(": ").unwrap_or((rest, ""));
        let other = std::mem::take(&mut self.other);
        let mut shown = vec![format!("{name}: {verdict}: {rest}")];
        if verdict != "good" {
            self.failed += 1;
            shown.splice(0..0, other);
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::Seen;

    #[test]
    fn a_line_is_shown_for_each_fault_and_more_for_those_that_fail() {
        let mut seen = Seen::of("fault");
        let lines =
            ["running 2 tests", "fault: wiped: good: all lost: 9 requests", "a reason", "fault: delay: FAILED: late"];
        let shown: Vec<String> = lines.iter().flat_map(|text| seen.read(text)).collect();
        assert_eq!(shown, ["wiped: good: all lost: 9 requests", "a reason", "delay: FAILED: late"]);
        assert_eq!(seen, Seen { word: "fault", told: 2, failed: 1, other: Vec::new() });
    }
}
