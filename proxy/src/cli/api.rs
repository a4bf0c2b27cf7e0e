//! Asking the admin API.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, IF_MATCH};
use http::{Request, StatusCode, Uri};
use http_body_util::Full;
use serde_json::Value;

use super::http_client::{Connection, PATIENCE, Reply};
use super::{NO, UNREACHED, USAGE, shown};

/// Where the API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    host: String,
    port: u16,
}

/// The API of one instance.
pub(super) struct Api {
    place: Place,
    authorization: Option<HeaderValue>,
}

/// What the API says, which may be a refusal.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
}

/// Why there is nothing to show.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The command line is wrong.
    Usage(String),
    /// The answer is no.
    No(String),
    /// Nobody has answered, or not what an instance answers.
    Unreached(String),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|error| format!("it is not a URL: {error}"))?;
        if uri.scheme_str() != Some("http") {
            return Err("it begins with http://: the admin API speaks plain HTTP".to_owned());
        }
        if !matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("/" | "")) {
            return Err("it ends behind the port".to_owned());
        }
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'));
        let authority = authority.ok_or("it has a host, a port, and no user")?;
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        Ok(Self { host, port: authority.port_u16().unwrap_or(80) })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "http://[{host}]:{port}") } else { write!(f, "http://{host}:{port}") }
    }
}

impl Api {
    /// Reads the token, where there is one.
    pub(super) fn new(place: Place, token_file: Option<&Path>) -> Result<Self, Trouble> {
        let Some(file) = token_file else { return Ok(Self { place, authorization: None }) };
        let wrong = |reason: String| Trouble::Usage(format!("{}: {reason}", file.display()));
        let token = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
        let value = HeaderValue::try_from(format!("Bearer {}", token.trim()));
        let mut value = value.map_err(|_| wrong("a token is one line of text".to_owned()))?;
        value.set_sensitive(true);
        Ok(Self { place, authorization: Some(value) })
    }

    /// What is behind `/api/v1`.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Trouble> {
        self.get_within(path, Duration::ZERO).await
    }

    /// What is there, which may take so long besides.
    pub(super) async fn get_within(&self, path: &str, longer: Duration) -> Result<Value, Trouble> {
        let answer = self.ask(Request::get(format!("{API}{path}")), String::new(), PATIENCE + longer).await?;
        match answer.status {
            StatusCode::OK => Ok(answer.body),
            _ => Err(answer.trouble()),
        }
    }

    /// Posts something, which may take so long besides. `number`: what goes into `If-Match`.
    pub(super) async fn post(
        &self,
        path: &str,
        number: Option<u64>,
        body: &Value,
        longer: Duration,
    ) -> Result<Answer, Trouble> {
        let mut request = Request::post(format!("{API}{path}")).header(CONTENT_TYPE, "application/json");
        if let Some(number) = number {
            request = request.header(IF_MATCH, format!("\"{number}\""));
        }
        if let Some(value) = &self.authorization {
            request = request.header(AUTHORIZATION, value);
        }
        self.ask(request, body.to_string(), PATIENCE + longer).await
    }

    /// What is at this path, behind nothing.
    pub(super) async fn get_whole(&self, path: &str) -> Result<Answer, Trouble> {
        self.ask(Request::get(path), String::new(), PATIENCE).await
    }

    /// The same, where a good answer is text.
    pub(super) async fn get_text(&self, path: &str) -> Result<String, Trouble> {
        let reply = self.send(Request::get(path), String::new(), PATIENCE).await?;
        match reply.status {
            StatusCode::OK => Ok(String::from_utf8_lossy(&reply.body).into_owned()),
            _ => Err(self.read(reply)?.trouble()),
        }
    }

    async fn ask(&self, request: http::request::Builder, body: String, patience: Duration) -> Result<Answer, Trouble> {
        let reply = self.send(request, body, patience).await?;
        self.read(reply)
    }

    async fn send(&self, request: http::request::Builder, body: String, patience: Duration) -> Result<Reply, Trouble> {
        let (mut connection, address) = self.connect().await.map_err(|error| self.unreached(&error))?;
        // A name could be anybody's, which the API takes from nobody.
        let request = request.header(HOST, SocketAddr::new(address.ip(), address.port()).to_string());
        let request = request.body(Full::new(body.into())).map_err(|error| Trouble::Usage(error.to_string()))?;
        connection.send_within(patience, request).await.map_err(|error| self.unreached(&error))
    }

    fn read(&self, Reply { status, body, .. }: Reply) -> Result<Answer, Trouble> {
        let no_json = || self.unreached(&format_args!("status {}, and no JSON: is it a Serin?", status.as_u16()));
        let body = serde_json::from_slice(&body).map_err(|_| no_json())?;
        Ok(Answer { status, body })
    }

    fn unreached(&self, reason: &dyn fmt::Display) -> Trouble {
        Trouble::Unreached(format!("cannot ask {}: {reason}", self.place))
    }

    /// To the first of the host's addresses that answers.
    async fn connect(&self) -> std::io::Result<(Connection, SocketAddr)> {
        let Place { host, port } = &self.place;
        let mut last = std::io::Error::other("the host has no address");
        for address in tokio::net::lookup_host((host.as_str(), *port)).await? {
            match Connection::open(address).await {
                Ok(connection) => return Ok((connection, address)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Answer {
    /// Why it is not good.
    pub(super) fn trouble(&self) -> Trouble {
        let reason = shown(self.body["error"].as_str().unwrap_or("it does not say why"));
        match self.status.as_u16() {
            // Not applied by all: it is written all the same.
            202 | 401 | 403 | 404 | 409 | 412 | 428 | 504 => Trouble::No(reason),
            400..=499 => Trouble::Usage(reason),
            _ => Trouble::Unreached(reason),
        }
    }
}

impl Trouble {
    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::No(_) => NO,
            Self::Unreached(_) => UNREACHED,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(reason) | Self::No(reason) | Self::Unreached(reason)) = self;
        f.write_str(reason)
    }
}

const API: &str = "/api/v1";

#[cfg(test)]
mod tests {
    use super::Place;

    #[test]
    fn a_place_is_a_host_and_a_port() {
        let place = |text: &str| text.parse::<Place>().map(|place| place.to_string());
        for (text, shown) in [
            ("http://127.0.0.1:9900", "http://127.0.0.1:9900"),
            ("http://edge-1.example.com/", "http://edge-1.example.com:80"),
            ("http://[::1]:9900", "http://[::1]:9900"),
        ] {
            assert_eq!(place(text).as_deref(), Ok(shown));
        }
        for bad in ["", "127.0.0.1:9900", "https://a:1", "http://", "http://a:1/serin", "http://me@a:1", "http://a b"] {
            assert!(place(bad).is_err(), "{bad}");
        }
    }
}
