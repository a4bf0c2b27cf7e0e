//! Endpoints that register themselves in etcd: each key is one, and its value says where.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::from_utf8;
use std::sync::{Arc, Mutex, PoisonError};

use routing_rules::discovery::{Registrations, Step};
use routing_rules::rules::{Endpoint, Name, Registry, Weight};
use routing_rules::spec::EndpointSpec;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Duration, sleep};

use super::{Registries, Tell, fail, take_found};
use crate::connect;
use crate::control_path::decode;
use crate::control_path::etcd::{Heard, Keys, Mirror, Pace};
use crate::moment;
use crate::snapshot::Discovered;

/// The registrations of one upstream.
struct Follower {
    upstream: Name,
    discovered: Arc<Discovered>,
    tell: Tell,
    registrations: Registrations,
    /// Keys whose value is none, and why.
    wrong: BTreeMap<Arc<[u8]>, String>,
    /// Told when some stay though they have gone.
    due: UnboundedSender<()>,
    is_lost: bool,
    /// Whether all keys were listed once.
    is_heard: bool,
}

/// Follows the keys until it is dropped.
pub(super) async fn follow(
    upstream: Name,
    discovered: Arc<Discovered>,
    registry: Registry,
    tell: Tell,
    registries: Option<Registries>,
) {
    let (due, mut when) = unbounded_channel();
    let follower = Follower {
        upstream,
        discovered,
        tell,
        registrations: Registrations::default(),
        wrong: BTreeMap::new(),
        due,
        is_lost: false,
        is_heard: false,
    };
    let Some(Registries { cluster, mut confirmations }) = registries else {
        follower.lost("there is no cluster to ask: `sources.etcd` is not set");
        return std::future::pending().await;
    };
    let mirror = Mirror::new(cluster, registry.prefix.as_bytes(), Pace::default()).values_up_to(MOST_BYTES + 1);
    // Two parts of one task: nobody ever waits for it.
    let follower = Mutex::new(follower);
    let follower = || follower.lock().unwrap_or_else(PoisonError::into_inner);
    let follow = mirror.run(|heard| follower().hear(heard));
    let judge = async {
        let mut silent = HashMap::new();
        loop {
            if follower().registrations.due_ms().is_none() {
                silent.clear();
                if when.recv().await.is_none() {
                    return;
                }
                continue;
            }
            sleep(JUDGE).await;
            let held: Vec<_> = follower().registrations.held().map(|(key, endpoint)| (key.into(), endpoint)).collect();
            let lost = judge_held(held, &mut silent).await;
            follower().lose(&lost);
        }
    };
    // What was confirmed before this began is no business of it.
    confirmations.mark_unchanged();
    let confirm = async {
        // Who tells ends after this.
        while confirmations.changed().await.is_ok() {
            follower().confirm();
        }
    };
    tokio::join!(follow, judge, confirm);
}

impl Follower {
    fn hear(&mut self, heard: Heard<'_>) {
        match heard {
            Heard::Changed { keys, changed, times, .. } => {
                (self.is_lost, self.is_heard) = (false, true);
                if times > 0 {
                    self.registrations.wait_on(now_ms());
                }
                self.take(keys, &changed);
                // What an earlier process found is there until the first answer.
                self.discovered.stored().iter().for_each(|endpoint| self.registrations.miss(*endpoint, now_ms()));
                self.look();
            }
            Heard::Lost { trouble, .. } => {
                self.is_lost = true;
                self.lost(&trouble.to_string());
            }
            Heard::Same { times, .. } => {
                self.is_lost = false;
                if times > 0 {
                    self.registrations.wait_on(now_ms());
                    self.look();
                }
                let failures = self.discovered.confirmed();
                if failures > 0 {
                    tracing::info!(upstream = %self.upstream, failures, "registrations are heard again");
                }
            }
        }
    }

    /// Those that do not answer go at once, the others when their time is over; but while nobody tells who comes back, none.
    fn lose(&mut self, lost: &[Box<[u8]>]) {
        if self.is_lost {
            return;
        }
        let is_due = self.registrations.due_ms().is_some_and(|due_ms| now_ms() >= due_ms);
        lost.iter().for_each(|key| self.registrations.lose(key));
        if is_due || !lost.is_empty() {
            self.look();
        }
    }

    fn confirm(&mut self) {
        // Where nothing was heard yet, nobody knows what is missing.
        if self.is_heard {
            self.registrations.confirm();
            self.look();
        }
    }

    fn lost(&self, reason: &str) {
        let is_first = !self.discovered.was_asked();
        fail(&self.upstream, &self.discovered, reason);
        if is_first {
            (self.tell)(&self.upstream);
        }
    }

    fn take(&mut self, keys: &Keys, changed: &BTreeSet<Arc<[u8]>>) {
        for key in changed {
            self.wrong.remove(key);
            match keys.entries.get(key).map(|value| endpoint(&value.bytes)) {
                Some(Ok(endpoint)) => self.registrations.register(key, endpoint),
                Some(Err(reason)) => {
                    let shown = String::from_utf8_lossy(key);
                    tracing::warn!(upstream = %self.upstream, key = %shown.escape_debug(), reason, "no endpoint");
                    self.wrong.insert(Arc::clone(key), reason);
                }
                None => self.registrations.leave(key, now_ms()),
            }
        }
    }

