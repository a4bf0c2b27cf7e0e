//! What must hold for the code as text: who may know whom, that every file says what it is, and the words.
//!
//! The arrows are the table of the style guide. A change that needs another one adds it here, where a reader of the
//! change sees it. `use` lines and paths are read, not meaning: what a macro makes up is not seen, and tests may know all.

mod source;

use std::collections::BTreeSet;

use source::{Reference, SourceFile, files, root};

/// Whom each module may know besides itself, `telemetry` (all but the brain) and errors. What is not here has no
/// arrows yet.
const ARROWS: &[(&str, &[&str])] = &[
    // The shell: flags, commands, threads.
    ("serin::main", &["serin::cli"]),
    ("serin::cli", &["serin_proxy", "kubernetes_source::import"]),
    ("serin_proxy::server", &["serin_proxy", "routing_rules", "kubernetes_source"]),
    ("serin_proxy::worker", &["serin_proxy::data_path", SNAPSHOT, RANDOM, MOMENT, THREAD, RELEASE]),
    // The two paths share the snapshot and do not know each other. The worker is the data path's thread and context.
    (
        "serin_proxy::data_path",
        &[
            "serin_proxy::worker",
            SNAPSHOT,
            CONNECT,
            RANDOM,
            MOMENT,
            TABLE,
            RELEASE,
            BALANCE,
            BREAKER,
            LIMIT,
            RETRY,
            REQUEST,
        ],
    ),
    ("serin_proxy::control_path", &[SNAPSHOT, CONNECT, RANDOM, MOMENT, THREAD, "routing_rules", "kubernetes_source"]),
    // Objects become what operators write.
    ("kubernetes_source", &["kubernetes_source", SPEC, RULES]),
    // What both stand on knows neither.
    (SNAPSHOT, &[TABLE, RELEASE, BALANCE, BREAKER, LIMIT, HEALTH, DISCOVERY, REQUEST, ANALYSIS]),
    // How an endpoint is shaken hands with, and what is counted of it, stands there.
    (CONNECT, &[SNAPSHOT]),
    (RANDOM, &[]),
    (MOMENT, &[]),
    (THREAD, &[]),
    (TELEMETRY, &[SNAPSHOT, THREAD, TABLE, HEALTH]),
    ("serin_proxy::settings", &["routing_rules::rules", "routing_rules::spec"]),
    // They answer questions: about the snapshot, or about files that might become one.
    ("serin_proxy::explain", &[SNAPSHOT, RANDOM, MOMENT, "routing_rules"]),
    ("serin_proxy::diff", &[SNAPSHOT, RANDOM, "serin_proxy::control_path", "serin_proxy::settings", "routing_rules"]),
    ("serin_proxy::admin", &[SNAPSHOT, MOMENT, "serin_proxy::explain", "routing_rules"]),
    // The brain reads like a compiler, never backwards; balance, breaker, health, limit, retry and analysis know none
    // of it.
    // Rules read a breaker's condition, a limit's rate and what an analysis is told, which are right by construction.
    (TABLE, &[RELEASE, RULES, SPEC, REQUEST, BALANCE]),
    (RELEASE, &[RULES, SPEC, REQUEST]),
    (RULES, &[SPEC, REQUEST, BREAKER, LIMIT, HEALTH, ANALYSIS]),
    (SPEC, &[]),
    (REQUEST, &[]),
    (BALANCE, &[]),
    (BREAKER, &[]),
    (LIMIT, &[]),
    (RETRY, &[]),
    (HEALTH, &[]),
    // What was found becomes endpoints as they are written.
    (DISCOVERY, &[RULES]),
    (ANALYSIS, &[]),
    ("routing_rules::error", &[]),
];

