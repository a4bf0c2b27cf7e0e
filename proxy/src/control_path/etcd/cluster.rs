//! How a cluster is reached: its members, one after the other, and what they want to know first.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{
    Certificate, Client, ConnectOptions, Identity, KvClient, PutOptions, ResponseHeader, TlsOptions, Txn, WatchClient,
};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::keys::{Keys, Value};
use super::mirror::{end_of, list};
use crate::settings::EtcdSettings;

/// A cluster, and the connection to the member that is asked. Cheap to clone; all clones share the connection.
///
/// One member is asked at a time: a client that spreads its calls would read from one member and watch at another, of which
/// one may be behind.
#[derive(Clone)]
pub struct Cluster {
    settings: Arc<EtcdSettings>,
    link: Arc<Mutex<Link>>,
}

struct Link {
    member: usize,
    /// Counts the connections.
    number: u64,
    client: Option<Client>,
}

/// A client of one member.
pub struct Connection {
    number: u64,
    member: Box<str>,
    pub(super) client: Client,
}

/// Why a cluster could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    reason: String,
    /// The answer was larger than is taken.
    pub(super) is_size: bool,
    /// What was asked for, such as a lease, is not there.
    pub(in crate::control_path) is_absence: bool,
    /// Whoever asks may not.
    pub(super) is_refusal: bool,
    /// Whoever asks says who they are, and nobody wants to know.
    is_needless: bool,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl Trouble {
    /// For this reason.
    pub fn new(reason: impl fmt::Display) -> Self {
        Self { reason: reason.to_string(), is_size: false, is_absence: false, is_refusal: false, is_needless: false }
    }

    /// A lease has gone.
    pub(super) fn absence() -> Self {
        Self { is_absence: true, ..Self::new("there is no such lease") }
    }

    pub(super) fn of(error: &etcd_client::Error) -> Self {
        match error {
            etcd_client::Error::GRpcStatus(status) => Self {
                is_size: i32::from(status.code()) == OUT_OF_RANGE
                    && status.message().contains("message length too large"),
                is_absence: i32::from(status.code()) == NOT_FOUND,
                is_refusal: i32::from(status.code()) == PERMISSION_DENIED,
                is_needless: status.message().contains("authentication is not enabled"),
                ..Self::new(format_args!("{}: {}{}", status.code().description(), status.message(), causes(status)))
            },
            // The client says so itself of an answer without a time to live.
            etcd_client::Error::LeaseKeepAliveError(_) => Self::absence(),
            other => Self::new(format_args!("{other}{}", causes(other))),
        }
    }

    /// It was this member's.
    pub(super) fn at(self, connection: &Connection) -> Self {
        Self { reason: format!("{}: {}", connection.member, self.reason), ..self }
    }
}

impl Cluster {
    /// Nobody is asked yet. Who is asked first is drawn, so that instances do not all turn to the same member.
    pub fn new(settings: EtcdSettings) -> Self {
        let member = crate::random::seed() as usize % settings.endpoints.len().max(1);
        let link = Arc::new(Mutex::new(Link { member, number: 0, client: None }));
        Self { settings: Arc::new(settings), link }
    }

    /// As messages show it.
    pub fn name(&self) -> String {
        self.settings.endpoints.join(",")
    }

    /// How many members there are.
    pub fn members(&self) -> usize {
        self.settings.endpoints.len()
    }

    /// What the keys of Serin begin with.
    pub fn prefix(&self) -> &str {
        &self.settings.prefix
    }

    /// The connection, a new one if need be. Passwords and keys are read anew for each, because they may have been changed.
    ///
    /// # Errors
    /// A file cannot be read, or the member does not let the client in: then another one is asked next time. That it cannot be
    /// reached shows with the first call.
    pub async fn connect(&self) -> Result<Connection, Trouble> {
        let mut link = self.link.lock().await;
        let client = match &link.client {
            Some(client) => client.clone(),
            None => {
                let connected = self.connect_to(self.member(link.member)).await;
                if connected.is_err() {
                    link.turn_away(self.settings.endpoints.len());
                }
                link.client.insert(connected?).clone()
            }
        };
        Ok(Connection { number: link.number, member: self.member(link.member).into(), client })
    }

