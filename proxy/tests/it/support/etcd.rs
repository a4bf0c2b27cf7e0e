//! A real etcd: one member or three, each at an address of its own, so that the usual ports are always free.

use std::fs::File;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use etcd_client::{
    Client, CompactionOptions, ConnectOptions, DeleteOptions, GetOptions, Permission, PutOptions, Txn, TxnOp,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use super::{PATIENCE, eventually, skip};

/// A cluster.
pub(crate) struct Etcd {
    members: Vec<Member>,
    runtime: Runtime,
    /// Of `root`, if that is who calls.
    password: Option<String>,
}

/// One of its processes.
struct Member {
    name: String,
    address: Ipv4Addr,
    cluster: String,
    folder: TempDir,
    more: Vec<String>,
    child: Option<Child>,
    is_stopped: bool,
}

impl Etcd {
    /// A cluster of one. Nothing where etcd is not installed, unless it has to be.
    pub(crate) fn start() -> Option<Self> {
        Self::of(1, &[])
    }

    /// A cluster of so many, each with these arguments besides; `ADDRESS` in them is the member's own.
    pub(crate) fn of(count: usize, more: &[&str]) -> Option<Self> {
        let is_installed = Command::new("etcd").arg("--version").output().is_ok();
        if !is_installed {
            skip("etcd is not installed (Debian: etcd-server)");
            return None;
        }
        let addresses: Vec<Ipv4Addr> = (0..count).map(|_| own_address()).collect();
        let named = addresses.iter().enumerate();
        let cluster: Vec<String> = named.map(|(index, address)| format!("m{index}=http://{address}:2380")).collect();
        let member = |(index, address): (usize, &Ipv4Addr)| Member {
            name: format!("m{index}"),
            address: *address,
            cluster: cluster.join(","),
            folder: tempfile::tempdir().expect("a temporary folder"),
            more: more.iter().map(|argument| argument.replace("ADDRESS", &address.to_string())).collect(),
            child: None,
            is_stopped: false,
        };
        let members = addresses.iter().enumerate().map(member).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let mut etcd = Self { members, runtime, password: None };
        etcd.members.iter_mut().for_each(Member::start);
        etcd.is_ready();
        Some(etcd)
    }

    /// Waits until the cluster takes writes.
    pub(crate) fn is_ready(&self) {
        eventually(2 * PATIENCE, "a cluster that takes writes", || {
            self.call(async |client| client.put("ready", "", None).await).is_ok()
        });
    }

    /// For `sources: {etcd: …}`.
    pub(crate) fn source(&self) -> String {
        format!("{{endpoints: [{}]}}", self.urls().join(", "))
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.members.iter().map(|member| format!("\"http://{}:2379\"", member.address)).collect()
    }

    /// Of the members that run and are not stopped.
    pub(crate) fn urls_of_running(&self) -> Vec<String> {
        let running = self.members.iter().filter(|member| member.answers());
        running.map(|member| format!("\"http://{}:2379\"", member.address)).collect()
    }

    pub(crate) fn address(&self, member: usize) -> String {
        format!("{}:2379", self.members[member].address)
    }

    /// How many members there are, whether or not they run.
    pub(crate) fn members(&self) -> usize {
        self.members.len()
    }

    /// The member that leads, once all agree.
    pub(crate) fn leader(&self) -> usize {
        let leader = |member: &Member| {
            let status = self.ask(member, async |client| client.status().await).ok()?;
            let own = status.header().map(etcd_client::ResponseHeader::member_id)?;
            (status.leader() == own).then_some(own)
        };
        let leading = || self.members.iter().position(|member| leader(member).is_some());
        eventually(2 * PATIENCE, "a leader", || leading().is_some());
        leading().expect("there was one a moment ago")
    }

    /// Asks this member.
    pub(crate) fn call_at<T>(
        &self,
        member: usize,
        ask: impl AsyncFn(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> Result<T, String> {
        self.ask(&self.members[member], ask)
    }

    fn ask<T>(
        &self,
        member: &Member,
        ask: impl AsyncFn(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> Result<T, String> {
        let answer = self.runtime.block_on(async {
            let options = self.password.as_ref().map(|password| ConnectOptions::new().with_user("root", password));
            let asked = async {
                let mut client = Client::connect([format!("http://{}:2379", member.address)], options).await?;
                ask(&mut client).await
            };
            tokio::time::timeout(PATIENCE / 4, asked).await
        });
        match answer {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    /// Asks the first member that answers.
    pub(crate) fn call<T>(&self, ask: impl AsyncFn(&mut Client) -> Result<T, etcd_client::Error>) -> Result<T, String> {
        let mut reason = "no member runs".to_owned();
        for member in self.members.iter().filter(|member| member.answers()) {
            match self.ask(member, &ask) {
                Ok(answer) => return Ok(answer),
                Err(why) => reason = why,
            }
        }
        Err(reason)
    }

    pub(crate) fn put(&self, key: &str, value: impl AsRef<[u8]>) {
        self.put_at(key, value);
    }

    /// Writes a key. Returns the revision.
    pub(crate) fn put_at(&self, key: &str, value: impl AsRef<[u8]>) -> i64 {
        let answer = self.call(async |client| client.put(key, value.as_ref(), None).await).expect("a write");
        answer.header().map_or(0, etcd_client::ResponseHeader::revision)
    }

    /// What a key says, if it is there.
    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let answer = self.call(async |client| client.get(key, None).await).expect("an answer");
        answer.kvs().first().map(|pair| String::from_utf8_lossy(pair.value()).into_owned())
    }

    /// The values of all keys that begin so.
    pub(crate) fn values(&self, prefix: &str) -> Vec<String> {
        let all = GetOptions::new().with_prefix();
        let answer = self.call(async |client| client.get(prefix, Some(all.clone())).await).expect("a listing");
        answer.kvs().iter().map(|pair| String::from_utf8_lossy(pair.value()).into_owned()).collect()
    }

    /// A key that goes with its lease, after so many seconds at most. Returns the lease.
    pub(crate) fn put_leased(&self, keys: &[(&str, &str)], seconds: i64) -> i64 {
        let lease = self.call(async |client| client.lease_grant(seconds, None).await).expect("a lease").id();
        for (key, value) in keys {
            let with_lease = PutOptions::new().with_lease(lease);
            self.call(async |client| client.put(*key, *value, Some(with_lease.clone())).await).expect("a write");
        }
        lease
    }

    /// The value of a key, and its lease.
    pub(crate) fn look(&self, key: &str) -> Option<(String, i64)> {
        let answer = self.call(async |client| client.get(key, None).await).expect("an answer");
        let found = answer.kvs().first()?;
        Some((found.value_str().expect("text").to_owned(), found.lease()))
    }

    /// Begins a lease's time anew; one that has gone stays so.
    pub(crate) fn keep_alive(&self, lease: i64) {
        let keep = async |client: &mut Client| {
            let (mut keeper, mut answers) = client.lease_keep_alive(lease).await?;
            keeper.keep_alive().await?;
            answers.message().await
        };
        self.call(keep).expect("an answer");
    }

    pub(crate) fn revoke(&self, lease: i64) {
        self.call(async |client| client.lease_revoke(lease).await).expect("a lease ends");
    }

    /// Writes all of these at once; nothing means that the key goes.
    pub(crate) fn write(&self, all: &[(&str, Option<&str>)]) {
        let operation = |(key, value): &(&str, Option<&str>)| match value {
            Some(value) => TxnOp::put(*key, *value, None),
            None => TxnOp::delete(*key, None),
        };
        let transaction = || Txn::new().and_then(all.iter().map(operation).collect::<Vec<_>>());
        self.call(async |client| client.txn(transaction()).await).expect("a transaction");
    }

    pub(crate) fn delete(&self, key: &str) {
        self.call(async |client| client.delete(key, None).await).expect("a deletion");
    }

    pub(crate) fn delete_prefix(&self, prefix: &str) {
        let options = DeleteOptions::new().with_prefix();
        self.call(async |client| client.delete(prefix, Some(options.clone())).await).expect("a deletion");
    }

    /// From now on only `root` may do anything, and `serin` what Serin has to, both with this password. Whoever calls after that
    /// is nobody, so this comes last.
    pub(crate) fn protect(&self, password: &str) {
        let protect = async |client: &mut Client| {
            client.user_add("root", password, None).await?;
            client.user_grant_role("root", "root").await?;
            client.role_add("reader").await?;
            for prefix in ["/serin/", "/my_shop_PRO/", "/my_cart_PRO/"] {
                client.role_grant_permission("reader", Permission::read(prefix).with_prefix()).await?;
            }
            client.user_add("serin", password, None).await?;
            client.user_grant_role("serin", "reader").await?;
            client.auth_enable().await
        };
        self.call(protect).expect("users and roles");
    }

    /// From now on calls are those of `root` with this password, or nobody's.
    pub(crate) fn call_with(&mut self, password: Option<&str>) {
        self.password = password.map(ToOwned::to_owned);
    }

    /// Asks as `root`.
    pub(crate) fn call_as_root<T>(
        &self,
        password: &str,
        ask: impl AsyncFn(&mut Client) -> Result<T, etcd_client::Error>,
    ) -> T {
        let options = ConnectOptions::new().with_user("root", password);
        let asked = async {
            let mut client = Client::connect([self.address(0)], Some(options)).await?;
            ask(&mut client).await
        };
        self.runtime.block_on(asked).expect("root may do everything")
    }

    /// Forgets all revisions before the newest.
    pub(crate) fn compact(&self) {
        let compact = async |client: &mut Client| {
            let revision = client.get("ready", None).await?.header().map_or(0, |header| header.revision());
            client.compact(revision, Some(CompactionOptions::new().with_physical())).await
        };
        self.call(compact).expect("a compaction");
    }

    /// Puts so many keys a second, for so long, several under way at a time. Returns how many; `put` says what the next one is.
    pub(crate) fn pour(&self, per_second: u32, time: Duration, put: impl Fn(u64) -> (String, String)) -> u64 {
        let pour = async {
            let client = Client::connect([self.address(0)], None).await.expect("a member");
            let (mut under_way, mut count, began) = (JoinSet::new(), 0, tokio::time::Instant::now());
            let mut turns = tokio::time::interval(Duration::from_millis(10));
            while began.elapsed() < time {
                turns.tick().await;
                let due = (began.elapsed().as_secs_f64() * f64::from(per_second)) as u64;
                for number in count..due {
                    let (mut client, (key, value)) = (client.clone(), put(number));
                    under_way.spawn(async move { client.put(key, value, None).await });
                }
                count = count.max(due);
                while under_way.len() > 200 {
                    under_way.join_next().await.expect("some are").expect("no panic").expect("a write");
                }
            }
            while let Some(written) = under_way.join_next().await {
                written.expect("no panic").expect("a write");
            }
            count
        };
        self.runtime.block_on(pour)
    }

    /// What a member that does not run has stored.
    pub(crate) fn stored(&self, member: usize) -> TempDir {
        let copy = tempfile::tempdir().expect("a temporary folder");
        copy_folder(self.members[member].folder.path(), copy.path());
        copy
    }

    /// A member that does not run has stored this.
    pub(crate) fn set_back(&mut self, member: usize, stored: &TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        copy_folder(stored.path(), folder.path());
        self.members[member].folder = folder;
    }

    /// Ends a member by SIGKILL.
    pub(crate) fn kill(&mut self, member: usize) {
        self.members[member].kill();
    }

    /// Starts a member that was ended.
    pub(crate) fn restart(&mut self, member: usize) {
        self.members[member].start();
    }

    /// A member loses all it has, and starts as one that is new.
    pub(crate) fn wipe(&mut self, member: usize) {
        let member = &mut self.members[member];
        member.kill();
        member.folder = tempfile::tempdir().expect("a temporary folder");
        member.start();
    }

    /// `STOP` or `CONT`.
    pub(crate) fn signal(&mut self, member: usize, name: &str) {
        let member = &mut self.members[member];
        member.is_stopped = name == "STOP";
        let child = member.child.as_ref().expect("it runs");
        let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }
}

impl Member {
    fn answers(&self) -> bool {
        self.child.is_some() && !self.is_stopped
    }

    fn start(&mut self) {
        self.is_stopped = false;
        let Self { name, address, cluster, folder, more, .. } = self;
        let log = File::create(folder.path().join("log")).expect("a log");
        let data = folder.path().join("data");
        let urls = [2379, 2380].map(|port| format!("http://{address}:{port}"));
        let mut command = Command::new("etcd");
        command
            .args(["--name", name, "--initial-cluster", cluster, "--initial-cluster-state", "new"])
            .args(["--listen-client-urls", &urls[0], "--advertise-client-urls", &urls[0]])
            .args(["--listen-peer-urls", &urls[1], "--initial-advertise-peer-urls", &urls[1]])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500", "--unsafe-no-fsync", "--data-dir"])
            .arg(data)
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        self.child = Some(command.spawn().expect("etcd is installed (Debian: etcd-server)"));
        let reachable = || TcpStream::connect((*address, 2379)).is_ok();
        eventually(2 * PATIENCE, "etcd listens", reachable);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be stopped, which SIGKILL does not mind.
            child.kill().expect("a process of ours");
            child.wait().expect("it ends");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
    }
}

fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status();
    assert!(status.expect("cp runs").success());
}

/// An address of the loopback network that no other test has.
pub(crate) fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let (process, count) = (std::process::id() % 200 + 10, COUNT.fetch_add(1, Relaxed) + 1);
    Ipv4Addr::new(127, u8::try_from(process).unwrap_or(1), (count / 250) as u8, (count % 250 + 1) as u8)
}
