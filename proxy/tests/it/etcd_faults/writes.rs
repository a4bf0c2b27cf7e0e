//! Very many writes, and writes that are nothing.

use std::time::{Duration, Instant};

use super::stage::{Setting, Stage, UNASKED, route};
use super::{fault, length};
use crate::support::etcd::Etcd;
use crate::support::{PATIENCE, eventually};

#[test]
fn a_thousand_writes_a_second() {
    let more = |etcd: &Etcd| {
        etcd.put("/serin/upstreams/crowd", "{discovery: {etcd: {prefix: /crowd/}}}");
        etcd.put("/serin/routes/crowd", "{hosts: [crowd.test], upstream: crowd}");
    };
    // One second, and the start of the process that is compared with.
    let setting = Setting { more, most_seconds: 2, ..Setting::default() };
    let (warm_up, time) = (length(2, 20), length(3, 40));
    let what = format!("1,000 writes a second of routes and registrations, {} s", (warm_up + time).as_secs());
    fault("writes", &what, setting, |stage| {
        pour(stage, warm_up);
        stage.is_warm();
        let before_kib = stage.serin.resident_kib();
        let (began, generation) = (Instant::now(), stage.serin.metric("serin_rules_generation"));
        let written = pour(stage, time);
        let grown_kib = stage.serin.resident_kib().saturating_sub(before_kib);
        stage.is_over();
        stage.change();
        stage.is_right();
        let (took, swaps) = (began.elapsed(), stage.serin.metric("serin_rules_generation") - generation);
        stage.note = format!("; {written} writes in {took:.1?}, {swaps} swaps");
        // Half of it is a storm as well, where the machine has no more.
        assert!(written >= 500 * time.as_secs(), "{written} writes");
        // Before it is asked for all it has, which takes memory of its own. A few KiB that stayed with every swap would be more.
        assert!(grown_kib < MOST_GROWTH_KIB, "{grown_kib} KiB more after {written} writes");
        // Sixty a second, and fifty that were left from before.
        assert!((1..=60 * (took.as_secs() + 1) + 50).contains(&swaps), "{swaps} swaps in {took:?}");
    });
}

/// What the allocator takes and gives back while rules are swapped sixty times a second: the highs and lows of a longer run, twice.
const MOST_GROWTH_KIB: u64 = 12 << 10;

/// Half of it are routes, half registrations at a few hundred addresses.
fn pour(stage: &Stage, time: Duration) -> u64 {
    stage.etcd.pour(1_000, time, |number| match number.is_multiple_of(2) {
        true => {
            let route_number = UNASKED.start + (number / 2) as usize % UNASKED.len();
            (format!("/serin/routes/r{route_number}"), route(route_number, number))
        }
        false => (format!("/crowd/{}", number % 200), format!("127.1.0.1:{}", 1 + number * 7 % 400)),
    })
}

#[test]
fn keys_are_poisoned() {
    let what = "1 MiB values, broken and deep documents, 10,000 unknown keys, a key of 60 KiB";
    let arguments = &["--max-request-bytes", "4000000"];
    let setting = Setting { arguments, most_growth_kib: 160 << 10, ..Setting::default() };
    fault("poison", what, setting, |stage| {
        let poison = poison();
        for hundred in 0..100 {
            let keys: Vec<String> = (0..100).map(|key| format!("/serin/nonsense/{hundred}-{key}")).collect();
            stage.etcd.write(&keys.iter().map(|key| (key.as_str(), Some("x"))).collect::<Vec<_>>());
        }
        poison.iter().for_each(|(key, value)| stage.etcd.put(key, value));
        let count = 10_000 + poison.len() as u64;
        eventually(2 * PATIENCE, "all is told", || stage.serin.metric("serin_rules_rejected") >= count);
        stage.follows_a_change();
        let rejected = stage.serin.admin("/api/v1/rejected").body;
        let told: serde_json::Value = serde_json::from_slice(&rejected).expect("JSON");
        let problems = told["problems"].as_array().expect("a list");
        // However long what is wrong is, a problem does not repeat it.
        let reason = |problem: &serde_json::Value| problem["reason"].as_str().map_or(0, str::len);
        let longest = problems.iter().map(reason).max().unwrap_or_default();
        stage.note = format!("; {} problems in {} bytes", problems.len(), rejected.len());
        assert!(longest < 2_000 && rejected.len() < 1 << 20, "{} bytes of problems", rejected.len());
        assert!(
            problems.len() == 1_000 && told["count"].as_u64() >= Some(count),
            "{} of {}",
            problems.len(),
            told["count"]
        );
        stage.etcd.delete_prefix("/serin/nonsense/");
        stage.etcd.delete_prefix("/serin/upstreams/poison");
        poison.iter().for_each(|(key, _)| stage.etcd.delete(key));
        eventually(2 * PATIENCE, "nothing is wrong", || stage.serin.metric("serin_rules_rejected") == 0);
        stage.change();
        stage.is_over();
    });
}

fn poison() -> Vec<(String, Vec<u8>)> {
    let megabyte = 1 << 20;
    let texts: Vec<Vec<u8>> = vec![
        vec![b'x'; megabyte],
        vec![0; megabyte],
        vec![0xff; 100],
        "[".repeat(megabyte).into(),
        format!("{}1", "{\"a\": ".repeat(10_000)).into(),
        format!("{{upstream: fixed, hosts: [{}]}}", "a.example.com, ".repeat(60_000)).into(),
        format!("{{upstream: fixed, {}}}", (0..20_000).map(|n| format!("f{n}: 1, ")).collect::<String>()).into(),
        format!("{{upstream: {}}}", "u".repeat(megabyte)).into(),
        format!("{{upstream: fixed, paths: [{{regex: \"{}\"}}]}}", "(a|b)*".repeat(50_000)).into(),
        "a: &a [1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n".into(),
        "{\"upstream\": \"fixed\"".into(),
        "{\"upstream\": 1e400}".into(),
        Vec::new(),
    ];
    let mut all: Vec<_> =
        texts.into_iter().enumerate().map(|(number, text)| (format!("/serin/routes/poison-{number}"), text)).collect();
    all.push((format!("/serin/routes/{}", "k".repeat(60 << 10)), b"upstream: fixed".to_vec()));
    all.push(("/serin/upstreams/poison".into(), vec![b'x'; megabyte]));
    all
}
