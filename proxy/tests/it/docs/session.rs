//! Somebody who follows a page: a folder, a running Serin, and endpoints.
//!
//! Pages show fixed ports; here everything is on port 0. The session keeps what became of each address that a page
//! shows, writes it into files and commands before they are used, and back into what is printed.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serin_proxy::control_path::check::check;

/// One page being followed.
pub(super) struct Session {
    page: String,
    folder: tempfile::TempDir,
    serin: Option<Child>,
    /// Shown address, real address.
    addresses: Vec<(String, String)>,
    /// The shown addresses that the running Serin has taken; in its file they stay on port 0.
    taken: Vec<String>,
}

impl Session {
    pub(super) fn new(page: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { page: page.to_owned(), folder, serin: None, addresses: Vec::new(), taken: Vec::new() }
    }

    /// Saves a whole main file, which must be right.
    pub(super) fn main_file(&mut self, line: usize, lines: &[&str]) {
        self.save("serin.yaml", &text(lines));
        let problems = check(&self.folder.path().join("serin.yaml")).problems;
        assert!(problems.is_empty(), "{}:{line}: {problems:?}", self.page);
    }

    /// Saves another file.
    pub(super) fn other_file(&self, line: usize, name: &str, lines: &[&str]) {
        let name = name.strip_prefix("file=").unwrap_or_else(|| panic!("{}:{line}: `{name}`", self.page));
        self.save(name, &text(lines));
    }

