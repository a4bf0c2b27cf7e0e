//! The access log: a line per request, written off the data path.
//!
//! A worker formats lines into a buffer of its own and hands full buffers to one writer thread through a bounded
//! queue. If the sink blocks, buffers are dropped and their lines counted; a request never waits for a disk.

use std::borrow::Cow;
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime};

use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::data_path::decide::Placing;
use crate::data_path::error::RequestError;
use crate::data_path::request::Head;
use crate::data_path::upstream::LocalEndpoint;
use crate::thread::{self, Failures};

/// Where access log lines go, and how they look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessLogSettings {
    /// `stdout`, `stderr` or a file path. A file is opened again on SIGHUP.
    pub to: String,
    /// `json` (default) or `text`.
    #[serde(default)]
    pub format: LogFormat,
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object a line.
    #[default]
    Json,
    /// For people.
    Text,
}

/// The way to the writer thread. Without a queue nothing is logged.
#[derive(Clone, Default)]
pub struct LogSink {
    queue: Option<SyncSender<Message>>,
    format: LogFormat,
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
}

enum Message {
    /// Text and the number of its lines.
    Lines(Vec<u8>, u64),
    /// Look at the flags.
    Wake,
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
    /// Panic.
    #[cfg(test)]
    Panic,
}

impl LogSink {
    /// A sink that swallows everything at no cost.
    pub fn off() -> Self {
        Self::default()
    }

    /// Opens the sink and starts its writer thread.
    ///
    /// # Errors
    /// The file cannot be opened, or the thread not started.
    pub fn open(settings: &AccessLogSettings, failures: Failures) -> io::Result<Self> {
        let (queue, messages) = sync_channel(QUEUE);
        let sink = Self { queue: Some(queue), format: settings.format, ..Self::default() };
        let target = LogTarget::open(&settings.to)?;
        let writer = Writer { target, dropped: Arc::clone(&sink.dropped), reopen: Arc::clone(&sink.reopen) };
        thread::start("access-log", failures, move || writer.write_all(&messages))?;
        Ok(sink)
    }

    /// Opens the file again, after a rotation.
    pub fn reopen(&self) {
        self.reopen.store(true, Relaxed);
        if let Some(queue) = &self.queue {
            // If there is no room, lines are on their way and will do as well.
            let _ = queue.try_send(Message::Wake);
        }
    }

    /// Lines dropped because the sink was blocked.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    /// Waits until everything handed over so far is written, or for some seconds if the sink is blocked. Blocks.
    pub fn flush(&self) {
        if let Some(queue) = &self.queue {
            let (done, wait) = sync_channel(1);
            if send_at_last(queue, Message::Flush(done)) {
                let _ = wait.recv_timeout(LONGEST_END);
            }
        }
    }
}

/// Hands over what is the last of its kind: waits for room, but not for ever. Blocks. Returns whether there was room.
fn send_at_last(queue: &SyncSender<Message>, mut message: Message) -> bool {
    let deadline = Instant::now() + LONGEST_END;
    loop {
        match queue.try_send(message) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) if Instant::now() < deadline => message = back,
            Err(_) => return false,
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The writer thread.
struct Writer {
    target: LogTarget,
    dropped: Arc<AtomicU64>,
    reopen: Arc<AtomicBool>,
}

enum LogTarget {
    Stdout,
    Stderr,
    /// Closed until the first line if it is a pipe: opening one waits for a reader, and the start must not.
    File {
        path: PathBuf,
        file: Option<File>,
    },
}

impl Writer {
    fn write_all(mut self, messages: &Receiver<Message>) {
        for message in messages {
            if self.reopen.swap(false, Relaxed)
                && let Err(error) = self.target.reopen()
            {
                tracing::warn!(%error, "cannot open the access log again");
            }
            match message {
                Message::Lines(text, count) => {
                    if let Err(error) = self.target.write(&text) {
                        self.dropped.fetch_add(count, Relaxed);
                        tracing::warn!(%error, lines = count, "cannot write the access log");
                    }
                }
                Message::Wake => {}
                Message::Flush(done) => drop(done.send(())),
                #[cfg(test)]
                Message::Panic => panic!("no luck"),
            }
        }
    }
}

impl LogTarget {
    fn open(to: &str) -> io::Result<Self> {
        Ok(match to {
            "stdout" => Self::Stdout,
            "stderr" => Self::Stderr,
            path if is_pipe(path) => Self::File { path: path.into(), file: None },
            path => Self::File { path: path.into(), file: Some(append(path.as_ref())?) },
        })
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Self::File { path, file } = self {
            // Closed even if opening fails: the next line tries again rather than write to a file that was moved away.
            *file = None;
            *file = Some(append(path)?);
        }
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        match self {
            Self::Stdout => io::stdout().lock().write_all(text),
            Self::Stderr => io::stderr().lock().write_all(text),
            Self::File { path, file } => {
                let mut opened = match file.take() {
                    Some(opened) => opened,
                    None => append(path)?,
                };
                let written = opened.write_all(text);
                *file = Some(opened);
                written
            }
        }
    }
}

fn is_pipe(path: &str) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

fn append(path: &std::path::Path) -> io::Result<File> {
    File::options().create(true).append(true).open(path)
}

/// A worker's end of the log.
pub(crate) struct LogWriter {
    sink: LogSink,
    lines: RefCell<Lines>,
}

#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    count: u64,
}

