//! Flags that say how etcd is reached, the same for all commands that do.

use std::path::PathBuf;

use serin_proxy::control_path::etcd::Cluster;
use serin_proxy::settings::{EtcdSettings, EtcdTlsSettings};
use tokio::runtime::Runtime;

use super::runtime;

/// How etcd is reached.
#[derive(clap::Args)]
pub(super) struct EtcdArgs {
    /// Members of the cluster, with commas between them. One is asked at a time.
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:2379",
        env = "SERIN_ETCD"
    )]
    etcd: Vec<String>,
    /// What Serin's own keys begin with, as in `sources.etcd.prefix`.
    #[arg(long, value_name = "PREFIX", default_value = "/serin/", env = "SERIN_ETCD_PREFIX")]
    etcd_prefix: String,
    /// Who asks.
    #[arg(long, value_name = "NAME", env = "SERIN_ETCD_USER", requires = "password_file")]
    user: Option<String>,
    /// A file with the password. Read again with each connection, as are those below.
    #[arg(long, value_name = "FILE", env = "SERIN_ETCD_PASSWORD_FILE", requires = "user")]
    password_file: Option<PathBuf>,
    /// Certificates (PEM) of who signs those of the members. Default: those of the system.
    #[arg(long, value_name = "FILE", env = "SERIN_ETCD_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Own certificate (PEM), where members ask for one.
    #[arg(long, value_name = "FILE", env = "SERIN_ETCD_CERT_FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// Its key (PEM).
    #[arg(long, value_name = "FILE", env = "SERIN_ETCD_KEY_FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

impl EtcdArgs {
    /// What the keys of Serin begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.etcd_prefix
    }

    /// A runtime to ask the cluster on, and the cluster.
    pub(super) fn reach(self) -> Result<(Runtime, Cluster), String> {
        let settings = self.settings()?;
        Ok((runtime()?, Cluster::new(settings)))
    }

    /// The same as settings.
    pub(super) fn settings(self) -> Result<EtcdSettings, String> {
        let Self { etcd, etcd_prefix, user, password_file, ca_file, cert_file, key_file } = self;
        let has_tls = [&ca_file, &cert_file, &key_file].iter().any(|file| file.is_some());
        let tls = EtcdTlsSettings { ca_file, cert_file, key_file, server_name: None };
        let tls = has_tls.then_some(tls);
        let settings =
            EtcdSettings { endpoints: etcd, prefix: etcd_prefix, user, password_file, tls, share_ticket_keys: None };
        match settings.wrong_values().first() {
            Some((field, reason)) => Err(format!("{}: {reason}", flag(field))),
            None => Ok(settings),
        }
    }
}

/// The flag that a setting comes from.
fn flag(field: &str) -> &'static str {
    match field.split(['[', '.']).next() {
        Some("prefix") => "--etcd-prefix",
        Some("user") => "--user, --password-file",
        Some("tls") => "--ca-file, --cert-file, --key-file",
        _ => "--etcd",
    }
}
