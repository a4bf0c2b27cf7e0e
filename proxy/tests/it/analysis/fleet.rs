//! Fleets that judge together, through a real etcd, as processes that may be killed, stopped and cut off.

use std::fs;
use std::net::{SocketAddr, TcpStream};

use tempfile::TempDir;

use super::*;
use crate::support::Client;
use crate::support::control::Program;
use crate::support::etcd::Etcd;
use crate::support::link::{Link, Weather};

/// An instance of its own, and the folder it reads.
struct Member {
    program: Program,
    _folder: TempDir,
}

impl Member {
    fn start(etcd: &str, old: &Origin, new: &Origin, release: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = folder.path().join("serin.yaml");
        let (old, new) = (old.address(), new.address());
        let text = format!(
            "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 1\n\
             sources: {{etcd: {etcd}}}\n\
             routes: {{all: {{upstream: old, release: next}}}}\n\
             upstreams:\n  old: {{endpoints: [\"{old}\"]}}\n  new: {{endpoints: [\"{new}\"], breaker: false}}\n\
             releases:\n  next: {{stable: old, canary: new, audience: [{{name: everyone}}], sticky: {{key: [{{header: x-user}}]}}, {release}}}\n"
        );
        fs::write(&config, text).expect("a file");
        Self { program: Program::start(&config), _folder: folder }
    }

    fn shown(&self) -> Value {
        let reply = self.program.admin("/api/v1/releases/next");
        serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {}", reply.text()))
    }

    fn verdict(&self) -> String {
        self.shown()["analysis"]["report"]["verdict"].as_str().unwrap_or_default().to_owned()
    }

    fn windows_used(&self) -> u64 {
        self.shown()["analysis"]["report"]["windows_used"].as_u64().unwrap_or(0)
    }

    fn leads(&self) -> bool {
        self.program.metric("serin_etcd_leader") == 1
    }

    fn web(&self) -> SocketAddr {
        self.program.address("web")
    }
}

