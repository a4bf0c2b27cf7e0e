//! `serin register` with a real etcd, real commands and real signals.

use std::io::Read;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::control::serin;
use crate::support::etcd::Etcd;
use crate::support::{Origin, PATIENCE, Serin, eventually, get};

const ADDRESS: &str = "10.1.2.3:8080";
const KEY: &str = "/my_shop_PRO/10.1.2.3-8080";

/// A process that registers.
struct Registering {
    child: Mutex<Child>,
    pid: u32,
    stdout: Arc<Mutex<String>>,
    log: Arc<Mutex<String>>,
}

impl Registering {
    /// With `KEY` and these arguments.
    fn usual(etcd: &Etcd, more: &[&str]) -> Self {
        Self::start(etcd, &[&["--prefix", "/my_shop_PRO/", "--address", ADDRESS], more].concat())
    }

    fn start(etcd: &Etcd, arguments: &[&str]) -> Self {
        let members = etcd.urls().join(",").replace('"', "");
        let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
        command.arg("register").args(arguments).env("SERIN_ETCD", members);
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let stdout = collected(child.stdout.take().expect("it is piped"));
        let log = collected(child.stderr.take().expect("it is piped"));
        Self { pid: child.id(), child: Mutex::new(child), stdout, log }
    }

    fn says(&self, text: &str) {
        eventually(2 * PATIENCE, text, || self.stdout.lock().unwrap().contains(text));
    }

