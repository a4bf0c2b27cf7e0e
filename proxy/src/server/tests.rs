use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use routing_rules::release::ReleaseContext;
use routing_rules::request::{GeoDatabase, Place};
use routing_rules::rules::AddressSet;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::sync::watch;
use tokio::time::Instant;

use super::control::Control;
use super::fleet::{Me, Membership};
use super::listeners::HeldSockets;
use super::releases::{Books, Others};
use super::rules::{Inbox, RulesThread, Sources};
use super::weights::WeightsThread;
use super::{Failure, Order, Server, Shared, StartOptions};
use crate::control_path::assemble::Assembler;
use crate::control_path::certificates::CertificateWatch;
use crate::control_path::publish::{Listeners, Publisher};
use crate::control_path::release::{FolderStore, Unwritten};
use crate::control_path::source::file::{FileSet, FileWatch};
use crate::control_path::source::{Text, TextKind};
use crate::data_path::listener::OpenListener;
use crate::settings::Settings;
use crate::snapshot::{Snapshot, SnapshotCell};
use crate::telemetry::access_log::LogSink;
use crate::worker::Command;

fn start(rules: &str) -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("serin.yaml");
    std::fs::write(&config, rules).unwrap();
    let server = Server::start(StartOptions { config, ..StartOptions::default() }).unwrap();
    assert!(server.problems().is_empty(), "{:?}", server.problems());
    (folder, server)
}

const BASIC: &str = "listeners: {web: {address: \"127.0.0.1:0\"}}\nadmin: {address: \"127.0.0.1:0\"}\n";

/// Waits until something is there.
fn eventually<T>(what: &str, find: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Sends a request and returns what comes until the connection ends; nothing if it is reset.
fn ask(address: SocketAddr, target: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

fn break_a_worker(server: &Server) {
    server.shared.workers()[0].command(Command::Panic);
}

/// What makes accepting panic: tokio does not take sockets that block.
fn break_accepting(server: &Server) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let bound = socket.local_addr().unwrap();
    server.shared.workers()[0].command(Command::Open(OpenListener { name: "bad".into(), bound, socket }));
}

#[test]
fn accepting_that_panics_is_noticed_and_requests_of_its_worker_finish() {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_folder, server) = start(&format!(
        "{BASIC}workers: 1\nshutdown: {{deadline: 30s}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.local_addr().unwrap()
    ));
    let (admin, web) = (server.admin().unwrap(), server.listeners()[0].1);
    let client = std::thread::spawn(move || ask(web, "/"));
    let (mut under_way, _) = origin.accept().unwrap();
    break_accepting(&server);
    let answer = eventually("not ready", || Some(ask(admin, "/readyz")).filter(|text| text.contains(" 503 ")));
    assert!(answer.contains("accepting in worker-0 has ended: "), "{answer}");
    under_way.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").unwrap();
    assert!(client.join().unwrap().ends_with("late"));
    let failure = server.join().unwrap_err();
    assert!(failure.to_string().starts_with("accepting in worker-0 has ended: "), "{failure}");
}

#[test]
fn a_worker_that_panics_is_noticed_and_the_rest_ends_in_order_and_with_an_error() {
    let (_folder, server) = start(&format!("{BASIC}workers: 2\nshutdown: {{delay: 60s, deadline: 1s}}\n"));
    let (admin, web) = (server.admin().unwrap(), server.listeners()[0].1);
    assert!(ask(admin, "/readyz").starts_with("HTTP/1.1 200"));
    break_a_worker(&server);
    let answer = eventually("not ready", || Some(ask(admin, "/readyz")).filter(|text| text.contains(" 503 ")));
    assert!(answer.contains("the worker-0 thread has ended: ") && answer.contains("draining"), "{answer}");
    assert!(ask(web, "/").starts_with("HTTP/1.1 404"), "the other worker serves during the delay");
    server.order(Order::Drain);
    let failure = server.join().unwrap_err();
    assert!(failure.to_string().starts_with("the worker-0 thread has ended: "), "{failure}");
}

