//! `serin demo`, through the program itself.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn once_prints_one_table_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--once"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(!text.contains('\x1b') && text.is_ascii(), "a script reads this: {text}");
    assert!(text.lines().all(|line| line.len() < 100), "{text}");
    for expected in ["40 of 40", "60 of 60", "300 of 300", "0 failed, 0 users changed back"] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
    let groups = |group| text.lines().filter(|line| line.trim_start().starts_with(group)).count();
    assert_eq!((groups("stable"), groups("canary")), (3, 2), "{text}");
    // All five are used.
    assert!(!text.contains(" 0.0 %"), "{text}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the temporary folder is still there");
}

#[test]
fn users_only_move_in_until_the_rollback() {
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--seconds", "5"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let rows = |label: &str| {
        let row = text.lines().find(|line| line.trim_start().starts_with(label)).unwrap_or_else(|| panic!("{text}"));
        row.split_whitespace().map(|word| word.parse::<u64>().unwrap_or_default()).collect::<Vec<_>>()
    };
    // label "%", then three times "N of M", then moved in, moved out.
    let everyone: Vec<u64> = ["1 %", "10 %", "50 %", "100 %"].iter().map(|label| rows(label)[8]).collect();
    assert!(everyone.is_sorted_by(|less, more| less < more) && everyone[3] == 300, "{text}");
    assert!(["1 %", "10 %", "50 %", "100 %"].iter().all(|label| rows(label)[12] == 0), "somebody moved out: {text}");
    assert_eq!((rows("rollback")[10], rows("rollback")[11]), (0, 400), "{text}");
}

#[test]
fn an_interrupt_ends_it_early_and_tidily() {
    let folder = tempfile::tempdir().unwrap();
    let mut demo = demo(folder.path(), &["--seconds", "600"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("serin demo"), "{first}");
    let kill = Command::new("kill").args(["-INT", &demo.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    demo.wait().unwrap();
    assert!(rest.iter().any(|line| line.contains("Ended before its time")), "{rest:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the temporary folder is still there");
}

fn demo(temporary: &Path, flags: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.arg("demo").args(flags).env("TMPDIR", temporary).stdin(Stdio::null());
    command
}
