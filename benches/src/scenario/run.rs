//! One proxy in one scenario: endpoints, proxy and load are started, and things happen when the script says so.
//!
//! The load has a thread of its own; the script goes on on the calling one. That one starts processes, and those end
//! with the thread that started them: it must be the one that waits for the end.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::endpoints::{Endpoints, Make};
use super::outcome::Measured;
use super::{Event, Scenario};
use crate::load::poisson::{self, Plan, Stretch};
use crate::peers::{Installed, Setup, Spot, Started};
use crate::process::{Folder, Interrupt};

/// What all runs have in common.
#[derive(Debug)]
pub struct Stage {
    pub folder: Folder,
    /// Of the proxy and of the endpoints.
    pub cores: [usize; 2],
    pub open_files: u64,
    /// Requests take so many times longer than by design, and come so many times slower.
    pub slower: f64,
    pub seed: u64,
}

impl Stage {
    /// Runs `scenario` before `installed`.
    ///
    /// # Errors
    /// When something cannot be started, ends early, or the run says nothing.
    pub fn run(&self, scenario: &Scenario, installed: &Installed, interrupt: &Interrupt) -> io::Result<Measured> {
        let make = Make::usual(self.folder.path(), self.cores[1], self.slower, self.seed)?;
        let mean_ms = make.mean_ms;
        let mut endpoints = Endpoints::start(make, &scenario.slots, scenario.kills(), interrupt)?;
        let spot = Spot {
            folder: self.folder.path(),
            core: self.cores[0],
            open_files: self.open_files,
            endpoints: endpoints.addresses(),
            setup: Setup::Several,
            certificate: None,
            limits: "",
        };
        let mut started = spot.start(installed, interrupt)?;
        let start = endpoints.begin()?;
        let plan = self.plan(scenario.rate(mean_ms), scenario.end_s, start, &started);
        let (load, script) = thread::scope(|scope| {
            let load = scope.spawn(|| poisson::run(&plan, interrupt));
            let script = play(scenario, &mut endpoints, start, interrupt);
            (load.join(), script)
        });
        let load = load.map_err(|_| io::Error::other("the load generator panicked"))??;
        script?;
        if let Some(why) = started.running.ended() {
            return Err(io::Error::other(why));
        }
        Measured::new(scenario, &load, &endpoints.counts()?).map_err(io::Error::other)
    }

    fn plan(&self, rate: f64, end_s: f64, start: Instant, started: &Started) -> Plan {
        Plan {
            target: started.target,
            tls: None,
            one_each: false,
            path: "/1k".to_owned(),
            body: 1 << 10,
            stretches: vec![Stretch { rate, seconds: end_s }],
            // Not the seed of an endpoint: its times would follow the arrivals.
            seed: !self.seed,
            start,
            // The proxies answer 504 after 10 s; one that does not has lost the request too.
            deadline: Duration::from_secs(11),
            // The generator and the proxy need one descriptor each, the proxy another to its endpoint.
            connections: usize::try_from(self.open_files / 3).unwrap_or(usize::MAX).min(8_192),
        }
    }
}

fn play(scenario: &Scenario, endpoints: &mut Endpoints, start: Instant, interrupt: &Interrupt) -> io::Result<()> {
    for &(at_s, event) in &scenario.events {
        let at = start + Duration::from_secs_f64(at_s);
        interrupt.sleep(at.saturating_duration_since(Instant::now()))?;
        match event {
            Event::Tell(endpoint, order) => endpoints.tell(endpoint, order)?,
            Event::Kill(endpoint) => endpoints.kill(endpoint)?,
            Event::Start(endpoint) => endpoints.start_again(endpoint, interrupt)?,
        }
    }
    Ok(())
}
