//! `cargo xtask check`: everything that can be said about the code without running it.

use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::install::{to_build, tool};
use crate::shell::{cargo, run, say, succeeds};

/// A name for the command line, and what it does.
type Part = (&'static str, fn() -> Outcome);

/// The parts, cheap ones first.
pub(crate) const PARTS: [Part; 5] = [
    ("format", format),
    ("dependencies", dependencies),
    ("clippy", clippy),
    ("docs", docs),
    ("rust-version", rust_version),
];

/// Crates outside the workspace.
const OUTSIDE: [&str; 2] = ["benches/Cargo.toml", "fuzz/Cargo.toml"];

/// Runs the parts named, or all, and reports every one that fails.
pub(crate) fn check(names: &[String]) -> Outcome {
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let mut failed = Vec::new();
    for (name, part) in PARTS.iter().filter(|(name, _)| wanted(name)) {
        if let Err(reason) = part() {
            say(&reason);
            failed.push(*name);
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(format!("check failed: {}", failed.join(", "))) }
}

fn format() -> Outcome {
    run(&mut cargo(["fmt", "--all", "--check"]))?;
    OUTSIDE
        .iter()
        .filter(|manifest| Path::new(manifest).exists())
        .try_for_each(|manifest| run(&mut cargo(["fmt", "--manifest-path", manifest, "--check"])))
}

fn clippy() -> Outcome {
    to_build()?;
    run(&mut cargo(["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn docs() -> Outcome {
    to_build()?;
    let mut doc = cargo(["doc", "--quiet", "--workspace", "--no-deps", "--exclude", "xtask"]);
    run(doc.env("RUSTDOCFLAGS", "-D warnings"))
}

/// The oldest compiler that `rust-version` promises, if it is installed; that nothing newer is used is seen by no other.
fn rust_version() -> Outcome {
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    let is_current = crate::shell::output(Command::new("rustc").arg("--version"))
        .is_some_and(|said| said.starts_with(&format!("rustc {oldest}.")));
    if is_current {
        say(&format!("rust-version: this is Rust {oldest}, the oldest that is promised"));
        return Ok(());
    }
    let toolchain = format!("{oldest}.0");
    if !succeeds(Command::new("rustup").args(["run", &toolchain, "rustc", "--version"])) {
        say(&format!("SKIPPED rust-version: Rust {toolchain} is not installed; rustup toolchain install {toolchain}"));
        return Ok(());
    }
    to_build()?;
    run(Command::new("rustup").args(["run", &toolchain, "cargo", "check", "--quiet", "--workspace", "--locked"]))
}

const ADVISORIES: &str = "https://github.com/RustSec/advisory-db";

/// Licences, sources and duplicates need nothing but the lock file. Advisories need their database, which is a git
/// repository on GitHub and nowhere else: where that cannot be reached they are skipped, visibly.
fn dependencies() -> Outcome {
    let deny = tool("cargo-deny", "0.20.2")?;
    let deny = |checks: &[&str]| {
        let mut command = Command::new(&deny);
        // The duplicates that deny.toml only warns of are printed by `cargo tree --duplicates`, shorter.
        command
            .args(["--locked", "--workspace", "--log-level", "error", "check", "--hide-inclusion-graph"])
            .args(checks);
        run(&mut command)
    };
    deny(&["bans", "licenses", "sources"])?;
    let mut database = Command::new("timeout");
    database.args(["20", "git", "ls-remote", "--exit-code", "--quiet", ADVISORIES, "HEAD"]);
    if succeeds(database.env("GIT_TERMINAL_PROMPT", "0")) {
        return deny(&["advisories"]);
    }
    say(&format!(
        "SKIPPED advisories: {ADVISORIES} cannot be reached from here. Known vulnerabilities and yanked versions of \
         dependencies were NOT looked for; run `cargo xtask check dependencies` where it can be reached."
    ));
    Ok(())
}
