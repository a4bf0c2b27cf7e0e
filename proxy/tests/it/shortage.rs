//! Too few descriptors: who is served, what still works, what it costs, and that it passes.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::client::request;
use crate::support::control::{Program, replace};
use crate::support::http2::{Frames, SETTINGS};
use crate::support::{Client, Origin, PATIENCE, eventually};

const SECOND: Duration = Duration::from_secs(1);

/// What the program gets. 75 of them are reserved, 168 are for clients.
const DESCRIPTORS: u32 = 300;

/// More clients than that.
const CROWD: usize = 400;

struct Short {
    program: Program,
    rules: String,
    folder: TempDir,
}

impl Short {
    fn start(endpoint: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let rules = format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n\
             limits: {{connections_per_client: 10000}}\nstate_dir: state\n\
             upstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\nroutes:\n  all: {{upstream: app}}\n"
        );
        let config = folder.path().join("serin.yaml");
        fs::write(&config, &rules).expect("room");
        Self { program: Program::start_with_descriptors(&config, DESCRIPTORS), rules, folder }
    }

    fn client(&self) -> Client {
        Client::connect(self.program.address("web"))
    }

    fn metric(&self, name: &str) -> f64 {
        let answer = self.program.admin("/metrics");
        let lines = answer
            .text()
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    fn is_short(&self) -> bool {
        self.metric("serin_connection_limit_reached_total") + self.metric("serin_accept_errors_total") > 0.0
    }

    /// Health, metrics, a change of the rules: none of it waits for descriptors, and nothing spins.
    fn hold_control(&self) {
        // All at once, so that they need descriptors of their own.
        let since = Instant::now();
        let mut operators: Vec<Client> = (0..20).map(|_| Client::connect(self.program.address("admin"))).collect();
        for operator in &mut operators {
            assert_eq!(operator.request("GET", "/healthz", &[("Host", "localhost")], b"").status, 200);
        }
        assert!(since.elapsed() < SECOND, "{:?}", since.elapsed());
        let generation = self.metric("serin_rules_generation");
        let more = format!("{}  more: {{upstream: app, paths: [{{prefix: /more}}]}}\n", self.rules);
        replace(&self.folder.path().join("serin.yaml"), &more);
        eventually(2 * SECOND, "new rules", || self.metric("serin_rules_generation") > generation);
        assert_eq!(self.metric("serin_rules_rejected"), 0.0);
        let (used, since) = (self.program.processor_time(), Instant::now());
        std::thread::sleep(SECOND);
        let used = self.program.processor_time() - used;
        assert!(used < since.elapsed() / 5, "{used:?} of {:?}", since.elapsed());
    }

    fn hold_recovery(&self) {
        // A second is what it may take; another is for a machine that is busy with other tests.
        let since = Instant::now();
        assert_eq!(self.client().get("/").status, 200);
        assert!(since.elapsed() < 2 * SECOND, "{:?}", since.elapsed());
        eventually(2 * SECOND, "all have left", || self.metric("serin_connections_open") <= 1.0);
        assert_eq!(self.metric("serin_requests_in_flight"), 0.0);
    }
}

#[test]
fn an_upstream_that_hangs_leaves_room_for_the_others() {
    let (hangs, good) = (Origin::start(|visit| visit.wait_for_end()), Origin::named("good"));
    let short = Short::start(hangs.address());
    let more = format!(
        "{}  good: {{upstream: good, paths: [{{prefix: /good}}]}}\n",
        short.rules.replace("upstreams: {", &format!("upstreams: {{good: {{endpoints: [\"{}\"]}}, ", good.address()))
    );
    let generation = short.metric("serin_rules_generation");
    replace(&short.folder.path().join("serin.yaml"), &more);
    eventually(PATIENCE, "new rules", || short.metric("serin_rules_generation") > generation);
    assert_eq!(short.client().get("/good").text(), "good");
    // 225 descriptors are for clients and endpoints, and 42 of them for what hangs, which is asked for more.
    let crowd: Vec<Client> = (0..80)
        .map(|_| {
            let mut client = short.client();
            client.send(request("GET", "/", &[], b""));
            client
        })
        .collect();
    eventually(PATIENCE, "refusals", || short.metric("serin_request_errors_total") >= 38.0);
    for _ in 0..20 {
        assert_eq!(short.client().get("/good").text(), "good");
    }
    assert!(!short.is_short());
    drop(crowd);
    eventually(PATIENCE, "all have left", || short.metric("serin_requests_in_flight") == 0.0);
}

