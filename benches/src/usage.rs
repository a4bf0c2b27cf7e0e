//! What a process has used, as the kernel counts it: processor time and memory, children included.
//!
//! Processor time comes from `schedstat` of every thread (nanoseconds) and is split into user and system time in the
//! proportion of `stat` (clock ticks): together they are exact where either alone would not be. Whatever cannot be
//! read counts as nothing; the caller sees that no time went by.

use std::fs;

/// A reading of a process tree's processor time; only the difference of two means something.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuReading {
    exact_ns: u64,
    user_ticks: u64,
    system_ticks: u64,
}

/// Processor time between two readings, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct CpuTime {
    pub user_us: f64,
    pub system_us: f64,
}

impl CpuTime {
    #[must_use]
    pub fn total_us(self) -> f64 {
        self.user_us + self.system_us
    }
}

/// Linux counts in 1/100 s for user space whatever the kernel's own clock (`USER_HZ`).
const TICK_US: f64 = 10_000.0;

impl CpuReading {
    #[must_use]
    pub fn of(pids: &[u32]) -> Self {
        pids.iter().fold(Self::default(), |sum, &pid| {
            let (user_ticks, system_ticks) = ticks(pid);
            Self {
                exact_ns: sum.exact_ns + threads_ns(pid),
                user_ticks: sum.user_ticks + user_ticks,
                system_ticks: sum.system_ticks + system_ticks,
            }
        })
    }

    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a window's nanoseconds are far below 2^53")]
    pub fn since(self, earlier: Self) -> CpuTime {
        let user = self.user_ticks.saturating_sub(earlier.user_ticks) as f64;
        let ticks = user + self.system_ticks.saturating_sub(earlier.system_ticks) as f64;
        let exact_us = self.exact_ns.saturating_sub(earlier.exact_ns) as f64 / 1_000.0;
        // A thread that ended took its schedstat with it; stat keeps its time. Two ticks is what rounding explains.
        let total = if exact_us + 2.0 * TICK_US < ticks * TICK_US { ticks * TICK_US } else { exact_us };
        let share = if ticks > 0.0 { user / ticks } else { 1.0 };
        CpuTime { user_us: total * share, system_us: total * (1.0 - share) }
    }
}

fn threads_ns(pid: u32) -> u64 {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return 0;
    };
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("schedstat")).ok())
        .map(|text| field(&text, 0))
        .sum()
}

fn ticks(pid: u32) -> (u64, u64) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name, in parentheses, may hold spaces: count from its end (field 3 on).
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    // With those of its children that have ended: a program of the load is gone when the window is over.
    (field(rest, 11) + field(rest, 13), field(rest, 12) + field(rest, 14))
}

fn field(text: &str, index: usize) -> u64 {
    text.split_ascii_whitespace().nth(index).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A process and all that descend from it, ancestors first.
#[must_use]
pub fn tree(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&pid) = found.get(next) {
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            next += 1;
            continue;
        };
        for thread in threads.flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            found.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        next += 1;
    }
    found
}

/// Memory of a process tree in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Resident, pages shared with others counted fully.
    pub rss_kib: u64,
    /// Resident, pages shared with others counted in proportion.
    pub pss_kib: u64,
}

impl Memory {
    #[must_use]
    pub fn of(pids: &[u32]) -> Self {
        pids.iter().fold(Self::default(), |sum, &pid| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let line = |name: &str| rollup.lines().find(|line| line.starts_with(name)).map_or(0, |line| field(line, 1));
            Self { rss_kib: sum.rss_kib + line("Rss:"), pss_kib: sum.pss_kib + line("Pss:") }
        })
    }
}

/// How long a core has been busy since the machine started, in microseconds, whoever kept it busy (other guests too).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "ticks since boot are far below 2^53")]
pub fn core_busy_us(core: usize) -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let name = format!("cpu{core}");
    let Some(line) = stat.lines().find(|line| line.split(' ').next() == Some(&name)) else {
        return 0.0;
    };
    // user nice system idle iowait irq softirq steal
    [1, 2, 3, 6, 7, 8].map(|index| field(line, index)).iter().sum::<u64>() as f64 * TICK_US
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_work_shows() {
        let own = tree(std::process::id());
        let before = CpuReading::of(&own);
        let start = std::time::Instant::now();
        let mut sum = 0_u64;
        while start.elapsed().as_millis() < 60 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let used = CpuReading::of(&own).since(before).total_us();
        // A busy machine may give less than all of it.
        assert!((5_000.0..500_000.0).contains(&used), "{used}");
        assert!(Memory::of(&own).rss_kib > 100);
    }
}