    fn logs(&self, text: &str) {
        eventually(2 * PATIENCE, text, || self.log.lock().unwrap().contains(text));
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.pid.to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    fn is_running(&self) -> bool {
        self.child.lock().unwrap().try_wait().expect("our own child").is_none()
    }

    /// Waits for the end.
    fn exit_code(&self) -> Option<i32> {
        eventually(PATIENCE, "it ends", || !self.is_running());
        self.child.lock().unwrap().wait().expect("our own child").code()
    }
}

impl Drop for Registering {
    fn drop(&mut self) {
        // The command ends, too.
        if self.is_running() {
            self.signal("TERM");
            self.signal("INT");
        }
        eprintln!("{}", self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let child = self.child.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn collected(mut from: impl Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let read = Arc::clone(&text);
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut buffer) {
            read.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    text
}

/// A script that makes a file for each signal it gets, and ends with 3 at `TERM`; without any it ends within a minute.
fn script(folder: &TempDir) -> String {
    let place = folder.path().display();
    format!(
        "trap 'echo > {place}/HUP' HUP; trap 'echo > {place}/USR1' USR1; trap 'echo > {place}/USR2' USR2; \
         trap 'echo > {place}/TERM; exit 3' TERM; trap 'echo > {place}/INT; exit 4' INT; \
         echo > {place}/begun; i=0; while [ $i -lt 3000 ]; do sleep 0.02; i=$((i+1)); done"
    )
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

fn appears(path: &Path) {
    eventually(PATIENCE, &path.display().to_string(), || path.exists());
}

fn is_there(etcd: &Etcd) -> bool {
    etcd.look(KEY).is_some()
}

#[test]
fn keys_and_values_are_those_that_readers_know() {
    let Some(etcd) = Etcd::start() else { return };
    let cases: &[(&[&str], &str, &str)] = &[
        (&["--prefix", "/my_shop_PRO/", "--address", ADDRESS], KEY, ADDRESS),
        (&["--prefix", "/my_shop_PRO/", "--address", "[::1]:80"], "/my_shop_PRO/::1-80", "[::1]:80"),
        (&["--upstream", "shop", "--address", ADDRESS], "/serin/endpoints/shop/10.1.2.3-8080", ADDRESS),
        (
            &["--upstream", "shop", "--etcd-prefix", "/other/", "--address", ADDRESS, "--weight", "7"],
            "/other/endpoints/shop/10.1.2.3-8080",
            "{\"address\":\"10.1.2.3:8080\",\"weight\":7}",
        ),
    ];
    for (arguments, key, value) in cases {
        let registering = Registering::start(&etcd, arguments);
        registering.says(&format!("serin registered: {key}\n"));
        assert_eq!(etcd.look(key).expect("the key").0, *value);
        registering.signal("TERM");
        assert_eq!(registering.exit_code(), Some(0));
        assert_eq!(etcd.look(key), None);
    }
}

#[test]
fn a_serin_that_follows_the_prefix_serves_what_is_registered() {
    let Some(etcd) = Etcd::start() else { return };
    let (one, two) = (Origin::named("one"), Origin::named("two"));
    let serin = Serin::serving(&format!(
        "sources: {{etcd: {}}}\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{discovery: {{etcd: {{prefix: /my_shop_PRO/}}}}}}}}\n",
        etcd.source()
    ));
    let register = |origin: &Origin| {
        let address = origin.address().to_string();
        Registering::start(&etcd, &["--prefix", "/my_shop_PRO/", "--address", &address])
    };
    let answers = |name: &str| get(serin.address(), "/").text() == name;
    let _one = register(&one);
    eventually(PATIENCE, "one serves", || answers("one"));
    let registering = register(&two);
    eventually(PATIENCE, "two serves", || answers("two"));
    registering.signal("TERM");
    assert_eq!(registering.exit_code(), Some(0));
    let count = || serin.admin_text("/api/v1/upstreams").matches("\"effective_weight\"").count();
    eventually(PATIENCE, "two has left", || count() == 1);
    assert!((0..10).all(|_| answers("one")));
}

#[test]
fn the_registration_has_gone_before_the_command_is_told_to_stop() {
    let Some(etcd) = Etcd::start() else { return };
    for (signal, code) in [("TERM", 3), ("INT", 4)] {
        let folder = folder();
        let told = folder.path().join(signal);
        let registering = Registering::usual(&etcd, &["--drain", "1h", "--", "sh", "-c", &script(&folder)]);
        registering.says("serin registered");
        appears(&folder.path().join("begun"));
        registering.signal(signal);
        eventually(PATIENCE, "it is withdrawn", || !is_there(&etcd));
        assert!(!told.exists() && registering.is_running());
        // Other signals are the command's, also now.
        registering.signal("HUP");
        appears(&folder.path().join("HUP"));
        assert!(!told.exists() && registering.is_running());
        registering.signal(signal);
        appears(&told);
        assert_eq!(registering.exit_code(), Some(code));
    }
}

#[test]
fn a_drain_is_as_long_as_it_is_said_to_be() {
    let Some(etcd) = Etcd::start() else { return };
    let folder = folder();
    let registering = Registering::usual(&etcd, &["--drain", "700ms", "--", "sh", "-c", &script(&folder)]);
    registering.says("serin registered");
    appears(&folder.path().join("begun"));
    let begin = Instant::now();
    registering.signal("TERM");
    assert_eq!(registering.exit_code(), Some(3));
    assert!(begin.elapsed() >= Duration::from_millis(700), "{:?}", begin.elapsed());
}

#[test]
fn signals_of_the_command_are_passed_on_and_change_nothing() {
    let Some(etcd) = Etcd::start() else { return };
    let folder = folder();
    let registering = Registering::usual(&etcd, &["--drain", "0s", "--", "sh", "-c", &script(&folder)]);
    registering.says("serin registered");
    appears(&folder.path().join("begun"));
    for signal in ["HUP", "USR1", "USR2"] {
        registering.signal(signal);
        appears(&folder.path().join(signal));
    }
    assert!(is_there(&etcd) && registering.is_running());
}

#[test]
fn a_command_that_ends_by_itself_withdraws_and_hands_on_its_code() {
    let Some(etcd) = Etcd::start() else { return };
    for (end, code) in [("exit 0", 0), ("exit 7", 7), ("kill -KILL $$", 137), ("kill -USR1 $$", 138)] {
        let folder = folder();
        let go = folder.path().join("go");
        let script = format!("until [ -e {} ]; do sleep 0.02; done; {end}", go.display());
        let registering = Registering::usual(&etcd, &["--ttl", "1h", "--", "sh", "-c", &script]);
        registering.says("serin registered");
        std::fs::write(&go, "").expect("room");
        assert_eq!(registering.exit_code(), Some(code), "{end}");
        assert!(!is_there(&etcd), "{end}");
    }
}

#[test]
fn a_command_that_cannot_be_started_is_no_registration() {
    let Some(etcd) = Etcd::start() else { return };
    for (command, code) in [("/no/such/command", 127), ("/", 126)] {
        let registering = Registering::usual(&etcd, &["--", command]);
        assert_eq!(registering.exit_code(), Some(code));
        registering.logs(&format!("cannot start {command}: "));
        assert!(!is_there(&etcd));
    }
}

#[test]
fn a_lease_or_key_that_is_lost_comes_again() {
    let Some(etcd) = Etcd::start() else { return };
    let registering = Registering::usual(&etcd, &["--ttl", "2s"]);
    registering.says("serin registered");
    let (_, lease) = etcd.look(KEY).expect("the key");
    etcd.revoke(lease);
    eventually(PATIENCE, "it is there again", || etcd.look(KEY).is_some_and(|(_, other)| other != lease));
    registering.logs("the lease has gone");
    let (_, lease) = etcd.look(KEY).expect("the key");
    etcd.delete(KEY);
    eventually(PATIENCE, "it is there again", || is_there(&etcd));
    assert_eq!(etcd.look(KEY).expect("the key").1, lease);
    assert_eq!(registering.stdout.lock().unwrap().lines().count(), 1);
}

#[test]
fn an_etcd_that_was_away_and_has_lost_all_gets_the_registration_again() {
    let Some(mut etcd) = Etcd::start() else { return };
    let registering = Registering::usual(&etcd, &["--ttl", "3s"]);
    registering.says("serin registered");
    etcd.kill(0);
    registering.logs("etcd is out of reach");
    etcd.wipe(0);
    etcd.is_ready();
    eventually(2 * PATIENCE, "it is there again", || is_there(&etcd));
    registering.signal("TERM");
    assert_eq!(registering.exit_code(), Some(0));
    assert!(!is_there(&etcd));
}

#[test]
fn members_may_go_one_after_the_other() {
    let Some(mut etcd) = Etcd::of(3, &[]) else { return };
    let registering = Registering::usual(&etcd, &["--ttl", "6s"]);
    registering.says("serin registered");
    let (_, lease) = etcd.look(KEY).expect("the key");
    for member in 0..3 {
        etcd.kill(member);
        etcd.is_ready();
        assert!(is_there(&etcd));
        if member < 2 {
            etcd.restart(member);
            etcd.is_ready();
        }
    }
    // Whoever it was that was asked, it has gone by now.
    registering.logs("etcd answers again");
    assert_eq!(etcd.look(KEY).expect("the key").1, lease, "it was never lost");
    registering.signal("TERM");
    assert_eq!(registering.exit_code(), Some(0));
    assert!(!is_there(&etcd));
}

#[test]
fn members_that_say_nothing_are_passed_over() {
    let Some(etcd) = Etcd::start() else { return };
    // The kernel takes their connections, and nobody reads them.
    let silent: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let url = |listener: &TcpListener| format!("http://{}", listener.local_addr().expect("it is bound"));
    let members: Vec<String> = silent.iter().map(url).chain([format!("http://{}", etcd.address(0))]).collect();
    let registering = Registering::usual(&etcd, &["--ttl", "2s", "--etcd", &members.join(",")]);
    registering.says("serin registered");
    assert!(is_there(&etcd));
}

#[test]
fn without_etcd_the_command_runs_and_is_registered_later() {
    let Some(mut etcd) = Etcd::start() else { return };
    etcd.kill(0);
    let folder = folder();
    let registering = Registering::usual(&etcd, &["--drain", "0s", "--", "sh", "-c", &script(&folder)]);
    appears(&folder.path().join("begun"));
    registering.logs("etcd is out of reach");
    etcd.restart(0);
    etcd.is_ready();
    registering.says("serin registered");
    assert!(is_there(&etcd));
}

#[test]
fn an_end_waits_for_etcd_only_for_a_moment() {
    let Some(mut etcd) = Etcd::start() else { return };
    let registering = Registering::usual(&etcd, &["--drain", "0s"]);
    registering.says("serin registered");
    // It neither answers nor refuses.
    etcd.signal(0, "STOP");
    let begin = Instant::now();
    registering.signal("TERM");
    assert_eq!(registering.exit_code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    registering.logs("cannot be withdrawn");
    etcd.signal(0, "CONT");
}

#[test]
fn what_another_process_has_registered_since_is_left_to_it() {
    let Some(etcd) = Etcd::start() else { return };
    let before = Registering::usual(&etcd, &["--ttl", "2s"]);
    before.says("serin registered");
    let (_, lease) = etcd.look(KEY).expect("the key");
    let after = Registering::usual(&etcd, &["--ttl", "2s"]);
    after.says("serin registered");
    let (_, newer) = etcd.look(KEY).expect("the key");
    assert_ne!(newer, lease);
    before.signal("TERM");
    assert_eq!(before.exit_code(), Some(0));
    assert_eq!(etcd.look(KEY).expect("the key").1, newer);
}

#[test]
fn what_is_not_well_is_not_registered() {
    let Some(etcd) = Etcd::start() else { return };
    let well = Arc::new(AtomicBool::new(false));
    let state = Arc::clone(&well);
    let origin = Origin::start(move |visit| {
        visit.read_body()?;
        visit.answer(if state.load(SeqCst) { 204 } else { 302 }, &[], b"")
    });
    let check = format!("http://{}/healthz?deep", origin.address());
    let registering = Registering::usual(&etcd, &["--check", &check, "--check-interval", "100ms"]);
    origin.wait_until("three checks", |log| log.requests.len() >= 3);
    assert!(!is_there(&etcd));
    assert_eq!(origin.requests()[0].target, "/healthz?deep");
    for _ in 0..2 {
        well.store(true, SeqCst);
        eventually(PATIENCE, "it is registered", || is_there(&etcd));
        well.store(false, SeqCst);
        eventually(PATIENCE, "it is withdrawn", || !is_there(&etcd));
    }
    well.store(true, SeqCst);
    eventually(PATIENCE, "it is registered", || is_there(&etcd));
    drop(origin);
    eventually(PATIENCE, "it is withdrawn", || !is_there(&etcd));
    registering.signal("TERM");
    assert_eq!(registering.exit_code(), Some(0));
}

/// As the first process of a container has to do.
#[test]
fn children_of_others_are_waited_for() {
    let Some(etcd) = Etcd::start() else { return };
    let members = etcd.urls().join(",").replace('"', "");
    let mut command = Command::new("sh");
    let script =
        "for i in 1 2 3 4 5; do sleep 0.0$i & done; exec \"$0\" register --prefix /a/ --address 10.0.0.1:1 -- sleep 60";
    command.args(["-c", script, env!("CARGO_BIN_EXE_serin")]).env("SERIN_ETCD", members);
    let registering = Registering::run(command);
    registering.says("serin registered");
    let path = format!("/proc/{0}/task/{0}/children", registering.pid);
    let children = || std::fs::read_to_string(&path).expect("it runs").split_whitespace().count();
    eventually(PATIENCE, "only the command is left", || children() == 1);
}

#[test]
fn wrong_command_lines_are_told() {
    let good: &[&str] = &["--prefix", "/shop/", "--address", "10.0.0.1:80"];
    let with = |more: &[&'static str]| [good, more].concat();
    let cases: &[(Vec<&str>, &str)] = &[
        (vec!["--address", "10.0.0.1:80"], "<--upstream <NAME>|--prefix <PREFIX>>"),
        (with(&["--upstream", "shop"]), "cannot be used with"),
        (vec!["--prefix", "/shop/"], "--address"),
        (vec!["--prefix", "/shop", "--address", "10.0.0.1:80"], "the prefix ends with `/`"),
        (vec!["--prefix", "/", "--address", "10.0.0.1:80"], "the prefix would be that of all keys"),
        (vec!["--upstream", "a/b", "--address", "10.0.0.1:80"], "--upstream: name `a/b` has a character"),
        (vec!["--prefix", "/shop/", "--address", "shop:80"], "`shop:80` is not an address"),
        (vec!["--prefix", "/shop/", "--address", "10.0.0.1:0"], "has port 0"),
        (vec!["--prefix", "/shop/", "--address", "0.0.0.0:80"], "is not the address of one host"),
        (with(&["--weight", "1001"]), "weight 1001 is above 1000"),
        (with(&["--weight", "x"]), "`x` is not a whole number"),
        (with(&["--ttl", "1s"]), "from 2s to 1h"),
        (with(&["--ttl", "2500ms"]), "in whole seconds"),
        (with(&["--ttl", "10"]), "not a duration"),
        (with(&["--drain", "x"]), "not a duration"),
        (with(&["--etcd", "10.0.0.1:2379"]), "--etcd: a member is `http://HOST:PORT`"),
        (with(&["--etcd", ""]), "--etcd: a member is"),
        (with(&["--etcd-prefix", "/serin"]), "--etcd-prefix: the prefix ends with `/`"),
        (with(&["--user", "shop"]), "--password-file"),
        (with(&["--password-file", "f"]), "--user"),
        (with(&["--cert-file", "f", "--etcd", "https://a:1"]), "--key-file"),
        (with(&["--ca-file", "f"]), "--ca-file, --cert-file, --key-file: no member is at `https://`"),
        (with(&["--check", "https://127.0.0.1:1/"]), "--check: `https://127.0.0.1:1/` is not a URL"),
        (with(&["--check", "http://localhost:1/"]), "is not a URL such as"),
        (with(&["--check-interval", "1s"]), "--check"),
        (with(&["--check", "http://127.0.0.1:1/", "--check-interval", "1ms"]), "from 100ms to 1h"),
        (with(&["sleep", "1"]), "unexpected argument 'sleep'"),
    ];
    for (arguments, reason) in cases {
        let output = serin(&[&["register"], arguments.as_slice()].concat());
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(reason), "{arguments:?}: {told}");
        assert!(output.stdout.is_empty());
    }
}
