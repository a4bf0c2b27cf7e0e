//! A copy of keys, at a pace of the test's own: what a watch cannot see is found by comparing, and silence in its time.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serin_proxy::control_path::etcd::{Cluster, Heard, Mirror, Pace};
use serin_proxy::settings::EtcdSettings;
use tokio::sync::oneshot;

use crate::support::PATIENCE;
use crate::support::etcd::Etcd;
use crate::support::link::{Link, Weather};

/// A copy of `/p/` on a thread of its own, until this is dropped.
struct Following {
    heard: Receiver<Event>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
enum Event {
    Changed { all: BTreeMap<String, String>, changed: Vec<String>, is_listing: bool },
    Lost(String),
    Same,
}

impl Following {
    fn start(member: &str, pace: Pace) -> Self {
        let settings = EtcdSettings {
            endpoints: vec![format!("http://{member}")],
            prefix: "/p/".into(),
            user: None,
            password_file: None,
            tls: None,
            share_ticket_keys: None,
        };
        let (tell, heard) = channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            let mirror = Mirror::new(Cluster::new(settings), b"/p/", pace);
            runtime.block_on(async {
                tokio::select! {
                    // Whoever hears nothing more has ended the test.
                    () = mirror.run(|heard| drop(tell.send(event(heard)))) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { heard, stop: Some(stop), thread: Some(thread) }
    }

    fn next(&self) -> Event {
        self.heard.recv_timeout(2 * PATIENCE).expect("something is heard")
    }

    /// The next change of keys by a listing or by the watch, whatever comes before it.
    fn next_change(&self, by_listing: bool) -> (BTreeMap<String, String>, Vec<String>) {
        loop {
            match self.next() {
                Event::Changed { all, changed, is_listing } if is_listing == by_listing => return (all, changed),
                _ => {}
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn event(heard: Heard<'_>) -> Event {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match heard {
        Heard::Changed { keys, changed, is_listing, .. } => Event::Changed {
            all: keys.entries.iter().map(|(key, value)| (text(key), text(&value.bytes))).collect(),
            changed: changed.iter().map(|key| text(key)).collect(),
            is_listing,
        },
        Heard::Lost { trouble, .. } => Event::Lost(trouble.to_string()),
        Heard::Same { .. } => Event::Same,
    }
}

/// Compares soon after a new connection, and never otherwise.
fn pace() -> Pace {
    let hour = Duration::from_secs(3_600);
    let soon = Duration::from_millis(300)..Duration::from_millis(400);
    Pace { reconcile: hour..2 * hour, reconcile_soon: soon, longest_pause: soon_pause(), ..Pace::default() }
}

fn soon_pause() -> Duration {
    Duration::from_millis(50)
}

/// A backup is restored, and written until its revision is beyond what was heard: the watch goes on as if nothing had been.
#[test]
fn what_a_watch_missed_is_found_by_comparing() {
    let Some(mut etcd) = Etcd::start() else { return };
    let link = Link::to(&etcd.address(0));
    ["same", "changes", "goes"].iter().for_each(|key| etcd.put(&format!("/p/{key}"), "before"));
    etcd.kill(0);
    let stored = etcd.stored(0);
    etcd.restart(0);
    etcd.is_ready();
    let following = Following::start(&link.address().to_string(), pace());
    assert_eq!(following.next_change(true).1, ["/p/changes", "/p/goes", "/p/same"]);
    (0..=20).for_each(|write| etcd.put("/p/lost", write.to_string()));
    while following.next_change(false).0["/p/lost"] != "20" {}

    link.set(Weather::Silent);
    etcd.kill(0);
    etcd.set_back(0, &stored);
    etcd.restart(0);
    etcd.is_ready();
    etcd.put("/p/changes", "after");
    etcd.delete("/p/goes");
    (0..30).for_each(|_| etcd.put("elsewhere", ""));
    etcd.put("/p/seen", "after");
    link.set(Weather::Fair);
    link.reset();
    let (all, changed) = following.next_change(false);
    assert_eq!(changed, ["/p/seen"]);
    assert_eq!(all["/p/changes"], "before", "the watch does not know it");
    let (all, changed) = following.next_change(true);
    assert_eq!(changed, ["/p/changes", "/p/goes", "/p/lost"], "and nothing that is the same");
    let all: Vec<(&str, &str)> = all.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(all, [("/p/changes", "after"), ("/p/same", "before"), ("/p/seen", "after")]);
}

/// The connection answers, and the watch on it says nothing: it is not asked for a sign of life here.
#[test]
fn silence_of_a_watch_is_noticed_in_its_time() {
    let Some(etcd) = Etcd::start() else { return };
    etcd.put("/p/key", "one");
    let hour = Duration::from_secs(3_600);
    let following = Following::start(&etcd.address(0), Pace { ask: hour, silence: Duration::from_secs(1), ..pace() });
    assert_eq!(following.next_change(true).1, ["/p/key"]);
    let began = Instant::now();
    let reason = loop {
        if let Event::Lost(reason) = following.next() {
            break reason;
        }
    };
    assert!(reason.contains("silent for"), "{reason}");
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    etcd.put("/p/key", "two");
    assert_eq!(following.next_change(false).1, ["/p/key"]);
}
