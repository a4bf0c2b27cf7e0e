//! Cases as data: a document, and the problems an operator would read.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::de::{self, DeserializeOwned, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{Node, Problem, decode, parse, parse_bytes};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    routes: BTreeMap<String, Route>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Route {
    hosts: Vec<String>,
    #[serde(default)]
    paths: Vec<Path>,
    upstream: String,
    port: Option<u16>,
    #[serde(default)]
    enabled: bool,
    share: Option<f64>,
    #[serde(default)]
    headers: BTreeMap<String, HeaderPattern>,
    #[serde(default)]
    balance: Balance,
    timeout: Option<Seconds>,
    tls: Option<Box<Tls>>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Path {
    Prefix(String),
    Exact(String),
    Pair(String, u8),
    Rewrite { from: String, to: String },
    Any,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Balance {
    #[default]
    Dwrr,
    RoundRobin,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Tls {
    cert_file: String,
    key_file: String,
    versions: [u8; 2],
}

/// `2` or `{regex: "^2"}`: text or a mapping, by a visitor that knows nothing of this format.
#[derive(Debug, PartialEq)]
enum HeaderPattern {
    Exact(String),
    Regex(String),
}

impl<'de> Deserialize<'de> for HeaderPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrMap;

        impl<'de> Visitor<'de> for TextOrMap {
            type Value = HeaderPattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or {regex: …}")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<HeaderPattern, E> {
                Ok(HeaderPattern::Exact(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<HeaderPattern, A::Error> {
                match map.next_entry::<String, String>()? {
                    Some((key, regex)) if key == "regex" => Ok(HeaderPattern::Regex(regex)),
                    Some((key, _)) => Err(de::Error::unknown_field(&key, &["regex"])),
                    None => Err(de::Error::missing_field("regex")),
                }
            }
        }

        deserializer.deserialize_any(TextOrMap)
    }
}

/// A number of seconds, or text with the unit.
#[derive(Debug, PartialEq)]
struct Seconds(u64);

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let number = text.strip_suffix('s').and_then(|number| number.parse().ok());
        number.map(Self).ok_or_else(|| de::Error::custom(format_args!("invalid duration {text:?}: write it like 30s")))
    }
}

