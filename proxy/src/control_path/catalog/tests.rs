use std::fmt::Write;
use std::sync::Arc;

use routing_rules::rules::{Environment, Target, UpstreamTemplate};

use super::{Catalog, Document};
use crate::control_path::source::{Text, TextKind, Texts};

fn text(name: &str, content: &str) -> Text {
    Text {
        name: name.into(),
        content: match content {
            "GONE" => Err("cannot be read: gone".into()),
            content => Ok(content.into()),
        },
        kind: if name == "main" { TextKind::Main } else { TextKind::Rules },
    }
}

/// A revision as text: `--- name` begins a document.
fn texts(revision: &str) -> Texts {
    let documents = revision.split("--- ").filter(|part| !part.trim().is_empty());
    let texts = documents.map(|part| {
        let (name, content) = part.split_once('\n').unwrap_or((part, ""));
        text(name.trim(), content.trim_end())
    });
    texts.collect::<Vec<_>>().into()
}

/// What is in force, one object a line, then what is wrong.
fn shown(catalog: &Catalog) -> String {
    let mut shown = String::new();
    let rules = catalog.rules();
    for listener in rules.listeners() {
        writeln!(shown, "listener {} {}", listener.name(), listener.address()).unwrap();
    }
    for route in rules.routes() {
        let target = match route.target() {
            Target::Upstream(name) => name.to_string(),
            Target::Split(parts) => parts.iter().map(|part| part.upstream.to_string()).collect::<Vec<_>>().join("+"),
            Target::Redirect(_) => "redirect".into(),
        };
        writeln!(shown, "route {} > {target}", route.name()).unwrap();
    }
    for upstream in rules.upstreams() {
        let ports = upstream.endpoints().iter().map(|endpoint| endpoint.address.port().to_string());
        writeln!(shown, "upstream {} {}", upstream.name(), ports.collect::<Vec<_>>().join(",")).unwrap();
    }
    for template in rules.upstream_templates() {
        writeln!(shown, "upstreams {} {}", template.name(), template.prefix()).unwrap();
        for route in rules.routes_of_template(template.name()) {
            writeln!(shown, "routes {} {:?}", route.name(), route.captures()).unwrap();
        }
    }
    for release in rules.releases() {
        writeln!(shown, "release {} {}>{}", release.name(), release.stable(), release.canary()).unwrap();
    }
    for problem in catalog.problems() {
        writeln!(shown, "{problem}").unwrap();
    }
    shown
}

/// Makes the next update take every text for changed.
fn read_all_again(catalog: &mut Catalog) {
    let twist = |text: &Text| {
        let kind = if text.kind == TextKind::Main { TextKind::Rules } else { TextKind::Main };
        Text { kind, ..text.clone() }
    };
    let claims = &mut catalog.claims;
    claims.texts = claims.texts.iter().map(twist).collect::<Vec<_>>().into();
    let places: Vec<_> = claims.readings.keys().cloned().collect();
    for place in places {
        let text = &mut Arc::get_mut(claims.readings.get_mut(&place).unwrap()).unwrap().text;
        *text = twist(text);
    }
}

/// Applies revisions, separated by `====`, and compares what is in force after each with the block behind its `>>>>`.
/// The lazy and the eager way of reading must agree.
fn check(steps: &str) {
    let (mut lazy, mut eager) = (Catalog::default(), Catalog::default());
    for (number, step) in steps.split("====").enumerate() {
        let (revision, expected) = step.split_once(">>>>").expect("a step has an expectation");
        let texts = texts(revision.trim_start());
        lazy.update_texts(&texts, texts.first().map(Document::parse));
        read_all_again(&mut eager);
        eager.update_texts(&texts, None);
        let expected: String = expected.trim().lines().map(|line| format!("{}\n", line.trim())).collect();
        for catalog in [&lazy, &eager] {
            let found = shown(catalog);
            assert!(found == expected, "step {}:\n{revision}\nexpected:\n{expected}\nfound:\n{found}", number + 1);
            // What is stored must be what is in force.
            let restored = Catalog::restored(&catalog.spec(), &"stored".into());
            assert_eq!(restored.rules().routes().len(), catalog.rules().routes().len());
            assert!(restored.problems().is_empty(), "{:?}", restored.problems());
        }
    }
}

