//! What is noted of attempts, whatever becomes of them.

use std::fs;
use std::path::Path;
use std::pin::Pin;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient, NewAccount};
use routing_rules::rules::RuleSet;
use serde_json::json;

use super::*;
use crate::control_path::acme::kept::Account;
use crate::control_path::state_dir::StateDir;

/// What rules want of the certificates `a` and `b` of one account.
fn wanted(host: &str, challenge: &str, contact: &[&str]) -> [Wanted; 2] {
    let order = json!({"account": "le", "challenge": challenge});
    let account = json!({"directory": "https://acme.test/d", "agree_to_terms": true, "contact": contact});
    let spec = json!({
        "listeners": {"secure": {"address": "127.0.0.1:0", "tls": {}}},
        "acme_accounts": {"le": account},
        "certificates": {"a": {"hosts": [host], "acme": order}, "b": {"hosts": ["b.test"], "acme": order}},
    });
    let (rules, problems) = RuleSet::from_spec(&serde_json::from_value(spec).expect("a spec"));
    let all: Vec<Wanted> = Wanted::all(&rules).collect();
    all.try_into().unwrap_or_else(|_| panic!("{problems:?}"))
}

fn acme(folder: &Path) -> Acme {
    Acme::alone(Path::new("serin.yaml"), Some(StateDir::open(folder).expect("it is opened")))
}

fn counts(acme: &Acme, wanted: &Wanted) -> Option<(u32, u32)> {
    acme.failures(wanted).map(|failures| (failures.count, failures.known()))
}

#[tokio::test]
async fn an_attempt_leaves_a_trace_before_anybody_hears_of_it() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [a, b] = wanted("a.test", "http_01", &[]);
    for times in 1..=3 {
        // Each time it is killed right then.
        let acme = acme(folder.path());
        assert_eq!(acme.begin(&a).await, Ok(times));
        assert_eq!(counts(&acme, &a), Some((times, times - 1)));
    }
    let acme = acme(folder.path());
    let (now_ms, noted) = (moment::unix_ms(), acme.failures(&a).expect("a trace"));
    assert!((45_000..=75_000).contains(&noted.wait_ms), "a minute after three: {}", noted.wait_ms);
    assert!(acme.due_ms(&a, now_ms) > now_ms && acme.due_ms(&b, now_ms) <= now_ms);
    assert_eq!(acme.standing_of(&a), ("failing", 2));
    // It ends, and is counted once.
    acme.note(&a, Failed::new("no"), Said::default(), 3).await;
    assert_eq!(counts(&acme, &a), Some((3, 3)));
    // One that has cost a certificate is followed by a long pause.
    acme.note(&a, Failed::new("no").costly(), Said::default(), 1).await;
    assert!(acme.failures(&a).is_some_and(|noted| noted.wait_ms >= 45 * 60_000));
}

impl Acme {
    fn standing_of(&self, wanted: &Wanted) -> (&'static str, u32) {
        let standing = self.standing(wanted, moment::unix_ms());
        (standing.state, standing.failures)
    }
}

#[tokio::test]
async fn nothing_is_ordered_that_could_not_be_kept() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [a, _] = wanted("a.test", "http_01", &[]);
    let acme = acme(folder.path());
    let in_the_way = folder.path().join("acme.json.tmp");
    fs::create_dir(&in_the_way).expect("room");
    let reason = acme.begin(&a).await.expect_err("it cannot be stored");
    assert!(reason.contains("could not be stored"), "{reason}");
    assert_eq!(counts(&acme, &a), None);
    assert_eq!(acme.standing(&a, moment::unix_ms()).problem, Some(reason));
    fs::remove_dir(&in_the_way).expect("it was there");
    acme.vault.save().await;
    assert_eq!((acme.vault.trouble(), acme.begin(&a).await), (None, Ok(1)));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_not_an_empty_one() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [a, _] = wanted("a.test", "http_01", &[]);
    let before = acme(folder.path());
    before.begin(&a).await.expect("a folder");
    before.begin(&a).await.expect("a folder");
    let path = folder.path().join("acme.json");
    fs::rename(&path, folder.path().join("aside")).expect("it was there");
    fs::create_dir(&path).expect("room");
    let acme = acme(folder.path());
    assert!(!acme.vault.may_order());
    let problem = acme.standing(&a, moment::unix_ms()).problem.expect("it says so");
    assert!(problem.contains("acme.json"), "{problem}");
    acme.note(&a, Failed::new("no"), Said::default(), 1).await;
    acme.vault.save().await;
    assert!(path.is_dir(), "it is not written over");
}