fn source() -> Arc<str> {
    Arc::from("f")
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Vec<String>> {
    let node = parse(&source(), text).map_err(|problem| vec![problem.to_string()])?;
    let mut problems = Vec::new();
    let value = decode(&source(), &node, "", &mut problems);
    assert_eq!(value.is_some(), problems.is_empty(), "a value or problems, in {text}");
    value.ok_or_else(|| problems.iter().map(Problem::to_string).collect())
}

#[track_caller]
fn check<T: DeserializeOwned>(text: &str, expected: &[&str]) {
    let found = read::<T>(text).err().unwrap_or_default();
    assert_eq!(found, expected, "in\n{text}");
}

#[track_caller]
fn value<T: DeserializeOwned>(text: &str) -> T {
    read(text).unwrap_or_else(|problems| panic!("{problems:#?} in\n{text}"))
}

#[test]
fn good_documents() {
    let shop = Route {
        hosts: vec!["a".into(), "1.10".into(), "true".into()],
        paths: vec![
            Path::Prefix("/".into()),
            Path::Any,
            Path::Any,
            Path::Pair("x".into(), 2),
            Path::Rewrite { from: "a".into(), to: "b".into() },
        ],
        upstream: "007".into(),
        port: Some(80),
        enabled: true,
        share: Some(50.0),
        headers: [
            ("x-a".to_owned(), HeaderPattern::Exact("1.10".into())),
            ("x-b".to_owned(), HeaderPattern::Regex("^2".into())),
            ("true".to_owned(), HeaderPattern::Exact("yes".into())),
        ]
        .into(),
        balance: Balance::RoundRobin,
        timeout: Some(Seconds(30)),
        tls: None,
    };
    let yaml = r"
routes:
  shop:
    hosts: [a, 1.10, true]
    paths: [{prefix: /}, any, {any: }, {pair: [x, 2]}, {rewrite: {from: a, to: b}}]
    upstream: 007
    port: 80
    enabled: true
    share: 50
    headers: {x-a: 1.10, x-b: {regex: ^2}, true: yes}
    balance: round_robin
    timeout: 30s
    tls: ~
";
    assert_eq!(value::<Document>(yaml).routes["shop"], shop);
    assert_eq!(value::<Document>(&yaml.replace('\n', "\r\n")).routes["shop"], shop);
    assert_eq!(value::<Document>(&format!("\u{feff}{yaml}")).routes["shop"], shop);
    let json = "{\n\t\"routes\": {\n\t\t\"shop\": {\"hosts\": [\"a\", \"1.10\", \"true\"], \"upstream\": \"007\", \"port\": 80,\
        \t\"enabled\": true, \"share\": 5e1, \"headers\": {\"x-a\": 1.10, \"x-b\": {\"regex\": \"^2\"}, \"true\":\"yes\"},\
        \"paths\": [{\"prefix\": \"\\/\"}, \"any\", {\"any\": null}, {\"pair\": [\"x\", 2]}, {\"rewrite\": {\"from\": \"a\", \"to\": \"b\"}}],\
        \"balance\": \"round_robin\", \"timeout\": \"30s\", \"tls\": null}}}\n";
    assert_eq!(value::<Document>(json).routes["shop"], shop);
    for empty in ["", "\n", "# nothing\n", "---\n", "---\n...\n", "{}", "\u{feff}", " \t\n"] {
        assert_eq!(value::<Document>(empty), Document { routes: BTreeMap::new() }, "{empty:?}");
    }
}

#[test]
fn all_problems_at_once() {
    check::<Document>(
        r"
routes:
  shop:
    hsots: [a]
    port: 70000
    enabled: yes
    share: .nan
    timeout: 30
    paths:
      - {prefx: /}
      - prefix
      - {prefix: [/]}
      - {prefix: /, exact: /}
      - {any: 1}
      - {pair: [a, 2, 3]}
      - {rewrite: {from: a}}
    headers: {x-a: [], x-b: {rgex: a}}
    balance: dwr
  bare: {}
  empty:
  text: x
  v1.2:
    hosts: a
    upstream: b
    tls: {cert_file: a, versions: [1, -1]}
rotes: 1
",
        &[
            "f:3:3: routes.shop: missing field `upstream`",
            "f:4:5: routes.shop.hsots: unknown field `hsots`, did you mean `hosts`?",
            "f:5:11: routes.shop.port: expected a number from 0 to 65535, found the number 70000",
            "f:6:14: routes.shop.enabled: invalid boolean \"yes\", write true or false",
            "f:7:12: routes.shop.share: invalid number \".nan\"",
            "f:8:14: routes.shop.timeout: invalid duration \"30\": write it like 30s",
            "f:10:10: routes.shop.paths[0].prefx: unknown value `prefx`, did you mean `prefix`?",
            "f:11:9: routes.shop.paths[1]: `prefix` needs a value, write `{prefix: …}`",
            "f:12:18: routes.shop.paths[2].prefix: expected a string, found a sequence",
            "f:13:9: routes.shop.paths[3]: expected one key, found `prefix` and `exact`",
            "f:14:15: routes.shop.paths[4].any: `any` takes no value, write the name alone",
            "f:15:16: routes.shop.paths[5].pair: expected 2 items, found 3",
            "f:16:19: routes.shop.paths[6].rewrite: missing field `to`",
            "f:17:20: routes.shop.headers.x-a: expected a text or {regex: …}, found a sequence",
            "f:17:30: routes.shop.headers.x-b.rgex: unknown field `rgex`, did you mean `regex`?",
            "f:18:14: routes.shop.balance: unknown value `dwr`, did you mean `dwrr`?",
            "f:19:9: routes.bare: missing field `hosts`",
            "f:19:9: routes.bare: missing field `upstream`",
            "f:20:8: routes.empty: expected a mapping, found nothing",
            "f:21:9: routes.text: expected a mapping such as {hosts: …}, found the text \"x\"",
            "f:23:12: routes.v1.2.hosts: expected a sequence, found the text \"a\"; write [\"a\"]",
            "f:25:10: routes.v1.2.tls: missing field `key_file`",
            "f:25:39: routes.v1.2.tls.versions[1]: expected a number from 0 to 255, found the number -1",
            "f:26:1: rotes: unknown field `rotes`, did you mean `routes`?",
        ],
    );
}

#[test]
fn a_prefix_begins_the_paths() {
    let node = parse(&source(), "a: {b.c: {hosts: [{}], upstream: u}}").unwrap();
    let mut problems = Vec::new();
    assert_eq!(decode::<Route>(&source(), node.at("a.b.c"), "a.b.c", &mut problems), None);
    assert_eq!(problems[0].to_string(), "f:1:19: a.b.c.hosts[0]: expected a string, found a mapping");
    assert_eq!(
        serde_json::to_string(&problems[0]).unwrap(),
        r#"{"source":"f","line":1,"column":19,"path":"a.b.c.hosts[0]","reason":"expected a string, found a mapping"}"#
    );
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Flat {
    name: String,
    #[serde(flatten)]
    limits: Limits,
    #[serde(default)]
    rule: Option<OneOf>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Limits {
    most: u32,
    #[serde(default)]
    note: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(untagged)]
enum OneOf {
    Number(u64),
    Text(String),
    Many(Vec<u64>),
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(try_from = "Raw")]
struct Range {
    from: u8,
    to: u8,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(alias = "start")]
    from: u8,
    to: u8,
}

impl TryFrom<Raw> for Range {
    type Error = String;

    fn try_from(raw: Raw) -> Result<Self, String> {
        match raw.from < raw.to {
            true => Ok(Self { from: raw.from, to: raw.to }),
            false => Err(format!("empty range: {} is not below {}", raw.from, raw.to)),
        }
    }
}

#[test]
fn types_that_serde_buffers_or_converts() {
    let flat = value::<Flat>("{name: 1, most: 2, note: x, rule: [1, 2]}");
    assert_eq!(flat.limits, Limits { most: 2, note: Some("x".into()) });
    assert_eq!((flat.name.as_str(), flat.rule), ("1", Some(OneOf::Many(vec![1, 2]))));
    check::<Flat>(
        "name: a\nmots: 3\nrule: {}\n",
        &["f:1:1: missing field `most`", "f:3:7: rule: this fits none of the forms allowed here"],
    );
    assert_eq!(value::<Vec<OneOf>>("[1.10, 7]"), [OneOf::Text("1.10".into()), OneOf::Number(7)]);
    check::<Vec<Vec<u8>>>(
        "[5, true]",
        &[
            "f:1:2: [0]: expected a sequence, found the number 5; write [5]",
            "f:1:5: [1]: expected a sequence, found `true`",
        ],
    );
    check::<Flat>("name: a\nmost: 3\nmots: 3\n", &["f:3:1: mots: unknown field `mots`"]);
    // serde buffers flattened fields without their names: the reason is right, the place is the whole.
    check::<Flat>("name: a\nmost: x\n", &["f:1:1: expected a number from 0 to 4294967295, found the text \"x\""]);

    assert_eq!(value::<Range>("{start: 1, to: 2}"), Range { from: 1, to: 2 });
    check::<Vec<Range>>("- {from: 2, to: 1}", &["f:1:3: [0]: empty range: 2 is not below 1"]);
    // Fields have names; serde alone would take them by their order too.
    check::<Vec<Range>>("[[1, 2]]", &["f:1:2: [0]: expected a mapping such as {from: …}, found a sequence"]);
    // The conversion sees a stand-in for `x`; what it says of that is not the operator's problem.
    check::<Vec<Range>>(
        "- {start: x, to: 0}\n- {to: 0}",
        &["f:1:11: [0].start: \"x\" is not a whole number", "f:2:3: [1]: missing field `from`"],
    );
    check::<BTreeMap<u8, u8>>(
        "{1: 1, x: 1, 300: x}",
        &[
            "f:1:8: x: \"x\" is not a whole number",
            "f:1:14: 300: expected a number from 0 to 255, found the number 300",
        ],
    );
    check::<BTreeMap<String, Vec<Tls>>>(
        "a: [{cert_file: 1, key_file: , versions: [1]}]",
        &[
            "f:1:28: a[0].key_file: expected a string, found nothing",
            "f:1:42: a[0].versions: expected an array of length 2, found 1 items",
        ],
    );
}

#[test]
fn plain_scalars() {
    for (text, expected) in [
        ("1", Some(1.0)),
        ("-1.5", Some(-1.5)),
        ("+.5", Some(0.5)),
        ("1.", Some(1.0)),
        ("1e3", Some(1000.0)),
        ("0", Some(0.0)),
        ("0.5", Some(0.5)),
        ("010", None),
        ("1_000", None),
        ("1e999", None),
        (".inf", None),
        (".nan", None),
        ("0x10", None),
        (".", None),
        ("e1", None),
        ("1e", None),
        ("'1'", None),
        ("12:30", None),
        ("yes", None),
    ] {
        assert_eq!(read::<Vec<f64>>(&format!("- {text}")).ok().map(|all| all[0]), expected, "{text}");
    }
    for (text, expected) in [
        ("1", Some(1)),
        ("-1", Some(-1)),
        ("0x1F", Some(31)),
        ("0o17", Some(15)),
        ("017", None),
        ("1.0", None),
        ("1e3", None),
        ("\"1\"", None),
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("99999999999999999999999999", None),
        ("999999999999999999999999999999999999999999999", None),
        ("--1", None),
        ("0x", None),
        ("-0x1", None),
        ("!!int 1", Some(1)),
    ] {
        assert_eq!(read::<Vec<i64>>(&format!("- {text}")).ok().map(|all| all[0]), expected, "{text}");
    }
    for (text, expected) in [
        ("1.10", Some("1.10")),
        ("true", Some("true")),
        ("007", Some("007")),
        ("2001-01-01", Some("2001-01-01")),
        ("~", None),
        ("null", None),
        ("", None),
        ("'~'", Some("~")),
        ("\"\"", Some("")),
        ("!!str ~", Some("~")),
        ("!!str", Some("")),
        ("|\n  a\n  b\n", Some("a\nb\n")),
        ("! 1", Some("1")),
    ] {
        let found = read::<Vec<String>>(&format!("- {text}")).ok().map(|mut all| all.remove(0));
        assert_eq!(found.as_deref(), expected, "{text}");
        // A text inside a type that takes anything is offered as a number first, and kept as text nevertheless.
        let found = read::<Vec<HeaderPattern>>(&format!("- {text}")).ok().map(|mut all| all.remove(0));
        assert_eq!(found, expected.map(|text| HeaderPattern::Exact(text.to_owned())), "{text}");
    }
    assert_eq!(value::<Vec<bool>>("[true, False, TRUE]"), [true, false, true]);
    assert_eq!(value::<Vec<Option<u8>>>("[~, 1, null, ]"), [None, Some(1), None]);
    assert_eq!(
        value::<serde_json::Value>("[1, -1, 1.5, on, 'x', ~, 0o17, 017]"),
        serde_json::json!([1, -1, 1.5, "on", "x", null, 15, "017"])
    );
    assert_eq!(value::<(char, (), u128)>("[x, ~, 5]"), ('x', (), 5));
}

#[test]
fn refused_documents() {
    let cases: &[(&str, &str)] = &[
        ("a: 1\nb: 2\na: 3\n", "f:3:1: a: duplicate key `a`, first written on line 1"),
        ("x:\n  - {a: 1, 'a': 2}", "f:2:12: x[0].a: duplicate key `a`, first written on line 2"),
        ("{\"a\":1,\n\t\"\\u0061\":2}", "f:2:2: a: duplicate key `a`, first written on line 1"),
        ("a: 1\n---\nb: 2\n", "f:2:1: a second document begins here; only one is allowed"),
        ("a: &x 1\n", "f:1:4: a: `&` begins an anchor, which is not supported; text that begins with `&` needs quotes"),
        ("a: *x\n", "f:1:4: `*` begins an alias, which is not supported; text that begins with `*` needs quotes"),
        (
            "hosts:\n  - *.example.com\n",
            "f:2:5: `*` begins an alias, which is not supported; text that begins with `*` needs quotes",
        ),
        ("hosts: [@a]\n", "f:1:9: text that begins with `@` needs quotes"),
        ("a: 'x\n", "f:1:4: while scanning a quoted scalar, found unexpected end of stream"),
        ("a: {b: 1\n", "f:2:1: while parsing a flow mapping, did not find expected ',' or '}'"),
        ("a:\n   b: 1\n  c: 2\n", "f:3:3: while parsing a block mapping, did not find expected key"),
        ("a:\n  <<: {}\n", "f:2:3: a: merge keys (`<<`) are not supported, write the entries out"),
        ("a: !secret x\n", "f:1:4: a: the tag `!secret` is not supported here"),
        ("a: !!binary x\n", "f:1:4: a: the tag `tag:yaml.org,2002:!binary` is not supported here"),
        ("a: !!int x\n", "f:1:4: a: `x` is no int"),
        ("a: !!set {}\n", "f:1:4: a: the tag `tag:yaml.org,2002:!set` is not supported here"),
        ("? [a]\n: 1\n", "f:1:3: a key must be plain text, not a mapping or a sequence"),
        (": 1\n", "f:1:1: a key is missing before `:`"),
        ("a: \"\0\"", "f:1:5: control character U+0000 is not allowed"),
        ("ü: 1\r\nb: \u{1b}[0m", "f:2:4: control character U+001B is not allowed"),
        ("a: b: c\n", "f:1:5: mapping values are not allowed in this context"),
        ("{\"a\": \"\\ud800\"}", "f:1:7: a: this string has an escape that is no character (half of a surrogate pair)"),
        ("{\n\t\"a\": 1,\n\t\"b\" 2\n}\n", "f:3:6: expected `:`"),
        ("a:\n\tb: 1\n", "f:2:2: tabs disallowed within this context (block indentation)"),
    ];
    let refusal = |text: &str| parse(&source(), text).err().map(|problem| problem.to_string()).unwrap_or_default();
    let found: Vec<(&str, String)> = cases.iter().map(|(text, _)| (*text, refusal(text))).collect();
    let expected: Vec<(&str, String)> = cases.iter().map(|(text, problem)| (*text, (*problem).to_owned())).collect();
    assert_eq!(found, expected);
    let found = parse_bytes(&source(), b"a: 1\nb: \xff\n").map(|_| ()).map_err(|problem| problem.to_string());
    assert_eq!(found, Err("f:2:4: this byte is not UTF-8 text".to_owned()));
}

#[test]
fn depth_is_limited_in_every_style() {
    let nested = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
    let block = |levels: usize| (0..levels).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>();
    for (text, fine) in [
        (nested(64), true),
        (nested(65), false),
        (nested(100_000), false),
        ("[".repeat(100_000), false),
        ("{a: ".repeat(100_000), false),
        ("- ".repeat(100_000), false),
        ("? ".repeat(100_000), false),
        (format!("# yaml\n{}", nested(65)), false),
        (block(64), true),
        (block(66), false),
        (format!("a: {}", nested(250)), false),
    ] {
        let found = parse(&source(), &text);
        assert_eq!(found.is_ok(), fine, "{:.40}: {:?}", text, found.err());
        let node = parse(&source(), &nested(64)).unwrap();
        assert!(decode::<serde_json::Value>(&source(), &node, "", &mut Vec::new()).is_some());
    }
}

#[test]
fn a_message_stays_on_one_line_and_short() {
    let long = "x".repeat(1000);
    let found = read::<Document>(&format!("\"a\\nb\\e[0m{long}\": 1")).unwrap_err();
    assert!(found[0].contains("unknown field `a\\nb\\u{1b}[0mxxx") && !found[0].contains('\n'), "{found:?}");
    let reason = found[0].rsplit_once("unknown").unwrap().1;
    assert!(reason.len() < 120, "{reason}");
}

#[test]
fn nodes_are_found_by_path() {
    let text = "\
routes:
  shop:
    hosts:
      - a
      - {x: y}
  v1.2: {hosts: [b]}
  shop.hosts: {}
  a.b: {c: 1}
  a: {b.c: {d: 1}, 'e[0]': 2}
'': 1
";
    let root = parse(&source(), text).unwrap();
    let cases: &[(&str, (u32, u32))] = &[
        ("", (1, 1)),
        ("routes", (1, 1)),
        ("routes.nothing", (1, 1)),
        ("routes.shop", (2, 3)),
        ("routes.shop.hosts", (7, 15)),
        ("routes.shop.hosts[0]", (4, 9)),
        ("routes.shop.hosts[1].x", (5, 13)),
        ("routes.shop.hosts[1].z", (5, 9)),
        ("routes.shop.hosts[9]", (7, 15)),
        ("routes.shop.hosts[x]", (7, 15)),
        ("routes.v1.2.hosts[0]", (6, 18)),
        ("routes.v1.2", (6, 9)),
        ("routes.a.b.c", (8, 12)),
        ("routes.a.b.c.d", (9, 16)),
        ("routes.a.e[0]", (9, 28)),
        ("other", (1, 1)),
        ("routes.ü[", (1, 1)),
    ];
    for (path, position) in cases {
        let node = root.at(path);
        assert_eq!((node.line(), node.column()), *position, "{path}");
    }
    assert_eq!(root.get("routes").and_then(|routes| routes.key_position("v1.2")), Some((6, 3)));
    assert_eq!(root.problem(&source(), "routes.v1.2.x", "why").to_string(), "f:6:9: routes.v1.2.x: why");
    let names: Vec<&str> = root.get("routes").and_then(Node::entries).unwrap().map(|(name, _)| name).collect();
    assert_eq!(names, ["shop", "v1.2", "shop.hosts", "a.b", "a"]);
    assert_eq!(root.at("routes.shop.hosts").items().map(Iterator::count), None);
    assert!(parse(&source(), "a:").unwrap().get("a").unwrap().is_null());
}

#[test]
fn json_that_is_no_yaml() {
    let long = "k".repeat(1024);
    let text = format!("{{\"{long}\"\n:\t\"\\ud83d\\ude00\", \"ü\": [1,\t\n\t{{\"a\":[-0.5e-3,true,null]}}]}}");
    let root = parse(&source(), &text).unwrap();
    assert_eq!(root.at(&long).text(), Some("😀"));
    let node = root.at("ü[1].a[1]");
    assert_eq!((node.text(), node.line(), node.column()), (Some("true"), 3, 16));
    // Flow style that is not JSON is still YAML.
    assert_eq!(value::<BTreeMap<String, String>>("{a: b, # it's\n c: 'd'}")["c"], "d");
}

#[test]
fn keys_are_limited() {
    for text in [format!("{{\"{}\": 1}}", "k".repeat(1025)), format!("? {}\n: 1\n", "k".repeat(1025))] {
        let problem = parse(&source(), &text).unwrap_err();
        assert_eq!(problem.reason, "this key is longer than 1024 bytes");
    }
    // A path of dots can be read in as many ways as it has dots.
    let dots = ".".repeat(1024);
    let root = parse(&source(), &format!("{{\"{dots}\": {{\"{dots}\": [1]}}}}")).unwrap();
    assert_eq!(root.at(&format!("{dots}.{dots}[0]")).text(), Some("1"));
    assert_eq!(root.at(&".".repeat(1_000_000)).column(), 2059);
}

#[test]
fn brackets_that_yaml_would_read_ahead_are_limited() {
    let list = "a:,".repeat(100_000);
    let problem = parse(&source(), &format!("ok: 1\nlist:\n- [{list}]\n")).unwrap_err().to_string();
    assert!(problem.starts_with("f:3:3: list[0]: the next value or comment is longer"), "{problem}");
    // The same in a style that is read as it comes, or as JSON, is fine.
    let numbers = ["1, ".repeat(200_000).as_str(), "1"].concat();
    for text in [
        format!("a: [{numbers}]"),
        format!("{{\"a\": [{numbers}]}}"),
        ["a:\n", "- 1\n".repeat(200_001).as_str()].concat(),
    ] {
        assert_eq!(parse(&source(), &text).unwrap().at("a[200000]").text(), Some("1"));
    }
}

#[test]
fn an_unusual_number_of_problems_ends() {
    let mut text = String::from("routes:\n");
    for index in 0..200 {
        text.push_str(&format!("  r{index}: {{hosts: [a], upstream: b, port: x}}\n"));
    }
    let found = read::<Document>(&text).unwrap_err();
    assert!((32..=200).contains(&found.len()), "{}", found.len());
    let numbers = format!("[{}]", "1, ".repeat(100));
    assert_eq!(read::<Vec<HeaderPattern>>(&numbers).unwrap_err().len(), 1);
}

/// Small and reproducible; quality does not matter here.
struct XorShift(u64);

impl XorShift {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }
}

const SAMPLES: &[&str] = &[
    "routes:\n  shop:\n    hosts: [a, \"*.b\"]\n    upstream: c # why\n    headers: {x-a: 1.10}\n    paths:\n    - prefix: /\n    - any\n",
    "{\n\t\"routes\": {\"a.b\": {\"hosts\": [\"\\u00e4\\n\"], \"upstream\": \"x\", \"share\": 1e3, \"tls\": null}}\n}",
    "%YAML 1.2\n---\nroutes: !!map\n  ? a\n  : {hosts: !!seq [], upstream: |-\n      x\n\n  ü: >+\n    folded\n    text\n...\n",
    "a: &x [1, 2]\nb: *x\n<<: {c: 'it''s'}\n---\n\"d\\x41\": !t ~\n",
];

/// Bytes that mean something to a reader.
const SPICE: &[u8] = b"[]{}:,-?&*!|>'\"%@`#\\ \t\n\r\0~<=.0e+\xc3\xbc\xff\xef\xbb\xbf\xc2\x85";

fn mutate(random: &mut XorShift) -> Vec<u8> {
    let mut bytes = SAMPLES[random.below(SAMPLES.len())].as_bytes().to_vec();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len());
        match random.below(5) {
            0 if !bytes.is_empty() => drop(bytes.remove(at)),
            1 if !bytes.is_empty() => bytes[at] = SPICE[random.below(SPICE.len())],
            2 => bytes.truncate(at.max(4)),
            3 => {
                let end = (at + random.below(20)).min(bytes.len());
                let again = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, again);
            }
            _ => bytes.insert(at, SPICE[random.below(SPICE.len())]),
        }
    }
    bytes
}

