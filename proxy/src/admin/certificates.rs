//! What the API shows of certificates: what is in use, and how far those are that are ordered. No key is anywhere near.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use routing_rules::rules::{Certificate, Name};
use serde::Serialize;
use utoipa::ToSchema;

use super::openapi::AnyRefusal;
use super::{AdminState, aside};
use crate::control_path::acme::{self, Standing};
use crate::server::Shared;
use crate::telemetry::metrics::OrderFacts;

/// All certificates.
#[derive(Serialize, ToSchema)]
struct CertificatesView {
    /// By name.
    certificates: Vec<CertificateView>,
}

/// A certificate of the rules.
#[derive(Serialize, ToSchema)]
struct CertificateView {
    name: String,
    hosts: Vec<String>,
    /// When the one in use expires (RFC 3339); absent if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<String>,
    /// How far its order is, if it is ordered.
    #[serde(skip_serializing_if = "Option::is_none")]
    acme: Option<Standing>,
}

/// The certificates, and how far those are that are ordered.
#[utoipa::path(get, operation_id = "certificates", path = "/api/v1/certificates", tag = "rules",
    responses((status = 200, description = "By name", body = CertificatesView), AnyRefusal))]
pub(super) async fn list(State(state): State<AdminState>) -> Response {
    aside(move || Json(certificates(&state.shared))).await
}

fn certificates(shared: &Shared) -> CertificatesView {
    let snapshot = shared.snapshots.load();
    let rules = snapshot.table.rules();
    let mut standings: BTreeMap<Name, Standing> = shared.acme.standings(rules).into_iter().collect();
    let expires = |name: &Name| snapshot.tls.certificates.get(name).map(|it| acme::date(it.not_after));
    let view = |certificate: &Certificate| CertificateView {
        name: certificate.name().to_string(),
        hosts: certificate.hosts().iter().map(ToString::to_string).collect(),
        expires: expires(certificate.name()),
        acme: standings.remove(certificate.name()),
    };
    CertificatesView { certificates: rules.certificates().map(|certificate| &**certificate).map(view).collect() }
}

/// What metrics tell of orders.
pub(super) fn facts(shared: &Shared) -> OrderFacts {
    let totals = shared.acme.totals();
    let failures = shared.acme.failing(shared.snapshots.load().table.rules());
    let failures = failures.into_iter().map(|(name, count)| (name.to_string(), count));
    OrderFacts { issued: totals.issued, failed: totals.failed, failures: failures.collect() }
}
