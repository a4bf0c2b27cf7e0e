//! `serin check`: what it warns of, what it says about wrong values, and its command line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::support::control::serin;

/// One block a case: the main file, `---`, what is warned of.
const WARNINGS: &[&str] = &[
    // Nothing is wrong, and nothing is odd.
    "
    listeners: {web: {address: \"127.0.0.1:8080\"}, more: {address: \"127.0.0.2:8080\"}}
    admin: {address: \"127.0.0.1:8081\"}
    routes:
      all: {upstream: u}
      shop: {hosts: [shop.test], upstream: u, release: r}
      number: {hosts: [shop.test], paths: [{regex: \"^/(a|b)[0-9]+$\"}], upstream: u}
    upstreams: {u: {endpoints: [\"10.0.0.1:80\"]}, v: {endpoints: [{address: \"10.0.0.1:80\", weight: 0}, \"10.0.0.2:80\"]}}
    releases: {r: {stable: u, canary: v, audience: [{name: all, percent: 1}]}}
    ---
    ",
    "
    ---
    serin.yaml: there is no listener, so no request comes in
    serin.yaml: there is no route, so every request is answered with 404
    ",
    // The same matches: the name decides, and the other is never asked.
    "
    listeners: {web: {address: \"127.0.0.1:8080\"}}
    routes:
      b: {hosts: [a.test], paths: [{prefix: /x}], methods: [GET], upstream: u}
      a: {hosts: [a.test], paths: [{prefix: /x}, {exact: /y}], methods: [GET], upstream: u}
    upstreams: {u: {endpoints: [\"10.0.0.1:80\"]}}
    ---
    serin.yaml:3:6: routes.b: no request reaches this route: all of them match `a`, with precedence
    ",
    // Several routes hide one together, each one of its places; other conditions leave it something.
    "
    listeners: {web: {address: \"127.0.0.1:8080\"}}
    routes:
      hidden: {hosts: [a.test, b.test], paths: [{prefix: /x}], upstream: u}
      one: {hosts: [a.test], paths: [{regex: \"\"}], upstream: u}
      b-all: {hosts: [b.test], paths: [{prefix: /x}], upstream: u}
      b-some: {hosts: [c.test], methods: [GET], upstream: u}
      c: {hosts: [c.test], upstream: u}
    upstreams: {u: {endpoints: [\"10.0.0.1:80\"]}}
    ---
    ",
    "
    listeners: {web: {address: \"127.0.0.1:8080\"}}
    routes:
      hidden: {hosts: [a.test, b.test], paths: [{prefix: /x}], upstream: u}
      a-all: {hosts: [a.test], paths: [{prefix: /x}], upstream: u}
      b-all: {hosts: [b.test], paths: [{prefix: /x}], upstream: u}
    upstreams: {u: {endpoints: [\"10.0.0.1:80\"]}}
    ---
    serin.yaml:3:11: routes.hidden: no request reaches this route: all of them match `a-all` or `b-all`, with precedence
    ",
    // What a narrower route asks for, a wider one with as many conditions may ask too.
    "
    listeners: {web: {address: \"127.0.0.1:8080\"}}
    routes:
      office: {headers: {x: \"1\"}, client_ip: [10.1.0.0/16], upstream: u}
      all: {headers: {x: {present: true}}, client_ip: [10.0.0.0/8], upstream: u}
    upstreams: {u: {endpoints: [\"10.0.0.1:80\"]}}
    ---
    serin.yaml:3:11: routes.office: no request reaches this route: all of them match `all`, with precedence
    ",
    // What nobody uses, and upstreams that serve nobody.
    "
    listeners: {web: {address: \"127.0.0.1:8080\"}}
    routes: {all: {upstream: none}}
    upstreams:
      none: {endpoints: []}
      zero: {endpoints: [{address: \"10.0.0.1:80\", weight: 0}, {address: \"10.0.0.2:80\", weight: 0}]}
      idle: {endpoints: [\"10.0.0.1:80\"]}
    releases:
      r: {stable: none, canary: zero, audience: [{name: all, percent: 1}]}
    ---
    serin.yaml:4:21: upstreams.none.endpoints: there is no endpoint, so requests are answered with 503
    serin.yaml:5:21: upstreams.zero.endpoints: all weights are 0, so requests are answered with 503
    serin.yaml:6:9: upstreams.idle: no route and no release uses this upstream
    serin.yaml:8:6: releases.r: no route uses this release
    ",
    // Addresses that are taken.
    "
    listeners: {a: {address: \"0.0.0.0:8080\"}, b: {address: \"127.0.0.1:8080\"}, c: {address: \"[::1]:8080\"}, d: {address: \"127.0.0.1:0\"}, e: {address: \"127.0.0.1:0\"}, f: {address: \"127.0.0.1:9900\"}}
    admin: {address: \"127.0.0.1:9900\"}
    routes: {all: {upstream: u}}
    upstreams: {u: {endpoints: [\"10.0.0.1:80\"]}}
    ---
    serin.yaml:1:56: listeners.b.address: listener `a` has this address already, so the listener cannot be opened
    serin.yaml:1:174: listeners.f.address: `admin` has this address already, so the listener cannot be opened
    ",
    // Files that cannot be written.
    "
    listeners: {web: {address: \"127.0.0.1:8080\"}}
    routes: {all: {upstream: u}}
    upstreams: {u: {endpoints: [\"10.0.0.1:80\"]}}
    state_dir: serin.yaml/state
    access_log: {to: logs/access.log}
    ---
    serin.yaml:4:12: state_dir: DIR/serin.yaml is not a folder
    serin.yaml:5:18: access_log.to: there is no folder DIR/logs
    ",
    "
    listeners: {web: {address: \"127.0.0.1:8080\"}}
    routes: {all: {upstream: u}}
    upstreams: {u: {endpoints: [\"10.0.0.1:80\"]}}
    access_log: {to: .}
    ---
    serin.yaml:4:18: access_log.to: DIR/. is a folder, not a file
    ",
];

/// One block a case: the main file, `---`, all its problems. What is wrong in one field hides nothing in another, and what
/// only follows from it is not told.
const PROBLEMS: &[&str] = &[
    "
    routes:
      a: {hostz: [x], paths: [{regex: \"(\"}], methods: [get], upstream: u}
      b: {hosts: [\"x y\", {}], upstrean: u, client_ip: [nope]}
    upstreams: {u: {endpoints: [{address: \"10.0.0.1:80\", weight: x}, \"10.0.0.1:0\"]}}
    listeners: {web: {address: nope, foo: 1}}
    ---
    serin.yaml:2:7: routes.a.hostz: unknown field `hostz`, did you mean `hosts`?
    serin.yaml:2:27: routes.a.paths[0]: regular expression `(`: unclosed group
    serin.yaml:2:52: routes.a.methods[0]: method `get` is written in capitals: GET
    serin.yaml:3:15: routes.b.hosts[0]: `x y` has a character that a host name cannot have
    serin.yaml:3:22: routes.b.hosts[1]: expected a string, found a mapping
    serin.yaml:3:27: routes.b.upstrean: unknown field `upstrean`, did you mean `upstream`?
    serin.yaml:3:52: routes.b.client_ip[0]: `nope` is not an address or a network such as 10.0.0.0/8
    serin.yaml:4:29: upstreams.u.endpoints[0]: expected \"IP:PORT\" or {address: \"IP:PORT\", weight: 1} with a weight from 0 to 1000
    serin.yaml:4:66: upstreams.u.endpoints[1]: `10.0.0.1:0` has port 0
    serin.yaml:5:28: listeners.web.address: `nope` is not an address such as 127.0.0.1:8080 or [::]:8080
    serin.yaml:5:34: listeners.web.foo: unknown field `foo`, expected one of `address`, `websocket_over_http2`, `proxy_protocol`, `tls`
    ",
    // Settings: those of the right type, the files they name, and the rule files too.
    "
    wrokers: 2
    workers: 5000
    trusted_proxies: [nope]
    limits: {connections_per_client: 0, x: 1}
    sources: {files: [more.yaml, \"[\"], y: 1}
    geo: {database: nowhere.mmdb}
    secret_file: gone
    shutdown: {delay: 5 min}
    ---
    more.yaml:1:24: routes.z.upstream: there is no upstream `gone`; not in force until there is one
    serin.yaml:1:1: wrokers: unknown field `wrokers`, did you mean `workers`?
    serin.yaml:2:10: workers: the number of workers is between 1 and 1024
    serin.yaml:3:19: trusted_proxies[0]: `nope` is not an address or a network such as 10.0.0.0/8
    serin.yaml:4:34: limits.connections_per_client: a client needs at least 1 connection
    serin.yaml:4:37: limits.x: unknown field `x`, expected `connections_per_client`
    serin.yaml:5:30: sources.files[1]: invalid range pattern
    serin.yaml:5:36: sources.y: unknown field `y`, expected one of `files`, `etcd`, `kubernetes`
    serin.yaml:6:17: geo.database: DIR/nowhere.mmdb: i/o error: No such file or directory (os error 2)
    serin.yaml:7:14: secret_file: DIR/gone: No such file or directory (os error 2)
    serin.yaml:8:19: shutdown.delay: duration `5 min` has an unknown unit `min`; use ms, s, m or h
    ",
    // What seems to be missing or to follow may be what could not be understood.
    "
    upstreams: {u: {endpoints: [\"10.0.0.1:80\"]}, v: {endpoints: [\"10.0.0.2:80\"]}}
    releases:
      r: {stable: u, canary: u, audience: [{name: all, percent: 101}], sticky: {salt: xyz}, foo: 1}
      s: {stable: u, canary: v, audience: [{name: all, percent: 101}]}
      t: {stable: u, audience: [{name: \"\", percent: 5}], phases: [10, 5]}
      u: {stable: {}, canary: {}, audience: [{nam: all, percent: 5}]}
    geo: 5
    secret_file: []
    ---
    serin.yaml:3:26: releases.r.canary: stable and canary are the same upstream
    serin.yaml:3:61: releases.r.audience[0].percent: percent 101 is above 100, which is everybody
    serin.yaml:3:83: releases.r.sticky.salt: salt `xyz` is not 32 hexadecimal digits
    serin.yaml:3:89: releases.r.foo: unknown field `foo`, expected one of `stable`, `canary`, `audience`, `phases`, `sticky`, `override`, `expose`, `analysis`, `force`
    serin.yaml:4:61: releases.s.audience[0].percent: percent 101 is above 100, which is everybody
    serin.yaml:5:6: releases.t: missing field `canary`
    serin.yaml:5:36: releases.t.audience[0].name: a rule needs a name, which logs and `explain` show
    serin.yaml:5:67: releases.t.phases[1]: phases must grow, but 5 follows 10
    serin.yaml:6:15: releases.u.stable: expected a string, found a mapping
    serin.yaml:6:27: releases.u.canary: expected a string, found a mapping
    serin.yaml:6:43: releases.u.audience[0].nam: unknown field `nam`, did you mean `name`?
    serin.yaml:7:6: geo: expected a mapping such as {database: …}, found the text \"5\"
    serin.yaml:8:14: secret_file: expected path string, found a sequence
    ",
];

#[test]
fn all_problems_of_an_object_are_told_at_once() {
    for case in PROBLEMS {
        let (rules, expected) = case.split_once("---\n").unwrap();
        let (folder, path) = write(&unindented(rules));
        fs::write(folder.path().join("more.yaml"), "routes: {z: {upstream: gone}}\n").unwrap();
        let output = serin(&["check", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(1), "{case}\n{output:?}");
        let place = folder.path().to_string_lossy().into_owned();
        let told =
            text(&output.stdout).lines().map(|line| format!("{}\n", from_folder(line, &place))).collect::<String>();
        let expected = unindented(expected);
        assert_eq!(told, format!("{expected}{} problems\n", expected.lines().count()), "{case}");
    }
}

/// A line without the name of the temporary folder: nothing in front of it, `DIR` within.
fn from_folder(line: &str, folder: &str) -> String {
    let line = line.strip_prefix(&format!("{folder}/")).unwrap_or(line);
    line.replace(folder, "DIR")
}

/// A wrong value in its object, where the problem is, and what is said: what is wrong, and what would be right.
#[rustfmt::skip]
const VALUES: &[(&str, &str, &str)] = &[
    ("hosts: [\"[x.com]\"]", "hosts[0]", "`[x.com]` has brackets without an IPv6 address in them; write names without brackets, which are for IPv6 addresses as in [::1]"),
    ("hosts: [\"::1\"]", "hosts[0]", "`::1` is written in brackets, because it is an IPv6 address: [::1]"),
    ("hosts: [x.com/a]", "hosts[0]", "`x.com/a` has a character that a host name cannot have; a host has no path and no network, which are `paths` and `client_ip` of a route"),
    ("hosts: [.x.com]", "hosts[0]", "`.x.com` has an empty label; for the names one label below it write *.example.com"),
    ("hosts: [\"x.com:80\"]", "hosts[0]", "`x.com:80` has a port; routes match host names, listeners have ports"),
    ("hosts: x.com", "hosts", "expected a sequence, found the text \"x.com\"; write [\"x.com\"]"),
    ("paths: [/a/]", "paths[0]", "\"/a/\" needs a name in front that says what it is: {exact: …}, {prefix: …}, {regex: …}"),
    ("paths: [{prefix: a}]", "paths[0]", "path `a` must begin with `/`"),
    ("paths: [{prefix: \"/a?b\"}]", "paths[0]", "path `/a?b` has a query or fragment; use `query` conditions"),
    ("paths: [{regex: \"[a\"}]", "paths[0]", "regular expression `[a`: unclosed character class"),
    ("headers: {x: 1}", "headers.x", "expected a text (numbers in quotes), or one of {exact: …}, {prefix: …}, {regex: …}, {present: true|false}"),
    ("trailers: [content-length]", "trailers[0]", "`content-length` is part of the message framing and cannot be a trailer"),
    ("filters: [{set_request_header: x}]", "filters[0].set_request_header", "expected a mapping, found the text \"x\""),
    ("timeouts: {request: 5}", "timeouts.request", "duration `5` needs a unit: ms, s, m or h"),
    ("timeouts: {request: 5sec}", "timeouts.request", "duration `5sec` has an unknown unit `sec`; use ms, s, m or h"),
    ("timeouts: {request: 1m30s}", "timeouts.request", "duration `1m30s` is more than one number and one unit; write for example 90s"),
    ("timeouts: {request: \"\"}", "timeouts.request", "`` is not a duration such as 30s or 500ms"),
    ("timeouts: {request: never}", "timeouts.request", "`never` is not a duration such as 30s or 500ms"),
    ("timeouts: {request: -5s}", "timeouts.request", "duration `-5s` is negative"),
    ("timeouts: 5s", "timeouts", "expected a mapping such as {connect: …}, found the text \"5s\""),
    ("limits: {body: 10mb}", "limits.body", "size `10mb` has an unknown unit `mb`; use B, KiB, MiB, GiB, KB, MB or GB"),
    ("limits: {body: -1}", "limits.body", "`-1` is not a size such as 10MiB"),
    ("limits: {body: unlimited}", "limits.body", "`unlimited` is not a size such as 10MiB"),
    ("split: [{upstream: u, weight: -1}]", "split[0].weight", "expected a whole number, 0 or more, found the number -1"),
    ("split: [{upstream: u, weight: 50%}]", "split[0].weight", "\"50%\" is not a whole number"),
    ("split: [{upstream: u, weight: 0.5}]", "split[0].weight", "\"0.5\" is not a whole number"),
];

/// The same for what does not stand in a route.
#[rustfmt::skip]
const OTHER_VALUES: &[(&str, &str)] = &[
    ("routes: {a: {split: [{upstream: u, weight: 2000000}]}}", "routes.a.split[0]: weight 2000000 is above 1000000, the most a part of a split can have"),
    ("releases: {r: {stable: u, canary: v, audience: [{name: x, percent: -1}]}}", "releases.r.audience[0].percent: `-1` is not a percent from 0 to 100, such as 12.5"),
    ("releases: {r: {stable: u, canary: v, audience: [{name: x, percent: 100.5}]}}", "releases.r.audience[0].percent: percent 100.5 is above 100, which is everybody"),
    ("releases: {r: {stable: u, canary: v, audience: [{name: x, percent: 0.001}]}}", "releases.r.audience[0].percent: percent 0.001 has more than two decimals, the least is 0.01"),
    ("releases: {r: {stable: u, canary: v, audience: [{name: x}], phases: 10}}", "releases.r.phases: expected a sequence, found the number 10; write [10]"),
    ("admin: {address: 9900}", "admin.address: this is not an address such as 127.0.0.1:9900 or [::1]:9900"),
    ("admin: \"127.0.0.1:9900\"", "admin: expected a mapping such as {address: …}, found the text \"127.0.0.1:9900\""),
    ("workers: auto", "workers: \"auto\" is not a whole number"),
];

#[test]
fn a_message_says_what_would_be_right() {
    let of_route = VALUES
        .iter()
        .map(|(value, at, reason)| (format!("routes: {{a: {{{value}}}}}"), format!("routes.a.{at}: {reason}")));
    let others = OTHER_VALUES.iter().map(|(line, told)| ((*line).to_owned(), (*told).to_owned()));
    for (line, expected) in of_route.chain(others) {
        let (_folder, path) = write(&format!("{line}\n"));
        let output = serin(&["check", path.to_str().unwrap()]);
        let told = text(&output.stdout);
        let is_told = told.lines().any(|line| line.split_once(": ").is_some_and(|(_, rest)| rest == expected));
        assert!(is_told, "{line}\n{expected}\nin\n{told}");
    }
}

/// Exit code 0 all the same, on stderr, and counted.
#[test]
fn what_is_right_but_hardly_meant_is_warned_of() {
    for case in WARNINGS {
        let (rules, expected) = case.split_once("---\n").unwrap();
        let (rules, expected) = (unindented(rules), unindented(expected));
        let (folder, path) = write(&rules);
        let output = serin(&["check", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(0), "{case}\n{output:?}");
        let place = folder.path().to_string_lossy().into_owned();
        let told = text(&output.stderr).replace(&format!("{place}/serin.yaml:"), "serin.yaml:").replace(&place, "DIR");
        let expected: String = expected.lines().map(|line| format!("warning: {line}\n")).collect();
        assert_eq!(told, expected, "{case}");
        let count = match expected.lines().count() {
            0 => "releases\n".to_owned(),
            1 => "releases; 1 warning\n".to_owned(),
            more => format!("releases; {more} warnings\n"),
        };
        assert!(text(&output.stdout).ends_with(&count), "{case}\n{output:?}");
    }
}

#[test]
fn a_folder_that_may_not_be_written_is_warned_of() {
    let (folder, path) = write(&format!("{RULES}state_dir: locked\n"));
    fs::create_dir(folder.path().join("locked")).unwrap();
    fs::set_permissions(folder.path().join("locked"), fs::Permissions::from_mode(0o500)).unwrap();
    // The superuser may write anywhere, so only others are refused.
    let is_refused = fs::write(folder.path().join("locked/file"), "").is_err();
    let told = text(&serin(&["check", path.to_str().unwrap()]).stderr);
    assert_eq!(told.contains("state_dir: ") && told.contains("locked cannot be written: "), is_refused, "{told}");
}

#[test]
fn the_file_is_named_either_way_but_not_both() {
    let (_folder, path) = write(RULES);
    let path = path.to_str().unwrap();
    for arguments in [&["check", path][..], &["check", "--config", path]] {
        let output = serin(arguments);
        assert!(text(&output.stdout).starts_with(&format!("{path} is right: ")), "{output:?}");
    }
    let both = serin(&["check", path, "--config", path]);
    assert_eq!(both.status.code(), Some(2));
    assert!(text(&both.stderr).contains("the main file is given twice"), "{both:?}");
    // The variable stands aside.
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    let output = command.args(["check", path]).env("SERIN_CONFIG", "/nowhere.yaml").output().unwrap();
    assert!(text(&output.stdout).starts_with(&format!("{path} is right: ")), "{output:?}");
    let output = Command::new(env!("CARGO_BIN_EXE_serin")).arg("check").env("SERIN_CONFIG", path).output().unwrap();
    assert!(text(&output.stdout).starts_with(&format!("{path} is right: ")), "{output:?}");
}

fn write(text: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("serin.yaml");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A block without the four spaces that it stands behind in this file, and without its first, empty line.
fn unindented(block: &str) -> String {
    let lines = block.trim_start_matches('\n').lines().map(|line| line.strip_prefix("    ").unwrap_or(line).trim_end());
    lines.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

const RULES: &str = "listeners: {web: {address: \"127.0.0.1:0\"}}\nroutes: {all: {upstream: u}}\n\
                     upstreams: {u: {endpoints: [\"127.0.0.1:1\"]}}\n";
