//! What the data path counts of one release: for every rule of its audience, and of the users who came lately.
//!
//! A rule is known to requests by its place in one version of the audience. What was counted belongs to its name, so the next
//! version finds it wherever the rule is by then, and a request that ends later counts where it began.

use std::sync::Arc;

use routing_rules::release::{Arm, Assigner, Assignment, Bucket, DeviceClass, Reason};
use routing_rules::request::RequestView;
use routing_rules::rules::Sticky;

use super::recent::{NO_RULE, RecentUsers, Visit};
use super::{FirstAttempt, RecentUser, Stratum};

/// The counts of one version of a release. Versions share what they have in common.
pub struct Comparison {
    workers: usize,
    /// By the places of the audience's rules.
    strata: Box<[Arc<Stratum>]>,
    recent: Arc<RecentUsers>,
    /// What the rules are called in the tables of recent users, by place.
    numbers: Box<[u16]>,
    /// The first number that no rule has had.
    next_number: u16,
    /// What a bucket means.
    sticky: Sticky,
    /// The share that is compared before it comes in, if it is; in hundredths of a percent.
    preflight: Option<u16>,
}

/// A user's request, as far as it is compared.
#[derive(Clone, Copy, Debug)]
pub struct Compared {
    user: Bucket,
    stratum: Option<(Arm, usize)>,
    without_cookie: bool,
}

impl Compared {
    /// The request of this assignment. `None` if nothing identifies its user.
    pub fn new(assignment: &Assignment<'_>) -> Option<Self> {
        let stratum = assignment.arm.zip(assignment.place);
        Some(Self { user: assignment.bucket?, stratum, without_cookie: assignment.without_cookie })
    }
}

impl Comparison {
    /// Nothing yet.
    pub fn new(assigner: &Assigner, workers: usize) -> Self {
        let rules = assigner.rules();
        let rule_count = u16::try_from(rules.audience().len()).unwrap_or(NO_RULE);
        Self {
            workers,
            strata: rules.audience().iter().map(|rule| Arc::new(Stratum::new(&rule.name, workers))).collect(),
            recent: Arc::new(RecentUsers::new(workers)),
            numbers: (0..rules.audience().len()).map(|place| place.try_into().unwrap_or(NO_RULE)).collect(),
            next_number: rule_count,
            sticky: rules.sticky().clone(),
            preflight: assigner.preflight().map(|share| share.basis_points()),
        }
    }

    /// What follows when the release becomes this.
    pub fn next(&self, assigner: &Assigner) -> Self {
        let (rules, fresh) = (assigner.rules(), Self::new(assigner, self.workers));
        let is_same_salt = self.sticky.salt == fresh.sticky.salt;
        // The sides of before a release are others, and each salt has its own.
        let is_same_line =
            is_same_salt && (&self.sticky.key, self.sticky.range) == (&fresh.sticky.key, fresh.sticky.range);
        let are_same_sides = self.preflight == fresh.preflight && (self.preflight.is_none() || is_same_line);
        let places: Vec<Option<usize>> = rules.audience().iter().map(|rule| self.place(&rule.name)).collect();
        let strata = places.iter().zip(&fresh.strata).map(|(place, fresh)| match place {
            Some(place) if are_same_sides => Arc::clone(&self.strata[*place]),
            _ => Arc::clone(fresh),
        });
        let strata = strata.collect();
        let mut next_number = self.next_number;
        let numbers = places.iter().map(|place| match place {
            Some(place) => self.numbers[*place],
            None => {
                let number = next_number;
                next_number = number.saturating_add(1);
                number
            }
        });
        let numbers = numbers.collect();
        let is_same_user = is_same_salt && self.sticky.key == fresh.sticky.key;
        if !is_same_user || next_number == NO_RULE {
            return Self { strata, ..fresh };
        }
        Self { strata, recent: Arc::clone(&self.recent), numbers, next_number, ..fresh }
    }

    /// The counts of the rules, by place.
    pub fn strata(&self) -> &[Arc<Stratum>] {
        &self.strata
    }

    /// A sample of those who came lately, each once.
    pub fn recent_users(&self) -> Vec<RecentUser> {
        self.recent.all(&self.numbers)
    }