#[test]
fn a_wrong_object_keeps_its_last_good_version_and_harms_no_other() {
    check(
        r#"
--- main
routes: {a: {upstream: u}, b: {upstream: u}}
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
>>>>
route a > u
route b > u
upstream u 1
====
--- main
routes:
  a: {upstraem: u}
  c: {upstream: u}
upstreams:
  u:
    endpoints: ["127.0.0.1:2", "127.0.0.1"]
  v: {endpoints: ["127.0.0.1:3"]}
>>>>
route a > u
route c > u
upstream u 1
upstream v 3
main:2:7: routes.a.upstraem: unknown field `upstraem`, did you mean `upstream`?
main:6:32: upstreams.u.endpoints[1]: `127.0.0.1` is not an address such as 10.0.0.1:8080 or [2001:db8::1]:8080
====
--- main
routes: {a: {upstream: v}}
upstreams: {u: {endpoints: ["127.0.0.1:2"]}, v: {endpoints: ["127.0.0.1:3"]}}
>>>>
route a > v
upstream u 2
upstream v 3
"#,
    );
}

#[test]
fn a_document_that_cannot_be_read_keeps_its_objects() {
    check(
        r#"
--- main
routes: {a: {upstream: u}}
--- more
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
routes: {b: {upstream: u}}
>>>>
route a > u
route b > u
upstream u 1
====
--- main
routes: {a: {upstream: u}, c: {upstream: u}}
--- more
upstreams: {u: {endpoints
>>>>
route a > u
route b > u
route c > u
upstream u 1
more:2:1: while parsing a flow mapping, did not find expected ',' or '}'
====
--- main
GONE
--- more
GONE
>>>>
route a > u
route b > u
route c > u
upstream u 1
main: cannot be read: gone
more: cannot be read: gone
====
--- main
routes: {a: {upstream: u}}
--- more
upstreams: {u: {endpoints: ["127.0.0.1:2"]}}
>>>>
route a > u
upstream u 2
"#,
    );
}

#[test]
fn a_folder_that_is_gone_keeps_what_was_written_in_it() {
    check(
        r#"
--- main
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
--- rules.d/a.yaml
routes: {a: {upstream: u}}
--- rules.dx
routes: {b: {upstream: u}}
>>>>
route a > u
route b > u
upstream u 1
====
--- main
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
--- rules.d
GONE
>>>>
route a > u
upstream u 1
rules.d: cannot be read: gone
"#,
    );
}

#[test]
fn the_first_document_wins_also_while_it_is_wrong_or_cannot_be_read() {
    check(
        r#"
--- main
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
--- b
upstreams:
  u: {endpoints: ["127.0.0.1:2"]}
>>>>
upstream u 1
b:2:3: upstreams.u: already defined in main, which comes first and wins
====
--- main
upstreams: {u: {endpoints: [""]}}
--- b
upstreams:
  u: {endpoints: ["127.0.0.1:2"]}
>>>>
upstream u 1
b:2:3: upstreams.u: already defined in main, which comes first and wins
main:1:29: upstreams.u.endpoints[0]: `` is not an address such as 10.0.0.1:8080 or [2001:db8::1]:8080
====
--- main
GONE
--- b
upstreams:
  u: {endpoints: ["127.0.0.1:2"]}
>>>>
upstream u 1
b:2:3: upstreams.u: already defined in main, which comes first and wins
main: cannot be read: gone
====
--- main
routes:
--- b
upstreams:
  u: {endpoints: ["127.0.0.1:2"]}
>>>>
upstream u 2
"#,
    );
}

#[test]
fn an_object_that_moves_to_another_document_and_breaks_there_stays() {
    check(
        r#"
--- main
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
--- b
>>>>
upstream u 1
====
--- main
--- b
upstreams: {u: {endpoints: [x]}}
>>>>
upstream u 1
b:1:29: upstreams.u.endpoints[0]: `x` is not an address such as 10.0.0.1:8080 or [2001:db8::1]:8080
====
--- main
--- b
GONE
>>>>
upstream u 1
b: cannot be read: gone
"#,
    );
}

#[test]
fn a_new_reference_to_nothing_waits_until_there_is_something() {
    check(
        r#"
--- main
routes:
  a: {upstream: u}
  b: {upstream: v}
upstreams: {v: {endpoints: ["127.0.0.1:1"]}}
>>>>
route b > v
upstream v 1
main:2:17: routes.a.upstream: there is no upstream `u`; not in force until there is one
====
--- main
routes:
  a: {upstream: u}
  b: {upstream: v}
upstreams: {v: {endpoints: ["127.0.0.1:1"]}, u: {endpoints: ["127.0.0.1:2"]}}
>>>>
route a > u
route b > v
upstream u 2
upstream v 1
"#,
    );
}

#[test]
fn what_is_removed_but_still_used_stays_until_it_is_not() {
    check(
        r#"
--- main
routes: {a: {upstream: u}}
--- b
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
>>>>
route a > u
upstream u 1
====
--- main
routes: {a: {upstream: u}}
--- b
>>>>
route a > u
upstream u 1
main:1:24: routes.a.upstream: there is no upstream `u`; it was removed but is still used, and stays as it was
====
--- main
routes: {a: {upstream: u}}
--- b
upstreams: {u: {endpoints: ["127.0.0.1:2"]}}
>>>>
route a > u
upstream u 2
====
--- main
--- b
>>>>
"#,
    );
}

#[test]
fn a_new_version_with_references_to_nothing_leaves_the_last_good_one() {
    check(
        r#"
--- main
routes: {a: {upstream: u}}
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
>>>>
route a > u
upstream u 1
====
--- main
routes:
  a:
    split: [{upstream: x, weight: 1}, {upstream: y, weight: 1}]
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
>>>>
route a > u
upstream u 1
main:3:24: routes.a.split[0].upstream: there is no upstream `x`; the last good version stays in force
main:3:50: routes.a.split[1].upstream: there is no upstream `y`; the last good version stays in force
====
--- main
routes:
  a:
    split: [{upstream: x, weight: 1}, {upstream: y, weight: 1}]
upstreams: {x: {endpoints: ["127.0.0.1:2"]}, y: {endpoints: ["127.0.0.1:3"]}}
>>>>
route a > x+y
upstream x 2
upstream y 3
"#,
    );
}

#[test]
fn waiting_goes_all_the_way_up() {
    check(
        r#"
--- main
routes:
  a: {upstream: u, release: r}
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
releases:
  r: {stable: u, canary: v, audience: [{name: all}], phases: [1], sticky: {key: [client_ip]}}
>>>>
upstream u 1
main:5:26: releases.r.canary: there is no upstream `v`; not in force until there is one; so routes.a is not in force
"#,
    );
}

#[test]
fn what_follows_from_a_wrong_object_is_said_there_and_is_no_problem_of_its_own() {
    check(
        r#"
--- main
routes:
  a: {upstream: u, release: r}
upstreams: {u: {endpoints: ["127.0.0.1:1"]}, v: {endpoints: ["127.0.0.1:2"]}}
releases:
  r: {stable: u, canary: v, audience: [{name: all}], phases: [10, 1], sticky: {key: [client_ip]}}
>>>>
upstream u 1
upstream v 2
main:5:67: releases.r.phases[1]: phases must grow, but 1 follows 10; so routes.a is not in force
====
--- main
routes:
  a: {upstream: u}
  b: {upstream: v}
upstreams: {u: {endpoints: ["127.0.0.1:1"]}, v: {endpoints: ["127.0.0.1:2"]}}
>>>>
route a > u
route b > v
upstream u 1
upstream v 2
====
--- main
routes:
  a: {upstream: u, release: r}
  b: {upstream: w}
  c: {upstream: w}
upstreams: {u: {endpoints: ["127.0.0.1:1"]}, v: {endpoints: ["127.0.0.1:2"]}, w: {endpoints: [x]}}
releases:
  r: {stable: u, canary: w, audience: [{name: all}], phases: [1], sticky: {key: [client_ip]}}
  s: {stable: u, canary: w, audience: [{name: all}], phases: [1], sticky: {key: [client_ip]}}
>>>>
route a > u
route b > v
upstream u 1
upstream v 2
main:5:95: upstreams.w.endpoints[0]: `x` is not an address such as 10.0.0.1:8080 or [2001:db8::1]:8080; so routes.c, releases.r and releases.s are not in force, and routes.a and routes.b stay as before
"#,
    );
}

#[test]
fn a_cause_with_very_many_consequences_is_one_short_line() {
    let mut catalog = Catalog::default();
    let routes: String = (0..50).map(|index| format!("  r{index:02}: {{upstream: u}}\n")).collect();
    catalog.update_texts(&texts(&format!("--- main\nupstreams: {{u: {{endpoints: [x]}}}}\nroutes:\n{routes}")), None);
    let [problem] = catalog.problems() else { panic!("{:?}", catalog.problems()) };
    assert!(
        problem.reason.ends_with("; so routes.r00, routes.r01, routes.r02 and 47 more are not in force"),
        "{problem}"
    );
}

#[test]
fn names_that_are_none_and_maps_that_are_none_are_said() {
    check(
        r#"
--- main
routes: {"a b": {upstream: u}}
upstreams: [u]
--- b
rotues: {}
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
listeners:
>>>>
upstream u 1
b:1:1: rotues: unknown field `rotues`, did you mean `routes`?
main:1:17: routes.a b: name `a b` has a character other than letters, digits, `.`, `_` and `-`
main:2:12: upstreams: expected a mapping from names
"#,
    );
}

#[test]
fn a_misspelt_map_takes_nothing_away() {
    check(
        r#"
--- main
routes: {a: {upstream: u}}
--- b
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
>>>>
route a > u
upstream u 1
====
--- main
rotues: {a: {upstream: u}}
--- b
upsteams: {u: {endpoints: ["127.0.0.1:2"]}}
>>>>
route a > u
upstream u 1
b:1:1: upsteams: unknown field `upsteams`, did you mean `upstreams`?
====
--- main
--- b
>>>>
"#,
    );
}

#[test]
fn documents_that_are_no_mapping_are_refused() {
    check(
        r#"
--- main
upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
>>>>
upstream u 1
====
--- main
- u
>>>>
upstream u 1
main:1:1: expected a mapping with routes, upstreams and so on
"#,
    );
}

#[test]
fn stored_rules_stay_while_anything_cannot_be_read() {
    let mut catalog = Catalog::default();
    catalog.update_texts(
        &texts("--- main\nroutes: {a: {upstream: u}}\n--- b\nupstreams: {u: {endpoints: [\"127.0.0.1:1\"]}}\n"),
        None,
    );
    let mut restored = Catalog::restored(&catalog.spec(), &"stored".into());
    restored.update_texts(&texts("--- main\nroutes: [\n--- b\nGONE"), None);
    assert_eq!(restored.rules().routes().len(), 1);
    assert_eq!(restored.rules().upstreams().len(), 1);
    assert_eq!(restored.problems().len(), 2);
    // One file is whole again: what it says counts, the rest still comes from the store.
    restored.update_texts(&texts("--- main\nroutes: [\n--- b\nupstreams: {u: {endpoints: [\"127.0.0.1:2\"]}}\n"), None);
    assert!(shown(&restored).starts_with("route a > u\nupstream u 2\n"), "{}", shown(&restored));
    restored.update_texts(&texts("--- main\n\n--- b\n"), None);
    assert_eq!(shown(&restored), "");
}

#[test]
fn what_did_not_change_is_the_same_object_and_nothing_is_said_to_have_changed() {
    let mut catalog = Catalog::default();
    let one = texts("--- main\nupstreams: {u: {endpoints: [\"127.0.0.1:1\"]}, v: {endpoints: []}}");
    assert!(catalog.update_texts(&one, None));
    let before = catalog.rules().upstream("u").unwrap().clone();
    assert!(!catalog.update_texts(&one, None));
    let commented = texts("--- main\n# why\nupstreams: {v: {endpoints: []}, u: {endpoints: [\"127.0.0.1:1\"]}}");
    assert!(!catalog.update_texts(&commented, None));
    assert!(catalog.update_texts(&texts("--- main\nupstreams: {u: {endpoints: [\"127.0.0.1:1\"]}}"), None));
    assert!(Arc::ptr_eq(&before, catalog.rules().upstream("u").unwrap()));
}

#[test]
fn a_problem_of_use_is_placed() {
    let mut catalog = Catalog::default();
    catalog.update_texts(&texts("--- main\nlisteners:\n  web: {address: \"127.0.0.1:80\"}\n"), None);
    let problem = catalog.problem(routing_rules::rules::Kind::Listener, "web", "address", "taken".into());
    assert_eq!(problem.to_string(), "main:2:18: listeners.web.address: taken");
}

/// Texts that come, go, break and are mended in any order: what is in force has no loose ends, and looking only at what
/// changed finds the same as looking at everything.
#[test]
fn looking_at_changes_only_finds_what_looking_at_everything_finds() {
    let mut seed = 1_u64;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..300 {
        let (mut lazy, mut eager) = (Catalog::default(), Catalog::default());
        let mut revision: Vec<Text> = Vec::new();
        for step in 0..8 {
            let name = ["main", "b", "rules.d/c", "rules.d"][draw(4)];
            let content = random_text(&mut draw);
            revision.retain(|text| &*text.name != name);
            if draw(5) > 0 {
                revision.insert(draw(revision.len() + 1), text(name, &content));
            }
            let before = lazy.rules().clone();
            let values = ["1", "2", "3"].into_iter().filter(|_| draw(2) == 0).collect::<Vec<_>>();
            let mut changed = lazy.update_texts(&revision.clone().into(), None);
            changed |= lazy.expand(|template| environments(template, values.iter().copied()));
            read_all_again(&mut eager);
            eager.update_texts(&revision.clone().into(), None);
            eager.expand(|template| environments(template, values.iter().copied()));
            assert_eq!(shown(&lazy), shown(&eager), "{step}: {revision:?}");
            let is_same = lazy.rules().routes().eq(before.routes()) && lazy.rules().upstreams().eq(before.upstreams());
            assert!(changed || is_same, "{step}: {revision:?}");
            assert_eq!(lazy.rules().dangling(), [], "{step}: {revision:?}");
        }
    }
}

fn random_text(draw: &mut impl FnMut(usize) -> usize) -> String {
    let broken = ["GONE", "routes: [", "rotues: {}", "- x"];
    if draw(6) == 0 {
        return broken[draw(broken.len())].into();
    }
    let mut content = String::new();
    for (map, names) in [("routes", ["r", "s"]), ("upstreams", ["u", "v"]), ("releases", ["x", "y"])] {
        if draw(4) == 0 {
            continue;
        }
        writeln!(content, "{map}:").unwrap();
        for name in names {
            if draw(3) == 0 {
                continue;
            }
            let body = match map {
                "routes" if draw(3) == 0 => {
                    format!("hosts: [\"{{{}}}.test\"], upstream: {}", ["a", "b"][draw(2)], ["u", "v", "w"][draw(3)])
                }
                "routes" if draw(8) == 0 => format!("upstream: {}", ["u.1", "v.2"][draw(2)]),
                "routes" => format!("upstream: {}, release: {}", ["u", "v", "w"][draw(3)], ["x", "y", "z"][draw(3)]),
                "upstreams" if draw(2) == 0 => {
                    format!("discovery: {{etcd: {{prefix: \"/{{{}}}/\"}}}}", ["a", "b"][draw(2)])
                }
                "upstreams" => format!("endpoints: [\"127.0.0.1:{}\"]", draw(4)),
                _ => format!(
                    "stable: {}, canary: {}, audience: [{{name: a, percent: 1}}]",
                    ["u", "v"][draw(2)],
                    ["v", "w"][draw(2)]
                ),
            };
            writeln!(content, "  {name}: {{{body}}}").unwrap();
        }
    }
    content
}

/// Environments with these values of one capture.
fn environments<'v>(template: &UpstreamTemplate, values: impl Iterator<Item = &'v str>) -> Arc<[Environment]> {
    values.filter_map(|value| template.prefix().environment([value].into_iter())).collect()
}

#[test]
fn one_environment_that_comes_leaves_the_others_alone() {
    let main = "--- main\nroutes:\n  r: {hosts: [\"{a}.test\"], upstream: u}\n  s: {hosts: [s.test], upstream: v}\n\
                upstreams:\n  u: {discovery: {etcd: {prefix: \"/{a}/\", most: 2000}}}\n  v: {}\n";
    let mut catalog = Catalog::default();
    catalog.update_texts(&texts(main), None);
    let names: Vec<String> = (0..1_001).map(|number| format!("x{number}")).collect();
    let live = |count: usize| {
        let names = names[..count].iter().map(String::as_str);
        move |template: &UpstreamTemplate| environments(template, names.clone())
    };
    assert!(catalog.expand(live(1_000)));
    assert!(!catalog.expand(live(1_000)), "nothing is new");
    let before = catalog.rules().clone();
    assert!(catalog.expand(live(1_001)));
    let changed: Vec<String> = before.changed_routes(catalog.rules()).map(ToString::to_string).collect();
    assert_eq!(changed, ["r.x1000"]);
    let same = before.upstreams().filter(|upstream| {
        catalog.rules().upstream(upstream.name().as_str()).is_some_and(|now| Arc::ptr_eq(upstream, now))
    });
    assert_eq!((same.count(), catalog.rules().upstreams().len()), (1_001, 1_002));
    // Nobody wrote them, so nobody stores them.
    let spec = catalog.spec();
    assert_eq!((spec.routes.len(), spec.upstreams.len()), (2, 2));
    assert_eq!(catalog.objects().count(), 4);
    // An edit of something else leaves all of them alone, and one of the template none.
    let all = catalog.rules().clone();
    assert!(catalog.update_texts(&texts(&main.replace("v: {}", "v: {endpoints: [\"127.0.0.1:1\"]}")), None));
    assert!(!catalog.expand(live(1_001)));
    assert_eq!(all.changed_upstreams(catalog.rules()).count(), 1);
    assert!(catalog.update_texts(&texts(&main.replace("most: 2000}}", "most: 2000}}, retry: {tries: 1}")), None));
    assert!(catalog.expand(live(1_001)));
    assert_eq!(all.changed_upstreams(catalog.rules()).count(), 1_001);
    assert_eq!(all.changed_routes(catalog.rules()).count(), 0, "routes name the same upstreams");
    assert!(catalog.expand(live(1)));
    assert_eq!((catalog.rules().routes().len(), catalog.rules().upstreams().len()), (2, 2));
}

#[test]
fn a_broken_text_does_not_keep_environments_that_have_gone() {
    let main = "--- main\nroutes: {r: {hosts: [\"{a}.test\"], upstream: u}}\nupstreams: {u: {discovery: {etcd: {prefix: \"/{a}/\"}}}}\n";
    let mut catalog = Catalog::default();
    catalog.update_texts(&texts(main), None);
    catalog.expand(|template| environments(template, ["1", "2"].into_iter()));
    assert!(!catalog.update_texts(&texts("--- main\nroutes: ["), None));
    assert_eq!(catalog.rules().routes().len(), 2);
    catalog.expand(|template| environments(template, ["2"].into_iter()));
    let names: Vec<_> = catalog.rules().routes().map(|route| route.name().to_string()).collect();
    assert_eq!(names, ["r.2"]);
}

#[test]
fn an_upstream_stays_a_template_as_long_as_routes_need_it() {
    check(
        r#"
        --- main
        routes: {r: {hosts: ["{a}.test"], upstream: u}}
        upstreams: {u: {discovery: {etcd: {prefix: "/{a}/"}}}}
        >>>>
        upstreams u /{a}/
        routes r {"a"}
        ====
        --- main
        routes: {r: {hosts: ["{a}.test"], upstream: u}}
        upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
        >>>>
        upstreams u /{a}/
        routes r {"a"}
        main:1:53: routes.r.upstream: upstream `u` has no captures in its prefix, and the hosts of this route have; it was edited but is still used, and stays as it was
        ====
        --- main
        routes: {r: {upstream: u}}
        upstreams: {u: {endpoints: ["127.0.0.1:1"]}}
        >>>>
        route r > u
        upstream u 1
        ====
        --- main
        routes: {r: {upstream: u}, s: {hosts: ["{a}.test"], upstream: u}}
        upstreams: {u: {discovery: {etcd: {prefix: "/{a}/"}}}}
        >>>>
        route r > u
        upstream u 1
        main:1:32: routes.r.upstream: upstream `u` is a template: only a route whose hosts have its captures can name it; it was edited but is still used, and stays as it was
        main:1:71: routes.s.upstream: upstream `u` has no captures in its prefix, and the hosts of this route have; not in force until there is one
        "#,
    );
}

/// Nobody knows a text that makes Serin fail, so this one does.
pub(super) fn spring_trap(text: &Text) {
    assert!(!text.content.as_ref().is_ok_and(|content| content.contains("# the trap")), "the trap");
}

#[test]
fn an_object_as_json_means_the_same() {
    let rules = r#"
listeners: {web: {address: "127.0.0.1:80"}}
routes:
  a: {upstream: u, upgrade: [], hosts: [a.test, "*.b.test"], paths: [{prefix: /x}, {regex: "/y.*"}], release: r,
      timeouts: {request: 1s}, limits: {body: 0, in_flight_per_key: {limit: 2}}, encoded_slashes: keep, headers: {x-a: {exact: b}},
      filters: [{set_request_header: {x-edge: "1"}}], mirror: {upstream: v, percent: 1}, hedge: {after: 10ms}, sample: false}
  b: {split: [{upstream: u, weight: 0}, {upstream: v, weight: 1}]}
upstreams:
  u: {endpoints: ["10.0.0.1:80", {address: "10.0.0.2:80", weight: 0}], balance: {dwrr: {window: 4s}}, breaker: false}
  v: {discovery: {etcd: {prefix: /v/}}, health: {path: /h}, retry: {tries: 1}, breaker: "NetworkErrorRatio() > 0.5"}
releases:
  r: {stable: u, canary: v, audience: [{name: office, ip: [10.0.0.0/8], percent: 12.5}, {name: all}], phases: [1, 100]}
"#;
    let mut catalog = Catalog::default();
    catalog.update_texts(&vec![text("main", rules)].into(), None);
    assert!(catalog.problems().is_empty(), "{:?}", catalog.problems());
    let objects: Vec<_> = catalog.objects().collect();
    assert_eq!(objects.len(), 6);
    for object in objects {
        let ((kind, name), json) = (object.key(), object.json());
        let kind = TextKind::Object { kind, name, revision: 1 };
        let mut again = Catalog::default();
        again.update_texts(&vec![Text { name: "key".into(), content: Ok(json.as_str().into()), kind }].into(), None);
        assert!(again.readable().next().is_some_and(|read| read.says_the_same(&object)), "{json}");
    }
}
