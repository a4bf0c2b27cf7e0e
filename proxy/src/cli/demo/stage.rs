//! The Serin of the demo, its file, and the folder of both.

use std::fmt::Write;
use std::fs::DirBuilder;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use serin_proxy::server::{Server, StartOptions};

use super::Trouble;
use super::acts::{ACTS, Act, RULES};
use super::endpoints::Endpoints;

/// A running Serin.
pub(super) struct Stage {
    // Fields are dropped in order: Serin ends before its folder goes.
    server: Server,
    proxy: SocketAddr,
    admin: SocketAddr,
    folder: Folder,
    stable: Vec<SocketAddr>,
    canary: Vec<SocketAddr>,
}

impl Stage {
    /// Writes the file of the first act and starts a Serin with it.
    pub(super) fn start(endpoints: &Endpoints) -> Result<Self, Trouble> {
        let folder = Folder::new().map_err(|error| format!("cannot make a temporary folder: {error}"))?;
        let (stable, canary) = (endpoints.stable().to_vec(), endpoints.canary().to_vec());
        let config = folder.config();
        std::fs::write(&config, rules(&ACTS[0], &stable, &canary))
            .map_err(|error| format!("cannot write {}: {error}", config.display()))?;
        let options = StartOptions { config, ..StartOptions::default() };
        let server = Server::start(options).map_err(|error| error.to_string())?;
        let proxy = server.listeners().first().map(|(_, address)| *address).ok_or("no listener is open")?;
        let admin = server.admin().ok_or("the admin API is not served")?;
        Ok(Self { server, proxy, admin, folder, stable, canary })
    }

    /// Where clients connect.
    pub(super) fn proxy(&self) -> SocketAddr {
        self.proxy
    }

    /// Where the API is.
    pub(super) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Writes the file of an act. A rename puts the whole file there at once, as good editors do.
    pub(super) fn write(&self, act: &Act) -> io::Result<()> {
        debug_assert!(self.server.problems().is_empty(), "the demo writes correct files");
        let config = self.folder.config();
        let draft = config.with_extension("draft");
        std::fs::write(&draft, rules(act, &self.stable, &self.canary))?;
        std::fs::rename(draft, config)
    }
}

fn rules(act: &Act, stable: &[SocketAddr], canary: &[SocketAddr]) -> String {
    let list = |addresses: &[SocketAddr]| {
        addresses.iter().map(|address| format!("\"{address}\"")).collect::<Vec<_>>().join(", ")
    };
    let mut audience = String::new();
    for (rule, percent) in RULES.iter().zip(act.percents) {
        // Writing to a string cannot fail.
        let _ = writeln!(audience, "      - {{name: {}, {}percent: {percent}}}", rule.name, rule.conditions);
    }
    format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}
admin: {{address: \"127.0.0.1:0\"}}
workers: 2
trusted_proxies: [\"127.0.0.1\"]
routes:
  shop: {{hosts: [{HOST}], upstream: shop, release: {RELEASE}}}
upstreams:
  shop: {{endpoints: [{}]}}
  {CANARY}: {{endpoints: [{}]}}
releases:
  {RELEASE}:
    stable: shop
    canary: {CANARY}
    audience:
{audience}    sticky: {{key: [{{header: x-user-id}}]}}
    expose: true
",
        list(stable),
        list(canary),
    )
}

/// The host the users ask for.
pub(super) const HOST: &str = "shop.example.com";

/// The release.
pub(super) const RELEASE: &str = "shop-v2";

/// The upstream of the canary group.
pub(super) const CANARY: &str = "shop-v2";

/// A temporary folder that only its owner can read.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = std::env::temp_dir().join(format!("serin-demo-{}-{nanos}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn config(&self) -> PathBuf {
        self.0.join("serin.yaml")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
