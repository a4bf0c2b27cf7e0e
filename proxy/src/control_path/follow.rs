//! Tasks that follow the upstreams of one snapshot after the other, and do not end by themselves.

use std::panic::resume_unwind;
use std::sync::Arc;

use imbl::Vector;
use tokio::task::{AbortHandle, JoinSet};

use crate::snapshot::Upstream;

/// A task, which ends with this.
pub(super) struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Begins a task.
pub(super) fn begin(tasks: &mut JoinSet<()>, task: impl Future<Output = ()> + Send + 'static) -> Running {
    Running(tasks.spawn(task))
}

/// Waits for an event. A task that ends meanwhile was ended by its owner, or has panicked, which goes on here.
pub(super) async fn until<T>(tasks: &mut JoinSet<()>, event: impl Future<Output = T>) -> T {
    tokio::pin!(event);
    loop {
        tokio::select! {
            happened = &mut event => return happened,
            Some(Err(ended)) = tasks.join_next() => {
                if let Ok(panic) = ended.try_into_panic() {
                    resume_unwind(panic);
                }
            }
        }
    }
}

/// The upstreams that are others than before: those that have gone, and those that have come.
pub(super) fn changed<'u>(
    before: &'u Vector<Option<Arc<Upstream>>>,
    now: &'u Vector<Option<Arc<Upstream>>>,
) -> (Vec<&'u Arc<Upstream>>, Vec<&'u Arc<Upstream>>) {
    let places = 0..before.len().max(now.len());
    let pairs = places.map(|place| (at(before, place), at(now, place)));
    let (gone, come): (Vec<_>, Vec<_>) =
        pairs.filter(|(old, new)| old.map(Arc::as_ptr) != new.map(Arc::as_ptr)).unzip();
    (gone.into_iter().flatten().collect(), come.into_iter().flatten().collect())
}

fn at(upstreams: &Vector<Option<Arc<Upstream>>>, place: usize) -> Option<&Arc<Upstream>> {
    upstreams.get(place)?.as_ref()
}