    /// All keys that begin so. Each member is asked once, until one answers.
    ///
    /// # Errors
    /// None does.
    pub async fn list(&self, prefix: &str) -> Result<Keys, Trouble> {
        let end = &end_of(prefix.as_bytes());
        self.ask(|client| async move { list(&client, prefix.as_bytes(), end, usize::MAX).await }).await
    }

    /// What a key says at this moment, by the first member that knows.
    ///
    /// # Errors
    /// None does.
    pub async fn get(&self, key: &str) -> Result<Option<Value>, Trouble> {
        let answer = self.ask(|client| async move { within(CALL, kv(&client).get(key, None)).await }).await?;
        Ok(answer.kvs().first().map(|pair| Value::of(pair, usize::MAX)))
    }

    /// Writes a key, at the first member that takes it. Returns the revision.
    ///
    /// # Errors
    /// None does. One whose answer was lost may have.
    pub async fn put(&self, key: &str, value: &str) -> Result<i64, Trouble> {
        let answer = self.ask(|client| async move { within(CALL, kv(&client).put(key, value, None)).await }).await?;
        Ok(answer.header().map_or(0, ResponseHeader::revision))
    }

    /// Writes a key that goes with a lease, at the first member that takes it.
    ///
    /// # Errors
    /// None does, or the lease has gone.
    pub async fn put_under(&self, lease: i64, key: &str, value: &str) -> Result<(), Trouble> {
        let options = || Some(PutOptions::new().with_lease(lease));
        let put = |client: Client| async move { within(CALL, kv(&client).put(key, value, options())).await };
        self.ask(put).await.map(drop)
    }

    /// Carries out a transaction, at one member: if its answer is lost, nobody knows whether it was carried out. Returns the
    /// revision, or `None` if its conditions do not hold.
    ///
    /// # Errors
    /// The member does not answer, or not so.
    pub async fn transact(&self, transaction: Txn) -> Result<Option<i64>, Trouble> {
        let connection = self.connect().await?;
        match within(CALL, kv(&connection.client).txn(transaction)).await {
            Ok(answer) => Ok(answer.succeeded().then(|| answer.header().map_or(0, ResponseHeader::revision))),
            Err(trouble) => {
                self.turn_away(&connection).await;
                Err(trouble)
            }
        }
    }

