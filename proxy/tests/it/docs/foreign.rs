//! Files for other programs, as far as can be told without these: JSON and YAML are whole, brackets have their counterparts, and each
//! `serin` command is one that the program understands.

use super::session::words;
use crate::support::control::serin_asking;

/// Checks a block.
pub(super) fn check(page: &str, line: usize, info: &str, lines: &[&str]) {
    let text = lines.join("\n");
    let place = format!("{page}:{line}");
    match info.split_whitespace().next() {
        Some("json") => {
            drop(serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{place}: {error}")))
        }
        // What is broken on purpose is shown to be.
        Some("yaml") if text.starts_with("apiVersion") => {
            let parsed = serin_proxy::control_path::decode::parse(&page.into(), &text);
            parsed.unwrap_or_else(|problem| panic!("{place}: {problem}"));
        }
        Some("groovy") => assert!(is_balanced(&text), "{place}: brackets are left open"),
        _ => {}
    }
    for command in lines.iter().filter_map(|line| command(line)) {
        // Nobody is there to be asked; a command that is wrong is refused before.
        let output = serin_asking(NOBODY, &command);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(UNREACHED), "{place}: {command:?}: {said}");
    }
}

/// The arguments of a `serin` in a shell's line, in a step `sh '…'`, or in a list `[serin, …]`.
fn command(line: &str) -> Option<Vec<String>> {
    if let Some((_, list)) = line.split_once("[serin, ") {
        let words = list.split(']').next()?.split(", ");
        return Some(words.map(|word| filled(word.trim_matches('"'))).collect());
    }
    let line = line.split_once("sh 'serin ").map_or(line, |(_, rest)| rest.split('\'').next().unwrap_or_default());
    let line = line
        .trim_start()
        .strip_prefix("serin ")
        .or((!line.is_empty() && line.starts_with("release ")).then_some(line))?;
    Some(words(line).iter().map(|word| filled(word)).collect())
}

/// With something in the place of what others fill in.
fn filled(word: &str) -> String {
    match word {
        "$2" | "{{inputs.parameters.percent}}" => "10".into(),
        "${3:-30m}" => "1s".into(),
        word => word.replace(['$', '{', '}'], ""),
    }
}

fn is_balanced(text: &str) -> bool {
    let mut open = Vec::new();
    for letter in text.chars() {
        match letter {
            '{' | '(' | '[' => open.push(letter),
            '}' | ')' | ']' => {
                let counterpart = match letter {
                    '}' => '{',
                    ')' => '(',
                    _ => '[',
                };
                if open.pop() != Some(counterpart) {
                    return false;
                }
            }
            _ => {}
        }
    }
    open.is_empty()
}

const NOBODY: &str = "http://127.0.0.1:9";
const UNREACHED: i32 = 3;

#[test]
fn commands_are_found_where_they_are() {
    let found = |line| command(line).unwrap_or_default().join("|");
    assert_eq!(found("serin release set \"$1\" \"$2\" --wait"), "release|set|1|10|--wait");
    assert_eq!(
        found("        stage('a') { steps { sh 'serin release verdict a --wait 1h' } }"),
        "release|verdict|a|--wait|1h"
    );
    assert_eq!(found("command: [serin, release, set, a, \"{{inputs.parameters.percent}}\"]"), "release|set|a|10");
    assert_eq!(found("sh 'sh phase.sh shop-v2 10'"), "");
    assert!(is_balanced("a { b(c) }") && !is_balanced("a { b( }"));
}
