//! What holds for every request that changes something.

use std::fmt;
use std::marker::PhantomData;
use std::net::IpAddr;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::header::WWW_AUTHENTICATE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use utoipa::ToSchema;

use super::AdminToken;
use super::openapi::Refused;
use crate::server::Shared;

/// The body of a request that says all with its target: `{}`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

pub(super) type Body = Result<Json<Object<Nothing>>, JsonRejection>;

/// A JSON object. What serde makes of one it makes of a list of its values too, in an order that nobody has promised.
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// A status, and why.
pub(super) type Refusal = (StatusCode, String);

/// Whether it may, and what it says. Where there is no token, whoever can log in here may, and nobody else: not from elsewhere,
/// and not through a route that leads here by mistake.
pub(super) fn check<T>(
    shared: &Shared,
    peer: IpAddr,
    headers: &HeaderMap,
    body: Result<Json<Object<T>>, JsonRejection>,
) -> Result<T, Refusal> {
    may(shared.token.as_ref(), peer, headers)?;
    read(body)
}

/// What a body says.
pub(super) fn read<T>(body: Result<Json<Object<T>>, JsonRejection>) -> Result<T, Refusal> {
    body.map(|Json(Object(body))| body).map_err(|rejection| (rejection.status(), rejection.body_text()))
}

fn may(token: Option<&AdminToken>, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
    let is_forwarded = headers.contains_key(FORWARDED_FOR);
    match token {
        _ if is_forwarded => Err((StatusCode::FORBIDDEN, "changes are not taken through a proxy".to_owned())),
        Some(token) if !token.is_shown(headers) => {
            let reason = "changes need the token of this instance: Authorization: Bearer TOKEN";
            Err((StatusCode::UNAUTHORIZED, reason.to_owned()))
        }
        None if !peer.to_canonical().is_loopback() => {
            let reason = "changes are taken from this machine only, because no token is set (admin.token_file)";
            Err((StatusCode::FORBIDDEN, reason.to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn refuse((status, reason): Refusal) -> Response {
    let mut response = (status, Json(Refused { error: reason })).into_response();
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Written by Serin into every request that it sends on.
const FORWARDED_FOR: &str = "x-forwarded-for";

#[cfg(test)]
mod tests {
    use axum::http::header::AUTHORIZATION;
    use axum::http::{HeaderMap, StatusCode};

    use super::super::AdminToken;
    use super::{FORWARDED_FOR, may};

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_this_machine_changes_anything_without_a_token() {
        let forwarded = headers(&[(FORWARDED_FOR, "127.0.0.1")]);
        for (peer, is_allowed) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
        ] {
            let peer = peer.parse().unwrap();
            assert_eq!(may(None, peer, &HeaderMap::new()).is_ok(), is_allowed, "{peer}");
            assert_eq!(may(None, peer, &forwarded).unwrap_err().0, StatusCode::FORBIDDEN);
        }
    }

    #[test]
    fn whoever_shows_the_token_may_from_everywhere() {
        let token = AdminToken::new("0123456789abcdef\n").unwrap();
        let code = |peer: &str, fields: &[(&'static str, &str)]| {
            may(Some(&token), peer.parse().unwrap(), &headers(fields)).map_err(|refusal| refusal.0)
        };
        let field = AUTHORIZATION.as_str();
        assert_eq!(field, "authorization");
        for peer in ["127.0.0.1", "10.0.0.1"] {
            assert_eq!(code(peer, &[("authorization", "Bearer 0123456789abcdef")]), Ok(()));
            assert_eq!(code(peer, &[("authorization", "bearer  0123456789abcdef")]), Ok(()));
            for wrong in ["", "Bearer", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef"]
            {
                assert_eq!(code(peer, &[("authorization", wrong)]), Err(StatusCode::UNAUTHORIZED), "{wrong}");
            }
            assert_eq!(code(peer, &[]), Err(StatusCode::UNAUTHORIZED));
            let through = [("authorization", "Bearer 0123456789abcdef"), (FORWARDED_FOR, "10.0.0.1")];
            assert_eq!(code(peer, &through), Err(StatusCode::FORBIDDEN));
        }
    }
}