    /// A lease of this time, in whole seconds, that nobody keeps.
    ///
    /// # Errors
    /// None grants it.
    pub async fn grant(&self, ttl: Duration) -> Result<i64, Trouble> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let grant = |client: Client| async move { within(CALL, client.lease_client().grant(seconds, None)).await };
        Ok(self.ask(grant).await?.id())
    }

    /// Asks each member once, until one answers.
    async fn ask<T, F: Future<Output = Result<T, Trouble>>>(&self, ask: impl Fn(Client) -> F) -> Result<T, Trouble> {
        let mut left = self.members();
        loop {
            let connection = self.connect_to_any(&mut left).await?;
            match ask(connection.client.clone()).await {
                Ok(answer) => return Ok(answer),
                Err(trouble) => self.go_on(&connection, trouble, left).await?,
            }
        }
    }

    /// A connection to one of those that are left.
    async fn connect_to_any(&self, left: &mut usize) -> Result<Connection, Trouble> {
        loop {
            *left = left.saturating_sub(1);
            match self.connect().await {
                Err(_) if *left > 0 => {}
                connected => return connected,
            }
        }
    }

    /// Whether to go on with another member, if any are left.
    async fn go_on(&self, connection: &Connection, trouble: Trouble, left: usize) -> Result<(), Trouble> {
        // Another one would say the same.
        if trouble.is_refusal || trouble.is_absence {
            return Err(trouble.at(connection));
        }
        self.turn_away(connection).await;
        if left > 0 { Ok(()) } else { Err(trouble.at(connection)) }
    }

    /// A connection is of no use: the next one is to another member.
    pub async fn turn_away(&self, from: &Connection) {
        let mut link = self.link.lock().await;
        // Others may have noticed before.
        if link.number == from.number {
            link.turn_away(self.settings.endpoints.len());
        }
    }

    fn member(&self, index: usize) -> &str {
        self.settings.endpoints.get(index).map_or("", String::as_str)
    }

    async fn connect_to(&self, member: &str) -> Result<Client, Trouble> {
        let connect = async |options| within(CALL, Client::connect([member], Some(options))).await;
        let options = self.options(member).await?;
        let connected = match self.with_user(options.clone()).await {
            Ok(with_user) => connect(with_user).await,
            Err(trouble) => Err(trouble),
        };
        let connected = match connected {
            Err(trouble) if trouble.is_needless => {
                tracing::warn!(member, "etcd does not ask who Serin is: authentication is not enabled there");
                connect(options).await
            }
            connected => connected,
        };
        connected.map_err(|trouble| Trouble { reason: format!("{member}: {trouble}"), ..trouble })
    }

    async fn options(&self, member: &str) -> Result<ConnectOptions, Trouble> {
        let options = ConnectOptions::new()
            .with_connect_timeout(CONNECT)
            .with_keep_alive(KEEP_ALIVE, KEEP_ALIVE)
            .with_tcp_keepalive(KEEP_ALIVE)
            // A member that has lost its cluster says so, rather than nothing.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        Ok(if member.starts_with("https://") { options.with_tls(self.tls().await?) } else { options })
    }

    async fn with_user(&self, options: ConnectOptions) -> Result<ConnectOptions, Trouble> {
        let Some(user) = &self.settings.user else { return Ok(options) };
        let password = match &self.settings.password_file {
            Some(path) => read(path).await?.trim_end_matches(['\r', '\n']).to_owned(),
            None => String::new(),
        };
        Ok(options.with_user(user, password))
    }

    async fn tls(&self) -> Result<TlsOptions, Trouble> {
        let Some(tls) = &self.settings.tls else { return Ok(TlsOptions::new().with_enabled_roots()) };
        let mut options = match &tls.ca_file {
            Some(path) => TlsOptions::new().ca_certificate(Certificate::from_pem(read(path).await?)),
            None => TlsOptions::new().with_enabled_roots(),
        };
        if let (Some(cert), Some(key)) = (&tls.cert_file, &tls.key_file) {
            options = options.identity(Identity::from_pem(read(cert).await?, read(key).await?));
        }
        Ok(match &tls.server_name {
            Some(name) => options.domain_name(name),
            None => options,
        })
    }
}

impl Link {
    fn turn_away(&mut self, members: usize) {
        self.member = (self.member + 1) % members.max(1);
        self.number += 1;
        self.client = None;
    }
}

/// What is behind an error: the outer one often says `transport error` and nothing else.
fn causes(error: &dyn std::error::Error) -> String {
    let mut causes = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !causes.ends_with(&cause_text) {
            causes += &format!(": {cause_text}");
        }
        next = cause.source();
    }
    causes
}

/// What a call of a member comes to, if it does within this time.
pub(super) async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Trouble> {
    match timeout(patience, call).await {
        Ok(answer) => answer.map_err(|error| Trouble::of(&error)),
        Err(_) => Err(Trouble::new(format_args!("no answer within {:.1} s", patience.as_secs_f32()))),
    }
}

/// For answers that are larger than a client usually takes.
pub(super) fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(MAX_MESSAGE)
}

/// Likewise.
pub(super) fn watch(client: &Client) -> WatchClient {
    client.watch_client().max_decoding_message_size(MAX_MESSAGE)
}

async fn read(path: &Path) -> Result<String, Trouble> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|error| Trouble::new(format_args!("{}: {error}", path.display())))
}

/// The code of gRPC for an answer larger than the client takes.
const OUT_OF_RANGE: i32 = 11;

/// The code of gRPC for somebody who may not.
const PERMISSION_DENIED: i32 = 7;

/// The code of gRPC for what is not there.
const NOT_FOUND: i32 = 5;

/// The time for a connection.
const CONNECT: Duration = Duration::from_secs(2);

/// The time for one call.
pub(super) const CALL: Duration = Duration::from_secs(5);

/// How often a connection is asked whether it is alive, and how long it has to say so.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// A page of 500 values of the largest size that etcd takes by default does not fit; then the page is made smaller.
const MAX_MESSAGE: usize = 64 << 20;
