//! Requests made up to match given routes, to be asked of a table.
//!
//! Whether an example goes where one expects only the table can tell: other routes may come first. What a regular expression
//! matches is guessed, so there may be no example where there are such requests.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::Pair;
use crate::request::RequestView;
use crate::rules::{HostPattern, PathPattern, TextCondition, TextPattern, canonical_pattern};

/// A request nobody has sent.
#[derive(Clone, Debug)]
pub struct Example {
    method: Method,
    host: String,
    path: String,
    query: Option<String>,
    headers: HeaderMap,
    client: IpAddr,
    listener: String,
}

impl Example {
    /// Requests that match all pairs; `listeners` are those there are.
    pub fn matching(pairs: &[Pair<'_>], listeners: &[&str]) -> Vec<Self> {
        let (Some(headers), Some(query)) = (headers(pairs), query(pairs)) else { return Vec::new() };
        let mut found = vec![Self {
            method: Method::GET,
            host: String::new(),
            path: String::new(),
            query,
            headers,
            client: ELSEWHERE,
            listener: String::new(),
        }];
        vary(&mut found, &hosts(pairs), |example, host| example.host.clone_from(host));
        vary(&mut found, &paths(pairs), |example, path| example.path.clone_from(path));
        vary(&mut found, &methods(pairs), |example, method| example.method = method.clone());
        vary(&mut found, &clients(pairs), |example, client| example.client = *client);
        vary(&mut found, &listeners_of(pairs, listeners), |example, listener| {
            example.listener = (*listener).to_owned()
        });
        found
    }

    /// As rules look at it.
    pub fn view(&self) -> RequestView<'_> {
        RequestView {
            query: self.query.as_deref(),
            listener: &self.listener,
            ..RequestView::new(&self.method, &self.host, &self.path, &self.headers, self.client)
        }
    }
}

impl fmt::Display for Example {
    /// `GET shop.example.com/cart with x-beta: 1 from 10.0.0.0 through internal`; only what matters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.method, self.host, self.path)?;
        if let Some(query) = &self.query {
            write!(f, "?{query}")?;
        }
        for (name, value) in &self.headers {
            write!(f, " with {name}: {}", String::from_utf8_lossy(value.as_bytes()).escape_debug())?;
        }
        if self.client != ELSEWHERE {
            write!(f, " from {}", self.client)?;
        }
        match &*self.listener {
            "" => Ok(()),
            listener => write!(f, " through {listener}"),
        }
    }
}

/// Each example once for every choice, as long as there are not too many.
fn vary<T>(examples: &mut Vec<Example>, choices: &[T], set: impl Fn(&mut Example, &T)) {
    let varied = examples.iter().flat_map(|example| {
        choices.iter().map(|choice| {
            let mut varied = example.clone();
            set(&mut varied, choice);
            varied
        })
    });
    *examples = varied.take(MOST_EXAMPLES).collect();
}

fn hosts(pairs: &[Pair<'_>]) -> Vec<String> {
    let host = |pair: &Pair<'_>| match pair.host {
        Some(HostPattern::Exact(name)) => name.to_string(),
        Some(HostPattern::Wildcard(suffix) | HostPattern::Below(suffix)) => format!("any{suffix}"),
        None => "any.example".to_owned(),
    };
    let holds = |host: &String| pairs.iter().all(|pair| pair.host.is_none_or(|pattern| pattern.matches(host)));
    pairs.iter().map(host).filter(holds).take(1).collect()
}

fn paths(pairs: &[Pair<'_>]) -> Vec<String> {
    let paths = |pair: &Pair<'_>| match pair.path {
        Some(PathPattern::Exact(path)) => vec![path.to_string()],
        Some(PathPattern::Prefix(prefix)) => ["", "/", "/any"].map(|rest| format!("{prefix}{rest}")).to_vec(),
        Some(PathPattern::Regex(regex)) => vec![regex.as_str().trim_matches(['^', '$']).to_owned()],
        None => vec!["/".to_owned(), "/any".to_owned()],
    };
    let is_canonical = |path: &String| canonical_pattern(path).is_ok_and(|canonical| *canonical == **path);
    let holds = |path: &String| pairs.iter().all(|pair| pair.path.is_none_or(|pattern| pattern.matches(path)));
    let mut found: Vec<String> = pairs.iter().flat_map(paths).filter(is_canonical).filter(holds).collect();
    found.dedup();
    found
}

