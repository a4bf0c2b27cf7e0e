//! Where the edges lie, and what is slow by them.

use routing_rules::analysis::{Edges, Histogram, Latency, Metric};

use crate::random::Random;

fn histogram(counts: &[(i32, u64)]) -> Histogram {
    counts.iter().map(|(index, count)| (Latency::at(*index), *count)).collect()
}

fn indexes(edges: Edges) -> [i32; 4] {
    edges.steps().map(Latency::index)
}

#[test]
fn an_edge_is_the_first_that_few_enough_are_slower_than() {
    type Counts = &'static [(i32, u64)];
    let cases: [(Counts, [i32; 4]); 5] = [
        (&[(10, 1)], [10, 10, 10, 10]),
        // Exactly half, a quarter, 5 % and 1 % are slower: that is few enough.
        (&[(1, 500), (2, 250), (3, 200), (4, 40), (5, 10)], [1, 2, 3, 4]),
        (&[(1, 499), (2, 250), (3, 200), (4, 40), (5, 11)], [2, 3, 4, 5]),
        (&[(-32, 999), (154, 1)], [-32, -32, -32, -32]),
        (&[(-32, 1), (154, 99)], [154, 154, 154, 154]),
    ];
    for (counts, expected) in cases {
        let history = histogram(counts);
        assert_eq!(indexes(Edges::of_history([(600, &history)]).unwrap()), expected, "{counts:?}");
    }
}

#[test]
fn any_edges_agree_with_the_definition() {
    let mut random = Random(5);
    for _ in 0..300 {
        let history: Histogram = (0..20)
            .map(|_| (Latency::at(random.below(190) as i32 - 35), random.next() >> (40 + random.below(24))))
            .collect();
        let Some(edges) = Edges::of_history([(300, &history)]) else { continue };
        for (metric, slow) in [(Metric::P50, 500), (Metric::P75, 250), (Metric::P95, 50), (Metric::P99, 10)] {
            let slower = |index: i32| -> u128 {
                history.iter().filter(|(step, _)| step.index() > index).map(|(_, count)| u128::from(count)).sum()
            };
            let total = u128::from(history.total());
            let defined = (-32..=154).find(|index| slower(*index) * 1_000 <= slow * total).unwrap();
            assert_eq!(edges.of(metric).unwrap().index(), defined, "{metric}: {history:?}");
        }
        assert_eq!(edges.of(Metric::Errors), None);
    }
}

#[test]
fn older_answers_count_until_there_are_a_thousand() {
    let blocks = |each: u64| -> Vec<(u64, Histogram)> {
        // Five minutes each, and the older, the slower.
        (1..=100).map(|age: i32| (300 * age as u64, histogram(&[(age, each)]))).collect()
    };
    let slowest = |each| {
        let blocks = blocks(each);
        let edges = Edges::of_history(blocks.iter().map(|(age_s, histogram)| (*age_s, histogram)));
        edges.map(|edges| indexes(edges)[3])
    };
    assert_eq!(slowest(10_000), Some(2), "the last ten minutes");
    assert_eq!(slowest(300), Some(4), "until there are 1000");
    assert_eq!(slowest(1), Some(72), "no more than six hours");
    assert_eq!(slowest(0), None);
    assert_eq!(Edges::of_history([]), None);
}

#[test]
fn sums_saturate() {
    let mut sum = histogram(&[(3, u64::MAX), (5, 7)]);
    sum.add_all(&sum.clone());
    assert_eq!(
        (sum.total(), sum.slower_than(Latency::at(3)), sum.slower_than(Latency::at(2))),
        (u64::MAX, 14, u64::MAX)
    );
    assert!(Edges::of_history([(300, &sum)]).is_some());
}
