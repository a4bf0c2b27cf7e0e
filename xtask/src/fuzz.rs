//! `cargo xtask fuzz`: each target for some seconds, to see that it builds, holds on its seeds, and a little beyond.
//!
//! Long runs: `cargo xtask fuzz 3600 TARGET`. What is found is kept in `fuzz/corpus`, inputs that crash in `fuzz/artifacts`; a
//! crash becomes a named case of an ordinary test.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::install::{packages, to_build};
use crate::shell::{cargo, output, run, say};

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
    for target in &targets {
        let [corpus, seeds, artifacts] = ["corpus", "seeds", "artifacts"].map(|kind| format!("fuzz/{kind}/{target}/"));
        for folder in [&corpus, &artifacts] {
            std::fs::create_dir_all(folder).map_err(|error| format!("{folder}: {error}"))?;
        }
        let mut fuzz = Command::new(Path::new("fuzz/target").join(here.trim()).join("release").join(target));
        fuzz.args([&format!("-max_total_time={seconds}"), &format!("-artifact_prefix={artifacts}")]);
        fuzz.args(["-timeout=10", "-rss_limit_mb=2048", "-verbosity=0", "-print_final_stats=1"]);
        // What is not optimised, and counts besides, takes more of the stack.
        run(fuzz.args([&corpus, &seeds]).env("RUST_MIN_STACK", "16777216"))?;
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
