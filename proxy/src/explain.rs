//! Why a request goes where it goes. Nothing is computed a second way: these are the functions a request runs.

use std::fmt;
use std::net::IpAddr;
use std::time::SystemTime;

use http::header::HOST;
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request};
/// Which table of devices decides; instances that differ may see one user differently.
pub use routing_rules::release::DEVICE_TABLE_VERSION;
use routing_rules::release::Moment;
use routing_rules::request::RequestView;
use routing_rules::rules::Target;
use routing_rules::table::{CompiledTarget, UpstreamId};
use serde::{Deserialize, Serialize};

use crate::data_path::decide;
use crate::data_path::headers;
use crate::data_path::request::{self, Head};
use crate::snapshot::{Member, Snapshot};

/// A request to explain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// The whole URL, for example `http://shop.example.com/cart?id=7`.
    pub url: String,
    /// Default `GET`.
    #[serde(default = "get")]
    pub method: String,
    /// Header fields in order.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// The address the connection comes from.
    #[serde(default = "unspecified")]
    pub ip: IpAddr,
    /// The listener it came through. Default: the only one; with several, one that only routes for all listeners serve.
    #[serde(default)]
    pub listener: String,
}

fn get() -> String {
    "GET".into()
}

fn unspecified() -> IpAddr {
    IpAddr::from([127, 0, 0, 1])
}

/// What a request meets.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The canonical host.
    pub host: String,
    /// The canonical path.
    pub path: String,
    /// The client's address after trusted proxies.
    pub client: IpAddr,
    /// The route, if one matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// The release that had a say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleaseExplanation>,
    /// The upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<String>,
    /// The upstreams of a split, one of which is drawn for each request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub split: Vec<UpstreamShare>,
    /// The endpoints with their shares of the requests.
    pub endpoints: Vec<EndpointShare>,
    /// What the client gets instead of an endpoint's answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// The user's group, and why.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ReleaseExplanation {
    /// The release.
    pub name: String,
    /// `stable` or `canary`.
    pub group: &'static str,
    /// A stable word: override, pin, rule, no_rule, no_key, inactive, canary_down.
    pub reason: &'static str,
    /// The same in words, with rule, percent and bucket.
    pub text: String,
    /// The audience rule that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The user's place on the line from 0 to 9999.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u16>,
    /// The rule's share, in percent.
    pub percent: String,
}

/// One upstream of a split and its share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct UpstreamShare {
    /// The upstream.
    pub name: String,
    /// Its share of the route's requests, in percent.
    pub percent: f64,
}

/// One endpoint and its share.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EndpointShare {
    /// Its address.
    pub address: std::net::SocketAddr,
    /// Its configured weight.
    pub weight: u16,
    /// Its share of the requests, in percent.
    pub percent: f64,
}

/// Why a question cannot be answered.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadQuestion(String);

impl Question {
    /// A GET without headers.
    pub fn get(url: impl Into<String>, ip: IpAddr) -> Self {
        Self { url: url.into(), method: get(), headers: Vec::new(), ip, listener: String::new() }
    }

    /// The head as hyper would have parsed it.
    fn parts(&self) -> Result<Parts, BadQuestion> {
        let method: Method =
            self.method.parse().map_err(|_| BadQuestion(format!("`{}` is not a method", self.method)))?;
        let uri: http::Uri =
            self.url.parse().map_err(|error| BadQuestion(format!("`{}` is not a URL: {error}", self.url)))?;
        let authority = uri
            .authority()
            .ok_or_else(|| BadQuestion(format!("`{}` has no host; write http://HOST/PATH", self.url)))?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| BadQuestion("the host is not text".into()))?;
        let target = uri.path_and_query().map_or("/", |target| target.as_str());
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_| BadQuestion(format!("`{target}` is not a path")))?;
        request.headers_mut().insert(HOST, host);
        for (name, value) in &self.headers {
            let parsed = HeaderName::try_from(name).ok().zip(HeaderValue::try_from(value).ok());
            let (name, value) =
                parsed.ok_or_else(|| BadQuestion(format!("`{name}: {value}` is not a header field")))?;
            match name == HOST {
                true => drop(request.headers_mut().insert(name, value)),
                false => drop(request.headers_mut().append(name, value)),
            }
        }
        Ok(request.into_parts().0)
    }
}

