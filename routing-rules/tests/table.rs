//! Which route serves a request: cases as data, then the table against a scan of all rules.

use std::collections::BTreeMap;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use routing_rules::release::{Command, ReleaseContext, ReleaseRecord, SignedCommand};
use routing_rules::request::{RequestView, canonical};
use routing_rules::rules::{Kind, Object, Route, RuleSet};
use routing_rules::spec::{
    AudienceRuleSpec, EndpointSpec, ListenerSpec, MirrorSpec, PathSpec, Percent, PercentSpec, ReleaseSpec, RouteSpec,
    Spec, SplitSpec, StickySpec, TextMatchSpec, UpstreamSpec,
};
use routing_rules::table::{CompiledTarget, Example, Pair, RouteTable};

/// One block a case: routes, an empty line, requests. A route is `name: condition…`, a request `METHOD URL fact… => route`.
///
/// Conditions: a host, `=/exact`, `/prefix`, `~regex`, `GET|POST`, `@listener`, `ip:network`, `h:name[=value]`, `q:name[=value]`.
/// Facts: `h:name=value`, `ip:address`, `@listener`.
const CASES: &[&str] = &[
    // hosts: exact before wildcard before any
    "
    exact: shop.example.com
    wild: *.example.com
    any: /

    GET http://shop.example.com/ => exact
    GET http://SHOP.Example.COM:8080/x => exact
    GET http://shop.example.com./x => exact
    GET http://blog.example.com/ => wild
    GET http://example.com/ => any
    GET http://a.shop.example.com/ => any
    GET http://shop.example.org/ => any
    GET http:///x => any
    ",
    // a wildcard is exactly one label
    "
    wild: *.example.com
    deep: *.a.example.com

    GET http://x.example.com/ => wild
    GET http://x.a.example.com/ => deep
    GET http://a.example.com/ => wild
    GET http://.example.com/ => none
    GET http://example.com/ => none
    GET http://xexample.com/ => none
    GET http://x.y.example.com/ => none
    GET http://x.example.com.evil.org/ => none
    ",
    // two stars are one label or more: the longer domain first, and one label before any number of them
    "
    one: *.example.com
    more: **.example.com
    deep: **.a.example.com
    any: /

    GET http://x.example.com/ => one
    GET http://x.y.example.com/ => more
    GET http://x.a.example.com/ => deep
    GET http://x.y.a.example.com/ => deep
    GET http://a.example.com/ => one
    GET http://.example.com/ => none
    GET http://example.com/ => any
    GET http://xexample.com/ => any
    ",
    // what the exact host does not take falls through to the wildcard, then to any host
    "
    exact: shop.example.com /cart
    posts: *.example.com POST
    any: /

    GET http://shop.example.com/cart => exact
    POST http://shop.example.com/other => posts
    GET http://shop.example.com/other => any
    ",
    // addresses are hosts
    "
    v4: 192.0.2.1
    v6: [2001:db8::1]

    GET http://192.0.2.1:80/ => v4
    GET http://[2001:DB8:0::1]:443/ => v6
    ",
    // paths: exact before regex before the longest prefix
    "
    exact: a =/x/y
    regex: a ~^/x/.$
    short: a /x
    long: a /x/y/z
    root: a /

    GET http://a/x/y => exact
    GET http://a/x/z => regex
    GET http://a/x/yy => short
    GET http://a/x/y/ => short
    GET http://a/x/y/z => long
    GET http://a/x/y/z/w => long
    GET http://a/x/y/zz => short
    GET http://a/xx => root
    GET http://a/ => root
    ",
    // prefixes are whole segments, and a slash at their end makes no difference
    "
    slash: a /api/
    plain: b /api

    GET http://a/api => slash
    GET http://a/api/ => slash
    GET http://a/api/x => slash
    GET http://a/apix => none
    GET http://a/ap => none
    GET http://b/api/ => plain
    GET http://b/api%2Fx => none
    GET http://b/api;v=1 => none
    ",
    // exact paths are exact, slashes at the end included
    "
    plain: a =/x
    slash: a =/x/

    GET http://a/x => plain
    GET http://a/x/ => slash
    GET http://a/x/y => none
    ",
    // rules and requests meet in canonical form
    "
    spelled: a /%61%2e/../caf%c3%a9//x
    attack: a /admin

    GET http://a/caf%C3%A9/x => spelled
    GET http://a/%63afe/../caf%c3%a9/./x/y => spelled
    GET http://a/public/../admin => attack
    GET http://a//admin/ => attack
    GET http://a/%61dmin => attack
    ",
    // the longer of two expressions that match
    "
    short: a ~^/x
    longer: a ~^/x/[0-9]+$

    GET http://a/x/1 => longer
    GET http://a/x/y => short
    GET http://a/y => none
    ",
    // many expressions are tried as a set; the order is the same
    "
    a1: a ~^/a
    a22: a ~^/a+
    a333: a ~^/a+b
    b1: a ~^/b
    c1: a ~^/c$
    d1: a ~d/e$ POST
    d0: a ~d/e$
    rest: a /

    GET http://a/a => a22
    GET http://a/aab => a333
    GET http://a/b => b1
    GET http://a/c => c1
    GET http://a/cc => rest
    GET http://a/x/d/e => d0
    POST http://a/x/d/e => d1
    ",
    // conditions are asked in their order: method, headers, query, address, listener, name
    "
    method: a GET
    headers: a h:x h:y
    header: a h:x
    query: a q:k=v
    address: a ip:10.0.0.0/8
    listener: a @web
    b-name: a
    a-name: a

    GET http://a/?k=v h:x=1 h:y=1 ip:10.0.0.1 @web => method
    PUT http://a/?k=v h:x=1 h:y=1 ip:10.0.0.1 @web => headers
    PUT http://a/?k=v h:x=1 ip:10.0.0.1 @web => header
    PUT http://a/?k=v ip:10.0.0.1 @web => query
    PUT http://a/?j=v ip:10.0.0.1 @web => address
    PUT http://a/ ip:::ffff:10.0.0.1 @web => address
    PUT http://a/ @web => listener
    PUT http://a/ @other => a-name
    ",
    // no path counts as `/`, so conditions decide between them
    "
    none: a GET
    root: a /

    GET http://a/x => none
    PUT http://a/x => root
    ",
    // a condition that fails falls through to shorter prefixes
    "
    deep: a /x/y POST
    middle: a /x h:q=1
    root: a

    POST http://a/x/y => deep
    GET http://a/x/y h:q=1 => middle
    GET http://a/x/y => root
    ",
    // every host stands with every path
    "
    both: a b /x =/y
    other: b /x/z

    GET http://a/x => both
    GET http://b/y => both
    GET http://b/y/ => none
    GET http://b/x/z => other
    GET http://a/x/z => both
    ",
    // equal hosts and paths of one route are one
    "
    twice: a A /x /x/ =/y =//y
    later: z /

    GET http://a/x => twice
    GET http://a/y => twice
    GET http://z/ => later
    ",
    // the server-wide request has no path
    "
    root: a /
    regex: a ~^\\*$
    any: b OPTIONS

    OPTIONS http://a* => regex
    OPTIONS http://b* => any
    OPTIONS http://c* => none
    ",
    // header fields and query parameters
    "
    absent: a !x
    value: a h:x=1

    GET http://a/ h:x=1 => value
    GET http://a/ h:x=11 => none
    GET http://a/ => absent
    GET http://a/ h:X=1 => value
    ",
    "
    first: a q:k=1
    empty: a q:k=

    GET http://a/?k=1 => first
    GET http://a/?k=2&k=1 => none
    GET http://a/?k => empty
    GET http://a/?k= => empty
    GET http://a/?kk=1 => none
    ",
];

