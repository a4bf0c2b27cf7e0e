//! Texts with captures, such as `{app}-{branch}.dev.example.com` and `/{app}_{branch}/`, and the routes and upstreams that are
//! written with them. Each environment makes ordinary ones of them.
//!
//! Values are read out of keys of etcd and nowhere else: a request never says what its host stands for. A value has no
//! character that could be taken for the text around it, so a key has one reading at most, and filling in what was read gives
//! the key's beginning again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{HostPattern, Name, RegexPattern, Route, Upstream};
use crate::RuleError;
use crate::error::Problems;
use crate::spec::{DiscoverySpec, RegistrySpec, RouteSpec, UpstreamSpec};

/// A text with captures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    text: Box<str>,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// As it stands.
    Text(Box<str>),
    /// A name in braces, for a value.
    Capture(Arc<str>),
}

impl Template {
    /// Whether a text is meant to have captures.
    pub fn is_meant(text: &str) -> bool {
        text.contains(['{', '}'])
    }

    /// Parses `{app}-{branch}.dev.example.com`.
    ///
    /// # Errors
    /// A brace without its other half, or no name of a capture between them.
    pub fn new(text: &str) -> Result<Self, String> {
        let shown = text.escape_debug();
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(place) = rest.find(['{', '}']) {
            let (before, behind) = rest.split_at(place);
            let capture = behind.strip_prefix('{').ok_or_else(|| format!("`{shown}` has a `}}` without a `{{`"))?;
            let (name, after) =
                capture.split_once('}').ok_or_else(|| format!("`{shown}` has a `{{` without a `}}`"))?;
            if !is_name(name) {
                return Err(format!(
                    "`{{{}}}` is no capture: its name begins with a letter a-z and has letters a-z, digits and `_`",
                    name.escape_debug()
                ));
            }
            if !before.is_empty() {
                parts.push(Part::Text(before.into()));
            }
            parts.push(Part::Capture(name.into()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.into()));
        }
        Ok(Self { text: text.into(), parts: parts.into() })
    }

    /// The names of its captures, in their order.
    pub fn captures(&self) -> impl Iterator<Item = &Arc<str>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Text(_) => None,
            Part::Capture(name) => Some(name),
        })
    }

    /// The text with values in the place of the captures; what there is no value for is left out.
    pub fn fill(&self, environment: &Environment) -> String {
        self.fill_with(|name| environment.value(name).unwrap_or_default())
    }

    fn fill_with<'v>(&self, mut value: impl FnMut(&str) -> &'v str) -> String {
        self.parts.iter().fold(String::new(), |filled, part| match part {
            Part::Text(text) => filled + text,
            Part::Capture(name) => filled + value(name),
        })
    }

    /// An example, to see whether what stands around the captures is right.
    fn example(&self) -> String {
        self.fill_with(|_| "a")
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    name.starts_with(|first: char| first.is_ascii_lowercase()) && name.bytes().all(allowed)
}

/// What values are made of. The characters that keys and hosts put between values are not among them.
fn is_of_values(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
}

/// One value for each capture of a template, in the order of its prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Environment(Arc<[(Arc<str>, Arc<str>)]>);

impl Environment {
    /// The value of a capture.
    pub fn value(&self, capture: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| **name == *capture).map(|(_, value)| &**value)
    }

    /// Captures and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// What a template makes for the environment is called after both: `branches.shop.feature-x`.
    fn name(&self, template: &Name) -> Result<Name, String> {
        Name::new(&format!("{template}.{self}"))
    }
}

impl fmt::Display for Environment {
    /// `shop.feature-x`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<&str> = self.iter().map(|(_, value)| value).collect();
        f.write_str(&values.join("."))
    }
}

/// What keys begin with that are registrations of environments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrefixTemplate(Template);

