use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use routing_rules::discovery::of_addresses;
use routing_rules::release::ReleaseContext;
use routing_rules::rules::{AddressSet, Name};
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Listeners, Publisher};
use crate::control_path::assemble::Assembler;
use crate::control_path::release::Records;
use crate::control_path::saver::Saver;
use crate::control_path::source::{Text, TextKind};
use crate::control_path::state_dir::StateDir;
use crate::settings::Settings;
use crate::snapshot::{Snapshot, SnapshotCell, Upstream};
use crate::thread;

/// Listeners that only write down what is asked of them.
#[derive(Clone, Default)]
struct Sketch {
    events: Arc<Mutex<Vec<String>>>,
    taken: Arc<Mutex<BTreeSet<u16>>>,
}

impl Listeners for Sketch {
    fn open(&mut self, name: &Arc<str>, address: SocketAddr, _: &[SocketAddr]) -> io::Result<SocketAddr> {
        assert_ne!(address.port(), 13, "no luck");
        if self.taken.lock().unwrap().contains(&address.port()) {
            return Err(io::Error::other("taken"));
        }
        self.note(format!("+{name}:{}", address.port()));
        Ok(address)
    }

    fn close(&mut self, bound: SocketAddr) {
        self.note(format!("-{}", bound.port()));
    }
}

impl Sketch {
    fn note(&self, event: String) {
        self.events.lock().unwrap().push(event);
    }
}

struct Bench {
    publisher: Publisher,
    snapshots: Arc<SnapshotCell>,
    sketch: Sketch,
}

impl Bench {
    fn new(state_dir: Option<StateDir>) -> Self {
        let snapshots = Arc::new(SnapshotCell::from_pointee(Snapshot::empty()));
        let assembler = Assembler::new(1, ReleaseContext::default(), AddressSet::default(), None);
        let sketch = Sketch::default();
        let listeners = Box::new(sketch.clone());
        let saver = state_dir.map(|state_dir| Saver::start(state_dir, unbounded_channel().0).unwrap());
        let publisher = Publisher::new(Settings::default(), assembler, Arc::clone(&snapshots), listeners, saver);
        Self { publisher, snapshots, sketch }
    }

    /// What happened to listeners.
    fn update(&mut self, main: &str) -> String {
        let main = Text { name: "main".into(), content: Ok(main.into()), kind: TextKind::Main };
        self.publisher.update(vec![main].into(), Records::new());
        std::mem::take(&mut *self.sketch.events.lock().unwrap()).join(" ")
    }