#[test]
fn cases() {
    for case in CASES {
        let (routes, requests) = case.trim().split_once("\n\n").unwrap();
        let table = RouteTable::compile(&rules(&spec_of(routes)), &ReleaseContext::default());
        for line in requests.lines() {
            let (request, expected) = line.trim().split_once(" => ").unwrap();
            let answer = Facts::parse(request)
                .map(|facts| name(table.find(&facts.view()).map(|found| found.route().name().as_str())));
            assert_eq!(answer.as_deref().unwrap_or("none"), expected, "\n{}\n\n    {request}", routes.trim());
        }
    }
}

#[test]
fn a_hundred_or_ten_thousand_hosts_make_no_difference() {
    for hosts in [1, 100, 10_000] {
        let mut spec = Spec::default();
        for index in 0..hosts {
            route(&mut spec, &format!("exact-{index}"), &format!("h{index}.example.com"));
            route(&mut spec, &format!("wild-{index}"), &format!("*.w{index}.example.com"));
        }
        route(&mut spec, "any", "/any");
        let table = RouteTable::compile(&rules(&spec), &ReleaseContext::default());
        for index in [0, hosts / 2, hosts - 1] {
            let cases = [
                (format!("GET http://H{index}.Example.com:99/x"), format!("exact-{index}")),
                (format!("GET http://h{index}.example.com./"), format!("exact-{index}")),
                (format!("GET http://x.w{index}.example.com/"), format!("wild-{index}")),
                (format!("GET http://x.y.w{index}.example.com/"), "none".into()),
                (format!("GET http://w{index}.example.com/any"), "any".into()),
                (format!("GET http://h{index}.example.org/any/x"), "any".into()),
                (format!("GET http://h{index}.example.org/other"), "none".into()),
            ];
            for (request, expected) in cases {
                let facts = Facts::parse(&request).unwrap();
                assert_eq!(
                    name(table.find(&facts.view()).map(|found| found.route().name().as_str())),
                    expected,
                    "{hosts} hosts: {request}"
                );
            }
        }
    }
}

#[test]
fn the_table_agrees_with_a_scan_of_all_rules() {
    let mut random = Random(3);
    let mut found = 0;
    for round in 0..600 {
        let spec = random.spec([3, 10, 40, 200][round % 4]);
        let table = RouteTable::compile(&RuleSet::from_spec(&spec).0, &ReleaseContext::default());
        for _ in 0..100 {
            found += usize::from(agree(&table, &spec, &random.facts()));
        }
    }
    assert!(found > 20_000, "only {found} requests found a route: too few to say anything");
}

