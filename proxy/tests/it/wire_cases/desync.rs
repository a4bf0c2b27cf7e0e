//! The second judge: `http_desync_guardian`, which classifies request heads, and the corpus packaged with it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use http_desync_guardian::RequestSafetyTier;
use http_desync_guardian::request_analyzer::HttpRequestData;

use crate::support::wire::{Expect, RequestCase};

/// Whether the crate would refuse this head. Past 64 KiB it does not judge.
pub(super) fn is_severe(bytes: &[u8]) -> bool {
    let head = bytes.windows(4).position(|window| window == b"\r\n\r\n").map_or(bytes, |at| &bytes[..at + 4]);
    head.len() < 0xffff && HttpRequestData::analyze_raw_request(head).tier == RequestSafetyTier::Severe
}

/// The packaged requests, completed so that nothing but their own oddity is wrong with them: a Host that is routed,
/// and a body where one is announced.
pub(super) fn corpus() -> Vec<RequestCase> {
    let folder = packaged_tests();
    let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = listed.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let yaml = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    yaml.flat_map(|path| {
        let file = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let entries = entries(&fs::read_to_string(path).unwrap_or_default());
        entries
            .into_iter()
            .enumerate()
            .map(move |(number, entry)| entry.into_case(&format!("{file}-{}", number + 1)))
            .collect::<Vec<_>>()
    })
    .collect()
}

/// Where cargo keeps the sources of the crate, which come with their tests. Without them a judge would be missing, so
/// that is a failure and no reason to go on.
fn packaged_tests() -> PathBuf {
    let version = cargo(&["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo names its platform");
    // What only other platforms need is not on this machine, and asking for all would fail.
    let arguments = ["metadata", "--format-version", "1", "--offline", "--filter-platform", host, "--manifest-path"];
    let metadata = cargo(&[&arguments[..], &[concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]].concat());
    let place = metadata.find(MANIFEST).and_then(|end| Some((metadata[..end].rfind('"')? + 1, end)));
    let (start, end) = place.expect("cargo names the sources of http_desync_guardian 0.1.3");
    PathBuf::from(format!("{}/http_desync_guardian-0.1.3/tests", &metadata[start..end]))
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo).args(arguments).output().expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

const MANIFEST: &str = "/http_desync_guardian-0.1.3/Cargo.toml\"";

#[derive(Debug, Default)]
struct Entry {
    name: String,
    method: Vec<u8>,
    uri: Vec<u8>,
    version: Vec<u8>,
    headers: Vec<(Vec<u8>, Vec<u8>)>,
    tier: String,
}

impl Entry {
    fn into_case(self, id: &str) -> RequestCase {
        let text = format!("{}: {}", self.tier, self.name);
        RequestCase { id: id.to_owned(), expect: Expect::Either, bytes: self.bytes(), text, assertions: Vec::new() }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = [self.method.as_slice(), b" ", &self.uri].concat();
        if !self.version.is_empty() {
            bytes.extend([b" ", self.version.as_slice()].concat());
        }
        bytes.extend_from_slice(b"\r\nHost: a.test\r\n");
        for (name, value) in self.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case(b"host")) {
            bytes.extend([name.as_slice(), b":", value, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend(self.body());
        bytes
    }

    fn body(&self) -> Vec<u8> {
        let named = |part: &str| {
            self.headers.iter().find(|(name, _)| String::from_utf8_lossy(name).to_ascii_lowercase().contains(part))
        };
        let mut body = if named("transfer-encoding").is_some() { b"0\r\n\r\n".to_vec() } else { Vec::new() };
        let length =
            named("content-length").and_then(|(_, value)| String::from_utf8_lossy(value).trim().parse::<usize>().ok());
        let length = length.filter(|length| *length <= 100_000).unwrap_or(0);
        body.resize(body.len().max(length), b'x');
        body
    }
}

/// The few shapes of YAML the corpus uses: a list of maps, one scalar a line.
fn entries(yaml: &str) -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    for line in yaml.lines() {
        if let Some(name) = line.strip_prefix("- name:") {
            entries.push(Entry { name: name.trim().to_owned(), ..Entry::default() });
        }
        let Some(entry) = entries.last_mut() else {
            continue;
        };
        let value = |key: &str| line.strip_prefix(key).map(scalar);
        if let Some(method) = value("  method:") {
            entry.method = method;
        } else if let Some(uri) = value("  uri:") {
            entry.uri = uri;
        } else if let Some(version) = value("  version:") {
            entry.version = version;
        } else if let Some(name) = value("    - name:") {
            entry.headers.push((name, Vec::new()));
        } else if let Some((text, (_, header))) = value("      value:").zip(entry.headers.last_mut()) {
            *header = text;
        } else if let Some(tier) = value("    tier:") {
            entry.tier = String::from_utf8_lossy(&tier).into_owned();
        }
    }
    entries
}

fn scalar(text: &str) -> Vec<u8> {
    let text = text.trim();
    let quoted = |quote: char| text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
    let text = quoted('"').or_else(|| quoted('\'')).unwrap_or(text);
    let mut bytes = Vec::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            bytes.extend(escape(&mut characters));
        } else {
            bytes.extend(character.to_string().into_bytes());
        }
    }
    bytes
}

fn escape(characters: &mut std::str::Chars<'_>) -> Option<u8> {
    match characters.next()? {
        'r' => Some(b'\r'),
        'n' => Some(b'\n'),
        't' => Some(b'\t'),
        'b' => Some(8),
        'f' => Some(12),
        'x' => u8::from_str_radix(&characters.take(2).collect::<String>(), 16).ok(),
        other => u8::try_from(other).ok(),
    }
}

#[test]
fn the_corpus_is_read_whole() {
    let cases = corpus();
    assert_eq!(cases.len(), 159, "some of the packaged requests are missing or not read");
    assert!(cases.iter().all(|case| !case.text.starts_with(':')), "a case without tier");
}

#[test]
fn the_second_judge_judges() {
    assert!(is_severe(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"));
    assert!(!is_severe(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
}
