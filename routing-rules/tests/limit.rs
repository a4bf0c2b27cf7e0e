//! Token buckets, their table, and doors: vectors, and what must hold for any traffic.

use std::collections::VecDeque;
use std::time::Duration;

use routing_rules::limit::{Door, Entry, Places, Rate, Slot, slot};

const MS: u64 = 1_000;

#[test]
fn a_burst_and_then_the_rate() {
    let rate = Rate::new(100, Duration::from_secs(1), 5);
    let mut full_at = 0;
    let mut granted = Vec::new();
    for now_us in (0..100 * MS).step_by(1_000) {
        if let Ok(next) = rate.take(full_at, 1_000_000 + now_us) {
            full_at = next;
            granted.push(now_us / MS);
        }
    }
    assert_eq!(granted, [0, 1, 2, 3, 4, 10, 20, 30, 40, 50, 60, 70, 80, 90]);
    // After a pause the burst is back, and no more than the burst.
    let later = 10_000_000;
    let granted = (0..50).filter(|_| rate.take(full_at, later).map(|next| full_at = next).is_ok()).count();
    assert_eq!(granted, 5);
    assert!(!Rate::is_full(full_at, later) && Rate::is_full(full_at, later + 50 * MS));
}

#[test]
fn who_waits_as_told_is_let_in() {
    for (count, per_s, burst) in [(1, 1, 1), (3, 1, 1), (10, 60, 2), (1, 3_600, 1), (1_000_000, 1, 7)] {
        let rate = Rate::new(count, Duration::from_secs(per_s), burst);
        let (mut full_at, now_us) = (0, 123_456_789);
        let wait = loop {
            match rate.take(full_at, now_us) {
                Ok(next) => full_at = next,
                Err(wait) => break wait,
            }
        };
        assert!(rate.take(full_at, now_us + wait.us()).is_ok());
        assert!(rate.take(full_at, now_us + wait.us() - 1).is_err());
        assert!(rate.take(full_at, now_us + wait.retry_after_s() * 1_000_000).is_ok());
    }
    let hourly = Rate::new(1, Duration::from_secs(3_600), 1);
    assert_eq!(hourly.take(hourly.take(0, 0).unwrap(), 1).unwrap_err().retry_after_s(), 3_600);
}

/// In any stretch of time no more than the burst and what the rate gives in it.
#[test]
fn never_more_than_burst_and_rate() {
    let mut random = Random(2);
    for case in 0..100 {
        let (count, burst) = (1 + random.below(1_000) as u32, 1 + random.below(50) as u32);
        let rate = Rate::new(count, Duration::from_secs(1), burst);
        let (mut full_at, mut now_us) = (0, 0);
        let mut granted = VecDeque::new();
        for _ in 0..2_000 {
            now_us += random.below(4_000);
            if let Ok(next) = rate.take(full_at, now_us) {
                full_at = next;
                granted.push_back(now_us);
            }
        }
        for (first, from) in granted.iter().enumerate() {
            for (last, to) in granted.iter().enumerate().skip(first).step_by(17) {
                let most = f64::from(burst) + (to - from) as f64 / 1e6 * f64::from(count);
                assert!((last - first + 1) as f64 <= most + 1e-3 + 1e-6 * most, "case {case}: {from} to {to}");
            }
        }
    }
}

#[test]
fn no_numbers_panic() {
    for (count, per, burst) in [(0, 0, 0), (u32::MAX, 1, u32::MAX), (1, u64::MAX, u32::MAX)] {
        let rate = Rate::new(count, Duration::from_secs(per), burst);
        for full_at in [0, 1, u64::MAX] {
            for now_us in [0, 1, u64::MAX] {
                if let Err(wait) = rate.take(full_at, now_us) {
                    assert!(wait.us() > 0);
                }
            }
        }
    }
}

#[test]
fn the_fullest_bucket_gives_way() {
    assert_eq!(slot(&[], 5, 0), None);
    let set = [(1, 900_000), (2, 700_000), (3, 800_000)];
    assert_eq!(slot(&set, 3, 0), Some(Slot::Found(2)));
    assert_eq!(slot(&set, 4, 699), Some(Slot::Evicts(1)));
    assert_eq!(slot(&set, 4, 700), Some(Slot::Free(1)));
    assert_eq!(slot(&[(0, 0)], 0, 0), Some(Slot::Free(0)), "an empty slot holds no key, not even 0");
}

#[test]
fn doors() {
    let places = Places { in_flight: 2, queue: 1 };
    let door = |in_flight, waiting| Door { in_flight, waiting };
    assert_eq!(door(0, 0).enter(places), Entry::Enter(door(1, 0)));
    assert_eq!(door(2, 0).enter(places), Entry::Wait(door(2, 1)));
    assert_eq!(door(2, 1).enter(places), Entry::Full);
    assert_eq!(door(1, 1).enter(places), Entry::Full, "nobody overtakes");
    assert_eq!((door(2, 1).leave(), door(0, 1).leave()), (door(1, 1), door(0, 1)));
    assert_eq!(door(1, 1).call(places), Some(door(2, 0)));
    assert_eq!((door(1, 0).call(places), door(2, 1).call(places)), (None, None));
    assert_eq!(door(2, 0).uncall(), door(1, 1));
    assert_eq!(door(2, 1).give_up(), door(2, 0));
    assert_eq!(door(0, 0).give_up(), door(0, 0));
    assert_eq!(Door::default().enter(Places { in_flight: 0, queue: 0 }), Entry::Full);
    assert_eq!(Door::from_bits(door(7, u32::MAX).bits()), door(7, u32::MAX));
}

/// Any traffic, under limits that change: the door counts right, keeps the limits, and leaves nobody waiting at a free place.
#[test]
fn a_door_never_loses_count() {
    let mut random = Random(4);
    let (mut door, mut in_flight, mut waiting) = (Door::default(), 0_u32, 0_u32);
    let mut places = Places { in_flight: 3, queue: 3 };
    for step in 0..100_000 {
        match random.below(if step % 1_000 == 0 { 4 } else { 3 }) {
            0 => match door.enter(places) {
                Entry::Enter(next) => (door, in_flight) = (next, in_flight + 1),
                Entry::Wait(next) => (door, waiting) = (next, waiting + 1),
                Entry::Full => assert!(waiting >= places.queue || places.in_flight == 0),
            },
            1 if in_flight > 0 => {
                (door, in_flight) = (door.leave(), in_flight - 1);
                if let Some(called) = door.call(places) {
                    (door, in_flight, waiting) = (called, in_flight + 1, waiting - 1);
                }
            }
            2 if waiting > 0 => (door, waiting) = (door.give_up(), waiting - 1),
            3 => {
                places = Places { in_flight: random.below(6) as u32, queue: random.below(6) as u32 };
                while let Some(called) = door.call(places) {
                    (door, in_flight, waiting) = (called, in_flight + 1, waiting - 1);
                }
            }
            _ => {}
        }
        assert_eq!(door, Door { in_flight, waiting });
        assert!(waiting == 0 || in_flight >= places.in_flight, "somebody waits at a free place");
    }
}

/// SplitMix64: the same numbers in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