impl PrefixTemplate {
    /// Parses `/{app}_{branch}/`.
    ///
    /// # Errors
    /// No template, or one that keys could not be read by in one way only.
    pub fn new(text: &str) -> Result<Self, String> {
        let template = Template::new(text)?;
        if !text.ends_with('/') {
            return Err("the prefix ends with `/`, so that it is of one name only".to_owned());
        }
        let Some(Part::Text(_)) = template.parts.first() else {
            return Err(
                "the prefix begins with a capture, so that all keys would be read; begin with a text such as `/`"
                    .to_owned(),
            );
        };
        let mut seen = BTreeSet::new();
        if let Some(twice) = template.captures().find(|name| !seen.insert(Arc::clone(name))) {
            return Err(format!("`{{{twice}}}` stands twice in the prefix"));
        }
        for pair in template.parts.windows(2) {
            match pair {
                [Part::Capture(one), Part::Capture(other)] => {
                    return Err(format!(
                        "`{{{one}}}{{{other}}}`: nobody could say where one value ends and the other begins; put a \
                         character between them that no value has, such as `_` or `/`"
                    ));
                }
                [Part::Capture(name), Part::Text(text)] if text.bytes().next().is_some_and(is_of_values) => {
                    return Err(format!(
                        "nobody could say where the value of `{{{name}}}` ends: behind it stands a character that \
                         no value has, such as `_` or `/`"
                    ));
                }
                _ => {}
            }
        }
        Ok(Self(template))
    }

    /// What stands before the first capture: all keys that count begin with it.
    pub fn head(&self) -> &str {
        match self.0.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The environment that a key is a registration of. The key has something behind the prefix.
    pub fn read(&self, key: &[u8]) -> Option<Environment> {
        let mut rest = std::str::from_utf8(key).ok()?;
        let mut values = Vec::new();
        for part in &self.0.parts {
            match part {
                Part::Text(text) => rest = rest.strip_prefix(&**text)?,
                Part::Capture(name) => {
                    let end = rest.bytes().position(|byte| !is_of_values(byte)).unwrap_or(rest.len());
                    let (value, after) = rest.split_at(end);
                    if value.is_empty() {
                        return None;
                    }
                    values.push((Arc::clone(name), value.into()));
                    rest = after;
                }
            }
        }
        (!rest.is_empty()).then(|| Environment(values.into()))
    }

    /// The environment with these values, in the order of the captures.
    pub fn environment<'v>(&self, values: impl Iterator<Item = &'v str>) -> Option<Environment> {
        let values: Vec<&str> = values.collect();
        let is_value = |value: &&str| !value.is_empty() && value.bytes().all(is_of_values);
        let is_right = values.len() == self.0.captures().count() && values.iter().all(is_value);
        let pairs = || self.0.captures().cloned().zip(values.iter().map(|value| Arc::from(*value)));
        is_right.then(|| Environment(pairs().collect()))
    }

    /// The prefix of an environment's own registrations.
    pub fn fill(&self, environment: &Environment) -> String {
        self.0.fill(environment)
    }

    /// The names of the captures, in their order.
    pub fn captures(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.captures()
    }

    /// Whether an environment has a value for each capture, and in this order.
    pub fn is_of(&self, environment: &Environment) -> bool {
        self.captures().eq(environment.0.iter().map(|(name, _)| name))
    }
}

impl fmt::Display for PrefixTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An upstream for each environment that has registrations.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamTemplate {
    spec: UpstreamSpec,
    prefix: PrefixTemplate,
    most: usize,
    /// The upstream of an example. Its name and what it names are right.
    example: Upstream,
}

impl UpstreamTemplate {
    /// How many environments are live at once, if nothing else is said.
    pub const USUAL_MOST: usize = 200;

    /// How many can be at most.
    pub const MOST: usize = 10_000;

    /// Whether an upstream is meant to be a template.
    pub fn is_meant(spec: &UpstreamSpec) -> bool {
        matches!(&spec.discovery, Some(DiscoverySpec::Etcd(registry)) if Template::is_meant(&registry.prefix))
    }

    /// Validates one template; reports every problem. References are checked by [`super::RuleSet::dangling`].
    pub fn new(name: &str, spec: &UpstreamSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        let Some(DiscoverySpec::Etcd(registry)) = &spec.discovery else { return None };
        let mut problems = Problems::new(format!("upstreams.{name}"), found);
        let mut problems_of = problems.at("discovery.etcd");
        let prefix = problems_of.at("prefix").ok(PrefixTemplate::new(&registry.prefix));
        let most = problems_of.at("most").ok(most(registry));
        // Whatever is wrong with the prefix is said already.
        let example = with_prefix(spec, prefix.as_ref().map_or_else(|| "/a/".to_owned(), |prefix| prefix.0.example()));
        let example = Upstream::new(name, &example, found);
        Some(Self { spec: spec.clone(), prefix: prefix?, most: most?, example: example? })
    }

    /// The template's name.
    pub fn name(&self) -> &Name {
        self.example.name()
    }

