//! What the API shows of templates and their environments.

use std::collections::BTreeMap;

use routing_rules::rules::{Environment, TemplateSet, UpstreamTemplate};
use serde::Serialize;
use utoipa::ToSchema;

use crate::snapshot::Snapshot;

/// A template of upstreams, with its routes.
#[derive(Serialize, ToSchema)]
pub(super) struct TemplateView {
    upstream: String,
    prefix: String,
    /// How many may be live at once.
    most: usize,
    routes: Vec<RouteTemplateView>,
    /// Those that are live, who came first before the others.
    environments: Vec<EnvironmentView>,
    /// How many wait for a place, and who gets the next one.
    waiting: usize,
    next: Option<String>,
    /// Keys that would make no host.
    refused: usize,
    refusal: Option<String>,
    /// Why registrations are not heard now, if they are not. What was heard last serves on.
    failure: Option<String>,
}

/// A template of routes.
#[derive(Serialize, ToSchema)]
struct RouteTemplateView {
    name: String,
    hosts: Vec<String>,
}

/// An environment that is live.
#[derive(Serialize, ToSchema)]
struct EnvironmentView {
    values: BTreeMap<String, String>,
    /// Its upstream, which `/api/v1/upstreams` shows.
    upstream: String,
}

/// All templates, by name.
pub(super) fn templates(snapshot: &Snapshot) -> Vec<TemplateView> {
    snapshot.table.rules().template_sets().map(|templates| TemplateView::new(snapshot, &templates)).collect()
}

impl TemplateView {
    fn new(snapshot: &Snapshot, TemplateSet { upstream: template, routes }: &TemplateSet) -> Self {
        let known = snapshot.environments.of(template.name()).unwrap_or_default();
        let routes = routes.iter().map(|route| RouteTemplateView {
            name: route.name().to_string(),
            hosts: route.hosts().iter().map(ToString::to_string).collect(),
        });
        Self {
            upstream: template.name().to_string(),
            prefix: template.prefix().to_string(),
            most: template.most(),
            routes: routes.collect(),
            environments: known.live.iter().filter_map(|live| EnvironmentView::new(template, live)).collect(),
            waiting: known.waiting,
            next: known.next.map(|next| next.to_string()),
            refused: known.refused,
            refusal: known.refusal.map(Into::into),
            failure: known.failure.map(Into::into),
        }
    }
}

impl EnvironmentView {
    fn new(template: &UpstreamTemplate, environment: &Environment) -> Option<Self> {
        let values = environment.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(Self { values, upstream: template.name_of(environment).ok()?.to_string() })
    }
}