/// What patterns are said to have in common holds for every request.
#[test]
fn pairs_of_routes_meet_and_cover_as_requests_do() {
    let mut random = Random(11);
    let (mut apart, mut covered, mut made_up) = (0, 0, 0);
    for _ in 0..6_000 {
        let routes = [(); 3].map(|()| random.single_pair());
        let tables = routes.each_ref().map(table_of);
        let rules = tables.each_ref().map(|table| table.routes().next().unwrap().rules().clone());
        let [one, other, wide] = rules.each_ref().map(|route| Pair::all_of(route).next().unwrap());
        let (may_meet, covers) = (one.may_meet(&other), wide.covers(&[one, other]));
        assert_eq!(may_meet, other.may_meet(&one), "{routes:#?}");
        let takes = |view: &RequestView<'_>| tables.each_ref().map(|table| table.find(view).is_some());
        for facts in (0..20).map(|_| random.facts()) {
            if let [true, true, by_wide] = takes(&facts.view()) {
                assert!(may_meet && (by_wide || !covers), "{facts:?}\n{routes:#?}");
            }
        }
        for example in Example::matching(&[one, other], &["l1", "l2"]) {
            let [by_one, by_other, by_wide] = takes(&example.view());
            assert!(by_one && by_other && may_meet && (by_wide || !covers), "{example}\n{routes:#?}");
            made_up += 1;
        }
        apart += usize::from(!may_meet);
        covered += usize::from(may_meet && covers);
    }
    assert!(apart > 1_000 && covered > 100 && made_up > 1_000, "{apart} {covered} {made_up}: too few to say anything");
}

#[test]
fn an_update_is_as_good_as_compiling_anew() {
    let mut random = Random(5);
    for round in 0..90 {
        let mut spec = random.spec([2, 12, 60][round % 3]);
        let mut context = ReleaseContext::default();
        let (mut rules, _) = RuleSet::from_spec(&spec);
        let mut table = RouteTable::compile(&rules, &context);
        for _ in 0..30 {
            for _ in 0..=random.below(4) {
                random.edit(&mut spec);
            }
            random.move_a_release(&rules, &mut context);
            let (fresh, _) = RuleSet::from_spec(&spec);
            rules = if random.below(2) == 0 { fresh } else { carry_over(&rules, &fresh) };
            let before = ids(&table);
            table = table.update(&rules, &context);
            same(&table, &RouteTable::compile(&rules, &context));
            ids_are_kept(&before, &table);
            for _ in 0..20 {
                agree(&table, &spec, &random.facts());
            }
        }
        let empty = table.update(&RuleSet::default(), &context);
        assert_eq!((empty.routes().count(), empty.upstreams().count(), empty.releases().count()), (0, 0, 0));
        same(&empty.update(&rules, &context), &table);
    }
}

#[test]
fn an_update_shares_what_did_not_change() {
    let mut spec = Spec::default();
    for index in 0..50 {
        route(&mut spec, &format!("r{index}"), &format!("h{index} /x"));
    }
    let mut rules = rules(&spec);
    let context = ReleaseContext::default();
    let table = RouteTable::compile(&rules, &context);
    let mut problems = Vec::new();
    let changed = RouteSpec { hosts: vec!["other".into()], upstream: Some("u".into()), ..RouteSpec::default() };
    rules.insert(Object::Route(Route::new("r7", &changed, &mut problems).unwrap().into()));
    let next = table.update(&rules, &context);
    for (old, new) in table.routes().zip(next.routes()) {
        assert_eq!(old.id(), new.id());
        assert_eq!(std::ptr::eq(old, new), old.name().as_str() != "r7");
    }
    let host = |table: &RouteTable, url: &str| table.find(&Facts::parse(url).unwrap().view()).is_some();
    assert!(host(&next, "GET http://other/") && !host(&next, "GET http://h7/x"));
    assert!(host(&table, "GET http://h7/x"), "the old table still answers as before");
}

#[test]
fn a_new_release_state_compiles_that_release_only() {
    let mut spec = Spec::default();
    release(&mut spec, "one", "u", "v");
    release(&mut spec, "two", "u", "v");
    spec.routes.insert(
        "r".into(),
        RouteSpec { upstream: Some("u".into()), release: vec!["one".into(), "two".into()], ..RouteSpec::default() },
    );
    let rules = rules(&spec);
    let context = ReleaseContext::default();
    let table = RouteTable::compile(&rules, &context);
    let (one, two) = (table.release_id("one").unwrap(), table.release_id("two").unwrap());
    assert_eq!(table.routes().next().unwrap().releases(), [one, two]);

    let mut moved = context.clone();
    let release = rules.releases().next().unwrap();
    let record = ReleaseRecord::begin(release, 7, None, 0);
    let everybody = SignedCommand { command: Command::Set(Percent::ALL), by: "anna", reason: "" };
    let record = record.after(&everybody, release, 0).unwrap().unwrap();
    moved.records.insert(release.name().clone(), record.into());
    let next = table.update(&rules, &moved);
    let same = |id| std::sync::Arc::ptr_eq(table.release(id).unwrap(), next.release(id).unwrap());
    assert!(!same(one) && same(two));
    assert!(std::ptr::eq(table.routes().next().unwrap(), next.routes().next().unwrap()));
}

