//! A storm: changes at a steady rate under load. Nine of ten are another pod in the place of one, as in a rolling update; the tenth is an
//! Ingress that leads a path elsewhere.
//!
//! All pods go on answering, those that have left too: a request that fails was failed by the proxy, and one that a pod answers that has
//! left tells how late the proxy is.

use std::collections::HashMap;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::changes::Awaited;
use super::cluster::Cluster;
use super::load::{Answered, Asking, NONE, Users};
use super::outcome::{Stormed, Window, ms};
use super::start::{Started, is_from_pod};
use super::{Change, Contender};
use crate::admin;
use crate::client::Client;
use crate::process::Interrupt;
use crate::random::Random;
use crate::usage::{self, CpuReading, Memory};

/// What it is made of.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    pub time: Duration,
    /// In a second.
    pub events: u32,
    /// In a second.
    pub requests: u32,
    /// How long it may take after the last event until it is in force.
    pub patience: Duration,
    pub seed: u64,
}

/// One event of so many is about an Ingress.
const INGRESS_EVERY: u32 = 10;

impl Storm {
    /// The load alone, then the storm on top of it, then two changes that are waited for.
    ///
    /// # Errors
    /// When it is interrupted.
    pub fn play(
        &self,
        contender: Contender,
        cluster: &mut Cluster,
        started: &Started,
        interrupt: &Interrupt,
    ) -> io::Result<Stormed> {
        let users = Users {
            target: started.target,
            services: cluster.services(),
            per_second: self.requests,
            changed: Arc::new(AtomicU32::new(NONE)),
            seed: self.seed,
        };
        let pids = usage::tree(started.running.pid());
        // Metrics of ten thousand endpoints are tens of megabytes: they are asked for outside of what is measured.
        let swaps_before = swaps(contender, started);
        let (quiet, ()) = under_load(&users, &pids, || interrupt.sleep(self.time / 6))?;
        let memory_before = Memory::of(&pids);
        let mut client = Client::new(started.target);
        let (during, (blown, [slice, ingress])) = under_load(&users, &pids, || {
            let blown = self.blow(cluster, &users.changed, interrupt)?;
            let last = [Change::Slice, Change::Ingress].map(|change| Awaited::begin(change, cluster, 0, LAST));
            let [slice, ingress] = last.map(|last| last.wait(cluster, &mut client, self.patience, interrupt));
            Ok((blown, [slice?, ingress?]))
        })?;
        let memory_after = Memory::of(&pids);
        let swaps = swaps(contender, started).zip(swaps_before).map(|(after, before)| after.saturating_sub(before));
        Ok(Stormed {
            events: blown.events,
            blown_s: blown.seconds,
            memory_before,
            memory_after,
            swaps,
            slice_ms: slice.map(ms),
            ingress_ms: ingress.map(ms),
            stale_ms: stale_ms(&during.asked.answered, &blown.left),
            wrong: wrong(cluster, &mut client, interrupt)?,
            quiet,
            during,
        })
    }

    fn blow(&self, cluster: &mut Cluster, changed: &AtomicU32, interrupt: &Interrupt) -> io::Result<Blown> {
        let (mut random, mut left) = (Random(self.seed), HashMap::new());
        let (began, mut events) = (Instant::now(), 0);
        loop {
            let due = began + Duration::from_secs(1) / self.events * events;
            if due >= began + self.time {
                return Ok(Blown { events, seconds: began.elapsed().as_secs_f64(), left });
            }
            interrupt.check()?;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let service = random.below(cluster.services());
            events += 1;
            if events.is_multiple_of(INGRESS_EVERY) {
                cluster.change_ingress(service, format!("/changed-{events}"));
            } else {
                let gone = cluster.replace_pod(service, random.below(u32::MAX) as usize);
                left.insert(gone, Instant::now());
                changed.store(service, Ordering::Relaxed);
            }
        }
    }
}

/// What the storm was.
struct Blown {
    events: u32,
    seconds: f64,
    /// When each pod had left that did.
    left: HashMap<Ipv4Addr, Instant>,
}

/// Does it while users ask, and says what they got and what that took.
fn under_load<T>(users: &Users, pids: &[u32], work: impl FnOnce() -> io::Result<T>) -> io::Result<(Window, T)> {
    let (began, before) = (Instant::now(), CpuReading::of(pids));
    let asking = Asking::start(users);
    let done = work()?;
    let asked = asking.end();
    let used_us = CpuReading::of(pids).since(before).total_us();
    Ok((Window { asked, core_use: used_us / 1e6 / began.elapsed().as_secs_f64() }, done))
}

/// How long after a pod had left a request was sent that it got, for each of these; ascending.
fn stale_ms(answered: &[Answered], left: &HashMap<Ipv4Addr, Instant>) -> Vec<f64> {
    let late = |answered: &Answered| answered.sent.checked_duration_since(*left.get(&answered.by)?);
    super::outcome::ascending(answered.iter().filter_map(late).map(ms))
}

/// How much of what is promised at the end is not so.
fn wrong(cluster: &Cluster, client: &mut Client, interrupt: &Interrupt) -> io::Result<usize> {
    let mut wrong = 0;
    for (host, path, service) in cluster.promised() {
        interrupt.check()?;
        wrong += usize::from(!is_from_pod(client, cluster, &host, &path, service));
    }
    Ok(wrong)
}

/// How often rules have come into force since the start, of who says so.
fn swaps(contender: Contender, started: &Started) -> Option<u64> {
    match contender {
        Contender::Serin => admin::gauge(&admin::metrics(started.admin).ok()?, "serin_rules_generation"),
        Contender::Traefik => None,
    }
}

/// The number of the Ingress that is new after the storm: no other one has it.
const LAST: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_requests_that_were_sent_after_a_pod_had_left_are_late() {
        let (now, pod) = (Instant::now(), |last| Ipv4Addr::new(127, 1, 0, last));
        let at = |ms| now + Duration::from_millis(ms);
        let answered = |sent, last| Answered { sent: at(sent), took_ms: 1.0, by: pod(last) };
        let left = HashMap::from([(pod(1), at(100)), (pod(2), at(50))]);
        let answered = [answered(99, 1), answered(130, 1), answered(60, 2), answered(500, 3)];
        assert_eq!(stale_ms(&answered, &left), [10.0, 30.0]);
    }
}
