//! Clients that ask all the time, each request on a connection of its own, and remember what they did not get.

use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::HOST;
use crate::support::client::request;
use crate::support::{Client, PATIENCE, eventually};

const CLIENTS: usize = 3;
/// Between two requests of one client.
const PAUSE: Duration = Duration::from_millis(2);

pub(super) struct Crowd {
    shared: Arc<Mutex<Shared>>,
    clients: Vec<JoinHandle<()>>,
}

struct Shared {
    /// None when it is over.
    address: Option<SocketAddr>,
    /// Where each of them is asking just now.
    asking: [Option<SocketAddr>; CLIENTS],
    served: usize,
    lost: Vec<String>,
}

impl Crowd {
    pub(super) fn start(address: SocketAddr) -> Self {
        let shared = Shared { address: Some(address), asking: [None; CLIENTS], served: 0, lost: Vec::new() };
        let shared = Arc::new(Mutex::new(shared));
        let client = |place| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || ask_on(&shared, place))
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { shared, clients }
    }

    /// Everybody asks there from now on. When this returns, nobody asks elsewhere any more, and some have been served.
    pub(super) fn asks(&self, address: SocketAddr) {
        let mut shared = self.shared.lock().expect("the clients run");
        shared.address = Some(address);
        let before = shared.served;
        drop(shared);
        eventually(PATIENCE, "requests at the other address only", || {
            let shared = self.shared.lock().expect("the clients run");
            let is_there = |asking: &Option<SocketAddr>| asking.is_none_or(|asked| asked == address);
            shared.asking.iter().all(is_there) && shared.served > before + 10 * CLIENTS
        });
    }

    /// Nothing was lost.
    pub(super) fn end(mut self) {
        self.stop();
        let shared = self.shared.lock().expect("the clients are over");
        assert!(shared.served > 100, "{} requests say nothing", shared.served);
        assert!(shared.lost.is_empty(), "{} of {} lost: {:?}", shared.lost.len(), shared.served, shared.lost);
    }

    fn stop(&mut self) {
        if let Ok(mut shared) = self.shared.lock() {
            shared.address = None;
        }
        for client in self.clients.drain(..) {
            let _ = client.join();
        }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop();
    }
}

fn ask_on(all: &Mutex<Shared>, place: usize) {
    loop {
        let mut shared = all.lock().expect("no client panics");
        let Some(address) = shared.address else { return };
        shared.asking[place] = Some(address);
        drop(shared);
        let asked = ask(address);
        let mut shared = all.lock().expect("no client panics");
        shared.asking[place] = None;
        match asked {
            Ok(()) => shared.served += 1,
            Err(how) => shared.lost.push(format!("{address}: {how}")),
        }
        drop(shared);
        thread::sleep(PAUSE);
    }
}

fn ask(address: SocketAddr) -> Result<(), String> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| error.to_string())?;
    let mut client = Client::of(stream);
    client
        .try_send(request("GET", "/cart", &[HOST, ("Connection", "close")], b""))
        .map_err(|error| error.to_string())?;
    let reply = client.try_reply(false).map_err(|cut| format!("{cut:?}"))?;
    if reply.status == 200 { Ok(()) } else { Err(reply.status.to_string()) }
}
