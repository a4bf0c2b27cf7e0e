//! `serin etcd push`, `pull` and `diff`, with a real etcd.

use std::fs;
use std::path::Path;
use std::process::Output;

use crate::support::control::serin;
use crate::support::etcd::Etcd;

const RULES: &str =
    "upstreams:\n  app:\n    endpoints: [\"10.0.0.1:8080\"]   # the first\nroutes:\n  all: {upstream: app}\n";

fn run(etcd: &Etcd, command: &str, folder: &Path, more: &[&str]) -> Output {
    let urls = etcd.urls().join(",").replace('"', "");
    let folder = folder.to_string_lossy();
    serin(&[&["etcd", command, &*folder, "--etcd", &urls], more].concat())
}

/// What it says, and its exit code.
fn said(output: &Output) -> (String, Option<i32>) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout) + &text(&output.stderr), output.status.code())
}

#[test]
fn a_folder_is_pushed_and_pulled() {
    let Some(etcd) = Etcd::start() else { return };
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(folder.path().join("rules.yaml"), RULES).unwrap();
    etcd.put("/serin/upstreams/old", "{endpoints: [\"10.0.0.9:80\"]}");

    let (text, code) = said(&run(&etcd, "diff", folder.path(), &[]));
    assert_eq!((&*text, code), ("+ upstreams/app\n+ routes/all\n2 to write, 0 the same\n", Some(1)));
    let (text, code) = said(&run(&etcd, "push", folder.path(), &["--dry-run", "--prune"]));
    assert_eq!((&*text, code), ("+ upstreams/app\n+ routes/all\n- upstreams/old\n3 to write, 0 the same\n", Some(0)));
    assert_eq!(etcd.get("/serin/routes/all"), None);

    let (text, code) = said(&run(&etcd, "push", folder.path(), &["--by", "ann", "-m", "the first"]));
    assert!(text.starts_with("+ upstreams/app\n+ routes/all\n2 written at revision ") && code == Some(0), "{text}");
    assert_eq!(etcd.get("/serin/routes/all").as_deref(), Some("{\"upstream\":\"app\"}"));
    let history = etcd.values("/serin/history/push/");
    let told = ["\"by\":\"ann\"", "\"message\":\"the first\"", "\"changes\":[\"+ upstreams/app\",\"+ routes/all\"]"];
    assert!(history.len() == 1 && told.iter().all(|part| history[0].contains(part)), "{history:?}");
    assert_eq!(said(&run(&etcd, "diff", folder.path(), &[])), ("0 to write, 2 the same\n".to_owned(), Some(0)));

    etcd.put("/serin/upstreams/old", "# kept\nendpoints:\n  - 10.0.0.9:80\n");
    let (text, code) = said(&run(&etcd, "pull", other.path(), &[]));
    assert!(text.contains("upstreams.yaml 2\n") && text.contains("routes.yaml 1\n") && code == Some(0), "{text}");
    let pulled = fs::read_to_string(other.path().join("upstreams.yaml")).unwrap();
    assert!(pulled.contains("    # kept\n    endpoints:\n      - 10.0.0.9:80\n"), "{pulled}");
    assert_eq!(said(&run(&etcd, "diff", other.path(), &["--prune"])), ("0 to write, 3 the same\n".to_owned(), Some(0)));
    let (text, code) = said(&run(&etcd, "pull", other.path(), &[]));
    assert!(text.contains("is there already; --force replaces it") && code == Some(2), "{text}");

    let (text, code) = said(&run(&etcd, "push", folder.path(), &["--prune"]));
    assert!(text.starts_with("- upstreams/old\n1 written") && code == Some(0), "{text}");
    assert_eq!(etcd.get("/serin/upstreams/old"), None);
}

#[test]
fn what_is_wrong_or_too_much_is_not_pushed() {
    let Some(etcd) = Etcd::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (text, code) = said(&run(&etcd, "push", folder.path(), &[]));
    assert!(text.contains("there are no files") && code == Some(2), "{text}");

    fs::write(folder.path().join("a.yaml"), "routes:\n  all: {upstream: gone}\n  b: {upstrem: x}\n").unwrap();
    let (text, code) = said(&run(&etcd, "push", folder.path(), &[]));
    assert!(text.contains("a.yaml:2:19: routes.all.upstream: there is no upstream `gone`"), "{text}");
    assert!(text.contains("a.yaml:3:7: routes.b.upstrem: unknown field") && code == Some(1), "{text}");
    // What is in etcd may be referred to.
    etcd.put("/serin/upstreams/gone", "{endpoints: [\"10.0.0.1:80\"]}");
    fs::write(folder.path().join("a.yaml"), "routes:\n  all: {upstream: gone}\n").unwrap();
    assert_eq!(said(&run(&etcd, "diff", folder.path(), &[])).1, Some(1));
    let (text, code) = said(&run(&etcd, "diff", folder.path(), &["--prune"]));
    assert!(text.contains("there is no upstream `gone`") && code == Some(1), "{text}");

    let many: String =
        (0..300).map(|route| format!("  r{route}: {{upstream: gone, hosts: [r{route}.test]}}\n")).collect();
    fs::write(folder.path().join("a.yaml"), format!("routes:\n{many}")).unwrap();
    let (text, code) = said(&run(&etcd, "push", folder.path(), &[]));
    assert!(text.contains("301 keys") && text.contains("--split") && code == Some(1), "{text}");
    assert_eq!(etcd.values("/serin/routes/").len(), 0);
    let (text, code) = said(&run(&etcd, "push", folder.path(), &["--split"]));
    assert!(text.contains("300 written at revision") && code == Some(0), "{text}");
    assert_eq!(etcd.values("/serin/routes/").len(), 300);
    assert_eq!(etcd.values("/serin/history/push/").len(), 3);
}

#[test]
fn a_cluster_that_does_not_answer_is_an_exit_code_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), RULES).unwrap();
    let output = serin(&["etcd", "diff", &folder.path().to_string_lossy(), "--etcd", "http://127.0.0.1:9"]);
    let (text, code) = said(&output);
    assert!(text.contains("tcp connect error") && code == Some(3), "{text}");
    let output = serin(&["etcd", "diff", &folder.path().to_string_lossy(), "--etcd", "127.0.0.1:9"]);
    assert_eq!(said(&output).1, Some(2));
}
