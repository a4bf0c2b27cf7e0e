//! One visit to one contender: a new cluster, a start, changes one by one, and perhaps a storm.

use std::io;
use std::path::Path;
use std::time::Duration;

use super::changes::{Pace, play};
use super::cluster::Cluster;
use super::outcome::Visit;
use super::start::Ground;
use super::storm::Storm;
use super::{Change, Contender};
use crate::process::Interrupt;

/// What there is to see.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    pub ingresses: u32,
    pub pods_each: u32,
    /// Of all pods.
    pub port: u16,
    pub pace: Pace,
    pub storm: Option<Storm>,
}

/// After the start: caches fill, allocators give back, garbage goes.
const SETTLES: Duration = Duration::from_secs(1);

impl Stage {
    /// # Errors
    /// When it does not start, or ends early.
    pub fn visit(
        &self,
        contender: Contender,
        program: &Path,
        ground: &Ground,
        interrupt: &Interrupt,
    ) -> io::Result<Visit> {
        let mut cluster = Cluster::start(contender, self.ingresses, self.pods_each, self.port);
        let mut started = ground.start(contender, program, &cluster, interrupt)?;
        interrupt.sleep(SETTLES)?;
        let mut changes = |change| play(change, &self.pace, &mut cluster, &started, interrupt);
        let (slice, ingress) = (changes(Change::Slice)?, changes(Change::Ingress)?);
        let storm = self.storm.map(|storm| storm.play(contender, &mut cluster, &started, interrupt)).transpose()?;
        match started.running.ended() {
            Some(why) => Err(io::Error::other(why)),
            None => Ok(Visit { start: started.start, slice, ingress, storm }),
        }
    }
}
