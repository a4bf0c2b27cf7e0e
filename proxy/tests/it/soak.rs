//! Reloads without end, under load: nothing is lost, nothing grows.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::support::control::{Program, replace, tireless_endpoint};
use crate::support::{Client, PATIENCE, eventually};

/// Seconds of reloads under load; `SERIN_SOAK_SECONDS=60` for a long run.
fn seconds() -> u64 {
    std::env::var("SERIN_SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn rules(endpoint: SocketAddr, round: u64) -> String {
    format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n\
         routes: {{all: {{upstream: app}}, other: {{hosts: [\"h{round}.test\"], upstream: u{}}}}}\n\
         upstreams:\n  app: {{endpoints: [\"{endpoint}\"]}}\n  u{}: {{endpoints: [\"127.0.0.1:{}\"]}}\n",
        round % 50,
        round % 50,
        1 + round % 60_000,
    )
}

/// Loads a proxy for a time and returns answers and failures.
fn load(program: &Program, time: Duration) -> (u64, u64) {
    let url = format!("http://{}/", program.address("web"));
    let arguments = ["-t1", "-c32", &format!("-d{}s", time.as_secs()), &url];
    match Command::new("wrk").args(arguments).stderr(Stdio::null()).output() {
        Ok(output) => wrk_counts(&String::from_utf8_lossy(&output.stdout)),
        Err(_) => own_load(program, time),
    }
}

/// `  123 requests in 3.00s` and, if there are any, `Socket errors: connect 0, read 1, …` and `Non-2xx …: 3`.
fn wrk_counts(report: &str) -> (u64, u64) {
    let number = |text: &str| text.trim().trim_end_matches(',').parse::<u64>().ok();
    let requests = report.lines().find_map(|line| number(line.split_once(" requests in ")?.0)).unwrap_or_default();
    let refused = report.lines().find_map(|line| number(line.trim().strip_prefix("Non-2xx or 3xx responses:")?));
    let sockets = report.lines().find_map(|line| line.trim().strip_prefix("Socket errors:"));
    let broken: u64 = sockets.into_iter().flat_map(|line| line.split_whitespace().filter_map(number)).sum();
    (requests, refused.unwrap_or_default() + broken)
}

fn own_load(program: &Program, time: Duration) -> (u64, u64) {
    let (answers, failures) = (AtomicU64::new(0), AtomicU64::new(0));
    let until = Instant::now() + time;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = Client::connect(program.address("web"));
                while Instant::now() < until {
                    let sent = client.try_send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").is_ok();
                    match sent.then(|| client.try_reply(false)) {
                        Some(Ok(reply)) if reply.status == 200 => answers.fetch_add(1, Ordering::Relaxed),
                        _ => {
                            client = Client::connect(program.address("web"));
                            failures.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
    });
    (answers.into_inner(), failures.into_inner())
}

#[test]
fn fifty_reloads_a_second_under_load_lose_nothing() {
    let endpoint = tireless_endpoint("app");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("serin.yaml");
    fs::write(&config, rules(endpoint, 0)).expect("room");
    let program = Program::start_with(&config, &["--state-dir", folder.path().join("state").to_str().expect("text")]);
    let running = Arc::new(AtomicBool::new(true));
    let writer = {
        let (running, config) = (Arc::clone(&running), config.clone());
        std::thread::spawn(move || {
            let began = Instant::now();
            let mut round = 0;
            while running.load(Ordering::Relaxed) {
                round += 1;
                replace(&config, &rules(endpoint, round));
                let next = began + Duration::from_millis(20) * u32::try_from(round).expect("not that many");
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            round
        })
    };
    let (answers, failures) = load(&program, Duration::from_secs(seconds()));
    running.store(false, Ordering::Relaxed);
    let rounds = writer.join().expect("the writer ends");
    assert_eq!(failures, 0, "of {answers}\n{}", program.log());
    assert!(answers > 100, "{answers}");
    let last = format!("h{rounds}.test");
    eventually(PATIENCE, "the last rules", || program.admin("/api/v1/routes").text().contains(&last));
    let swaps = generation(&program);
    assert!(swaps >= rounds / 3, "{swaps} swaps of {rounds} changes");
}

fn generation(program: &Program) -> u64 {
    let metrics = program.admin("/metrics").text().to_owned();
    let value = metrics.lines().find_map(|line| line.strip_prefix("serin_rules_generation "));
    value.and_then(|value| value.parse().ok()).expect("the generation is a metric")
}

/// Resident memory of this process in KiB.
fn resident_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or_default()
}

/// Other tests in the same process use memory as they please, so this one runs in a process of its own: the test program
/// itself, asked for the one test below.
#[test]
fn ten_thousand_updates_leave_memory_as_it_was() {
    let program = std::env::current_exe().expect("this program has a path");
    let arguments = ["--exact", "soak::updates_in_a_process_of_their_own", "--nocapture"];
    let output = Command::new(program).args(arguments).env("SERIN_SOAK_ALONE", "1").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let growth = text.lines().find_map(|line| line.split_once("growth_kib=")?.1.trim().parse::<i64>().ok());
    let growth = growth.unwrap_or_else(|| panic!("no measurement in\n{text}"));
    assert!(growth < 8 << 10, "{growth} KiB more after 10,000 updates than after 2,000");
}

#[test]
fn updates_in_a_process_of_their_own() {
    if std::env::var_os("SERIN_SOAK_ALONE").is_none() {
        return;
    }
    let mut publisher = Updates::new();
    publisher.run(0..2_000);
    let before = resident_kib();
    publisher.run(2_000..10_000);
    println!("growth_kib={}", resident_kib() as i64 - before as i64);
}

/// Updates without files and listeners.
struct Updates {
    publisher: serin_proxy::control_path::publish::Publisher,
}

struct Nowhere;

impl serin_proxy::control_path::publish::Listeners for Nowhere {
    fn open(&mut self, _: &Arc<str>, address: SocketAddr, _: &[SocketAddr]) -> std::io::Result<SocketAddr> {
        Ok(address)
    }

    fn rename(&mut self, _: SocketAddr, _: &Arc<str>) {}

    fn close(&mut self, _: SocketAddr) {}
}

impl Updates {
    fn new() -> Self {
        use routing_rules::{release::ReleaseContext, rules::AddressSet};
        use serin_proxy::control_path::{assemble::Assembler, publish::Publisher};
        use serin_proxy::snapshot::{Snapshot, SnapshotCell};
        let snapshots = Arc::new(SnapshotCell::from_pointee(Snapshot::empty()));
        let assembler = Assembler::new(2, ReleaseContext::default(), AddressSet::default(), None);
        let publisher = Publisher::new(Default::default(), assembler, snapshots, Box::new(Nowhere), None);
        Self { publisher }
    }

    /// Every update changes a route, an upstream and a file that only says so.
    fn run(&mut self, rounds: std::ops::Range<u64>) {
        use serin_proxy::control_path::source::Text;
        let endpoint = "127.0.0.1:1".parse().expect("an address");
        for round in rounds {
            let main = Text {
                name: Path::new("main").to_string_lossy().as_ref().into(),
                content: Ok(rules(endpoint, round).as_str().into()),
                is_main: true,
            };
            let more = Text { name: "more".into(), content: Ok(format!("# {round}").as_str().into()), is_main: false };
            self.publisher.update(vec![main, more]);
        }
    }
}
