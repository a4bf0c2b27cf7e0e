//! The control thread: hears of changed files, orders and failures, serves the admin API, and ends the process in order.
//!
//! It computes nothing itself, so it always answers: rules are compiled by [`RulesThread`]; files are read and answers of the
//! admin API written in the background.

use std::net::TcpListener;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use super::fleet::Membership;
use super::listeners::HeldSockets;
use super::rules::RulesThread;
use super::weights::WeightsThread;
use super::{Order, Shared};
use crate::admin::{self, AdminState};
use crate::control_path::certificates::CertificateWatch;
use crate::control_path::source::file::FileWatch;
use crate::settings::ShutdownSettings;
use crate::thread::{Failure, Following};
use crate::worker::Command;

/// What the control thread owns.
pub(super) struct Control {
    pub(super) shared: Arc<Shared>,
    pub(super) shutdown: ShutdownSettings,
    pub(super) watch: FileWatch,
    pub(super) certificates: CertificateWatch,
    pub(super) rules: RulesThread,
    pub(super) weights: WeightsThread,
    /// Those that ask endpoints whether they are well, name services where they are, look after releases, tell others of
    /// these, and order certificates. They end when the rules thread no longer tells of swaps.
    pub(super) probing: [JoinHandle<()>; 5],
    /// Those who follow etcd and Kubernetes, where there are any.
    pub(super) sources: Vec<Following>,
    pub(super) fleet: Membership,
    pub(super) sockets: HeldSockets,
    pub(super) admin: Option<TcpListener>,
    pub(super) inbox: UnboundedReceiver<Order>,
    /// Threads that have ended without being asked to.
    pub(super) failures: UnboundedReceiver<Failure>,
}

impl Control {
    /// Runs until the process is to end. An error is why it had to.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        // Ends with this function.
        let mut background = JoinSet::new();
        if let Some(socket) = self.admin.take() {
            let state = AdminState::new(Arc::clone(&self.shared));
            background.spawn(async move {
                if let Err(error) = admin::serve(socket, state).await {
                    tracing::error!(%error, "the admin API has ended");
                }
            });
        }
        self.fleet.begin();
        loop {
            tokio::select! {
                texts = self.watch.changed() => self.rules.update(texts),
                texts = self.certificates.changed() => self.rules.update_certificates(texts),
                Some(failure) = self.failures.recv() => return self.fail(failure).await,
                Some(Err(error)) = background.join_next() => {
                    return self.fail(Failure::of_task("the admin API", error)).await;
                }
                error = self.fleet.failed() => return self.fail(Failure::of_task("the fleet", error)).await,
                order = self.inbox.recv() => match order {
                    Some(Order::Reload) => {
                        self.shared.log.reopen();
                        self.watch.reread();
                        self.certificates.reread();
                    }
                    Some(Order::Drain) => break,
                    Some(Order::Stop) | None => return self.stop().await,
                },
            }
        }
        self.drain().await
    }

    /// What is left of the process still finishes what it is doing; whoever supervises it starts it again.
    async fn fail(self, failure: Failure) -> Result<(), Failure> {
        tracing::error!("{failure}; the process drains and ends with an error");
        self.shared.readiness.send_modify(|readiness| readiness.failure = Some(failure.to_string()));
        self.drain().await.and(Err(failure))
    }

    async fn drain(mut self) -> Result<(), Failure> {
        let ShutdownSettings { delay, deadline } = self.shutdown;
        self.shared.readiness.send_modify(|readiness| readiness.draining = true);
        tracing::info!(%delay, %deadline, "draining");
        let (shared, sockets) = (&self.shared, &self.sockets);
        let steps = async {
            wait_for_workers(shared, delay.duration()).await;
            sockets.release();
            shared.command_all(|| Command::Drain);
            wait_for_workers(shared, deadline.duration()).await;
        };
        // A second order to end cuts the wait short.
        let second = async { while self.inbox.recv().await == Some(Order::Reload) {} };
        tokio::select! {
            () = steps => {}
            () = second => tracing::warn!("stopping at once"),
        }
        self.stop().await
    }

    async fn stop(mut self) -> Result<(), Failure> {
        self.shared.command_all(|| Command::Stop);
        self.fleet.leave().await;
        let (shared, rules, weights) = (Arc::clone(&self.shared), self.rules, self.weights);
        let (probing, sources) = (self.probing, self.sources);
        let ended = tokio::task::spawn_blocking(move || {
            shared.join_workers();
            sources.into_iter().for_each(Following::join);
            weights.join();
            rules.join();
            for thread in probing {
                // How it ended is among the failures.
                let _ = thread.join();
            }
            shared.log.flush();
        });
        let _ = ended.await;
        // A thread that fails on the way out has not done what it should have.
        self.failures.try_recv().map_or(Ok(()), Err)
    }
}

/// Waits until all workers have ended, but no longer than this.
async fn wait_for_workers(shared: &Shared, longest: Duration) {
    let all_ended = async {
        while !shared.have_workers_ended() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    };
    let _ = tokio::time::timeout(longest, all_ended).await;
}

/// How often workers that should end are looked at.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(20);
