//! When the kernel gives up a connection whose other end is silent: a host that lost its power or its network says no
//! goodbye.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// What the kernel is to do about silence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Liveness {
    /// After this time without a packet it asks the other end's host whether it is still there.
    pub(crate) keepalive: Duration,
    /// After this time without an acknowledgement, asked for or not, it gives up. `None`: after [`PROBES`] questions
    /// without an answer, and with data on the way after `net.ipv4.tcp_retries2` repetitions.
    pub(crate) user_timeout: Option<Duration>,
}

impl Liveness {
    /// Applies it to a connection, or to a listening socket, whose connections inherit it.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn apply<'s>(self, socket: impl Into<SockRef<'s>>) -> io::Result<()> {
        let socket = socket.into();
        let keepalive = TcpKeepalive::new().with_time(self.keepalive).with_interval(INTERVAL).with_retries(PROBES);
        socket.set_tcp_keepalive(&keepalive)?;
        match self.user_timeout {
            Some(_) => socket.set_tcp_user_timeout(self.user_timeout),
            None => Ok(()),
        }
    }
}

/// From one question to the next.
const INTERVAL: Duration = Duration::from_secs(5);

/// Questions without an answer.
const PROBES: u32 = 3;
