//! One contestant under one run's load.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::outcome::Measured;
use super::watch::{Watched, watch};
use super::{Contestant, DEADLINE_MS, MEAN_MS, Phase, SIGMA, SLOTS};
use crate::load::poisson::{self, Plan};
use crate::peers::{Installed, Proxy, Setup, Spot, Started};
use crate::process::{Folder, Interrupt};
use crate::scenario::endpoints::{self, Endpoints, Make};

/// What all runs have in common.
#[derive(Debug)]
pub struct Stage {
    pub folder: Folder,
    /// Of the proxy and of the endpoints.
    pub cores: [usize; 2],
    pub open_files: u64,
    /// Of each phase.
    pub seconds: f64,
    pub seed: u64,
}

impl Stage {
    /// # Errors
    /// When something cannot be started, ends early, or the run says nothing.
    pub fn run(&self, contestant: Contestant, installed: &Installed, interrupt: &Interrupt) -> io::Result<Measured> {
        let make = Make {
            program: endpoints::program()?,
            folder: self.folder.path().to_owned(),
            core: self.cores[1],
            mean_ms: MEAN_MS,
            sigma: SIGMA,
            seed: self.seed,
        };
        let mut endpoints = Endpoints::start(make, &SLOTS, false, interrupt)?;
        let spot = Spot {
            folder: self.folder.path(),
            core: self.cores[0],
            open_files: self.open_files,
            endpoints: endpoints.addresses(),
            setup: Setup::Overload,
            certificate: None,
            limits: contestant.limits(),
        };
        let mut started = spot.start(installed, interrupt)?;
        let start = endpoints.begin()?;
        let plan = Plan {
            target: started.target,
            tls: None,
            one_each: false,
            path: "/1k".to_owned(),
            body: 1 << 10,
            stretches: Phase::ALL.map(|phase| phase.stretch(self.seconds)).to_vec(),
            // Not the seed of an endpoint: its times would follow the arrivals.
            seed: !self.seed,
            start,
            deadline: Duration::from_millis(DEADLINE_MS),
            // The generator and the proxy need one descriptor each, the proxy another to its endpoint.
            connections: usize::try_from(self.open_files / 3).unwrap_or(usize::MAX).min(8_192),
        };
        let (load, watched) = watched_load(&plan, contestant, &started, interrupt);
        if let Some(why) = started.running.ended() {
            return Err(io::Error::other(why));
        }
        Measured::new(contestant, self.seconds, &load?, watched).map_err(io::Error::other)
    }
}

/// Processes end with the thread that started them, so it is the watch that has a thread of its own.
fn watched_load(
    plan: &Plan,
    contestant: Contestant,
    started: &Started,
    interrupt: &Interrupt,
) -> (io::Result<poisson::Outcome>, Option<Watched>) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let has_admin = contestant.proxy() == Proxy::Serin;
        let watching = has_admin.then(|| scope.spawn(|| watch(started.admin, &stop)));
        let load = poisson::run(plan, interrupt);
        stop.store(true, Ordering::Relaxed);
        (load, watching.and_then(|watching| watching.join().ok()))
    })
}
