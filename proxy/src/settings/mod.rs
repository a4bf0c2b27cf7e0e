//! Process settings, read once at start. Everything else an operator writes is rules and changes at run time.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use routing_rules::rules::{AddressSet, Name};
use routing_rules::spec::Span;
use serde::{Deserialize, Serialize};

use crate::control_path::decode::{self, Draft, Node, Problem};
use crate::telemetry::access_log::AccessLogSettings;

/// What is fixed at start. A change in the file is reported and takes effect with the next start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where metrics, health and the API are served. Absent: nowhere.
    pub admin: Option<AdminSettings>,
    /// Folder for the last good snapshot and for generated secrets. Absent: nothing is kept.
    pub state_dir: Option<PathBuf>,
    /// Data threads. Default: one per core.
    pub workers: Option<usize>,
    /// Peers whose forwarding headers are believed: addresses and networks. A change takes effect at once.
    pub trusted_proxies: Vec<String>,
    /// Where more rules come from, besides this file.
    pub sources: SourceSettings,
    /// Where addresses are.
    pub geo: Option<GeoSettings>,
    /// A line per request. Absent: none.
    pub access_log: Option<AccessLogSettings>,
    /// A file with at least 32 bytes that signs pins; the same on all instances. Default: generated in `state_dir`.
    pub secret_file: Option<PathBuf>,
    /// Who is told of changes of releases, by name.
    pub webhooks: BTreeMap<String, WebhookSettings>,
    /// How much clients may take.
    pub limits: LimitSettings,
    /// How a stop goes.
    pub shutdown: ShutdownSettings,
    #[serde(skip_serializing)]
    listeners: Elsewhere,
    #[serde(skip_serializing)]
    routes: Elsewhere,
    #[serde(skip_serializing)]
    upstreams: Elsewhere,
    #[serde(skip_serializing)]
    releases: Elsewhere,
    #[serde(skip_serializing)]
    certificates: Elsewhere,
    #[serde(skip_serializing)]
    acme_accounts: Elsewhere,
}

/// Rules stand in the same file as settings; the catalog reads them, object by object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Elsewhere;

impl<'de> Deserialize<'de> for Elsewhere {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde::de::IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

/// See [`Settings::admin`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminSettings {
    /// `IP:PORT`.
    pub address: SocketAddr,
    /// A file with a token of at least 16 characters. With it, changes have to show it (`Authorization: Bearer TOKEN`) and may come
    /// from other machines. Default: changes are taken from this machine only, and need no token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
}

/// See [`Settings::sources`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSettings {
    /// Files or patterns such as `rules.d/*.yaml`, relative to the main file's folder. Only rules, no settings.
    pub files: Vec<String>,
    /// A cluster of etcd. Absent: none.
    pub etcd: Option<EtcdSettings>,
    /// A cluster of Kubernetes. Absent: none.
    pub kubernetes: Option<KubernetesSettings>,
}

/// See [`SourceSettings::kubernetes`]. With `{}`, Ingresses of the class `serin` in all namespaces are served, by the service account of the
/// pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KubernetesSettings {
    /// Ingresses of this class are served. Default `serin`.
    pub ingress_class: String,
    /// What an IngressClass of this name must call its controller. Default `serin.dev/ingress`.
    pub controller: String,
    /// What a GatewayClass must call its controller for its Gateways to be served. Default `serin.dev/gateway`.
    pub gateway_controller: String,
    /// The address at which ports of Gateways are opened. Default `::`, which is all.
    pub gateway_address: IpAddr,
    /// Ports that are opened in the place of those that Gateways name, as in `{80: 8080, 443: 8443}`: a process without privileges may not
    /// open those below 1024. Default: the ports themselves.
    pub gateway_ports: BTreeMap<u16, u16>,
    /// Whether listeners of several Gateways may have the same port and host: the routes of each are then served by all. Default `true`; with
    /// `false`, the oldest Gateway has it.
    pub gateways_share: bool,
    /// Whether Releases that name no `class` are served, too. Default `true`; of several installations in one cluster, one should.
    pub classless_releases: bool,
    /// Only objects in these namespaces are looked at. Default: in all.
    pub namespaces: Vec<String>,
    /// ConfigMaps with rules, as `NAMESPACE/NAME`; each of their values is a document like a file of `sources.files`.
    pub config_maps: Vec<String>,
    /// Secrets with certificates, as `NAMESPACE/NAME`, besides those that Ingresses name. The certificate is called `NAMESPACE.NAME`, for
    /// example as `default_certificate` of a listener.
    pub certificates: Vec<String>,
    /// Where clients find Serin, as it is said in the status of each Ingress: addresses and names. Default: where `publish_service` says.
    pub addresses: Vec<String>,
    /// The Service, as `NAMESPACE/NAME`, that leads clients to Serin. Default: none, and nothing is said, unless there are `addresses`.
    pub publish_service: Option<String>,
    /// The Lease, as `NAMESPACE/NAME`, of the one instance that writes on objects what has become of them. Default: `serin` in the namespace
    /// of the pod.
    pub lease: Option<String>,
    /// A kubeconfig, relative to the main file's folder. Default: the service account of the pod, or what `kubectl` would use.
    pub kubeconfig: Option<PathBuf>,
    /// A context of it. Default: its current one.
    pub context: Option<String>,
}

