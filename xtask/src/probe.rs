//! `cargo xtask probe`: Serin as others probe it, with testssl.sh and slowhttptest, on loopback; the tables of
//! `docs/security.md` are what it prints.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::Outcome;
use crate::install::{packages, to_build};
use crate::shell::{cargo, run, say, target};

/// What a slow client does, and how slowhttptest is told so.
const SLOW: [(&str, &str, &str); 4] = [
    ("heads, a line every 5 s", "-H -i 5 -x 24 -t GET", "/"),
    ("bodies, 10 bytes every 5 s", "-B -i 5 -s 8192 -x 10 -t POST", "/"),
    ("ranges, very many in a head", "-R -a 10 -b 3000 -t HEAD", "/"),
    ("readers, 32 bytes every 5 s of 3 × 8 MiB", "-X -w 512 -y 1024 -n 5 -z 32 -k 3", "/large"),
];

/// Connections, and the seconds they are given.
const CONNECTIONS: &str = "1000";
const SECONDS: &str = "45";

/// Arguments: `--serin PATH` for one that is built already.
pub(crate) fn probe(args: &[String]) -> Outcome {
    let given = match args {
        [] => None,
        [flag, path] if flag == "--serin" => Some(PathBuf::from(path)),
        _ => return Err("usage: cargo xtask probe [--serin PATH]".to_owned()),
    };
    packages(&[("testssl", "testssl.sh"), ("slowhttptest", "slowhttptest"), ("openssl", "openssl")])?;
    let program = match given {
        Some(program) => program,
        None => {
            to_build()?;
            run(&mut cargo(["build", "--quiet", "--release", "--package", "serin"]))?;
            target().join("release/serin")
        }
    };
    // It is started in a folder of its own, where a relative path would lead elsewhere.
    let program = std::path::absolute(&program).map_err(|error| format!("{}: {error}", program.display()))?;
    let folder = std::env::temp_dir().join(format!("serin-probe-{}", std::process::id()));
    let probed = fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()));
    let probed = probed.and_then(|()| all(&program, &folder));
    let _ = fs::remove_dir_all(&folder);
    probed
}

fn all(program: &Path, folder: &Path) -> Outcome {
    certify(folder)?;
    let endpoint = endpoint()?;
    let config = format!(
        "listeners:\n  secure: {{address: \"127.0.0.1:0\", tls: {{default_certificate: any}}}}\n  web: {{address: \"127.0.0.1:0\"}}\n\
         certificates: {{any: {{cert_file: any.crt, key_file: any.key}}}}\n\
         routes: {{all: {{upstream: app, filters: [{{hsts: {{max_age: 8760h}}}}, {{security_headers: {{}}}}]}}}}\n\
         upstreams: {{app: {{endpoints: [\"{endpoint}\"]}}}}\n"
    );
    fs::write(folder.join("serin.yaml"), config).map_err(|error| error.to_string())?;
    let serin = Serin::start(program, folder)?;
    testssl(&serin, folder)?;
    slow(&serin, folder)
}

/// A key and a certificate for `localhost`, and the authority that signed it.
fn certify(folder: &Path) -> Outcome {
    let openssl =
        |line: &str| run(Command::new("openssl").current_dir(folder).args(line.split(' ')).stderr(Stdio::null()));
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    openssl(&format!("req -x509 {key} -days 300 -subj /CN=authority -keyout ca.key -out ca.pem"))?;
    openssl(&format!("req {key} -subj /CN=localhost -keyout any.key -out any.csr"))?;
    let extensions = "subjectAltName=DNS:localhost\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n";
    fs::write(folder.join("extensions"), extensions).map_err(|error| error.to_string())?;
    openssl("x509 -req -in any.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 90 -extfile extensions -out any.crt")
}

/// Answers everything with 1 KiB, and `/large` with 8 MiB.
fn endpoint() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    std::thread::spawn(move || listener.incoming().flatten().for_each(|it| drop(std::thread::spawn(|| answer(it)))));
    Ok(address)
}

fn answer(mut stream: TcpStream) {
    let mut unread = Vec::new();
    let mut piece = [0; 16_384];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        unread.extend_from_slice(&piece[..count]);
        while let Some(end) = unread.windows(4).position(|window| window == b"\r\n\r\n") {
            let head: Vec<u8> = unread.drain(..end + 4).collect();
            let is_large = head.windows(6).any(|window| window == b"/large");
            let pieces = if is_large { 8 << 10 } else { 1 };
            let length = pieces * PIECE.len();
            let fields = format!("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\n\r\n");
            let body = if head.starts_with(b"HEAD") { 0 } else { pieces };
            let written = stream.write_all(fields.as_bytes());
            if written.and_then(|()| (0..body).try_for_each(|_| stream.write_all(&PIECE))).is_err() {
                return;
            }
        }
    }
}