#[tokio::test]
async fn an_authority_that_is_busy_says_nothing_of_a_certificate() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let ([a, b], acme) = (wanted("a.test", "http_01", &[]), acme(folder.path()));
    let said = Said { wait: Some(Duration::from_secs(600)), is_busy: true };
    let count = acme.begin(&a).await.expect("a folder");
    acme.note(&a, Failed::new("slow down"), said, count).await;
    assert_eq!(counts(&acme, &a), Some((0, 0)));
    assert_eq!(acme.standing_of(&a), ("waiting", 0));
    let now_ms = moment::unix_ms();
    for wanted in [&a, &b] {
        let rest_ms = acme.due_ms(wanted, now_ms).saturating_sub(now_ms);
        assert!((590_000..=600_000).contains(&rest_ms), "{rest_ms}");
    }
    // It is asked for something else, and answers.
    acme.note(&a, Failed::new("no"), Said::default(), 1).await;
    assert!(acme.due_ms(&b, now_ms) <= now_ms);
    // A wait of days may be meant for one certificate only.
    acme.note(&a, Failed::new("slow down"), Said { wait: Some(Duration::from_secs(90_000)), ..said }, 1).await;
    let rest_ms = [&a, &b].map(|wanted| acme.due_ms(wanted, now_ms) - now_ms);
    assert!(rest_ms[0] >= 90_000_000 && (3_590_000..=3_601_000).contains(&rest_ms[1]), "{rest_ms:?}");
}

#[tokio::test]
async fn an_account_that_was_opened_meanwhile_is_not_forgotten() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let acme = acme(folder.path());
    let account =
        |id: &str| Account { directory: "d".into(), key_id: None, contact: Vec::new(), credentials: json!({"id": id}) };
    acme.vault.keep_account("le", Some(account("new"))).await.expect("a folder");
    for used in [Some(account("old")), None] {
        acme.forget_account("le", used.as_ref()).await.expect("a folder");
        assert!(acme.vault.account("le").is_some());
    }
    acme.forget_account("le", Some(&account("new"))).await.expect("a folder");
    assert!(acme.vault.account("le").is_none());
}

#[test]
fn what_was_issued_is_held_against_the_rules_of_now() {
    let [a, b] = wanted("a.test", "http_01", &[]);
    let life = Life { not_before: 100, not_after: 200 };
    let [other_way, _] = wanted("a.test", "tls_alpn_01", &["ops@a.test"]);
    let [other_host, _] = wanted("c.test", "http_01", &[]);
    for now in [&a, &other_way] {
        assert_eq!(check(&a, Some(now), life, 100), Ok(()));
    }
    for now in [None, Some(&other_host), Some(&b)] {
        assert!(check(&a, now, life, 150).is_err_and(|reason| reason.contains("not wanted")));
    }
    for now_s in [99, 200, 0, i64::MAX] {
        assert!(check(&a, Some(&a), life, now_s).is_err_and(|reason| reason.contains("clock")), "{now_s}");
    }
    // Failures of another way do not count; whom to tell has nothing to do with them.
    let [told, _] = wanted("a.test", "http_01", &["ops@a.test"]);
    assert!(a.what() == told.what() && a.what() != other_way.what() && a.what() != other_host.what());
}

#[test]
fn what_was_issued_a_moment_ago_is_not_to_be_issued_again() {
    let ([a, _], acme) = (wanted("a.test", "http_01", &[]), Acme::default());
    let [other, _] = wanted("c.test", "http_01", &[]);
    let life = Life { not_before: 0, not_after: 300 };
    let (mut soon, mut now) = (Vec::new(), Instant::now());
    for (wanted, seconds) in [(&a, 0), (&a, 99), (&a, 101), (&other, 1), (&other, 1)] {
        now += Duration::from_secs(seconds);
        soon.push(acme.is_soon(wanted, life, now));
    }
    assert_eq!(soon, [false, true, false, false, true]);
}

/// An authority whose addresses are none.
struct Nonsense;

impl HttpClient for Nonsense {
    fn request(
        &self,
        _: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let directory = json!({"newNonce": "", "newAccount": "", "newOrder": "", "revokeCert": "", "keyChange": ""});
        let answer = Response::new(Full::new(Bytes::from(directory.to_string())));
        Box::pin(std::future::ready(Ok(BytesResponse::from(answer))))
    }
}

#[tokio::test]
async fn a_panic_for_what_an_authority_says_is_a_failure() {
    let opened = unless_it_panics(async {
        let new = NewAccount { contact: &[], terms_of_service_agreed: true, only_return_existing: false };
        let builder = instant_acme::Account::builder_with_http(Box::new(Nonsense));
        builder.create(&new, "https://acme.test/d".into(), None).await.map(drop).map_err(Failed::from)
    });
    let failed = opened.await.expect_err("its addresses are none");
    assert!(failed.reason.starts_with("it panicked: "), "{}", failed.reason);
    assert!(unless_it_panics(async { Ok(1) }).await.is_ok_and(|one| one == 1));
}