    /// A worker has a request of a user. `now` is in seconds since 1970.
    pub fn saw(&self, worker: usize, request: &RequestView<'_>, assignment: &Assignment<'_>, now: u64) {
        let Some(bucket) = assignment.bucket else { return };
        let number = assignment.place.and_then(|place| self.numbers.get(place));
        let visit = Visit {
            bucket,
            rule: number.copied().unwrap_or(NO_RULE),
            group: assignment.group,
            is_pinned: assignment.reason == Reason::Pin,
            client: request.client,
            now,
            device: assignment.device,
        };
        self.recent.saw(worker, &visit, || DeviceClass::of(request.headers));
    }

    /// It is known how the first attempt to serve the request ended, and at an endpoint of which sixteenth, if it came to one.
    pub fn count(&self, worker: usize, compared: &Compared, endpoint: Option<usize>, first: FirstAttempt) {
        let stratum = compared.stratum.and_then(|(arm, place)| Some((arm, self.strata.get(place)?)));
        if let Some((arm, stratum)) = stratum {
            stratum.count(worker, arm, compared.user, endpoint, first);
            if compared.without_cookie {
                stratum.count_without_cookie(worker, arm);
            }
        }
        if first == FirstAttempt::Failed {
            self.recent.failed(worker, compared.user);
        }
    }

    fn place(&self, rule: &str) -> Option<usize> {
        self.strata.iter().position(|stratum| stratum.rule() == rule)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Method};
    use routing_rules::release::{Group, Moment, ReleaseState, Secret};
    use routing_rules::rules::Release;
    use routing_rules::spec::{Percent, ReleaseSpec};

    use super::*;

    fn release(audience: &str, salt: u8) -> Assigner {
        release_by("\"client_ip\"", audience, salt)
    }

    /// By this sticky key.
    fn release_by(key: &str, audience: &str, salt: u8) -> Assigner {
        let text = format!(
            "{{\"stable\": \"a\", \"canary\": \"b\", \"audience\": [{audience}], \
             \"sticky\": {{\"key\": [{key}], \"salt\": \"{salt:032x}\"}}}}"
        );
        let spec: ReleaseSpec = serde_json::from_str(&text).expect("a release");
        let rules = Release::new("r", &spec, &mut Vec::new()).expect("it is right");
        Assigner::new(Arc::new(rules.clone()), &ReleaseState::initial(&rules), &Secret::default())
    }

    /// A request from this address that fails.
    fn fail(comparison: &Comparison, assigner: &Assigner, client: [u8; 4]) {
        let headers = HeaderMap::new();
        let request = RequestView::new(&Method::GET, "h", "/", &headers, client.into());
        let assignment = assigner.assign(&request, &Moment { unix_secs: 1_000, draw: [1, 2] });
        comparison.saw(0, &request, &assignment, 1_000);
        comparison.count(0, &Compared::new(&assignment).expect("a user"), None, FirstAttempt::Failed);
    }

    fn failed(comparison: &Comparison) -> Vec<(&str, u64)> {
        let strata = comparison.strata().iter();
        strata
            .map(|stratum| (stratum.rule(), stratum.totals().canary.failed + stratum.totals().control().failed))
            .collect()
    }

