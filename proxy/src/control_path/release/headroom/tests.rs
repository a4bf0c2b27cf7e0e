use http::{HeaderMap, HeaderValue, Method, StatusCode};
use routing_rules::release::{Growth, Moment, ReleaseContext};
use routing_rules::request::RequestView;
use routing_rules::rules::{AddressSet, Object, RuleSet};
use routing_rules::spec::{self, Percent};

use super::*;
use crate::control_path::assemble::Assembler;
use crate::snapshot::{Compared, Ended, FirstAttempt};

/// Releases from two endpoints to one.
struct Bench {
    snapshot: Snapshot,
    assembler: Assembler,
    known: Known,
    now_us: u64,
    /// Of all requests.
    headers: HeaderMap,
}

fn percent(points: u16) -> Percent {
    Percent::from_basis_points(100 * points).unwrap()
}

fn at(points: u16) -> ReleaseState {
    ReleaseState { percent: percent(points), status: Status::Running, growth: None }
}

fn release() -> Arc<Release> {
    let text = r#"{"stable": "old", "canary": "new", "audience": [{"name": "office", "ip": ["10.0.0.0/8"], "percent": 100},
        {"name": "all"}], "phases": [0, 10, 50, 100], "sticky": {"key": ["client_ip"]}}"#;
    Arc::new(Release::new("next", &serde_json::from_str(text).unwrap(), &mut Vec::new()).unwrap())
}

