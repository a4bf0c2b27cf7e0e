//! `cargo xtask simulate analysis`: hours of canary traffic, judged by the code that serves and by what is usual elsewhere, as
//! a table. Only the table is on standard output.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::install;
use crate::shell::{cargo, line, say};

const USAGE: &str = "\
cargo xtask simulate analysis [--runs N]   how often a good canary is rolled back, and how soon a bad one; some minutes

  --runs N    hours without a fault in each row; a fifth of them with one; default 1000";

/// Whoever is asked about shows the table of one thing.
pub(crate) fn simulate(args: &[String]) -> Outcome {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runs = match args[..] {
        ["analysis"] => Some(1_000),
        ["analysis", "--runs", runs] => runs.parse().ok().filter(|runs: &u32| *runs > 0),
        _ => None,
    };
    analysis(runs.ok_or(USAGE)?)
}

fn analysis(runs: u32) -> Outcome {
    install::to_build()?;
    let mut command = cargo(["test", "--quiet", "--release", "--package", "routing-rules", "--test", "analysis", "--"]);
    command.args(["--exact", "simulation::table::table", "--nocapture"]);
    command.env("SERIN_SIMULATION_RUNS", runs.to_string());
    let (rows, has_exited_well) = show_table(&mut command)?;
    match has_exited_well && rows > 0 {
        true => Ok(()),
        false => Err("analysis: it does not keep what it promises, see above".into()),
    }
}

/// Runs a test and shows the lines that are part of a table. How many there were, and whether the test passed.
fn show_table(command: &mut Command) -> Result<(u32, bool), String> {
    say(&format!("$ {}", line(command)));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cargo: {error}"))?;
    let mut rows = 0;
    for text in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
        let text = text.map_err(|error| format!("cargo's output: {error}"))?;
        if text.starts_with('|') {
            rows += 1;
            #[expect(clippy::print_stdout, reason = "it is what the person asked for")]
            {
                println!("{text}");
            }
        }
    }
    let status = child.wait().map_err(|error| format!("cargo: {error}"))?;
    Ok((rows, status.success()))
}

#[cfg(test)]
mod tests {
    use super::simulate;

    #[test]
    fn what_cannot_be_meant_is_answered_with_the_usage() {
        for args in
            [&["balance"][..], &["analysis", "--runs"], &["analysis", "--runs", "0"], &["analysis", "--runs", "x"]]
        {
            let args: Vec<String> = args.iter().map(ToString::to_string).collect();
            assert!(simulate(&args).unwrap_err().starts_with("cargo xtask simulate"), "{args:?}");
        }
    }
}