impl LogWriter {
    pub(crate) fn new(sink: LogSink) -> Self {
        Self { sink, lines: RefCell::default() }
    }

    fn is_on(&self) -> bool {
        self.sink.queue.is_some()
    }

    /// Adds the line of a request.
    pub(crate) fn write(&self, record: &Record, outcome: &Outcome<'_>) {
        let Some(facts) = &record.facts else { return };
        let mut lines = self.lines.borrow_mut();
        let line = Line::new(facts, outcome);
        match self.sink.format {
            // Writing to a vector cannot fail, and neither can serialising plain fields.
            LogFormat::Json => drop(serde_json::to_writer(&mut lines.text, &line)),
            LogFormat::Text => drop(line.write_text(&mut lines.text)),
        }
        lines.text.push(b'\n');
        lines.count += 1;
        if lines.text.len() >= CHUNK {
            self.hand_over(&mut lines);
        }
    }

    /// Hands over what has gathered.
    pub(crate) fn flush(&self) {
        let mut lines = self.lines.borrow_mut();
        if !lines.text.is_empty() {
            self.hand_over(&mut lines);
        }
    }

    fn hand_over(&self, lines: &mut Lines) {
        self.send(lines, |queue, message| queue.try_send(message).is_ok());
    }

    fn send(&self, lines: &mut Lines, send: impl FnOnce(&SyncSender<Message>, Message) -> bool) {
        let Lines { text, count } = std::mem::take(lines);
        let Some(queue) = &self.sink.queue else { return };
        if !send(queue, Message::Lines(text, count)) {
            self.sink.dropped.fetch_add(count, Relaxed);
        }
    }
}

impl Drop for LogWriter {
    /// The worker has ended, so nobody else waits for the sink now.
    fn drop(&mut self) {
        let mut lines = self.lines.take();
        if !lines.text.is_empty() {
            self.send(&mut lines, send_at_last);
        }
    }
}

/// What is gathered about a request while it is under way; empty if nothing is logged.
pub(crate) struct Record {
    facts: Option<Box<Facts>>,
}

struct Facts {
    time: SystemTime,
    peer: IpAddr,
    client: IpAddr,
    /// `None` if there was no head to read it from; `host` and `target` are then empty.
    method: Option<Method>,
    version: Option<Version>,
    host: Box<str>,
    target: Box<str>,
    user_agent: Option<HeaderValue>,
    route: Option<Box<str>>,
    release: Option<ReleaseFacts>,
    endpoint: Option<Rc<LocalEndpoint>>,
}

struct ReleaseFacts {
    name: Box<str>,
    group: &'static str,
    reason: &'static str,
    rule: Option<Box<str>>,
    bucket: Option<u16>,
}

/// How a request ended.
pub(crate) struct Outcome<'a> {
    pub(crate) request_id: &'a HeaderValue,
    pub(crate) status: StatusCode,
    /// How a call of gRPC went.
    pub(crate) grpc_status: Option<u16>,
    pub(crate) error: Option<RequestError>,
    pub(crate) duration_us: u64,
    pub(crate) head_time_us: Option<u64>,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) retries: u32,
}

impl Record {
    pub(crate) fn begin<B>(log: &LogWriter, request: &Request<B>, peer: IpAddr) -> Self {
        let mut record = Self::without_head(log, peer);
        if let Some(facts) = &mut record.facts {
            facts.method = Some(request.method().clone());
            facts.version = Some(request.version());
            facts.target = request.uri().path().into();
            facts.user_agent = request.headers().get(header::USER_AGENT).cloned();
        }
        record
    }

    /// A record of a connection from which no head came that could be read.
    pub(crate) fn without_head(log: &LogWriter, peer: IpAddr) -> Self {
        let facts = log.is_on().then(|| {
            Box::new(Facts {
                time: SystemTime::now(),
                peer,
                client: peer,
                method: None,
                version: None,
                host: "".into(),
                target: "".into(),
                user_agent: None,
                route: None,
                release: None,
                endpoint: None,
            })
        });
        Self { facts }
    }

    /// Client and target, once the head is checked.
    pub(crate) fn target(&mut self, client: IpAddr, head: &Head<'_>) {
        if let Some(facts) = &mut self.facts {
            facts.client = client;
            facts.host = head.host.name().into();
            facts.target = match &head.query {
                Some(query) => format!("{}?{query}", head.path).into(),
                None => (*head.path).into(),
            };
        }
    }

    /// The route that was found.
    pub(crate) fn route(&mut self, name: &str) {
        if let Some(facts) = &mut self.facts {
            facts.route = Some(name.into());
        }
    }

