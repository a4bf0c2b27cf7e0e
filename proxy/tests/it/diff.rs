//! `serin diff`, through the program itself.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

#[test]
fn more_percent_lets_buckets_in_and_nobody_out() {
    let case = Case::new(&[RULES, &RULES.replace("percent: 1}", "percent: 10}")]);
    case.check(
        &[],
        1,
        "releases
  ~ shop-v2 (on shop)
      rule \"everyone\" percent: 1 -> 10
      everyone: 1 % -> 10 %: buckets 100-999 enter the canary; nobody leaves

Requests move.
",
    );
}

#[test]
fn less_percent_lets_buckets_out() {
    let case = Case::new(&[RULES, &RULES.replace("percent: 1}", "percent: 0.99}")]);
    assert!(case.text(&[], 1).contains("everyone: 1 % -> 0.99 %: bucket 99 leaves the canary; nobody enters"));
}

#[test]
fn the_other_end_of_the_line() {
    let sticky = "sticky: {range: high, key: ";
    let case = Case::new(&[RULES, &RULES.replace("sticky: {key: ", sticky)]);
    let text = case.text(&[], 1);
    assert!(text.contains("everyone: 1 % -> 1 %: buckets 9900-9999 enter the canary; buckets 0-99 leave it"), "{text}");
    // A rule at 100 % takes both ends.
    assert!(!text.contains("office:"), "{text}");
}

#[test]
fn another_salt_draws_everybody_anew() {
    let salt = "sticky: {salt: 000102030405060708090a0b0c0d0e0f, key: ";
    let ten = RULES.replace("percent: 1}", "percent: 10}");
    let text = Case::new(&[&ten, &ten.replace("sticky: {key: ", salt)]).text(&[], 1);
    let expected = "everyone: 10 % -> 10 %: 18 % of them change group (9 % enter the canary, 9 % leave)";
    assert!(text.contains(expected) && text.contains("every user is drawn anew"), "{text}");
    assert!(!text.contains("office:"), "nobody moves out of 100 %: {text}");
}

