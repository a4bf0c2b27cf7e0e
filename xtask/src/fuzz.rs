//! `cargo xtask fuzz`: each target for some seconds, to see that it builds, holds on its seeds, and a little beyond.
//!
//! Needs the nightly toolchain. Long runs: `cargo xtask fuzz 3600 TARGET`. What is found is kept in `fuzz/corpus`,
//! inputs that crash in `fuzz/artifacts`; a crash becomes a named case of an ordinary test.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::install::{packages, to_build, tool};
use crate::shell::{run, say};

/// Arguments: seconds, then targets; without them 10 and all.
pub(crate) fn fuzz(args: &[String]) -> Outcome {
    // libFuzzer is C++.
    to_build()?;
    packages(&[("c++", "g++")])?;
    let cargo_fuzz = tool("cargo-fuzz", "0.13.2")?;
    let (seconds, named) = match args.split_first() {
        Some((first, rest)) if first.parse::<u32>().is_ok() => (first.as_str(), rest),
        _ => ("10", args),
    };
    let targets = if named.is_empty() { targets()? } else { named.to_vec() };
    // No sanitizer: they look for errors of memory, and there is no `unsafe` here; without, it runs twice as fast.
    let command = |what: &str| {
        let mut command = Command::new(&cargo_fuzz);
        command.args(["fuzz", what, "--sanitizer", "none"]).env("RUSTUP_TOOLCHAIN", "nightly").env_remove("CARGO");
        command
    };
    run(&mut command("build"))?;
    for target in &targets {
        let corpus = format!("fuzz/corpus/{target}");
        std::fs::create_dir_all(&corpus).map_err(|error| format!("{corpus}: {error}"))?;
        let limit = format!("-max_total_time={seconds}");
        let seeds = format!("fuzz/seeds/{target}");
        let mut fuzz = command("run");
        fuzz.args([target, &corpus, &seeds, "--", &limit, "-timeout=10", "-rss_limit_mb=2048", "-verbosity=0"]);
        run(fuzz.args(["-print_final_stats=1"]))?;
    }
    say(&format!("fuzzed {} targets for {seconds} s each: {}", targets.len(), targets.join(", ")));
    Ok(())
}

fn targets() -> Result<Vec<String>, String> {
    let folder = Path::new("fuzz/targets");
    let entries = folder.read_dir().map_err(|error| format!("{}: {error}", folder.display()))?;
    let files = entries.flatten().map(|entry| entry.path()).filter(|path| path.extension() == Some(OsStr::new("rs")));
    let mut names: Vec<String> = files.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}
