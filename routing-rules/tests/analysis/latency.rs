//! Latencies and their steps, against the definition: step i covers (2^((i−1)/8), 2^(i/8)] ms.

use routing_rules::analysis::Latency;

use crate::random::Random;

#[test]
fn every_step_begins_and_ends_where_it_should() {
    for index in -32..154 {
        let end_us = 1_000.0 * (f64::from(index) / 8.0).exp2();
        let (last_us, step) = (end_us.floor() as u64, Latency::of_us(end_us.floor() as u64));
        assert_eq!(step.index(), index, "{last_us} µs");
        assert_eq!(Latency::of_us(last_us + 1).index(), index + 1, "{last_us} µs and one more");
        assert!((step.end_ms() * 1_000.0 / end_us - 1.0).abs() < 1e-12);
        assert_eq!(Latency::at(index), step);
    }
}

#[test]
fn any_latency_is_where_logarithms_put_it() {
    let mut random = Random(1);
    for _ in 0..200_000 {
        let us = random.next() >> (20 + random.below(44));
        let defined = (8.0 * (us.max(1) as f64 / 1_000.0).log2()).ceil().clamp(-32.0, 154.0);
        assert_eq!(f64::from(Latency::of_us(us).index()), defined, "{us} µs");
    }
}

#[test]
fn both_ends_are_open() {
    for us in [0, 1, 62] {
        assert_eq!(Latency::of_us(us), Latency::QUICKEST, "{us} µs");
    }
    for us in [620_000_000, u64::from(u32::MAX), u64::MAX] {
        assert_eq!(Latency::of_us(us), Latency::SLOWEST, "{us} µs");
    }
    assert_eq!((Latency::QUICKEST.place(), Latency::SLOWEST.place() + 1), (0, Latency::COUNT));
    assert_eq!((Latency::at(i32::MIN), Latency::at(i32::MAX)), (Latency::QUICKEST, Latency::SLOWEST));
}
