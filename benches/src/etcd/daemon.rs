//! The template daemon, as confd is used: every 5 s it lists the keys, renders `nginx.conf` from all of them, and has nginx reload
//! when the text is another one.
//!
//! It starts nginx itself, once it has rendered for the first time, and ends with it.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::store::Keys;

/// From the beginning of one look to the next.
pub const EVERY: Duration = Duration::from_secs(5);

const TEMPLATE: &str = include_str!("../../peers/etcd/nginx.conf");

/// What it is told.
#[derive(Clone, Debug)]
pub struct Daemon {
    pub nginx: PathBuf,
    pub etcd: SocketAddrV4,
    pub listen: SocketAddrV4,
    pub folder: PathBuf,
}

impl Daemon {
    /// # Errors
    /// When etcd, nginx or the folder fails it; a daemon in a shop would try again.
    pub fn run(&self) -> io::Result<()> {
        let mut keys = Keys::connect(self.etcd)?;
        let mut rendered = self.render(&mut keys)?;
        let file = self.folder.join("nginx.conf");
        fs::write(&file, &rendered)?;
        let mut nginx = self.nginx(&file).spawn()?;
        let mut due = Instant::now();
        loop {
            due = (due + EVERY).max(Instant::now());
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if let Some(status) = nginx.try_wait()? {
                return Err(io::Error::other(format!("nginx ended: {status}")));
            }
            let now = self.render(&mut keys)?;
            if now != rendered {
                fs::write(&file, &now)?;
                let status = self.nginx(&file).args(["-s", "reload"]).status()?;
                if !status.success() {
                    return Err(io::Error::other(format!("nginx -s reload: {status}")));
                }
                rendered = now;
            }
        }
    }

    fn nginx(&self, file: &Path) -> Command {
        let mut command = Command::new(&self.nginx);
        command.arg("-p").arg(&self.folder).arg("-e").arg(self.folder.join("nginx.log")).arg("-c").arg(file);
        command
    }

    fn render(&self, keys: &mut Keys) -> io::Result<String> {
        let mut text = String::new();
        for (_, endpoint) in keys.list("/bench_OLD/")? {
            upstream(&mut text, "moving", &endpoint);
        }
        for (name, endpoint) in keys.list("/template/upstreams/")? {
            upstream(&mut text, &name, &endpoint);
        }
        for (_, route) in keys.list("/template/routes/")? {
            let (host, upstream) = route.split_once(' ').unwrap_or_default();
            server(&mut text, self.listen, host, upstream);
        }
        let blanks = [
            ("{{folder}}", self.folder.display().to_string()),
            ("{{listen}}", self.listen.to_string()),
            ("{{rendered}}", text),
        ];
        Ok(blanks.iter().fold(TEMPLATE.to_owned(), |text, (blank, value)| text.replace(blank, value)))
    }
}

// Writing to a String cannot fail.

fn upstream(text: &mut String, name: &str, endpoint: &str) {
    let _ = writeln!(text, "    upstream {name} {{ server {endpoint}; keepalive 16; }}");
}

fn server(text: &mut String, listen: SocketAddrV4, host: &str, upstream: &str) {
    let _ = writeln!(
        text,
        "    server {{ listen {listen}; server_name {host}; location / {{ proxy_pass http://{upstream}; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}"
    );
}
