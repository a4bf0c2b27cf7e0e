//! Waiting beside tasks that do not end by themselves.

use std::panic::resume_unwind;

use tokio::task::JoinSet;

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
