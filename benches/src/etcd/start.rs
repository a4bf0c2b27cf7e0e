//! Starting a contender, and the time until it serves everything.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::Contender;
use super::daemon::Daemon;
use super::layout::{MOVING, last_host};
use crate::client::Client;
use crate::peers::{beside, local};
use crate::process::{Interrupt, Running, free_port};
use crate::usage::{self, Memory};

/// What a start needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'g> {
    /// Empty, and the contender's own.
    pub folder: &'g Path,
    pub core: usize,
    pub etcd: SocketAddrV4,
    pub routes: u32,
    /// How long the start may take.
    pub patience: Duration,
    /// Of the pauses between changes.
    pub seed: u64,
}

/// A contender that serves its last route.
#[derive(Debug)]
pub struct Started {
    pub running: Running,
    pub target: SocketAddrV4,
    /// Seconds from the start of the process until the last route and the moving one were served, and it had said that it is ready.
    pub cold_s: f64,
    pub seed: u64,
    contender: Contender,
}

impl Ground<'_> {
    /// # Errors
    /// When it ends, or does not serve everything in time.
    pub fn start(&self, contender: Contender, program: &Path, interrupt: &Interrupt) -> io::Result<Started> {
        let target = local(free_port()?);
        let command = self.command(contender, program, target)?;
        let began = Instant::now();
        let mut running = Running::start(command, self.core, self.folder, "contender")?;
        let mut client = Client::new(target);
        let mut missing = vec![last_host(self.routes), MOVING.to_owned()];
        loop {
            if let Some(why) = running.ended() {
                return Err(io::Error::other(why));
            }
            missing.retain(|host| !client.ask(host).is_ok_and(|answer| answer.status == 200));
            let is_ready = contender != Contender::Serin || running.has_printed("serin ready:");
            if missing.is_empty() && is_ready {
                return Ok(Started {
                    running,
                    target,
                    cold_s: began.elapsed().as_secs_f64(),
                    seed: self.seed,
                    contender,
                });
            }
            if began.elapsed() > self.patience {
                let (missing, seconds) = (missing.join(", "), self.patience.as_secs_f64());
                let words = running.last_words();
                let said = if words.is_empty() { words } else { format!(": {words}") };
                return Err(io::Error::other(format!(
                    "does not serve {missing} within {seconds:.0} s of its start{said}"
                )));
            }
            interrupt.sleep(Duration::from_millis(5))?;
        }
    }

    fn command(&self, contender: Contender, program: &Path, target: SocketAddrV4) -> io::Result<Command> {
        let mut command = Command::new(program);
        match contender {
            Contender::Serin => {
                command.args(["run", "--config"]);
                command.arg(self.write("serin.yaml", include_str!("../../peers/etcd/serin.yaml"), target, "")?);
            }
            Contender::Traefik0s | Contender::Traefik2s => {
                let throttle = if contender == Contender::Traefik0s { "0s" } else { "2s" };
                let template = include_str!("../../peers/etcd/traefik.yaml");
                let file = self.write("traefik.yaml", template, target, throttle)?;
                let certificate = include_str!("../../peers/etcd/traefik-certificate.yaml");
                self.write("traefik-certificate.yaml", certificate, target, "")?;
                self.make_certificate()?;
                command.env("GOMAXPROCS", "1").arg(format!("--configFile={}", file.display()));
            }
            Contender::Template => {
                let daemon =
                    beside("template-daemon").ok_or_else(|| io::Error::other("the template daemon is not built"))?;
                let Daemon { nginx, etcd, listen, folder } = Daemon {
                    nginx: program.to_owned(),
                    etcd: self.etcd,
                    listen: target,
                    folder: self.folder.to_owned(),
                };
                command = Command::new(daemon);
                command.arg(nginx).args([etcd, listen].map(|address| address.to_string())).arg(folder);
            }
        }
        command.current_dir(self.folder);
        Ok(command)
    }

    fn make_certificate(&self) -> io::Result<()> {
        let mut command = Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
        command
            .args(["-subj", "/CN=bench.test", "-keyout", "key.pem", "-out", "certificate.pem"])
            .current_dir(self.folder);
        let made = command.output().map_err(|error| io::Error::other(format!("openssl (Debian: openssl): {error}")))?;
        let said = || io::Error::other(format!("openssl: {}", String::from_utf8_lossy(&made.stderr)));
        if made.status.success() { Ok(()) } else { Err(said()) }
    }

    fn write(&self, name: &str, template: &str, target: SocketAddrV4, throttle: &str) -> io::Result<PathBuf> {
        let blanks = [
            ("{{folder}}", self.folder.display().to_string()),
            ("{{listen}}", target.to_string()),
            ("{{admin}}", local(free_port()?).to_string()),
            ("{{etcd}}", self.etcd.to_string()),
            ("{{throttle}}", throttle.to_owned()),
        ];
        let text = blanks.iter().fold(template.to_owned(), |text, (blank, value)| text.replace(blank, value));
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Started {
    /// Of the proxy; of nginx without its daemon.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let mut pids = usage::tree(self.running.pid());
        if self.contender == Contender::Template {
            pids.remove(0);
        }
        Memory::of(&pids)
    }
}
