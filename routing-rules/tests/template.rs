//! Routes and upstreams with captures: what is refused, what keys come to, and which environments are live.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, Method};
use routing_rules::discovery::Environments;
use routing_rules::release::ReleaseContext;
use routing_rules::request::RequestView;
use routing_rules::rules::{Environment, Kind, Lack, Object, PrefixTemplate, Route, RuleSet, UpstreamTemplate};
use routing_rules::spec::{RouteSpec, Spec, UpstreamSpec};
use routing_rules::table::RouteTable;

fn spec(json: &str) -> Spec {
    serde_json::from_str(json).unwrap_or_else(|error| panic!("{error}\n{json}"))
}

fn problems(json: &str) -> Vec<String> {
    RuleSet::from_spec(&spec(json)).1.iter().map(ToString::to_string).collect()
}

/// One route and one upstream.
fn pair(route: &str, upstream: &str) -> String {
    format!(r#"{{"routes": {{"r": {route}}}, "upstreams": {{"u": {upstream}, "plain": {{}}}}}}"#)
}

const ROUTE: &str =
    r#"{"hosts": ["{app}-{branch}.dev.example.com"], "captures": {"branch": "feature-[a-z0-9-]+"}, "upstream": "u"}"#;
const UPSTREAM: &str = r#"{"discovery": {"etcd": {"prefix": "/{app}_{branch}/", "most": 200}}}"#;

/// What is wrong with a route, an upstream, and why.
const REFUSED: &[(&str, &str, &[&str])] = &[
    (ROUTE, UPSTREAM, &[]),
    (
        r#"{"hosts": ["{app-{branch}.x", "{App}.x", "}.x", "{.x", "{}.x", "{1a}.x", "a_{b}{.x"], "upstream": "u"}"#,
        UPSTREAM,
        &[
            "routes.r.hosts[0]: `{app-{branch}` is no capture: its name begins with a letter a-z and has letters a-z, digits and `_`",
            "routes.r.hosts[1]: `{App}` is no capture: its name begins with a letter a-z and has letters a-z, digits and `_`",
            "routes.r.hosts[2]: `}.x` has a `}` without a `{`",
            "routes.r.hosts[3]: `{.x` has a `{` without a `}`",
            "routes.r.hosts[4]: `{}` is no capture: its name begins with a letter a-z and has letters a-z, digits and `_`",
            "routes.r.hosts[5]: `{1a}` is no capture: its name begins with a letter a-z and has letters a-z, digits and `_`",
            "routes.r.hosts[6]: `a_{b}{.x` has a `{` without a `}`",
        ],
    ),
    (
        r#"{"hosts": ["{a}.x", "x"], "captures": {"b": "x", "a": "("}, "split": [{"upstream": "plain", "weight": 1}], "release": "z"}"#,
        r#"{"discovery": {"etcd": {"prefix": "/{a}/"}}}"#,
        &[
            "routes.r.hosts[1]: `x` has no captures, and the first host {a}: all hosts of a route have the same captures",
            "routes.r.captures.a: regular expression `(`: unclosed group",
            "routes.r.split: a route with captures has one `upstream`, whose prefix has the same captures, and no split",
            "routes.r.release: a route with captures has one `upstream`, whose prefix has the same captures, and no release",
        ],
    ),
    (
        r#"{"hosts": ["{a}.x:80", "http://{a}.x", "{a}.x/y"], "captures": {"b": "x"}, "filters": [{"redirect": {"scheme": "https"}}]}"#,
        r#"{"discovery": {"etcd": {"prefix": "/{a}/"}}}"#,
        &[
            "routes.r.hosts[0]: `{a}.x:80`, filled in: `a.x:80` has a port; routes match host names, listeners have ports",
            "routes.r.hosts[1]: `http://{a}.x`, filled in: `http://a.x` is a URL; write the host name alone",
            "routes.r.hosts[2]: `{a}.x/y`, filled in: `a.x/y` has a character that a host name cannot have; a host has no path and no network, \
             which are `paths` and `client_ip` of a route",
            "routes.r.filters[0]: a route with captures has one `upstream`, whose prefix has the same captures, and no redirect",
        ],
    ),
    (
        r#"{"hosts": ["{a}.x"], "captures": {"b": "x"}, "upstream": "u", "timeouts": {"idle": "0s"}}"#,
        r#"{"discovery": {"etcd": {"prefix": "/{a}/"}}, "endpoints": ["10.0.0.1:80"]}"#,
        &[
            "routes.r.captures.b: no host has `{b}`",
            "routes.r.timeouts.idle: a time limit of 0 would fail every request; leave the field out for the default",
            "upstreams.u.discovery: an upstream has only one of `endpoints` and `discovery`",
        ],
    ),
    (
        r#"{"hosts": ["x"], "captures": {"b": "x"}, "upstream": "plain"}"#,
        r#"{"discovery": {"etcd": {"prefix": "/a/", "most": 3}}}"#,
        &[
            "routes.r.captures: no host has a capture, such as `{branch}`",
            "upstreams.u.discovery.etcd.most: `most` counts environments: it is for a prefix with captures, such as `/{app}_{branch}/`",
        ],
    ),
    (
        r#"{"upstream": "u"}"#,
        UPSTREAM,
        &["routes.r.upstream: upstream `u` is a template: only a route whose hosts have its captures can name it"],
    ),
    (
        r#"{"split": [{"upstream": "u", "weight": 1}]}"#,
        UPSTREAM,
        &[
            "routes.r.split[0].upstream: upstream `u` is a template: only a route whose hosts have its captures can name it",
        ],
    ),
    (
        r#"{"upstream": "plain", "mirror": {"upstream": "u"}}"#,
        UPSTREAM,
        &[
            "routes.r.mirror.upstream: upstream `u` is a template: only a route whose hosts have its captures can name it",
        ],
    ),
    (
        r#"{"hosts": ["{a}.x"], "upstream": "plain", "mirror": {"upstream": "u"}}"#,
        UPSTREAM,
        &[
            "routes.r.upstream: upstream `plain` has no captures in its prefix, and the hosts of this route have",
            "routes.r.mirror.upstream: upstream `u` is a template: only a route whose hosts have its captures can name it",
        ],
    ),
    (
        r#"{"hosts": ["{branch}.x"], "upstream": "u", "mirror": {"upstream": "plain"}}"#,
        UPSTREAM,
        &[
            "routes.r.upstream: the prefix of upstream `u` has {app} and {branch}, and the hosts of this route have {branch}",
        ],
    ),
    (
        r#"{"hosts": ["{branch}.x"], "upstream": "nowhere"}"#,
        UPSTREAM,
        &["routes.r.upstream: there is no upstream `nowhere`"],
    ),
];

#[test]
fn what_does_not_fit_is_refused() {
    for (route, upstream, expect) in REFUSED {
        assert_eq!(problems(&pair(route, upstream)), *expect, "{route} {upstream}");
    }
}

#[test]
fn prefixes_can_be_read_in_one_way() {
    let refused = |prefix: &str| {
        let upstream = format!(r#"{{"discovery": {{"etcd": {{"prefix": "{prefix}", "most": 0}}}}}}"#);
        let found = problems(&format!(r#"{{"upstreams": {{"u": {upstream}}}}}"#));
        let [prefix, most] = &found[..] else { panic!("{found:?}") };
        assert_eq!(most, "upstreams.u.discovery.etcd.most: 0 is not between 1 and 10000");
        prefix.strip_prefix("upstreams.u.discovery.etcd.prefix: ").expect("its place").to_owned()
    };
    assert_eq!(refused("/{a}"), "the prefix ends with `/`, so that it is of one name only");
    assert!(refused("{a}/").starts_with("the prefix begins with a capture"));
    assert!(refused("/{a}{b}/").starts_with("`{a}{b}`: nobody could say where one value ends"));
    assert!(refused("/{a}-{b}/").starts_with("nobody could say where the value of `{a}` ends"));
    assert!(refused("/{a}x/").starts_with("nobody could say where the value of `{a}` ends"));
    assert_eq!(refused("/{a}_{a}/"), "`{a}` stands twice in the prefix");
    assert!(refused("/{a}_{B}/").starts_with("`{B}` is no capture"));
    let oversized = format!(r#"{{"hosts": ["{{a}}.x"], "captures": {{"a": "{}"}}, "upstream": "u"}}"#, "(a{900}){900}");
    let found = problems(&pair(&oversized, r#"{"discovery": {"etcd": {"prefix": "/{a}/"}}}"#));
    assert!(found[0].starts_with("routes.r.captures.a: ") && found[0].ends_with("is too big"), "{found:?}");
}

#[test]
fn templates_are_no_routes_and_no_upstreams() {
    let (mut rules, problems) = RuleSet::from_spec(&spec(&pair(ROUTE, UPSTREAM)));
    assert_eq!(problems, []);
    assert_eq!((rules.routes().len(), rules.upstreams().len()), (0, 1));
    assert_eq!((rules.route_templates().len(), rules.upstream_templates().len()), (1, 1));
    // One name, one object.
    let mut found = Vec::new();
    let plain = RouteSpec { upstream: Some("plain".into()), ..RouteSpec::default() };
    let template = rules.object(Kind::Route, "r").expect("it is there");
    rules.insert(Object::route("r", &plain, &mut found).expect("it is right"));
    assert_eq!((rules.routes().len(), rules.route_templates().len(), rules.dangling()), (1, 0, vec![]));
    rules.insert(template);
    assert_eq!((rules.routes().len(), rules.route_templates().len()), (0, 1));
    rules.insert(Object::upstream("u", &UpstreamSpec::default(), &mut found).expect("it is right"));
    assert_eq!(rules.dangling_of(Kind::Route, "r")[0].lack, Lack::NoTemplate);
    rules.remove(Kind::Route, "r");
    rules.remove(Kind::Upstream, "u");
    assert_eq!((rules.route_templates().len(), rules.dangling()), (0, vec![]));
}

fn template(prefix: &str) -> UpstreamTemplate {
    let upstream =
        format!(r#"{{"discovery": {{"etcd": {{"prefix": "{prefix}"}}}}, "health": {{"path": "/healthz"}}}}"#);
    let mut found = Vec::new();
    let template = UpstreamTemplate::new("u", &serde_json::from_str(&upstream).unwrap(), &mut found);
    template.unwrap_or_else(|| panic!("{found:?}"))
}

#[test]
fn keys_are_registrations_of_environments() {
    let prefix = PrefixTemplate::new("/{app}_{branch}/").unwrap();
    let read = |key: &str| prefix.read(key.as_bytes()).map(|environment| environment.to_string());
    assert_eq!(read("/shop_feature-x/10.0.0.1-8080").as_deref(), Some("shop.feature-x"));
    assert_eq!(read("/shop_feature-x/a/b").as_deref(), Some("shop.feature-x"));
    for wrong in [
        "",
        "/",
        "/shop_feature-x",
        "/shop_feature-x/",
        "/shop_/x",
        "/_feature/x",
        "/Shop_x/y",
        "/shop_x_y/z",
        "/a.b_x/y",
        "shop_x/y",
        "//shop_x/y",
        "/shöp_x/y",
        "/{app}_{branch}/x",
    ] {
        assert_eq!(read(wrong), None, "{wrong}");
    }
    assert_eq!(prefix.read(b"/shop_\xff/x"), None);
    assert_eq!(prefix.head(), "/");
    assert_eq!(PrefixTemplate::new("/env/x-{a}/").unwrap().head(), "/env/x-");
}

#[test]
fn an_environment_has_an_upstream_and_routes_of_its_own() {
    let (rules, _) = RuleSet::from_spec(&spec(&pair(
        r#"{"hosts": ["{app}-{branch}.dev.example.com", "{branch}.{app}.x"], "captures": {"app": "[a-z]+|7", "branch": "f.*"},
            "paths": [{"prefix": "/a"}], "upstream": "u"}"#,
        r#"{"discovery": {"etcd": {"prefix": "/{app}_{branch}/", "most": 7}}, "health": {"path": "/healthz"}}"#,
    )));
    let (upstream, route) = (rules.upstream_templates().next().unwrap(), rules.route_templates().next().unwrap());
    assert_eq!(upstream.most(), 7);
    assert_eq!(rules.routes_of_template(upstream.name()).count(), 1);
    let environment = upstream.prefix().read(b"/shop_f-x/1").unwrap();
    let name = upstream.name_of(&environment).unwrap();
    assert_eq!(name.as_str(), "u.shop.f-x");
    assert_eq!(upstream.environment_of("u.shop.f-x"), Some(environment.clone()));
    for other in ["u", "u.", "u.shop", "u.shop.f-x.y", "v.shop.f-x", "ux.shop.f-x", "u..f", "u.Shop.f", "u.a_b.f"] {
        assert_eq!(upstream.environment_of(other), None, "{other}");
    }
    let made = serde_json::to_value(upstream.spec_of(&environment)).unwrap();
    assert_eq!(made["discovery"], serde_json::json!({"etcd": {"prefix": "/shop_f-x/"}}));
    assert_eq!(made["health"]["path"], "/healthz");
    let made = route.spec_of(&environment, &name);
    assert_eq!(made.hosts, ["shop-f-x.dev.example.com", "f-x.shop.x"]);
    assert_eq!((made.upstream.as_deref(), made.captures.len(), made.paths.len()), (Some("u.shop.f-x"), 0, 1));
    let takes = |key: &str| route.takes(&upstream.prefix().read(key.as_bytes()).unwrap());
    // The whole value must match, also where the expression has alternatives.
    let keys = ["/shop_f-x/1", "/7_f/1", "/77_f/1", "/shop7_f/1", "/shop_xf/1"];
    assert_eq!(keys.map(takes), [true, true, false, false, false]);
    let long = upstream.prefix().read(format!("/{}_f/1", "a".repeat(64)).as_bytes()).unwrap();
    assert!(route.takes(&long) && route.hosts_of(&long).is_err());
    let hosts = ["shop-f-x.dev.example.com", "f.shop.x", "shop-x.dev.example.com", "shop-f-xXdev.example.com"];
    assert_eq!(hosts.map(|host| route.may_have(host)), [true, true, false, false]);
}

#[test]
fn what_somebody_wrote_comes_before_what_was_made() {
    let route = |name: &str| {
        let spec = RouteSpec { hosts: vec!["x".into()], upstream: Some("plain".into()), ..RouteSpec::default() };
        Route::new(name, &spec, &mut Vec::new()).expect("it is right")
    };
    let (mut rules, _) = RuleSet::from_spec(&spec(r#"{"upstreams": {"plain": {}}}"#));
    rules.insert(Object::Route(Arc::new(route("a").made())));
    let headers = HeaderMap::new();
    let request = RequestView::new(&Method::GET, "x", "/", &headers, [192, 0, 2, 1].into());
    let found = |rules: &RuleSet| {
        let table = RouteTable::compile(rules, &ReleaseContext::default());
        table.find(&request).map(|found| found.route().name().to_string())
    };
    assert_eq!(found(&rules).as_deref(), Some("a"));
    rules.insert(Object::Route(Arc::new(route("z"))));
    assert_eq!(found(&rules).as_deref(), Some("z"));
}

/// Numbers that look random and are the same every time.
struct Draws(u64);

impl Draws {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound
    }

    fn text(&mut self, alphabet: &str, most: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..1 + self.below(most)).map(|_| letters[self.below(letters.len())]).collect()
    }
}

const VALUES: &str = "abz09-";

/// What was read from a key, filled in, is how the key begins; and what was filled in is read again.
#[test]
fn reading_undoes_filling_in() {
    let mut draws = Draws(1);
    let mut read_back = 0;
    for _ in 0..20_000 {
        let prefix = draws.text("{}ab_/-.", 14) + "/";
        let Ok(template) = PrefixTemplate::new(&format!("/{prefix}")) else { continue };
        let key = draws.text("ab_/-.{}é\0Z0", 20);
        if let Some(environment) = template.read(format!("/{key}").as_bytes()) {
            assert!(format!("/{key}").starts_with(&template.fill(&environment)), "{template} {key}");
        }
        let values: Vec<String> = template.captures().map(|_| draws.text(VALUES, 5)).collect();
        let environment = template.environment(values.iter().map(String::as_str)).expect("values");
        let filled = template.fill(&environment) + &draws.text("a/-_", 5);
        assert_eq!(template.read(filled.as_bytes()), Some(environment), "{template} {filled}");
        read_back += usize::from(!values.is_empty());
    }
    assert!(read_back > 20, "{read_back} templates had captures");
    let templates = ["/{a}_{b}/", "/env/{a}/{b}/x-{c}/", "/{a}/"].map(template);
    for number in 0..20_000 {
        let template = &templates[number % templates.len()];
        let values: Vec<String> = template.prefix().captures().map(|_| draws.text(VALUES, 9)).collect();
        let environment = template.prefix().environment(values.iter().map(String::as_str)).expect("values");
        let key = template.prefix().fill(&environment) + &draws.text("a/_-.0", 9);
        assert_eq!(template.prefix().read(key.as_bytes()), Some(environment.clone()), "{key}");
        let name = template.name_of(&environment).expect("a name");
        assert_eq!(template.environment_of(name.as_str()), Some(environment), "{name}");
    }
}

#[test]
fn no_key_and_no_text_makes_a_panic() {
    let mut draws = Draws(2);
    let template = template("/{app}_{branch}/");
    let route: RouteSpec = serde_json::from_str(ROUTE).unwrap();
    for _ in 0..50_000 {
        let bytes: Vec<u8> = (0..draws.below(40)).map(|_| draws.below(256) as u8).collect();
        template.prefix().read(&bytes);
        template.prefix().read(&[b"/a_".as_slice(), &bytes].concat());
        let text = draws.text("{}{}a_/-.*:é[]%", 12);
        let mut found = Vec::new();
        let upstream = format!("/{text}/");
        let upstream: UpstreamSpec =
            serde_json::from_value(serde_json::json!({"discovery": {"etcd": {"prefix": upstream}}})).unwrap();
        let made = Object::upstream("u", &upstream, &mut found);
        assert_eq!(made.is_none(), !found.is_empty(), "{text}: {found:?}");
        found.clear();
        let made = Object::route(
            "r",
            &RouteSpec { hosts: vec![text.clone()], captures: BTreeMap::new(), ..route.clone() },
            &mut found,
        );
        assert_eq!(made.is_none(), !found.is_empty(), "{text}: {found:?}");
    }
}

/// Environments of one capture, so that they are short to write.
struct Live {
    prefix: PrefixTemplate,
    environments: Environments,
}

impl Live {
    fn new(most: usize) -> Self {
        Self { prefix: PrefixTemplate::new("/{a}/").unwrap(), environments: Environments::new(most) }
    }

    fn environment(&self, value: &str) -> Environment {
        self.prefix.environment([value].into_iter()).unwrap()
    }

    fn register(&mut self, value: &str, key: &str, revision: i64) {
        let environment = self.environment(value);
        self.environments.register(environment, Arc::from(key.as_bytes()), revision);
    }

    fn leave(&mut self, value: &str, key: &str, now_s: u64) {
        let environment = self.environment(value);
        self.environments.leave(&environment, key.as_bytes(), now_s * 1_000);
    }

    /// What is live at a moment, and how many wait.
    fn at(&mut self, now_s: u64) -> String {
        self.environments.look(now_s * 1_000);
        let live = self.environments.live();
        let values: Vec<String> = live.iter().map(ToString::to_string).collect();
        format!("{} +{}", values.join(" "), self.environments.waiting())
    }
}

#[test]
fn an_environment_stays_for_five_minutes_after_its_last_key() {
    let mut live = Live::new(10);
    live.register("a", "1", 5);
    live.register("a", "2", 6);
    assert_eq!(live.at(0), "a +0");
    live.leave("a", "1", 10);
    assert_eq!((live.environments.due_ms(), live.at(1_000)), (None, "a +0".to_owned()));
    live.leave("a", "2", 1_000);
    live.leave("a", "2", 1_100);
    assert_eq!(live.environments.due_ms(), Some(1_300_000));
    assert_eq!(live.at(1_299), "a +0");
    live.register("a", "3", 9);
    assert_eq!(live.at(5_000), "a +0", "it has come back");
    live.leave("a", "3", 5_000);
    assert_eq!(live.at(5_300), " +0");
    assert!(!live.environments.look(6_000_000), "nothing else happens");
}

#[test]
fn while_nobody_tells_who_comes_back_nothing_goes() {
    let mut live = Live::new(10);
    live.register("a", "1", 5);
    live.at(0);
    live.leave("a", "1", 0);
    // Heard again after ten minutes, in which nobody looked.
    live.environments.wait_on(600_000);
    assert_eq!((live.at(659), live.at(660)), ("a +0".to_owned(), " +0".to_owned()));
    live.environments.expect(live.environment("b"), 700_000);
    live.environments.wait_on(700_000);
    assert_eq!((live.at(999), live.at(1_000)), ("b +0".to_owned(), " +0".to_owned()), "time is not taken away");
}

#[test]
fn a_place_goes_to_who_waits_longest() {
    let mut live = Live::new(2);
    for (value, revision) in [("d", 4), ("c", 1), ("b", 3), ("a", 2)] {
        live.register(value, "1", revision);
    }
    assert_eq!(live.at(0), "c a +2", "by revision, not by name or arrival");
    live.register("e", "1", 0);
    assert_eq!(live.at(1), "c a +3", "those that are live stay");
    assert_eq!(live.environments.next().unwrap().to_string(), "e");
    live.leave("e", "1", 2);
    live.leave("c", "1", 2);
    assert_eq!(live.at(301), "c a +2", "its place is kept for it");
    assert_eq!(live.at(302), "a b +1");
    live.environments.set_most(3);
    assert_eq!(live.at(303), "a b d +0");
    live.environments.set_most(1);
    assert_eq!(live.at(304), "a b d +0", "fewer only let nobody in");
    let (a, d) = (live.environment("a"), live.environment("d"));
    live.environments.retain(|environment| *environment == a || *environment == d);
    assert_eq!(live.at(305), "a d +0");
}

/// Whatever the order of steps: never more than may be, and nothing that has keys goes to make room.
#[test]
fn bounds_hold_in_any_order() {
    let mut draws = Draws(3);
    for _ in 0..200 {
        let most = 1 + draws.below(4);
        let mut live = Live::new(most);
        let mut keys: BTreeMap<(String, String), ()> = BTreeMap::new();
        let mut now_s = 0;
        for step in 0..200 {
            let (value, key) = (draws.text("abcdef", 1), draws.text("12", 1));
            match draws.below(3) {
                0 => {
                    live.leave(&value, &key, now_s);
                    keys.remove(&(value, key));
                }
                _ => {
                    live.register(&value, &key, step);
                    keys.insert((value, key), ());
                }
            }
            now_s += draws.below(60) as u64;
            let before: Vec<String> = live.environments.live().iter().map(ToString::to_string).collect();
            live.at(now_s);
            let now: Vec<String> = live.environments.live().iter().map(ToString::to_string).collect();
            let has_keys = |value: &String| keys.keys().any(|(other, _)| other == value);
            assert!(now.len() <= most, "{now:?}");
            assert!(
                before.iter().filter(|value| has_keys(value)).all(|value| now.contains(value)),
                "{before:?} {now:?}"
            );
            let all: std::collections::BTreeSet<_> = keys.keys().map(|(value, _)| value).collect();
            let known = now.iter().filter(|value| has_keys(value)).count() + live.environments.waiting();
            assert_eq!(known, all.len(), "who has a key is live or waits");
            assert!(now.len() == most || live.environments.waiting() == 0, "no place is left free");
        }
    }
}
