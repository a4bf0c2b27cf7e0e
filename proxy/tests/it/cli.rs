//! The commands through the real program: what they print and their exit codes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::support::control::{Program, serin, serin_asking};
use crate::support::{Origin, PATIENCE, eventually, get};

fn write(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("serin.yaml");
    fs::write(&path, text).expect("room");
    (folder, path)
}

fn run(command: &str, config: &Path, arguments: &[&str]) -> Output {
    let config = config.to_str().expect("the path is text");
    serin(&[&[command, "--config", config], arguments].concat())
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

const GOOD: &str = "listeners: {web: {address: \"127.0.0.1:0\"}}\n\
    routes: {shop: {hosts: [shop.test], upstream: old, release: next}}\n\
    upstreams: {old: {endpoints: [\"127.0.0.1:1\"]}, new: {endpoints: [\"127.0.0.1:2\"]}}\n\
    releases: {next: {stable: old, canary: new, audience: [{name: all}], phases: [10], \
    sticky: {key: [{header: x-user}]}, override: {header: x-group}}}\n";

#[test]
fn the_version_names_what_decides_groups_too() {
    let number = env!("CARGO_PKG_VERSION");
    let table = routing_rules::release::DEVICE_TABLE_VERSION;
    assert_eq!(stdout(&serin(&["--version"])), format!("serin {number}\ndevice table {table}\n"));
    assert_eq!(stdout(&serin(&["-V"])), format!("serin {number}\n"));
}

/// Whatever there is too little of, Serin serves or says what it could not get; it never serves with fewer threads.
#[test]
fn too_few_descriptors_are_no_start_and_it_is_said_for_what() {
    let (_folder, path) = write(&format!("{GOOD}workers: 8\nadmin: {{address: \"127.0.0.1:0\"}}\n"));
    let mut said = std::collections::BTreeSet::new();
    for descriptors in (8..=64).step_by(4) {
        let script = "ulimit -n $0 && exec \"$1\" run --config \"$2\"";
        let mut command = std::process::Command::new("sh");
        command.args(["-c", script, &descriptors.to_string(), env!("CARGO_BIN_EXE_serin")]).arg(&path);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("a shell");
        let mut ready = String::new();
        let stdout = child.stdout.as_mut().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut ready).expect("text");
        if ready.starts_with("serin ready") {
            child.kill().expect("our own child");
            child.wait().expect("our own child");
            continue;
        }
        let output = child.wait_with_output().expect("our own child");
        assert_eq!(output.status.code(), Some(1), "{descriptors}: {output:?}");
        let reason = stderr(&output).lines().last().unwrap_or_default().to_owned();
        assert!(reason.contains("Too many open files"), "{descriptors}: {output:?}");
        said.insert(reason.split(':').next().unwrap_or_default().to_owned());
    }
    assert!(said.contains("worker thread"), "{said:?}");
}