#[test]
fn no_mutation_panics() {
    let mut random = XorShift(0x5eed_5eed_5eed_5eed);
    let mut parsed = 0;
    for round in 0..20_000 {
        let bytes = mutate(&mut random);
        let Ok(root) = parse_bytes(&source(), &bytes) else {
            continue;
        };
        parsed += 1;
        let mut problems = Vec::new();
        let value = decode::<Document>(&source(), &root, "", &mut problems);
        assert_eq!(value.is_some(), problems.is_empty(), "round {round}: {:?}", String::from_utf8_lossy(&bytes));
        let flat = decode::<Vec<Flat>>(&source(), &root, "x", &mut problems);
        assert!(flat.is_none() || root.items().is_some());
        for problem in &problems {
            assert!(problem.line > 0 && problem.column > 0 && !problem.reason.is_empty(), "{problem:?}");
            root.at(&problem.path);
        }
    }
    assert!(parsed > 2_000, "the mutations are too wild to test decoding: {parsed}");
}

/// No clock: anything that took time in the square of the routes would be felt here.
#[test]
fn a_large_document_is_read_and_searched() {
    let mut text = String::from("routes:\n");
    for index in 0..100_000 {
        text.push_str(&format!(
            "  route-{index}:\n    hosts: [host-{index}.example.com]\n    paths: [{{prefix: /}}]\n    upstream: up-{index}\n"
        ));
    }
    let root = parse(&source(), &text).unwrap();
    let mut problems = Vec::new();
    let routes = root.get("routes").and_then(Node::entries).unwrap();
    let decoded = routes.filter_map(|(_, node)| decode::<Route>(&source(), node, "routes.x", &mut problems)).count();
    assert_eq!((decoded, problems.len()), (100_000, 0));
    for index in 0..100_000 {
        assert!(root.at(&format!("routes.route-{index}.hosts[0]")).text().is_some());
    }
}