#[test]
fn a_thread_of_the_program_that_panics_is_noticed() {
    let (_folder, server) = start(BASIC);
    server.spawn("signals", || panic!("no luck")).unwrap();
    assert_eq!(server.join().unwrap_err().to_string(), "the signals thread has ended: no luck");
}

#[test]
fn nobody_waits_for_a_delay_in_which_nobody_serves() {
    let (_folder, server) = start(&format!("{BASIC}workers: 1\nshutdown: {{delay: 60s, deadline: 60s}}\n"));
    break_a_worker(&server);
    let began = Instant::now();
    assert!(server.join().is_err());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_control_thread_that_panics_lets_requests_finish_and_is_an_error() {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let rules = format!(
        "{BASIC}workers: 1\nroutes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.local_addr().unwrap()
    );
    let (_folder, mut server) = start(&rules);
    let web = server.listeners()[0].1;
    let client = std::thread::spawn(move || ask(web, "/"));
    let (mut under_way, _) = origin.accept().unwrap();
    let real = server.control.replace(std::thread::spawn(|| panic!("no luck")));
    let waits = std::thread::spawn(move || server.join());
    eventually("a closed port", || TcpStream::connect(web).is_err().then_some(()));
    under_way.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate").unwrap();
    assert!(client.join().unwrap().ends_with("late"));
    let failure = waits.join().unwrap().unwrap_err();
    assert_eq!(failure, Failure::of_panic("control", &"no luck"));
    // The server has gone, and its orders with it.
    assert_eq!(real.unwrap().join().unwrap(), Ok(()));
}

/// A database that fails for one address, as no code of a request should.
struct Trap;

impl GeoDatabase for Trap {
    fn locate(&self, address: IpAddr) -> Option<Place<'_>> {
        assert_ne!(address, IpAddr::from([192, 0, 2, 1]), "the trap");
        None
    }
}

#[test]
fn a_panic_costs_one_request_and_nothing_else() {
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_folder, server) = start(&format!(
        "{BASIC}workers: 1\ntrusted_proxies: [127.0.0.1]\nroutes: {{all: {{upstream: old, release: next}}}}\n\
         upstreams: {{old: {{endpoints: [\"{}\"]}}, new: {{endpoints: [\"127.0.0.1:1\"]}}}}\n\
         releases: {{next: {{stable: old, canary: new, audience: [{{name: far, geo: {{country: [CN]}}, percent: 100}}]}}}}\n",
        origin.local_addr().unwrap()
    ));
    put_in_force(&server, Arc::new(Trap));
    let web = server.listeners()[0].1;
    let other = std::thread::spawn(move || ask(web, "/"));
    let (mut under_way, _) = origin.accept().unwrap();
    for _ in 0..3 {
        let mut client = TcpStream::connect(web).unwrap();
        write!(client, "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        let _ = client.read_to_end(&mut answer);
        assert_eq!(answer, b"");
    }
    under_way.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
    assert!(other.join().unwrap().ends_with("ok"), "the request beside it");
    let admin = server.admin().unwrap();
    for gauge in ["serin_requests_in_flight 0", "serin_connections_open 0"] {
        eventually(gauge, || ask(admin, "/metrics").contains(&format!("\n{gauge}\n")).then_some(()));
    }
    assert!(ask(admin, "/readyz").starts_with("HTTP/1.1 200"));
}

/// A database that takes its time.
struct Gate {
    asked: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl GeoDatabase for Gate {
    fn locate(&self, _: IpAddr) -> Option<Place<'_>> {
        self.asked.send(()).unwrap();
        let _ = self.go_on.lock().unwrap().recv();
        None
    }
}

