//! This instance in the list of instances: what it says of itself, from its start to its end.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::Shared;
use crate::control_path::decode::Problem;
use crate::control_path::fleet::{Instance, Rejected};
use crate::control_path::release::is_analysed;
use crate::control_path::tickets::{self, TicketKeys};
use crate::explain::DEVICE_TABLE_VERSION;

/// Who this instance is.
pub(crate) struct Me {
    pub(crate) id: String,
    /// When it started (RFC 3339).
    started: String,
    /// What stands for its secret.
    secret: String,
}

/// Takes part in the fleet, where there is one.
pub(super) struct Membership {
    shared: Arc<Shared>,
    swaps: watch::Receiver<()>,
    ticket_keys: Arc<TicketKeys>,
    tasks: JoinSet<()>,
    leave: Option<oneshot::Sender<()>>,
}

impl Me {
    /// A name that no other process has: two at one host differ, and one that starts again is another one.
    pub(super) fn new(secret: String) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let host = host.replace(|letter: char| !letter.is_ascii_alphanumeric() && !".-".contains(letter), "-");
        let id = format!("{host}-{:08x}", crate::random::seed() >> 32);
        Self { id, started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(), secret }
    }
}

impl Shared {
    /// What this instance says of itself.
    pub(crate) fn instance(&self) -> Instance {
        let status = self.status.load();
        let instance = Instance {
            version: env!("CARGO_PKG_VERSION").into(),
            started: self.me.started.clone(),
            applied: status.applied,
            ready: self.not_ready().is_empty(),
            stale: status.stale,
            secret: self.me.secret.clone(),
            devices: DEVICE_TABLE_VERSION.to_string(),
            reports: self.snapshots.load().table.releases().any(|(_, release)| is_analysed(release)),
            ..Instance::default()
        };
        // The newest first: whoever waits for what he wrote asks for those.
        let mut problems: Vec<&Problem> = status.problems.iter().collect();
        problems.sort_by_key(|problem| std::cmp::Reverse(problem.revision));
        instance.with_problems(problems.len(), problems.into_iter().map(rejected))
    }
}

fn rejected(problem: &Problem) -> Rejected {
    let reason = match &*problem.path {
        "" => problem.reason.clone(),
        path => format!("{path}: {}", problem.reason),
    };
    Rejected { source: problem.source.to_string(), revision: problem.revision, reason }
}

impl Membership {
    /// Does not begin yet. `swaps` tells whenever the rules may be others.
    pub(super) fn new(shared: Arc<Shared>, swaps: watch::Receiver<()>, ticket_keys: Arc<TicketKeys>) -> Self {
        Self { shared, swaps, ticket_keys, tasks: JoinSet::new(), leave: None }
    }

    /// Begins, on the runtime of the caller.
    pub(super) fn begin(&mut self) {
        let Some(etcd) = &self.shared.etcd else { return };
        let (fleet, cluster, ticket_keys) = (Arc::clone(&etcd.fleet), etcd.cluster(), Arc::clone(&self.ticket_keys));
        let (leave, left) = oneshot::channel();
        self.leave = Some(leave);
        let (say, says) = watch::channel(self.shared.instance().text().into());
        let snapshots = Arc::clone(&self.shared.snapshots);
        let wanted = move || snapshots.load().tls.listeners.iter().any(|listening| listening.tls.is_some());
        let is_shared = etcd.shares_ticket_keys();
        self.tasks.spawn(async move {
            let sharing = async {
                match is_shared {
                    true => tickets::share(ticket_keys, Arc::clone(&fleet), cluster, wanted).await,
                    false => std::future::pending().await,
                }
            };
            tokio::select! {
                never = sharing => match never {},
                () = fleet.run(says, left) => {}
            }
        });
        self.tasks.spawn(go_on_saying(Arc::clone(&self.shared), say, self.swaps.clone()));
    }

    /// How it failed, if it does.
    pub(super) async fn failed(&mut self) -> JoinError {
        loop {
            match self.tasks.join_next().await {
                Some(Err(error)) => return error,
                Some(Ok(())) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Takes this instance from the list. It does not take long, whatever etcd does.
    pub(super) async fn leave(mut self) {
        drop(self.leave.take());
        // Without who listens the other one ends, too.
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Says what this instance is whenever it is something else, as long as anybody listens.
async fn go_on_saying(shared: Arc<Shared>, say: watch::Sender<Arc<str>>, mut swaps: watch::Receiver<()>) {
    let mut readiness = shared.readiness.subscribe();
    loop {
        tokio::select! {
            Ok(()) = swaps.changed() => {}
            Ok(()) = readiness.changed() => {}
            () = say.closed() => return,
        }
        let says: Arc<str> = shared.instance().text().into();
        say.send_if_modified(|said| {
            let is_new = *said != says;
            *said = says;
            is_new
        });
    }
}
