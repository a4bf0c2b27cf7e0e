//! A crowd of connections that open, say something, and say more of it at intervals, whatever is answered.
//!
//! One thread, with the lowest priority: whoever shares its core comes first. It holds a bounded number of connections, each
//! with at most one burst that is not sent yet, and replaces those that end.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::net::{SocketFlags, sockopt};

use crate::load::connection::connect_from;
use crate::load::wire::Wire;
use crate::poll::{Moved, Places, Poller};
use crate::tls::Tls;

/// Where it comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Door {
    /// The address for clear text.
    Clear,
    /// That for TLS, with bytes as they are.
    Secure,
    /// The same, with a handshake.
    Tls,
}

/// What each of its connections does.
#[derive(Debug)]
pub(super) struct Habit {
    pub(super) door: Door,
    /// So many are open at a time.
    pub(super) connections: usize,
    pub(super) opens_per_s: f64,
    pub(super) opening: Vec<u8>,
    /// What follows; it is told how many bursts the connection has had.
    pub(super) burst: Option<fn(u32) -> Vec<u8>>,
    /// Between bursts.
    pub(super) every: Duration,
    /// It reads what comes, and forgets it.
    pub(super) reads: bool,
    /// It goes with the first byte that comes.
    pub(super) leaves: bool,
}

impl Default for Habit {
    fn default() -> Self {
        Self {
            door: Door::Clear,
            connections: 1,
            opens_per_s: 2_000.0,
            opening: Vec::new(),
            burst: None,
            every: Duration::from_secs(1),
            reads: false,
            leaves: false,
        }
    }
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Did {
    pub opened: u64,
    /// Connections that the proxy ended.
    pub ended: u64,
    /// Bytes that were taken, without those of TLS.
    pub sent: u64,
}

/// Attacks `target` until it is told to stop; then all connections end at once.
pub(super) fn attack(habit: &Habit, target: SocketAddrV4, tls: &Tls, stop: &AtomicBool) -> io::Result<Did> {
    rustix::process::setpriority_process(Some(rustix::thread::gettid()), 19)?;
    let mut poller = Poller::new()?;
    let mut crowd = Crowd::new(habit, target, tls);
    while !stop.load(Ordering::Relaxed) {
        crowd.open(&poller)?;
        crowd.take_turns();
        poller.wait(Some(crowd.pause()), |_, ready| {
            if let Ok(place) = usize::try_from(ready.token) {
                crowd.proceed(place);
            }
            Ok(())
        })?;
    }
    Ok(crowd.did)
}

struct Member {
    wire: Wire,
    /// The number of its connection: a place is used again.
    number: u64,
    bursts: u32,
    unsent: Vec<u8>,
}

struct Crowd<'h> {
    habit: &'h Habit,
    target: SocketAddrV4,
    tls: Option<&'h Tls>,
    members: Places<Member>,
    /// When which connection has its next burst, the earliest first.
    turns: VecDeque<(Instant, usize, u64)>,
    next_open: Instant,
    did: Did,
    scratch: Vec<u8>,
}

/// Attackers come from addresses of their own.
const SOURCES: Ipv4Addr = Ipv4Addr::new(127, 9, 0, 0);

impl<'h> Crowd<'h> {
    fn new(habit: &'h Habit, target: SocketAddrV4, tls: &'h Tls) -> Self {
        Self {
            habit,
            target,
            tls: (habit.door == Door::Tls).then_some(tls),
            members: Places::default(),
            turns: VecDeque::new(),
            next_open: Instant::now(),
            did: Did::default(),
            scratch: vec![0; 64 << 10],
        }
    }

    /// Opens as many as are missing, no faster than it may.
    fn open(&mut self, poller: &Poller) -> io::Result<()> {
        let now = Instant::now();
        // A crowd that was full does not come with all at once that it could have opened meanwhile.
        self.next_open = self.next_open.max(now - MOST_PAUSE);
        while self.next_open <= now && self.has_room() {
            self.next_open += Duration::from_secs_f64(1.0 / self.habit.opens_per_s);
            let stream = connect_from(SOURCES, self.target, SocketFlags::NONBLOCK)?;
            stream.set_nodelay(true)?;
            if !self.habit.reads {
                // The kernel shall not read megabytes for who reads nothing; it rounds up to what it needs.
                sockopt::set_socket_recv_buffer_size(&stream, 4 << 10)?;
            }
            let wire = Wire::over(stream, self.tls)?;
            self.did.opened += 1;
            let number = self.did.opened;
            let place = self.members.insert(Member { wire, number, bursts: 0, unsent: self.habit.opening.clone() });
            if let Some(member) = self.members.find(place) {
                poller.add(&member.wire, place as u64)?;
            }
            if self.habit.burst.is_some() {
                self.turns.push_back((now + self.habit.every, place, number));
            }
        }
        Ok(())
    }

