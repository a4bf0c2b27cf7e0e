//! Pods: addresses of 127.0.0.0/8 at one port, each of which answers with its own address.
//!
//! One socket listens for all of them, and one thread serves the connections, of which a proxy may keep one to each pod. It listens at all
//! addresses of this machine, because a range is none; who comes from another machine is turned away. It runs until the program ends.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use crate::http::Head;
use crate::poll::{Moved, Places, Poller, listen};
use crate::process::free_port;

/// Starts them, and says at which port.
///
/// # Errors
/// When no port is free.
pub fn start() -> io::Result<u16> {
    let port = free_port()?;
    let listener = listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port))?;
    // Without it every request fails, and the bench says so.
    thread::spawn(move || drop(serve(&listener)));
    Ok(port)
}

fn serve(listener: &TcpListener) -> io::Result<()> {
    let (mut poller, mut connections) = (Poller::new()?, Places::default());
    poller.add(listener, LISTENER)?;
    loop {
        poller.wait(None, |poller, ready| {
            if ready.token == LISTENER {
                accept(listener, poller, &mut connections);
            } else if let Ok(place) = usize::try_from(ready.token)
                && connections.find(place).is_some_and(|connection| !connection.proceed())
            {
                connections.remove(place);
            }
            Ok(())
        })?;
    }
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    answer: Vec<u8>,
}

fn accept(listener: &TcpListener, poller: &Poller, connections: &mut Places<Connection>) {
    while let Ok((stream, client)) = listener.accept() {
        // One that cannot be set up is dropped; its client counts that as a failure.
        let Some(connection) = Connection::of(stream).filter(|_| client.ip().is_loopback()) else { continue };
        let place = connections.insert(connection);
        let added = connections.find(place).map(|new| poller.add(&new.stream, place as u64));
        if !matches!(added, Some(Ok(()))) {
            connections.remove(place);
        }
    }
}

impl Connection {
    fn of(stream: TcpStream) -> Option<Self> {
        stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).ok()?;
        let pod = stream.local_addr().ok()?.ip().to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{pod}", pod.len()).into_bytes();
        Some(Self { stream, read: Vec::new(), answer })
    }

    /// Answers what has come, which has no body here; false when the connection is over.
    fn proceed(&mut self) -> bool {
        let mut buffer = [0; 4096];
        loop {
            match Moved::from(self.stream.read(&mut buffer)) {
                Moved::Bytes(bytes) => self.read.extend_from_slice(&buffer[..bytes]),
                Moved::Later => return true,
                Moved::Gone => return false,
            }
            while let Some(head) = Head::find(&self.read) {
                self.read.drain(..head.len);
                // There is always room for so little; a socket that has none is as good as gone.
                if self.stream.write_all(&self.answer).is_err() {
                    return false;
                }
            }
        }
    }
}

const LISTENER: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;
    use crate::client::Client;

    #[test]
    fn each_pod_says_who_it_is() {
        let port = start().unwrap();
        for pod in [Ipv4Addr::new(127, 1, 0, 1), Ipv4Addr::new(127, 1, 39, 16)] {
            let mut client = Client::new(SocketAddrV4::new(pod, port));
            for _ in 0..2 {
                let answer = client.ask("a.test").unwrap();
                assert_eq!((answer.status, answer.body), (200, pod.to_string()));
            }
        }
    }
}
