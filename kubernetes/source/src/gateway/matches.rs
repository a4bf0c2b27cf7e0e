//! Matches of routes, as conditions of rules.

use std::collections::BTreeMap;

use routing_rules::rules::RegexPattern;
use routing_rules::spec::{PathSpec, TextMatchSpec};

use super::kinds::{GrpcMatch, GrpcRoute, HttpMatch, HttpRoute, MethodMatch, PathMatch, Route, RouteSpec, TextMatch};
use crate::conditions::Refusal;
use crate::kind::Kind;
use crate::objects::{Kept, Objects};

/// What a match asks of a request besides its host.
#[derive(Default)]
pub(super) struct Conditions {
    /// None for any.
    pub(super) path: Option<PathSpec>,
    pub(super) method: Option<String>,
    pub(super) headers: BTreeMap<String, TextMatchSpec>,
    pub(super) query: BTreeMap<String, TextMatchSpec>,
}

/// What tells one kind of routes from the other.
pub(super) trait Match: Default + Sized + 'static
where
    RouteSpec<Self>: Kind,
{
    /// What names of rules begin with.
    const PREFIX: &'static str;
    /// Whether what is spoken with endpoints is gRPC.
    const IS_GRPC: bool;

    fn routes(objects: &Objects) -> &Kept<Route<Self>>;

    /// # Errors
    /// There is no such condition.
    fn conditions(&self) -> Result<Conditions, Refusal>;
}

impl Match for HttpMatch {
    const PREFIX: &'static str = "httproute";
    const IS_GRPC: bool = false;

    fn routes(objects: &Objects) -> &Kept<HttpRoute> {
        &objects.http_routes
    }

    fn conditions(&self) -> Result<Conditions, Refusal> {
        Ok(Conditions {
            path: self.path.as_ref().map_or(Ok(None), path)?,
            method: self.method.clone(),
            headers: texts(&self.headers, str::to_ascii_lowercase)?,
            query: texts(&self.query_params, str::to_owned)?,
        })
    }
}

impl Match for GrpcMatch {
    const PREFIX: &'static str = "grpcroute";
    const IS_GRPC: bool = true;

    fn routes(objects: &Objects) -> &Kept<GrpcRoute> {
        &objects.grpc_routes
    }

    fn conditions(&self) -> Result<Conditions, Refusal> {
        let path = self.method.as_ref().map_or(Ok(None), call)?;
        Ok(Conditions { path, headers: texts(&self.headers, str::to_ascii_lowercase)?, ..Conditions::default() })
    }
}

fn path(path: &PathMatch) -> Result<Option<PathSpec>, Refusal> {
    let text = path.value.as_deref().unwrap_or("/");
    Ok(match path.r#type.as_deref().unwrap_or("PathPrefix") {
        "Exact" => Some(PathSpec::Exact(text.into())),
        // Every path begins with it.
        "PathPrefix" if text == "/" => None,
        "PathPrefix" => Some(PathSpec::Prefix(text.into())),
        "RegularExpression" => Some(PathSpec::Regex(whole(text)?)),
        other => return Err(Refusal::unsupported(format!("path.type: {other} is not supported"))),
    })
}

/// A method of a service, which is what paths of gRPC are.
fn call(call: &MethodMatch) -> Result<Option<PathSpec>, Refusal> {
    let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let is_exact = match call.r#type.as_deref().unwrap_or("Exact") {
        "Exact" => true,
        "RegularExpression" => false,
        other => return Err(Refusal::unsupported(format!("method.type: {other} is not supported"))),
    };
    Ok(match (given(&call.service), given(&call.method)) {
        (None, None) => None,
        (Some(service), Some(method)) if is_exact => Some(PathSpec::Exact(format!("/{service}/{method}"))),
        (Some(service), None) if is_exact => Some(PathSpec::Prefix(format!("/{service}"))),
        (service, method) => {
            let segment = |text: Option<String>| match text {
                None => Ok("[^/]+".to_owned()),
                Some(text) if is_exact => Ok(literal(&text)),
                Some(text) => group(&text),
            };
            Some(PathSpec::Regex(format!("^/{}/{}$", segment(service)?, segment(method)?)))
        }
    })
}

/// Names of services and methods have no other letter that means something in an expression.
fn literal(text: &str) -> String {
    text.replace('.', "\\.")
}

/// Of several that have one name the first counts.
fn texts(matches: &[TextMatch], name: impl Fn(&str) -> String) -> Result<BTreeMap<String, TextMatchSpec>, Refusal> {
    let mut texts = BTreeMap::new();
    for text in matches {
        let value = match text.r#type.as_deref().unwrap_or("Exact") {
            "Exact" => TextMatchSpec::Exact(text.value.clone()),
            "RegularExpression" => TextMatchSpec::Regex(whole(&text.value)?),
            other => {
                return Err(Refusal::unsupported(format!("{}: the type {other} is not supported", text.name)));
            }
        };
        texts.entry(name(&text.name)).or_insert(value);
    }
    Ok(texts)
}

/// An expression that is to be all of a text.
fn whole(expression: &str) -> Result<String, Refusal> {
    Ok(format!("^{}$", group(expression)?))
}

/// An expression as a part of a longer one. It has to be one by itself: parentheses that only the whole closes would be another.
fn group(expression: &str) -> Result<String, Refusal> {
    RegexPattern::new(expression).map_err(Refusal::unsupported)?;
    Ok(format!("(?:{expression})"))
}
