//! The same with a server that others wrote: Debian's `dnsmasq`, as small networks have it.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{addresses, counts, same_port, served, shown, state, wait_for_addresses};
use crate::support::{PATIENCE, Serin, eventually, skip};

/// A running dnsmasq that knows what is in a file of hosts.
struct Dnsmasq {
    process: Child,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

impl Dnsmasq {
    /// `None` where it is not installed and need not be.
    fn start(hosts: &str, more: &[String]) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("hosts"), hosts).expect("the hosts are written");
        let address = free_address();
        let mut command = Command::new(program());
        command.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file="]);
        // Without a user it would become one who cannot read the file.
        command.args(["--bind-interfaces", "--listen-address=127.0.0.1", "--local-ttl=1", "--user=root"]);
        // It answers for these names itself: what is not there is known not to be.
        command.arg("--local=/test/").arg(format!("--port={}", address.port())).args(more);
        command.arg(format!("--addn-hosts={}", folder.path().join("hosts").display()));
        match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(process) => Some(Self { process, address, folder }),
            Err(error) => {
                skip(&format!("dnsmasq cannot be run ({error}); on Debian: apt-get install dnsmasq-base"));
                None
            }
        }
    }

    fn say(&self, hosts: &str) {
        fs::write(self.folder.path().join("hosts"), hosts).expect("the hosts are written");
        let process = self.process.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &process]).status().expect("kill runs").success());
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Dnsmasq {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Debian keeps it where only the administrator's shell looks.
fn program() -> PathBuf {
    let usual = PathBuf::from("/usr/sbin/dnsmasq");
    if usual.exists() { usual } else { PathBuf::from("dnsmasq") }
}

fn free_address() -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = tcp.local_addr().expect("it is bound");
    match UdpSocket::bind(address) {
        Ok(_) => address,
        Err(_) => free_address(),
    }
}

fn start(server: &Dnsmasq, asks: &str) -> Serin {
    let serin = Serin::start(&format!(
        "{}upstreams: {{app: {{discovery: {{dns: {{{asks}, resolvers: [\"{}\"]}}}}, balance: round_robin}}}}\n",
        super::COMMON,
        server.address
    ));
    // It may be there later than Serin.
    eventually(PATIENCE, "an answer", || state(&serin) == "answered");
    serin
}

#[test]
fn addresses_change_and_stay_when_the_server_is_killed() {
    let (_origins, port) = same_port([("127.0.0.1", "v4"), ("[::1]", "v6"), ("127.0.0.2", "new")]);
    let Some(mut server) = Dnsmasq::start("127.0.0.1 app.test\n::1 app.test\n", &[]) else { return };
    let serin = start(&server, &format!("name: app.test, port: {port}"));
    assert_eq!(served(&serin, 10), counts([("v4", 5), ("v6", 5)]));
    server.say("127.0.0.2 app.test\n");
    wait_for_addresses(&serin, &[([127, 0, 0, 2], port).into()]);
    assert_eq!(served(&serin, 4), counts([("new", 4)]));
    server.say("127.0.0.1 other.test\n");
    eventually(PATIENCE, "the name has gone", || state(&serin) == "failing");
    assert_eq!(served(&serin, 4), counts([("new", 4)]));
    server.say("127.0.0.1 app.test\n");
    wait_for_addresses(&serin, &[([127, 0, 0, 1], port).into()]);
    assert_eq!(state(&serin), "answered");
    server.stop();
    eventually(PATIENCE, "the server has gone", || state(&serin) == "failing");
    assert!(shown(&serin)["discovery"]["reason"].as_str().unwrap().contains("no answer"), "{}", shown(&serin));
    assert_eq!(served(&serin, 4), counts([("v4", 4)]));
}

#[test]
fn services_with_weights_and_an_answer_that_takes_tcp() {
    let (_origins, port) = same_port([("127.0.0.1", "heavy"), ("127.0.0.2", "light")]);
    let service = |name: &str, port: u16, priority: u16, weight: u16| {
        format!("--srv-host=_http._tcp.app.test,{name}.test,{port},{priority},{weight}")
    };
    let more = [service("heavy", port, 1, 30), service("light", port, 1, 10), service("light", 1, 2, 10)];
    let many: String = (0..200).map(|index| format!("10.0.0.{index} many.test\n")).collect();
    let hosts = format!("127.0.0.1 heavy.test\n127.0.0.2 light.test\n{many}");
    let Some(server) = Dnsmasq::start(&hosts, &more) else { return };
    let serin = start(&server, "name: _http._tcp.app.test, srv: true");
    assert_eq!(served(&serin, 40), counts([("heavy", 30), ("light", 10)]));
    let serin = start(&server, "name: many.test, port: 80");
    assert_eq!(addresses(&serin).len(), 200);
}