/// Requests of 500 users through these, about 200 a second at each, while `test` runs. One that does not answer is tried again.
fn under_load(webs: &[SocketAddr], test: impl FnOnce()) {
    let is_done = Arc::new(AtomicBool::new(false));
    thread::scope(|scope| {
        for (web, part) in webs.iter().flat_map(|web| (0..4_u32).map(|part| (*web, part))) {
            let is_done = Arc::clone(&is_done);
            scope.spawn(move || {
                let mut client = None;
                for round in 0_u32.. {
                    if is_done.load(Relaxed) {
                        return;
                    }
                    let user = (round * 4 + part) % 500;
                    client = client.or_else(|| TcpStream::connect(web).ok().map(Client::of));
                    if let Some(connected) = &mut client {
                        let request = format!("GET / HTTP/1.1\r\nHost: a.test\r\nx-user: {user}\r\n\r\n");
                        let answered = connected.try_send(request).is_ok() && connected.try_reply(false).is_ok();
                        if !answered {
                            client = None;
                        }
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            });
        }
        // Also when the test fails: nobody waits for the load then.
        let _ends = Ends(is_done);
        test();
    });
}

/// What etcd has of the analysis: the last window, and how many were used.
fn kept(etcd: &Etcd) -> Option<(u64, u64)> {
    let text = etcd.get("/serin/state/analysis/next")?;
    let kept: Value = serde_json::from_str(&text).expect("JSON");
    Some((kept["window"].as_u64()?, kept["run"]["state"]["used"].as_u64()?))
}

/// The leader sees a good canary, and the other one a bad one: only together they know how bad it is.
#[test]
fn what_one_instance_sees_rolls_the_fleet_back() {
    let Some(etcd) = Etcd::start() else { return };
    let (old, good, bad) = (Origin::named("old"), Origin::named("new"), failing(20));
    let release = "phases: [20, 50], analysis: {mode: guard}";
    let leader = Member::start(&etcd.source(), &old, &good, release);
    eventually(VERDICT, "it leads", || leader.leads());
    let other = Member::start(&etcd.source(), &old, &bad, release);
    under_load(&[leader.web(), other.web()], || {
        eventually(VERDICT, "a rollback", || leader.shown()["status"] == "rolled_back");
        eventually(VERDICT, "both follow", || other.shown()["status"] == "rolled_back");
    });
    let (at_leader, at_other) = (leader.shown(), other.shown());
    assert!(leader.leads() && !other.leads());
    assert_eq!(at_leader["last"]["by"], "serin");
    let failed = |shown: &Value| shown["audience"][0]["compared"]["canary"]["failed"].as_u64().expect("a number");
    assert!(failed(&at_leader) == 0 && failed(&at_other) > 0, "{at_leader}");
    // Both show what the fleet has found, of the requests of both.
    let reports = [&at_leader, &at_other].map(|shown| &shown["analysis"]["report"]);
    for field in ["verdict", "windows_used", "evidence", "text"] {
        assert_eq!(reports[0][field], reports[1][field], "{field}");
    }
    assert_eq!(reports[0]["verdict"], "rolled_back");
    let metrics = other.program.admin("/metrics").text().to_owned();
    let written = metrics.lines().find(|line| line.starts_with("serin_etcd_windows_total{outcome=\"written\"}"));
    assert!(written.is_some_and(|line| !line.ends_with(" 0")), "{metrics}");
    // Nobody takes what is written for this for rules.
    assert_eq!(leader.program.metric("serin_rules_rejected"), 0);
}

#[test]
fn who_follows_a_leader_that_was_killed_goes_on_with_the_next_window() {
    let Some(etcd) = Etcd::start() else { return };
    let is_bad = Arc::new(AtomicBool::new(false));
    let fails = Arc::clone(&is_bad);
    let old = Origin::named("old");
    let new = Origin::start(move |visit| visit.answer(if fails.load(Relaxed) { 500 } else { 200 }, &[], b"new"));
    let release = "phases: [20, 50], analysis: {mode: guard}";
    let first = Member::start(&etcd.source(), &old, &new, release);
    eventually(VERDICT, "it leads", || first.leads());
    let next = Member::start(&etcd.source(), &old, &new, release);
    under_load(&[next.web()], || {
        eventually(VERDICT, "windows", || kept(&etcd).is_some_and(|(_, used)| used >= 2));
        first.program.signal("KILL");
        let (window, used) = kept(&etcd).expect("it was there a moment ago");
        eventually(VERDICT, "the next one leads", || next.leads());
        eventually(VERDICT, "it goes on", || {
            let (window_now, used_now) = kept(&etcd).expect("it stays");
            // Each window once, none left out.
            assert_eq!(used_now - used, window_now - window, "{window} {window_now}");
            used_now >= used + 4
        });
        is_bad.store(true, Relaxed);
        eventually(VERDICT, "a rollback", || next.shown()["status"] == "rolled_back");
    });
    let report = next.shown()["analysis"]["report"].clone();
    assert_eq!(Some(next.windows_used()), kept(&etcd).map(|(_, used)| used), "{report}");
}

/// One that cannot be seen may serve users whom nobody counts.
fn holds_while_one_is_away(etcd: &Etcd, source: &str, away: impl FnOnce(&Member), back: impl FnOnce(&Member)) {
    let (old, new) = (steady("old"), steady("new"));
    let release = "phases: [10, 20], analysis: {mode: drive, min_phase: 60s, beta: 0.3}";
    let leader = Member::start(&etcd.source(), &old, &new, release);
    eventually(VERDICT, "it leads", || leader.leads());
    let other = Member::start(source, &old, &new, release);
    under_load(&[leader.web()], || {
        eventually(VERDICT, "both report", || {
            leader.windows_used() >= 1 && other.program.metric("serin_etcd_instances") == 2
        });
        away(&other);
        eventually(VERDICT, "it is missed", || leader.verdict() == "hold_data");
        assert_eq!(leader.shown()["percent"], 10.0);
        let used = leader.windows_used();
        eventually(VERDICT, "windows are closed all the same", || leader.windows_used() >= used + 2);
        assert_eq!((leader.shown()["percent"].as_f64(), leader.verdict().as_str()), (Some(10.0), "hold_data"));
        back(&other);
        eventually(VERDICT, "a promotion", || leader.shown()["percent"] == 20.0);
    });
    eventually(VERDICT, "both have it", || other.shown()["percent"] == 20.0);
    assert_eq!(leader.shown()["last"]["by"], "serin");
}

#[test]
fn an_instance_that_stands_still_holds_the_fleet_and_lets_it_go_on() {
    let Some(etcd) = Etcd::start() else { return };
    let source = etcd.source();
    holds_while_one_is_away(
        &etcd,
        &source,
        |other| {
            other.program.signal("STOP");
            eventually(VERDICT, "it stands still", || other.program.stands_still());
        },
        |other| other.program.signal("CONT"),
    );
}

#[test]
fn an_instance_that_is_cut_off_holds_the_fleet_and_lets_it_go_on() {
    let Some(etcd) = Etcd::start() else { return };
    let link = Link::to(&etcd.address(0));
    let source = format!("{{endpoints: [\"http://{}\"]}}", link.address());
    holds_while_one_is_away(
        &etcd,
        &source,
        |_| link.set(Weather::Silent),
        |_| {
            link.reset();
            link.set(Weather::Fair);
        },
    );
}

#[test]
fn without_etcd_nothing_is_promoted_and_with_it_again_it_goes_on() {
    let Some(mut etcd) = Etcd::start() else { return };
    let (old, new) = (steady("old"), steady("new"));
    let release = "phases: [10, 20], analysis: {mode: drive, min_phase: 30s, beta: 0.3}";
    let members = [(); 2].map(|()| Member::start(&etcd.source(), &old, &new, release));
    under_load(&members.each_ref().map(Member::web), || {
        eventually(VERDICT, "windows", || members.iter().all(|member| member.windows_used() >= 1));
        let (window, used) = kept(&etcd).expect("a state");
        etcd.kill(0);
        for member in &members {
            eventually(VERDICT, "it is held", || member.verdict() == "hold_data");
            assert_eq!(member.shown()["percent"], 10.0);
        }
        etcd.restart(0);
        for member in &members {
            eventually(VERDICT, "a promotion", || member.shown()["percent"] == 20.0);
        }
        let (window_now, used_now) = kept(&etcd).expect("a state");
        assert!(used_now > used && window_now - window > used_now - used, "what nobody could report is not made up");
    });
}
