//! The API as OpenAPI describes it. It is made from the routes and from the types of what they take and answer: what is not
//! served is not described, and what is not described is not served.

use std::collections::BTreeMap;

use axum::Json;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ContentBuilder, OpenApi as Description, Ref, RefOr, Response as Answer, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi, ToSchema};

use super::{aside, routes};

/// What the description begins with.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Serin's admin API",
        description = "What an instance of Serin does, and orders to it. Whatever is refused says why: `{\"error\": …}`."
    ),
    components(schemas(Refused)),
    modifiers(&Token)
)]
pub(super) struct Document;

/// Why a request was refused.
#[derive(Serialize, ToSchema)]
pub(super) struct Refused {
    /// For people to read.
    pub(super) error: String,
}

struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut Description) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
            "The token in the file `admin.token_file`. Without one, changes are taken from the instance's own machine only.",
        ));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme.build()));
    }
}

/// What any request may meet.
pub(super) struct AnyRefusal;

/// What a request that asks for something may meet.
pub(super) struct QuestionRefusal;

/// What a request that changes something may meet.
pub(super) struct ChangeRefusal;

impl IntoResponses for AnyRefusal {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        refusals(&[
            (StatusCode::FORBIDDEN, "A script of another site asks."),
            (StatusCode::MISDIRECTED_REQUEST, "`Host` is neither an address nor `localhost`."),
        ])
    }
}

impl IntoResponses for QuestionRefusal {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        let mut all = AnyRefusal::responses();
        all.extend(refusals(&[(StatusCode::BAD_REQUEST, "The path or the query is wrong.")]));
        all
    }
}

impl IntoResponses for ChangeRefusal {
    fn responses() -> BTreeMap<String, RefOr<Answer>> {
        let mut all = QuestionRefusal::responses();
        all.extend(refusals(&[
            (StatusCode::UNAUTHORIZED, "The token is missing, or another one."),
            (StatusCode::FORBIDDEN, "A script of another site asks, somebody by way of a proxy, or somebody elsewhere without there being a token."),
            (StatusCode::NOT_FOUND, "There is nothing of that name."),
            (StatusCode::PAYLOAD_TOO_LARGE, "The body has more than 64 KiB."),
            (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body does not say that it is JSON."),
            (StatusCode::UNPROCESSABLE_ENTITY, "The body has other fields, or other values, than it may have."),
        ]));
        all
    }
}

fn refusals(all: &[(StatusCode, &str)]) -> BTreeMap<String, RefOr<Answer>> {
    let content = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Refused"))).build();
    let answers = all.iter().map(|(code, description)| {
        let answer = ResponseBuilder::new().description(*description).content("application/json", content());
        (code.as_u16().to_string(), answer.build().into())
    });
    answers.collect()
}

/// This description.
#[utoipa::path(get, operation_id = "description", path = "/api/v1/openapi.json", tag = "instance",
    responses((status = 200, description = "OpenAPI 3.1", body = Object), AnyRefusal))]
pub(super) async fn openapi() -> Response {
    aside(|| Json(routes().into_openapi())).await
}