#[test]
fn objects_with_dangling_references_are_skipped_until_they_are_whole() {
    let mut spec = Spec::default();
    release(&mut spec, "canary", "u", "v");
    spec.upstreams.remove("v");
    route(&mut spec, "plain", "a");
    spec.routes.insert(
        "moved".into(),
        RouteSpec { upstream: Some("u".into()), release: vec!["canary".into()], ..RouteSpec::default() },
    );
    spec.routes.insert(
        "lost".into(),
        RouteSpec { upstream: Some("nowhere".into()), listeners: vec!["web".into()], ..RouteSpec::default() },
    );
    let mirror: MirrorSpec = serde_json::from_str(r#"{"upstream": "v"}"#).unwrap();
    spec.routes.insert(
        "watched".into(),
        RouteSpec { upstream: Some("u".into()), mirror: Some(mirror), ..RouteSpec::default() },
    );
    let auth = serde_json::from_str(r#"{"upstream": "u", "filters": [{"forward_auth": {"upstream": "v"}}]}"#).unwrap();
    spec.routes.insert("asked".into(), auth);
    let (mut rules, _) = RuleSet::from_spec(&spec);
    let table = RouteTable::compile(&rules, &ReleaseContext::default());
    let skipped: Vec<String> = table.skipped().iter().map(ToString::to_string).collect();
    assert_eq!(
        skipped,
        [
            "routes.asked.filters[0].forward_auth.upstream: there is no upstream `v`",
            "routes.lost.upstream: there is no upstream `nowhere`",
            "routes.lost.listeners[0]: there is no listener `web`",
            "routes.watched.mirror.upstream: there is no upstream `v`",
            "releases.canary.canary: there is no upstream `v`",
            "routes.moved.release: release `canary` names an upstream that is not there",
        ]
    );
    assert_eq!(table.routes().count(), 1);

    let mut more = Spec::default();
    more.upstreams.insert("v".into(), UpstreamSpec::default());
    more.upstreams.insert("nowhere".into(), UpstreamSpec::default());
    more.listeners.insert("web".into(), ListenerSpec { address: "127.0.0.1:80".into(), ..Default::default() });
    let (more, _) = RuleSet::from_spec(&more);
    for (kind, name) in [(Kind::Upstream, "v"), (Kind::Upstream, "nowhere"), (Kind::Listener, "web")] {
        rules.insert(more.object(kind, name).unwrap());
    }
    let whole = table.update(&rules, &ReleaseContext::default());
    assert_eq!((whole.routes().count(), whole.skipped()), (5, vec![]));

    rules.remove(Kind::Upstream, "v");
    let again = whole.update(&rules, &ReleaseContext::default());
    assert_eq!((again.routes().count(), again.releases().count()), (2, 0));
}

#[test]
fn splits_name_their_upstreams_in_order() {
    let mut spec = Spec::default();
    let part = |upstream: &str, weight| SplitSpec { upstream: upstream.into(), weight };
    for name in ["a", "b"] {
        spec.upstreams.insert(name.into(), UpstreamSpec::default());
    }
    spec.routes.insert(
        "r".into(),
        RouteSpec { split: vec![part("b", 0), part("a", 5), part("b", 1)], ..RouteSpec::default() },
    );
    let table = RouteTable::compile(&rules(&spec), &ReleaseContext::default());
    let CompiledTarget::Split { schedule, upstreams } = table.routes().next().unwrap().target() else {
        panic!("a split")
    };
    let ids = ["b", "a", "b"].map(|name| table.upstream_id(name).unwrap());
    assert_eq!(**upstreams, ids);
    assert_eq!((schedule.pick(0), schedule.pick(u64::MAX)), (1, 2));
}

#[test]
fn slots_are_given_away_again() {
    let with = |names: &[&str]| {
        let mut spec = Spec::default();
        for name in names {
            spec.upstreams.insert((*name).into(), UpstreamSpec::default());
        }
        rules(&spec)
    };
    let context = ReleaseContext::default();
    let table = RouteTable::compile(&with(&["a", "b", "c"]), &context);
    let c = table.upstream_id("c").unwrap();
    let fewer = table.update(&with(&["c"]), &context);
    assert_eq!((fewer.upstream_id("c"), fewer.upstream_id("a"), fewer.upstream_slots()), (Some(c), None, 3));
    let other = fewer.update(&with(&["c", "d", "e"]), &context);
    assert_eq!((other.upstream_id("c"), other.upstream_slots()), (Some(c), 3));
    assert_eq!(other.upstreams().map(|(_, upstream)| upstream.name().as_str()).collect::<Vec<_>>(), ["c", "d", "e"]);
    assert!(other.upstreams().all(|(id, upstream)| other.upstream(id).unwrap().name() == upstream.name()));
}

#[test]
fn very_deep_prefixes_work_and_need_no_stack() {
    let mut spec = Spec::default();
    for depth in [1, 63, 64, 65, 66, 200_000] {
        route(&mut spec, &format!("d{depth}"), &format!("a {}", "/x".repeat(depth)));
    }
    route(&mut spec, "regex", "a ~^/x/x/y");
    let table = RouteTable::compile(&rules(&spec), &ReleaseContext::default());
    for (depth, expected) in
        [(1, "d1"), (62, "d1"), (63, "d63"), (64, "d64"), (65, "d65"), (66, "d66"), (70, "d66"), (200_001, "d200000")]
    {
        let facts = Facts::parse(&format!("GET http://a{}", "/x".repeat(depth))).unwrap();
        assert_eq!(name(table.find(&facts.view()).map(|found| found.route().name().as_str())), expected);
    }
    let empty = table.update(&RuleSet::default(), &ReleaseContext::default());
    assert!(empty.find(&Facts::parse("GET http://a/x").unwrap().view()).is_none());
}

#[test]
fn nothing_that_can_be_written_makes_compiling_panic() {
    let mut random = Random(17);
    for _ in 0..2_000 {
        let mut spec = random.spec(5);
        for route in spec.routes.values_mut() {
            for _ in 0..random.below(3) {
                let junk = random.junk();
                match random.below(8) {
                    0 => route.hosts.push(junk),
                    1 => route.paths.push(PathSpec::Prefix(junk)),
                    2 => route.paths.push(PathSpec::Exact(junk)),
                    3 => route.paths.push(PathSpec::Regex(junk)),
                    4 => route.client_ip.push(junk),
                    5 => drop(route.headers.insert(junk.clone(), TextMatchSpec::Regex(junk))),
                    6 => route.release.push(junk),
                    _ => route.listeners.push(junk),
                }
            }
        }
        let (rules, _) = RuleSet::from_spec(&spec);
        let table = RouteTable::compile(&rules, &ReleaseContext::default());
        for _ in 0..5 {
            let _ = table.find(&random.facts().view());
        }
    }
}

/// A table with this route alone.
fn table_of(route: &RouteSpec) -> RouteTable {
    let mut spec = Spec::default();
    spec.routes.insert("route".into(), route.clone());
    spec.upstreams.insert("u1".into(), UpstreamSpec::default());
    for name in ["l1", "l2"] {
        spec.listeners.insert(name.into(), ListenerSpec { address: "127.0.0.1:1".into(), ..Default::default() });
    }
    RouteTable::compile(&rules(&spec), &ReleaseContext::default())
}

/// Table and scan give the same answer; whether it was a route.
fn agree(table: &RouteTable, spec: &Spec, facts: &Facts) -> bool {
    let view = facts.view();
    let found = table.find(&view);
    let fast = found.map(|found| found.route().name().as_str());
    assert_eq!(fast, scan(spec, &view), "{facts:?}\n{:#?}", spec.routes);
    if let Some(found) = found {
        assert!(std::ptr::eq(table.route(found.id()).unwrap(), found.route()));
    }
    fast.is_some()
}

/// The most specific of all routes that match, found by asking every one of them as it was written.
fn scan<'s>(spec: &'s Spec, request: &RequestView<'_>) -> Option<&'s str> {
    let mut best = None;
    for (name, route) in
        spec.routes.iter().filter(|(_, route)| is_whole(route, spec) && conditions_hold(route, request))
    {
        for host in host_ranks(&route.hosts, request.host) {
            for path in path_ranks(&route.paths, request.path) {
                let counted = (
                    route.methods.is_empty(),
                    -(route.headers.len() as i64),
                    -(route.query.len() as i64),
                    route.client_ip.is_empty(),
                    route.listeners.is_empty(),
                    route.order,
                );
                let candidate = (host, path, counted, name.as_str());
                best = Some(best.map_or(candidate, |best| candidate.min(best)));
            }
        }
    }
    best.map(|(.., name)| name)
}

fn is_whole(route: &RouteSpec, spec: &Spec) -> bool {
    let upstream = |name: &String| spec.upstreams.contains_key(name);
    route.upstream.iter().all(upstream)
        && route.split.iter().all(|part| upstream(&part.upstream))
        && route.listeners.iter().all(|name| spec.listeners.contains_key(name))
        && route.release.iter().all(|name| {
            spec.releases.get(name).is_some_and(|release| upstream(&release.stable) && upstream(&release.canary))
        })
}

fn host_ranks(hosts: &[String], host: &str) -> Vec<i64> {
    let rank = |pattern: &String| match pattern.to_lowercase().trim_start_matches('*') {
        suffix if pattern.starts_with("**") => {
            let labels = host.strip_suffix(suffix).filter(|labels| !labels.is_empty() && !labels.starts_with('.'));
            labels.map(|_| 1_000 - suffix.len() as i64)
        }
        suffix if pattern.starts_with('*') => {
            host.strip_suffix(suffix).is_some_and(|label| !label.is_empty() && !label.contains('.')).then_some(1)
        }
        name => (name == host).then_some(0),
    };
    if hosts.is_empty() { vec![1_000] } else { hosts.iter().filter_map(rank).collect() }
}

fn path_ranks(paths: &[PathSpec], path: &str) -> Vec<(i64, i64)> {
    let rank = |pattern: &PathSpec| match pattern {
        PathSpec::Exact(exact) => (exact == path).then_some((0, 0)),
        PathSpec::Regex(regex) => {
            regex::Regex::new(regex).unwrap().is_match(path).then_some((1, -(regex.len() as i64)))
        }
        PathSpec::Prefix(prefix) => {
            let wanted: Vec<&str> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
            let there: Vec<&str> = path.split('/').skip(1).collect();
            (path != "*" && there.starts_with(&wanted)).then_some((2, -(wanted.len() as i64)))
        }
    };
    if paths.is_empty() { vec![(2, 0)] } else { paths.iter().filter_map(rank).collect() }
}

fn conditions_hold(route: &RouteSpec, request: &RequestView<'_>) -> bool {
    let holds = |pattern: &TextMatchSpec, text: Option<&str>| match pattern {
        TextMatchSpec::Exact(exact) => text == Some(exact),
        TextMatchSpec::Prefix(prefix) => text.is_some_and(|text| text.starts_with(prefix)),
        TextMatchSpec::Regex(regex) => text.is_some_and(|text| regex::Regex::new(regex).unwrap().is_match(text)),
        TextMatchSpec::Present(there) => text.is_some() == *there,
    };
    let query = |name: &str| {
        let pairs = request.query.into_iter().flat_map(|query| query.split('&'));
        pairs
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    let contains = |network: &String| network.parse::<ipnet::IpNet>().unwrap().contains(&request.client);
    (route.methods.is_empty() || route.methods.iter().any(|method| method == request.method.as_str()))
        && (route.listeners.is_empty() || route.listeners.iter().any(|name| name == request.listener))
        && (route.client_ip.is_empty() || route.client_ip.iter().any(contains))
        && route
            .headers
            .iter()
            .all(|(name, pattern)| holds(pattern, request.headers.get(name).map(|value| value.to_str().unwrap())))
        && route.query.iter().all(|(name, pattern)| holds(pattern, query(name)))
}

/// The fresh rules, built from the old ones object by object as an etcd watch does.
fn carry_over(old: &RuleSet, fresh: &RuleSet) -> RuleSet {
    let mut next = old.clone();
    for kind in Kind::ALL {
        for name in names(old, kind).difference(&names(fresh, kind)) {
            next.remove(kind, name);
        }
        for name in names(fresh, kind) {
            let (before, after) = (old.object(kind, &name), fresh.object(kind, &name).unwrap());
            if before.is_none_or(|before| format!("{before:?}") != format!("{after:?}")) {
                next.insert(after);
            }
        }
    }
    next
}

fn names(rules: &RuleSet, kind: Kind) -> std::collections::BTreeSet<String> {
    match kind {
        Kind::Listener => rules.listeners().map(|object| object.name().to_string()).collect(),
        Kind::Route => rules.routes().map(|object| object.name().to_string()).collect(),
        Kind::Upstream => rules.upstreams().map(|object| object.name().to_string()).collect(),
        Kind::Release => rules.releases().map(|object| object.name().to_string()).collect(),
        Kind::Certificate => rules.certificates().map(|object| object.name().to_string()).collect(),
        Kind::AcmeAccount => rules.acme_accounts().map(|object| object.name().to_string()).collect(),
    }
}

/// Both tables hold the same, whatever their numbers are.
fn same(one: &RouteTable, other: &RouteTable) {
    assert_eq!(shown(one), shown(other));
    assert_eq!(one.skipped(), other.skipped());
}

fn shown(table: &RouteTable) -> Vec<String> {
    let upstream = |id| table.upstream(id).unwrap();
    let release = |id: &_| table.release(*id).unwrap();
    let routes = table.routes().map(|route| {
        let target = match route.target() {
            CompiledTarget::Upstream(id) => format!("{:?}", upstream(*id)),
            CompiledTarget::Split { schedule, upstreams } => {
                format!("{schedule:?} {:?}", upstreams.iter().map(|id| upstream(*id)).collect::<Vec<_>>())
            }
            CompiledTarget::Redirect => "redirect".into(),
        };
        let releases: Vec<_> = route.releases().iter().map(|id| &release(id).assigner).collect();
        format!("{} {:?} {target} {releases:?}", route.name(), route.rules())
    });
    let releases = table.releases().map(|(_, release)| {
        format!("{:?} {:?} {:?}", release.assigner, upstream(release.stable), upstream(release.canary))
    });
    let upstreams = table.upstreams().map(|(_, upstream)| format!("{upstream:?}"));
    routes.chain(releases).chain(upstreams).collect()
}

fn ids(table: &RouteTable) -> BTreeMap<String, usize> {
    let routes = table.routes().map(|route| (format!("route {}", route.name()), route.id().index()));
    let upstreams = table.upstreams().map(|(id, upstream)| (format!("upstream {}", upstream.name()), id.index()));
    routes.chain(upstreams).collect()
}

fn ids_are_kept(before: &BTreeMap<String, usize>, table: &RouteTable) {
    let now = ids(table);
    for (name, id) in before {
        assert!(now.get(name).is_none_or(|now| now == id), "{name} had {id} and has {:?}", now.get(name));
    }
    assert!(table.upstreams().all(|(id, _)| id.index() < table.upstream_slots()));
}

fn name(found: Option<&str>) -> String {
    found.unwrap_or("none").to_owned()
}

fn rules(spec: &Spec) -> RuleSet {
    let (rules, problems) = RuleSet::from_spec(spec);
    assert!(problems.is_empty(), "{problems:?}");
    rules
}

fn spec_of(routes: &str) -> Spec {
    let mut spec = Spec::default();
    for line in routes.lines() {
        let (name, conditions) = line.trim().split_once(':').unwrap();
        route(&mut spec, name, conditions);
    }
    spec
}

/// Adds a route in the notation of [`CASES`].
fn route(spec: &mut Spec, name: &str, conditions: &str) {
    let mut route = RouteSpec { upstream: Some("u".into()), ..RouteSpec::default() };
    let text = |text: &str| match text.split_once('=') {
        Some((name, value)) => (name.to_owned(), TextMatchSpec::Exact(value.into())),
        None => (text.to_owned(), TextMatchSpec::Present(true)),
    };
    for word in conditions.split_whitespace() {
        if let Some(path) = word.strip_prefix('=') {
            route.paths.push(PathSpec::Exact(path.into()));
        } else if let Some(regex) = word.strip_prefix('~') {
            route.paths.push(PathSpec::Regex(regex.into()));
        } else if word.starts_with('/') {
            route.paths.push(PathSpec::Prefix(word.into()));
        } else if let Some(listener) = word.strip_prefix('@') {
            spec.listeners
                .insert(listener.into(), ListenerSpec { address: "127.0.0.1:80".into(), ..Default::default() });
            route.listeners.push(listener.into());
        } else if let Some(network) = word.strip_prefix("ip:") {
            route.client_ip.push(network.into());
        } else if let Some(header) = word.strip_prefix("h:") {
            route.headers.extend([text(header)]);
        } else if let Some(header) = word.strip_prefix('!') {
            route.headers.insert(header.into(), TextMatchSpec::Present(false));
        } else if let Some(query) = word.strip_prefix("q:") {
            route.query.extend([text(query)]);
        } else if ["GET", "POST", "OPTIONS"].contains(&word) {
            route.methods.push(word.into());
        } else {
            route.hosts.push(word.into());
        }
    }
    spec.upstreams.insert("u".into(), UpstreamSpec::default());
    spec.routes.insert(name.into(), route);
}

fn release(spec: &mut Spec, name: &str, stable: &str, canary: &str) {
    for upstream in [stable, canary] {
        spec.upstreams.entry(upstream.into()).or_default();
    }
    spec.releases.insert(name.into(), release_spec(stable, canary, 10));
}

fn release_spec(stable: &str, canary: &str, percent: u16) -> ReleaseSpec {
    let percent = Percent::from_basis_points(percent * 100).unwrap();
    ReleaseSpec {
        stable: stable.into(),
        canary: canary.into(),
        audience: vec![AudienceRuleSpec {
            name: "everyone".into(),
            percent: PercentSpec::Phase,
            ..AudienceRuleSpec::default()
        }],
        phases: vec![percent.into()],
        sticky: StickySpec::default(),
        override_: None,
        expose: false,
        analysis: routing_rules::spec::AnalysisSpec::default(),
        force: None,
    }
}

/// A request that owns its facts.
#[derive(Debug)]
struct Facts {
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    client: IpAddr,
    listener: String,
}

impl Facts {
    /// Reads `METHOD http://host/path?query fact…`; `None` if host or path would be refused.
    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let method = words.next()?.parse().ok()?;
        let rest = words.next()?.strip_prefix("http://")?;
        let (authority, target) = rest.split_at(rest.find(['/', '*']).unwrap_or(rest.len()));
        let (path, query) =
            target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query.to_owned())));
        let path = if path == "*" { path.to_owned() } else { canonical::path(path.as_bytes()).ok()?.into_owned() };
        let host = canonical::host(authority.as_bytes()).ok()?.name().to_owned();
        let mut facts = Self {
            method,
            host,
            path,
            query,
            headers: HeaderMap::new(),
            client: [192, 0, 2, 1].into(),
            listener: String::new(),
        };
        for word in words {
            if let Some(header) = word.strip_prefix("h:") {
                let (name, value) = header.split_once('=').unwrap();
                facts.headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
            } else if let Some(address) = word.strip_prefix("ip:") {
                facts.client = address.parse().unwrap();
            } else if let Some(listener) = word.strip_prefix('@') {
                facts.listener = listener.into();
            } else {
                panic!("`{word}` is no fact");
            }
        }
        Some(facts)
    }

    fn view(&self) -> RequestView<'_> {
        RequestView {
            query: self.query.as_deref(),
            listener: &self.listener,
            ..RequestView::new(&self.method, &self.host, &self.path, &self.headers, self.client)
        }
    }
}

