//! One change after the other, each until it is served.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use super::Change;
use super::cluster::{Cluster, host};
use super::outcome::Changes;
use super::start::{Started, is_from_pod};
use crate::client::Client;
use crate::process::Interrupt;
use crate::random::Random;

/// How changes are made.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Changes of each kind.
    pub samples: u32,
    /// How long one is waited for.
    pub patience: Duration,
    pub seed: u64,
}

/// They come after pauses of random length up to this: long enough that one is not merged with the one before, and at no certain place
/// between two looks of whoever looks at intervals.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Between two questions whether a change is there.
const BREATH: Duration = Duration::from_micros(50);

/// What is waited for: that a pod of the Service answers for the host.
#[derive(Clone, Debug)]
pub struct Awaited {
    host: String,
    service: u32,
    began: Instant,
    /// The API server's own part.
    stored: Duration,
}

impl Awaited {
    /// Makes the change. Counts from before the write, so that the API server's own time is in it: its thread tells watches as soon as it
    /// has the change, which may be before whoever made it is told.
    #[must_use]
    pub fn begin(change: Change, cluster: &mut Cluster, service: u32, number: u32) -> Self {
        let began = Instant::now();
        let host = match change {
            Change::Slice => {
                cluster.move_pods(service);
                host(service)
            }
            Change::Ingress => cluster.add_ingress(number, service),
        };
        Self { host, service, began, stored: began.elapsed() }
    }

    /// Asks all the time until it is served; none when it is not in time.
    ///
    /// # Errors
    /// When it is interrupted.
    pub fn wait(
        &self,
        cluster: &Cluster,
        client: &mut Client,
        patience: Duration,
        interrupt: &Interrupt,
    ) -> io::Result<Option<Duration>> {
        loop {
            interrupt.check()?;
            if is_from_pod(client, cluster, &self.host, "/", self.service) {
                return Ok(Some(self.began.elapsed()));
            }
            if self.began.elapsed() > patience {
                return Ok(None);
            }
            thread::sleep(BREATH);
        }
    }
}

/// # Errors
/// When it is interrupted.
pub fn play(
    change: Change,
    pace: &Pace,
    cluster: &mut Cluster,
    started: &Started,
    interrupt: &Interrupt,
) -> io::Result<Changes> {
    let (mut changes, mut client) = (Changes::default(), Client::new(started.target));
    let mut random = Random(pace.seed);
    for number in 0..pace.samples {
        interrupt.sleep(LONGEST_PAUSE.mul_f64(random.unit()))?;
        let service = random.below(cluster.services());
        let awaited = Awaited::begin(change, cluster, service, number);
        let served = awaited.wait(cluster, &mut client, pace.patience, interrupt)?;
        changes.add(served, awaited.stored);
        // One that is not served would be waited for as long the next time.
        if changes.unserved > 0 {
            break;
        }
    }
    Ok(changes)
}