fn methods(pairs: &[Pair<'_>]) -> Vec<Method> {
    let lists = || pairs.iter().map(|pair| &*pair.conditions().methods);
    let asked = lists().flatten().cloned();
    let holds = |method: &Method| lists().all(|list| list.is_empty() || list.contains(method));
    let mut found: Vec<Method> = [Method::GET, Method::POST].into_iter().chain(asked).filter(holds).collect();
    found.dedup();
    found
}

/// Of every network the first and the last address: another route may have a smaller network within.
fn clients(pairs: &[Pair<'_>]) -> Vec<IpAddr> {
    let sets = || pairs.iter().map(|pair| &pair.conditions().client_ip);
    let ends = sets().flat_map(|set| set.networks()).flat_map(|network| [network.network(), network.broadcast()]);
    let holds = |address: &IpAddr| sets().all(|set| set.is_empty() || set.contains(*address));
    std::iter::once(ELSEWHERE).chain(ends).filter(holds).collect()
}

fn listeners_of<'a>(pairs: &[Pair<'a>], listeners: &[&'a str]) -> Vec<&'a str> {
    let lists = || pairs.iter().map(|pair| &*pair.conditions().listeners);
    let holds = |name: &&str| lists().all(|list| list.is_empty() || list.iter().any(|other| other.as_str() == *name));
    let asks = lists().any(|list| !list.is_empty());
    // Without a word about listeners the first choice is one that no route names.
    let unnamed = (!asks).then_some("");
    unnamed.into_iter().chain(listeners.iter().copied()).filter(holds).collect()
}

fn headers(pairs: &[Pair<'_>]) -> Option<HeaderMap> {
    let conditions: Vec<_> = pairs.iter().flat_map(|pair| &pair.conditions().headers).collect();
    let mut headers = HeaderMap::new();
    for (name, value) in texts::<HeaderName>(&conditions)? {
        headers.insert(name, HeaderValue::from_bytes(&value).ok()?);
    }
    Some(headers)
}

fn query(pairs: &[Pair<'_>]) -> Option<Option<String>> {
    let conditions: Vec<_> = pairs.iter().flat_map(|pair| &pair.conditions().query).collect();
    let parameters = texts(&conditions)?.into_iter().map(|(name, value)| match &*value {
        [] => name.to_string(),
        value => format!("{name}={}", String::from_utf8_lossy(value)),
    });
    let parameters: Vec<String> = parameters.collect();
    Some((!parameters.is_empty()).then(|| parameters.join("&")))
}

/// A value for each name that fulfils all its conditions; a name that must be absent has none. `None` if none was found.
fn texts<N: PartialEq + Clone>(conditions: &[&TextCondition<N>]) -> Option<Vec<(N, Box<[u8]>)>> {
    let mut found: Vec<(N, Box<[u8]>)> = Vec::new();
    for condition in conditions {
        if found.iter().any(|(name, _)| *name == condition.name) {
            continue;
        }
        let of_name = || conditions.iter().filter(|other| other.name == condition.name);
        let holds = |value: &Option<Box<[u8]>>| of_name().all(|other| other.pattern.matches(value.as_deref()));
        let value = of_name().map(|other| value(&other.pattern)).find(holds)?;
        found.extend(value.map(|value| (condition.name.clone(), value)));
    }
    Some(found)
}

fn value(pattern: &TextPattern) -> Option<Box<[u8]>> {
    match pattern {
        TextPattern::Exact(text) | TextPattern::Prefix(text) => Some(text.clone()),
        TextPattern::Regex(regex) => Some(regex.as_str().trim_matches(['^', '$']).as_bytes().into()),
        TextPattern::Present => Some((*b"1").into()),
        TextPattern::Absent => None,
    }
}

/// For a client whose address does not matter (RFC 5737).
const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

const MOST_EXAMPLES: usize = 64;
