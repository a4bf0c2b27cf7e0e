//! The analyses of a fleet, as whoever leads it keeps them: by window, and by what was kept when others led.

use std::collections::{BTreeMap, HashMap};

use routing_rules::rules::{Name, Release};

use super::super::course::Course;
use super::super::known::StoredAnalysis;
use super::super::total::total;
use super::gathering::Closable;
use super::kept::{Kept, KeptBlock, Unreadable};
use crate::control_path::etcd::Value;

/// All courses that were kept, or have begun since.
#[derive(Default)]
pub(super) struct Bench {
    seats: HashMap<Name, Seat>,
}

/// What is known of a release.
#[derive(Default)]
struct Seat {
    course: Option<Box<Course>>,
    /// That wrote what was kept last; 0 for nothing.
    revision: i64,
    /// A later version has written it, and knows what it does: it is left alone.
    is_newer: bool,
}

/// What is to be kept of a release after a window, at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) text: String,
    /// Five minutes that are over, by number.
    pub(super) blocks: Vec<(u64, String)>,
    /// The revision that must have written what is there.
    pub(super) behind: i64,
}

impl Bench {
    /// Goes on with what is kept: states by release, and five minutes of control by release and number.
    pub(super) fn of<'k>(
        states: impl Iterator<Item = (&'k str, &'k Value)>,
        blocks: impl Iterator<Item = (&'k str, &'k Value)>,
    ) -> Self {
        let mut by_release: BTreeMap<&str, Vec<KeptBlock>> = BTreeMap::new();
        for (release, value) in blocks.filter_map(|(rest, value)| Some((rest.rsplit_once('/')?.0, value))) {
            match KeptBlock::read(&value.bytes) {
                Ok(block) => by_release.entry(release).or_default().push(block),
                Err(reason) => {
                    tracing::warn!(release, ?reason, "five minutes of control cannot be read: they are not known")
                }
            }
        }
        let mut bench = Self::default();
        for (release, value) in states {
            let Ok(name) = Name::new(release) else { continue };
            let mut blocks = by_release.remove(release).unwrap_or_default();
            blocks.sort_by_key(KeptBlock::number);
            bench.seats.insert(name, Seat::of(release, value, blocks));
        }
        bench
    }

    /// Takes a window of a release with these rules, while this one (`now`) is under way. `None` if it is done with, or nobody says
    /// anything of it.
    pub(super) fn close(&mut self, rules: &Release, closable: &Closable, now: u64) -> Option<Closed> {
        let seat = self.seats.entry(rules.name().clone()).or_default();
        if seat.is_newer {
            return None;
        }
        // If others say that it is later than this clock does, it is this one that is wrong.
        let is_ahead = |course: &&mut Box<Course>| course.is_ahead(now) && !closable.is_behind;
        if let Some(course) = seat.course.as_mut().filter(is_ahead) {
            tracing::warn!(release = rules.name().as_str(), "the clock of who led was ahead: the phase is judged anew");
            // What was reported before may have been taken, under another number.
            course.set_back(rules, now);
        }
        let is_done = |course: &Course| course.is_of(rules) && !course.awaits(closable.window);
        if seat.course.as_deref().is_some_and(is_done) {
            return None;
        }
        let reports: Vec<_> = closable.reports.values().collect();
        let mut total = total(rules, &reports, u32::try_from(closable.absent.len()).unwrap_or(u32::MAX))?;
        total.late = closable.late.get(rules.name()).copied().unwrap_or(0);
        seat.course.take_if(|course| !course.is_of(rules));
        let course = seat.course.get_or_insert_with(|| Box::new(Course::new(rules, StoredAnalysis::default())));
        let over = course.take(rules, closable.window, &total);
        let text = |number| Some((number, KeptBlock::of(course, number)?.text()));
        let blocks = over.into_iter().filter_map(text).collect();
        Some(Closed { text: Kept::of(course)?.text(), blocks, behind: seat.revision })
    }

    /// It was kept, at this revision.
    pub(super) fn keep(&mut self, release: &Name, revision: i64) {
        if let Some(seat) = self.seats.get_mut(release) {
            seat.revision = revision;
        }
    }
}

impl Seat {
    fn of(release: &str, value: &Value, blocks: Vec<KeptBlock>) -> Self {
        let revision = value.mod_revision;
        match Kept::read(&value.bytes).and_then(|kept| kept.course(blocks)) {
            Ok(course) => Self { course: Some(Box::new(course)), revision, is_newer: false },
            Err(Unreadable::Newer(form)) => {
                tracing::error!(release, form, "a later version keeps this analysis: it does not go on here");
                Self { course: None, revision, is_newer: true }
            }
            Err(Unreadable::Damaged(reason)) => {
                tracing::error!(release, reason, "what was kept of this analysis cannot be read: it begins anew");
                Self { course: None, revision, is_newer: false }
            }
        }
    }
}
