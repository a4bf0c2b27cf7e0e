//! One visit to one contender: it starts, is left alone for a moment, and then sees one change after the other.

use std::io;
use std::net::SocketAddrV4;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::layout::{MOVING, Write};
use super::outcome::{Changes, Visit};
use super::start::{Ground, Started};
use super::steady::Asking;
use super::store::{Store, wait};
use super::{Change, Contender};
use crate::client::Client;
use crate::process::Interrupt;
use crate::random::Random;

/// What all visits have in common.
#[derive(Debug)]
pub struct Stage<'s> {
    pub store: &'s Store,
    /// The first is where everything leads at the start.
    pub endpoints: [SocketAddrV4; 2],
    /// Changes of each kind.
    pub samples: usize,
    /// Time for them.
    pub time: Duration,
    /// How long one change is waited for.
    pub patience: Duration,
    /// No pause between changes is longer, whoever it is.
    pub longest_pause: Duration,
}

/// After the start: caches fill, allocators give back, garbage goes.
const SETTLES: Duration = Duration::from_secs(1);
/// Between two questions whether a change is there.
const BREATH: Duration = Duration::from_micros(50);

impl Stage<'_> {
    /// # Errors
    /// When it does not start, or ends early.
    pub fn visit(
        &self,
        contender: Contender,
        program: &Path,
        ground: &Ground,
        interrupt: &Interrupt,
    ) -> io::Result<Visit> {
        let mut started = ground.start(contender, program, interrupt)?;
        interrupt.sleep(SETTLES)?;
        let memory = started.memory();
        let steady = Asking::start(started.target);
        let changes = Change::ALL.map(|change| self.changes(change, contender, &started, interrupt));
        let steady = steady.end();
        if let Some(why) = started.running.ended() {
            return Err(io::Error::other(why));
        }
        let cold_s = started.cold_s;
        // Before what it follows is set back: it need not see that.
        drop(started);
        let [endpoint, route] = changes;
        let (endpoint, route) = (endpoint?, route?);
        self.set_back(contender, route.count(), interrupt)?;
        Ok(Visit { cold_s, memory, endpoint, route, steady })
    }

    fn changes(
        &self,
        change: Change,
        contender: Contender,
        started: &Started,
        interrupt: &Interrupt,
    ) -> io::Result<Changes> {
        let (mut changes, mut client) = (Changes::default(), Client::new(started.target));
        let mut random = Random(started.seed);
        let end = Instant::now() + self.time;
        let longest_pause = contender.longest_pause().min(self.longest_pause);
        for number in 0.. {
            interrupt.sleep(longest_pause.mul_f64(random.unit()))?;
            let is_late = Instant::now() > end && changes.count() > 0;
            if changes.count() == self.samples || changes.unserved > 0 || is_late {
                break;
            }
            let (host, writes, from) = self.next(change, contender, number);
            self.change(&host, writes, from, &mut client, &mut changes, interrupt)?;
        }
        Ok(changes)
    }

    /// The host to ask for, what to write, and who is to answer then.
    fn next(&self, change: Change, contender: Contender, number: u32) -> (String, Vec<Write>, SocketAddrV4) {
        match change {
            Change::Endpoint => {
                let to = self.endpoints[usize::from(number.is_multiple_of(2))];
                (MOVING.to_owned(), contender.moves(to), to)
            }
            Change::Route => {
                let (host, writes) = contender.adds(number);
                (host, writes, self.endpoints[0])
            }
        }
    }

    /// Counts from when the write is sent, so etcd's own time is in it.
    fn change(
        &self,
        host: &str,
        writes: Vec<Write>,
        from: SocketAddrV4,
        client: &mut Client,
        changes: &mut Changes,
        interrupt: &Interrupt,
    ) -> io::Result<()> {
        let began = Instant::now();
        let told = self.store.begin(writes);
        let served = loop {
            interrupt.check()?;
            // What goes wrong meanwhile is for the steady client to count.
            if client.ask(host).is_ok_and(|answer| answer.is_from(from)) {
                break Some(began.elapsed());
            }
            if began.elapsed() > self.patience {
                break None;
            }
            thread::sleep(BREATH);
        };
        let stored = wait(&told)?;
        changes.add(served, stored);
        Ok(())
    }

    /// As it was before the visit.
    fn set_back(&self, contender: Contender, routes: usize, interrupt: &Interrupt) -> io::Result<()> {
        let added = (0..u32::try_from(routes).unwrap_or(u32::MAX)).flat_map(|number| contender.adds(number).1);
        let gone = added.map(|(key, _)| (key, None));
        self.store.write(gone.chain(contender.moves(self.endpoints[0])), interrupt)
    }
}