const SNAPSHOT: &str = "serin_proxy::snapshot";
const CONNECT: &str = "serin_proxy::connect";
const MOMENT: &str = "serin_proxy::moment";
const RANDOM: &str = "serin_proxy::random";
const THREAD: &str = "serin_proxy::thread";
const TELEMETRY: &str = "serin_proxy::telemetry";
const TABLE: &str = "routing_rules::table";
const RELEASE: &str = "routing_rules::release";
const RULES: &str = "routing_rules::rules";
const SPEC: &str = "routing_rules::spec";
const REQUEST: &str = "routing_rules::request";
const BALANCE: &str = "routing_rules::balance";
const BREAKER: &str = "routing_rules::breaker";
const LIMIT: &str = "routing_rules::limit";
const RETRY: &str = "routing_rules::retry";
const HEALTH: &str = "routing_rules::health";
const ANALYSIS: &str = "routing_rules::analysis";
const DISCOVERY: &str = "routing_rules::discovery";

/// Arrows against the table, each with its reason. One that is no longer drawn must go from the list.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("serin_proxy::data_path", RULES, "a matched route is read as it was validated: filters, limits, redirects"),
    (SNAPSHOT, RULES, "names and address sets are values; nothing of the rules is asked"),
    ("serin_proxy::explain", "serin_proxy::data_path", "it must run what a request runs, not something like it"),
    ("serin_proxy::diff", "serin_proxy::data_path", "it asks both versions as a request would"),
    ("serin_proxy::admin", "serin_proxy::server::Shared", "the API shows what the process shares"),
    (
        "serin_proxy::admin",
        "serin_proxy::control_path::fleet",
        "what a change was written to is asked who has applied it",
    ),
    ("serin_proxy::admin", "serin_proxy::control_path::decode::Problem", "the API shows what is wrong as it was found"),
    (
        "serin_proxy::admin",
        "serin_proxy::control_path::release",
        "orders are carried out there; the API passes them on",
    ),
    ("serin_proxy::admin", "serin_proxy::control_path::acme", "the API shows how far orders are as who orders says it"),
    ("serin_proxy::control_path", "serin_proxy::settings", "settings stand in the main file, which it reads"),
    ("serin_proxy::settings", "serin_proxy::control_path::decode", "the text format is known there only"),
    (RULES, "routing_rules::release::Salt", "validating a release includes its salt"),
    (RULES, "routing_rules::release::DeviceClass", "validating an audience includes its device classes"),
    (TELEMETRY, "serin_proxy::data_path", "the access log and the counters read the data path's own types"),
];

/// Crates and parts of the standard library that a module must not know.
const FORBIDDEN: &[(&str, &[&str])] = &[
    ("serin_proxy::data_path", &["serde", "serde_json", "axum", "clap"]),
    (
        "routing_rules",
        &[
            "std::env",
            "std::fs",
            "std::io",
            "std::net::TcpListener",
            "std::net::TcpStream",
            "std::net::UdpSocket",
            "std::process",
            "std::thread",
            "std::time::Instant",
            "std::time::SystemTime",
        ],
    ),
    (RULES, SERDE),
    (TABLE, SERDE),
    (RELEASE, SERDE),
    (BALANCE, SERDE),
    (REQUEST, SERDE),
];

/// serde stops at the spec.
const SERDE: &[&str] = &["serde", "serde_json"];

/// Everything the brain is made of. None of it does I/O, tells the time or draws.
const BRAIN_CRATES: &[&str] = &[
    "aho-corasick",
    "argon2",
    "base64",
    "bcrypt",
    "foldhash",
    "hmac",
    "http",
    "imbl",
    "ipnet",
    "prefix-trie",
    "regex",
    "serde",
    "sha2",
    "siphasher",
    "smol_str",
    "thiserror",
];

/// Say nothing, or something else next door. `_main` is what a function is called when nobody knows what it does.
const UNUSED_WORDS: &[&str] =
    &["manager", "handler", "helper", "helpers", "util", "utils", "common", "globals", "backend", "backends"];

