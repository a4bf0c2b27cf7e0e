//! The guide `docs/migrate.md`, followed from nginx and its template daemon to Serin: with a real etcd, a real nginx, the guide's own
//! files, and instances that come and go. Clients ask all the time, and lose nothing.

mod crowd;
pub(crate) mod nginx;
mod script;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use crowd::Crowd;
use nginx::Nginx;
use script::Script;

use crate::reference::workspace;
use crate::support::control::{Program, replace};
use crate::support::etcd::{Etcd, own_address};
use crate::support::{Client, Origin, PATIENCE, eventually};

const HOST: (&str, &str) = ("Host", "shop.example.com");

/// The guide's files, at addresses that no other test has.
struct Guide {
    text: String,
    addresses: [(&'static str, String); 4],
}

impl Guide {
    fn read(etcd: &Etcd) -> Self {
        let text = std::fs::read_to_string(workspace().join("docs/migrate.md")).expect("the guide");
        let own = own_address();
        let at = |shown, port| (shown, format!("{own}:{port}"));
        let addresses = [
            ("127.0.0.1:2379", etcd.address(0)),
            at("127.0.0.1:8080", 8080),
            at("127.0.0.1:8081", 8081),
            at("127.0.0.1:9900", 9900),
        ];
        Self { text, addresses }
    }

    /// The only block that begins so.
    fn block(&self, begin: &str) -> String {
        let blocks = self.text.split("```").skip(1).step_by(2).filter_map(|block| Some(block.split_once('\n')?.1));
        let found: Vec<&str> = blocks.filter(|block| block.starts_with(begin)).collect();
        let [block] = found.as_slice() else { panic!("{} blocks begin with {begin}", found.len()) };
        self.addresses.iter().fold((*block).to_owned(), |text, (shown, own)| text.replace(shown, own))
    }

    fn address(&self, shown: &str) -> SocketAddr {
        let (_, own) = self.addresses.iter().find(|(address, _)| *address == shown).expect("the guide's address");
        own.parse().expect("an address")
    }
}

#[test]
fn from_nginx_and_its_daemon_to_serin_without_a_lost_request() {
    if !nginx::is_installed() {
        return;
    }
    let Some(etcd) = Etcd::start().map(Arc::new) else { return };
    let guide = Guide::read(&etcd);
    let (old, new) = (guide.address("127.0.0.1:8080"), guide.address("127.0.0.1:8081"));

    // What there is: two instances, and nginx with what the daemon renders.
    let instances = ["a", "b", "c"].map(Origin::named);
    let [a, b, c] = &instances;
    let [script_a, mut script_b] = [a, b].map(|instance| Script::start(&etcd, instance));
    let mut nginx = Nginx::start(&etcd, &guide, old);
    let crowd = Crowd::start(old);

    // Beside it: the same instances, whoever comes or goes.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("serin.yaml");
    std::fs::write(&config, guide.block("# serin.yaml")).expect("the file is written");
    let mut serin = Program::start(&config);
    let both = |names: &[&str], nginx: &mut Nginx| {
        reaches(new, names);
        nginx.daemons_turn(&etcd);
        reaches(old, names);
    };
    both(&["a", "b"], &mut nginx);
    let script_c = Script::start(&etcd, c);
    both(&["a", "b", "c"], &mut nginx);
    script_a.end();
    both(&["b", "c"], &mut nginx);

    // Some of the traffic, then all.
    nginx.splits("50%");
    comes_through_serin(old, &instances, |through| through > 0);
    nginx.splits("100%");
    comes_through_serin(old, &instances, |through| through == PROBES);

    // Instead of it: clients have Serin's address, and nginx goes.
    crowd.asks(new);
    let listeners = guide.block("listeners:");
    let main = guide.block("# serin.yaml");
    let [before, rest] = main.split_once("admin:").map(|(before, rest)| [before, rest]).expect("the guide's file");
    assert!(before.contains("listeners:"));
    replace(&config, &format!("{listeners}admin:{rest}"));
    eventually(PATIENCE, "the address is nginx's", || rejected(&serin).contains("listeners.front"));
    nginx.quit();
    eventually(2 * PATIENCE, "Serin has nginx's address", || rejected(&serin).contains("\"problems\":[]"));
    reaches(old, &["b", "c"]);
    crowd.asks(old);

    // The script goes: the key is taken over, and stays when the script ends.
    let key = script::key(b);
    let (value, lease) = etcd.look(&key).expect("the script's key");
    let mut registering = Registering::start(&etcd, b);
    let taken_over = || etcd.look(&key).is_some_and(|(now, newer)| newer != lease && now == value);
    eventually(PATIENCE, "the key is taken over", taken_over);
    script_b.end();
    assert!(taken_over(), "the script has taken the key with it");
    reaches(old, &["b", "c"]);

    // And back.
    script_b = Script::start(&etcd, b);
    registering.end();
    assert_eq!(etcd.look(&key).map(|(now, _)| now), Some(value));
    reaches(old, &["b", "c"]);

    crowd.end();
    drop((script_b, script_c));
    serin.signal("TERM");
    assert_eq!(serin.exit_code(), Some(0));
}

fn ask(address: SocketAddr, target: &str) -> String {
    let reply = Client::connect(address).request("GET", target, &[HOST, ("Connection", "close")], b"");
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text().to_owned()
}

/// These instances answer there, and no others.
fn reaches(address: SocketAddr, names: &[&str]) {
    let names: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let answers = || (0..40).map(|_| ask(address, "/cart")).collect::<BTreeSet<String>>();
    eventually(2 * PATIENCE, &format!("{names:?} at {address}"), || answers() == names);
}

const PROBES: usize = 20;

/// So many of the probes reach an instance by way of Serin, which names the request.
fn comes_through_serin(address: SocketAddr, instances: &[Origin], is_enough: impl Fn(usize) -> bool) {
    let round = std::cell::Cell::new(0);
    eventually(PATIENCE, "the part of the requests", || {
        round.set(round.get() + 1);
        let target = format!("/probe-{}", round.get());
        (0..PROBES).for_each(|_| drop(ask(address, &target)));
        let seen = instances.iter().flat_map(Origin::requests).filter(|request| request.target == target);
        is_enough(seen.filter(|request| request.header("x-request-id").is_some()).count())
    });
}

fn rejected(serin: &Program) -> String {
    serin.admin("/api/v1/rejected").text().trim().to_owned()
}

/// `serin register` beside an instance.
struct Registering(Child);

impl Registering {
    fn start(etcd: &Etcd, instance: &Origin) -> Self {
        let address = instance.address();
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
        command.args(["register", "--prefix", script::PREFIX, "--address", &address.to_string()]);
        command.args([
            "--check",
            &format!("http://{address}/healthz"),
            "--etcd",
            &format!("http://{}", etcd.address(0)),
        ]);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(quiet.spawn().expect("the program starts"))
    }

    fn end(&mut self) {
        let status = Command::new("kill").arg("-TERM").arg(self.0.id().to_string()).status();
        assert!(status.expect("kill runs").success());
        assert!(self.0.wait().expect("it ends").success());
    }
}

impl Drop for Registering {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
