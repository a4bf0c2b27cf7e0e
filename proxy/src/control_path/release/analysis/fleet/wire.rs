//! What an instance saw in a window, as a text. Nothing that is read is trusted: it may be another version's, or damaged.

use std::collections::BTreeMap;

use routing_rules::analysis::{Arm, Histogram, Latency, Record};
use routing_rules::rules::Name;
use routing_rules::spec::Percent;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::super::observed::{Seen, Stage};
use super::super::reporter::Report;
use super::super::sixteenths::Sixteenths;
use crate::snapshot::{Outcomes, SIXTEEN};

/// A report but for its window, which is in the key. Later versions may add fields.
#[derive(Serialize)]
struct ReportText<'r> {
    form: u32,
    left_out: u64,
    leaves: bool,
    releases: BTreeMap<&'r str, Box<RawValue>>,
}

#[derive(Deserialize)]
struct ReadReport {
    form: u32,
    #[serde(default)]
    left_out: u64,
    #[serde(default)]
    leaves: bool,
    releases: BTreeMap<String, SeenText>,
}

/// Short, because each instance writes it every five seconds.
#[derive(Serialize, Deserialize)]
struct SeenText {
    /// The upstreams: stable, canary.
    of: (String, String),
    stage: (u64, u64, u32, u16, bool),
    /// Other salts that were tried.
    #[serde(default, skip_serializing_if = "is_none_yet")]
    salts: u8,
    /// Whether users have ever been in the canary group by the phases.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    begun: bool,
    whole: bool,
    /// The canary's, and control's.
    rules: BTreeMap<String, (ArmText, ArmText)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block: Option<BlockText>,
}

/// Requests, failed ones, users with a failure, requests without a cookie, latencies.
type ArmText = (u64, u64, u64, u64, Counts);

/// By place of latency.
pub(super) type Counts = Vec<(u8, u64)>;

#[derive(Serialize, Deserialize)]
struct BlockText {
    users: Vec<RowText>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    endpoints: Option<Vec<RowText>>,
}

/// Failed requests, those whose time says nothing, latencies.
type RowText = (u64, u64, Counts);

/// As a text of at most [`MOST_BYTES`], and how much of it there was no room for.
pub(super) fn write(report: &Report) -> (String, u64) {
    let mut room = MOST_BYTES - HEAD;
    let (mut left_out, mut releases) = (report.left_out, BTreeMap::new());
    for (name, seen) in &report.releases {
        match fitting(raw(&SeenText::of(seen, false)), name.as_str().len() + AROUND, &mut room) {
            Some(text) => drop(releases.insert(name.as_str(), text)),
            None => left_out += 1,
        }
    }
    // The same with five minutes, as far as there is room left: those are seldom, and missed less.
    for (name, seen) in report.releases.iter().filter(|(_, seen)| seen.block.is_some()) {
        let Some(short) = releases.get_mut(name.as_str()) else { continue };
        room += short.get().len();
        match fitting(raw(&SeenText::of(seen, true)), 0, &mut room) {
            Some(text) => *short = text,
            None => {
                room -= short.get().len();
                left_out += 1;
            }
        }
    }
    let text = ReportText { form: FORM, left_out, leaves: report.leaves, releases };
    (serde_json::to_string(&text).expect("names and numbers are JSON"), left_out)
}

fn raw(seen: &SeenText) -> Box<RawValue> {
    to_raw_value(seen).expect("names and numbers are JSON")
}

fn fitting(text: Box<RawValue>, around: usize, room: &mut usize) -> Option<Box<RawValue>> {
    *room = room.checked_sub(text.get().len() + around)?;
    Some(text)
}

/// What a text says of this window.
///
/// # Errors
/// It is none that this version writes, or says what cannot be.
pub(super) fn read(window: u64, text: &[u8]) -> Result<Report, String> {
    if text.len() > MOST_BYTES {
        return Err(format!("it is longer than {MOST_BYTES} bytes"));
    }
    let read: ReadReport = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if read.form != FORM {
        return Err(format!("it has form {}, which is not known here", read.form));
    }
    let seen = |(name, seen): (String, SeenText)| Ok((Name::new(&name)?, seen.read()?));
    let releases = read.releases.into_iter().map(seen).collect::<Result<_, String>>()?;
    Ok(Report { window, releases, left_out: read.left_out, leaves: read.leaves })
}

impl SeenText {
    fn of(seen: &Seen, with_block: bool) -> Self {
        let Stage { stable, canary, number, began, epoch, salts, has_begun, percent, is_active } = &seen.stage;
        let rules = seen.rules.iter();
        let rules = rules.map(|(name, record)| (name.to_string(), (arm(&record.canary), arm(&record.control))));
        Self {
            of: (stable.to_string(), canary.to_string()),
            stage: (*number, *began, *epoch, percent.basis_points(), *is_active),
            salts: *salts,
            begun: *has_begun,
            whole: seen.is_whole,
            rules: rules.collect(),
            block: seen.block.as_deref().filter(|_| with_block).map(BlockText::of),
        }
    }

