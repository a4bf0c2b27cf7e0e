use std::sync::Arc;

use routing_rules::health::State;
use routing_rules::release::ReleaseContext;
use routing_rules::rules::{AddressSet, RuleSet};

use super::{Checks, Outcome, take};
use crate::control_path::assemble::Assembler;
use crate::snapshot::{Snapshot, SnapshotCell, Upstream};

const RULES: &str = r#"{"upstreams": {"app": {"endpoints": ["127.0.0.1:1", "127.0.0.1:2"],
    "health": {"path": "/", "rise": 2, "fall": 1}}}}"#;

fn snapshots() -> (Arc<SnapshotCell>, Arc<Upstream>) {
    let (rules, problems) = RuleSet::from_spec(&serde_json::from_str(RULES).unwrap());
    assert_eq!(problems, []);
    let mut assembler = Assembler::new(1, ReleaseContext::default(), AddressSet::default(), None);
    let snapshot = assembler.next(&Snapshot::empty(), &rules);
    let upstream = snapshot.upstreams.iter().flatten().next().unwrap().clone();
    (Arc::new(SnapshotCell::from_pointee(snapshot)), upstream)
}

/// Between the moment when the weights of a new version are computed and the swap, others can only publish for the old one.
#[test]
fn what_became_known_while_an_upstream_was_built_is_published_after_the_swap() {
    let (snapshots, upstream) = snapshots();
    upstream.endpoints[0].endpoint.drain(true);
    assert_eq!([0, 1].map(|place| upstream.weighing.share(place)), [1.0, 1.0]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { Checks::new(snapshots).follow() });
    assert_eq!([0, 1].map(|place| upstream.weighing.share(place)), [0.0, 1.0]);
}

#[test]
fn what_this_machine_lacks_counts_against_no_endpoint() {
    let (snapshots, upstream) = snapshots();
    let endpoint = &upstream.endpoints[0].endpoint;
    let snapshot = snapshots.load();
    let rules = snapshot.table.rules().upstream("app").unwrap().health().unwrap();
    let state = || endpoint.checked().as_ref().map(|checked| (checked.health().state(), checked.counts()));
    let short = Outcome::NotAsked("too many open files".into());
    take(endpoint, rules, &short, &snapshots);
    assert_eq!(state(), Some((State::Unknown, (0, 0))));
    take(endpoint, rules, &Outcome::Passed("status 200 OK".into()), &snapshots);
    take(endpoint, rules, &short, &snapshots);
    assert_eq!(state(), Some((State::Up, (1, 0))));
    take(endpoint, rules, &Outcome::Failed("status 503 Service Unavailable".into()), &snapshots);
    assert_eq!((state(), upstream.weighing.share(0)), (Some((State::Down, (1, 1))), 0.0));
    // Nor is it a good result.
    take(endpoint, rules, &Outcome::Passed("status 200 OK".into()), &snapshots);
    take(endpoint, rules, &short, &snapshots);
    assert_eq!(state(), Some((State::Down, (2, 1))));
}
