//! Device classes by example: `data/user-agents.tsv` holds the agents, this file what no table can hold.

use std::fmt::Write;

use http::header::USER_AGENT;
use http::{HeaderMap, HeaderName, HeaderValue};
use routing_rules::release::DeviceClass;

const CASES: &str = include_str!("data/user-agents.tsv");

struct Case<'a> {
    line: usize,
    class: &'a str,
    agent: &'a str,
    hints: &'a str,
}

fn cases() -> impl Iterator<Item = Case<'static>> {
    let lines = CASES.lines().enumerate();
    let written = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
    written.map(|(index, text)| {
        let mut columns = text.split('\t');
        let class = columns.next().unwrap();
        let agent = columns.next().expect("a line has a class and an agent");
        let hints = columns.next().unwrap_or("");
        assert_eq!(columns.next(), None, "line {}", index + 1);
        Case { line: index + 1, class, agent, hints }
    })
}

fn headers(agent: &[u8], hints: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if !agent.is_empty() {
        headers.insert(USER_AGENT, HeaderValue::from_bytes(agent).unwrap());
    }
    for hint in hints.split("; ").filter(|hint| !hint.is_empty()) {
        let (name, value) = hint.split_once('=').expect("a hint is name=value");
        headers.insert(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    headers
}

fn class(agent: &[u8]) -> DeviceClass {
    DeviceClass::of(&headers(agent, ""))
}

#[test]
fn every_agent_gets_its_class() {
    let mut diff = String::new();
    for Case { line, class, agent, hints } in cases() {
        let found = DeviceClass::of(&headers(agent.as_bytes(), hints));
        if found.as_str() != class {
            write!(diff, "\nline {line}: {agent} {hints}\n-   {class}\n+   {found}\n").unwrap();
        }
    }
    assert!(diff.is_empty(), "{diff}");
}

#[test]
fn the_table_knows_every_class_well() {
    for class in DeviceClass::ALL {
        let known = cases().filter(|case| case.class == class.as_str()).count();
        assert!(known >= 9, "{class}: {known} agents");
    }
    assert!(cases().count() >= 180);
    for case in cases() {
        assert!(case.class.parse::<DeviceClass>().is_ok(), "line {}: {}", case.line, case.class);
    }
}

/// Proxies and libraries before us change the case of agents.
#[test]
fn case_does_not_matter() {
    let mut diff = String::new();
    for Case { line, agent, hints, .. } in cases() {
        let written = DeviceClass::of(&headers(agent.as_bytes(), hints));
        for other in [agent.to_ascii_lowercase(), agent.to_ascii_uppercase()] {
            let found = DeviceClass::of(&headers(other.as_bytes(), hints));
            if found != written {
                write!(diff, "\nline {line}: {other}\n-   {written}\n+   {found}\n").unwrap();
            }
        }
    }
    assert!(diff.is_empty(), "{diff}");
}

#[test]
fn a_missing_or_empty_agent_is_other() {
    assert_eq!(DeviceClass::of(&HeaderMap::new()), DeviceClass::Other);
    let mut empty = HeaderMap::new();
    empty.insert(USER_AGENT, HeaderValue::from_static(""));
    assert_eq!(DeviceClass::of(&empty), DeviceClass::Other);
}

#[test]
fn bytes_that_are_not_utf8_are_skipped() {
    assert_eq!(class(b"\xff\xfe\x80"), DeviceClass::Other);
    assert_eq!(class(b"M\xfcller/1.0 (iPhone; iOS 17.4; Scale/3.00)"), DeviceClass::Iphone);
    assert_eq!(class(b"Mozilla/5.0 (Linux; Android 14; \xc3) Mobile"), DeviceClass::AndroidPhone);
    let mut hinted = headers(b"", "");
    hinted.insert("sec-ch-ua-platform", HeaderValue::from_bytes(b"\"And\xffroid\"").unwrap());
    assert_eq!(DeviceClass::of(&hinted), DeviceClass::Other);
}

/// Cutting any agent anywhere, or any single byte for another, may change the class and nothing else.
#[test]
fn no_agent_panics_cut_or_damaged() {
    for Case { agent, .. } in cases() {
        for cut in 0..agent.len() {
            class(&agent.as_bytes()[cut..]);
            class(&agent.as_bytes()[..cut]);
            let mut damaged = agent.as_bytes().to_vec();
            damaged[cut] = 0xff;
            class(&damaged);
        }
    }
}

#[test]
fn only_the_first_1024_bytes_count() {
    let at = |offset: usize| class(&[vec![b'x'; offset], b" Windows NT 10.0".to_vec()].concat());
    assert_eq!(at(1024 - " Windows".len()), DeviceClass::Windows);
    assert_eq!(at(1024 - " Windows".len() + 1), DeviceClass::Other);
    assert_eq!(at(100 * 1024), DeviceClass::Other);

    let mut long = b"Mozilla/5.0 (iPad; CPU OS 17_4 like Mac OS X) ".to_vec();
    long.resize(100 * 1024, b'(');
    assert_eq!(class(&long), DeviceClass::Ipad);
}

#[test]
fn the_first_of_two_agents_counts() {
    let mut two = headers(b"MyApp/3.2 (iPad; iOS 17.4; Scale/2.00)", "");
    two.append(USER_AGENT, HeaderValue::from_static("curl/8.5.0"));
    assert_eq!(DeviceClass::of(&two), DeviceClass::Ipad);
}

#[test]
fn names_are_read_as_they_are_shown() {
    for class in DeviceClass::ALL {
        assert_eq!(class.to_string().parse(), Ok(class));
        assert_eq!(class.to_string(), class.as_str());
    }
    let shown = "iPhone".parse::<DeviceClass>().unwrap_err().to_string();
    assert_eq!(
        shown,
        "unknown device \"iPhone\"; one of iphone, ipad, android_phone, android_tablet, windows, mac, linux, tv, bot, other"
    );
}
