//! The program as operators meet it: a process with a file, signals, a ready line and a log.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::{Client, PATIENCE, Reply};

/// `serin` with these arguments, run to its end.
pub(crate) fn serin(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_serin")).args(arguments).output().expect("the program runs")
}

/// The same, where the admin API is there unless the arguments say something else, and no token is known.
pub(crate) fn serin_asking(admin: &str, arguments: &[String]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.args(arguments).env("SERIN_ADMIN", admin).env_remove("SERIN_TOKEN_FILE");
    command.output().expect("the program runs")
}

/// A running `serin run`.
pub(crate) struct Program {
    child: Child,
    ready: String,
    log: Arc<Mutex<String>>,
}

impl Program {
    /// Starts the program and waits for its ready line.
    pub(crate) fn start(config: &Path) -> Self {
        Self::start_with(config, &[])
    }

    pub(crate) fn start_with(config: &Path, arguments: &[&str]) -> Self {
        Self::run(Command::new(env!("CARGO_BIN_EXE_serin")), config, arguments)
    }

    /// Starts the program with so few descriptors.
    pub(crate) fn start_with_descriptors(config: &Path, count: u32) -> Self {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit -n {count} && exec \"$@\""), "sh", env!("CARGO_BIN_EXE_serin")]);
        Self::run(shell, config, &[])
    }

    fn run(mut command: Command, config: &Path, arguments: &[&str]) -> Self {
        let mut child = command
            .args(["run", "--config"])
            .arg(config)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let written = Arc::clone(&log);
        let stderr = BufReader::new(child.stderr.take().expect("stderr is piped"));
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = written.lock().expect("the log");
                log.push_str(&line);
                log.push('\n');
            }
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let (told, ready) = mpsc::channel();
        thread::spawn(move || {
            let mut line = String::new();
            let _ = stdout.read_line(&mut line);
            let _ = told.send(line);
            let _ = stdout.read_to_string(&mut String::new());
        });
        let ready = ready.recv_timeout(PATIENCE).unwrap_or_default();
        let program = Self { child, ready: ready.trim_end().to_owned(), log };
        assert!(program.ready.starts_with("serin ready: "), "{}\n{}", program.ready, program.log());
        program
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn ready(&self) -> &str {
        &self.ready
    }

    /// What has been written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().expect("the log").clone()
    }

    /// An address of the ready line.
    pub(crate) fn address(&self, name: &str) -> SocketAddr {
        let places = self.ready.strip_prefix("serin ready: ").expect("the ready line");
        let found = places.split(", ").find_map(|place| place.strip_prefix(name)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {name} in {}", self.ready)).parse().expect("an address")
    }

    /// Processor time used so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("the program runs");
        let after_name = stat.rsplit_once(") ").expect("the name is in parentheses").1;
        let ticks = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
        // The kernel tells it in hundredths of a second, whatever its own clock does.
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> u64 {
        resident_kib(self.child.id())
    }

    pub(crate) fn admin(&self, target: &str) -> Reply {
        admin(self.address("admin"), target)
    }

    /// A metric without labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.admin("/metrics").text().to_owned();
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {metrics}"))
    }

    /// Sends a signal, for example `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }

    /// Whether a `STOP` has reached all of its threads.
    pub(crate) fn stands_still(&self) -> bool {
        let threads = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the program runs");
        let stats = threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        stats.into_iter().all(|stat| stat.contains(") T "))
    }

    /// Waits for the end of the process and returns its exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our own child") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the program does not end\n{}", self.log());
            thread::sleep(super::POLL);
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Resident memory of a process in KiB.
pub(crate) fn resident_kib(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").trim().parse().expect("a number")
}

/// A request to an admin API.
pub(crate) fn admin(address: SocketAddr, target: &str) -> Reply {
    Client::connect(address).request("GET", target, &[("Host", "localhost")], b"")
}

/// Tells an endpoint of the upstream `app` to `drain` or `undrain`.
pub(crate) fn order(admin: SocketAddr, endpoint: SocketAddr, word: &str) -> serde_json::Value {
    let target = format!("/api/v1/upstreams/app/endpoints/{endpoint}/{word}");
    let fields = [("Host", "localhost"), ("Content-Type", "application/json")];
    let reply = Client::connect(admin).request("POST", &target, &fields, b"{}");
    assert_eq!(reply.status, 200, "{}", reply.text());
    serde_json::from_slice(&reply.body).expect("JSON")
}

/// Puts a file in the place of another in one step, as careful tools do.
pub(crate) fn replace(path: &Path, content: &(impl AsRef<[u8]> + ?Sized)) {
    let mut new: PathBuf = path.to_owned();
    new.set_extension("new");
    std::fs::write(&new, content).expect("the folder takes files");
    std::fs::rename(&new, path).expect("the file is replaced");
}

/// An endpoint that answers with its name and remembers nothing, for very many requests.
pub(crate) fn tireless_endpoint(name: &'static str) -> SocketAddr {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len());
    serve_tirelessly(move |_| answer.clone())
}

/// As a [`tireless_endpoint`], but what it answers is the request's own field of this name, as `x-seen`.
pub(crate) fn echoing_endpoint(field: &'static str) -> SocketAddr {
    serve_tirelessly(move |head| {
        let lines = head.lines().filter_map(|line| line.split_once(':'));
        let value = lines
            .filter(|(name, _)| name.eq_ignore_ascii_case(field))
            .map(|(_, value)| value.trim())
            .collect::<Vec<_>>();
        format!("HTTP/1.1 200 OK\r\nx-seen: {}\r\nContent-Length: 0\r\n\r\n", value.join(","))
    })
}

/// Requests have no body.
pub(crate) fn serve_tirelessly(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let address = listener.local_addr().expect("a bound listener has an address");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = Arc::clone(&answer);
            thread::spawn(move || answer_all(stream, &*answer));
        }
    });
    address
}

fn answer_all(mut stream: TcpStream, answer: &dyn Fn(&str) -> String) {
    let _ = stream.set_nodelay(true);
    let mut unread = Vec::new();
    let mut buffer = [0; 8 << 10];
    loop {
        while let Some(end) = super::find(&unread, b"\r\n\r\n") {
            let head: Vec<u8> = unread.drain(..end + 4).collect();
            if stream.write_all(answer(&String::from_utf8_lossy(&head)).as_bytes()).is_err() {
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => unread.extend_from_slice(&buffer[..count]),
        }
    }
}
