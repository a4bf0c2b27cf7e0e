//! Counts what came through this process, window by window, of all releases that are analysed.

use std::collections::{BTreeMap, HashMap};

use routing_rules::analysis::Window;
use routing_rules::release::Status;
use routing_rules::rules::{AnalysisMode, Name};
use routing_rules::table::CompiledRelease;

use super::observed::{Counted, Seen, Stage};
use super::sixteenths::{MANY_ENDPOINTS, Sixteenths, ends_block};
use crate::snapshot::Snapshot;

/// Looks at the counters of this process.
#[derive(Default)]
pub(super) struct Reporter {
    known: HashMap<Name, Known>,
    /// The window that is under way.
    window: u64,
}

/// A release, as it was when somebody looked last.
struct Known {
    counted: Counted,
    stage: Stage,
    block: Box<Sixteenths>,
}

/// What one process saw in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) window: u64,
    /// Only those that are analysed.
    pub(super) releases: BTreeMap<Name, Seen>,
    /// How many more there would be, or rules of them, or five minutes of them, had there been room.
    pub(super) left_out: u64,
    /// Nothing comes of this process after that.
    pub(super) leaves: bool,
}

/// Whether there is anything to be found out about a release: after its end there is nobody to compare with, and a release
/// without phases is not judged.
pub(crate) fn is_analysed(release: &CompiledRelease) -> bool {
    let rules = release.assigner.rules();
    let is_over = |status| status == Status::Completed;
    rules.analysis().mode != AnalysisMode::Off
        && !rules.phases().is_empty()
        && release.record.as_ref().is_some_and(|record| !is_over(record.state.status))
}

impl Reporter {
    /// Looks at the clock, in seconds since 1970: if a window has ended, says what came in it.
    pub(super) fn look(&mut self, snapshot: &Snapshot, unix_s: u64) -> Option<Report> {
        let window = Window::number_at(unix_s);
        if window == self.window {
            return None;
        }
        // What came before nobody looked belongs to no window; after a clock was set back there is no telling which.
        let is_window = self.window > 0 && window > self.window;
        self.window = window;
        let report = self.take(snapshot, window.saturating_sub(1), unix_s);
        is_window.then_some(report)
    }

    /// What came since the last window, of a process that ends.
    pub(super) fn leave(mut self, snapshot: &Snapshot, unix_s: u64) -> Report {
        let window = Window::number_at(unix_s).max(self.window);
        Report { leaves: true, ..self.take(snapshot, window, unix_s) }
    }

    fn take(&mut self, snapshot: &Snapshot, window: u64, unix_s: u64) -> Report {
        let mut before = std::mem::take(&mut self.known);
        let mut releases = BTreeMap::new();
        for (id, release) in snapshot.table.releases().filter(|(_, release)| is_analysed(release)) {
            let Some(record) = release.record.as_deref() else { continue };
            let (stage, name) = (Stage::of(record), release.assigner.rules().name());
            let known = before.remove(name);
            let is_new = known.is_none();
            let fresh = || Known { counted: Counted::default(), stage: stage.clone(), block: Box::default() };
            let mut known = known.unwrap_or_else(fresh);
            let rules = known.counted.take(snapshot, id, unix_s, &mut known.block);
            let endpoints = snapshot.upstream(release.stable).map_or(0, |stable| stable.endpoints.len());
            known.block.has_many_endpoints = endpoints >= MANY_ENDPOINTS;
            let are_others = (known.stage.salts, known.stage.epoch) != (stage.salts, stage.epoch);
            if is_new || are_others {
                // All of it is of earlier windows, or of other sixteenths of the users.
                *known.block = Sixteenths::default();
            }
            if !is_new {
                let is_whole = known.stage.is_like(&stage);
                let block = ends_block(window).then(|| std::mem::take(&mut known.block));
                let block = block.filter(|block| !block.is_empty());
                releases.insert(name.clone(), Seen { stage: stage.clone(), is_whole, rules, block });
            }
            known.stage = stage;
            self.known.insert(name.clone(), known);
        }
        Report { window, releases, ..Report::default() }
    }
}
