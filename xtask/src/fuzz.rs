//! `cargo xtask fuzz`: each target for some seconds, to see that it builds, holds on its seeds, and a little beyond.
//!
//! Long runs: `cargo xtask fuzz 3600 TARGET`. What is found is kept in `fuzz/corpus`, inputs that crash in `fuzz/artifacts`; a
//! crash becomes a named case of an ordinary test. Standard output gets a table, with a line for each target.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Outcome;
use crate::install::{packages, to_build};
use crate::shell::{cargo, line, output, run, say};

/// What has libFuzzer see which code an input reaches, and what is compared on the way. No sanitizer: they look for errors of
/// memory, and there is no `unsafe` here; without, it runs twice as fast, and any compiler will do.
const FLAGS: [&str; 9] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cllvm-args=-sanitizer-coverage-stack-depth",
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
    // The counters of several units are not told apart where functions become one.
    "-Ccodegen-units=1",
];

/// Those that send their inputs through a whole proxy.
const WHOLE: [&str; 3] = ["bridge", "hop_by_hop", "proxy_protocol"];

/// How libFuzzer is to judge their inputs. Each reaches 13,000 edges, and how often it passes each of them depends on which thread
/// is woken first. By default that made nearly every input look new or rare in something, and keeping sorted lists of what
/// is rare took most of the time. Whether an edge was reached, and what was compared, is what they can tell.
const BY_EDGES: [&str; 3] = ["-entropic=0", "-use_counters=0", "-reduce_inputs=0"];

/// Arguments: seconds, then targets; without them 10 and all.
pub(crate) fn fuzz(args: &[String]) -> Outcome {
    // libFuzzer is C++.
    to_build()?;
    packages(&[("c++", "g++")])?;
    let (seconds, named) = match args.split_first() {
        Some((first, rest)) if first.parse::<u32>().is_ok() => (first.as_str(), rest),
        _ => ("10", args),
    };
    let targets = if named.is_empty() { targets()? } else { named.to_vec() };
    let here =
        output(Command::new("rustc").args(["--print", "host-tuple"])).ok_or("rustc does not say what this is")?;
    // Named, so that the flags are not those of build scripts.
    let mut build =
        cargo(["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", here.trim()]);
    build.args(targets.iter().flat_map(|target| ["--bin", target])).env("RUSTFLAGS", FLAGS.join(" "));
    run(build.env("CARGO_TARGET_DIR", "fuzz/target"))?;
    print("| target | seconds | runs | edges reached | inputs kept |\n|---|--:|--:|--:|--:|");
    for target in &targets {
        let [corpus, seeds, artifacts] = ["corpus", "seeds", "artifacts"].map(|kind| format!("fuzz/{kind}/{target}/"));
        for folder in [&corpus, &artifacts] {
            std::fs::create_dir_all(folder).map_err(|error| format!("{folder}: {error}"))?;
        }
        let mut fuzz = Command::new(Path::new("fuzz/target").join(here.trim()).join("release").join(target));
        fuzz.args([&format!("-max_total_time={seconds}"), &format!("-artifact_prefix={artifacts}")]);
        fuzz.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        if WHOLE.contains(&&**target) {
            fuzz.args(BY_EDGES);
        }
        // What is not optimised, and counts besides, takes more of the stack.
        let reach = watch(fuzz.args([&corpus, &seeds]).env("RUST_MIN_STACK", "16777216"))?;
        let Reach { runs, edges, inputs } = reach;
        print(&format!("| `{target}` | {seconds} | {runs} | {edges} | {inputs} |"));
    }
    say(&format!("fuzzed {} targets for {seconds} s each: {}", targets.len(), targets.join(", ")));
    Ok(())
}

/// How far the inputs of a target came.
#[derive(Debug, Default, PartialEq, Eq)]
struct Reach {
    runs: u64,
    edges: u64,
    inputs: u64,
}

/// Runs a target, and passes on what it says of anything but its progress.
fn watch(command: &mut Command) -> Result<Reach, String> {
    let line = line(command);
    say(&format!("$ {line}"));
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(|error| format!("{line}: {error}"))?;
    let mut reach = Reach::default();
    for text in child.stderr.take().into_iter().flat_map(|stderr| BufReader::new(stderr).split(b'\n')) {
        let text = text.map_err(|error| format!("{line}: {error}"))?;
        let text = String::from_utf8_lossy(&text);
        if !reach.read(&text) {
            say(&text);
        }
    }
    let status = child.wait().map_err(|error| format!("{line}: {error}"))?;
    if status.success() { Ok(reach) } else { Err(format!("`{line}` failed: {status}")) }
}

impl Reach {
    /// Takes in one line, such as `#512 DONE cov: 2110 ft: 4000 corp: 100/12Kb …`. Whether it was of progress.
    fn read(&mut self, text: &str) -> bool {
        if let Some(runs) = text.strip_prefix("stat::number_of_executed_units:") {
            self.runs = runs.trim().parse().unwrap_or_default();
        }
        let mut words = text.split_whitespace();
        let is_sign = words.next().is_some_and(|first| first.starts_with('#') && first.len() > 1);
        if is_sign && text.contains("cov: ") {
            let mut number = |name: &str| {
                let value = words.find(|word| *word == name).and_then(|_| words.next())?;
                value.split('/').next()?.parse().ok()
            };
            self.edges = number("cov:").unwrap_or_default();
            self.inputs = number("corp:").unwrap_or_default();
        }
        // Behind the end come values that it found to be compared with.
        is_sign
            || text.contains("\" # Uses: ")
            || ["INFO: ", "Done ", "stat::"].iter().any(|start| text.starts_with(start))
    }
}

#[expect(clippy::print_stdout, reason = "it is what whoever asked wants to keep")]
fn print(text: &str) {
    println!("{text}");
}

fn targets() -> Result<Vec<String>, String> {
    let folder = Path::new("fuzz/targets");
    let entries = folder.read_dir().map_err(|error| format!("{}: {error}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some(OsStr::new("rs")));
    let mut names: Vec<String> = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::Reach;

    #[test]
    fn reads_how_far_a_target_came() {
        let mut reach = Reach::default();
        for text in [
            "INFO: Loaded 1 modules   (412345 inline 8-bit counters): 412345 [0x1, 0x2), ",
            "#5\tINITED cov: 90 ft: 100 corp: 4/120b exec/s: 0 rss: 60Mb",
            "#512\tDONE   cov: 2110 ft: 4000 corp: 100/12Kb lim: 4096 exec/s: 60 rss: 96Mb",
            "Done 512 runs in 6 second(s)",
            "stat::number_of_executed_units: 512",
            "###### Recommended dictionary. ######",
            "\"\\004\\000\" # Uses: 55",
            "stat::peak_rss_mb:              96",
        ] {
            assert!(reach.read(text), "{text}");
        }
        assert_eq!(reach, Reach { runs: 512, edges: 2110, inputs: 100 });
        assert!(!reach.read("thread '<unnamed>' panicked at targets/bridge.rs:52:1:"));
        assert!(!reach.read("#"));
    }
}
