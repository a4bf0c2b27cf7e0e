//! Starting a contender, and what that takes until it serves the cluster.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::Contender;
use super::cluster::{Cluster, host};
use super::outcome::Start;
use crate::client::Client;
use crate::peers::local;
use crate::process::{Interrupt, Running, free_port};
use crate::tls::Certificate;
use crate::usage::{self, CpuReading, Memory};

/// What a start needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'g> {
    /// Empty, and the contender's own.
    pub folder: &'g Path,
    pub core: usize,
    /// How long the start may take.
    pub patience: Duration,
}

/// A contender that serves the cluster.
#[derive(Debug)]
pub struct Started {
    pub running: Running,
    pub target: SocketAddrV4,
    pub admin: SocketAddrV4,
    pub start: Start,
}

impl Ground<'_> {
    /// # Errors
    /// When it ends, or does not serve the cluster in time.
    pub fn start(
        &self,
        contender: Contender,
        program: &Path,
        cluster: &Cluster,
        interrupt: &Interrupt,
    ) -> io::Result<Started> {
        let (target, admin) = (local(free_port()?), local(free_port()?));
        let command = self.command(contender, program, cluster, [target, admin])?;
        let began = Instant::now();
        let mut running = Running::start(command, self.core, self.folder, "contender")?;
        let last = cluster.services() - 1;
        let (mut asks, mut client) = (Client::new(admin), Client::new(target));
        let (mut ready, mut served) = (None, None);
        let [ready_s, served_s] = loop {
            if let Some(why) = running.ended() {
                return Err(io::Error::other(why));
            }
            note(&mut ready, began, || {
                asks.ask_for("localhost", contender.ready_path()).is_ok_and(|answer| answer.status == 200)
            });
            note(&mut served, began, || is_from_pod(&mut client, cluster, &host(last), "/", last));
            if let (Some(ready), Some(served)) = (ready, served) {
                break [ready, served];
            }
            if began.elapsed() > self.patience {
                let seconds = self.patience.as_secs_f64();
                let words = running.last_words();
                return Err(io::Error::other(format!(
                    "does not serve all within {seconds:.0} s of its start: {words}"
                )));
            }
            interrupt.sleep(BREATH)?;
        };
        let pids = usage::tree(running.pid());
        let cpu_s = CpuReading::of(&pids).since(CpuReading::default()).total_us() / 1e6;
        let start = Start { ready_s, served_s, cpu_s, memory: Memory::of(&pids) };
        Ok(Started { running, target, admin, start })
    }

    fn command(
        &self,
        contender: Contender,
        program: &Path,
        cluster: &Cluster,
        [target, admin]: [SocketAddrV4; 2],
    ) -> io::Result<Command> {
        fs::write(self.folder.join("kubeconfig"), cluster.kubeconfig())?;
        let mut command = Command::new(program);
        match contender {
            Contender::Serin => {
                let template = include_str!("../../peers/kubernetes/serin.yaml");
                command.args(["run", "--config"]).arg(self.write("serin.yaml", template, cluster, [target, admin])?);
            }
            Contender::Traefik => {
                Certificate::make(self.folder)?;
                let certificate = include_str!("../../peers/kubernetes/traefik-certificate.yaml");
                self.write("traefik-certificate.yaml", certificate, cluster, [target, admin])?;
                let template = include_str!("../../peers/kubernetes/traefik.yaml");
                let file = self.write("traefik.yaml", template, cluster, [target, admin])?;
                command.env("GOMAXPROCS", "1").arg(format!("--configFile={}", file.display()));
            }
        }
        command.current_dir(self.folder);
        Ok(command)
    }

    fn write(
        &self,
        name: &str,
        template: &str,
        cluster: &Cluster,
        [target, admin]: [SocketAddrV4; 2],
    ) -> io::Result<PathBuf> {
        let blanks = [
            ("{{folder}}", self.folder.display().to_string()),
            ("{{listen}}", target.to_string()),
            ("{{admin}}", admin.to_string()),
            ("{{api}}", cluster.address().to_string()),
        ];
        let text = blanks.iter().fold(template.to_owned(), |text, (blank, value)| text.replace(blank, value));
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

/// Whether a pod that this Service has now answers for it.
pub(super) fn is_from_pod(client: &mut Client, cluster: &Cluster, host: &str, path: &str, service: u32) -> bool {
    let is_pod = |body: &str| body.parse().is_ok_and(|pod| cluster.pods(service).contains(&pod));
    client.ask_for(host, path).is_ok_and(|answer| answer.status == 200 && is_pod(&answer.body))
}

/// Asks until it is so, and then no more.
fn note(when: &mut Option<f64>, began: Instant, is_so: impl FnOnce() -> bool) {
    if when.is_none() && is_so() {
        *when = Some(began.elapsed().as_secs_f64());
    }
}

/// Between two questions.
const BREATH: Duration = Duration::from_millis(5);