#[test]
fn nobody_waits_for_an_answer_of_the_admin_api_that_takes_long() {
    let (_folder, server) = start(&format!(
        "{BASIC}workers: 1\nroutes: {{all: {{upstream: old, release: next}}}}\n\
         upstreams: {{old: {{endpoints: []}}, new: {{endpoints: []}}}}\n\
         releases: {{next: {{stable: old, canary: new, audience: [{{name: far, geo: {{country: [CN]}}, percent: 100}}]}}}}\n",
    ));
    let (asked, question) = channel();
    let (go_on, gate) = channel();
    put_in_force(&server, Arc::new(Gate { asked, go_on: Mutex::new(gate) }));
    let admin = server.admin().unwrap();
    let slow = std::thread::spawn(move || ask(admin, "/api/v1/explain?url=http://a.test/"));
    question.recv().unwrap();
    let (told, health) = channel();
    std::thread::spawn(move || told.send(ask(admin, "/healthz")));
    let answer = health.recv_timeout(Duration::from_secs(10));
    drop(go_on);
    assert!(answer.unwrap_or_default().ends_with("ok\n"), "health beside it");
    assert!(slow.join().unwrap().starts_with("HTTP/1.1 200"));
}

/// The rules in force with another database. Whatever would put others in force has been done before.
fn put_in_force(server: &Server, geo: Arc<dyn GeoDatabase>) {
    eventually("releases are written down", || {
        let snapshot = server.snapshot();
        snapshot.table.releases().all(|(_, release)| release.record.is_some()).then_some(())
    });
    let now = server.snapshot();
    server.shared.snapshots.store(Arc::new(Snapshot {
        generation: now.generation + 1,
        table: now.table.clone(),
        traffic: now.traffic.clone(),
        route_limits: now.route_limits.clone(),
        route_edges: now.route_edges.clone(),
        listeners: Arc::clone(&now.listeners),
        tls: Arc::clone(&now.tls),
        upstreams: now.upstreams.clone(),
        warm: now.warm.clone(),
        announcing: now.announcing.clone(),
        activity: now.activity.clone(),
        trusted_proxies: Arc::clone(&now.trusted_proxies),
        geo: Some(geo),
        environments: Arc::clone(&now.environments),
    }));
}

/// Listeners that take their time, and fail for port 13.
struct Slow {
    asked: Sender<u16>,
    go_on: Receiver<()>,
}

impl Listeners for Slow {
    fn open(&mut self, _: &Arc<str>, address: SocketAddr, _: &[SocketAddr]) -> std::io::Result<SocketAddr> {
        self.asked.send(address.port()).unwrap();
        self.go_on.recv().unwrap();
        assert_ne!(address.port(), 13, "no luck");
        Ok(address)
    }

    fn close(&mut self, _: SocketAddr) {}
}

/// A rules thread and what it shares, without workers.
fn rules_thread(listeners: Slow) -> (Arc<Shared>, RulesThread, UnboundedReceiver<Failure>) {
    let snapshots = Arc::new(SnapshotCell::from_pointee(Snapshot::empty()));
    let assembler = Assembler::new(1, ReleaseContext::default(), AddressSet::default(), None);
    let listeners = Box::new(listeners);
    let publisher = Publisher::new(Settings::default(), assembler, Arc::clone(&snapshots), listeners, None);
    let inbox = Inbox::new();
    let (folder, unwritten) = (FolderStore::open(None, |_| {}), Arc::new(Unwritten::open(None)));
    let (releases, _) =
        Books::open(folder, None, unwritten, Others { etcd: None, kubernetes: None }, &inbox, &snapshots);
    let shared = Arc::new(Shared {
        snapshots,
        status: ArcSwap::from_pointee(publisher.status()),
        workers: Mutex::default(),
        log: LogSink::off(),
        me: Me::new(String::new()),
        etcd: None,
        kubernetes: None,
        releases,
        acme: Arc::default(),
        webhooks: Vec::new(),
        token: None,
        swaps: watch::channel(()).1,
        readiness: watch::Sender::default(),
    });
    let (failures, told) = unbounded_channel();
    let rules = RulesThread::start(
        publisher,
        inbox,
        Sources::default(),
        Arc::clone(&shared),
        watch::Sender::default(),
        failures,
    )
    .unwrap();
    (shared, rules, told)
}

