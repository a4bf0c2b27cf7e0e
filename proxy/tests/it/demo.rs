//! `serin demo`, through the program itself.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::reference::workspace;

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

/// The README's picture has numbers and ports of its own; every head, label and unit stands where the program puts it.
#[test]
fn the_picture_in_the_readme_is_what_once_prints() {
    let readme = std::fs::read_to_string(workspace().join("README.md")).unwrap();
    let picture =
        readme.split("```text\n").nth(1).and_then(|rest| rest.split("```").next()).expect("README has a picture");
    let folder = tempfile::tempdir().unwrap();
    let output = demo(folder.path(), &["--once"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(shape(picture), shape(&printed), "\nREADME:\n{picture}\nprinted:\n{printed}");
}

/// Heads as they are, to the column. Of other lines their words, numbers as `0` and without bars.
fn shape(text: &str) -> Vec<String> {
    let line = |line: &str| {
        if !line.contains(|char: char| char.is_ascii_digit()) {
            return line.trim_end().to_owned();
        }
        let words = line.split_whitespace().filter(|word| !word.chars().all(|char| "#.".contains(char)));
        let word = |word: &str| {
            let is_number = word.starts_with(|char: char| char.is_ascii_digit());
            if is_number { "0".to_owned() } else { word.to_owned() }
        };
        words.map(word).collect::<Vec<_>>().join(" ")
    };
    text.trim_matches('\n').lines().map(line).collect()
}

#[test]
fn shapes_of_lines() {
    let line = "   stable  127.0.0.1:44487      1,542    8.6 ms    19.9 %  ###....";
    assert_eq!(shape(line), ["stable 0 0 0 ms 0 %"]);
    assert_eq!(shape("\n a  b \n\n"), [" a  b"]);
    assert_ne!(shape("median    share"), shape("median   share"));
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