/// xorshift64*: the same rules and requests in every run. All choices are from small sets, so that much collides.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize) % limit
    }

    fn one(&mut self, choices: &[&str]) -> String {
        choices[self.below(choices.len())].to_owned()
    }

    /// Mostly none, sometimes some.
    fn some<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(most + 3).saturating_sub(2);
        (0..count).map(|_| make(self)).collect()
    }

    fn host(&mut self) -> String {
        self.one(&["a", "a.example", "b.example", "x.a.example", "B.Example", "c.d.a.example"])
    }

    fn path(&mut self) -> String {
        let depth = self.below(5);
        let segments: String =
            (0..depth).map(|_| "/".to_owned() + &self.one(&["a", "b", "ab", "c%2Fd", "e;f"])).collect();
        segments + &self.one(&["", "/"])
    }

    fn path_spec(&mut self) -> PathSpec {
        let path = self.path();
        let path = if path.is_empty() { "/".into() } else { path };
        match self.below(6) {
            0 | 1 => PathSpec::Exact(path),
            2 => PathSpec::Regex(self.one(&[
                "^/a",
                "^/b",
                "/a/b$",
                "^/a/(a|b)+",
                "b",
                "^/[ab]+$",
                "^\\*$",
                "/ab/",
                "^/$",
            ])),
            _ => PathSpec::Prefix(path),
        }
    }

    fn route(&mut self) -> RouteSpec {
        let mut route = RouteSpec {
            hosts: self.some(3, |random| match random.below(4) {
                0 => format!("*.{}", random.host()),
                1 => format!("**.{}", random.host()),
                _ => random.host(),
            }),
            paths: self.some(4, Self::path_spec),
            methods: self.some(1, |random| random.one(&["GET", "POST"])),
            headers: self.some(2, |random| (random.one(&["h1", "h2"]), random.pattern())).into_iter().collect(),
            query: self.some(2, |random| (random.one(&["q1", "q2"]), random.pattern())).into_iter().collect(),
            client_ip: self
                .some(2, |random| random.one(&["10.0.0.0/8", "10.1.0.0/16", "192.0.2.1/32", "2001:db8::/32"])),
            listeners: self.some(1, |random| random.one(&["l1", "l2"])),
            release: self.some(1, |random| random.one(&["r1", "r2"])),
            order: self.below(2) as u64,
            ..RouteSpec::default()
        };
        match self.below(4) {
            0 => {
                route.split = (0..2)
                    .map(|weight| SplitSpec { upstream: self.one(&["u1", "u2", "u3"]), weight: weight + 1 })
                    .collect()
            }
            _ => route.upstream = Some(self.one(&["u1", "u2", "u3"])),
        }
        route
    }

    /// A route with at most one host and one path.
    fn single_pair(&mut self) -> RouteSpec {
        let mut route = self.route();
        route.hosts.truncate(1);
        route.paths.truncate(1);
        RouteSpec { upstream: Some("u1".into()), split: Vec::new(), release: Vec::new(), ..route }
    }

    fn pattern(&mut self) -> TextMatchSpec {
        match self.below(5) {
            0 => TextMatchSpec::Present(true),
            1 => TextMatchSpec::Present(false),
            2 => TextMatchSpec::Prefix("1".into()),
            3 => TextMatchSpec::Regex("2$".into()),
            _ => TextMatchSpec::Exact("1".into()),
        }
    }

    /// A spec in which nearly every reference leads somewhere.
    fn spec(&mut self, routes: usize) -> Spec {
        let mut spec = Spec::default();
        for name in ["u1", "u2", "u3", "l1", "l2", "r1", "r2"] {
            if self.below(10) > 0 {
                self.put(&mut spec, name);
            }
        }
        for _ in 0..routes {
            let name = format!("x{}", self.below(routes * 2));
            spec.routes.insert(name, self.route());
        }
        spec
    }

    fn put(&mut self, spec: &mut Spec, name: &str) {
        match name.as_bytes()[0] {
            b'u' => {
                let endpoints = (0..self.below(3))
                    .map(|index| EndpointSpec { address: format!("10.0.0.{}:80", index + 1), weight: 1 })
                    .collect();
                spec.upstreams.insert(name.into(), UpstreamSpec { endpoints, ..UpstreamSpec::default() });
            }
            b'l' => drop(spec.listeners.insert(
                name.into(),
                ListenerSpec { address: format!("127.0.0.1:{}", self.below(5)), ..Default::default() },
            )),
            _ => {
                let canary = self.one(&["u2", "u3"]);
                let percent = self.below(100) as u16;
                spec.releases.insert(name.into(), release_spec("u1", &canary, percent));
            }
        }
    }

    /// One object comes, goes or changes.
    fn edit(&mut self, spec: &mut Spec) {
        let gone = self.below(3) == 0;
        let name = self.one(&["u1", "u2", "u3", "l1", "l2", "r1", "r2", "x", "x", "x", "x", "x", "x", "x"]);
        match name.as_bytes()[0] {
            b'x' => {
                let name = format!("x{}", self.below(spec.routes.len() * 2 + 2));
                match gone {
                    true => drop(spec.routes.remove(&name)),
                    false => drop(spec.routes.insert(name, self.route())),
                }
            }
            b'u' if gone => drop(spec.upstreams.remove(&name)),
            b'l' if gone => drop(spec.listeners.remove(&name)),
            b'r' if gone => drop(spec.releases.remove(&name)),
            _ => self.put(spec, &name),
        }
    }

    fn move_a_release(&mut self, rules: &RuleSet, context: &mut ReleaseContext) {
        for release in rules.releases() {
            match self.below(4) {
                0 => {
                    let percent = Percent::from_basis_points(self.below(10_001) as u16).unwrap();
                    let mut record = ReleaseRecord::begin(release, 7, None, 0);
                    record.state.percent = percent;
                    context.records.insert(release.name().clone(), record.into());
                }
                1 => drop(context.records.remove(release.name())),
                _ => {}
            }
        }
    }

    fn facts(&mut self) -> Facts {
        let path = match self.below(40) {
            0 => "*".to_owned(),
            _ => "/".to_owned() + self.path().trim_start_matches('/'),
        };
        let mut headers = HeaderMap::new();
        for name in ["h1", "h2"] {
            if self.below(2) == 0 {
                headers.append(name, HeaderValue::from_str(&self.one(&["1", "12", "2"])).unwrap());
            }
        }
        let pairs = self.some(4, |random| random.one(&["q1=1", "q2=1", "q1=12", "q2", "q1=", "q3=1"]));
        let host = self.host() + &self.one(&["", ".", ":80"]);
        Facts {
            method: self.one(&["GET", "POST", "PUT"]).parse().unwrap(),
            host: canonical::host(host.as_bytes()).unwrap().name().to_owned(),
            path,
            query: (!pairs.is_empty()).then(|| pairs.join("&")),
            headers,
            client: self.one(&["10.0.0.1", "10.1.2.3", "192.0.2.1", "2001:db8::1", "::1"]).parse().unwrap(),
            listener: self.one(&["l1", "l2", "l3"]),
        }
    }

    /// Text of any kind.
    fn junk(&mut self) -> String {
        let pieces = [
            "*",
            ".",
            "/",
            "\0",
            "%",
            "..",
            "é",
            "a",
            "(",
            "[a-z]{1000}{1000}",
            "(?i)",
            "::",
            "/33",
            "-",
            "\u{202e}",
            "x".repeat(70).leak(),
        ];
        (0..self.below(6)).map(|_| self.one(&pieces)).collect()
    }
}
