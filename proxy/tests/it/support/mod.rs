//! What the tests start and stop: a proxy, endpoints, clients. Everything is on port 0 of the loopback address, in a
//! temporary folder, and gone when dropped.

pub(crate) mod client;
pub(crate) mod control;
pub(crate) mod etcd;
pub(crate) mod grpc;
pub(crate) mod http2;
pub(crate) mod http2_origin;
pub(crate) mod kubernetes;
pub(crate) mod link;
pub(crate) mod mmdb;
pub(crate) mod names;
pub(crate) mod origin;
pub(crate) mod pebble;
pub(crate) mod wire;
pub(crate) mod witness;

use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::Relaxed};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serin_proxy::server::{ConnectionLimits, Server, StartOptions};
use serin_proxy::snapshot::Snapshot;
use sha1::{Digest, Sha1};

pub(crate) use client::{Client, Cut, Reply, get};
pub(crate) use origin::{Origin, Then, Visit};

/// One listener, the admin API, one worker.
pub(crate) const COMMON: &str =
    "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\nworkers: 1\n";

/// A proxy under test.
pub(crate) struct Serin {
    server: Server,
    pub(crate) folder: tempfile::TempDir,
}

impl Serin {
    /// Starts a proxy with these rules.
    pub(crate) fn start(rules: &str) -> Self {
        Self::start_with(rules, ConnectionLimits::default())
    }

    pub(crate) fn start_with(rules: &str, limits: ConnectionLimits) -> Self {
        Self::beside::<&str>(&[], rules, limits)
    }

    /// Starts a proxy with these rules in a folder with these files, by name.
    pub(crate) fn beside<C: AsRef<[u8]>>(files: &[(String, C)], rules: &str, limits: ConnectionLimits) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, content) in files {
            std::fs::write(folder.path().join(name), content).expect("a file is written");
        }
        let config = folder.path().join("serin.yaml");
        std::fs::write(&config, rules).expect("the rules are written");
        let options = StartOptions { config, limits, ..StartOptions::default() };
        let server = Server::start(options).unwrap_or_else(|error| panic!("serin does not start: {error}"));
        Self { server, folder }
    }

    /// The process ends, and another one begins with the same files.
    pub(crate) fn restart(self) -> Self {
        let Self { server, folder } = self;
        drop(server);
        let config = folder.path().join("serin.yaml");
        let server = Server::start(StartOptions { config, ..StartOptions::default() });
        Self { server: server.expect("it starts again"), folder }
    }

    /// Sends everything to one endpoint.
    pub(crate) fn with_endpoint(endpoint: SocketAddr) -> Self {
        Self::start(&format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\n\
             workers: 1\n\
             routes: {{all: {{upstream: app}}}}\n\
             upstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\n"
        ))
    }

    /// Starts a proxy with one listener and one worker besides these rules.
    pub(crate) fn serving(rules: &str) -> Self {
        Self::serving_with(rules, ConnectionLimits::default())
    }

    pub(crate) fn serving_with(rules: &str, limits: ConnectionLimits) -> Self {
        let serin = Self::start_with(&format!("{COMMON}{rules}"), limits);
        let problems = serin.server.problems();
        assert!(problems.is_empty(), "{problems:?}\n{rules}");
        serin
    }

    /// Sends everything to one endpoint; `route` are more fields of the route, for example `timeouts: {idle: 1s}`.
    pub(crate) fn in_front_of(origin: &Origin, route: &str) -> Self {
        Self::in_front_of_with(origin, route, ConnectionLimits::default())
    }

    pub(crate) fn in_front_of_with(origin: &Origin, route: &str, limits: ConnectionLimits) -> Self {
        let more = if route.is_empty() { String::new() } else { format!(", {route}") };
        let rules = format!(
            "routes: {{all: {{upstream: app{more}}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
            origin.address()
        );
        Self::serving_with(&rules, limits)
    }

    /// A connection to the first listener.
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.address())
    }

    /// The sum of a metric over all of its labels, as the admin API shows it.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.metric_of(name, "")
    }

    /// The sum of a metric over those of its series whose labels have this text in them.
    pub(crate) fn metric_of(&self, name: &str, label: &str) -> f64 {
        let metrics = self.admin_text("/metrics");
        let lines = metrics.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(label))
        });
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// What the admin API answers.
    pub(crate) fn admin_text(&self, target: &str) -> String {
        let admin = self.server.admin().expect("the rules open the admin API");
        Client::connect(admin).request("GET", target, &[("Host", "localhost")], b"").text().to_owned()
    }

    /// Posts an order without arguments. Returns the status and the answer.
    pub(crate) fn order(&self, target: &str) -> (u16, serde_json::Value) {
        let admin = self.server.admin().expect("the rules open the admin API");
        let fields = [("Content-Type", "application/json"), ("Host", "localhost")];
        let reply = Client::connect(admin).request("POST", target, &fields, b"{}");
        let answer = serde_json::from_slice(&reply.body);
        (reply.status, answer.unwrap_or_else(|error| panic!("{error}: {}", reply.text())))
    }

    pub(crate) fn admin_json(&self, target: &str) -> serde_json::Value {
        serde_json::from_str(&self.admin_text(target)).expect("JSON")
    }

    pub(crate) fn admin_status(&self, target: &str) -> u16 {
        let admin = self.server.admin().expect("the rules open the admin API");
        Client::connect(admin).request("GET", target, &[("Host", "localhost")], b"").status
    }

    /// Waits until nothing is under way: no request, nothing in flight at an endpoint, no tunnel.
    pub(crate) fn wait_until_quiet(&self, patience: Duration) {
        let gauges = ["serin_requests_in_flight", "serin_endpoint_requests_in_flight", "serin_tunnels_open"];
        for gauge in gauges {
            eventually(patience, gauge, || self.metric(gauge) == 0.0);
        }
    }

    /// The address of the first listener by name.
    pub(crate) fn address(&self) -> SocketAddr {
        self.server.listeners().first().expect("a listener is open").1
    }

    /// The address of a listener.
    pub(crate) fn address_of(&self, listener: &str) -> SocketAddr {
        let open = self.server().listeners();
        open.iter().find(|(name, _)| name == listener).expect("it is open").1
    }

    pub(crate) fn server(&self) -> &Server {
        &self.server
    }

    /// Replaces the main file, and waits until its rules are in force.
    pub(crate) fn reload(&self, main: &str) {
        let before = self.server().snapshot();
        control::replace(&self.config(), main);
        // A release that goes on is another snapshot, too.
        eventually(PATIENCE, "new rules", || has_other_rules(&before, &self.server().snapshot()));
        // What is wrong with rules is told a moment after they are in force.
        eventually(PATIENCE, "rules that are right", || self.server().problems().is_empty());
    }

    /// As [`Serin::reload`], with the listener, the admin API and the one worker that [`Serin::serving`] begins with.
    pub(crate) fn reload_serving(&self, rules: &str) {
        self.reload(&format!("{COMMON}{rules}"));
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("serin.yaml")
    }
}