#[test]
fn a_good_file_is_said_to_be_good() {
    let (_folder, path) = write(GOOD);
    let output = run("check", &path, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let expected = format!("{} is right: 1 listeners, 1 routes, 2 upstreams, 1 releases\n", path.display());
    assert_eq!((stdout(&output), stderr(&output)), (expected, String::new()));
}

#[test]
fn all_problems_come_at_once_and_in_the_order_of_the_file() {
    let (_folder, path) = write(
        "wrokers: 2\nlisteners: {web: {adress: \"127.0.0.1:0\"}}\nroutes:\n  a: {upstream: gone}\n\
         \x20 b: {hosts: [\"*\", \"x y\"], upstream: u}\nupstreams: {u: {endpoints: [\"127.0.0.1:0\"]}}\n\
         sources: {files: [missing.yaml]}\n",
    );
    let output = run("check", &path, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    let name = path.display();
    let places = [
        format!("{name}:1:1: wrokers: unknown field `wrokers`, did you mean `workers`?"),
        format!("{name}:2:19: listeners.web.adress: unknown field `adress`, did you mean `address`?"),
        format!("{name}:4:17: routes.a.upstream: there is no upstream `gone`"),
        format!("{name}:5:20: routes.b.hosts[1]: "),
        format!("{name}:6:29: upstreams.u.endpoints[0]: `127.0.0.1:0` has port 0"),
    ];
    let mut from = 0;
    for place in &places {
        let at = text[from..].find(place.as_str()).unwrap_or_else(|| panic!("{place}\nin\n{text}"));
        from += at;
    }
    assert!(text.ends_with(" problems\n"), "{text}");
}

#[test]
fn rule_files_are_checked_too() {
    let (folder, path) = write("sources: {files: [\"rules.d/*.yaml\", more.yaml]}\n");
    fs::create_dir(folder.path().join("rules.d")).expect("a fresh folder");
    fs::write(folder.path().join("rules.d/a.yaml"), "routes: {a: {upstream: gone}}\nworkers: 2\n").expect("room");
    let output = run("check", &path, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    for part in [
        "rules.d/a.yaml:1:24: routes.a.upstream",
        "rules.d/a.yaml:2:1: workers: unknown field",
        "more.yaml: cannot be read",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    assert!(text.ends_with("3 problems\n"), "{text}");
}

#[test]
fn a_wrong_release_is_one_problem_however_many_routes_name_it() {
    let (_folder, path) = write(&GOOD.replace("phases: [10]", "phases: [10, 1]"));
    let output = run("check", &path, &[]);
    assert_eq!(output.status.code(), Some(1));
    let place = format!("{}:4:83: releases.next.phases[1]", path.display());
    let expected = format!("{place}: phases must grow, but 1 follows 10; so routes.shop is not in force\n1 problem\n");
    assert_eq!(stdout(&output), expected);
}

#[test]
fn a_missing_file_is_a_problem_and_a_wrong_flag_is_usage() {
    let output = run("check", Path::new("/nowhere/serin.yaml"), &[]);
    assert_eq!(output.status.code(), Some(1));
    let expected = "/nowhere/serin.yaml: cannot be read: No such file or directory (os error 2)\n1 problem\n";
    assert_eq!(stdout(&output), expected);
    for arguments in [&["check", "--nonsense"][..], &["nonsense"], &["explain"], &[]] {
        assert_eq!(serin(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn explain_answers_in_words_and_in_json() {
    let (_folder, path) = write(GOOD);
    let url = "http://shop.test/cart";
    let output = run("explain", &path, &["--json", "-H", "x-group: canary", url]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let answer: serde_json::Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    let text = answer.to_string();
    for part in ["shop", "next", "canary", "override", "127.0.0.1:2"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    let output = run("explain", &path, &["-H", "x-user: 7", url]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).contains("shop"), "{}", stdout(&output));
}

#[test]
fn explain_says_no_and_what_it_does_not_understand() {
    let (_folder, path) = write(GOOD);
    assert_eq!(run("explain", &path, &["http://other.test/"]).status.code(), Some(1));
    assert_eq!(run("explain", &path, &["not a url"]).status.code(), Some(2));
    assert_eq!(run("explain", &path, &["-H", "no colon", "http://shop.test/"]).status.code(), Some(2));
    assert_eq!(run("explain", &path, &["--ip", "nobody", "http://shop.test/"]).status.code(), Some(2));
}

#[test]
fn the_ready_line_names_what_is_open() {
    let origin = Origin::named("app");
    let text = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}, more: {{address: \"[::1]:0\"}}}}\n\
         admin: {{address: \"127.0.0.1:0\"}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    );
    let (_folder, path) = write(&text);
    let program = Program::start(&path);
    let names: Vec<&str> = program.ready()["serin ready: ".len()..]
        .split(", ")
        .map(|place| place.split(' ').next().unwrap_or_default())
        .collect();
    assert_eq!(names, ["more", "web", "admin"], "{}", program.ready());
    assert_eq!(get(program.address("web"), "/").text(), "app");
    assert_eq!(program.admin("/healthz").text(), "ok\n");
}

#[test]
fn health_is_an_exit_code() {
    let (_folder, path) =
        write(&format!("{GOOD}admin: {{address: \"127.0.0.1:0\"}}\nshutdown: {{delay: 60s, deadline: 0s}}\n"));
    let program = Program::start(&path);
    let admin = format!("http://{}", program.address("admin"));
    let health = |admin: &str, arguments: &[&str]| {
        let arguments: Vec<String> = ["health"].iter().chain(arguments).map(|&argument| argument.into()).collect();
        let output = serin_asking(admin, &arguments);
        (output.status.code(), stdout(&output), stderr(&output))
    };
    assert_eq!(health(&admin, &[]), (Some(0), "ready\n".into(), String::new()));
    assert_eq!(health("http://127.0.0.1:1", &["--admin", &admin, "--alive"]).0, Some(0));
    let (code, said, _) = health(&admin, &["--json"]);
    let said: serde_json::Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &said["ready"]), (Some(0), &serde_json::json!(true)));

    program.signal("TERM");
    eventually(PATIENCE, "it is not ready", || health(&admin, &[]).0 == Some(1));
    assert_eq!(health(&admin, &[]), (Some(1), String::new(), "not ready: draining\n".into()));
    let refused = serde_json::json!({"error": "not ready: draining"});
    assert_eq!(health(&admin, &["--json"]), (Some(1), format!("{refused}\n"), String::new()));
    assert_eq!(health(&admin, &["--alive"]), (Some(0), "it runs\n".into(), String::new()));
}

#[test]
fn health_of_nobody_or_of_somebody_else_could_not_be_asked() {
    let health = |admin: &str, arguments: &[&str]| {
        let arguments: Vec<String> = ["health"].iter().chain(arguments).map(|&argument| argument.into()).collect();
        serin_asking(admin, &arguments).status.code()
    };
    let origin = Origin::named("app");
    assert_eq!(health(&format!("http://{}", origin.address()), &[]), Some(3));
    drop(origin);
    assert_eq!(health("http://127.0.0.1:1", &[]), Some(3));
    assert_eq!(health("http://127.0.0.1:1", &["--alive"]), Some(3));
    assert_eq!(health("127.0.0.1:9900", &[]), Some(2));
}

#[test]
fn a_file_that_cannot_be_used_is_no_start_and_all_of_it_is_said() {
    let (_folder, path) = write("wrokers: 1\nroutes: {a: {upstream: gone}}\n");
    let output = run("run", &path, &[]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for part in [":1:1: wrokers: unknown field", ":2:24: routes.a.upstream"] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    assert_eq!(stdout(&output), "");
}

/// The shells themselves judge what is printed for them; `zsh` and `fish` where they are installed.
#[test]
fn completions_are_what_the_shell_understands() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for shell in ["bash", "zsh", "fish"] {
        let output = serin(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let script = stdout(&output);
        for word in
            ["run", "check", "explain", "diff", "demo", "release", "health", "completions", "config", "state-dir"]
        {
            assert!(script.contains(word), "{shell}: `{word}` is not completed");
        }
        let path = folder.path().join(shell);
        fs::write(&path, script).expect("room");
        match Command::new(shell).arg("-n").arg(&path).output() {
            Ok(judged) => assert!(judged.status.success() && judged.stderr.is_empty(), "{shell}: {judged:?}"),
            Err(error) => assert!(shell != "bash", "bash cannot be run: {error}"),
        }
    }
    // What is right for a shell is wrong with half a line less, so the judge above judges.
    fs::write(folder.path().join("bash"), "_serin() { case").expect("room");
    assert!(!Command::new("bash").arg("-n").arg(folder.path().join("bash")).status().expect("bash runs").success());
    assert_eq!(serin(&["completions", "no-shell"]).status.code(), Some(2));
}