    #[test]
    fn who_is_known_by_the_address_only_is_counted_besides() {
        for (key, expected) in [(r#""client_ip""#, 0), (r#"{"cookie": "uid"}, "client_ip""#, 2)] {
            let rules = release_by(key, ALL, 1);
            let comparison = Comparison::new(&rules, 1);
            fail(&comparison, &rules, [192, 0, 2, 1]);
            fail(&comparison, &rules, [192, 0, 2, 2]);
            let totals = comparison.strata()[0].totals();
            assert_eq!(totals.canary_without_cookie + totals.control_without_cookie, expected);
        }
    }

    fn seen(comparison: &Comparison) -> Vec<Option<usize>> {
        let mut places: Vec<_> = comparison.recent_users().iter().map(|user| user.rule).collect();
        places.sort();
        places
    }

    const OFFICE: &str = r#"{"name": "office", "ip": ["10.0.0.0/8"], "percent": 50}"#;
    const LAB: &str = r#"{"name": "lab", "ip": ["172.16.0.0/12"], "percent": 50}"#;
    const ALL: &str = r#"{"name": "all", "percent": 10}"#;

    #[test]
    fn what_was_counted_belongs_to_the_rules_name() {
        let before = release(&format!("{OFFICE}, {ALL}"), 1);
        let first = Comparison::new(&before, 1);
        fail(&first, &before, [10, 0, 0, 1]);
        fail(&first, &before, [192, 0, 2, 1]);
        fail(&first, &before, [192, 0, 2, 2]);
        assert_eq!(failed(&first), [("office", 1), ("all", 2)]);
        assert_eq!(seen(&first), [Some(0), Some(1), Some(1)]);

        let rules = release(&format!("{LAB}, {ALL}"), 1);
        let second = first.next(&rules);
        assert_eq!(failed(&second), [("lab", 0), ("all", 2)]);
        assert_eq!(seen(&second), [None, Some(1), Some(1)]);
        fail(&second, &rules, [172, 16, 0, 1]);
        // A request that is under way during the change counts where it began.
        fail(&first, &before, [192, 0, 2, 3]);
        assert_eq!(failed(&second), [("lab", 1), ("all", 3)]);
        assert_eq!(seen(&second), [None, Some(0), Some(1), Some(1), Some(1)]);

        // A rule that comes back is another one: who met the first may not meet it.
        let third = second.next(&release(&format!("{ALL}, {LAB}, {OFFICE}"), 1));
        assert_eq!(failed(&third), [("all", 3), ("lab", 1), ("office", 0)]);
        assert_eq!(seen(&third), [None, Some(0), Some(0), Some(0), Some(1)]);
    }

    #[test]
    fn buckets_of_another_salt_are_nobodys() {
        let first = Comparison::new(&release(ALL, 1), 1);
        fail(&first, &release(ALL, 1), [192, 0, 2, 1]);
        assert!(first.recent_users().iter().all(|user| user.has_failed));
        let second = first.next(&release(ALL, 2));
        assert_eq!((failed(&second), seen(&second)), (vec![("all", 1)], vec![]));
    }

    #[test]
    fn names_do_not_run_out() {
        let mut comparison = Comparison::new(&release(OFFICE, 1), 1);
        for number in 0..70_000_u32 {
            let text = format!(r#"{{"name": "rule {number}", "percent": 10}}"#);
            let rules = release(&text, 1);
            comparison = comparison.next(&rules);
            if number % 1_000 == 0 {
                fail(&comparison, &rules, [192, 0, (number / 1_000) as u8, 1]);
                let users = comparison.recent_users();
                assert_eq!(users.iter().filter(|user| user.rule == Some(0)).count(), 1, "{number}");
            }
        }
    }

    #[test]
    fn before_a_release_those_who_come_first_are_compared_on_their_own() {
        let text = r#"{"stable": "a", "canary": "b", "audience": [{"name": "all"}], "phases": [0, 50, 100],
            "sticky": {"key": ["client_ip"]}}"#;
        let rules = Release::new("r", &serde_json::from_str(text).unwrap(), &mut Vec::new()).unwrap();
        let in_phase = |points, salts| {
            let state = ReleaseState::initial(&rules).with_percent(Percent::from_basis_points(points).unwrap());
            Assigner::new(Arc::new(rules.with_another_salt(salts)), &state, &Secret::default())
        };
        let sides = |comparison: &Comparison| {
            let totals = comparison.strata()[0].totals();
            [totals.canary.failed, totals.control().failed]
        };
        let fail_all = |comparison: &Comparison, assigner: &Assigner| {
            (1..=40).for_each(|host| fail(comparison, assigner, [192, 0, 2, host]));
        };
        let assigner = in_phase(0, 0);
        let before = Comparison::new(&assigner, 1);
        fail_all(&before, &assigner);
        let [first, others] = sides(&before);
        assert!(first > 5 && others > 5 && first + others == 40, "{first} {others}");
        assert!(
            before.recent_users().iter().all(|user| user.group == Group::Stable),
            "nobody is in the canary group yet"
        );

        let reshuffled = before.next(&in_phase(0, 1));
        assert_eq!((sides(&reshuffled), reshuffled.recent_users().len()), ([0, 0], 0));
        let assigner = in_phase(5_000, 0);
        let begun = before.next(&assigner);
        assert_eq!(sides(&begun), [0, 0]);
        fail_all(&begun, &assigner);
        assert_eq!(sides(&begun), [first, others], "those who were compared before are those who come in");
        assert_eq!(sides(&begun.next(&in_phase(6_000, 0))), [first, others]);
    }
}
