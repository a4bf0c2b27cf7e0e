//! How endpoints are asked whether they are well.

use std::time::Duration;

use super::Protocol;
use super::limit::{number, span_ms};
use crate::error::Problems;
use crate::health::Thresholds;
use crate::request::canonical;
use crate::spec::{HealthSpec, StatusRange};

/// The check of every endpoint of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is done.
    pub probe: Probe,
    /// What is spoken.
    pub protocol: Protocol,
    /// From one check to the next, 100 ms to 1 h.
    pub interval: Duration,
    /// How long each may take. If that is longer than the interval, the next one waits for the end.
    pub timeout: Duration,
    /// How many results in a row change anything.
    pub thresholds: Thresholds,
}

/// What a check does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Connects.
    Tcp,
    /// Sends a request.
    Http(HttpProbe),
    /// Asks for this service by `grpc.health.v1`.
    Grpc(Box<str>),
}

/// The request of a check, and which answers are good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpProbe {
    /// Begins with `/`; may have a query.
    pub path: Box<str>,
    /// Instead of the endpoint's address.
    pub host: Option<Box<str>>,
    /// Good status codes; none stands for 200 to 399.
    pub statuses: Box<[StatusRange]>,
    /// What the beginning of the body has in it.
    pub body: Option<Box<str>>,
}

impl HttpProbe {
    /// Whether a status is good.
    pub fn takes(&self, status: u16) -> bool {
        match &*self.statuses {
            [] => (200..400).contains(&status),
            ranges => ranges.iter().any(|range| range.contains(status)),
        }
    }
}

pub(super) fn check(spec: &HealthSpec, protocol: Protocol, mut problems: Problems<'_>) -> Option<HealthCheck> {
    let probe = probe(spec, protocol, &mut problems);
    let interval_ms = span_ms(spec.interval, 100, 3_600_000, problems.at("interval"));
    let timeout_ms = span_ms(spec.timeout, 1, 60_000, problems.at("timeout"));
    let rise = number(spec.rise, 1..=100, problems.at("rise"));
    let fall = number(spec.fall, 1..=100, problems.at("fall"));
    Some(HealthCheck {
        probe: probe?,
        protocol,
        interval: Duration::from_millis(interval_ms?.unwrap_or(5_000)),
        timeout: Duration::from_millis(timeout_ms?.unwrap_or(2_000)),
        thresholds: Thresholds { rise: rise?.unwrap_or(2), fall: fall?.unwrap_or(3) },
    })
}

fn probe(spec: &HealthSpec, protocol: Protocol, problems: &mut Problems<'_>) -> Option<Probe> {
    match (&spec.path, &spec.grpc, spec.tcp) {
        (Some(path), None, None) => http(path, spec, problems).map(Probe::Http),
        (None, Some(grpc), None) => {
            let is_good =
                is_without_answer(spec, "a check with `grpc` has a request and an answer of its own", problems);
            let service = problems.at("grpc.service").ok(service(&grpc.service, protocol));
            service.filter(|_| is_good).map(Probe::Grpc)
        }
        (None, None, Some(true)) => {
            let is_good = is_without_answer(spec, "a check with `tcp` sends no request and gets no answer", problems);
            is_good.then_some(Probe::Tcp)
        }
        (None, None, None | Some(false)) => {
            problems.report("a check needs `path: /healthz` for a request, or `tcp: true` for a connection alone");
            None
        }
        _ => {
            problems.report("a check has only one of `path`, `grpc` and `tcp`");
            None
        }
    }
}

fn service(service: &str, protocol: Protocol) -> Result<Box<str>, &'static str> {
    match service.len() {
        _ if protocol != Protocol::Http2 => Err("needs an upstream with `protocol: h2` or `h2c`"),
        257.. => Err("longer than 256 bytes"),
        _ => Ok(service.into()),
    }
}

/// Whether nothing is said of the request and its answer; reports what is.
fn is_without_answer(spec: &HealthSpec, reason: &str, problems: &mut Problems<'_>) -> bool {
    let of_requests = [("host", spec.host.is_some()), ("status", spec.status.is_some()), ("body", spec.body.is_some())];
    let mut written = of_requests.into_iter().filter(|(_, is_written)| *is_written).peekable();
    let is_good = written.peek().is_none();
    written.for_each(|(field, _)| problems.at(field).report(reason));
    is_good
}

fn http(path: &str, spec: &HealthSpec, problems: &mut Problems<'_>) -> Option<HttpProbe> {
    let path = problems.at("path").ok(target(path));
    let host = match &spec.host {
        Some(host) => problems.at("host").ok(host_field(host)).map(Some),
        None => Some(None),
    };
    let statuses = match spec.status.as_deref() {
        Some([]) => {
            problems.at("status").report("without a status no answer would be good");
            None
        }
        statuses => Some(statuses.unwrap_or_default().into()),
    };
    let body = match &spec.body {
        Some(text) => problems.at("body").ok(body(text)).map(Some),
        None => Some(None),
    };
    Some(HttpProbe { path: path?, host: host?, statuses: statuses?, body: body? })
}

fn target(path: &str) -> Result<Box<str>, String> {
    let shown = path.escape_debug();
    if !path.starts_with('/') {
        return Err(format!("path `{shown}` must begin with `/`"));
    }
    if path.len() > 2_048 {
        return Err("a path of more than 2048 bytes is none for a check".to_owned());
    }
    match path.bytes().find(|byte| !byte.is_ascii_graphic() || b"#\"<>\\^`{|}".contains(byte)) {
        Some(b'#') => Err(format!("path `{shown}` has a fragment, which is never sent")),
        Some(_) => Err(format!("path `{shown}` has a character that must be escaped")),
        None => Ok(path.into()),
    }
}

fn host_field(host: &str) -> Result<Box<str>, String> {
    let shown = host.escape_debug();
    match canonical::host(host.as_bytes()) {
        Ok(read) if !read.name().is_empty() => Ok(host.into()),
        Ok(_) => Err("a host name is empty".to_owned()),
        Err(error) => Err(format!("`{shown}` {error}")),
    }
}

fn body(text: &str) -> Result<Box<str>, &'static str> {
    match text.len() {
        0 => Err("every body has nothing in it; leave `body` out"),
        1..=1_024 => Ok(text.into()),
        _ => Err("longer than 1024 bytes"),
    }
}