/// The only thread that reads files is busy with one that does not come, on a disk of another machine for example.
#[test]
fn an_order_to_end_does_not_wait_for_files_that_are_being_read() {
    let folder = tempfile::tempdir().unwrap();
    let (asked, _ports) = channel();
    let (_go_on, gate) = channel();
    let (shared, rules, failures) = rules_thread(Slow { asked, go_on: gate });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    let (file, comes) = channel::<()>();
    runtime.spawn_blocking(move || comes.recv());
    let (orders, inbox) = unbounded_channel();
    let control = Control {
        shared: Arc::clone(&shared),
        shutdown: Settings::default().shutdown,
        watch: FileWatch::new(FileSet::new(folder.path().join("serin.yaml"), &[])),
        certificates: CertificateWatch::new(watch::channel(()).1, Box::new(Arc::default)),
        rules,
        weights: WeightsThread::start(Arc::clone(&shared.snapshots), unbounded_channel().0).unwrap(),
        probing: [(); 5].map(|()| std::thread::spawn(|| ())),
        sources: Vec::new(),
        fleet: Membership::new(Arc::clone(&shared), watch::channel(()).1, Arc::default()),
        sockets: HeldSockets::default(),
        admin: None,
        inbox,
        failures,
    };
    let control = std::thread::spawn(move || runtime.block_on(control.run()));
    orders.send(Order::Reload).unwrap();
    orders.send(Order::Drain).unwrap();
    eventually("draining", || shared.readiness.borrow().draining.then_some(()));
    drop(file);
    assert_eq!(control.join().unwrap(), Ok(()));
}

#[test]
fn nobody_waits_for_rules_and_only_the_newest_are_taken() {
    let (asked, ports) = channel();
    let (go_on, gate) = channel();
    let (shared, rules, _told) = rules_thread(Slow { asked, go_on: gate });
    let update = |port: u16| {
        let content = format!("listeners: {{web: {{address: \"127.0.0.1:{port}\"}}}}");
        rules.update(vec![Text { name: "main".into(), content: Ok(content.into()), kind: TextKind::Main }]);
    };
    let is_open = |port: u16| shared.status.load().listeners.iter().any(|(_, address)| address.port() == port);
    update(1);
    assert_eq!(ports.recv().unwrap(), 1);
    // The thread is in the middle of it; nobody notices.
    (2..=12).for_each(&update);
    assert!(shared.status.load().listeners.is_empty());
    (0..2).for_each(|_| go_on.send(()).unwrap());
    eventually("the newest rules", || is_open(12).then_some(()));
    assert_eq!(ports.recv().unwrap(), 12, "what came in between is passed over");
    // An edit that makes Serin fail harms nothing, and neither does it harm the next one.
    update(13);
    go_on.send(()).unwrap();
    eventually("a problem", || shared.status.load().problems.first().map(|problem| problem.reason.clone()));
    assert!(is_open(12));
    update(14);
    go_on.send(()).unwrap();
    eventually("the next rules", || is_open(14).then_some(()));
    assert!(shared.status.load().problems.is_empty());
    rules.join();
}

#[test]
fn replaced_rules_are_freed_although_no_request_comes() {
    let (folder, server) = start(&format!("{BASIC}workers: 2\n"));
    let config: PathBuf = folder.path().join("serin.yaml");
    for round in 1..4 {
        let old: Weak<Snapshot> = Arc::downgrade(&server.snapshot());
        std::fs::write(&config, format!("{BASIC}workers: 2\nupstreams: {{u{round}: {{endpoints: []}}}}\n")).unwrap();
        eventually("the old rules are freed", || old.upgrade().is_none().then_some(()));
    }
}