    /// What the keys begin with that are registrations.
    pub fn prefix(&self) -> &PrefixTemplate {
        &self.prefix
    }

    /// How many environments are live at once, 1 to 10,000.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The name of an environment's upstream.
    ///
    /// # Errors
    /// It would be longer than names can be.
    pub fn name_of(&self, environment: &Environment) -> Result<Name, String> {
        environment.name(self.name())
    }

    /// The environment whose upstream has this name.
    pub fn environment_of(&self, name: &str) -> Option<Environment> {
        let values = name.strip_prefix(self.name().as_str())?.strip_prefix('.')?;
        self.prefix.environment(values.split('.'))
    }

    /// An environment's upstream.
    pub fn spec_of(&self, environment: &Environment) -> UpstreamSpec {
        with_prefix(&self.spec, self.prefix.fill(environment))
    }

    /// What it names besides.
    pub(super) fn example(&self) -> &Upstream {
        &self.example
    }
}

fn with_prefix(spec: &UpstreamSpec, prefix: String) -> UpstreamSpec {
    let discovery = Some(DiscoverySpec::Etcd(RegistrySpec { prefix, most: None }));
    UpstreamSpec { discovery, ..spec.clone() }
}

fn most(registry: &RegistrySpec) -> Result<usize, String> {
    let Some(most) = registry.most else { return Ok(UpstreamTemplate::USUAL_MOST) };
    match usize::try_from(most) {
        Ok(most @ 1..=UpstreamTemplate::MOST) => Ok(most),
        _ => Err(format!("{most} is not between 1 and {}", UpstreamTemplate::MOST)),
    }
}

/// A route for each environment of its upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteTemplate {
    spec: RouteSpec,
    hosts: Box<[Template]>,
    captures: BTreeSet<Arc<str>>,
    /// What values must look like, where that is said.
    patterns: BTreeMap<Arc<str>, RegexPattern>,
    /// The upstream, which is a template, too.
    upstream: Name,
    /// The route without its hosts. Its name and what it names are right.
    example: Route,
}

impl RouteTemplate {
    /// Whether a route is meant to be a template.
    pub fn is_meant(spec: &RouteSpec) -> bool {
        spec.hosts.iter().any(|host| Template::is_meant(host))
    }

    /// Validates one template; reports every problem. References are checked by [`super::RuleSet::dangling`].
    pub fn new(name: &str, spec: &RouteSpec, found: &mut Vec<RuleError>) -> Option<Self> {
        let mut problems = Problems::new(format!("routes.{name}"), found);
        let hosts = hosts(spec, problems.at("hosts"));
        let captures: BTreeSet<Arc<str>> =
            hosts.iter().flatten().flat_map(Template::captures).map(Arc::clone).collect();
        let patterns = patterns(spec, hosts.is_some().then_some(&captures), problems.at("captures"));
        let is_simple = report_what_is_more(spec, &mut problems);
        let bare = RouteSpec { hosts: Vec::new(), captures: BTreeMap::new(), ..spec.clone() };
        let example = Route::new(name, &bare, found)?;
        let super::Target::Upstream(upstream) = example.target().clone() else { return None };
        let (hosts, patterns) = (hosts?.into(), patterns?);
        is_simple.then(|| Self { spec: spec.clone(), hosts, captures, patterns, upstream, example })
    }

    /// The template's name.
    pub fn name(&self) -> &Name {
        self.example.name()
    }

    /// Its hosts.
    pub fn hosts(&self) -> &[Template] {
        &self.hosts
    }

    /// The template of its upstream.
    pub fn upstream(&self) -> &Name {
        &self.upstream
    }

    /// The names of its captures.
    pub fn captures(&self) -> &BTreeSet<Arc<str>> {
        &self.captures
    }

    /// Whether an environment's values are as the route wants them.
    pub fn takes(&self, environment: &Environment) -> bool {
        let is_right = |(name, pattern): (&Arc<str>, &RegexPattern)| {
            environment.value(name).is_some_and(|value| pattern.is_match(value))
        };
        self.captures.iter().all(|name| environment.value(name).is_some()) && self.patterns.iter().all(is_right)
    }

    /// Whether some environment could have a host: for whoever wonders why there is no route. No request is decided by this.
    pub fn may_have(&self, host: &str) -> bool {
        let pattern = |part: &Part| match part {
            Part::Text(text) => regex::escape(text),
            Part::Capture(name) => match self.spec.captures.get(&**name) {
                Some(pattern) => format!("(?:{pattern})"),
                None => "[a-z0-9-]+".to_owned(),
            },
        };
        self.hosts.iter().any(|template| {
            let pattern: String = template.parts.iter().map(pattern).collect();
            whole(&pattern).is_ok_and(|pattern| pattern.is_match(host))
        })
    }