    fn look(&mut self) {
        let Step { is_new_trouble, held } = self.registrations.look(now_ms());
        if is_new_trouble {
            tracing::error!(upstream = %self.upstream, held, "most registrations went within seconds; their endpoints stay for a while");
        }
        if self.registrations.due_ms().is_some() {
            // Who listens ends together with this.
            let _ = self.due.send(());
        }
        let is_first = !self.discovered.was_asked();
        let found = self.registrations.found();
        if take_found(&self.upstream, &self.discovered, &found, self.doubt(held).as_deref()) || is_first {
            (self.tell)(&self.upstream);
        }
    }

    fn doubt(&self, held: usize) -> Option<String> {
        if held > 0 {
            return Some(format!(
                "most registrations went within seconds: {held} endpoints stay though they have gone"
            ));
        }
        let (key, reason) = self.wrong.first_key_value()?;
        let shown = String::from_utf8_lossy(key);
        let more = match self.wrong.len() {
            1 => String::new(),
            count => format!(" (and {} more)", count - 1),
        };
        Some(format!("{}: {reason}{more}", shown.escape_debug()))
    }
}

/// Those among endpoints that stay though they have gone which have not taken a connection twice in a row.
async fn judge_held(held: Vec<(Box<[u8]>, Endpoint)>, silent: &mut HashMap<Box<[u8]>, u32>) -> Vec<Box<[u8]>> {
    let mut lost = Vec::new();
    for some in held.chunks(MOST_AT_ONCE) {
        let mut asked = JoinSet::new();
        for (key, endpoint) in some {
            let (key, address) = (key.clone(), endpoint.address);
            asked.spawn(async move {
                // What this machine is short of says nothing of them.
                let connected = connect::tcp(address, ANSWER).await;
                (key, !connected.is_err_and(|error| !connect::is_our_own(&error)))
            });
        }
        while let Some(answer) = asked.join_next().await {
            let Ok((key, answers)) = answer else { continue };
            let times = silent.entry(key.clone()).or_default();
            *times = if answers { 0 } else { *times + 1 };
            if *times >= 2 {
                lost.push(key);
            }
        }
    }
    lost
}

/// `IP:PORT`, or a document of address and weight.
pub(super) fn endpoint(value: &[u8]) -> Result<Endpoint, String> {
    if value.len() > MOST_BYTES {
        return Err(format!("more than {MOST_BYTES} bytes are too long for an endpoint"));
    }
    let text = from_utf8(value).map_err(|error| format!("not UTF-8: {error}"))?.trim();
    if let Ok(address) = text.parse() {
        return Endpoint::at(address, Weight::USUAL);
    }
    let source = Arc::from("value");
    let tree = decode::parse(&source, text).map_err(|problem| problem.reason)?;
    let mut problems = Vec::new();
    let spec: Option<EndpointSpec> = decode::decode(&source, &tree, "", &mut problems);
    match spec {
        Some(spec) => Endpoint::new(&spec),
        None => Err(problems.first().map(|problem| problem.reason.clone()).unwrap_or_default()),
    }
}

fn now_ms() -> u64 {
    moment::now_us() / 1_000
}

/// How often those that stay though they have gone are asked whether they are there.
const JUDGE: Duration = Duration::from_secs(1);

/// How long they have to take a connection.
const ANSWER: Duration = Duration::from_millis(500);

/// How many are asked at one moment.
const MOST_AT_ONCE: usize = 32;

/// Far more than an address and a weight take.
const MOST_BYTES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_endpoints_or_say_why_not() {
        let shown = |value: &str| match endpoint(value.as_bytes()) {
            Ok(endpoint) => format!("{} {}", endpoint.address, endpoint.weight.get()),
            Err(reason) => reason,
        };
        assert_eq!(shown("10.0.0.1:8080"), "10.0.0.1:8080 1");
        assert_eq!(shown(" [2001:db8::1]:80\n"), "[2001:db8::1]:80 1");
        assert_eq!(shown(r#"{"address": "10.0.0.1:8080", "weight": 5}"#), "10.0.0.1:8080 5");
        assert_eq!(shown("address: 10.0.0.1:8080\n"), "10.0.0.1:8080 1");
        assert_eq!(shown("10.0.0.1:0"), "`10.0.0.1:0` has port 0");
        assert_eq!(shown("shop"), "`shop` is not an address such as 10.0.0.1:8080 or [2001:db8::1]:8080");
        for wrong in ["{\"address\": 1}", "{\"addres\": \"10.0.0.1:80\"}", "", "[]", "{"] {
            assert!(endpoint(wrong.as_bytes()).is_err_and(|reason| !reason.is_empty()), "{wrong}");
        }
        assert!(endpoint(&[0xff]).unwrap_err().starts_with("not UTF-8"));
        assert!(endpoint(&[b'1'; 5_000]).unwrap_err().contains("too long"));
    }
}
