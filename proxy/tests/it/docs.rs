//! What README and `docs/` show is true: every file is checked, every command is run, every output is compared.
//!
//! A page is read from top to bottom, as somebody follows it, in a folder of its own:
//!
//! - `yaml` is a whole main file: saved as `serin.yaml`, and without a problem.
//! - `yaml file=NAME` is saved under that name beside it.
//! - `yaml fragment` is a part of a main file: what it names may be missing, everything else must be right.
//! - `yaml kubernetes` has objects of a cluster, and `yaml gateway` of one that has Gateway API: its API server takes them, and Serin what
//!   they amount to.
//! - `console` has commands after `$ ` and what they print. `serin run` stays up until the page ends. In what is printed,
//!   `…` stands for any text within a line.
//! - `sh file=NAME` is a script: saved, for commands to run.
//! - `json file=NAME`, `yaml file=NAME` and `groovy file=NAME` that are for other programs are what they say they are, and the commands
//!   of ours in them are understood.
//! - `sh` is for commands a test cannot run (building, installing); only those named here.
//! - `text` and `json` are pictures.

mod block;
mod foreign;
mod objects;
mod session;

use std::path::{Path, PathBuf};

use block::{Block, blocks};
use session::Session;

use crate::reference::workspace;

#[test]
fn readme() {
    follow("README.md");
}

#[test]
fn quick_start() {
    follow("docs/quick-start.md");
}

#[test]
fn routing() {
    follow("docs/routing.md");
}

#[test]
fn canary() {
    follow("docs/canary.md");
}

#[test]
fn reload() {
    follow("docs/reload.md");
}

#[test]
fn operate() {
    follow("docs/operate.md");
}

/// Pages that have a test of their own above are followed there; whatever is new is followed here.
#[test]
fn all_other_pages() {
    let own = ["quick-start.md", "routing.md", "canary.md", "reload.md", "operate.md"];
    let folder = workspace().join("docs");
    for page in pages(&folder).iter().filter(|page| !own.iter().any(|own| page.ends_with(own))) {
        follow(page.strip_prefix(workspace()).expect("it is below").to_str().expect("names are ASCII"));
    }
}

#[test]
fn links_lead_somewhere() {
    let mut all = pages(&workspace().join("docs"));
    all.extend([workspace().join("README.md"), workspace().join("CHANGELOG.md")]);
    let mut dead = Vec::new();
    for page in &all {
        let text = read(page);
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            if file.starts_with("http") {
                continue;
            }
            let to = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            let lives = to.exists() && (anchor.is_empty() || anchors(&read(&to)).any(|known| known == anchor));
            if !lives {
                dead.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

fn follow(page: &str) {
    let text = read(&workspace().join(page));
    let mut session = Session::new(page);
    for Block { line, info, lines } in blocks(&text) {
        match info.split_whitespace().collect::<Vec<_>>()[..] {
            ["yaml"] => session.main_file(line, &lines),
            ["yaml", "fragment"] => session.fragment(line, &lines),
            ["yaml", kind @ ("kubernetes" | "gateway")] => {
                objects::check(&format!("{page}:{line}"), &lines.join("\n"), kind == "gateway");
            }
            ["sh" | "groovy" | "json" | "yaml", file] => {
                session.other_file(line, file, &lines);
                foreign::check(page, line, info, &lines);
            }
            ["console"] => session.commands(line, &lines),
            ["sh"] => known_commands(page, line, &lines),
            ["text" | "json"] => {}
            _ => panic!("{page}:{line}: nothing tests a block of kind `{info}`"),
        }
    }
}

/// Commands that are not run here, because they build, install or signal, or write to an etcd, which the tests of etcd do; those of Helm
/// and Compose are tested with the chart and the compose file.
fn known_commands(page: &str, line: usize, lines: &[&str]) {
    let known = [
        "cargo xtask ",
        "cargo build ",
        "cargo run ",
        "cargo test ",
        "kill -",
        "cd ",
        "export ",
        "#",
        "etcdctl put ",
        "docker build ",
        "docker compose ",
        "curl -H 'cookie: uid=eve' http://127.0.0.1:8080/ ",
        "helm upgrade ",
        "kubectl ",
        "openssl rand ",
        "curl -X POST ",
        "serin etcd ",
        "serin import ",
        "serin instances",
        "serin release ",
    ];
    for command in lines.iter().filter(|command| !command.is_empty()) {
        assert!(known.iter().any(|start| command.starts_with(start)), "{page}:{line}: nothing tests `{command}`");
    }
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut pages = Vec::new();
    for path in entries.map(|entry| entry.expect("the folder can be read").path()) {
        match path.is_dir() {
            true => pages.extend(self::pages(&path)),
            false if path.extension().is_some_and(|extension| extension == "md") => pages.push(path),
            false => {}
        }
    }
    pages.sort();
    pages
}

/// The anchors of a page's headings.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let kept = |letter: &char| letter.is_alphanumeric() || " -_".contains(*letter);
        let title: String = line.trim_start_matches('#').trim().chars().filter(kept).collect();
        title.to_lowercase().replace(' ', "-")
    })
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
