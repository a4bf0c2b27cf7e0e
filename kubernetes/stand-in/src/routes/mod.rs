//! From a request to its answer.

mod address;
mod answer;
mod discovery;
mod objects;
mod openapi;

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;

use address::{Address, Verb};
use answer::Answer;

use crate::query::Query;
use crate::resource::Resource;
use crate::state::{Shared, State};
use crate::status::Failure;

/// A request, read and understood as far as every request is.
struct Asked {
    head: Parts,
    query: Query,
    body: Bytes,
}

/// The life of one request. It is counted when it comes, whatever becomes of it.
pub(crate) async fn serve(shared: Arc<Shared>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let query = Query::parse(head.uri.query().unwrap_or_default());
    // A client that went away while it was sending needs no answer.
    let Ok(body) = body.collect().await else { return answer::text(StatusCode::BAD_REQUEST, "") };
    let asked = Asked { head, query, body: body.to_bytes() };
    let address = Address::of(asked.head.uri.path());
    let verb = Verb::of(&asked.head.method, &address, &asked.query);
    shared.change(|state| state.counts.count(verb.name(), &address.counted()));
    until_it_answers(&shared).await;
    let failure = shared.change(|state| refused(state, &asked, verb, &address));
    let answer = match failure {
        Some(failure) => Err(failure),
        None => dispatch(&shared, &asked, verb, &address),
    };
    answer.unwrap_or_else(|failure| answer::failure(&failure))
}

fn dispatch(shared: &Arc<Shared>, asked: &Asked, verb: Verb, address: &Address) -> Result<Answer, Failure> {
    if let Address::Objects(place) = address {
        return objects::serve(shared, asked, verb, place);
    }
    if asked.head.method != Method::GET {
        return Err(answer::method_not_allowed());
    }
    Ok(match address {
        Address::Health => answer::text(StatusCode::OK, "ok"),
        Address::Version => answer::json(StatusCode::OK, &discovery::version()),
        Address::CoreVersions => answer::json(StatusCode::OK, &discovery::core_versions()),
        Address::Groups => answer::json(StatusCode::OK, &discovery::groups(&shared.look().registry)),
        Address::Group(group) => found(discovery::group(&shared.look().registry, group)),
        Address::Resources(group, version) => found(discovery::resources(&shared.look().registry, group, version)),
        Address::OpenApi => answer::json(StatusCode::OK, &openapi::index(&shared.look().registry)),
        Address::OpenApiOf(group, version) => found(openapi::of(&shared.look().registry, group, version)),
        Address::Objects(_) | Address::Unknown => answer::not_found(),
    })
}

fn found(document: Option<serde_json::Value>) -> Answer {
    document.map_or_else(answer::not_found, |document| answer::json(StatusCode::OK, &document))
}

async fn until_it_answers(shared: &Shared) {
    let mut pulse = shared.pulse();
    loop {
        pulse.borrow_and_update();
        if !shared.look().faults.hanging {
            return;
        }
        // The stand-in ends before its state does.
        let _ = pulse.changed().await;
    }
}

/// Why the request is not even looked at.
fn refused(state: &mut State, asked: &Asked, verb: Verb, address: &Address) -> Option<Failure> {
    if let Some(failure) = state.faults.next.pop_front() {
        return Some(failure);
    }
    let brought = asked.head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let wanted = state.token.as_ref().map(|token| format!("Bearer {token}"));
    if wanted.is_some() && brought != wanted.as_deref() && !matches!(address, Address::Health) {
        return Some(Failure::new(401, "Unauthorized", "Unauthorized"));
    }
    let counted = address.counted();
    let forbidden = |resource: &str| state.faults.forbidden.contains(&(verb.name().to_owned(), resource.to_owned()));
    if !forbidden(&counted) && !forbidden("*") {
        return None;
    }
    let Address::Objects(place) = address else {
        return Some(Failure::new(403, "Forbidden", format!("forbidden: User \"test\" cannot {} path", verb.name())));
    };
    let resource = place.resource(&state.registry)?;
    Some(Failure::forbidden(&resource, &place.name, &may_not(verb, &resource, &counted, &place.namespace)))
}

fn may_not(verb: Verb, resource: &Resource, counted: &str, namespace: &Option<String>) -> String {
    let scope = match namespace {
        Some(namespace) => format!("in the namespace {namespace:?}"),
        None => "at the cluster scope".to_owned(),
    };
    let plural = counted.replace(&resource.qualified(), &resource.plural);
    let group = &resource.group;
    format!("User \"test\" cannot {} resource {plural:?} in API group {group:?} {scope}", verb.name())
}

impl Asked {
    fn header(&self, name: http::HeaderName) -> &str {
        self.head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The type of the body, without its parameters.
    fn media_type(&self) -> &str {
        self.header(CONTENT_TYPE).split(';').next().unwrap_or_default().trim()
    }
}