    /// The group, if a release had a say.
    pub(crate) fn placing(&mut self, placing: &Placing<'_>, name: impl FnOnce() -> Option<Box<str>>) {
        let Some(facts) = &mut self.facts else { return };
        facts.release = name().map(|name| ReleaseFacts {
            name,
            group: placing.group().as_str(),
            reason: placing.reason(),
            rule: placing.assignment.rule.map(Into::into),
            bucket: placing.assignment.bucket.map(|bucket| bucket.line()),
        });
    }

    /// The endpoint that was picked.
    pub(crate) fn endpoint(&mut self, endpoint: &Rc<LocalEndpoint>) {
        if let Some(facts) = &mut self.facts {
            facts.endpoint = Some(Rc::clone(endpoint));
        }
    }
}

/// A line as JSON readers see it. `docs/reference/access-log.md` describes the fields.
#[derive(Serialize)]
struct Line<'a> {
    time: String,
    request_id: &'a str,
    client: IpAddr,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<IpAddr>,
    #[serde(skip_serializing_if = "str::is_empty")]
    method: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    target: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    protocol: &'static str,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    grpc_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    route: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<std::net::SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    release: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bucket: Option<u16>,
    request_bytes: u64,
    response_bytes: u64,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_ms: Option<f64>,
    retries: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent: Option<Cow<'a, str>>,
}

impl<'a> Line<'a> {
    fn new(facts: &'a Facts, outcome: &'a Outcome<'_>) -> Self {
        let release = facts.release.as_ref();
        Self {
            time: humantime::format_rfc3339_millis(facts.time).to_string(),
            request_id: outcome.request_id.to_str().unwrap_or_default(),
            client: facts.client,
            peer: (facts.peer != facts.client).then_some(facts.peer),
            method: facts.method.as_ref().map_or("", Method::as_str),
            host: &facts.host,
            target: visible(Cow::Borrowed(&facts.target)),
            protocol: facts.version.map_or("", protocol),
            status: outcome.status.as_u16(),
            grpc_status: outcome.grpc_status,
            error: outcome.error.map(RequestError::token),
            route: facts.route.as_deref(),
            upstream: facts.endpoint.as_ref().map(|endpoint| endpoint.shared().upstream().as_str()),
            endpoint: facts.endpoint.as_ref().map(|endpoint| endpoint.shared().address()),
            release: release.map(|release| &*release.name),
            group: release.map(|release| release.group),
            reason: release.map(|release| release.reason),
            rule: release.and_then(|release| release.rule.as_deref()),
            bucket: release.and_then(|release| release.bucket),
            request_bytes: outcome.request_bytes,
            response_bytes: outcome.response_bytes,
            duration_ms: outcome.duration_us as f64 / 1_000.0,
            head_ms: outcome.head_time_us.map(|us| us as f64 / 1_000.0),
            retries: outcome.retries,
            user_agent: facts.user_agent.as_ref().map(|agent| visible(String::from_utf8_lossy(agent.as_bytes()))),
        }
    }

    /// For people: most important first, and what is absent left out. Client text is escaped, so that nobody can
    /// write lines or colours into an operator's terminal.
    fn write_text(&self, to: &mut Vec<u8>) -> io::Result<()> {
        write!(to, "{} {} ", self.time, self.status)?;
        if !self.method.is_empty() {
            write!(to, "{} {}{} {} ", self.method, self.host, self.target, self.protocol)?;
        }
        write!(to, "{:.1}ms {}B client={}", self.duration_ms, self.response_bytes, self.client)?;
        if let Some(code) = self.grpc_status {
            write!(to, " grpc_status={code}")?;
        }
        let pairs = [("route", self.route), ("upstream", self.upstream), ("error", self.error)];
        for (name, value) in pairs {
            if let Some(value) = value {
                write!(to, " {name}={value}")?;
            }
        }
        if let Some(endpoint) = self.endpoint {
            write!(to, " endpoint={endpoint}")?;
        }
        if let (Some(release), Some(group), Some(reason)) = (self.release, self.group, self.reason) {
            write!(to, " release={release} group={group} reason={reason}")?;
            if let Some(rule) = self.rule {
                write!(to, " rule={rule:?}")?;
            }
            if let Some(bucket) = self.bucket {
                write!(to, " bucket={bucket}")?;
            }
        }
        if self.retries > 0 {
            write!(to, " retries={}", self.retries)?;
        }
        write!(to, " id={}", self.request_id)
    }
}

/// A version as a request line of HTTP/1 writes it, and as others write it in their logs.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        _ => "HTTP/1.1",
    }
}

/// Client text with control characters written out: JSON lets some of them through, and a terminal obeys them.
fn visible(text: Cow<'_, str>) -> Cow<'_, str> {
    match text.contains(char::is_control) {
        true => text.chars().flat_map(char::escape_debug).collect(),
        false => text,
    }
}

/// How long the end of the process waits for a sink that takes nothing.
const LONGEST_END: Duration = Duration::from_secs(2);

/// How often a full queue is looked at then.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Buffers on their way to the writer thread.
const QUEUE: usize = 256;

/// A worker hands over its buffer when it is this large, in bytes.
const CHUNK: usize = 32 << 10;

#[cfg(test)]
mod tests;
