//! A release that takes its way by itself: versions to move users between, instances with or without etcd, and the users.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::users::Users;
use crate::support::control::{Program, serve_tirelessly};
use crate::support::etcd::Etcd;
use crate::support::link::Link;
use crate::support::{Client, PATIENCE, eventually};

/// How a version answers.
#[derive(Clone, Copy)]
pub(super) enum Version {
    /// Well, in 10 ms.
    Good,
    /// Of so many requests in 1,000 one fails.
    Failing(u64),
    /// In 15 ms.
    Slow,
    /// Of the requests of iPhones, one in five fails.
    FailingForIphones,
}

/// All parts, running.
pub(super) struct Stage {
    pub(super) etcd: Option<Etcd>,
    /// From each instance to etcd.
    pub(super) links: Vec<Link>,
    pub(super) instances: Vec<Program>,
    pub(super) users: Users,
    folder: TempDir,
}

const PHASES: [f64; 6] = [0.0, 1.0, 10.0, 20.0, 50.0, 100.0];

impl Stage {
    /// One instance with a file, or so many that follow etcd. Nothing where etcd is not installed.
    pub(super) fn set(instances: usize, canary: Version) -> Option<Self> {
        let etcd = if instances > 1 { Some(Etcd::start()?) } else { None };
        let (old, new) = (version("old", Version::Good), version("new", canary));
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("secret"), [7; 32]).expect("room");
        let objects = [
            ("routes/all", "{upstream: old, release: next}".to_owned()),
            ("upstreams/old", format!("{{endpoints: [\"{}\", \"{}\"]}}", old[0], old[1])),
            ("upstreams/new", format!("{{endpoints: [\"{}\", \"{}\"], breaker: false}}", new[0], new[1])),
            ("releases/next", release()),
        ];
        match &etcd {
            Some(etcd) => objects.iter().for_each(|(key, value)| etcd.put(&format!("/serin/{key}"), value)),
            None => {
                let [route, old, new, release] = objects.map(|(_, value)| value);
                let rules = format!(
                    "routes: {{all: {route}}}\nupstreams: {{old: {old}, new: {new}}}\nreleases: {{next: {release}}}\n"
                );
                fs::write(folder.path().join("rules.yaml"), rules).expect("room");
            }
        }
        let links: Vec<Link> = (0..instances).filter_map(|_| Some(Link::to(&etcd.as_ref()?.address(0)))).collect();
        let instances: Vec<Program> =
            (0..instances).map(|number| start(folder.path(), number, links.get(number))).collect();
        let addresses: Vec<SocketAddr> = instances.iter().map(|instance| instance.address("web")).collect();
        Some(Self { etcd, links, instances, users: Users::start(&addresses), folder })
    }

    /// One more instance.
    pub(super) fn start_instance(&mut self) {
        let link = self.etcd.as_ref().map(|etcd| Link::to(&etcd.address(0)));
        self.instances.push(start(self.folder.path(), self.links.len(), link.as_ref()));
        self.links.extend(link);
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.instances.iter().map(|instance| instance.address("web")).collect()
    }

    /// The release, as the last instance shows it.
    pub(super) fn shown(&self) -> Value {
        shown(self.instances.last().expect("one runs"))
    }

    /// Waits for the release to be so. Returns how long that took since the users came.
    pub(super) fn until(&self, most: Duration, what: &str, is_so: impl Fn(&Value) -> bool) -> Duration {
        eventually(most, what, || is_so(&self.shown()));
        self.users.since_they_began()
    }

    /// Goes on through all phases; `step` is done after each has begun. Returns how long it took to the last one.
    pub(super) fn through_all_phases(&mut self, mut step: impl FnMut(&mut Self, f64)) -> Duration {
        for percent in &PHASES[1..] {
            let reached = |shown: &Value| shown["percent"].as_f64() >= Some(*percent) || shown["status"] != "running";
            self.until(PHASE, &format!("{percent} %"), reached);
            let shown = self.shown();
            assert_eq!((&shown["status"], shown["percent"].as_f64()), (&"running".into(), Some(*percent)), "{shown}");
            step(self, *percent);
        }
        self.users.since_they_began()
    }

    /// The place of the instance that leads.
    pub(super) fn leader(&self) -> usize {
        let place = || self.instances.iter().position(leads);
        eventually(2 * PATIENCE, "an instance that leads", || place().is_some());
        place().expect("there was one a moment ago")
    }

    /// Goes on for so long, and sees to it that what is said stays so.
    pub(super) fn stays(&self, time: Duration, is_so: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while began.elapsed() < time {
            let shown = self.shown();
            assert!(is_so(&shown), "{shown}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Starts an instance that reads the file with the rules, or etcd by a link.
fn start(folder: &Path, number: usize, link: Option<&Link>) -> Program {
    let source = match link {
        Some(link) => format!("sources: {{etcd: {{endpoints: [\"http://{}\"]}}}}\n", link.address()),
        None => fs::read_to_string(folder.join("rules.yaml")).expect("it was written"),
    };
    let text = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n\
         trusted_proxies: [127.0.0.1]\nsecret_file: {}\n{source}",
        folder.join("secret").display()
    );
    let (config, state) = (folder.join(format!("serin-{number}.yaml")), folder.join(format!("state-{number}")));
    fs::write(&config, text).expect("room");
    Program::start_with(&config, &["--state-dir", state.to_str().expect("text")])
}

fn leads(instance: &Program) -> bool {
    let told: Value = serde_json::from_slice(&instance.admin("/api/v1/instances").body).expect("JSON");
    let all = told["instances"].as_array().cloned().unwrap_or_default();
    all.iter().any(|it| it["this"] == true && it["leader"] == true)
}

pub(super) fn shown(instance: &Program) -> Value {
    serde_json::from_slice(&instance.admin("/api/v1/releases/next").body).expect("JSON")
}

/// Gives an order to one instance.
pub(super) fn order(instance: &Program, word: &str) -> (u16, String) {
    let fields = [("Host", "localhost"), ("Content-Type", "application/json"), ("If-Match", "*")];
    let target = format!("/api/v1/releases/next/{word}");
    let body = br#"{"by": "anna", "reason": "enough"}"#;
    let reply = Client::connect(instance.address("admin")).request("POST", &target, &fields, body);
    (reply.status, reply.text().to_owned())
}

fn release() -> String {
    "{stable: old, canary: new, audience: [{name: office, ip: [10.0.0.0/8], percent: 100}, {name: everyone}], \
     phases: [{percent: 0, lasts: 15s}, 1, 10, 20, 50, 100], analysis: {mode: drive, min_phase: 20s}}"
        .to_owned()
}

/// The endpoints of a version.
fn version(name: &'static str, how: Version) -> [SocketAddr; 2] {
    [0, 1].map(|_| {
        let count = std::sync::atomic::AtomicU64::new(0);
        serve_tirelessly(move |head| {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let (fails, ms) = match how {
                Version::Good => (false, 10),
                Version::Slow => (false, 15),
                // Spread, so that none of the few first users meets them all.
                Version::Failing(permille) => (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 54 < permille, 10),
                Version::FailingForIphones => (head.contains("iPhone") && number.is_multiple_of(5), 10),
            };
            std::thread::sleep(Duration::from_millis(ms));
            let status = if fails { "500 Internal Server Error" } else { "200 OK" };
            format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{name}", name.len())
        })
    })
}

/// The longest that a phase of a good canary may take here.
const PHASE: Duration = Duration::from_secs(240);