/// Six clients have ten requests each, and then neither read nor send. There are 42 places, of which half may stay theirs.
#[test]
fn who_does_nothing_makes_room_where_places_are_short() {
    static LARGE: [u8; 8 << 20] = [0; 8 << 20];
    let origin = Origin::start(|visit| match visit.request.target.as_str() {
        "/large" => visit.answer(200, &[], &LARGE),
        _ => {
            visit.read_body()?;
            visit.answer(200, &[], b"app")
        }
    });
    let asks: [fn(&Short, &str) -> Vec<TcpStream>; 3] = [stalls_streams, reads_nothing, sends_nothing];
    for ask in asks {
        let short = Short::start(origin.address());
        let crowd: Vec<_> = (1..=6).map(|nth| ask(&short, &format!("127.9.0.{nth}"))).collect();
        let come = || short.metric("serin_requests_in_flight") + short.metric("serin_requests_total") >= 60.0;
        let is_there_room = || short.metric("serin_endpoint_requests_in_flight") <= 20.0;
        eventually(10 * SECOND, "all have come, and there is room", || come() && is_there_room());
        for _ in 0..20 {
            assert_eq!(short.client().get("/").text(), "app");
        }
        drop(crowd);
        eventually(PATIENCE, "all have left", || short.metric("serin_requests_in_flight") == 0.0);
    }
}

fn stalls_streams(short: &Short, source: &str) -> Vec<TcpStream> {
    const INITIAL_WINDOW_0: [u8; 6] = [0, 4, 0, 0, 0, 0];
    let client = Client::from(source, short.program.address("web")).into_stream();
    let mut frames = Frames::of(client.try_clone().expect("a descriptor")).that_keeps_windows();
    frames.frame(SETTINGS, 0, 0, &INITIAL_WINDOW_0);
    (0..10).for_each(|nth| frames.get(2 * nth + 1, "/large"));
    vec![client]
}

fn reads_nothing(short: &Short, source: &str) -> Vec<TcpStream> {
    ten(short, source, &request("GET", "/large", &[], b""))
}

fn sends_nothing(short: &Short, source: &str) -> Vec<TcpStream> {
    ten(short, source, b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1000\r\n\r\nno more")
}

fn ten(short: &Short, source: &str, said: &[u8]) -> Vec<TcpStream> {
    let ask = |_| {
        let mut client = Client::from(source, short.program.address("web"));
        client.send(said);
        client.into_stream()
    };
    (0..10).map(ask).collect()
}

#[test]
fn a_crowd_that_idles_makes_room_for_who_speaks() {
    let origin = Origin::named("app");
    let short = Short::start(origin.address());
    let crowd: Vec<Client> = (0..CROWD).map(|_| short.client()).collect();
    eventually(PATIENCE, "a shortage", || short.is_short());
    for _ in 0..5 {
        let since = Instant::now();
        assert_eq!(short.client().get("/").status, 200);
        assert!(since.elapsed() < 2 * SECOND, "{:?}", since.elapsed());
    }
    short.hold_control();
    drop(crowd);
    short.hold_recovery();
}

#[test]
fn a_crowd_that_waits_for_answers_leaves_the_reserve_alone() {
    let origin = Origin::start(|visit| match visit.request.target.as_str() {
        "/wait" => visit.wait_for_end(),
        _ => visit.answer(200, &[], b"app"),
    });
    let short = Short::start(origin.address());
    let come = |_| {
        let mut client = short.client();
        client.send(request("GET", "/wait", &[], b""));
        client
    };
    let crowd: Vec<Client> = (0..CROWD).map(come).collect();
    // Every waiting client needs two descriptors, and those there are do not suffice. Whether that shows when a client comes
    // or when its request goes on is chance.
    let refuses = || short.metric("serin_request_errors_total") > 0.0;
    eventually(PATIENCE, "a shortage", || short.is_short() || refuses());
    short.hold_control();
    assert!(short.metric("serin_requests_in_flight") > 0.0, "who waits is left in peace");
    drop(crowd);
    short.hold_recovery();
}