#[test]
fn a_narrower_condition_lets_its_users_fall_to_the_next_rule() {
    let text = Case::new(&[RULES, &RULES.replace("10.8.0.0/16", "10.8.1.0/24")]).text(&[], 1);
    assert!(text.contains("rule \"office\" ip: [10.8.0.0/16] -> [10.8.1.0/24]"), "{text}");
    let expected = "users whom \"office\" took and \"everyone\" takes now, if any: 100 % -> 1 %: \
                    buckets 100-9999 leave the canary; nobody enters";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn templates_are_compared_as_they_are_written() {
    let template = |branch: &str, most: &str| {
        format!(
            "routes:\n  branches: {{hosts: [\"{{app}}-{{branch}}.test\"], captures: {{branch: \"{branch}\"}}, upstream: branches}}\n\
             upstreams:\n  branches: {{discovery: {{etcd: {{prefix: \"/{{app}}_{{branch}}/\"{most}}}}}}}\n"
        )
    };
    let case = Case::new(&[&template("feature-.*", ""), &template("fix-.*", ", most: 7")]);
    let text = case.text(&[], 1);
    for change in ["~ branches", "captures.branch: feature-.* -> fix-.*", "discovery.etcd.most: unset -> 7"] {
        assert!(text.contains(change), "{change}: {text}");
    }
}

#[test]
fn what_does_not_move_anybody_is_told_and_exits_with_0() {
    let case = Case::new(&[RULES, &RULES.replace("upstream: blog}", "upstream: blog, timeouts: {request: 5s}}")]);
    case.check(
        &[],
        0,
        "routes
  ~ blog
      timeouts.request: unset -> 5s

Nothing moves: no request gets another route, upstream, endpoint or group.
",
    );
    Case::new(&[RULES, RULES]).check(&[], 0, "Both are the same.\n");
}

#[test]
fn endpoints_routes_and_listeners() {
    let new = RULES
        .replace("\"10.0.0.2:80\"", "{address: \"10.0.0.2:80\", weight: 3}")
        .replace("127.0.0.1:8080", "127.0.0.1:8081")
        .replace("  blog: {hosts: [blog.example.com], upstream: blog}\n", "  docs: {upstream: blog}\n");
    Case::new(&[RULES, &new]).check(
        &[],
        1,
        "listeners
  ~ web
      address: 127.0.0.1:8080 -> 127.0.0.1:8081

routes
  - blog
  + docs

requests
  blog -> docs: all requests, for example GET blog.example.com/
  no route -> docs: some requests, for example GET any.example/

upstreams
  ~ shop
    ~ 10.0.0.2:80: weight 1 -> 3 (50 % -> 75 % of the weight)

Requests move.
",
    );
}

/// One block a case: routes of before, `---`, routes of now, `---`, who hands requests over to whom.
const HANDOVERS: &[&str] = &[
    // A prefix takes a part of what the wider route had; other hosts are not concerned.
    "
    all: {upstream: blog}
    ---
    all: {upstream: blog}
    api: {paths: [{prefix: /api}], upstream: blog}
    ---
    all -> api: some requests, for example GET any.example/api
    ",
    // The route in between is the one that loses, not the one below it.
    "
    all: {upstream: blog}
    shop: {hosts: [shop.test], upstream: shop}
    ---
    all: {upstream: blog}
    cart: {hosts: [shop.test], paths: [{exact: /cart}], upstream: blog}
    shop: {hosts: [shop.test], upstream: shop}
    ---
    shop -> cart: some requests, for example GET shop.test/cart
    ",
    // What is taken whole, and what nobody had.
    "
    beta: {hosts: [shop.test], paths: [{prefix: /b}], upstream: blog}
    ---
    beta: {hosts: [shop.test], paths: [{prefix: /b}], upstream: blog}
    a: {hosts: [shop.test], paths: [{prefix: /b}], upstream: shop}
    ---
    beta -> a: all requests, for example GET shop.test/b
    ",
    "
    beta: {hosts: [shop.test], paths: [{prefix: /b}], upstream: blog}
    ---
    beta: {hosts: [shop.test], paths: [{prefix: /a}, {prefix: /b/c}], upstream: blog}
    ---
    beta -> no route: some requests, for example GET shop.test/b
    no route -> beta: some requests, for example GET shop.test/a
    ",
    // Removed: to those who come next, and to nobody.
    "
    gone: {hosts: [a.test, b.test], upstream: blog}
    posts: {hosts: [a.test], methods: [POST], upstream: blog}
    rest: {hosts: [\"*.test\"], paths: [{prefix: /x}], upstream: shop}
    ---
    posts: {hosts: [a.test], methods: [POST], upstream: blog}
    rest: {hosts: [\"*.test\"], paths: [{prefix: /x}], upstream: shop}
    ---
    gone -> rest: some requests, for example GET a.test/x
    gone -> no route: some requests, for example GET a.test/
    ",
    // A renamed route keeps everything under another name.
    "
    old: {hosts: [a.test], headers: {x-beta: {present: true}}, client_ip: [10.0.0.0/8], upstream: blog}
    ---
    new: {hosts: [a.test], headers: {x-beta: {present: true}}, client_ip: [10.0.0.0/8], upstream: blog}
    ---
    old -> new: all requests, for example GET a.test/ with x-beta: 1 from 10.0.0.0
    ",
    // Who is hidden behind others gets nothing, and a twin further behind loses nothing.
    "
    all: {upstream: blog}
    shop: {hosts: [shop.test], upstream: shop}
    ---
    all: {upstream: blog}
    more: {hosts: [\"*.test\"], headers: {x: \"1\"}, upstream: blog}
    shop: {hosts: [shop.test], upstream: shop}
    ---
    all -> more: some requests, for example GET any.test/ with x: 1
    ",
    // What an expression matches is guessed, and what cannot be guessed is said to be unknown.
    "
    all: {hosts: [a.test], paths: [{prefix: /users}], upstream: blog}
    ---
    all: {hosts: [a.test], paths: [{prefix: /users}], upstream: blog}
    number: {hosts: [a.test], paths: [{regex: \"^/(users|people)/[0-9]+$\"}], upstream: shop}
    plain: {hosts: [a.test], paths: [{regex: \"^/users/me$\"}], upstream: shop}
    ---
    all -> number: requests may move, which their patterns do not tell exactly
    all -> plain: some requests, for example GET a.test/users/me
    no route -> number: requests may move, which their patterns do not tell exactly
    no route -> plain: requests may move, which their patterns do not tell exactly
    ",
    // Where routes go makes no difference to which of them is asked.
    "
    all: {upstream: blog}
    ---
    all: {upstream: shop}
    ---
    ",
];

#[test]
fn it_is_said_which_routes_lose_and_gain_requests() {
    for case in HANDOVERS {
        let lines: Vec<&str> = case.lines().map(str::trim).collect();
        let parts: Vec<&[&str]> = lines.split(|line| *line == "---").collect();
        let [old, new, expected] = parts[..] else { panic!("{case}") };
        let rules = |routes: &[&str]| {
            let routes: String = routes.iter().map(|route| format!("  {route}\n")).collect();
            format!("routes:\n{routes}{}", &RULES[RULES.find("upstreams:").unwrap()..])
        };
        let text = Case::new(&[&rules(old), &rules(new)]).text(&[], 1);
        let told = text.split("requests\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap_or_default();
        let told: Vec<&str> = told.lines().map(str::trim).collect();
        let expected: Vec<&str> = expected.iter().copied().filter(|line| !line.is_empty()).collect();
        assert_eq!(told, expected, "{case}\n{text}");
    }
}

#[test]
fn a_release_that_is_unhooked_from_a_route_names_who_moves_and_whereto() {
    let without = RULES.replace(", release: shop-v2", "");
    let to_blog = without.replace("[shop.example.com], upstream: shop", "[shop.example.com], upstream: blog");
    Case::new(&[RULES, &without]).check(
        &[],
        1,
        "routes
  ~ shop
      release: [shop-v2] -> unset
      release shop-v2 is not asked any more:
        office: buckets 0-9999 (canary): upstream shop-v2 -> upstream shop
        everyone: buckets 0-99 (canary): upstream shop-v2 -> upstream shop

Requests move.
",
    );
    let text = Case::new(&[&to_blog, RULES]).text(&[], 1);
    for part in [
        "release shop-v2 is asked now:",
        "everyone: buckets 0-99 (canary): upstream blog -> upstream shop-v2",
        "everyone: buckets 100-9999 (stable): upstream blog -> upstream shop\n",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
    let with_override = |rules: &str| rules.replace("    audience", "    override: {header: x-group}\n    audience");
    let json = Case::new(&[&with_override(RULES), &with_override(&without)]).text(&["--json"], 1);
    let diff: Value = serde_json::from_str(&json).unwrap();
    let hook = &diff["routes"][0]["releases"][0];
    assert_eq!((&hook["release"], &hook["change"]), (&"shop-v2".into(), &"removed".into()));
    assert_eq!(hook["moves"][2]["override"], "header x-group");
    assert_eq!(hook["moves"][1]["buckets"], serde_json::json!([{"first": 0, "last": 99}]));
}

#[test]
fn a_release_in_the_place_of_another_takes_its_users_over() {
    let second = RULES.replace(
        "  shop-v2:\n    stable",
        "  other: {stable: shop, canary: blog, audience: [{name: all, percent: 5}]}\n  shop-v2:\n    stable",
    );
    let hooked = second.replace("release: shop-v2", "release: other");
    let text = Case::new(&[&second, &hooked]).text(&[], 1);
    for part in [
        "release shop-v2 is not asked any more:",
        "everyone: buckets 0-99 (canary): upstream shop-v2 -> what release other says",
        "release other is asked now:",
        "all: buckets 0-499 (canary): what release shop-v2 says -> upstream blog",
    ] {
        assert!(text.contains(part), "{part}\nin\n{text}");
    }
}

#[test]
fn no_zero_in_json_has_a_sign() {
    let case = Case::new(&[RULES, &RULES.replace("percent: 1}", "percent: 10}")]);
    let text = case.text(&["--json"], 1);
    assert!(text.contains("\"leave_percent\": 0.0") && !text.contains("-0.0"), "{text}");
}

#[test]
fn a_release_that_no_route_uses_moves_nobody() {
    let unused = RULES.replace(", release: shop-v2", "");
    let text = Case::new(&[&unused, &unused.replace("percent: 1}", "percent: 10}")]).text(&[], 0);
    assert!(text.contains("~ shop-v2 (no route uses it)"), "{text}");
}

#[test]
fn wrong_files_are_named_and_exit_with_2() {
    let case = Case::new(&[RULES, &RULES.replace("percent: 1}", "percent: 101}")]);
    let output = case.run(&[]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("1.yaml:") && told.contains("releases.shop-v2.audience[1].percent"), "{told}");
    assert!(output.stdout.is_empty());

    let case = Case::new(&[RULES, RULES]);
    let output = case.run(&["--sample", "there-is-no-such-log"]);
    assert_eq!(output.status.code(), Some(2));
    let output = case.run(&["--sample", &case.path(0).to_string_lossy()]);
    assert_eq!(output.status.code(), Some(2), "a file that is no log");
    let output = Command::new(env!("CARGO_BIN_EXE_serin")).args(["diff", "one.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn json_says_the_same() {
    let case = Case::new(&[RULES, &RULES.replace("percent: 1}", "percent: 10}")]);
    let diff: Value = serde_json::from_str(&case.text(&["--json"], 1)).unwrap();
    assert_eq!(diff["moves"], true);
    let release = &diff["releases"][0];
    assert_eq!((&release["name"], &release["routes"]), (&"shop-v2".into(), &vec!["shop"].into()));
    assert_eq!(release["transitions"].as_array().unwrap().len(), 1);
    let transition = &release["transitions"][0];
    assert_eq!(transition["enter"], serde_json::json!([{"first": 100, "last": 999}]));
    assert_eq!((&transition["enter_percent"], &transition["leave_percent"]), (&9.0.into(), &0.0.into()));
    assert_eq!(diff.get("sample"), None);
}

#[test]
fn every_bucket_of_a_log_goes_where_the_ranges_say() {
    let case = Case::new(&[RULES, &RULES.replace("percent: 1}", "percent: 12.5}")]);
    let mut log = String::new();
    for bucket in 0..10_000 {
        let group = if bucket < 100 { "canary" } else { "stable" };
        log +=
            &shop_line("192.0.2.1", group, &format!("\"reason\":\"rule\",\"rule\":\"everyone\",\"bucket\":{bucket}"));
    }
    let sample = case.sample(&log, 1);
    assert_eq!([&sample["requests"], &sample["moved"], &sample["enter"]], [10_000, 1_150, 1_150]);
    assert_eq!([&sample["leave"], &sample["unknown"], &sample["log_differs"]], [0, 0, 0]);
    assert_eq!(sample["group"]["samples"].as_array().unwrap().len(), 10);
    let first = &sample["group"]["samples"][0];
    assert_eq!((&first["line"], &first["bucket"]), (&101.into(), &100.into()));
    assert_eq!((&first["old"], &first["new"]), (&"shop-v2 stable".into(), &"shop-v2 canary".into()));
}

#[test]
fn a_pinned_user_stays_where_conditions_narrow() {
    let case = Case::new(&[RULES, &RULES.replace("10.8.0.0/16", "10.8.1.0/24")]);
    let pin = "\"reason\":\"pin\",\"rule\":\"office\",\"bucket\":5000";
    let rule = "\"reason\":\"rule\",\"rule\":\"office\",\"bucket\":5000";
    let sample = case.sample(&(shop_line("10.8.2.1", "canary", pin) + &shop_line("10.8.2.1", "canary", rule)), 1);
    assert_eq!([&sample["unchanged"], &sample["moved"], &sample["leave"]], [1, 1, 1]);
}

#[test]
fn what_the_log_does_not_have_is_unknown() {
    // Another salt: the bucket in the log is of no use, but nobody needs one at 100 %.
    let salted = RULES.replace("sticky: {key: ", "sticky: {salt: 000102030405060708090a0b0c0d0e0f, key: ");
    let lines = shop_line("192.0.2.1", "stable", "\"reason\":\"rule\",\"rule\":\"everyone\",\"bucket\":5000")
        + &shop_line("10.8.0.1", "canary", "\"reason\":\"rule\",\"rule\":\"office\",\"bucket\":5000");
    let sample = Case::new(&[RULES, &salted]).sample(&lines, 1);
    assert_eq!([&sample["unknown"], &sample["unchanged"]], [1, 1]);
    let because = sample["unknown_because"].as_object().unwrap();
    assert!(because.keys().all(|cause| cause.contains("sticky key")), "{because:?}");

    // A route that asks for a header of which the log says nothing.
    let beta = RULES.replace("routes:\n", "routes:\n  beta: {headers: {x-beta: \"1\"}, upstream: blog}\n");
    let sample = Case::new(&[RULES, &beta]).sample(&lines, 1);
    assert_eq!([&sample["unknown"], &sample["moved"]], [2, 0]);
    // The same on both sides: whatever it was, it is the same now.
    let sample = Case::new(&[&beta, &beta]).sample(&lines, 0);
    assert_eq!([&sample["unknown"], &sample["unchanged"]], [0, 2]);
}

#[test]
fn routes_of_a_log() {
    let case = Case::new(&[RULES, &RULES.replace("[blog.example.com]", "[news.example.com]")]);
    let log = "{\"client\":\"192.0.2.1\",\"method\":\"GET\",\"host\":\"blog.example.com\",\"target\":\"/a?b=c\",\
               \"status\":200,\"route\":\"blog\"}\nnot a line of a log\n\n";
    let sample = case.sample(log, 1);
    assert_eq!([&sample["requests"], &sample["unreadable"], &sample["moved"]], [1, 1, 1]);
    let moved = &sample["route"]["samples"][0];
    assert_eq!((&moved["old"], &moved["new"]), (&"blog".into(), &"no route".into()));
    assert_eq!(moved["request"], "GET blog.example.com/a?b=c");
}

/// What a template made is in no file: a request for such a host is unknown if the template has changed, or comes.
#[test]
fn requests_of_environments_are_unknown_where_templates_change() {
    let template = |pattern: &str| {
        let route = format!("{{hosts: [\"{{app}}.dev.example.com\"], captures: {{app: \"{pattern}\"}}, upstream: t}}");
        format!("routes: {{t: {route}}}\nupstreams: {{t: {{discovery: {{etcd: {{prefix: \"/x/{{app}}/\"}}}}}}}}\n")
    };
    let line = "{\"client\":\"192.0.2.1\",\"method\":\"GET\",\"host\":\"shop.dev.example.com\",\"target\":\"/\",\
                \"status\":200,\"route\":\"t.shop\"}\n";
    let counts = |old: &str, new: &str| {
        let sample = Case::new(&[old, new]).sample(line, i32::from(old != new));
        [&sample["unchanged"], &sample["moved"], &sample["unknown"]].map(|count| count.as_u64().expect("a number"))
    };
    assert_eq!(counts(&template("[a-z]+"), &template("[a-z]+")), [1, 0, 0]);
    assert_eq!(counts(&template("[a-z]+"), &template("[a-s]+")), [0, 0, 1]);
    assert_eq!(counts("routes: {}\n", &template("[a-z]+")), [0, 0, 1]);
    assert_eq!(counts(&template("[0-9]+"), &template("[0-9]*")), [1, 0, 0], "no environment of those has this host");
}

#[test]
fn a_log_of_a_later_phase_is_noticed() {
    let case = Case::new(&[RULES, &RULES.replace("percent: 1}", "percent: 2}")]);
    let line = shop_line("192.0.2.1", "canary", "\"reason\":\"rule\",\"rule\":\"everyone\",\"bucket\":4000");
    assert_eq!(case.sample(&line, 1)["log_differs"], 1);
}

/// Files to compare.
struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new(files: &[&str; 2]) -> Self {
        let case = Self { folder: tempfile::tempdir().unwrap() };
        for (number, text) in files.iter().enumerate() {
            std::fs::write(case.path(number), text).unwrap();
        }
        case
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("{number}.yaml"))
    }

    fn run(&self, flags: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
        command.arg("diff").args([self.path(0), self.path(1)]).args(flags).output().unwrap()
    }

    fn text(&self, flags: &[&str], code: i32) -> String {
        let output = self.run(flags);
        let told = String::from_utf8_lossy(&output.stderr);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{told}{text}");
        text
    }

    fn check(&self, flags: &[&str], code: i32, expected: &str) {
        assert_eq!(self.text(flags, code), expected);
    }

    /// What a log says, as JSON.
    fn sample(&self, log: &str, code: i32) -> Value {
        let path = self.folder.path().join("access.log");
        std::fs::write(&path, log).unwrap();
        let text = self.text(&["--json", "--sample", &Path::to_string_lossy(&path)], code);
        serde_json::from_str::<Value>(&text).unwrap()["sample"].clone()
    }
}

/// A line of a request for the shop.
fn shop_line(client: &str, group: &str, rest: &str) -> String {
    let mut line = String::new();
    writeln!(
        line,
        "{{\"time\":\"2025-01-01T00:00:00.000Z\",\"client\":\"{client}\",\"method\":\"GET\",\
         \"host\":\"shop.example.com\",\"target\":\"/\",\"status\":200,\"route\":\"shop\",\
         \"release\":\"shop-v2\",\"group\":\"{group}\",{rest}}}"
    )
    .unwrap();
    line
}

const RULES: &str = r#"listeners:
  web: {address: "127.0.0.1:8080"}
routes:
  shop: {hosts: [shop.example.com], upstream: shop, release: shop-v2}
  blog: {hosts: [blog.example.com], upstream: blog}
upstreams:
  shop: {endpoints: ["10.0.0.1:80", "10.0.0.2:80"]}
  shop-v2: {endpoints: ["10.0.1.1:80"]}
  blog: {endpoints: ["10.0.2.1:80"]}
releases:
  shop-v2:
    stable: shop
    canary: shop-v2
    audience:
      - {name: office, ip: [10.8.0.0/16], percent: 100}
      - {name: everyone, percent: 1}
    sticky: {key: [{header: x-user-id}]}
"#;
