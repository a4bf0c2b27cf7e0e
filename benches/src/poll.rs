//! epoll, edge triggered, and a list of numbered places for connections.
//!
//! Every socket is registered once, for reading and writing; the owner remembers what it was told. A place may be
//! given to a new connection while an event of its predecessor is still in the batch: such an event only makes the
//! newcomer look at its socket once too often.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Something happened at the place `token`.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    pub token: u64,
    pub readable: bool,
    pub writable: bool,
}

/// Waits for sockets.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl Poller {
    /// # Errors
    /// When the kernel gives no epoll descriptor.
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, events: Vec::with_capacity(512) })
    }

    /// # Errors
    /// When the descriptor cannot be polled.
    pub fn add(&self, socket: impl AsFd, token: u64) -> io::Result<()> {
        use epoll::EventFlags as On;
        Ok(epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token), On::IN | On::OUT | On::RDHUP | On::ET)?)
    }

    /// Waits at most `timeout` (for ever without one) and hands what happened to `each`.
    ///
    /// # Errors
    /// When the kernel refuses to wait, or the first error of `each`.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut each: impl FnMut(&Self, Ready) -> io::Result<()>,
    ) -> io::Result<()> {
        let timeout = timeout
            .map(|time| Timespec { tv_sec: time.as_secs().cast_signed(), tv_nsec: i64::from(time.subsec_nanos()) });
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            let flags = event.flags;
            let broken = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP | epoll::EventFlags::RDHUP);
            let ready = Ready {
                token: event.data.u64(),
                readable: broken || flags.contains(epoll::EventFlags::IN),
                writable: broken || flags.contains(epoll::EventFlags::OUT),
            };
            each(self, ready)?;
        }
        self.events = events;
        Ok(())
    }
}

/// Listens, nonblocking, with room for a thousand connections that come at once: with less the kernel drops some, and
/// their second try is a second later.
///
/// # Errors
/// When the address is taken or not ours.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket =
        rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, 4_096)?;
    Ok(TcpListener::from(socket))
}

/// Numbered places, reused.
#[derive(Debug)]
pub struct Places<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Places<T> {
    fn default() -> Self {
        Self { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Places<T> {
    pub fn insert(&mut self, value: T) -> usize {
        if let Some(place) = self.free.pop() {
            self.places[place] = Some(value);
            return place;
        }
        self.places.push(Some(value));
        self.places.len() - 1
    }

    pub fn remove(&mut self, place: usize) -> Option<T> {
        let value = self.places.get_mut(place)?.take();
        if value.is_some() {
            self.free.push(place);
        }
        value
    }

    /// How many are taken.
    #[must_use]
    pub fn count(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// The places of those that `is` says.
    pub fn which(&self, is: impl Fn(&T) -> bool) -> Vec<usize> {
        let places = self.places.iter().enumerate();
        places.filter(|(_, value)| value.as_ref().is_some_and(&is)).map(|(place, _)| place).collect()
    }

    pub fn find(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.as_mut()
    }
}

/// What a read or a write on a nonblocking socket came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    Bytes(usize),
    /// Nothing now; an event will say when.
    Later,
    /// The other side is gone.
    Gone,
}

impl From<io::Result<usize>> for Moved {
    fn from(result: io::Result<usize>) -> Self {
        match result {
            Ok(0) => Self::Gone,
            Ok(bytes) => Self::Bytes(bytes),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Self::Later,
            // Nobody sends signals to be noticed here; the next event brings the owner back.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Self::Later,
            Err(_) => Self::Gone,
        }
    }
}