    /// The hosts of an environment.
    ///
    /// # Errors
    /// With these values it would be no host, or the route's name too long.
    pub fn hosts_of(&self, environment: &Environment) -> Result<Vec<HostPattern>, String> {
        environment.name(self.name())?;
        self.hosts.iter().map(|host| HostPattern::new(&host.fill(environment))).collect()
    }

    /// The name of an environment's route.
    ///
    /// # Errors
    /// It would be longer than names can be.
    pub fn name_of(&self, environment: &Environment) -> Result<Name, String> {
        environment.name(self.name())
    }

    /// An environment's route, to its upstream.
    pub fn spec_of(&self, environment: &Environment, upstream: &Name) -> RouteSpec {
        RouteSpec {
            hosts: self.hosts.iter().map(|host| host.fill(environment)).collect(),
            captures: BTreeMap::new(),
            upstream: Some(upstream.to_string()),
            ..self.spec.clone()
        }
    }

    /// What it names besides.
    pub(super) fn example(&self) -> &Route {
        &self.example
    }
}

/// The hosts, which have the same captures all of them.
fn hosts(spec: &RouteSpec, mut problems: Problems<'_>) -> Option<Vec<Template>> {
    let mut first: Option<BTreeSet<Arc<str>>> = None;
    problems.each(&spec.hosts, |host| {
        let template = Template::new(host)?;
        HostPattern::new(&template.example()).map_err(|error| format!("`{host}`, filled in: {error}"))?;
        let captures: BTreeSet<Arc<str>> = template.captures().cloned().collect();
        match first.get_or_insert_with(|| captures.clone()) {
            first if *first == captures => Ok(template),
            first => Err(format!(
                "`{host}` has {}, and the first host {}: all hosts of a route have the same captures",
                names(&captures),
                names(&*first)
            )),
        }
    })
}

fn patterns(
    spec: &RouteSpec,
    captures: Option<&BTreeSet<Arc<str>>>,
    mut problems: Problems<'_>,
) -> Option<BTreeMap<Arc<str>, RegexPattern>> {
    let (mut patterns, mut is_complete) = (BTreeMap::new(), true);
    for (name, text) in &spec.captures {
        let pattern = match captures {
            Some(captures) if !captures.contains(&**name) => Err(format!("no host has `{{{}}}`", name.escape_debug())),
            _ => whole(text),
        };
        match problems.at(name).ok(pattern) {
            Some(pattern) => drop(patterns.insert(name.as_str().into(), pattern)),
            None => is_complete = false,
        }
    }
    is_complete.then_some(patterns)
}

/// An expression that the whole value must match.
fn whole(text: &str) -> Result<RegexPattern, String> {
    // By itself, so that what is wrong with it is told as it was written.
    RegexPattern::new(text)?;
    RegexPattern::new(&format!("^(?:{text})$")).map_err(|_| format!("`{}` cannot be anchored", text.escape_debug()))
}

/// Whether a template has nothing that would have to be a template, too.
fn report_what_is_more(spec: &RouteSpec, problems: &mut Problems<'_>) -> bool {
    let before = problems.count();
    const ONE: &str = "a route with captures has one `upstream`, whose prefix has the same captures";
    if !spec.split.is_empty() {
        problems.at("split").report(format_args!("{ONE}, and no split"));
    }
    if !spec.release.is_empty() {
        problems.at("release").report(format_args!("{ONE}, and no release"));
    }
    let redirects = spec.filters.iter().position(|filter| matches!(filter, crate::spec::FilterSpec::Redirect(_)));
    if let Some(index) = redirects {
        problems.at(format_args!("filters[{index}]")).report(format_args!("{ONE}, and no redirect"));
    }
    problems.count() == before
}

/// `{app} and {branch}`, or `no captures`
pub(super) fn names<'n>(captures: impl IntoIterator<Item = &'n Arc<str>>) -> String {
    let names: Vec<String> = captures.into_iter().map(|name| format!("{{{name}}}")).collect();
    match names.as_slice() {
        [] => "no captures".to_owned(),
        [only] => only.clone(),
        [all @ .., last] => format!("{} and {last}", all.join(", ")),
    }
}
