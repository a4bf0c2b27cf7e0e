//! Many runs on as many threads as there are cores. The results do not depend on how many that are.

/// The results of all runs, in their order.
pub(crate) fn runs<T: Send>(runs: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    let share = runs.div_ceil(threads).max(1);
    let run = &run;
    std::thread::scope(|scope| {
        let parts = (0..runs).step_by(share as usize).map(|begin| begin..runs.min(begin + share));
        let running: Vec<_> = parts.map(|part| scope.spawn(move || part.map(run).collect::<Vec<T>>())).collect();
        running.into_iter().flat_map(|thread| thread.join().expect("a run does not panic")).collect()
    })
}