impl Bench {
    fn new() -> Self {
        let upstream = |name: &str, endpoints: &str| {
            let text = format!(r#"{{"endpoints": [{endpoints}]}}"#);
            let spec: spec::UpstreamSpec = serde_json::from_str(&text).unwrap();
            Object::Upstream(Arc::new(routing_rules::rules::Upstream::new(name, &spec, &mut Vec::new()).unwrap()))
        };
        let mut rules = RuleSet::default();
        rules.insert(upstream("old", r#""127.0.0.1:1", "127.0.0.1:2""#));
        rules.insert(upstream("new", r#""127.0.0.1:3""#));
        rules.insert(Object::Release(release()));
        let mut assembler = Assembler::new(1, ReleaseContext::default(), AddressSet::default(), None);
        let snapshot = assembler.next(&Snapshot::empty(), &rules);
        let mut bench = Self { snapshot, assembler, known: Known::default(), now_us: 0, headers: HeaderMap::new() };
        bench.look();
        bench
    }

    fn look(&mut self) {
        self.known.look(&self.snapshot, self.now_us);
    }

    /// The release is in this state now.
    fn is(&mut self, state: ReleaseState) {
        let begun = ReleaseRecord::begin(&release(), 0, None, 0);
        let record = Arc::new(ReleaseRecord { state, number: 2, ..begun });
        let records = [(release().name().clone(), record)].into_iter().collect();
        assert!(self.assembler.set_records(&records));
        self.snapshot = self.assembler.next(&self.snapshot, &self.snapshot.table.rules().clone());
    }

    /// So many users ask once, each served in 100 ms, in five seconds in which endpoints always have so many requests in flight.
    fn five_seconds(&mut self, users: std::ops::Range<u32>, in_flight: [u64; 2]) {
        let id = self.snapshot.table.release_id("next").unwrap();
        let compiled = Arc::clone(self.snapshot.table.release(id).unwrap());
        let endpoint = |id| Arc::clone(&self.snapshot.upstream(id).unwrap().endpoints[0].endpoint);
        let endpoints = [endpoint(compiled.stable), endpoint(compiled.canary)];
        let with_all = |of: &dyn Fn(&crate::snapshot::EndpointCounters)| {
            for (endpoint, count) in endpoints.iter().zip(in_flight) {
                (0..count).for_each(|_| of(endpoint.counters(0).unwrap()));
            }
        };
        with_all(&|counters| counters.picked());
        for user in users {
            let client = std::net::Ipv4Addr::from(user).into();
            let request = RequestView::new(&Method::GET, "h", "/", &self.headers, client);
            let assignment = compiled.assigner.assign(&request, &Moment { unix_secs: 0, draw: [1, 2] });
            let comparison = self.snapshot.traffic.comparison(id).unwrap();
            if let Some(compared) = Compared::new(&assignment) {
                comparison.count(0, &compared, None, FirstAttempt::Answered { after_us: Some(100_000) });
            }
            self.snapshot.traffic.group(id, assignment.group).unwrap().count(0, Ended::new(StatusCode::OK, 100_000));
        }
        for _ in 0..10 {
            self.now_us += 500_000;
            self.look();
        }
        with_all(&|counters| counters.released());
    }

    fn predicted(&self, next: ReleaseState) -> Option<f64> {
        predict(self.known.courses.get(release().name())?.flows(), &next)
    }

    fn carried(&self, upstream: &str) -> Option<f64> {
        self.known.levels.get(&Name::new(upstream).unwrap())?.carried()
    }
}

/// The first look of all comes before the first request.
#[track_caller]
fn near(found: Option<f64>, expected: f64) {
    let found = found.unwrap();
    assert!((found - expected).abs() <= 0.15 * expected, "{found} instead of {expected}");
}

/// Users at home, and others in the office.
const HOME: u32 = u32::from_be_bytes([192, 0, 0, 0]);
const OFFICE: u32 = u32::from_be_bytes([10, 0, 0, 0]);

#[test]
fn what_came_in_five_seconds_says_what_would_come() {
    let mut bench = Bench::new();
    assert_eq!((bench.predicted(at(50)), bench.carried("old")), (None, None));
    bench.five_seconds(HOME..HOME + 1_000, [20, 0]);
    // 200 requests a second of 100 ms each are 20 in flight.
    near(bench.carried("old"), 20.0);
    assert_eq!(bench.carried("new"), None);
    near(bench.predicted(at(50)), 10.0);
    near(bench.predicted(at(10).with_status(Status::Completed)), 20.0);
    // Those of the office have the canary already.
    bench.known = Known::default();
    bench.look();
    bench.five_seconds(OFFICE..OFFICE + 500, [0, 10]);
    near(bench.carried("new"), 10.0);
    near(bench.predicted(at(50)), 10.0);
}

#[test]
fn a_step_changes_nothing_of_what_is_predicted() {
    let mut bench = Bench::new();
    bench.five_seconds(HOME..HOME + 1_000, [20, 0]);
    bench.is(at(50));
    let flows = |bench: &Bench| bench.known.courses[release().name()].flows().len();
    bench.five_seconds(HOME..HOME + 1_000, [10, 10]);
    assert_eq!(flows(&bench), 1, "some of it was before, nobody knows what");
    bench.five_seconds(HOME..HOME + 1_000, [10, 10]);
    assert_eq!(flows(&bench), 2);
    near(bench.predicted(at(100)), 20.0);
    bench.is(at(50).with_status(Status::RolledBack));
    (0..12).for_each(|_| bench.five_seconds(HOME..HOME + 1_000, [20, 0]));
    assert_eq!(flows(&bench), 12);
    near(bench.predicted(at(50)), 10.0);
    bench.is(at(50).with_status(Status::Completed));
    bench.five_seconds(HOME..HOME + 1_000, [20, 0]);
    assert!(bench.known.courses.is_empty() && bench.known.levels.is_empty(), "after the end nobody can come in");
}

#[test]
fn requests_of_pages_count_though_nobody_says_whose_they_are() {
    let mut bench = Bench::new();
    bench.five_seconds(HOME..HOME + 1_000, [20, 0]);
    let growth = Some(Growth { from: Percent::ZERO, at_secs: moment::unix_ms() / 1_000 });
    bench.is(ReleaseState { growth, ..at(10) });
    bench.headers.insert("sec-fetch-mode", HeaderValue::from_static("cors"));
    bench.headers.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
    (0..13).for_each(|_| bench.five_seconds(HOME..HOME + 1_000, [20, 0]));
    near(bench.predicted(at(50)), 10.0);
}
