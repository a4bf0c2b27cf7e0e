//! An etcd of one member, started for the run, and a thread that writes into it.
//!
//! Without `fsync`, the same for all contenders: what is measured is the way from etcd to a request, not a disk.

use std::io;
use std::net::{SocketAddrV4, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use etcd_client::{Client, GetOptions, SortOrder, SortTarget, Txn, TxnOp};
use tokio::runtime::Runtime;

use super::layout::Write;
use crate::machine::first_line;
use crate::peers::{local, on_path};
use crate::process::{Interrupt, Running, free_port};

/// As many as etcd takes in a transaction, unless told otherwise.
const MOST_AT_ONCE: usize = 128;
/// Of a listing; so an answer stays far below the 4 MiB a client takes.
const PAGE: i64 = 5_000;

/// One transaction, and who wants to know how long etcd took.
type Order = (Vec<Write>, Sender<Result<Duration, String>>);

/// Runs until this is dropped.
#[derive(Debug)]
pub struct Store {
    running: Running,
    address: SocketAddrV4,
    orders: Sender<Order>,
}

impl Store {
    /// # Errors
    /// When etcd is not installed, or does not take writes within 15 s.
    pub fn start(folder: &Path, core: usize, interrupt: &Interrupt) -> io::Result<Self> {
        let program = on_path("etcd").ok_or_else(|| io::Error::other("etcd is not installed (Debian: etcd-server)"))?;
        let (address, peers) = (local(free_port()?), local(free_port()?));
        let mut command = Command::new(program);
        command.args(["--name", "bench", "--initial-cluster", &format!("bench=http://{peers}")]);
        command.args(
            ["--listen-client-urls", "--advertise-client-urls"]
                .map(str::to_owned)
                .into_iter()
                .flat_map(|flag| [flag, format!("http://{address}")]),
        );
        command.args(
            ["--listen-peer-urls", "--initial-advertise-peer-urls"]
                .map(str::to_owned)
                .into_iter()
                .flat_map(|flag| [flag, format!("http://{peers}")]),
        );
        command.args(["--unsafe-no-fsync", "--log-level", "error", "--data-dir"]).arg(folder.join("etcd"));
        let mut running = Running::start(command, core, folder, "etcd")?;
        let patience = Instant::now() + Duration::from_secs(15);
        while TcpStream::connect(address).is_err() {
            if let Some(why) = running.ended() {
                return Err(io::Error::other(format!("etcd {why}")));
            }
            if Instant::now() > patience {
                return Err(io::Error::other("etcd does not listen within 15 s"));
            }
            interrupt.sleep(Duration::from_millis(20))?;
        }
        let (orders, received) = channel();
        let keys = Keys::connect(address)?;
        thread::spawn(move || write_all(keys, received));
        Ok(Self { running, address, orders })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    #[must_use]
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Begins one transaction. What comes back says, later, how long etcd took for it.
    #[must_use]
    pub fn begin(&self, writes: Vec<Write>) -> Receiver<Result<Duration, String>> {
        let (tell, told) = channel();
        // Without the thread nobody tells, which whoever waits sees.
        drop(self.orders.send((writes, tell)));
        told
    }

    /// Writes all of these, in as many transactions as it takes.
    ///
    /// # Errors
    /// When etcd refuses.
    pub fn write(&self, writes: impl Iterator<Item = Write>, interrupt: &Interrupt) -> io::Result<()> {
        let mut writes = writes.peekable();
        while writes.peek().is_some() {
            interrupt.check()?;
            wait(&self.begin(writes.by_ref().take(MOST_AT_ONCE).collect()))?;
        }
        Ok(())
    }
}

/// How long a transaction that was begun took.
///
/// # Errors
/// When etcd refuses it.
pub fn wait(told: &Receiver<Result<Duration, String>>) -> io::Result<Duration> {
    told.recv().map_err(io::Error::other)?.map_err(io::Error::other)
}

/// The version of etcd, if it is installed.
#[must_use]
pub fn version() -> Option<String> {
    let said = first_line(Command::new(on_path("etcd")?).arg("--version"))?;
    said.rsplit(' ').next().map(str::to_owned)
}

fn write_all(mut keys: Keys, orders: Receiver<Order>) {
    for (writes, tell) in orders {
        let began = Instant::now();
        let written = keys.write(&writes).map(|()| began.elapsed());
        // Who does not want to know has not waited.
        drop(tell.send(written.map_err(|error| error.to_string())));
    }
}

/// A client of etcd that waits for every answer.
pub struct Keys {
    runtime: Runtime,
    client: Client,
}

impl Keys {
    /// # Errors
    /// When there is no way to etcd.
    pub fn connect(address: SocketAddrV4) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let client =
            runtime.block_on(Client::connect([format!("http://{address}")], None)).map_err(io::Error::other)?;
        Ok(Self { runtime, client })
    }

    fn write(&mut self, writes: &[Write]) -> Result<(), etcd_client::Error> {
        let operation = |(key, value): &Write| match value {
            Some(value) => TxnOp::put(key.as_str(), value.as_str(), None),
            None => TxnOp::delete(key.as_str(), None),
        };
        let transaction = Txn::new().and_then(writes.iter().map(operation).collect::<Vec<_>>());
        self.runtime.block_on(self.client.txn(transaction)).map(drop)
    }

    /// All keys that begin so, without the beginning, and their values; in order.
    ///
    /// # Errors
    /// When etcd does not answer, or with what is no text.
    pub fn list(&mut self, prefix: &str) -> io::Result<Vec<(String, String)>> {
        let mut listed = Vec::new();
        let mut from = prefix.as_bytes().to_vec();
        // The first key behind all that begin so; no prefix here ends with the last byte there is.
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        loop {
            let options = GetOptions::new()
                .with_range(end.clone())
                .with_limit(PAGE)
                .with_sort(SortTarget::Key, SortOrder::Ascend);
            let page = self.runtime.block_on(self.client.get(from.clone(), Some(options))).map_err(io::Error::other)?;
            for pair in page.kvs() {
                let (key, value) =
                    pair.key_str().and_then(|key| Ok((key, pair.value_str()?))).map_err(io::Error::other)?;
                listed.push((key[prefix.len()..].to_owned(), value.to_owned()));
            }
            let Some(last) = page.kvs().last().filter(|_| page.more()) else {
                return Ok(listed);
            };
            // The next key there can be.
            from = [last.key(), &[0]].concat();
        }
    }
}