    fn read(self) -> Result<Seen, String> {
        let (number, began, epoch, percent, is_active) = self.stage;
        let percent = Percent::from_basis_points(percent).ok_or("there is no such percent")?;
        let (stable, canary) = (Name::new(&self.of.0)?, Name::new(&self.of.1)?);
        let record = |(rule, (canary, control)): (String, _)| {
            Ok((rule.into_boxed_str(), Record { canary: read_arm(canary)?, control: read_arm(control)? }))
        };
        Ok(Seen {
            stage: Stage {
                stable,
                canary,
                number,
                began,
                epoch,
                salts: self.salts,
                has_begun: self.begun,
                percent,
                is_active,
            },
            is_whole: self.whole,
            rules: self.rules.into_iter().map(record).collect::<Result<_, String>>()?,
            block: self.block.map(BlockText::read).transpose()?,
        })
    }
}

impl BlockText {
    fn of(block: &Sixteenths) -> Self {
        let rows = |rows: &[Outcomes; SIXTEEN]| rows.iter().map(row).collect();
        let endpoints = block.has_many_endpoints.then(|| rows(&block.endpoints));
        Self { users: rows(&block.users), endpoints }
    }

    fn read(self) -> Result<Box<Sixteenths>, String> {
        let mut block = Box::<Sixteenths>::default();
        block.users = read_rows(self.users)?;
        if let Some(endpoints) = self.endpoints {
            (block.endpoints, block.has_many_endpoints) = (read_rows(endpoints)?, true);
        }
        Ok(block)
    }
}

fn is_none_yet(salts: &u8) -> bool {
    *salts == 0
}

fn arm(arm: &Arm) -> ArmText {
    (arm.requests, arm.failed, arm.failing_users, arm.without_cookie, counts(&arm.latencies))
}

fn read_arm((requests, failed, failing_users, without_cookie, latencies): ArmText) -> Result<Arm, String> {
    let latencies = read_counts(latencies)?;
    let answers = latencies.total().checked_add(failed);
    if [requests, failing_users, without_cookie].into_iter().any(|count| count > MOST)
        || answers.is_none_or(|answers| answers > requests)
    {
        return Err("it counts what cannot be".to_owned());
    }
    Ok(Arm { requests, failed, latencies, failing_users, without_cookie })
}

pub(super) fn counts(latencies: &Histogram) -> Counts {
    latencies.iter().filter_map(|(step, count)| Some((u8::try_from(step.place()).ok()?, count))).collect()
}

pub(super) fn read_counts(counts: Counts) -> Result<Histogram, String> {
    let step = |(place, count): (u8, u64)| {
        let place = usize::from(place);
        (place < Latency::COUNT && count <= MOST).then_some((Latency::at_place(place), count)).ok_or(NO_LATENCY)
    };
    Ok(counts.into_iter().map(step).collect::<Result<_, _>>()?)
}

fn row(outcomes: &Outcomes) -> RowText {
    let latencies = outcomes.latencies.iter().enumerate().filter(|(_, count)| **count > 0);
    let latencies = latencies.filter_map(|(place, count)| Some((u8::try_from(place).ok()?, *count)));
    (outcomes.failed, outcomes.untimed, latencies.collect())
}

fn read_rows(rows: Vec<RowText>) -> Result<[Outcomes; SIXTEEN], String> {
    let rows = rows.into_iter().map(read_row).collect::<Result<Vec<_>, _>>()?;
    rows.try_into().map_err(|rows: Vec<_>| format!("it has {} sixteenths", rows.len()))
}

fn read_row((failed, untimed, counts): RowText) -> Result<Outcomes, String> {
    let mut outcomes = Outcomes { failed, untimed, ..Outcomes::default() };
    if failed > MOST || untimed > MOST {
        return Err("it counts what cannot be".to_owned());
    }
    for (place, count) in counts {
        let cell = outcomes.latencies.get_mut(usize::from(place)).filter(|_| count <= MOST);
        *cell.ok_or(NO_LATENCY)? = count;
    }
    Ok(outcomes)
}

/// The only form there has been.
const FORM: u32 = 1;

/// etcd takes 1.5 MiB in a request by default.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// What a text has besides its releases, and besides a release and its name.
const HEAD: usize = 200;
const AROUND: usize = 8;

/// More than any process counts in five minutes, and so few that no sum of all of them is too large.
pub(super) const MOST: u64 = 1 << 40;

const NO_LATENCY: &str = "it has a latency that there is not";
