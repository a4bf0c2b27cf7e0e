//! What the demo asks the admin API.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::Request;
use http::header::{CONTENT_TYPE, HOST as HOST_HEADER};
use http_body_util::Full;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::time::Instant;

use super::super::http_client::Connection;
use super::Trouble;
use super::acts::{Act, RULES};
use super::ledger::Place;
use super::stage::{CANARY, HOST, RELEASE};
use super::users::User;

/// A connection to the API.
pub(super) struct Admin {
    address: SocketAddr,
    connection: Connection,
}

#[derive(Deserialize)]
struct ReleaseAnswer {
    name: String,
    audience: Vec<RuleAnswer>,
}

#[derive(Deserialize)]
struct RuleAnswer {
    name: String,
    percent: f64,
}

#[derive(Deserialize)]
struct UpstreamAnswer {
    name: String,
    endpoints: Vec<EndpointAnswer>,
}

#[derive(Deserialize)]
struct EndpointAnswer {
    address: SocketAddr,
}

#[derive(Deserialize)]
struct Explanation {
    release: Option<ExplainedRelease>,
}

#[derive(Deserialize)]
struct ExplainedRelease {
    rule: Option<String>,
}

impl Admin {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self, Trouble> {
        let connection = Connection::open(address).await.map_err(|error| format!("admin API: {error}"))?;
        Ok(Self { address, connection })
    }

    /// The audience rule that decides about each user, by its place among [`RULES`].
    pub(super) async fn rules_of(&mut self, users: &[User]) -> Result<Vec<Option<usize>>, Trouble> {
        let mut rules = Vec::new();
        for user in users {
            let question = json!({
                "url": format!("http://{HOST}/"),
                "ip": "127.0.0.1",
                "headers": [
                    ["x-forwarded-for", user.address.to_string()],
                    ["x-user-id", user.id],
                    ["user-agent", user.agent],
                ],
            });
            let explained: Explanation = self.ask("/api/v1/explain", Some(question)).await?;
            let name = explained.release.and_then(|release| release.rule);
            rules.push(name.and_then(|name| RULES.iter().position(|rule| rule.name == name)));
        }
        Ok(rules)
    }

    /// The endpoints and whose they are.
    pub(super) async fn endpoints(&mut self) -> Result<Vec<Place>, Trouble> {
        let upstreams: Vec<UpstreamAnswer> = self.ask("/api/v1/upstreams", None).await?;
        let mut places: Vec<Place> = upstreams
            .iter()
            .flat_map(|upstream| {
                let is_canary = upstream.name == CANARY;
                upstream.endpoints.iter().map(move |endpoint| Place { address: endpoint.address, is_canary })
            })
            .collect();
        places.sort_by_key(|place| place.is_canary);
        Ok(places)
    }

    /// The shares in force, in the order of [`RULES`].
    pub(super) async fn shares(&mut self) -> Result<Vec<String>, Trouble> {
        let releases: Vec<ReleaseAnswer> = self.ask("/api/v1/releases", None).await?;
        let release = releases.into_iter().find(|release| release.name == RELEASE);
        let audience = release.map(|release| release.audience).unwrap_or_default();
        let share = |name: &str| audience.iter().find(|rule| rule.name == name).map(|rule| rule.percent.to_string());
        Ok(RULES.iter().map(|rule| share(rule.name).unwrap_or_else(|| "?".into())).collect())
    }

    /// Takes everybody back to stable.
    pub(super) async fn roll_back(&mut self) -> Result<(), Trouble> {
        let order = json!({"by": "serin demo"});
        let path = format!("/api/v1/releases/{RELEASE}/rollback");
        self.ask::<serde::de::IgnoredAny>(&path, Some(order)).await.map(|_| ())
    }

    /// Waits until the shares of an act are in force.
    pub(super) async fn wait_for(&mut self, act: &Act) -> Result<(), Trouble> {
        let deadline = Instant::now() + PATIENCE;
        let wanted: Vec<String> = act.percents.iter().map(ToString::to_string).collect();
        while self.shares().await? != wanted {
            if Instant::now() > deadline {
                return Err(format!("serin.yaml was rewritten, but {} is not in force", act.label));
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    async fn ask<T: DeserializeOwned>(&mut self, path: &str, body: Option<serde_json::Value>) -> Result<T, Trouble> {
        self.try_ask(path, body).await.map_err(|error| format!("admin API {path}: {error}"))
    }

    async fn try_ask<T: DeserializeOwned>(&mut self, path: &str, body: Option<serde_json::Value>) -> io::Result<T> {
        let request = match &body {
            Some(_) => Request::post(path),
            None => Request::get(path),
        };
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request
            .header(HOST_HEADER, self.address.to_string())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))
            .map_err(io::Error::other)?;
        let reply = self.connection.send(request).await?;
        if !reply.status.is_success() {
            return Err(io::Error::other(format!("status {}", reply.status.as_u16())));
        }
        serde_json::from_slice(&reply.body).map_err(io::Error::other)
    }
}

const PATIENCE: Duration = Duration::from_secs(10);