/// What bodies are made of. Nothing of them waits in memory, where there would be thousands.
const PIECE: [u8; 1_024] = [b'x'; 1_024];

/// A proxy in a process of its own.
struct Serin {
    process: Child,
    secure: String,
    web: String,
}

impl Serin {
    fn start(program: &Path, folder: &Path) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.arg("run").current_dir(folder).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut ready = String::new();
        if let Some(said) = process.stdout.take() {
            BufReader::new(said).read_line(&mut ready).map_err(|error| error.to_string())?;
        }
        let address = |name: &str| {
            let rest = ready.split(&format!("{name} ")).nth(1).unwrap_or_default();
            rest.split([',', '\n']).next().unwrap_or_default().to_owned()
        };
        let (secure, web) = (address("secure"), address("web"));
        let serin = Self { process, secure, web };
        if serin.secure.is_empty() { Err(format!("Serin did not start: {ready}")) } else { Ok(serin) }
    }

    /// Its resident memory, in MiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok()).unwrap_or(0) / 1_024
    }
}

impl Drop for Serin {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(clippy::print_stdout, reason = "it is what the command is for")]
fn testssl(serin: &Serin, folder: &Path) -> Outcome {
    let (_, port) = serin.secure.rsplit_once(':').ok_or("an address without a port")?;
    let mut command = Command::new("testssl");
    command.current_dir(folder).args("--quiet --color 0 --warnings off --add-ca ca.pem --csvfile found.csv".split(' '));
    say("testssl.sh takes two minutes");
    // Its exit code counts what it found.
    let _ = run(command.arg(format!("https://localhost:{port}")).stdin(Stdio::null()).stdout(Stdio::null()));
    let found = fs::read_to_string(folder.join("found.csv")).map_err(|error| format!("testssl: {error}"))?;
    let rows: Vec<Vec<&str>> =
        found.lines().skip(1).map(|line| line.trim_matches('"').split("\",\"").collect()).collect();
    let count = |severity: &str| rows.iter().filter(|row| row.get(3) == Some(&severity)).count();
    let counts =
        ["OK", "INFO", "WARN", "LOW", "MEDIUM", "HIGH", "CRITICAL"].map(|severity| (severity, count(severity)));
    println!("| testssl.sh | {} |", counts.map(|(severity, _)| severity).join(" | "));
    println!("|---|{}", "--:|".repeat(counts.len()));
    println!("| findings | {} |\n", counts.map(|(_, count)| count.to_string()).join(" | "));
    for row in rows.iter().filter(|row| !matches!(row.get(3), Some(&"OK" | &"INFO"))) {
        if let [id, _, _, severity, finding, ..] = row[..] {
            println!("- {severity}: `{id}`: {finding}");
        }
    }
    println!();
    Ok(())
}

#[expect(clippy::print_stdout, reason = "it is what the command is for")]
fn slow(serin: &Serin, folder: &Path) -> Outcome {
    println!(
        "| slow clients ({CONNECTIONS} connections, {SECONDS} s) | open at the end | others served | memory before, at most, MiB |"
    );
    println!("|---|--:|---|--:|");
    for (name, arguments, target) in SLOW {
        let before = serin.memory();
        let _ = fs::remove_file(folder.join("slow.csv"));
        let mut command = Command::new("slowhttptest");
        command.current_dir(folder).args(format!("-c {CONNECTIONS} -r 200 -l {SECONDS} -p 3 -g -o slow").split(' '));
        command.args(arguments.split(' ')).args(["-u", &format!("http://{}{target}", serin.web)]);
        say(&format!("$ {}", crate::shell::line(&command)));
        let mut probing = command.stdout(Stdio::null()).spawn().map_err(|error| error.to_string())?;
        let mut most = before;
        while probing.try_wait().map_err(|error| error.to_string())?.is_none() {
            most = most.max(serin.memory());
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        let seconds = fs::read_to_string(folder.join("slow.csv")).map_err(|error| format!("slowhttptest: {error}"))?;
        // Seconds, closed, pending, connected, whether another client was served (then as many as there are).
        let row = |line: &str| line.split(',').map(|cell| cell.trim().parse().ok()).collect::<Option<Vec<u64>>>();
        let rows: Vec<Vec<u64>> = seconds.lines().skip(1).filter_map(row).collect();
        let open = rows.last().and_then(|row| row.get(3)).copied().unwrap_or(0);
        let refused = rows.iter().filter(|row| row.get(4) == Some(&0)).count();
        let served = if refused == 0 { "always".to_owned() } else { format!("not in {refused} of {} s", rows.len()) };
        println!("| {name} | {open} | {served} | {before}, {most} |");
    }
    Ok(())
}
