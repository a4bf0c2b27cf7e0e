//! Any rules and requests over a small vocabulary: the table finds what asking every route in turn finds, also
//! when it was made from another table.
#![no_main]

use arbitrary::Arbitrary;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use libfuzzer_sys::fuzz_target;
use routing_rules::release::ReleaseContext;
use routing_rules::request::RequestView;
use routing_rules::rules::RuleSet;
use routing_rules::spec::{PathSpec, RouteSpec, Spec, TextMatchSpec, UpstreamSpec};
use routing_rules::table::RouteTable;

/// Two revisions of the rules and what to ask them.
#[derive(Arbitrary, Debug)]
struct Input {
    before: Vec<Rule>,
    after: Vec<Rule>,
    requests: Vec<Ask>,
}

#[derive(Arbitrary, Clone, Debug)]
struct Rule {
    name: u8,
    hosts: Vec<Host>,
    paths: Vec<Path>,
    post_only: bool,
    headers: Option<bool>,
    client: Option<bool>,
}

#[derive(Arbitrary, Clone, Debug)]
enum Host {
    Exact(Vec<Letter>),
    Wildcard(Vec<Letter>),
}

#[derive(Arbitrary, Clone, Debug)]
enum Path {
    Exact(Vec<Letter>),
    Prefix(Vec<Letter>),
    Regex(Vec<Letter>),
}

/// Few letters, so that rules and requests meet.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Letter {
    A,
    B,
    Long,
}

#[derive(Arbitrary, Debug)]
struct Ask {
    host: Vec<Letter>,
    path: Vec<Letter>,
    ends_with_slash: bool,
    is_post: bool,
    header: Option<bool>,
    is_near: bool,
}

fuzz_target!(|input: Input| {
    let context = ReleaseContext::default();
    let (before, after) = (spec(&input.before), spec(&input.after));
    let first = RouteTable::compile(&rules(&before), &context);
    let tables = [RouteTable::compile(&rules(&after), &context), first.update(&rules(&after), &context)];
    for ask in input.requests.iter().take(16) {
        let (host, path, headers) = (join(&ask.host, "."), ask.path(), ask.headers());
        let method = if ask.is_post { Method::POST } else { Method::GET };
        let client = if ask.is_near { [10, 0, 0, 1] } else { [192, 0, 2, 1] };
        let request = RequestView::new(&method, &host, &path, &headers, client.into());
        let expected = scan(&after, ask, &host, &path);
        for table in &tables {
            let found = table.find(&request).map(|found| found.route().name().as_str());
            assert_eq!(found, expected, "{} {host} {path} among {:#?}", method, after.routes);
        }
    }
});

/// The route that serves a request: of all that take it, the one that is first in the order that
/// `routing_rules::table::Precedence` documents.
fn scan<'s>(spec: &'s Spec, ask: &Ask, host: &str, path: &str) -> Option<&'s str> {
    let places = spec.routes.iter().filter(|(_, route)| takes(route, ask)).flat_map(|(name, route)| {
        let hosts = if route.hosts.is_empty() {
            vec![Some(2)]
        } else {
            route.hosts.iter().map(|pattern| host_rank(pattern, host)).collect()
        };
        let paths = if route.paths.is_empty() {
            vec![Some((2, 0))]
        } else {
            route.paths.iter().map(|pattern| path_rank(pattern, path)).collect()
        };
        let rest = (route.methods.is_empty(), route.headers.is_empty(), route.client_ip.is_empty(), name.as_str());
        let pairs = hosts.into_iter().flatten().flat_map(move |host| {
            let paths: Vec<_> = paths.iter().flatten().copied().collect();
            paths.into_iter().map(move |path| (host, path))
        });
        pairs.map(move |(host, path)| (host, path, rest)).collect::<Vec<_>>()
    });
    places.min().map(|(.., (.., name))| name)
}

