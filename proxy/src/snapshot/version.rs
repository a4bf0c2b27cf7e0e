//! How a reader sees several cells of one moment, though the one thread that writes them waits for nobody.
//!
//! A version is odd while the writer writes, and a reader that saw an odd or another version reads again.

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicU64, fence};

/// Stands beside cells that belong together and are read and written with relaxed order.
#[derive(Default)]
pub(super) struct Version(AtomicU64);

impl Version {
    /// Changes the cells. Only their one writer may call this.
    pub(super) fn change(&self, write: impl FnOnce()) {
        let version = self.0.load(Relaxed);
        self.0.store(version.wrapping_add(1), Relaxed);
        fence(Release);
        write();
        self.0.store(version.wrapping_add(2), Release);
    }

    /// The cells of one moment. `None` if the writer was in between at every try, which takes a writer that was stopped in
    /// the middle of one.
    pub(super) fn read<T>(&self, read: impl Fn() -> T) -> Option<T> {
        (0..TRIES).find_map(|_| {
            let version = self.0.load(Acquire);
            let cells = read();
            fence(Acquire);
            (version.is_multiple_of(2) && self.0.load(Relaxed) == version).then_some(cells)
        })
    }
}

/// An update takes some nanoseconds.
const TRIES: usize = 100;
