//! The pages in `docs/reference/` say what the code says. They are written from doc comments, from the list of metrics
//! and from the program's own help; a page that differs fails its test. `SERIN_BLESS=1 cargo test -p serin --test it
//! reference` writes them anew.

mod page;
mod scan;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use http::StatusCode;
use serin_proxy::telemetry::names::{self, Kind};

use page::Page;
use scan::{Type, scan};

#[test]
fn rules_page_is_current() {
    let folder = workspace().join("routing-rules/src/spec");
    let files = [
        "mod.rs",
        "certificate.rs",
        "acme.rs",
        "route.rs",
        "filter.rs",
        "upstream.rs",
        "balance.rs",
        "breaker.rs",
        "limit.rs",
        "mirror.rs",
        "discovery.rs",
        "health.rs",
        "connections.rs",
        "release.rs",
        "scalar.rs",
    ];
    let types = files.iter().flat_map(|file| scan(&read(&folder.join(file)))).collect();
    let mut page = Page::new("Rules", types);
    page.say(
        "Everything that can change while Serin runs: the maps `listeners`, `routes`, `upstreams`, `releases`, `certificates` and `acme_accounts`. \
         They stand in the main file, in rule files beside it, or both. JSON is accepted wherever YAML is. Unknown fields are \
         errors. Fields are optional unless they say *required*.",
    );
    page.say("How routes are chosen: [routing](../routing.md). How releases work: [canary](../canary.md).");
    page.section("Spec");
    page.values(&["Span", "ByteSize", "Percent", "PercentSpec", "Rate", "StatusRange"]);
    page.hold("rules.md");
}

#[test]
fn settings_page_is_current() {
    let source = workspace().join("proxy/src");
    let files = ["settings/mod.rs", "telemetry/access_log/mod.rs"];
    let types = files.iter().flat_map(|file| scan(&read(&source.join(file)))).collect();
    let mut page = Page::new("Settings", types);
    page.say(
        "What is read once at start, from the main file and from no other. A change is logged and takes effect with the \
         next start; only `trusted_proxies` takes effect at once. Paths are relative to the main file's folder. Fields are \
         optional unless they say *required*.",
    );
    page.say("Everything else an operator writes is a [rule](rules.md) and needs no restart.");
    page.section("Settings");
    page.hold("settings.md");
}

#[test]
fn metrics_page_is_current() {
    let mut page = Page::new("Metrics", Vec::new());
    page.say(
        "Served at `/metrics` of the [admin address](../operate.md), in Prometheus text format. Labels come from rules, \
         never from requests, so no client can make new series.",
    );
    let rows = names::ALL.iter().map(|metric| {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        [format!("`{}`", metric.name), kind.to_owned(), metric.labels.join(", "), metric.help.to_owned()]
    });
    page.table(["name", "kind", "labels", "what it tells"], rows);
    page.say("`code` is a status class: `1xx`, `2xx`, `3xx`, `4xx`, `5xx`. `reason` is one of:");
    page.table(["reason", "status", "what happened"], reasons());
    page.say("The same words stand in the field `error` of the [access log](access-log.md).");
    page.hold("metrics.md");
}

#[test]
fn command_page_is_current() {
    let mut page = Page::new("Command line", Vec::new());
    page.say("Exit codes: 0 good, 1 the answer is no, 2 wrong usage, 3 what had to be asked did not answer.");
    page.say("The process logs to stderr: text on a terminal, else JSON. `SERIN_LOG=debug` says more, `SERIN_LOG=warn` less.");
    let top = help(&[]);
    assert!(commands(&top).contains(&"run"), "no commands in:\n{top}");
    page.block("serin", &top);
    for command in commands(&top) {
        let text = help(&[command]);
        page.block(&format!("serin {command}"), &text);
        for inner in commands(&text) {
            page.block(&format!("serin {command} {inner}"), &help(&[command, inner]));
        }
    }
    page.hold("cli.md");
}

/// The commands that a command's help names.
fn commands(help: &str) -> Vec<&str> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    lines.map_while(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect()
}

/// The access log's fields have no doc comments, so this page is written by hand; it must name exactly the fields that
/// are written, in their order.
#[test]
fn access_log_page_is_current() {
    let source = read(&workspace().join("proxy/src/telemetry/access_log/mod.rs"));
    let line = source.split("\nstruct Line<'a> {\n").nth(1).expect("the struct that is serialised");
    let body = line.split("\n}").next().unwrap_or_default();
    let fields = body.lines().filter_map(|line| line.trim().split_once(": ")).filter(|(name, _)| !name.contains('#'));
    let written: Vec<&str> = fields.map(|(name, _)| name).collect();
    let page = read(&workspace().join("docs/reference/access-log.md"));
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    assert_eq!(rows.collect::<Vec<_>>(), written);
}

/// Word, status and meaning of every error, as the code has them.
fn reasons() -> Vec<[String; 3]> {
    let source = read(&workspace().join("proxy/src/data_path/error.rs"));
    let statuses = status_names();
    let tokens = arms(&source, "token");
    let codes = arms(&source, "status");
    let error = scan(&source).into_iter().find(|found| found.name == "RequestError").expect("the enum is there");
    let rows = error.members.into_iter().map(|variant| {
        let token = tokens[&variant.name].trim_matches('"').to_owned();
        let code = &codes[&variant.name];
        let number = code.strip_prefix("StatusCode::from_u16(").and_then(|rest| rest.split(')').next());
        let status = match number {
            Some(number) => number.to_owned(),
            None => match statuses.get(code.trim_start_matches("StatusCode::")) {
                Some(number) => number.to_string(),
                None => "what the rules say".to_owned(),
            },
        };
        [format!("`{token}`"), status, variant.docs]
    });
    rows.collect()
}

/// The arms of a `match` over all errors: variant to what stands behind the arrow.
fn arms(source: &str, function: &str) -> BTreeMap<String, String> {
    let start = source.find(&format!("fn {function}(self)")).expect("the function is there");
    let body = source[start..].split("\n    }\n").next().unwrap_or_default();
    let mut arms = BTreeMap::new();
    let mut patterns = String::new();
    for line in body.lines().map(str::trim) {
        let (pattern, value) = line.split_once("=>").unwrap_or((line, ""));
        if pattern.contains("Self::") {
            patterns.push_str(pattern);
        }
        if !value.is_empty() {
            for variant in patterns.split("Self::").skip(1) {
                let name = variant.split(|letter: char| !letter.is_alphanumeric()).next().unwrap_or_default();
                arms.insert(name.to_owned(), value.trim().trim_end_matches(',').to_owned());
            }
            patterns.clear();
        }
    }
    arms
}

/// `BAD_GATEWAY` to 502.
fn status_names() -> BTreeMap<String, u16> {
    let known = (400..600).filter_map(|number| {
        let reason = StatusCode::from_u16(number).ok()?.canonical_reason()?;
        Some((reason.to_uppercase().replace([' ', '-'], "_"), number))
    });
    known.collect()
}

fn help(command: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_serin"))
        .args(command)
        .arg("--help")
        .env_remove("SERIN_CONFIG")
        .env_remove("SERIN_STATE_DIR")
        .output()
        .expect("serin runs");
    let text = String::from_utf8(output.stdout).expect("help is text");
    text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The folder of the whole project.
pub(crate) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in the workspace").to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