impl Default for KubernetesSettings {
    fn default() -> Self {
        Self {
            ingress_class: "serin".into(),
            controller: "serin.dev/ingress".into(),
            gateway_controller: "serin.dev/gateway".into(),
            gateway_address: Ipv6Addr::UNSPECIFIED.into(),
            gateway_ports: BTreeMap::new(),
            gateways_share: true,
            classless_releases: true,
            namespaces: Vec::new(),
            config_maps: Vec::new(),
            certificates: Vec::new(),
            addresses: Vec::new(),
            publish_service: None,
            lease: None,
            kubeconfig: None,
            context: None,
        }
    }
}

/// See [`SourceSettings::etcd`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EtcdSettings {
    /// Its members, `http://HOST:PORT` or `https://HOST:PORT`. One is asked at a time, another when that does not answer.
    pub endpoints: Vec<String>,
    /// What the keys of rules begin with; it ends with `/`. Default `/serin/`.
    #[serde(default = "default_prefix")]
    pub prefix: String,
    /// Who Serin is there. Default: nobody in particular.
    #[serde(default)]
    pub user: Option<String>,
    /// A file with the password of `user`. Read again with each connection.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// For members at `https://`. Default: the certificate authorities of the system.
    #[serde(default)]
    pub tls: Option<EtcdTlsSettings>,
    /// Whether instances share the keys of TLS session tickets through it, so that clients go on with their sessions at each of
    /// them. Default: where all members are at `https://`.
    #[serde(default)]
    pub share_ticket_keys: Option<bool>,
}

/// See [`EtcdSettings::tls`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EtcdTlsSettings {
    /// Certificates (PEM) of who signs those of the members. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Serin's own certificate (PEM), where members ask for one.
    pub cert_file: Option<PathBuf>,
    /// Its key (PEM).
    pub key_file: Option<PathBuf>,
    /// The name in the certificates of the members. Default: the host of each.
    pub server_name: Option<String>,
}

fn default_prefix() -> String {
    "/serin/".to_owned()
}

/// See [`Settings::geo`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeoSettings {
    /// A database in MaxMind's format (`.mmdb`) with cities.
    pub database: PathBuf,
}

/// See [`Settings::webhooks`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookSettings {
    /// `http://HOST/PATH` or `https://HOST/PATH`: each change is posted there.
    pub url: String,
    /// A file with the secret that signs messages: `whsec_` and 24 to 64 bytes in base64. While it is exchanged, the file has both, one
    /// a line, and both sign. Read again with each call.
    pub secret_file: PathBuf,
    /// Only changes of these releases. Default: of all.
    #[serde(default)]
    pub releases: Option<Vec<String>>,
    /// Certificates (PEM) of who signs the receiver's, at `https://`. Default: those of the system.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
}

/// See [`Settings::limits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Connections that one client (an IPv4 address, or a /64 of IPv6) may have open at once, over all workers and
    /// listeners; more are closed at once. Addresses in `trusted_proxies` have no such limit, because many clients are
    /// behind them. Default: three quarters of all that Serin can hold, 20000 at most.
    pub connections_per_client: Option<usize>,
}

/// See [`Settings::shutdown`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownSettings {
    /// Between readiness going off and the listeners closing, for load balancers to notice. Default 0s.
    pub delay: Span,
    /// How long requests under way may take to finish. Default 30s.
    pub deadline: Span,
}

impl Default for ShutdownSettings {
    fn default() -> Self {
        Self { delay: Duration::ZERO.into(), deadline: Duration::from_secs(30).into() }
    }
}

impl Settings {
    /// Takes the settings out of the main file's tree. Problems are added to the list.
    pub fn decode(source: &Arc<str>, root: &Node, problems: &mut Vec<Problem>) -> Option<Self> {
        let before = problems.len();
        let draft = Self::draft(source, root, problems)?;
        (problems.len() == before).then_some(draft.value)
    }