#[test]
fn arrows_are_those_of_the_table() {
    let mut against = Vec::new();
    let mut used = BTreeSet::new();
    for arrow in arrows() {
        let Reference { from, to, at } = &arrow;
        let Some((module, known)) = ARROWS.iter().find(|(module, _)| is_in(from, module)) else {
            against.push(format!("{at}: `{from}` is not in the table of arrows; say there whom it may know"));
            continue;
        };
        let everybodys = is_in(to, "routing_rules::error")
            || is_in(to, "routing_rules::RuleError")
            || is_in(to, TELEMETRY) && !is_in(from, "routing_rules");
        if is_in(to, module) || everybodys || known.iter().any(|known| is_in(to, known)) {
            continue;
        }
        match EXCEPTIONS.iter().position(|(source, target, _)| is_in(from, source) && is_in(to, target)) {
            Some(index) => drop(used.insert(index)),
            None => against.push(format!("{at}: `{from}` must not know `{to}`")),
        }
    }
    let drawn = |index: &usize| !used.contains(index);
    for (from, to, _) in (0..EXCEPTIONS.len()).filter(drawn).map(|index| EXCEPTIONS[index]) {
        against.push(format!("proxy/tests/it/tidy.rs: nothing needs the exception `{from}` → `{to}` any more"));
    }
    report(&against);
}

#[test]
fn sources_do_not_know_each_other() {
    const SOURCES: &str = "serin_proxy::control_path::source::";
    let name = |path: &str| path.strip_prefix(SOURCES)?.split("::").next().map(str::to_owned);
    let is_module = |name: &String| name.starts_with(|char: char| char.is_ascii_lowercase());
    let against = arrows().into_iter().filter_map(|Reference { from, to, at }| {
        let (from, to) = (name(&from)?, name(&to).filter(is_module)?);
        (from != to).then(|| format!("{at}: source `{from}` must not know source `{to}`"))
    });
    report(&against.collect::<Vec<_>>());
}

#[test]
fn forbidden_crates_are_not_used() {
    let mut against = Vec::new();
    for Reference { from, to, at } in references() {
        for (module, forbidden) in FORBIDDEN {
            if is_in(&from, module) && forbidden.iter().any(|path| is_in(&to, path)) {
                against.push(format!("{at}: `{from}` must not know `{to}`"));
            }
        }
    }
    let manifest = std::fs::read_to_string(root().join("routing-rules/Cargo.toml")).unwrap();
    let dependencies = manifest.split("\n[").find_map(|section| section.strip_prefix("dependencies]\n")).unwrap();
    for name in dependencies.lines().filter_map(|line| Some(line.split_once('=')?.0.trim())) {
        if !name.starts_with('#') && !BRAIN_CRATES.contains(&name) {
            against.push(format!("routing-rules/Cargo.toml: `{name}` is not among the crates the brain is made of"));
        }
    }
    report(&against);
}

#[test]
fn every_file_says_what_it_is() {
    // A file of unit tests belongs to the module above it, which says what is tested.
    let files = all_rust().into_iter().filter(|file| !file.name.ends_with("/tests.rs"));
    let silent = files.filter(|file| !file.text.trim_start().starts_with("//!"));
    report(&silent.map(|file| format!("{}:1: no module documentation", file.name)).collect::<Vec<_>>());
}

#[test]
fn words_that_say_nothing_are_not_names() {
    let mut against = Vec::new();
    for file in all_rust() {
        let inside_kubernetes = file.name.starts_with("kubernetes/source/");
        let is_unused = |word: &String| {
            UNUSED_WORDS.contains(&word.as_str()) && !(inside_kubernetes && word.starts_with("backend"))
        };
        for (line, name) in names(&file) {
            let words = words(&name);
            if let Some(word) = words.iter().find(|word| is_unused(word)) {
                against.push(format!("{}:{line}: `{name}`: `{word}` says nothing, or something else", file.name));
            } else if name.ends_with("_main") {
                against.push(format!("{}:{line}: `{name}`: say what it does", file.name));
            }
        }
    }
    report(&against);
}

