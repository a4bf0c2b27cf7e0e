//! The command line, and what it comes to.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::time::Duration;

use clap::ArgGroup;
use serin_proxy::control_path::discovery::registration::{self, Registration};
use serin_proxy::control_path::etcd::{Cluster, LeasedKey};
use serin_proxy::control_path::health::UrlCheck;
use tokio::sync::watch;

use crate::cli::etcd_args::EtcdArgs;

/// What `serin register` is told.
#[derive(clap::Args)]
#[command(group(ArgGroup::new("place").required(true).args(["upstream", "prefix"])), after_help = AFTER_HELP)]
pub(crate) struct RegisterArgs {
    /// The upstream whose endpoint this is. The key is ETCD_PREFIX `endpoints/` UPSTREAM `/` IP `-` PORT.
    #[arg(long, value_name = "NAME")]
    upstream: Option<String>,
    /// What the key begins with, for example `/shop_PRO/`; then IP `-` PORT.
    #[arg(long, value_parser = registration::prefix)]
    prefix: Option<String>,
    /// Where Serin reaches the endpoint.
    #[arg(long, value_name = "IP:PORT", value_parser = registration::address, env = "SERIN_ADDRESS")]
    address: SocketAddr,
    /// Share of the requests relative to other endpoints, 0 to 1000. The value is JSON then.
    #[arg(long, value_parser = registration::weight)]
    weight: Option<u16>,
    /// How long the registration outlives a process that is killed, in whole seconds.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = ttl)]
    ttl: Duration,
    #[command(flatten)]
    etcd: EtcdArgs,
    /// Register only while GET of this is answered with 200 to 299 within a second; three failures in a row withdraw.
    #[arg(long, value_name = "http://IP:PORT/PATH")]
    check: Option<String>,
    /// From one check to the next.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval, requires = "check")]
    check_interval: Duration,
    /// How long all who read registrations have to notice that this one has gone, before the command is stopped.
    /// Default: 5s with a command, else 0s.
    #[arg(long, value_name = "TIME", value_parser = span)]
    drain: Option<Duration>,
    /// What to run, and its arguments.
    #[arg(last = true)]
    command: Vec<OsString>,
}

/// What is to be done.
pub(super) struct Plan {
    pub(super) key: LeasedKey,
    pub(super) check: Option<UrlCheck>,
    /// What to run; nothing to run is empty.
    pub(super) command: Vec<OsString>,
    pub(super) drain: Duration,
}

impl RegisterArgs {
    pub(super) fn plan(self) -> Result<Plan, String> {
        let prefix = self.key_prefix()?;
        let settings = self.etcd.settings()?;
        let Registration { key, value } = Registration::new(&prefix, self.address, self.weight);
        let check = self.check.map(|url| UrlCheck::new(&url, self.check_interval, CHECK_TIMEOUT));
        let drain = self.drain.unwrap_or(if self.command.is_empty() { Duration::ZERO } else { DRAIN });
        Ok(Plan {
            key: LeasedKey::new(Cluster::new(settings), &key, watch::channel(value.into()).1, self.ttl),
            check: check.transpose().map_err(|reason| format!("--check: {reason}"))?,
            command: self.command,
            drain,
        })
    }

    fn key_prefix(&self) -> Result<String, String> {
        match (&self.prefix, &self.upstream) {
            (Some(prefix), _) => Ok(prefix.clone()),
            (None, upstream) => {
                let upstream = upstream.as_deref().unwrap_or_default();
                registration::prefix_of(self.etcd.prefix(), upstream).map_err(|reason| format!("--upstream: {reason}"))
            }
        }
    }
}

fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("not a duration such as 5s or 500ms: {error}"))
}

/// etcd counts leases in seconds, and by default grants none of less than two.
fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = span(text)?;
    let is_good = ttl.subsec_nanos() == 0 && (2..=3_600).contains(&ttl.as_secs());
    is_good.then_some(ttl).ok_or_else(|| "it is in whole seconds, from 2s to 1h".to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = span(text)?;
    let range = Duration::from_millis(100)..=Duration::from_secs(3_600);
    range.contains(&interval).then_some(interval).ok_or_else(|| "it is from 100ms to 1h".to_owned())
}

const AFTER_HELP: &str = "\
A command is started at once, whether or not etcd answers, and gets the signals that this process gets. SIGTERM, SIGINT \
and SIGQUIT first withdraw the registration, and reach the command after --drain; a second one reaches it at once. The \
exit code is the command's, 128 and the number of the signal that ended it, or 126 or 127 if it could not be started.";

/// The time for one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Far more than a watch takes, and less than orchestrators wait before they kill.
const DRAIN: Duration = Duration::from_secs(5);