    /// The same, and what can be said of the settings where some of them are wrong.
    pub(crate) fn draft(source: &Arc<str>, root: &Node, problems: &mut Vec<Problem>) -> Option<Draft<Self>> {
        let draft = decode::draft::<Self>(source, root, "", problems)?;
        let found = draft.value.wrong_values();
        let found = found.into_iter().filter(|(path, _)| !draft.doubts.concern(root, path));
        problems.extend(found.map(|(path, reason)| root.problem(source, &path, reason)));
        Some(draft)
    }

    /// What is of the right type and still wrong: where, and why.
    fn wrong_values(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut report = |path: String, reason: String| found.push((path, reason));
        if self.workers.is_some_and(|workers| !(1..=1_024).contains(&workers)) {
            report("workers".into(), "the number of workers is between 1 and 1024".into());
        }
        if self.limits.connections_per_client == Some(0) {
            report("limits.connections_per_client".into(), "a client needs at least 1 connection".into());
        }
        for (index, network) in self.trusted_proxies.iter().enumerate() {
            if let Err(reason) = AddressSet::parse([network]) {
                report(format!("trusted_proxies[{index}]"), reason);
            }
        }
        for (index, pattern) in self.sources.files.iter().enumerate() {
            if let Err(error) = glob::Pattern::new(pattern) {
                report(format!("sources.files[{index}]"), error.msg.into());
            }
        }
        for (field, reason) in self.sources.etcd.iter().flat_map(EtcdSettings::wrong_values) {
            report(format!("sources.etcd.{field}"), reason.into());
        }
        for (field, reason) in self.sources.kubernetes.iter().flat_map(KubernetesSettings::wrong_values) {
            report(format!("sources.kubernetes.{field}"), reason.into());
        }
        if self.webhooks.len() > MOST_WEBHOOKS {
            report("webhooks".into(), format!("there are at most {MOST_WEBHOOKS} webhooks"));
        }
        for (name, webhook) in &self.webhooks {
            for (field, reason) in webhook.wrong_values(name) {
                report(format!("webhooks.{name}{field}"), reason);
            }
        }
        found
    }

    /// Whether the main file has fields at its top that are neither settings nor rules. [`Settings::decode`] says which.
    pub(crate) fn has_unknown_fields(source: &Arc<str>, root: &Node) -> bool {
        let mut problems = Vec::new();
        let _: Option<Self> = decode::decode(source, root, "", &mut problems);
        let is_at_top =
            |problem: &Problem| root.entries().is_some_and(|mut all| all.any(|(key, _)| key == problem.path));
        problems.iter().any(|problem| problem.reason.starts_with("unknown field") && is_at_top(problem))
    }

    /// The networks of `trusted_proxies`, which [`Settings::decode`] has checked.
    pub fn trusted(&self) -> AddressSet {
        AddressSet::parse(&self.trusted_proxies).unwrap_or_default()
    }

    /// Paths are relative to the main file's folder, wherever the process was started.
    pub fn resolve_beside(&mut self, main_file: &str) {
        let folder = Path::new(main_file).parent().unwrap_or(Path::new(""));
        let absolute = |path: &mut PathBuf| *path = folder.join(&*path);
        self.state_dir.iter_mut().for_each(absolute);
        self.secret_file.iter_mut().for_each(absolute);
        self.admin.iter_mut().flat_map(|admin| &mut admin.token_file).for_each(absolute);
        if let Some(etcd) = &mut self.sources.etcd {
            etcd.password_file.iter_mut().for_each(absolute);
            let tls = etcd.tls.iter_mut();
            tls.flat_map(|tls| [&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file]).flatten().for_each(absolute);
        }
        let kubernetes = self.sources.kubernetes.iter_mut();
        kubernetes.flat_map(|kubernetes| &mut kubernetes.kubeconfig).for_each(absolute);
        for webhook in self.webhooks.values_mut() {
            absolute(&mut webhook.secret_file);
            webhook.ca_file.iter_mut().for_each(absolute);
        }
        self.geo.iter_mut().for_each(|geo| geo.database = folder.join(&geo.database));
        for log in self.access_log.iter_mut().filter(|log| !matches!(&*log.to, "stdout" | "stderr")) {
            log.to = folder.join(&log.to).to_string_lossy().into_owned();
        }
    }

    /// Whether there is somewhere to keep what authorities issue.
    pub fn keeps_orders(&self) -> bool {
        self.state_dir.is_some() || self.sources.etcd.is_some()
    }

    /// How many workers to start.
    pub fn worker_count(&self) -> usize {
        self.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
    }
}