fn has_other_rules(before: &Snapshot, now: &Snapshot) -> bool {
    let (old, new) = (before.table.rules(), now.table.rules());
    let is_other_object = old.changed_routes(new).next().is_some()
        || old.changed_upstreams(new).next().is_some()
        || old.changed_releases(new).next().is_some()
        || !old.listeners().eq(new.listeners());
    is_other_object || !Arc::ptr_eq(&before.trusted_proxies, &now.trusted_proxies)
}

/// Something that a test needs is not there, so it shows less than it could: that is said, and where all of it has to be there it is a
/// failure.
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("SERIN_TEST_PROGRAMS_REQUIRED").is_none(), "{reason}");
    eprintln!("SKIPPED: {reason}");
}

/// How a program ends that is run to its end. Nothing where it is not installed, unless it has to be.
pub(crate) fn output_of(command: &mut Command) -> Option<Output> {
    let output = command.stdin(Stdio::null()).output();
    if output.is_err() {
        skip(&format!("{command:?} is not installed"));
    }
    output.ok()
}

/// What it says, on both of its outputs. It has to succeed.
pub(crate) fn said_by(command: &mut Command) -> Option<String> {
    let Output { status, stdout, stderr } = output_of(command)?;
    let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(status.success(), "{command:?}: {said}");
    Some(said)
}

/// A program that ends with the test.
pub(crate) struct Running(pub(crate) std::process::Child);

impl Running {
    /// Starts a program. Nothing where it is not installed, unless it has to be.
    pub(crate) fn start(command: &mut Command) -> Option<Self> {
        let child = command.spawn();
        if child.is_err() {
            skip(&format!("{command:?} is not installed"));
        }
        child.ok().map(Self)
    }

    /// Starts one that listens, and waits until it does.
    pub(crate) fn listening(mut command: Command, address: SocketAddr) -> Option<Self> {
        let process = Self::start(command.stdin(Stdio::piped()).stdout(Stdio::null()))?;
        eventually(PATIENCE, "it listens", || TcpStream::connect(address).is_ok());
        Some(process)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// For a program that is told where to listen.
pub(crate) fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// Waits until something holds; fails when it does not in time.
pub(crate) fn eventually(patience: Duration, what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// What an endpoint says to the key of a WebSocket's handshake (RFC 6455 §4.2.2).
pub(crate) fn websocket_accept(key: &str) -> String {
    STANDARD.encode(Sha1::digest([key, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat()))
}

pub(crate) fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// A port that is free at every address and stays so: the system gives nobody ports below its range, so that no other test has it at an
/// address where this one did not look.
pub(crate) fn port_at_every_address() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("the system tells its range");
    let first: u16 = range.split_whitespace().next().and_then(|first| first.parse().ok()).expect("two numbers");
    std::iter::repeat_with(|| first - 1 - TAKEN.fetch_add(1, Relaxed))
        .find(|port| TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).is_ok())
        .expect("a free port")
}

/// How long a test waits for what must come; long enough for a machine with more to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at something that has no event.
const POLL: Duration = Duration::from_millis(5);
