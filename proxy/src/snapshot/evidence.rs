//! The counters that say how fast an endpoint is, written by one worker and read by whoever wants to.
//!
//! A sum and its count must be of one moment: half an update would look like a request as old as the process.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use routing_rules::balance::{Counts, Sum};

use super::version::Version;

/// [`Counts`] that one thread writes.
#[derive(Default)]
pub(super) struct SharedCounts {
    version: Version,
    cells: [AtomicU64; CELLS],
}

impl SharedCounts {
    /// Changes the counts. Only the one writer may call this.
    pub(super) fn update(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.load();
        change(&mut counts);
        self.version.change(|| {
            for (cell, value) in self.cells.iter().zip(to_cells(&counts)) {
                cell.store(value, Relaxed);
            }
        });
    }

    /// The counts of one moment. `None` if the writer was in between at every try, which takes a writer that was
    /// stopped in the middle of one.
    pub(super) fn read(&self) -> Option<Counts> {
        self.version.read(|| self.load())
    }

    fn load(&self) -> Counts {
        let cell = |place: usize| self.cells[place].load(Relaxed);
        let sum = |place: usize| Sum { count: cell(place), us: cell(place + 1), us2: cell(place + 2) };
        Counts { answered: sum(0), errors: cell(3), errors_us: cell(4), given_up: sum(5), in_flight: sum(8) }
    }
}

fn to_cells(counts: &Counts) -> [u64; CELLS] {
    let Counts { answered, errors, errors_us, given_up, in_flight } = counts;
    let [a, g, f] = [answered, given_up, in_flight].map(|sum| [sum.count, sum.us, sum.us2]);
    [a[0], a[1], a[2], *errors, *errors_us, g[0], g[1], g[2], f[0], f[1], f[2]]
}

const CELLS: usize = 11;

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let shared = SharedCounts::default();
        let mut counts = Counts::default();
        let change = |counts: &mut Counts| {
            [3, 5, 7, 11].into_iter().for_each(|start_us| counts.start(start_us));
            counts.answer(3, 20);
            counts.fail(5, 30);
            counts.give_up(7, 40);
        };
        change(&mut counts);
        shared.update(change);
        assert_eq!(shared.read(), Some(counts));
    }

    #[test]
    fn a_reader_never_sees_half_an_update() {
        let (shared, over) = (SharedCounts::default(), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for start_us in 0..200_000 {
                    shared.update(|counts| counts.start(start_us));
                    shared.update(|counts| counts.answer(start_us, start_us + 2));
                }
                over.store(true, Relaxed);
            });
            while !over.load(Relaxed) {
                let Some(Counts { answered, in_flight, .. }) = shared.read() else { continue };
                assert_eq!((answered.us, answered.us2), (2 * answered.count, 4 * answered.count));
                assert_eq!(in_flight.us * in_flight.us, in_flight.us2 * in_flight.count);
            }
        });
    }
}