impl KubernetesSettings {
    /// What is of the right type and still wrong: which field, and why.
    fn wrong_values(&self) -> Vec<(String, &'static str)> {
        let lists = [("config_maps", &self.config_maps), ("certificates", &self.certificates)];
        let in_list = |(field, names): (&'static str, &'_ Vec<String>)| {
            let names = names.clone().into_iter().enumerate();
            names.map(move |(index, name)| (format!("{field}[{index}]"), name))
        };
        let alone = [("publish_service", &self.publish_service), ("lease", &self.lease)];
        let alone = alone.into_iter().filter_map(|(field, name)| Some((field.to_owned(), name.clone()?)));
        let names = lists.into_iter().flat_map(in_list).chain(alone);
        let is_name = |name: &str| {
            let parts = name.split_once('/');
            parts.is_some_and(|(namespace, name)| !namespace.is_empty() && !name.is_empty() && !name.contains('/'))
        };
        let wrong = names.filter(|(_, name)| !is_name(name));
        let mut found: Vec<_> = wrong.map(|(field, _)| (field, "an object is `NAMESPACE/NAME`")).collect();
        if self.ingress_class.is_empty() {
            found.push(("ingress_class".into(), "a class has a name"));
        }
        if self.namespaces.iter().any(String::is_empty) {
            found.push(("namespaces".into(), "a namespace has a name"));
        }
        found
    }
}

impl EtcdSettings {
    /// Whether secrets may be written there that whoever listens on the way must not learn.
    pub fn shares_ticket_keys(&self) -> bool {
        let is_encrypted = |endpoint: &String| endpoint.starts_with("https://");
        self.share_ticket_keys.unwrap_or_else(|| self.endpoints.iter().all(is_encrypted))
    }

    /// What is of the right type and still wrong: which field, and why.
    pub fn wrong_values(&self) -> Vec<(String, &'static str)> {
        let mut found = Vec::new();
        let mut report = |field: String, reason| found.push((field, reason));
        if self.endpoints.is_empty() {
            report("endpoints".into(), "a cluster has at least one member");
        }
        for (index, endpoint) in self.endpoints.iter().enumerate() {
            if !is_member(endpoint) {
                report(format!("endpoints[{index}]"), "a member is `http://HOST:PORT` or `https://HOST:PORT`");
            }
        }
        if !self.prefix.ends_with('/') {
            report("prefix".into(), "the prefix ends with `/`");
        }
        if self.user.is_some() != self.password_file.is_some() {
            report("user".into(), "`user` and `password_file` go together");
        }
        let Some(tls) = &self.tls else { return found };
        if !self.endpoints.iter().any(|endpoint| endpoint.starts_with("https://")) {
            report("tls".into(), "no member is at `https://`");
        }
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            report("tls.cert_file".into(), "`cert_file` and `key_file` go together");
        }
        found
    }
}

impl WebhookSettings {
    /// What is of the right type and still wrong: which field, and why. The URL may have a secret in it, and is not repeated.
    fn wrong_values(&self, name: &str) -> Vec<(String, String)> {
        let mut found = Vec::new();
        let mut report = |field: String, reason: String| found.push((field, reason));
        if let Err(reason) = Name::new(name) {
            report(String::new(), reason);
        }
        if !is_receiver(&self.url) {
            let reason = "the URL is `http://HOST/PATH` or `https://HOST/PATH`, without a user or a fragment";
            report(".url".into(), reason.into());
        }
        let releases = self.releases.as_deref();
        if releases.is_some_and(<[String]>::is_empty) {
            report(".releases".into(), "a webhook is about one release at least; without `releases`, about all".into());
        }
        for (index, release) in releases.unwrap_or_default().iter().enumerate() {
            if let Err(reason) = Name::new(release) {
                report(format!(".releases[{index}]"), reason);
            }
        }
        if self.ca_file.is_some() && !self.url.starts_with("https://") {
            report(".ca_file".into(), "the receiver is not at `https://`".into());
        }
        found
    }
}

fn is_receiver(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let is_scheme_known = matches!(uri.scheme_str(), Some("http" | "https"));
    let has_host = uri.authority().is_some_and(|it| !it.host().is_empty() && !it.as_str().contains('@'));
    is_scheme_known && has_host && !url.contains('#')
}

fn is_member(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let is_scheme_known = matches!(uri.scheme_str(), Some("http" | "https"));
    is_scheme_known && uri.port_u16().is_some() && uri.path() == "/" && uri.query().is_none()
}

/// Far more than there are systems that want to know.
const MOST_WEBHOOKS: usize = 100;

#[cfg(test)]
mod tests;