    /// Each whose time has come has a burst, unless the last one is still being sent.
    fn take_turns(&mut self) {
        let now = Instant::now();
        while let Some(&(due, place, number)) = self.turns.front().filter(|(due, ..)| *due <= now) {
            self.turns.pop_front();
            let member = self.members.find(place).filter(|member| member.number == number);
            if let (Some(member), Some(burst)) = (member, self.habit.burst) {
                if member.unsent.is_empty() {
                    member.unsent = burst(member.bursts);
                    member.bursts += 1;
                }
                // Who is late does not catch up.
                self.turns.push_back(((due + self.habit.every).max(now), place, number));
                self.send(place);
            }
        }
    }

    fn has_room(&self) -> bool {
        self.members.count() < self.habit.connections
    }

    fn pause(&self) -> Duration {
        let open = self.has_room().then_some(self.next_open);
        let next = open.into_iter().chain(self.turns.front().map(|(due, ..)| *due)).min();
        next.map_or(MOST_PAUSE, |next| next.saturating_duration_since(Instant::now()).min(MOST_PAUSE))
    }

    /// Reads, which also makes a handshake go on, and sends.
    fn proceed(&mut self, place: usize) {
        while self.habit.reads
            && let Some(member) = self.members.find(place)
        {
            match Moved::from(member.wire.read(&mut self.scratch)) {
                Moved::Bytes(_) if self.habit.leaves => self.leave(place),
                Moved::Bytes(_) => {}
                Moved::Later => break,
                Moved::Gone => self.end(place),
            }
        }
        self.send(place);
    }

    fn send(&mut self, place: usize) {
        while let Some(member) = self.members.find(place)
            && !member.unsent.is_empty()
        {
            match Moved::from(member.wire.write(&member.unsent)) {
                Moved::Bytes(bytes) => {
                    member.unsent.drain(..bytes);
                    self.did.sent += bytes as u64;
                }
                Moved::Later => break,
                Moved::Gone => self.end(place),
            }
        }
    }

    fn end(&mut self, place: usize) {
        self.did.ended += 1;
        self.leave(place);
    }

    fn leave(&mut self, place: usize) {
        self.members.remove(place);
    }
}

/// It looks up so often, to see whether it is to stop.
const MOST_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::*;
    use crate::process::Folder;
    use crate::tls::{Certificate, Tickets};

    /// Who is put out comes again, says the opening again and then its bursts from the first one on.
    #[test]
    fn who_is_put_out_comes_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let SocketAddr::V4(target) = listener.local_addr().unwrap() else { panic!("it is of version 4") };
        let folder = Folder::new().unwrap();
        let tls = Certificate::make(folder.path()).unwrap().client("h2", Tickets::Forgotten).unwrap();
        let habit = Habit {
            opening: b"hello".to_vec(),
            burst: Some(|times| vec![b'0' + u8::try_from(times).unwrap(); 2]),
            every: Duration::from_millis(1),
            reads: true,
            ..Habit::default()
        };
        let stop = AtomicBool::new(false);
        let did = std::thread::scope(|scope| {
            let attack = scope.spawn(|| attack(&habit, target, &tls, &stop));
            for _ in 0..2 {
                let (mut stream, from) = listener.accept().unwrap();
                let mut said = [0; 9];
                stream.read_exact(&mut said).unwrap();
                assert_eq!(&said, b"hello0011");
                assert!(from.to_string().starts_with("127.9."), "{from}");
            }
            let _third = listener.accept().unwrap();
            stop.store(true, Ordering::Relaxed);
            attack.join().unwrap().unwrap()
        });
        assert!(did.opened == 3 && did.ended == 2 && did.sent >= 18, "{did:?}");
    }
}
