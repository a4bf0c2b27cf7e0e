//! Audiences by place, with a geo database as one would download it.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::support::control::{Program, replace, serin};
use crate::support::mmdb::GeoFile;
use crate::support::{Client, Origin, PATIENCE, eventually};

/// Who asks, and which group that is.
const PLACES: [(&str, &str); 7] = [
    ("203.0.113.7", "canary"),
    // The country is right, the city is not.
    ("203.0.113.200", "stable"),
    ("198.51.100.1", "canary"),
    ("2001:db8:1::5", "canary"),
    ("2001:db8:2::5", "stable"),
    // Not in the database.
    ("192.0.2.1", "stable"),
    ("127.0.0.1", "stable"),
];

fn database() -> Vec<u8> {
    GeoFile::new()
        .with("203.0.113.0/25", "CN", "Shanghai", "Shanghai")
        .with("203.0.113.128/25", "CN", "Beijing", "Beijing")
        .with("198.51.100.0/24", "DE", "Berlin", "Berlin")
        .with("2001:db8:1::/48", "CN", "Shanghai", "Shanghai")
        .with("2001:db8:2::/48", "US", "Texas", "Shanghai")
        .bytes()
}

/// A main file with its database, and endpoints that say their names.
struct Stage {
    folder: TempDir,
    stable: Origin,
    canary: Origin,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let stage = Self { folder, stable: Origin::named("stable"), canary: Origin::named("canary") };
        fs::write(stage.database(), database()).expect("room");
        fs::write(stage.config(), stage.rules("")).expect("room");
        stage
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("serin.yaml")
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("city.mmdb")
    }

    fn rules(&self, more_routes: &str) -> String {
        format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n\
             state_dir: state\ntrusted_proxies: [127.0.0.1]\ngeo: {{database: city.mmdb}}\n\
             routes: {{shop: {{upstream: stable, release: next}}{more_routes}}}\n\
             upstreams: {{stable: {{endpoints: [\"{}\"]}}, canary: {{endpoints: [\"{}\"]}}}}\n\
             releases: {{next: {{stable: stable, canary: canary, sticky: {{key: [client_ip], pin: false}}, audience: [\
             {{name: the city, geo: {{country: [CN], city: [Shanghai]}}, percent: 100}}, \
             {{name: a state, geo: {{subdivision: [BE]}}, ip: [198.51.100.0/24], percent: 100}}]}}}}\n",
            self.stable.address(),
            self.canary.address(),
        )
    }

    fn explain(&self, ip: &str) -> String {
        let config = self.config();
        let arguments = ["explain", "--config", config.to_str().expect("text"), "--ip", ip, "http://a.test/"];
        let output = serin(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    fn run_fails(&self, command: &str) -> String {
        let output = serin(&[command, "--config", self.config().to_str().expect("text")]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
    }
}

fn group(program: &Program, ip: &str) -> String {
    let mut client = Client::connect(program.address("web"));
    client.request("GET", "/", &[("X-Forwarded-For", ip)], b"").text().to_owned()
}

#[test]
fn the_place_of_an_address_decides_the_group() {
    let stage = Stage::new();
    let program = Program::start(&stage.config());
    for (ip, expected) in PLACES {
        assert_eq!(group(&program, ip), expected, "{ip}");
        let explained = stage.explain(ip);
        assert!(explained.contains(&format!("release   next: {expected} (")), "{ip}: {explained}");
    }
    assert!(stage.explain("203.0.113.7").contains("rule \"the city\": 100 %"), "{}", stage.explain("203.0.113.7"));
    assert!(stage.explain("198.51.100.1").contains("rule \"a state\""), "{}", stage.explain("198.51.100.1"));
}

#[test]
fn a_database_that_cannot_be_used_is_said_where_it_is_named() {
    let stage = Stage::new();
    let whole = database();
    let breaks: [(&str, &dyn Fn()); 4] = [
        ("No such file", &|| fs::remove_file(stage.database()).expect("it is there")),
        ("", &|| fs::write(stage.database(), "").expect("room")),
        ("", &|| fs::write(stage.database(), "this is no database").expect("room")),
        ("", &|| fs::write(stage.database(), &whole[..whole.len() / 2]).expect("room")),
    ];
    for (number, (reason, break_it)) in breaks.into_iter().enumerate() {
        break_it();
        let checked = stage.run_fails("check");
        let place = format!("{}:6:17: geo.database: {}: ", stage.config().display(), stage.database().display());
        assert!(checked.contains(&place) && checked.contains(reason), "{number}: {checked}");
        let started = stage.run_fails("run");
        let what = format!("geo database {}: ", stage.database().display());
        assert!(started.contains(&what) && started.contains(reason), "{number}: {started}");
    }
}

/// The database is read at start: what becomes of the file afterwards concerns the next start.
#[test]
fn a_database_that_breaks_later_changes_nothing_for_traffic() {
    let stage = Stage::new();
    let program = Program::start(&stage.config());
    let breaks: [&dyn Fn(); 2] = [&|| replace(&stage.database(), "this is no database"), &|| {
        fs::remove_file(stage.database()).expect("it is there")
    }];
    for (number, break_it) in breaks.into_iter().enumerate() {
        break_it();
        let generation = program.metric("serin_rules_generation");
        replace(&stage.config(), &stage.rules(&format!(", other: {{hosts: [h{number}.test], upstream: stable}}")));
        eventually(PATIENCE, "the new rules", || program.metric("serin_rules_generation") > generation);
        for (ip, expected) in PLACES {
            assert_eq!(group(&program, ip), expected, "{ip} after {number}");
        }
    }
}
