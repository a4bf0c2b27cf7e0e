//! The analysis of a fleet: each instance writes what it saw in a window to etcd, and the one that leads adds that up, judges
//! ([`Course`](super::course::Course), as a single process does) and writes what it found, which all of them read.
//!
//! | key, behind the prefix | says | goes |
//! |---|---|---|
//! | `windows/<window>/<instance>` | what one instance saw | after 10 to 15 minutes |
//! | `state/analysis/<release>` | what was found, up to which window | with the next one, or 6.5 to 7.5 hours after the last |
//! | `windows-past/<release>/<number>` | five minutes of control, of all instances | after 6.5 to 7.5 hours |
//!
//! Those of windows are read by who leads, and by nobody else: they are behind all that instances follow.

mod kept;
mod wire;

mod bench;
mod gathering;

mod followed;
mod leading;
mod post;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

pub(super) use followed::Followed;
use leading::Leading;
use post::Post;
pub use post::WindowCounts;

use super::reporter::{Report, Reporter};
use crate::control_path::etcd::Cluster;
use crate::control_path::fleet::Fleet;
use crate::moment;
use crate::snapshot::SnapshotCell;

/// One instance's part in the analysis of its fleet.
pub struct FleetAnalysis {
    /// The rules in force.
    pub snapshots: Arc<SnapshotCell>,
    /// Who leads, and who is there.
    pub fleet: Arc<Fleet>,
    /// Where it is kept.
    pub cluster: Cluster,
    /// What becomes of the windows that this instance reports.
    pub counts: Arc<WindowCounts>,
}

impl FleetAnalysis {
    /// Takes part until nobody is left to tell of swaps.
    pub async fn run(self, swaps: watch::Receiver<()>) {
        let Self { snapshots, fleet, cluster, counts } = self;
        let (send, reports) = mpsc::channel(WAITING);
        let post = Post::new(cluster.clone(), fleet.id().into(), Arc::clone(&counts));
        let leading = Leading { cluster, fleet, snapshots: Arc::clone(&snapshots) };
        let post = post.run(reports);
        tokio::pin!(post);
        tokio::select! {
            () = report(&snapshots, swaps, send, &counts) => {}
            () = &mut post => return,
            never = leading.run() => match never {},
        }
        // What is being written, and that nothing comes after it.
        let _ = timeout(LEAVING, post).await;
    }
}

/// Says what came in each window, as long as there are releases that are analysed.
async fn report(
    snapshots: &SnapshotCell,
    mut swaps: watch::Receiver<()>,
    send: mpsc::Sender<Report>,
    counts: &WindowCounts,
) {
    let (mut reporter, mut has_reported) = (Reporter::default(), false);
    loop {
        tokio::select! {
            told = swaps.changed() => if told.is_err() { break },
            () = sleep(LOOK_AGAIN) => {}
        }
        let Some(report) = reporter.look(&snapshots.load_full(), moment::unix_ms() / 1_000) else { continue };
        let leaves = report.releases.is_empty();
        // That there is nothing more to come is said once.
        if !leaves || has_reported {
            has_reported = !leaves;
            counts.hand_over(send.try_send(Report { leaves, ..report }).is_ok());
        }
    }
    if has_reported {
        let last = reporter.leave(&snapshots.load_full(), moment::unix_ms() / 1_000);
        let _ = timeout(LOOK_AGAIN, send.send(last)).await;
    }
}

/// What keys of reports begin with, behind the prefix.
const REPORTS: &str = "windows/";
/// What keys of five minutes of control begin with.
const BLOCKS: &str = "windows-past/";
/// What both begin with: what instances follow ends here.
pub const APART: &str = "windows";

/// Reports that wait while one is written.
const WAITING: usize = 1;

/// How long that may hold up the end of the process.
const LEAVING: Duration = Duration::from_secs(1);

/// When a window ends, nobody says.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod damaged;
#[cfg(test)]
mod set_back;
#[cfg(test)]
mod tests;