fn takes(route: &RouteSpec, ask: &Ask) -> bool {
    let header = match route.headers.get("x-a") {
        None => true,
        Some(TextMatchSpec::Present(present)) => ask.header.is_some() == *present,
        Some(_) => ask.header == Some(true),
    };
    let method = route.methods.is_empty() || ask.is_post;
    let client = match route.client_ip.first().map(String::as_str) {
        None => true,
        Some("10.0.0.0/8") => ask.is_near,
        Some(_) => !ask.is_near,
    };
    header && method && client
}

fn host_rank(pattern: &str, host: &str) -> Option<u8> {
    match pattern.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent).then_some(1),
        None => (pattern == host).then_some(0),
    }
}

/// Longer is earlier, so lengths count below zero.
fn path_rank(pattern: &PathSpec, path: &str) -> Option<(u8, i64)> {
    match pattern {
        PathSpec::Exact(exact) => (exact == path).then_some((0, 0)),
        // Only `^/a/b` is made below: a prefix in letters, not in segments.
        PathSpec::Regex(regex) => path.starts_with(&regex[1..]).then_some((1, -(regex.len() as i64))),
        PathSpec::Prefix(prefix) => {
            let prefix = prefix.trim_end_matches('/');
            let rest = path.strip_prefix(prefix)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((2, -(prefix.len() as i64)))
        }
    }
}

fn rules(spec: &Spec) -> RuleSet {
    let (rules, problems) = RuleSet::from_spec(spec);
    assert!(problems.is_empty(), "{problems:?}");
    rules
}

fn spec(rules: &[Rule]) -> Spec {
    let mut spec = Spec::default();
    spec.upstreams.insert("u".into(), UpstreamSpec::default());
    spec.routes.extend(rules.iter().take(24).map(|rule| (format!("r{:02}", rule.name % 24), rule.spec())));
    spec
}

impl Rule {
    fn spec(&self) -> RouteSpec {
        let mut route = RouteSpec { upstream: Some("u".into()), ..RouteSpec::default() };
        route.hosts = self.hosts.iter().take(3).filter_map(Host::text).collect();
        route.paths = self.paths.iter().take(3).map(Path::spec).collect();
        route.methods = self.post_only.then(|| "POST".into()).into_iter().collect();
        let header = self.headers.map(|exact| match exact {
            true => TextMatchSpec::Exact("1".into()),
            false => TextMatchSpec::Present(false),
        });
        route.headers = header.map(|pattern| ("x-a".into(), pattern)).into_iter().collect();
        let network = |near| if near { "10.0.0.0/8" } else { "192.0.2.0/24" };
        route.client_ip = self.client.map(|near| network(near).into()).into_iter().collect();
        route
    }
}

impl Host {
    fn text(&self) -> Option<String> {
        match self {
            Self::Exact(labels) => Some(join(labels, ".")).filter(|host| !host.is_empty()),
            Self::Wildcard(labels) => {
                Some(join(labels, ".")).filter(|host| !host.is_empty()).map(|host| format!("*.{host}"))
            }
        }
    }
}

impl Path {
    fn spec(&self) -> PathSpec {
        match self {
            Self::Exact(segments) => PathSpec::Exact(format!("/{}", join(segments, "/"))),
            Self::Prefix(segments) => PathSpec::Prefix(format!("/{}", join(segments, "/"))),
            Self::Regex(segments) => PathSpec::Regex(format!("^/{}", join(segments, "/"))),
        }
    }
}

impl Ask {
    fn path(&self) -> String {
        let end = if self.ends_with_slash && !self.path.is_empty() { "/" } else { "" };
        format!("/{}{end}", join(&self.path, "/"))
    }

    fn headers(&self) -> HeaderMap {
        let value = self.header.map(|one| HeaderValue::from_static(if one { "1" } else { "2" }));
        value.map(|value| (HeaderName::from_static("x-a"), value)).into_iter().collect()
    }
}

fn join(letters: &[Letter], between: &str) -> String {
    let word = |letter: &Letter| match letter {
        Letter::A => "a",
        Letter::B => "b",
        Letter::Long => "aa",
    };
    letters.iter().take(4).map(word).collect::<Vec<_>>().join(between)
}