    fn problems(&self) -> String {
        self.publisher.status().problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    /// What requests take the addresses for.
    fn names(&self) -> String {
        let snapshot = self.snapshots.load();
        let name = |(address, name): &(SocketAddr, Name)| format!("{}={name}", address.port());
        snapshot.listeners.iter().map(name).collect::<Vec<_>>().join(" ")
    }

    fn generation(&self) -> u64 {
        self.snapshots.load().generation
    }
}

fn listeners(all: &[(&str, u16)]) -> String {
    let one = |(name, port): &(&str, u16)| format!("{name}: {{address: \"127.0.0.1:{port}\"}}");
    format!("listeners: {{{}}}", all.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[test]
fn listeners_follow_the_rules_and_open_before_they_close() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.update(&listeners(&[("a", 1)])), "+a:1");
    assert_eq!(bench.update(&listeners(&[("a", 2)])), "+a:2 -1");
    assert_eq!(bench.update(&listeners(&[("b", 2)])), "");
    assert_eq!(bench.names(), "1=a 2=b");
    assert_eq!(bench.update(""), "-2");
}

#[test]
fn a_listener_whose_new_address_is_taken_keeps_its_old_one() {
    let mut bench = Bench::new(None);
    bench.update(&listeners(&[("a", 1)]));
    bench.sketch.taken.lock().unwrap().insert(2);
    assert_eq!(bench.update(&listeners(&[("a", 2)])), "");
    let problem = "main:1:26: listeners.a.address: cannot listen on 127.0.0.1:2: taken; the old address stays open";
    assert_eq!(bench.problems(), problem);
    // As soon as it is free, without any edit.
    assert_eq!(bench.update(&listeners(&[("a", 2)])), "");
    bench.sketch.taken.lock().unwrap().clear();
    assert_eq!(bench.update(&listeners(&[("a", 2)])), "+a:2 -1");
    assert_eq!(bench.problems(), "");
}

#[test]
fn listeners_may_exchange_their_addresses() {
    let mut bench = Bench::new(None);
    bench.update(&listeners(&[("a", 1), ("b", 2)]));
    assert_eq!(bench.update(&listeners(&[("a", 2), ("b", 1)])), "");
    assert_eq!(bench.names(), "1=b 2=a");
    assert_eq!(bench.update(&listeners(&[("a", 3), ("b", 2)])), "+a:3 -1");
    assert_eq!(bench.names(), "1=b 2=b 3=a", "connections of the one that closed still are b's");
    bench.update(&listeners(&[("c", 1), ("b", 2)]));
    assert_eq!(bench.names(), "1=c 2=b 3=a", "until the address is another's");
}

#[test]
fn who_waits_for_the_address_of_one_that_cannot_move_stays_too() {
    let mut bench = Bench::new(None);
    bench.update(&listeners(&[("a", 1), ("b", 2)]));
    bench.sketch.taken.lock().unwrap().insert(3);
    assert_eq!(bench.update(&listeners(&[("a", 2), ("b", 3), ("c", 1)])), "");
    assert_eq!(
        bench.problems(),
        "main:1:26: listeners.a.address: cannot listen on 127.0.0.1:2: another listener has it; the old address stays open\n\
         main:1:55: listeners.b.address: cannot listen on 127.0.0.1:3: taken; the old address stays open\n\
         main:1:84: listeners.c.address: cannot listen on 127.0.0.1:1: another listener has it"
    );
    bench.sketch.taken.lock().unwrap().clear();
    assert_eq!(bench.update(&listeners(&[("a", 2), ("b", 3), ("c", 1)])), "+b:3");
    assert_eq!(bench.names(), "1=c 2=a 3=b");
    assert_eq!(bench.problems(), "");
}

#[test]
fn what_changes_nothing_swaps_nothing() {
    let mut bench = Bench::new(None);
    bench.update("upstreams: {u: {endpoints: []}}");
    let generation = bench.generation();
    bench.update("upstreams: {u: {endpoints: []}}");
    bench.update("# a remark\nupstreams: {u: {endpoints: []}}");
    assert_eq!(bench.generation(), generation);
    bench.update("upstreams: {u: {endpoints: [\"127.0.0.1:1\"]}}");
    assert_eq!(bench.generation(), generation + 1);
}

#[test]
fn trusted_proxies_take_effect_at_once_and_other_settings_are_checked() {
    let mut bench = Bench::new(None);
    bench.update("trusted_proxies: [10.0.0.0/8]");
    assert!(bench.snapshots.load().trusts([10, 1, 1, 1].into()));
    bench.update("trusted_proxies: [192.0.2.1]\nworkers: 0\n");
    assert_eq!(bench.problems(), "main:2:10: workers: the number of workers is between 1 and 1024");
    assert!(bench.snapshots.load().trusts([10, 1, 1, 1].into()), "settings with a problem change nothing");
    bench.update("trusted_proxies: [192.0.2.1]\nworkers: 2\n");
    assert!(bench.snapshots.load().trusts([192, 0, 2, 1].into()));
    assert!(!bench.snapshots.load().trusts([10, 1, 1, 1].into()));
    assert_eq!(bench.problems(), "");
}

#[test]
fn the_last_to_let_go_of_replaced_rules_is_the_publisher() {
    let mut bench = Bench::new(None);
    bench.update("upstreams: {u: {endpoints: []}}");
    let held = bench.snapshots.load_full();
    let watched = Arc::downgrade(&held);
    bench.update("upstreams: {v: {endpoints: []}}");
    bench.publisher.free_replaced();
    drop(held);
    assert!(watched.upgrade().is_some(), "whoever drops it frees nothing");
    assert!(bench.publisher.has_replaced());
    bench.publisher.free_replaced();
    assert!(watched.upgrade().is_none());
    assert!(!bench.publisher.has_replaced());
}

#[test]
fn however_long_requests_take_the_number_of_kept_rules_is_bounded() {
    let mut bench = Bench::new(None);
    let mut held = Vec::new();
    for port in 1..=300 {
        bench.update(&format!("upstreams: {{u: {{endpoints: [\"127.0.0.1:{port}\"]}}}}"));
        held.push(bench.snapshots.load_full());
    }
    let counts: Vec<usize> = held.iter().map(Arc::strong_count).collect();
    assert_eq!(counts.iter().filter(|count| **count > 1).count(), 257, "256 replaced ones and the one in force");
    assert!(counts[..43].iter().all(|count| *count == 1), "the oldest are left to who holds them");
}

#[test]
fn an_edit_that_makes_serin_panic_is_reported_until_the_next_edit() {
    let mut bench = Bench::new(None);
    bench.sketch.taken.lock().unwrap().insert(1);
    bench.update(&listeners(&[("a", 1)]));
    let refused = bench.problems();
    for _ in 0..2 {
        bench.publisher.note_panic("no luck");
    }
    let failure = "main: Serin failed on this edit: no luck; the rules in force stay. Please report this";
    assert_eq!(bench.problems(), format!("{refused}\n{failure}"));
    bench.update(&listeners(&[("a", 1)]));
    assert_eq!(bench.problems(), format!("{refused}\n{failure}"), "trying the listener again mends nothing else");
    bench.update("");
    assert_eq!(bench.problems(), "");
}

/// A panic in the middle of an update must not leave anything half done for the next one.
#[test]
fn an_edit_that_makes_serin_panic_harms_no_later_one() {
    let mut bench = Bench::new(None);
    let text =
        |name: &str, content: &str| Text { name: name.into(), content: Ok(content.into()), kind: TextKind::Rules };
    let upstream = |name: &str, port: u16| format!("upstreams: {{{name}: {{endpoints: [\"127.0.0.1:{port}\"]}}}}");
    let mut update = |first: &str, second: &str| {
        let texts = vec![text("main", ""), text("first", first), text("second", second)];
        let updated = catch_unwind(AssertUnwindSafe(|| bench.publisher.update(texts.into(), Records::new())));
        let snapshot = bench.snapshots.load();
        let mut names: Vec<_> =
            snapshot.upstreams.iter().flatten().map(|upstream| upstream.name().to_string()).collect();
        names.sort();
        (updated.is_ok(), names.join(" "), bench.publisher.status().problems.len())
    };
    let (u, v) = (upstream("u", 1), upstream("v", 2));
    assert_eq!(update(&u, &v), (true, "u v".into(), 0));
    // The first text has lost its upstream by the time the second one fails.
    let failed = update("", &format!("{v} # the trap"));
    assert_eq!(failed.1, "u v");
    assert_eq!(update("", &v), (true, "v".into(), 0));
    assert_eq!(update(&u, &v), (true, "u v".into(), 0));
}

/// One that is written last in a store for all must not keep others out that follow it.
#[test]
fn a_text_that_makes_serin_panic_is_held_back_and_no_other() {
    let mut bench = Bench::new(None);
    let upstream = |name: &str, port: u16| {
        let content = format!("upstreams: {{{name}: {{endpoints: [\"127.0.0.1:{port}\"]}}}}");
        Text { name: name.into(), content: Ok(content.into()), kind: TextKind::Rules }
    };
    let trap =
        |text: Text| Text { content: text.content.map(|content| format!("{content} # the trap").into()), ..text };
    let mut update = |texts: Vec<Text>| {
        let updated = catch_unwind(AssertUnwindSafe(|| bench.publisher.update(texts.into(), Records::new())));
        if let Err(panic) = updated {
            assert!(bench.publisher.take_around(thread::message(&*panic)));
        }
        let snapshot = bench.snapshots.load();
        let shown = |upstream: &Arc<Upstream>| {
            format!("{}:{}", upstream.name(), upstream.endpoints[0].endpoint.address().port())
        };
        let mut shown: Vec<_> = snapshot.upstreams.iter().flatten().map(shown).collect();
        shown.sort();
        let problems =
            bench.publisher.status().problems.iter().map(|problem| problem.source.to_string()).collect::<Vec<_>>();
        (shown.join(" "), problems.join(" "))
    };
    let many = |port| (0..9).map(|index| upstream(&format!("u{index}"), port)).collect::<Vec<_>>();
    update(many(1));
    let mut texts = many(2);
    texts[3] = trap(texts[3].clone());
    texts[7] = trap(texts[7].clone());
    let ports = |ports: [u16; 9]| {
        ports.iter().zip(0..).map(|(port, index)| format!("u{index}:{port}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(update(texts.clone()), (ports([2, 2, 2, 1, 2, 2, 2, 1, 2]), "u3 u7".into()));
    texts[0] = upstream("u0", 3);
    assert_eq!(update(texts.clone()), (ports([3, 2, 2, 1, 2, 2, 2, 1, 2]), "u3 u7".into()), "it is not tried again");
    texts[7] = upstream("u7", 4);
    assert_eq!(update(texts.clone()), (ports([3, 2, 2, 1, 2, 2, 2, 4, 2]), "u3".into()));
    texts[3] = trap(upstream("u3", 5));
    assert_eq!(update(texts.clone()), (ports([3, 2, 2, 1, 2, 2, 2, 4, 2]), "u3".into()), "another that fails");
    texts[3] = upstream("u3", 5);
    assert_eq!(update(texts), (ports([3, 2, 2, 5, 2, 2, 2, 4, 2]), String::new()));
}

#[test]
fn a_listener_that_makes_serin_panic_leaves_no_other_one_open_in_nobodys_name() {
    let mut bench = Bench::new(None);
    assert_eq!(bench.update(&listeners(&[("a", 1)])), "+a:1");
    let failed = catch_unwind(AssertUnwindSafe(|| bench.update(&listeners(&[("a", 1), ("b", 2), ("c", 13)]))));
    assert!(failed.is_err());
    assert_eq!(bench.update(&listeners(&[("a", 1), ("b", 2)])), "+b:2 -2 +b:2");
    assert_eq!(bench.names(), "1=a 2=b");
}

/// It is tried every few seconds, and the file may be large.
#[test]
fn a_listener_that_is_refused_again_costs_next_to_nothing() {
    let mut bench = Bench::new(None);
    bench.sketch.taken.lock().unwrap().insert(2);
    let mut main = format!("{}\nupstreams:\n", listeners(&[("a", 2)]));
    for index in 0..20_000 {
        main.push_str(&format!("  u{index}: {{endpoints: [\"127.0.0.1:1\"]}}\n"));
    }
    let mut update = || {
        let began = Instant::now();
        bench.update(&main);
        began.elapsed()
    };
    let first = update();
    let again = (0..5).map(|_| update()).min().unwrap();
    assert!(again < first / 50, "{again:?} for another try, {first:?} for everything");
    assert_eq!(bench.problems(), "main:1:26: listeners.a.address: cannot listen on 127.0.0.1:2: taken");
}

/// Counts of what has gone are kept for a minute; a change must not pay for them.
#[test]
fn very_many_names_that_went_lately_do_not_slow_a_change_down() {
    let mut bench = Bench::new(None);
    let text =
        |name: &str, content: String| Text { name: name.into(), content: Ok(content.into()), kind: TextKind::Rules };
    let mut port = 0;
    let mut change = |bench: &mut Bench, routes: &str| {
        port += 1;
        let endpoints = format!("upstreams: {{u: {{endpoints: [\"127.0.0.1:{port}\"]}}}}");
        let texts = vec![text("main", String::new()), text("routes", routes.into()), text("endpoints", endpoints)];
        let began = Instant::now();
        bench.publisher.update(texts.into(), Records::new());
        began.elapsed()
    };
    let quickest = |bench: &mut Bench, change: &mut dyn FnMut(&mut Bench, &str) -> Duration| {
        (0..20).map(|_| change(bench, "")).min().unwrap()
    };
    change(&mut bench, "");
    let before = quickest(&mut bench, &mut change);
    let mut routes = String::from("routes:\n");
    for index in 0..20_000 {
        routes.push_str(&format!("  r{index}: {{hosts: [h{index}.test], upstream: u}}\n"));
    }
    change(&mut bench, &routes);
    change(&mut bench, "");
    assert_eq!(bench.snapshots.load().traffic.all().count(), 20_000);
    let after = quickest(&mut bench, &mut change);
    assert!(after < 8 * before, "{after:?} with names that went, {before:?} without");
}

#[test]
fn counters_of_an_endpoint_survive() {
    let mut bench = Bench::new(None);
    let upstream = |rest: &str| format!("upstreams: {{u: {{endpoints: [\"127.0.0.1:1\"{rest}]}}}}");
    bench.update(&upstream(""));
    let count = |bench: &Bench| {
        let snapshot = bench.snapshots.load_full();
        let upstream = snapshot.upstreams.iter().flatten().find(|upstream| upstream.name().as_str() == "u").unwrap();
        upstream.endpoints[0].endpoint.counters(0).unwrap().picked();
        upstream.endpoints[0].endpoint.totals().requests
    };
    assert_eq!(count(&bench), 1);
    bench.update(&upstream(", \"127.0.0.1:2\""));
    assert_eq!(count(&bench), 2);
    bench.update("");
    bench.update(&upstream(""));
    assert_eq!(count(&bench), 3, "gone for a moment is not gone");
}

#[test]
fn the_newest_rules_are_stored_however_many_there_were_and_quickly_handed_over() {
    let folder = tempfile::tempdir().unwrap();
    let state_dir = StateDir::open(folder.path()).unwrap();
    let mut bench = Bench::new(Some(state_dir.clone()));
    let began = Instant::now();
    for port in 1..=200 {
        bench.update(&format!("upstreams: {{u{port}: {{endpoints: [\"127.0.0.1:{port}\"]}}}}"));
    }
    assert!(began.elapsed() < Duration::from_secs(1), "200 updates took {:?}", began.elapsed());
    drop(bench);
    let stored = state_dir.restore().unwrap().rules.upstreams;
    assert_eq!(stored.keys().collect::<Vec<_>>(), ["u200"]);
}

#[test]
fn a_disk_that_fails_at_the_end_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let mut bench = Bench::new(Some(StateDir::open(&folder.path().join("file/state")).unwrap()));
    bench.update("upstreams: {u: {endpoints: []}}");
    let began = Instant::now();
    drop(bench);
    assert!(began.elapsed() < Duration::from_secs(2));
}

/// A mistake in a template makes very many problems; saying so must not take long.
#[test]
fn ten_thousand_problems_are_reported_in_time() {
    let mut bench = Bench::new(None);
    let mut main = String::from("routes:\n");
    for index in 0..10_000 {
        main.push_str(&format!("  r{index}: {{upstream: missing}}\n"));
    }
    let began = Instant::now();
    bench.update(&main);
    assert_eq!(bench.publisher.status().problems.len(), 10_000);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// However many routes there are beside it, a change costs what it changes.
#[test]
fn an_endpoint_among_very_many_routes_changes_quickly() {
    let mut bench = Bench::new(None);
    let mut routes = String::from("routes:\n");
    for index in 0..20_000 {
        routes.push_str(&format!("  r{index}: {{hosts: [h{index}.test], upstream: u}}\n"));
    }
    let text =
        |name: &str, content: &str| Text { name: name.into(), content: Ok(content.into()), kind: TextKind::Rules };
    let mut texts = vec![text("main", ""), text("routes", &routes), text("endpoints", "")];
    let mut change = |port: u16| {
        texts[2] = text("endpoints", &format!("upstreams: {{u: {{endpoints: [\"127.0.0.1:{port}\"]}}}}"));
        let began = Instant::now();
        bench.publisher.update(texts.clone().into(), Records::new());
        began.elapsed()
    };
    let all = change(1);
    let one = (2..12).map(&mut change).min().unwrap();
    assert!(one < all / 50, "{one:?} for an endpoint, {all:?} for everything");
    let snapshot = bench.snapshots.load();
    let upstream = snapshot.upstreams.iter().flatten().next().unwrap();
    assert_eq!((snapshot.table.routes().count(), upstream.endpoints[0].endpoint.address().port()), (20_000, 11));
}

/// A route goes to a new upstream when its endpoints are known; until then it stays where it is. Here a thread looks them up.
#[test]
fn new_upstreams_come_ahead_of_their_routes() {
    let mut bench = Bench::new(None);
    bench.update("routes: {a: {upstream: one}}\nupstreams: {one: {endpoints: [\"127.0.0.1:1\"]}}\n");
    let before = bench.snapshots.load().generation;
    let (swaps, mut told) = watch::channel(());
    bench.publisher.await_lookups(swaps);
    let snapshots = Arc::clone(&bench.snapshots);
    let lookups = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(told.changed()).unwrap();
        let ahead = snapshots.load_full();
        let target = format!("{:?}", ahead.table.rules().routes().next().unwrap().target());
        let id = ahead.table.upstream_id("two").unwrap();
        let found = of_addresses(["127.0.0.2".parse().unwrap()], 80);
        ahead.upstreams[id.index()].as_ref().unwrap().discovered.as_ref().unwrap().answered(&found, None);
        (target, ahead.generation)
    });
    let discovered = "routes: {a: {upstream: two}}\nupstreams: {two: {discovery: {dns: {name: a.test, port: 80}}, \
                      group_breaker: {condition: \"NetworkErrorRatio() > 0.5\", fallback: three}}, three: {endpoints: [\"127.0.0.1:3\"]}}\n";
    bench.update(discovered);
    let (target, generation) = lookups.join().unwrap();
    assert!(target.contains("one"), "{target}");
    assert_eq!(generation, before, "it changes nothing for requests");
    let now = bench.snapshots.load_full();
    let id = now.table.upstream_id("two").unwrap();
    assert_eq!(now.upstreams[id.index()].as_ref().unwrap().endpoints.len(), 1);
    assert_eq!((now.generation, bench.problems().as_str()), (before + 1, ""));
    assert!(now.table.upstream_id("one").is_none(), "it has gone");
}

#[test]
fn lookups_that_do_not_end_hold_up_rules_for_a_moment() {
    let mut bench = Bench::new(None);
    bench.publisher.await_lookups(watch::channel(()).0);
    let began = Instant::now();
    bench.update("routes: {a: {upstream: b}}\nupstreams: {b: {discovery: {dns: {name: a.test, port: 80}}}}\n");
    assert!((Duration::from_millis(400)..Duration::from_secs(5)).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(bench.snapshots.load().table.rules().routes().len(), 1);
    let began = Instant::now();
    bench.update("routes: {c: {upstream: b}}\nupstreams: {b: {discovery: {dns: {name: a.test, port: 80}}}}\n");
    assert!(began.elapsed() < Duration::from_millis(400), "once for each");
}