#[test]
fn no_path_of_somebodys_machine() {
    let places = ["/home/", "/Users/", "/root/", "C:\\Users"].into_iter().map(str::to_owned);
    let places: Vec<String> = places.chain(own_place()).collect();
    let mut against = Vec::new();
    for path in files(&root()) {
        let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
        // This file names them; what is not text names nothing.
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for (index, line) in text.lines().enumerate().filter(|_| !name.ends_with("it/tidy.rs")) {
            if let Some(place) = places.iter().find(|place| line.contains(place.as_str())) {
                against.push(format!("{name}:{}: `{place}` is a place on one machine", index + 1));
            }
        }
    }
    report(&against);
}

/// The folder of this machine that the checkout lies in, unless every machine has it (FHS 3.0 §3.2).
fn own_place() -> Option<String> {
    const EVERYWHERE: &[&str] = &[
        "bin", "boot", "dev", "etc", "home", "lib", "media", "mnt", "opt", "proc", "root", "run", "sbin", "srv", "sys",
        "tmp", "usr", "var",
    ];
    let root = root().canonicalize().unwrap();
    let mut folders = root.iter().filter_map(|folder| folder.to_str()).filter(|folder| *folder != "/");
    let (first, _) = (folders.next()?, folders.next()?);
    (!EVERYWHERE.contains(&first)).then(|| format!("/{first}/"))
}

#[test]
fn words_of_names() {
    assert_eq!(words("HttpServiceUtils"), ["http", "service", "utils"]);
    assert_eq!(words("request_handler"), ["request", "handler"]);
    assert!(is_in("a::b::c", "a::b") && is_in("a::b", "a::b") && !is_in("a::bc", "a::b"));
}

/// The code whose arrows count: both libraries and the program, without tests.
fn code() -> impl Iterator<Item = SourceFile> {
    let files =
        ["proxy/src", "routing-rules/src", "kubernetes/source/src"].into_iter().flat_map(SourceFile::crate_files);
    files.filter(|file| !file.is_tests())
}

fn references() -> impl Iterator<Item = Reference> {
    code().flat_map(|file| file.references())
}

/// References from one module of ours to another. The crates' roots only list their modules.
fn arrows() -> Vec<Reference> {
    let is_ours = |path: &str| {
        ["serin", "serin_proxy", "routing_rules", "kubernetes_source"].iter().any(|ours| is_in(path, ours))
    };
    let arrows = references().filter(|arrow| arrow.from.contains("::") && is_ours(&arrow.to));
    let arrows: Vec<Reference> = arrows.collect();
    assert!(arrows.len() > 100, "only {} arrows were found: this test reads nothing", arrows.len());
    arrows
}

fn all_rust() -> Vec<SourceFile> {
    let folders = ["proxy", "routing-rules", "kubernetes", "xtask", "benches", "fuzz"];
    folders.into_iter().filter(|folder| root().join(folder).is_dir()).flat_map(SourceFile::crate_files).collect()
}

/// Names of modules, types and functions that a file defines, with their lines; the file's own name is on line 1.
fn names(file: &SourceFile) -> Vec<(usize, String)> {
    let stem = file.name.trim_end_matches(".rs").trim_end_matches("/mod").rsplit('/').next().unwrap_or_default();
    let mut names = vec![(1, stem.to_owned())];
    for (index, line) in file.code.lines().enumerate() {
        let mut before = "";
        for word in line.split(|char: char| !(char.is_alphanumeric() || char == '_')).filter(|word| !word.is_empty()) {
            let defines_type = ["mod", "struct", "enum", "trait", "type", "union"].contains(&before);
            if defines_type || before == "fn" && word.ends_with("_main") {
                names.push((index + 1, word.to_owned()));
            }
            before = word;
        }
    }
    names
}

/// `RequestHandler` and `request_handler` as lower-case words.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for char in name.chars() {
        if char == '_' || char.is_uppercase() {
            words.push(String::new());
        }
        if char != '_' {
            words.last_mut().expect("there is one from the beginning").extend(char.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

#[track_caller]
fn report(against: &[String]) {
    assert!(against.is_empty(), "\n{}\n", against.join("\n"));
}
