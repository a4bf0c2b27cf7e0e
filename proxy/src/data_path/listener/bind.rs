//! Listening sockets: how they are made, and how one takes the place of another without a gap.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};

use crate::connect::Liveness;

/// Binds an address so that all workers can accept from it.
///
/// # Errors
/// What the operating system says, for example that the address is in use.
pub(crate) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    bind_beside(address, &[])
}

/// Binds an address although some of our own sockets, which will close soon, stand in its way: `0.0.0.0` and `127.0.0.1`
/// exclude each other at one port. Until the old ones close, the kernel gives each connection to the most precise one.
///
/// # Errors
/// What the operating system says, for example that somebody else has the address.
pub(crate) fn bind_beside(address: SocketAddr, leaving: &[&TcpListener]) -> io::Result<TcpListener> {
    let socket = new(address)?;
    let mut all: Vec<SockRef<'_>> = leaving.iter().map(|leaving| SockRef::from(*leaving)).collect();
    all.push(SockRef::from(&socket));
    // For this moment only: while it is set, other processes of the same user could share the address.
    let is_needed = !leaving.is_empty();
    let share = |on| all.iter().filter(|_| is_needed).try_for_each(|socket| socket.set_reuse_port(on));
    let bound = share(true).and_then(|()| socket.bind(&address.into())).and_then(|()| socket.listen(BACKLOG));
    share(false)?;
    bound?;
    Ok(socket.into())
}

/// From now on no handshake begins at a socket; those under way can be finished and accepted. A first packet is not
/// answered, so its sender repeats it and meets whoever listens there then. Closing alone would reset connections whose
/// handshake ends between the last look into the queue and the closing.
///
/// # Errors
/// The operating system has no such filter.
pub(crate) fn refuse_new(socket: &TcpListener) -> io::Result<()> {
    const LOAD_BYTE: u16 = 0x30;
    const AND: u16 = 0x54;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    // The filter sees the TCP header (RFC 9293 §3.1): byte 13 holds the flags, and SYN without ACK opens a connection.
    SockRef::from(socket).attach_filter(&[
        SockFilter::new(LOAD_BYTE, 0, 0, 13),
        SockFilter::new(AND, 0, 0, SYN | ACK),
        SockFilter::new(JUMP_IF_EQUAL, 0, 1, SYN),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
    ])
}

fn new(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the old process to leave TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Accepted sockets inherit these from the listening one, which saves as many system calls per connection.
    // A response head and its body leave in one write; waiting for more would only add latency.
    socket.set_tcp_nodelay(true)?;
    CLIENTS.apply(&socket)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// A client whose host is gone is given up after a minute, whether something is on its way to it or not.
const CLIENTS: Liveness = Liveness { keepalive: Duration::from_secs(45), user_timeout: Some(Duration::from_secs(60)) };

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_of_clients_are_watched() {
        let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
        listener.set_nonblocking(false).unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), CLIENTS.keepalive);
        assert_eq!(socket.tcp_user_timeout().unwrap(), CLIENTS.user_timeout);
    }
}
