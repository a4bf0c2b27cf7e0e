//! What the operating system tells about files, boiled down to two questions: since when has something moved, and
//! which files are open for writing.
//!
//! Events are folded in as they come, so any number of them takes no memory and none is lost when nobody waits.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::Event;
use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Shared by the thread that hears events and the one that acts on them.
#[derive(Default)]
pub(super) struct Activity {
    state: Mutex<State>,
    moved: Notify,
}

#[derive(Default)]
struct State {
    burst: Option<Burst>,
    writing: HashMap<PathBuf, Instant>,
}

/// Events since somebody last looked.
#[derive(Clone, Copy)]
struct Burst {
    first: Instant,
    last: Instant,
}

impl Activity {
    /// Takes in what the operating system says.
    pub(super) fn note(&self, event: &Event) {
        let mut state = self.state();
        let paths = || event.paths.iter().map(|path| place(path));
        if event.need_rescan() {
            // Events were lost, perhaps those that would have said that a file was closed.
            state.writing.clear();
        }
        match event.kind {
            // Reading our own files is an event too, and must not lead to reading them again. The first byte written
            // is not worth a look either: there will be one when the writer closes the file.
            EventKind::Access(AccessKind::Open(_) | AccessKind::Read | AccessKind::Close(AccessMode::Read)) => return,
            EventKind::Modify(ModifyKind::Data(_)) => {
                if state.writing.len() < MOST_WRITTEN {
                    state.writing.extend(paths().map(|path| (path, Instant::now())));
                }
                return;
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Remove(_)
            | EventKind::Modify(ModifyKind::Name(_)) => {
                let ended: Vec<PathBuf> = paths().collect();
                state.writing.retain(|path, _| !ended.contains(path));
            }
            _ => {}
        }
        let now = Instant::now();
        let first = state.burst.map_or(now, |burst| burst.first);
        state.burst = Some(Burst { first, last: now });
        drop(state);
        self.moved.notify_one();
    }

    /// Waits until something has moved and the events that belong together are over. Ends shortly after the last one,
    /// or at the latest some time after the first, so that a stream of changes is not a reason never to act.
    pub(super) async fn settled(&self) {
        loop {
            let burst = self.state().burst;
            let Some(burst) = burst else {
                self.moved.notified().await;
                continue;
            };
            let until = (burst.last + QUIET).min(burst.first + LATEST);
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Forgets what has moved, because somebody is going to look. Returns whether anything had.
    pub(super) fn acted_on(&self) -> bool {
        let mut state = self.state();
        // A writer that keeps a file open for ever cannot keep it from being read for ever.
        state.writing.retain(|_, since| since.elapsed() < LONGEST_WRITE);
        state.burst.take().is_some()
    }

    /// Whether a file is open for writing and something has been written: it may hold half of its rules.
    pub(super) fn is_being_written(&self, path: &Path) -> bool {
        let state = self.state();
        let written = |path: &Path| state.writing.contains_key(path);
        !state.writing.is_empty() && (written(&place(path)) || path.canonicalize().is_ok_and(|path| written(&path)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No change of the state can be left half made by a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The one name of a directory entry: a folder may be watched under several.
fn place(path: &Path) -> PathBuf {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return path.to_owned() };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    folder.canonicalize().map_or_else(|_| path.to_owned(), |folder| folder.join(name))
}

/// After this time without an event, a burst of changes is over.
const QUIET: Duration = Duration::from_millis(5);

/// A burst is acted on this long after it began, even if it goes on.
const LATEST: Duration = Duration::from_millis(25);

/// A file that was written to and not closed is read nevertheless this long after.
const LONGEST_WRITE: Duration = Duration::from_secs(60);

/// More files are not open for writing in folders with rules.
const MOST_WRITTEN: usize = 10_000;
