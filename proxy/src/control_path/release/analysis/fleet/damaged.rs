//! Whatever etcd has under these keys, reading it and going on from it ends nothing: thousands of texts, each damaged in some
//! places, at random but the same ones every time.

use std::collections::BTreeSet;

use routing_rules::rules::Release;

use super::bench::Bench;
use super::gathering::Gathering;
use super::tests::{
    FIRST, Random, Stored, recorded_before, replay, replay_of, report, rules, rules_with_preflight, seen, stage_before,
};
use super::wire;
use crate::control_path::etcd::Value;
use crate::control_path::release::analysis::observed::Seen;

/// A text with some numbers replaced, some bytes flipped, or its end cut off.
fn damaged(text: &str, random: &mut Random) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=random.below(3) {
        match random.below(8) {
            0 => bytes.truncate(random.below(bytes.len() as u64 + 1) as usize),
            1 | 2 => {
                let place = random.below(bytes.len().max(1) as u64) as usize;
                if let Some(byte) = bytes.get_mut(place) {
                    *byte ^= 1 << random.below(8);
                }
            }
            _ => another_number(&mut bytes, random),
        }
    }
    bytes
}

fn another_number(bytes: &mut Vec<u8>, random: &mut Random) {
    let begins = |place: &usize| bytes[*place].is_ascii_digit() && (*place == 0 || !bytes[place - 1].is_ascii_digit());
    let places: Vec<usize> = (0..bytes.len()).filter(begins).collect();
    let Some(&begin) = places.get(random.below(places.len().max(1) as u64) as usize) else { return };
    let length = bytes[begin..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = NUMBERS[random.below(NUMBERS.len() as u64) as usize];
    bytes.splice(begin..begin + length, number.bytes());
}

const NUMBERS: [&str; 12] = [
    "0",
    "1",
    "-1",
    "2.5",
    "255",
    "65536",
    "4294967295",
    "1099511627776",
    "1099511627777",
    "9223372036854775807",
    "18446744073709551615",
    "1e308",
];

#[test]
fn what_is_kept_may_be_damaged_anywhere() {
    let (kept, stored) = replay(&[]);
    let texts: Vec<&String> = [0, 59, 149, 200, 260, 399].iter().map(|since| &kept[&(FIRST + since)]).collect();
    may_be_damaged(&rules(), &texts, &stored, &seen(50, 2));
    let rules = rules_with_preflight();
    let (kept, stored) = replay_of(&rules, &recorded_before(), &[]);
    let texts: Vec<&String> = [0, 40, 79, 80, 120, 179].iter().map(|since| &kept[&(FIRST + since)]).collect();
    may_be_damaged(&rules, &texts, &stored, &Seen { stage: stage_before(1), ..seen(50, 2) });
}

/// What was kept of a release with these rules, of which this is seen next.
fn may_be_damaged(rules: &Release, texts: &[&String], stored: &Stored, seen: &Seen) {
    let mut random = Random(5);
    let (mut usable, rounds) = (0, 10_000);
    for round in 0..rounds {
        let mut value = |text: &str| {
            let bytes = if random.below(3) == 0 { text.as_bytes().to_vec() } else { damaged(text, &mut random) };
            Value { bytes: bytes.into(), mod_revision: 7, create_revision: 1, lease: 0 }
        };
        let state = value(texts[round % texts.len()]);
        let text = |value: &Value| String::from_utf8(value.bytes.to_vec()).expect("it was written as one");
        let blocks: Vec<(&String, Value)> =
            stored.blocks.iter().map(|(rest, block)| (rest, value(&text(block)))).collect();
        let states = [("r", &state)].into_iter();
        let mut bench = Bench::of(states, blocks.iter().map(|(rest, value)| (rest.as_str(), value)));
        usable += usize::from(closes(&mut bench, rules, seen, FIRST + 405 + round as u64 % 60));
    }
    assert!(usable > rounds / 4, "only {usable} of {rounds} could be gone on from");
}

/// Takes the windows up to the end of five minutes. Whether the first was taken.
fn closes(bench: &mut Bench, rules: &Release, seen: &Seen, first: u64) -> bool {
    let mut gathering = Gathering::default();
    let mut is_taken = false;
    for window in [first, first + 1, (first / 60 + 1) * 60 - 1] {
        let (report, unix_s) = (report(window, seen.clone()), 5 * window + 20);
        gathering.take("a", report, unix_s);
        // The last one may be one of the first two.
        if let Some(closable) = gathering.next(&BTreeSet::new(), unix_s) {
            is_taken |= bench.close(rules, &closable, window + 1).is_some();
        }
    }
    is_taken
}

#[test]
fn what_is_reported_may_be_damaged_anywhere() {
    let rules = rules();
    let (mut random, texts) = (Random(6), super::tests::recorded());
    let texts: Vec<&String> = texts.values().flatten().map(|(_, text)| text).collect();
    let (mut bench, mut gathering) = (Stored::default().bench(), Gathering::default());
    let (mut readable, rounds) = (0, 20_000);
    for round in 0..rounds {
        let window = FIRST + round as u64;
        if let Ok(report) = wire::read(window, &damaged(texts[round % texts.len()], &mut random)) {
            readable += 1;
            gathering.take("a", report, 5 * window + 20);
        }
        if let Some(closable) = gathering.next(&BTreeSet::new(), 5 * window + 20) {
            bench.close(&rules, &closable, window + 1);
        }
    }
    assert!(readable > rounds / 10, "only {readable} of {rounds} could be read");
}