    /// A part of a main file: it may name what is not there.
    pub(super) fn fragment(&self, line: usize, lines: &[&str]) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("serin.yaml");
        std::fs::write(&path, text(lines)).expect("the fragment is written");
        let is_missing = |path: &str, reason: &str| {
            let starts = ["there is no ", "cannot be read: No such file"];
            starts.iter().any(|start| reason.starts_with(start)) || path == "geo.database"
        };
        let problems: Vec<_> =
            check(&path).problems.into_iter().filter(|problem| !is_missing(&problem.path, &problem.reason)).collect();
        assert!(problems.is_empty(), "{}:{line}: {problems:?}", self.page);
    }

    /// Runs commands and compares what they print.
    pub(super) fn commands(&mut self, line: usize, lines: &[&str]) {
        for part in parts(lines) {
            let Some((command, expected)) = part.split_first() else { continue };
            let command = command.strip_prefix("$ ").unwrap_or_else(|| panic!("{}:{line}: no `$ `", self.page));
            let words = words(command);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            match words[..] {
                ["serin", "run", ..] => self.run(&words[1..], expected),
                ["serin", ..] => self.compare(line, command, expected, |session| session.serin(&words[1..])),
                ["curl", "-s", ref arguments @ ..] => {
                    self.compare(line, command, expected, |session| session.curl(arguments));
                }
                ["openssl", "req", ref arguments @ ..] => self.certificate(arguments),
                ["python3", "-m", "http.server", port, "--directory", folder, "&"] => self.endpoint(port, folder),
                ["mkdir" | "sh" | "echo" | "sed" | "cat" | "mv" | "cp" | "rm", ..] => {
                    self.compare(line, command, expected, |session| session.shell(command));
                }
                _ => panic!("{}:{line}: nothing tests `{command}`", self.page),
            }
        }
    }

    fn save(&self, name: &str, text: &str) {
        let path = self.folder.path().join(name);
        let folder = path.parent().expect("a file is in a folder");
        std::fs::create_dir_all(folder).expect("the folder is made");
        let text = self.taken.iter().fold(text.to_owned(), |text, address| text.replace(address, &any_port(address)));
        std::fs::write(path, self.to_real(&text)).expect("the file is written");
    }

    /// Starts Serin. Its first line must be the one that is shown; it also says what became of the addresses.
    fn run(&mut self, arguments: &[&str], expected: &[&str]) {
        let shown = places(expected.first().expect("`serin run` says when it is ready"));
        let path = self.folder.path().join("serin.yaml");
        let mut rules = std::fs::read_to_string(&path).expect("there is a main file");
        for (_, address) in &shown {
            rules = rules.replace(address, &any_port(address));
        }
        std::fs::write(&path, rules).expect("the main file is written");
        let mut serin = command(self.folder.path())
            .args(arguments)
            .env("SERIN_LOG", "off")
            .stdout(Stdio::piped())
            .spawn()
            .expect("serin starts");
        let mut ready = String::new();
        BufReader::new(serin.stdout.as_mut().expect("it is piped")).read_line(&mut ready).expect("it says something");
        self.stop();
        self.serin = Some(serin);
        let real = places(&ready);
        let names = |places: &[(String, String)]| places.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&real), names(&shown), "{}: {ready}", self.page);
        self.taken = shown.iter().map(|(_, address)| address.clone()).collect();
        self.addresses.retain(|(address, _)| !self.taken.contains(address));
        self.addresses.extend(shown.into_iter().map(|(_, shown)| shown).zip(real.into_iter().map(|(_, real)| real)));
    }

    fn serin(&self, arguments: &[&str]) -> String {
        let mut command = command(self.folder.path());
        let arguments = arguments.iter().map(|argument| self.to_real(argument));
        let output = command.env("SERIN_ADMIN", self.admin()).args(arguments).output().expect("serin runs");
        self.to_shown(&(String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr)))
    }

    /// The running Serin's admin API, or that of nobody.
    fn admin(&self) -> String {
        format!("http://{}", self.to_real(ADMIN))
    }

    fn shell(&self, line: &str) -> String {
        let mut shell = Command::new("sh");
        let program = Path::new(env!("CARGO_BIN_EXE_serin")).parent().expect("a file is in a folder");
        let path = std::env::var("PATH").unwrap_or_default();
        shell.env("PATH", format!("{}:{path}", program.display())).env("SERIN_ADMIN", self.admin());
        shell.env_remove("SERIN_TOKEN_FILE").env_remove("BUILD_TAG").env("USER", "anna");
        let output = shell.arg("-c").arg(self.to_real(line)).current_dir(self.folder.path()).output();
        let output = output.expect("there is a shell");
        self.to_shown(&(String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr)))
    }

    /// A certificate that signs itself, and its key. Understands `-addext subjectAltName=DNS:…`, `-keyout` and `-out`.
    fn certificate(&self, arguments: &[&str]) {
        let after = |name: &str| {
            let place = arguments.iter().position(|argument| *argument == name);
            place.map(|place| arguments[place + 1]).unwrap_or_else(|| panic!("{}: no {name}", self.page))
        };
        let names = after("-addext").strip_prefix("subjectAltName=DNS:").expect("it is for a host");
        let made = rcgen::generate_simple_self_signed([names.to_owned()]).expect("a certificate");
        self.save(after("-out"), &made.cert.pem());
        self.save(after("-keyout"), &made.signing_key.serialize_pem());
    }

    /// An endpoint that answers every request with the folder's `index.html`, as Python's server does for `/`.
    fn endpoint(&mut self, port: &str, folder: &str) {
        let body =
            std::fs::read_to_string(self.folder.path().join(folder).join("index.html")).expect("a page to serve");
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let real = socket.local_addr().expect("it is bound").to_string();
        self.addresses.push((format!("127.0.0.1:{port}"), real));
        // Ends with the process: it waits for connections and nothing else.
        std::thread::spawn(move || {
            for connection in socket.incoming().flatten() {
                let body = body.clone();
                std::thread::spawn(move || answer(connection, &body));
            }
        });
    }

    /// Understands `-i`, `-H FIELD`, `-d BODY` and a URL.
    fn curl(&self, arguments: &[&str]) -> String {
        let (mut method, mut fields, mut body, mut url, mut with_head) = ("GET", String::new(), "", "", false);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match *argument {
                "-i" => with_head = true,
                "-H" => fields += &format!("{}\r\n", rest.next().expect("-H has a field")),
                "-d" => (method, body) = ("POST", rest.next().expect("-d has a body")),
                place => url = place.trim_start_matches("http://"),
            }
        }
        let (host, path) = url.split_once('/').unwrap_or((url, ""));
        if !fields.lines().any(|field| field.to_lowercase().starts_with("host:")) {
            fields += &format!("host: {}\r\n", self.to_real(host));
        }
        let request = format!(
            "{method} /{path} HTTP/1.1\r\n{fields}connection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.to_real(host)).expect("serin listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        stream.write_all(request.as_bytes()).expect("the request is sent");
        let mut response = Vec::new();
        stream.read_to_end(&mut response).expect("the response ends");
        let response = self.to_shown(&String::from_utf8_lossy(&response)).replace("\r\n", "\n");
        match with_head {
            true => response,
            false => response.split_once("\n\n").map_or("", |(_, body)| body).to_owned(),
        }
    }

    /// A change of files takes a moment to take effect, so a command may be asked again for a while.
    fn compare(&self, line: usize, command: &str, expected: &[&str], run: impl Fn(&Self) -> String) {
        let mut printed = String::new();
        for _ in 0..ATTEMPTS {
            printed = run(self);
            if is_as_shown(&printed, expected) {
                return;
            }
            let asks = ["curl", "serin release status", "serin release history"];
            let is_asking_a_server = asks.iter().any(|start| command.starts_with(start));
            if !is_asking_a_server {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        panic!("{}:{line}: $ {command}\n--- shown\n{}\n--- printed\n{printed}", self.page, expected.join("\n"));
    }

    fn to_real(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(shown, real))
    }

    fn to_shown(&self, text: &str) -> String {
        self.addresses.iter().fold(text.to_owned(), |text, (shown, real)| text.replace(real, shown))
    }

    fn stop(&mut self) {
        if let Some(mut serin) = self.serin.take() {
            let _ = serin.kill();
            let _ = serin.wait();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.stop();
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_serin"));
    command.current_dir(folder).env_remove("SERIN_CONFIG").env_remove("SERIN_STATE_DIR").stdin(Stdio::null());
    command.env_remove("SERIN_TOKEN_FILE").env("USER", "anna");
    command
}

/// `serin ready: web 127.0.0.1:8080, admin 127.0.0.1:9900` to names and addresses.
fn places(ready: &str) -> Vec<(String, String)> {
    let list = ready.trim().strip_prefix("serin ready: ").unwrap_or_else(|| panic!("not ready: {ready}"));
    list.split(", ").filter_map(|place| place.split_once(' ')).map(|(name, at)| (name.into(), at.into())).collect()
}

fn any_port(address: &str) -> String {
    format!("{}:0", address.split(':').next().unwrap_or_default())
}

/// Words as a shell reads them: single and double quotes hold them together.
pub(super) fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for letter in line.chars() {
        match (letter, quote) {
            (' ', None) => words.push(String::new()),
            ('\'' | '"', None) => quote = Some(letter),
            (letter, Some(open)) if letter == open => quote = None,
            (letter, _) => words.last_mut().expect("there is one").push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

fn is_as_shown(printed: &str, shown: &[&str]) -> bool {
    let printed: Vec<&str> = printed.lines().map(str::trim_end).collect();
    let shown: Vec<&str> = shown.iter().map(|line| line.trim_end()).collect();
    printed.len() == shown.len() && printed.iter().zip(shown).all(|(printed, shown)| is_like(printed, shown))
}

/// Whether a line is the one that is shown, where `…` stands for any text.
fn is_like(printed: &str, shown: &str) -> bool {
    let Some((start, rest)) = shown.split_once('…') else { return printed == shown };
    let Some(mut printed) = printed.strip_prefix(start) else { return false };
    let mut parts = rest.split('…').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return printed.ends_with(part);
        }
        let Some((_, behind)) = printed.split_once(part) else { return false };
        printed = behind;
    }
    true
}

/// Answers requests on one connection until the other side closes it.
fn answer(mut connection: TcpStream, body: &str) {
    let mut reader = BufReader::new(connection.try_clone().expect("a socket has two ends"));
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        let is_end_of_head = line == "\r\n";
        line.clear();
        if is_end_of_head {
            let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            if connection.write_all(response.as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn text(lines: &[&str]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Commands, each with what it prints.
fn parts<'l>(lines: &[&'l str]) -> Vec<Vec<&'l str>> {
    let mut parts: Vec<Vec<&'l str>> = Vec::new();
    for line in lines {
        match parts.last_mut() {
            Some(part) if !line.starts_with("$ ") => part.push(line),
            _ => parts.push(vec![line]),
        }
    }
    parts
}

/// Where commands look for the admin API if nobody says otherwise.
const ADMIN: &str = "127.0.0.1:9900";

/// How often, and how long apart, a server is asked until it says what is shown: ten seconds.
const ATTEMPTS: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);
