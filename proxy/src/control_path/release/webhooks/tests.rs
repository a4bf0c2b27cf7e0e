use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use routing_rules::release::{ReleaseContext, ReleaseRecord};
use routing_rules::rules::{AddressSet, Name, Release, RuleSet};
use tokio::sync::watch;

use super::*;
use crate::control_path::assemble::Assembler;
use crate::control_path::release::{Entry, FolderStore, Records};
use crate::moment;
use crate::snapshot::Snapshot;

/// A receiver that answers every call with this.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    url
}

/// Somebody who does not take what happened so long ago, until nothing more is ahead of it. Returns what became of that.
async fn tell_of_a_change(age: Duration, answer: &'static str, until: fn(&Totals) -> bool) -> (Totals, u64) {
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("secret");
    std::fs::write(&secret_file, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let settings = WebhookSettings { url: answering(answer), secret_file, releases: None, ca_file: None };
    let webhook = Arc::new(Webhook::open("ci", &settings).unwrap());
    let rules = r#"{"stable": "a", "canary": "b", "audience": [{"name": "all"}], "phases": [1]}"#;
    let rules = Release::new("r", &serde_json::from_str(rules).unwrap(), &mut Vec::new()).unwrap();
    let at_ms = moment::unix_ms() - age.as_millis() as u64;
    let record = Arc::new(ReleaseRecord::begin(&rules, 0, None, at_ms));
    let store = FolderStore::open(None, |_| {});
    let name = Name::new("r").unwrap();
    store.add(&name, &Entry { record: Arc::clone(&record), rules: None }, 0).await.unwrap();
    let records: Records = [(name, record)].into_iter().collect();
    let context = ReleaseContext { records, ..ReleaseContext::default() };
    let snapshot =
        Assembler::new(1, context, AddressSet::default(), None).next(&Snapshot::empty(), &RuleSet::default());
    let source = Source {
        snapshots: Arc::new(SnapshotCell::from_pointee(snapshot)),
        store: Arc::new(store),
        cursors: Arc::new(FolderCursors::open(None)),
        is_in_charge: Arc::new(|| true),
        since_ms: 0,
    };
    let (end, swaps) = watch::channel(());
    let known = Arc::clone(&webhook);
    let watched = async move {
        while !until(&known.totals().1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(end);
    };
    let run = async { tokio::join!(run(vec![Arc::clone(&webhook)], source, swaps), watched) };
    tokio::time::timeout(Duration::from_secs(20), run).await.unwrap();
    let (_, totals, backlog) = webhook.totals();
    (totals, backlog)
}

const DAY: Duration = Duration::from_secs(24 * 3_600);
const BAD: &str = "HTTP/1.1 500 Bad\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn what_nobody_takes_for_a_day_is_given_up_and_nothing_before() {
    let (totals, _) = tell_of_a_change(DAY, BAD, |totals| totals.given_up > 0).await;
    assert_eq!(totals, Totals { delivered: 0, failed: 3, given_up: 1 }, "the process may have been away for that day");
    let (totals, backlog) = tell_of_a_change(DAY / 2, BAD, |totals| totals.failed > 3).await;
    assert_eq!((totals.given_up, backlog), (0, 1));
}

#[tokio::test]
async fn any_success_will_do_and_nothing_else() {
    for (answer, delivered, given_up) in [
        ("HTTP/1.1 202 Taken\r\nContent-Length: 2000\r\n\r\nthe rest never comes", 1, 0),
        ("HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n", 0, 1),
    ] {
        let over = |totals: &Totals| totals.delivered + totals.given_up > 0;
        let (totals, _) = tell_of_a_change(Duration::ZERO, answer, over).await;
        assert_eq!((totals.delivered, totals.given_up), (delivered, given_up), "{answer}");
    }
    for answer in [
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
        "no HTTP at all\r\n\r\n",
        "",
    ] {
        let (totals, _) = tell_of_a_change(Duration::ZERO, answer, |totals| totals.failed > 1).await;
        assert_eq!((totals.delivered, totals.given_up), (0, 0), "{answer}");
    }
    // Whoever says when to come again is not asked before.
    let wait = "HTTP/1.1 503 Busy\r\nRetry-After: 3000\r\nContent-Length: 0\r\n\r\n";
    let (totals, backlog) = tell_of_a_change(Duration::ZERO, wait, |totals| totals.failed > 0).await;
    assert_eq!((totals.failed, backlog), (1, 1));
}
