//! Writes what this instance saw to etcd. A write that is slow or fails is one window less that is known, and nothing else: the next
//! one is not kept waiting, and none is written twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::super::reporter::Report;
use super::{REPORTS, wire};
use crate::control_path::etcd::{Cluster, Trouble};
use crate::telemetry::metrics::WindowFacts;

/// What became of windows that this instance had to report.
#[derive(Debug, Default)]
pub struct WindowCounts {
    /// They are in etcd.
    written: AtomicU64,
    /// etcd did not take them.
    failed: AtomicU64,
    /// The ones before were still under way.
    passed_over: AtomicU64,
    /// Releases in them, or five minutes of one, that there was no room for.
    left_out: AtomicU64,
}

/// Writes reports, one after the other.
pub(super) struct Post {
    cluster: Cluster,
    instance: Arc<str>,
    counts: Arc<WindowCounts>,
    lease: Option<Lease>,
    failures: u64,
}

struct Lease {
    id: i64,
    since: Instant,
}

impl WindowCounts {
    /// As they are at this moment.
    pub fn facts(&self) -> WindowFacts {
        let [written, failed, passed_over, left_out] =
            [&self.written, &self.failed, &self.passed_over, &self.left_out].map(|count| count.load(Relaxed));
        WindowFacts { written, failed, passed_over, left_out }
    }

    /// A report was handed over to be written, or not.
    pub(super) fn hand_over(&self, is_taken: bool) {
        self.passed_over.fetch_add(u64::from(!is_taken), Relaxed);
    }
}

impl Post {
    pub(super) fn new(cluster: Cluster, instance: Arc<str>, counts: Arc<WindowCounts>) -> Self {
        Self { cluster, instance, counts, lease: None, failures: 0 }
    }

    /// Writes what comes, until nothing can come any more.
    pub(super) async fn run(mut self, mut reports: mpsc::Receiver<Report>) {
        while let Some(report) = reports.recv().await {
            let (text, left_out) = wire::write(&report);
            self.counts.left_out.fetch_add(left_out, Relaxed);
            let written = timeout(PATIENCE, self.write(report.window, &text)).await;
            let late = || Err(Trouble::new(format_args!("no answer within {PATIENCE:?}")));
            self.note(written.unwrap_or_else(|_| late()), report.window);
        }
    }

    async fn write(&mut self, window: u64, text: &str) -> Result<(), Trouble> {
        let lease = self.lease().await?;
        let key = format!("{}{REPORTS}{window}/{}", self.cluster.prefix(), self.instance);
        let written = self.cluster.put_under(lease, &key, text).await;
        if written.as_ref().is_err_and(|trouble| trouble.is_absence) {
            // The next one gets another.
            self.lease = None;
        }
        written
    }

    /// One lease is for many keys: a lease for each would be as much work again.
    async fn lease(&mut self) -> Result<i64, Trouble> {
        if let Some(lease) = self.lease.as_ref().filter(|lease| lease.since.elapsed() < NEXT_LEASE) {
            return Ok(lease.id);
        }
        let id = self.cluster.grant(KEPT).await?;
        self.lease = Some(Lease { id, since: Instant::now() });
        Ok(id)
    }

    fn note(&mut self, written: Result<(), Trouble>, window: u64) {
        match written {
            Ok(()) => {
                self.counts.written.fetch_add(1, Relaxed);
                if self.failures > 0 {
                    tracing::info!(
                        failures = self.failures,
                        "the fleet can be told again what comes through this instance"
                    );
                }
                self.failures = 0;
            }
            Err(trouble) => {
                self.counts.failed.fetch_add(1, Relaxed);
                self.failures += 1;
                if self.failures.is_power_of_two() {
                    let failures = self.failures;
                    tracing::warn!(window, failures, reason = %trouble, "the fleet cannot be told what came through this instance");
                }
            }
        }
    }
}

/// How long a report is kept at most, and how long other reports go with it.
const KEPT: Duration = Duration::from_secs(900);
const NEXT_LEASE: Duration = Duration::from_secs(300);

/// Whoever adds reports up waits no longer for them.
const PATIENCE: Duration = Duration::from_secs(10);