/// Explains a request against a snapshot.
///
/// # Errors
/// The question is not a request that could exist.
pub fn explain(snapshot: &Snapshot, question: &Question) -> Result<Explanation, BadQuestion> {
    let parts = question.parts()?;
    let head =
        Head::check(&parts).map_err(|error| BadQuestion(format!("{} {}", error.status().as_u16(), error.reason())))?;
    let client =
        headers::client_address(&parts.headers, question.ip.to_canonical(), |address| snapshot.trusts(address));
    let view = RequestView {
        method: &parts.method,
        host: head.host.name(),
        path: &head.path,
        query: head.query.as_deref(),
        headers: &parts.headers,
        client,
        listener: listener_of(snapshot, question),
        geo: snapshot.geo.as_deref(),
    };
    let mut explanation = Explanation {
        host: head.host.name().to_owned(),
        path: head.path.clone().into_owned(),
        client,
        route: None,
        release: None,
        upstream: None,
        split: Vec::new(),
        endpoints: Vec::new(),
        answer: None,
    };
    let Some(found) = decide::find(snapshot, &view) else {
        explanation.answer = Some("404 no route".into());
        return Ok(explanation);
    };
    explanation.route = Some(found.route().name().to_string());
    if head.has_encoded_slash && !found.route().rules().keeps_encoded_slashes() {
        explanation.answer = Some("400 encoded slash in the path".into());
        return Ok(explanation);
    }
    if let Target::Redirect(redirect) = found.route().rules().target() {
        let port = port_of(snapshot, view.listener);
        let location = request::location(redirect, &head, port);
        explanation.answer = Some(format!("{} redirect to {location}", redirect.status.as_u16()));
        return Ok(explanation);
    }
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let moment = Moment { unix_secs: now.as_secs(), draw: [crate::random::seed(), crate::random::seed()] };
    let placement = decide::place(snapshot, &found, &view, &moment);
    let Some(placement) = placement else { return Ok(explanation) };
    if let Some(placing) = &placement.release {
        let assignment = &placing.assignment;
        explanation.release = Some(ReleaseExplanation {
            name: placing.name(snapshot).unwrap_or_default().into(),
            group: placing.group().as_str(),
            reason: placing.reason(),
            text: match placing.canary_is_down {
                true => format!("{assignment}; the canary has no endpoint, so stable serves"),
                false => assignment.to_string(),
            },
            rule: assignment.rule.map(Into::into),
            bucket: assignment.bucket.map(|bucket| bucket.line()),
            percent: assignment.share.to_string(),
        });
    }
    match (found.route().target(), found.route().rules().target(), &placement.release) {
        (CompiledTarget::Split { upstreams, .. }, Target::Split(parts), None) => {
            let total: f64 = parts.iter().map(|part| f64::from(part.weight)).sum();
            for (part, upstream) in parts.iter().zip(upstreams) {
                let percent = 100.0 * f64::from(part.weight) / total;
                explanation.split.push(UpstreamShare { name: part.upstream.to_string(), percent });
                explanation.endpoints.extend(shares(snapshot, *upstream, percent));
            }
        }
        _ => {
            explanation.upstream = snapshot.upstream(placement.upstream).map(|upstream| upstream.name.to_string());
            explanation.endpoints.extend(shares(snapshot, placement.upstream, 100.0));
        }
    }
    if explanation.endpoints.iter().all(|endpoint| endpoint.weight == 0) {
        explanation.answer = Some("503 no endpoint available".into());
    }
    Ok(explanation)
}

/// The endpoints of an upstream that gets `percent` of the requests.
fn shares(snapshot: &Snapshot, upstream: UpstreamId, percent: f64) -> Vec<EndpointShare> {
    let Some(upstream) = snapshot.upstream(upstream) else { return Vec::new() };
    let total: f64 = upstream.endpoints.iter().map(|member| f64::from(member.weight)).sum();
    let share = |member: &Member| EndpointShare {
        address: member.endpoint.address(),
        weight: member.weight,
        percent: if total > 0.0 { percent * f64::from(member.weight) / total } else { 0.0 },
    };
    upstream.endpoints.iter().map(share).collect()
}

/// The port a listener was given; that of HTTP if it is not known.
fn port_of(snapshot: &Snapshot, listener: &str) -> u16 {
    let mut listeners = snapshot.table.rules().listeners();
    listeners.find(|known| known.name().as_str() == listener).map_or(80, |known| known.address().port())
}

/// The listener asked for, else the only one there is: most files have one, and routes may name it.
fn listener_of<'a>(snapshot: &'a Snapshot, question: &'a Question) -> &'a str {
    let mut listeners = snapshot.table.rules().listeners();
    match (question.listener.as_str(), listeners.next(), listeners.next()) {
        ("", Some(only), None) => only.name().as_str(),
        (asked, ..) => asked,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request   {}{} from {}", self.host, self.path, self.client)?;
        writeln!(f, "route     {}", self.route.as_deref().unwrap_or("none matches"))?;
        if let Some(release) = &self.release {
            writeln!(f, "release   {}: {} ({})", release.name, release.group, release.text)?;
        }
        if let Some(upstream) = &self.upstream {
            writeln!(f, "upstream  {upstream}")?;
        }
        for part in &self.split {
            writeln!(f, "split     {} {:.1} %", part.name, part.percent)?;
        }
        for endpoint in &self.endpoints {
            writeln!(f, "endpoint  {} weight {} ({:.1} %)", endpoint.address, endpoint.weight, endpoint.percent)?;
        }
        match &self.answer {
            Some(answer) => writeln!(f, "answer    {answer}"),
            None => Ok(()),
        }
    }
}
