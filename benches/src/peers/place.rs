//! The configurations: files in `peers/` with blanks, filled in where a proxy is started.

use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};

use super::Setup;

/// What a configuration has blanks for.
pub(super) struct Place<'p> {
    pub(super) folder: &'p Path,
    pub(super) listen: SocketAddrV4,
    /// Beside it, for clear text, where `listen` is for TLS.
    pub(super) clear: SocketAddrV4,
    pub(super) admin_port: u16,
    pub(super) endpoints: &'p [SocketAddrV4],
    pub(super) setup: Setup,
    pub(super) limits: &'p str,
    /// As many as the limit of open files leaves room for.
    pub(super) connections: u64,
}

impl Place<'_> {
    /// Writes the configuration file of this name.
    pub(super) fn write(&self, name: &str) -> io::Result<PathBuf> {
        let template = self.template(name).ok_or_else(|| io::Error::other(format!("no template `{name}`")))?;
        let one = self.endpoints[0];
        let blanks = [
            ("{{folder}}", self.folder.display().to_string()),
            ("{{listen}}", self.listen.to_string()),
            ("{{port}}", self.listen.port().to_string()),
            ("{{clear}}", self.clear.to_string()),
            ("{{clear_port}}", self.clear.port().to_string()),
            ("{{admin_port}}", self.admin_port.to_string()),
            ("{{endpoint}}", one.to_string()),
            ("{{endpoint_ip}}", one.ip().to_string()),
            ("{{endpoint_port}}", one.port().to_string()),
            ("{{canary}}", self.endpoints.get(1).map(SocketAddrV4::to_string).unwrap_or_default()),
            ("{{connections}}", self.connections.to_string()),
            ("{{limits}}", self.limits.to_owned()),
        ];
        let text = each_endpoint(template, self.endpoints);
        let text = blanks.iter().fold(text, |text, (blank, value)| text.replace(blank, value));
        let path = self.folder.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }

    fn template(&self, name: &str) -> Option<&'static str> {
        Some(match (self.setup, name) {
            (Setup::One, "serin.yaml") => include_str!("../../peers/serin.yaml"),
            (Setup::One, "nginx.conf") => include_str!("../../peers/nginx.conf"),
            (Setup::One, "haproxy.cfg") => include_str!("../../peers/haproxy.cfg"),
            (Setup::One, "envoy.yaml") => include_str!("../../peers/envoy.yaml"),
            (Setup::One, "traefik-routes.yaml") => include_str!("../../peers/traefik-routes.yaml"),
            (Setup::Tls, "serin.yaml") => include_str!("../../peers/tls/serin.yaml"),
            (Setup::Tls, "nginx.conf") => include_str!("../../peers/tls/nginx.conf"),
            (Setup::Tls, "haproxy.cfg") => include_str!("../../peers/tls/haproxy.cfg"),
            (Setup::Tls, "envoy.yaml") => include_str!("../../peers/tls/envoy.yaml"),
            (Setup::Tls, "traefik-routes.yaml") => include_str!("../../peers/tls/traefik-routes.yaml"),
            (Setup::Tls, "traefik.yaml") => include_str!("../../peers/tls/traefik.yaml"),
            (Setup::Several, "serin.yaml") => include_str!("../../peers/several/serin.yaml"),
            (Setup::Several, "nginx.conf") => include_str!("../../peers/several/nginx.conf"),
            (Setup::Several, "haproxy.cfg") => include_str!("../../peers/several/haproxy.cfg"),
            (Setup::Several, "envoy.yaml") => include_str!("../../peers/several/envoy.yaml"),
            (Setup::Several, "traefik-routes.yaml") => include_str!("../../peers/several/traefik-routes.yaml"),
            (Setup::Overload, "serin.yaml") => include_str!("../../peers/overload/serin.yaml"),
            (Setup::Overload, "nginx.conf") => include_str!("../../peers/overload/nginx.conf"),
            (Setup::Overload, "haproxy.cfg") => include_str!("../../peers/overload/haproxy.cfg"),
            (_, "traefik.yaml") => include_str!("../../peers/traefik.yaml"),
            _ => return None,
        })
    }
}

/// Repeats each line that has a blank `{{each…}}` for every endpoint.
fn each_endpoint(template: &str, endpoints: &[SocketAddrV4]) -> String {
    let lines = template.lines().flat_map(|line| {
        let times = if line.contains("{{each") { endpoints } else { &endpoints[..1] };
        times.iter().map(move |endpoint| {
            line.replace("{{each}}", &endpoint.to_string())
                .replace("{{each_ip}}", &endpoint.ip().to_string())
                .replace("{{each_port}}", &endpoint.port().to_string())
                + "\n"
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::local;

    #[test]
    fn a_line_is_repeated_for_each_endpoint() {
        let text = each_endpoint("a\n  server {{each}};\nb {{port}}\n", &[local(1), local(2)]);
        assert_eq!(text, "a\n  server 127.0.0.1:1;\n  server 127.0.0.1:2;\nb {{port}}\n");
    }
}
