//! The stride schedule and splits: vectors of the specification, and what must hold for all weights.

use routing_rules::balance::{Schedule, Split};

use crate::random::Random;

#[test]
fn stride_as_specified() {
    let schedule = Schedule::new(&[1.0, 0.5, 0.25]);
    let mut seq = 0;
    assert_eq!(picks(&schedule, &mut seq, 14), [0, 1, 2, 0, 0, 1, 0, 2, 0, 1, 0, 0, 1, 0]);
    assert_eq!(seq, 22);

    let schedule = Schedule::new(&[4.0, 1.0, 1.0 / 16.0]);
    assert_eq!(counts(&picks(&schedule, &mut 0, 100_000), 3), [79_012, 19_753, 1_235]);
}

#[test]
fn only_ratios_count() {
    for factor in [1e-300, 1e-6, 3.0, 1e300] {
        assert_eq!(Schedule::new(&[factor, factor / 2.0, factor / 4.0]), Schedule::new(&[1.0, 0.5, 0.25]), "{factor}");
    }
}

#[test]
fn nobody_takes_part() {
    for weights in [&[][..], &[0.0], &[0.0, -0.0, 0.0], &[-1.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]] {
        let schedule = Schedule::new(weights);
        for start in [0, 5, u64::MAX - 1] {
            let mut seq = start;
            assert_eq!(schedule.next(&mut seq), None, "{weights:?}");
        }
        assert_eq!((schedule.len(), schedule.is_empty()), (weights.len(), weights.is_empty()));
    }
}

#[test]
fn what_is_not_a_weight_takes_no_part() {
    let schedule = Schedule::new(&[f64::NAN, 1.0, -3.0, f64::INFINITY, f64::MIN_POSITIVE]);
    let counts = counts(&picks(&schedule, &mut 0, 200_000), 5);
    // The smallest weight still gets its turn once in 65,535: that is how it shows that it is well again.
    assert_eq!((counts[0], counts[1] + counts[4], counts[2], counts[3]), (0, 200_000, 0, 0));
    assert!((3..=4).contains(&counts[4]), "{counts:?}");
}

/// The schedule is the formula of the specification, walked one number after the other.
#[test]
fn agrees_with_the_formula() {
    let mut random = Random(5);
    for case in 0..300 {
        let weights: Vec<f64> = (0..1 + random.next() % 40).map(|_| (random.next() % 17) as f64).collect();
        let largest = weights.iter().copied().fold(0.0, f64::max);
        if largest == 0.0 {
            continue;
        }
        let n = weights.len() as u128;
        let accepts = |seq: u64| {
            let (k, i) = (u128::from(seq) / n, u128::from(seq) % n);
            let weight = weights[i as usize];
            let w16 = if weight == 0.0 { 0 } else { (65_535.0 * weight / largest).round().max(1.0) as u128 };
            (w16 > 0 && (w16 * k + 32_767 * i) % 65_535 >= 65_535 - w16).then_some(i as usize)
        };
        let schedule = Schedule::new(&weights);
        let start = if case % 2 == 0 { random.next() % 1_000 } else { random.next() };
        let (mut seq, mut naive) = (start, start);
        for _ in 0..300 {
            let expected = loop {
                let accepted = accepts(naive);
                naive = naive.wrapping_add(1);
                if let Some(index) = accepted {
                    break index;
                }
            };
            assert_eq!(schedule.next(&mut seq), Some(expected), "{weights:?} from {start}");
            assert_eq!(seq, naive);
        }
    }
}

/// In 65,535 rounds every endpoint is accepted as often as its weight says, to the last one; and wherever one looks
/// in between, no endpoint is more than one turn early or late.
#[test]
fn turns_are_exact_and_even() {
    let weights = [1.0, 0.9, 1.0 / 3.0, 0.25, 0.01, 1.0 / 65_535.0];
    let schedule = Schedule::new(&weights);
    let w16 = weights.map(|weight| (65_535.0 * weight).round() as u64);
    for (position, weight) in w16.into_iter().enumerate() {
        let mut turns = 0;
        for generation in 0..65_535 {
            turns += u64::from(schedule.accepts(generation, position));
            let due = (generation + 1) as f64 * weight as f64 / 65_535.0;
            assert!(
                (turns as f64 - due).abs() < 1.0 + 1e-9,
                "{position} in round {generation}: {turns} turns, {due} due"
            );
        }
        assert_eq!(turns, weight, "{position}");
    }
}

#[test]
fn the_sequence_number_may_wrap_around() {
    for weights in [&[1.0][..], &[0.0, 0.0, 1.0], &[1.0, 0.25, 0.0, 0.5, 0.0]] {
        let schedule = Schedule::new(weights);
        let mut seq = u64::MAX - 20;
        let picks = picks(&schedule, &mut seq, 60);
        assert!(picks.iter().all(|index| weights[*index] > 0.0));
        assert!(seq < 400);
    }
}

#[test]
fn splits() {
    assert_eq!(Split::new(&[]), None);
    assert_eq!(Split::new(&[0, 0]), None);
    let split = Split::new(&[0, 90, 0, 10, 0]).unwrap();
    assert_eq!((split.pick(0), split.pick(u64::MAX)), (1, 3));
    // 90 of 100 parts of all draws; the first draw beyond them belongs to the next part.
    let edge = ((90_u128 << 64) / 100) as u64;
    assert_eq!((split.pick(edge), split.pick(edge + 1)), (1, 3));
    let one = Split::new(&[u32::MAX]).unwrap();
    assert_eq!((one.pick(0), one.pick(u64::MAX)), (0, 0));
    let many = Split::new(&[u32::MAX; 1_000]).unwrap();
    assert_eq!((many.pick(0), many.pick(u64::MAX)), (0, 999));
}

#[test]
fn splits_are_true() {
    let weights = [1, 0, 2, 7, 90, 900];
    let split = Split::new(&weights).unwrap();
    let mut random = Random(9);
    let picks: Vec<usize> = (0..1_000_000).map(|_| split.pick(random.next())).collect();
    // Six standard errors: chance does not reach them in one run of 500 million.
    for (count, weight) in counts(&picks, 6).into_iter().zip(weights) {
        let share = f64::from(weight) / 1_000.0;
        let (expected, error) = (1e6 * share, (1e6 * share * (1.0 - share)).sqrt());
        assert!((count as f64 - expected).abs() <= 6.0 * error, "weight {weight}: {count}");
    }
}

fn picks(schedule: &Schedule, seq: &mut u64, count: usize) -> Vec<usize> {
    (0..count).map(|_| schedule.next(seq).unwrap()).collect()
}

fn counts(picks: &[usize], len: usize) -> Vec<usize> {
    let mut counts = vec![0; len];
    picks.iter().for_each(|index| counts[*index] += 1);
    counts
}
