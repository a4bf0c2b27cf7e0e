//! One attack, and everybody else meanwhile.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::crowd::{self, Did, Door};
use super::outcome::{self, Measured, Memory};
use super::{Attack, Honest, Phase};
use crate::admin;
use crate::load::poisson::{self, Plan, Stretch};
use crate::peers::{Bench, Installed, Setup, Started};
use crate::process::Interrupt;
use crate::tls::{Tickets, Tls};
use crate::usage::{self, CpuReading};

/// What all runs have in common.
#[derive(Debug)]
pub struct Stage {
    pub bench: Bench,
    /// Of an attack.
    pub seconds: f64,
    pub seed: u64,
}

impl Stage {
    /// # Errors
    /// When something cannot be started, the proxy ends, or does not say how it is afterwards.
    pub fn run(&self, attack: Attack, serin: &Installed, interrupt: &Interrupt) -> io::Result<Measured> {
        let mut started = self.bench.start(serin, Setup::Tls, interrupt)?;
        let tls = self.bench.tls("http/1.1", Tickets::Forgotten)?;
        let counters = admin::counters(&admin::metrics(started.admin)?);
        let start = Instant::now() + Duration::from_millis(100);
        let plans = Honest::ALL.map(|honest| (honest, self.plan(honest, start, &started, &tls)));
        let (loads, attacked) = thread::scope(|scope| {
            // Processes end with the thread that started them, so it is the users that have threads of their own.
            let users = plans.each_ref().map(|(honest, plan)| (*honest, scope.spawn(|| poisson::run(plan, interrupt))));
            let attacked = self.attack(attack, &started, &tls, start, interrupt);
            let loads = users.map(|(honest, user)| Ok((honest, joined(user)?)));
            (loads.into_iter().collect::<io::Result<Vec<_>>>(), attacked)
        });
        if let Some(why) = started.running.ended() {
            return Err(io::Error::other(why));
        }
        let (loads, Attacked { did, readings, core_use }) = (loads?, attacked?);
        let mut grown = admin::counters(&admin::metrics(started.admin)?);
        for (name, before) in counters {
            grown.entry(name).and_modify(|count| *count = count.saturating_sub(before));
        }
        Ok(Measured {
            figures: outcome::figures(&loads, self.seconds),
            memory: Memory::of(&readings, self.seconds),
            core_use,
            did,
            counters: grown.into_iter().filter(|(_, count)| *count > 0).collect(),
            lag_p99_ms: outcome::lag_p99_ms(&loads),
        })
    }

    fn plan(&self, honest: Honest, start: Instant, started: &Started, tls: &Tls) -> Plan {
        Plan {
            target: started.target,
            tls: Some(tls.clone()),
            one_each: honest == Honest::Newcomers,
            path: "/1k".to_owned(),
            body: 1 << 10,
            stretches: vec![Stretch { rate: honest.rate(), seconds: Phase::After.seconds(self.seconds).end }],
            seed: self.seed ^ honest as u64,
            start,
            deadline: Duration::from_secs(5),
            connections: 1_024,
        }
    }

    /// Waits, attacks and waits again, and reads the proxy's memory all along.
    fn attack(
        &self,
        attack: Attack,
        started: &Started,
        tls: &Tls,
        start: Instant,
        interrupt: &Interrupt,
    ) -> io::Result<Attacked> {
        let pids = usage::tree(started.running.pid());
        let mut readings = Vec::new();
        let mut watch_until = |end_s: f64| {
            let end = start + Duration::from_secs_f64(end_s);
            while Instant::now() < end {
                readings.push((start.elapsed().as_secs_f64(), usage::Memory::of(&pids).rss_kib));
                interrupt.sleep(EVERY.min(end.saturating_duration_since(Instant::now())))?;
            }
            io::Result::Ok(())
        };
        let during = Phase::During.seconds(self.seconds);
        watch_until(during.start)?;
        let habit = attack.habit(&tls.hello()?);
        let target = if habit.door == Door::Clear { started.clear } else { started.target };
        let (stop, before) = (AtomicBool::new(false), CpuReading::of(&pids));
        let (did, watched) = thread::scope(|scope| {
            let attackers = scope.spawn(|| crowd::attack(&habit, target, tls, &stop));
            let watched = watch_until(during.end);
            stop.store(true, Ordering::Relaxed);
            (joined(attackers), watched)
        });
        let used = CpuReading::of(&pids).since(before);
        watched.and_then(|()| watch_until(Phase::After.seconds(self.seconds).end))?;
        Ok(Attacked { did: did?, readings, core_use: used.total_us() / (self.seconds * 1e6) })
    }
}

struct Attacked {
    did: Did,
    readings: Vec<(f64, u64)>,
    core_use: f64,
}

/// Memory is read so often.
const EVERY: Duration = Duration::from_millis(200);

fn joined<T>(thread: thread::ScopedJoinHandle<'_, io::Result<T>>) -> io::Result<T> {
    thread.join().map_err(|_| io::Error::other("a thread of the bench panicked"))?
}
