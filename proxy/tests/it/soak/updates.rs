//! Updates without files, listeners and clients: what they cost in memory alone.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::process::Command;
use std::sync::Arc;

use routing_rules::release::ReleaseContext;
use routing_rules::rules::AddressSet;
use serin_proxy::control_path::assemble::Assembler;
use serin_proxy::control_path::publish::{Listeners, Publisher};
use serin_proxy::control_path::release::Records;
use serin_proxy::control_path::source::{Text, TextKind};
use serin_proxy::snapshot::{Snapshot, SnapshotCell};

use super::rules::Endpoints;
use crate::support::control::resident_kib;

/// Other tests in the same process use memory as they please, so this one runs in a process of its own: the test program
/// itself, asked for the one test below.
#[test]
fn ten_thousand_updates_leave_memory_as_it_was() {
    let program = std::env::current_exe().expect("this program has a path");
    let arguments = ["--exact", "soak::updates::updates_in_a_process_of_their_own", "--nocapture"];
    let output = Command::new(program).args(arguments).env("SERIN_SOAK_ALONE", "1").output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout);
    let growth = text.lines().find_map(|line| line.split_once("growth_kib=")?.1.trim().parse::<i64>().ok());
    let growth = growth.unwrap_or_else(|| panic!("no measurement in\n{text}"));
    assert!(growth < MOST_KIB, "{growth} KiB more after 10,000 updates than after 2,000");
}

#[test]
fn updates_in_a_process_of_their_own() {
    if std::env::var_os("SERIN_SOAK_ALONE").is_none() {
        return;
    }
    let mut updates = Updates::new();
    updates.run(0..2_000);
    let before = resident_kib(std::process::id());
    updates.run(2_000..10_000);
    println!("growth_kib={}", resident_kib(std::process::id()) as i64 - before as i64);
}

struct Updates {
    publisher: Publisher,
}

struct Nowhere;

impl Listeners for Nowhere {
    fn open(&mut self, _: &Arc<str>, address: SocketAddr, _: &[SocketAddr]) -> std::io::Result<SocketAddr> {
        Ok(address)
    }

    fn close(&mut self, _: SocketAddr) {}
}

impl Updates {
    fn new() -> Self {
        let snapshots = Arc::new(SnapshotCell::from_pointee(Snapshot::empty()));
        let assembler = Assembler::new(2, ReleaseContext::default(), AddressSet::default(), None);
        Self { publisher: Publisher::new(Default::default(), assembler, snapshots, Box::new(Nowhere), None) }
    }

    /// Every update changes the rules and a file that only says so.
    fn run(&mut self, rounds: Range<u64>) {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let endpoints = Endpoints { stable: [1, 2, 3].map(address), canary: address(4), echo: address(5) };
        for round in rounds {
            let content = endpoints.rules(round).as_str().into();
            let main = Text { name: "main".into(), content: Ok(content), kind: TextKind::Main };
            let more =
                Text { name: "more".into(), content: Ok(format!("# {round}").as_str().into()), kind: TextKind::Rules };
            self.publisher.update(vec![main, more].into(), Records::new());
        }
        let problems = self.publisher.status().problems;
        assert!(problems.is_empty(), "{problems:?}");
    }
}

/// Every update makes an endpoint that is remembered for a minute, and the test is over sooner: up to 2 KiB for each. A
/// snapshot that stayed would be far more.
const MOST_KIB: i64 = 16 << 10;
