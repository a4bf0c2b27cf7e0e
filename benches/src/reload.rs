//! Reloads of Serin while it is measured: its file is replaced fifty times a second, and its own count of rules in force
//! says how many of the changes took effect.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::admin::metrics;
use crate::peers::Started;

/// A thread that changes the rules until this is dropped.
pub struct Reloads {
    running: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<()>>>,
    admin: SocketAddrV4,
    began: Instant,
    generation: u64,
}

impl Reloads {
    /// Begins to change the rules of a Serin that runs. The thread shares the core of who starts it, which is the
    /// load's: only what Serin does about a change is on the proxy's.
    ///
    /// # Errors
    /// Its file or its count cannot be read.
    pub fn start(started: &Started) -> io::Result<Self> {
        let file = started.folder.join("serin.yaml");
        let base = fs::read_to_string(&file)?;
        let generation = generation(started.admin)?;
        let running = Arc::new(AtomicBool::new(true));
        let goes_on = Arc::clone(&running);
        let (began, admin) = (Instant::now(), started.admin);
        let thread = std::thread::spawn(move || change(&file, &base, &goes_on));
        Ok(Self { running, thread: Some(thread), admin, began, generation })
    }

    /// Stops, and says how many changes took effect in a second.
    ///
    /// # Errors
    /// Nobody could write, or less than half of the changes took effect: then something else was measured.
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    pub fn end(mut self) -> io::Result<f64> {
        let rate = (generation(self.admin)? - self.generation) as f64 / self.began.elapsed().as_secs_f64();
        self.running.store(false, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| io::Error::other("the thread that changes rules panicked"))??;
        }
        if rate * EVERY.as_secs_f64() < 0.5 {
            return Err(io::Error::other(format!("only {rate:.1} changes of the rules a second took effect")));
        }
        Ok(rate)
    }
}

impl Drop for Reloads {
    fn drop(&mut self) {
        self.running.store(false, Ordering::Relaxed);
    }
}

fn change(file: &Path, base: &str, goes_on: &AtomicBool) -> io::Result<()> {
    let new: PathBuf = file.with_extension("new");
    let (mut round, mut next) = (0, Instant::now());
    while goes_on.load(Ordering::Relaxed) {
        round += 1;
        fs::write(&new, rules(base, round))?;
        fs::rename(&new, file)?;
        next = (next + EVERY).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Another route, another upstream, other weights and another audience in every round; who asks is served as before.
fn rules(base: &str, round: u64) -> String {
    let (host, place, weight) = (round % 1_000, round % 10, 1 + round % 5);
    let route = format!("routes:\n  more-{place}: {{hosts: [h{host}.test], upstream: more-{place}}}\n");
    let upstream = format!("upstreams:\n  more-{place}: {{endpoints: [\"127.1.0.1:{}\"]}}\n", 1 + host);
    base.replacen("routes:\n", &route, 1)
        .replacen("upstreams:\n", &upstream, 1)
        .replacen("weight: 1", &format!("weight: {weight}"), 1)
        .replacen("percent: 100", &format!("percent: {}", 50 + round % 50), 1)
}

/// What Serin's metrics say about changes of the rules since its start.
fn generation(admin: SocketAddrV4) -> io::Result<u64> {
    let answer = metrics(admin)?;
    let value = answer.lines().find_map(|line| line.strip_prefix("serin_rules_generation "));
    value.and_then(|value| value.trim().parse().ok()).ok_or_else(|| io::Error::other("no serin_rules_generation"))
}

/// Fifty a second.
const EVERY: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::rules;

    /// The file under `peers/` must have what is changed.
    #[test]
    fn every_round_changes_everything() {
        let base = include_str!("../peers/serin.yaml");
        let (one, two) = (rules(base, 1), rules(base, 2));
        for changed in ["h1.test", "upstreams:\n  more-1:", "weight: 2", "percent: 51"] {
            assert!(one.contains(changed) && !two.contains(changed), "{changed}: {one}");
        }
    }
}
