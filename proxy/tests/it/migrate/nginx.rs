//! nginx with what the template daemon renders from the guide's template. When the daemon looks is for the test to say.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::{Guide, script};
use crate::support::etcd::Etcd;
use crate::support::{PATIENCE, eventually, skip};

pub(super) struct Nginx {
    child: Child,
    folder: TempDir,
    template: String,
    /// Beside what is rendered, once nginx divides the requests.
    split: String,
    /// What was rendered last.
    rendered: String,
    proxy_pass: &'static str,
}

/// Says so where it is not, unless it has to be.
pub(super) fn is_installed() -> bool {
    let is_installed = program("-v").output().is_ok();
    if !is_installed {
        skip("nginx is not installed (Debian: nginx-light)");
    }
    is_installed
}

impl Nginx {
    pub(super) fn start(etcd: &Etcd, guide: &Guide, address: SocketAddr) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (template, split) = (guide.block("upstream shop {"), guide.block("split_clients"));
        let rendered = render(&template, &etcd.values(script::PREFIX));
        let mut command = program("-c");
        command.arg(folder.path().join("nginx.conf")).stdin(Stdio::null());
        let text = main_file(&folder, &rendered, "");
        std::fs::write(folder.path().join("nginx.conf"), text).expect("the file is written");
        let child = command.spawn().expect("nginx is installed");
        let nginx = Self { child, folder, template, split, rendered, proxy_pass: "http://shop;" };
        eventually(PATIENCE, "nginx listens", || TcpStream::connect(address).is_ok());
        nginx
    }

    /// Lists, renders, and reloads if there is something new.
    pub(super) fn daemons_turn(&mut self, etcd: &Etcd) {
        let now = render(&self.template, &etcd.values(script::PREFIX));
        if now != self.rendered {
            self.rendered = now;
            self.reload("");
        }
    }

    /// This part of the requests goes to Serin.
    pub(super) fn splits(&mut self, part: &str) {
        assert!(self.split.contains("    10%  serin;\n    *    shop;\n"), "{}", self.split);
        let split = if part == "100%" {
            self.split.replace("10%  serin;\n    *    shop;", "*    serin;")
        } else {
            self.split.replace("10%", part)
        };
        self.proxy_pass = "http://$shop;";
        self.reload(&split);
    }

    fn reload(&self, split: &str) {
        let text = self.rendered.replace("http://shop;", self.proxy_pass);
        let file = self.folder.path().join("nginx.conf");
        std::fs::write(&file, main_file(&self.folder, &text, split)).expect("the file is written");
        self.tell("reload");
    }

    /// Requests under way finish, and the process ends.
    pub(super) fn quit(&mut self) {
        self.tell("quit");
        assert!(self.child.wait().expect("our own child").success());
    }

    fn tell(&self, signal: &str) {
        let status = program("-c").arg(self.folder.path().join("nginx.conf")).args(["-s", signal]).status();
        assert!(status.expect("nginx is installed").success(), "nginx -s {signal}");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // In order, because its worker would outlive a master that is killed.
            let _ = program("-c").arg(self.folder.path().join("nginx.conf")).args(["-s", "stop"]).status();
            let _ = self.child.wait();
        }
    }
}

/// Debian keeps it where an ordinary user's path does not look.
pub(crate) fn program(first: &str) -> Command {
    let is_there = std::path::Path::new("/usr/sbin/nginx").exists();
    let mut command = Command::new(if is_there { "/usr/sbin/nginx" } else { "nginx" });
    command.args(["-e", "stderr", first]);
    command
}

/// As confd does for what the guide's template uses.
fn render(template: &str, values: &[String]) -> String {
    let (before, rest) = template.split_once("{{range getvs \"/shop_PRO/*\"}}").expect("the guide's template");
    let (each, after) = rest.split_once("{{end}}").expect("the guide's template");
    let all: String = values.iter().map(|value| each.replace("{{.}}", value)).collect();
    format!("{before}{all}{after}")
}

/// What Debian's `nginx.conf` has around it, in a folder of its own.
fn main_file(folder: &TempDir, rendered: &str, split: &str) -> String {
    let folder = folder.path().display();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("    {name}_temp_path {folder}/{name};\n"))
        .concat();
    format!(
        "daemon off;\nworker_processes 1;\npid {folder}/nginx.pid;\nerror_log stderr error;\nevents {{}}\n\
         http {{\n    access_log off;\n{paths}{split}{rendered}}}\n"
    )
}
