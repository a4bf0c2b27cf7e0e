//! A real authority that signs certificates by ACME: pebble, with names of its own, at an address of its own.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::etcd::own_address;
use super::names::NameServer;
use super::{PATIENCE, eventually, skip};
use crate::tls::Authority;

/// An authority.
pub(crate) struct Pebble {
    address: Ipv4Addr,
    ca: String,
    folder: TempDir,
    child: Option<Child>,
    names: NameServer,
}

/// What it does.
#[derive(Clone, Default)]
pub(crate) struct Habits {
    /// Where it looks for answers, whatever the host.
    pub(crate) http_port: u16,
    pub(crate) tls_port: u16,
    /// How long its certificates are good; 0: for years.
    pub(crate) seconds: u64,
    /// Only accounts that are bound with this key.
    pub(crate) key: Option<(&'static str, &'static str)>,
}

impl Pebble {
    /// One that finds these hosts here. Nothing where pebble is not installed, unless it has to be.
    pub(crate) fn start(hosts: &[&str], habits: &Habits) -> Option<Self> {
        if Command::new("pebble").arg("-h").output().is_err() {
            skip("pebble is not installed (Debian: pebble)");
            return None;
        }
        let (address, folder) = (own_address(), tempfile::tempdir().expect("a temporary folder"));
        let ca = certify(address, &folder);
        let zone: String = hosts.iter().map(|host| format!("{host} 1 A 127.0.0.1\n")).collect();
        let mut pebble = Self { address, ca, folder, child: None, names: NameServer::start(&zone) };
        pebble.go_on(habits);
        Some(pebble)
    }

    /// It begins anew, and knows nobody.
    pub(crate) fn go_on(&mut self, habits: &Habits) {
        self.stop();
        let place = |port: u16| format!("{}:{port}", self.address);
        let path = |name: &str| self.folder.path().join(name);
        let mut settings = serde_json::json!({
            "listenAddress": place(14_000),
            "managementListenAddress": place(15_000),
            "certificate": path("pebble.crt"),
            "privateKey": path("pebble.key"),
            "httpPort": habits.http_port,
            "tlsPort": habits.tls_port,
            "externalAccountBindingRequired": habits.key.is_some(),
        });
        if habits.seconds > 0 {
            settings["certificateValidityPeriod"] = habits.seconds.into();
        }
        if let Some((id, key)) = habits.key {
            settings["externalAccountMACKeys"] = serde_json::json!({ id: key });
        }
        std::fs::write(path("pebble.json"), serde_json::json!({ "pebble": settings }).to_string()).expect("room");
        let log = File::create(path("log")).expect("a log");
        let child = Command::new("pebble")
            .arg("-config")
            .arg(path("pebble.json"))
            .args(["-dnsserver", &self.names.address().to_string()])
            // Nothing is left to chance: what it would refuse now and then, the protocol's client asks again.
            .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0"), ("PEBBLE_WFE_NONCEREJECT", "0")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn();
        self.child = Some(child.expect("it was there a moment ago"));
        eventually(PATIENCE, "an authority", || TcpStream::connect((self.address, 14_000)).is_ok());
    }

    /// It is away.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a process of ours");
            child.wait().expect("it ends");
        }
    }

    /// An entry of `acme_accounts`, with these fields besides.
    pub(crate) fn account(&self, more: &str) -> String {
        let ca = serde_json::to_string(&self.ca).expect("a text");
        format!("{{directory: \"https://{}:14000/dir\", agree_to_terms: true, ca: {ca}{more}}}", self.address)
    }

    /// How many orders it was asked for.
    pub(crate) fn orders(&self) -> usize {
        self.log().matches("Added order ").count()
    }

    /// How many accounts it has opened.
    pub(crate) fn accounts(&self) -> usize {
        self.log().matches("accounts in memory").count()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("a log")
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Its own certificate, by an authority that nobody knows.
fn certify(address: Ipv4Addr, folder: &TempDir) -> String {
    let authority = Authority::new("pebble");
    for (name, text) in authority.sign(&[&address.to_string()]).files("pebble") {
        std::fs::write(folder.path().join(name), text).expect("room");
    }
    authority.pem()
}
