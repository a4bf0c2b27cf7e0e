//! An endpoint that is a process of its own, to be killed, stopped and deployed anew: this test binary once more, running
//! the one test at the end of this file.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use super::server::{self, Manner};
use crate::support::{Client, PATIENCE, eventually};

/// Where the process listens, if this is one.
const ADDRESS: &str = "SERIN_TEST_ENDPOINT";

/// A running endpoint, which keeps its address when it is started again.
pub(super) struct Process {
    address: SocketAddr,
    child: Child,
}

impl Process {
    pub(super) fn start() -> Self {
        let (child, address) = spawn(SocketAddr::from((own_address(), 0)));
        Self { address, child }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its answers say.
    pub(super) fn id(&self) -> String {
        self.child.id().to_string()
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().expect("our own child");
        self.child.wait().expect("our own child");
    }

    /// Sends a signal, for example `STOP`.
    pub(super) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.id()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Tells it to leave, and waits until it has.
    pub(super) fn leave(&mut self, manner: Manner) {
        let orders = self.child.stdin.as_mut().expect("it is piped");
        writeln!(orders, "{}", manner.order()).expect("it listens");
        assert!(self.child.wait().expect("our own child").success());
    }

    /// A process that has ended is followed by another one.
    pub(super) fn start_again(&mut self) {
        (self.child, self.address) = spawn(self.address);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(address: SocketAddr) -> (Child, SocketAddr) {
    let test = "faults::process::an_endpoint_of_its_own_serves_and_leaves";
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--exact", test, "--nocapture"])
        .env(ADDRESS, address.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test binary runs");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let address = lines.find_map(|line| line.strip_prefix(LISTENS)?.parse().ok());
    (child, address.expect("the endpoint listens"))
}

/// An address of this machine that no other test has. On the usual one somebody else could be given the port while the
/// process is away.
fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(10);
    let [.., high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, NEXT.fetch_add(1, Relaxed), high, low.clamp(1, 254))
}

const LISTENS: &str = "listens at ";

/// In a process that was started for it, the endpoint itself.
#[test]
fn an_endpoint_of_its_own_serves_and_leaves() {
    if let Ok(address) = std::env::var(ADDRESS) {
        let orders = io::stdin().lock().lines().map_while(Result::ok);
        return server::serve(address.parse().expect("an address"), orders, |address| println!("\n{LISTENS}{address}"));
    }
    let mut process = Process::start();
    let mut client = Client::connect(process.address());
    let first = client.request("POST", "/", &[], b"body").text().to_owned();
    assert_eq!(first, process.id());
    process.leave(Manner::Abrupt);
    assert!(client.ends_within(PATIENCE), "an idle connection");
    process.start_again();
    let second = Client::connect(process.address()).get("/").text().to_owned();
    assert_eq!(second, process.id());
    assert_ne!(first, second);
    process.signal("STOP");
    process.kill();
    eventually(PATIENCE, "nobody listens", || std::net::TcpStream::connect(process.address()).is_err());
}
