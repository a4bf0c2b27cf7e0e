//! `cargo xtask test`: everything that is tested, after installing what the tests use, and a summary at the end.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::Outcome;
use crate::install::{self, FromPypi, Needed};
use crate::shell::{cargo, line, say};

/// Programs that tests start. `cargo test` alone does without them where it can, and says so.
const PROGRAMS: [Needed; 16] = [
    ("wrk", "wrk"),
    ("bash", "bash"),
    ("kill", "procps"),
    ("dnsmasq", "dnsmasq-base"),
    ("etcd", "etcd-server"),
    ("pebble", "pebble"),
    ("nginx", "nginx-light"),
    ("haproxy", "haproxy"),
    ("curl", "curl"),
    ("nghttp", "nghttp2-client"),
    ("h2load", "nghttp2-client"),
    ("varnishtest", "varnish"),
    ("openssl", "openssl"),
    ("chromium", "chromium"),
    ("certutil", "libnss3-tools"),
    ("docker-compose", "docker-compose"),
];

/// What makes up requests to the admin API from its description; clients and services of gRPC and WebSocket.
const FROM_PYPI: [FromPypi; 3] = [
    FromPypi { folder: "schemathesis", packages: &[("schemathesis", "4.32.5")] },
    FromPypi { folder: "clients", packages: &[("grpcio", "1.85.3"), ("websockets", "17.4")] },
    KUBERNETES,
];

/// The schemas that Kubernetes and the Prometheus operator publish; and Helm beside them.
const KUBERNETES: FromPypi = FromPypi {
    folder: "kubernetes",
    packages: &[("kubernetes-validate", "1.37.0"), ("cloudcoil-models-prometheus-operator", "0.80.1.0")],
};

/// Tells tests that a program that is missing is a failure.
const REQUIRED: &str = "SERIN_TEST_PROGRAMS_REQUIRED";

/// How many tests run at a time.
const THREADS: &str = "RUST_TEST_THREADS";

/// Arguments go to `cargo test`.
pub(crate) fn test(args: &[String]) -> Outcome {
    install::to_build()?;
    install::packages(&PROGRAMS)?;
    for wanted in &FROM_PYPI {
        if let Err(reason) = install::from_pypi(wanted) {
            say(&format!("{reason}; the tests that use {} will fail", wanted.folder));
        }
    }
    if let Err(reason) = install::helm(&KUBERNETES) {
        say(&format!("{reason}; the tests of the chart will fail"));
    }
    let mut command = cargo(["test", "--workspace", "--no-fail-fast"]);
    command.args(args).env(REQUIRED, "1");
    if std::env::var_os(THREADS).is_none() {
        // Most tests wait most of the time: for windows of five seconds, for leases, for breakers.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        command.env(THREADS, (2 * cores).to_string());
    }
    #[expect(clippy::disallowed_types, reason = "a person waits in real time")]
    let started = std::time::Instant::now();
    let summary = watch(&mut command)?;
    summary.print(started.elapsed());
    if summary.is_good() { Ok(()) } else { Err("the tests failed".into()) }
}

/// What cargo's lines add up to.
#[derive(Default)]
struct Summary {
    binaries: u32,
    passed: u32,
    failed: u32,
    ignored: u32,
    failures: Vec<String>,
    has_exited_well: bool,
}

/// Runs the tests, passes on what they print, and counts.
fn watch(command: &mut Command) -> Result<Summary, String> {
    say(&format!("$ {}", line(command)));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| format!("cargo: {error}"))?;
    let mut summary = Summary::default();
    for text in child.stdout.take().into_iter().flat_map(|stdout| BufReader::new(stdout).split(b'\n')) {
        let text = text.map_err(|error| format!("cargo's output: {error}"))?;
        let text = String::from_utf8_lossy(&text);
        #[expect(clippy::print_stdout, reason = "it is cargo's standard output, passed on")]
        {
            println!("{text}");
        }
        summary.read(&text);
    }
    summary.has_exited_well = child.wait().map_err(|error| format!("cargo: {error}"))?.success();
    Ok(summary)
}

impl Summary {
    /// Takes in one line, such as `test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; …` or
    /// `test a::b ... FAILED`.
    fn read(&mut self, text: &str) {
        if let Some(counts) = text.strip_prefix("test result: ") {
            self.binaries += 1;
            let count = |what: &str| {
                let part = counts.split([';', '.']).map(str::trim).find_map(|part| part.strip_suffix(what));
                part.and_then(|number| number.trim().parse::<u32>().ok()).unwrap_or(0)
            };
            self.passed += count("passed");
            self.failed += count("failed");
            self.ignored += count("ignored");
        } else if let Some(name) = text.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
            self.failures.push(name.to_owned());
        }
    }

    fn is_good(&self) -> bool {
        self.failed == 0 && self.has_exited_well
    }

    #[expect(clippy::print_stdout, reason = "it closes cargo's output")]
    fn print(&self, took: Duration) {
        println!();
        for name in &self.failures {
            println!("failed: {name}");
        }
        if self.failed == 0 && !self.has_exited_well {
            println!("cargo test ended with an error that is not a failed test: see above");
        }
        println!(
            "{}: {} passed, {} failed, {} ignored in {} test binaries, {} s",
            if self.is_good() { "tests passed" } else { "TESTS FAILED" },
            self.passed,
            self.failed,
            self.ignored,
            self.binaries,
            took.as_secs()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn counts_what_cargo_prints() {
        let mut summary = Summary::default();
        for text in [
            "running 3 tests",
            "test request::canonical::hosts ... ok",
            "test wire_cases::all ... FAILED",
            "test result: FAILED. 11 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 0.03s",
            "test result: ok. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            summary.read(text);
        }
        assert_eq!((summary.binaries, summary.passed, summary.failed, summary.ignored), (2, 16, 1, 2));
        assert_eq!(summary.failures, ["wire_cases::all"]);
        assert!(!summary.is_good());
    }
}
