//! What every fault happens to: an etcd with rules and registrations, a process that reads them, clients that never stop. And
//! what is asked of all of them in the end: no request failed, what serves is what the keys say, memory is as it was.

use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::steady::{Question, Steady};
use super::{agree, is_full};
use crate::support::control::{Program, tireless_endpoint};
use crate::support::etcd::Etcd;
use crate::support::link::Link;
use crate::support::{Client, PATIENCE, Reply, eventually};

/// What a fault needs.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) members: usize,
    /// Of each member.
    pub(super) arguments: &'static [&'static str],
    /// Whether members are reached by links.
    pub(super) is_linked: bool,
    /// More of `sources.etcd`; `FOLDER` is that of the process.
    pub(super) source: &'static str,
    /// Written besides the rules, before the process starts.
    pub(super) more: fn(&Etcd),
    /// What serves is right so soon after each part. Judged where nothing else runs beside it.
    pub(super) most_seconds: u64,
    /// Resident memory may be so much more afterwards.
    pub(super) most_growth_kib: u64,
}

impl Default for Setting {
    fn default() -> Self {
        let (members, arguments, more) = (1, [].as_slice(), (|_| {}) as fn(&Etcd));
        let (most_seconds, most_growth_kib) = (MOST_SECONDS, MOST_GROWTH_KIB);
        Self { members, arguments, is_linked: false, source: "", more, most_seconds, most_growth_kib }
    }
}

/// All parts, running.
pub(super) struct Stage {
    pub(super) etcd: Etcd,
    pub(super) links: Vec<Link>,
    pub(super) serin: Program,
    pub(super) steady: Steady,
    pub(super) folder: TempDir,
    /// More for whoever reads the line.
    pub(super) note: String,
    endpoints: Endpoints,
    source: String,
    most_time: Duration,
    most_growth_kib: u64,
    /// Requests of clients of earlier processes.
    sent_before: u64,
    /// What the moving route says now.
    version: u64,
    resident_before_kib: u64,
    /// When the last part of the fault was over.
    over_at: Instant,
    /// The longest time to the right state after a part.
    right_after: Duration,
}

/// Who answers, with its own name.
#[derive(Clone, Copy)]
struct Endpoints {
    fixed: SocketAddr,
    other: SocketAddr,
    shop: [SocketAddr; 3],
    cart: SocketAddr,
}

impl Stage {
    /// Nothing where etcd is not installed.
    pub(super) fn set(setting: Setting) -> Option<Self> {
        let etcd = Etcd::of(setting.members, setting.arguments)?;
        let endpoints = Endpoints {
            fixed: tireless_endpoint("fixed"),
            other: tireless_endpoint("other"),
            shop: ["shop-1", "shop-2", "shop-3"].map(tireless_endpoint),
            cart: tireless_endpoint("cart"),
        };
        endpoints.write_all(&etcd);
        (setting.more)(&etcd);
        let link = |member| Link::to(&etcd.address(member));
        let links: Vec<Link> = (0..setting.members).filter(|_| setting.is_linked).map(link).collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::write(folder.path().join("password"), "first").expect("room");
        let urls = match setting.is_linked {
            true => links.iter().map(|link| format!("\"http://{}\"", link.address())).collect(),
            false => etcd.urls(),
        };
        let source = setting.source.replace("FOLDER", folder.path().to_str().expect("text"));
        let serin = start(&folder, "serin", &urls, &source);
        let steady = Steady::start(serin.address("web"), &questions(), PAUSE);
        steady.goes_on(WARM_UP);
        let mut stage = Self {
            resident_before_kib: serin.resident_kib(),
            etcd,
            links,
            serin,
            steady,
            folder,
            note: String::new(),
            endpoints,
            source,
            sent_before: 0,
            most_time: Duration::from_secs(setting.most_seconds),
            most_growth_kib: setting.most_growth_kib,
            version: 0,
            over_at: Instant::now(),
            right_after: Duration::ZERO,
        };
        stage.change();
        stage.is_right();
        (stage.resident_before_kib, stage.right_after) = (stage.serin.resident_kib(), Duration::ZERO);
        Some(stage)
    }

    /// Something of everything changes, all at once: a route moves to the other upstream, one is written anew, an instance
    /// registers or leaves.
    pub(super) fn change(&mut self) {
        let writes = self.next_writes();
        let writes: Vec<_> = writes.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        self.etcd.write(&writes);
    }

    /// What the next change writes.
    fn next_writes(&mut self) -> Vec<(String, Option<String>)> {
        self.version += 1;
        let version = self.version;
        let number = UNASKED.start + usize::try_from(version).expect("it is small") % UNASKED.len();
        let registers = !version.is_multiple_of(3);
        vec![
            ("/serin/routes/moving".into(), Some(moving(version))),
            (format!("/serin/routes/r{number}"), Some(route(number, version))),
            ("/my_shop_PRO/third".into(), registers.then(|| self.endpoints.shop[2].to_string())),
        ]
    }

    /// Writes rules and registrations as they were at first.
    pub(super) fn write_all(&self) {
        self.endpoints.write_all(&self.etcd);
    }

    /// So much of the fault is over: time counts from now.
    pub(super) fn is_over(&mut self) {
        self.over_at = Instant::now();
    }

    /// Waits until the last change is in force, and all of what serves is what a process finds that starts now.
    pub(super) fn is_right(&mut self) {
        let version = self.version.to_string();
        let is_new = || header_of(&self.serin, "moving.test") == Some(version.clone());
        eventually(3 * PATIENCE, "the newest version", is_new);
        let mut took = self.over_at.elapsed();
        let fresh = start(&self.folder, "fresh", &self.etcd.urls_of_running(), &self.source);
        let began = Instant::now();
        let hosts: Vec<String> = (0..ROUTES).map(host).chain(["moving.test".into()]).collect();
        let mut is_same = false;
        while !is_same {
            let [ours, theirs] = [&self.serin, &fresh].map(|program| agree::facts(program, &hosts));
            is_same = ours == theirs;
            let difference = agree::difference(&ours, &theirs);
            assert!(is_same || began.elapsed() < 2 * PATIENCE, "what serves is not what is written: {difference}");
            if !is_same {
                took = self.over_at.elapsed();
            }
        }
        assert_eq!(header_of(&fresh, "moving.test"), Some(version), "the keys do not say what was written");
        self.right_after = self.right_after.max(took);
        // Whatever comes next has its own time.
        self.is_over();
    }

    /// A change that is made when a part of the fault is over, and taken in its time.
    pub(super) fn follows_a_change(&mut self) {
        self.change();
        self.is_over();
        self.is_right();
    }

    /// Waits until it is known that etcd is away.
    pub(super) fn is_noticed(&self) {
        eventually(3 * PATIENCE, "it is noticed", || self.serin.metric("serin_etcd_up") == 0);
    }

    /// The links that the process uses.
    pub(super) fn links_used(&self) -> Vec<usize> {
        (0..self.links.len()).filter(|link| self.links[*link].open() > 0).collect()
    }

    /// Memory is judged from here on.
    pub(super) fn is_warm(&mut self) {
        self.resident_before_kib = self.serin.resident_kib();
    }

    /// Another process in the place of this one; clients begin anew with it.
    pub(super) fn restart(&mut self, between: impl FnOnce(&mut Self)) {
        self.steady.end();
        assert_eq!(self.steady.failed(), 0, "{:?}", self.steady.reasons());
        self.sent_before += self.steady.sent();
        self.serin.signal("TERM");
        assert_eq!(self.serin.exit_code(), Some(0));
        between(self);
        self.serin = Program::start(&self.folder.path().join("serin.yaml"));
        self.steady = Steady::start(self.serin.address("web"), &questions(), PAUSE);
        self.steady.goes_on(WARM_UP);
        self.is_warm();
    }

    /// What must hold after every fault.
    pub(super) fn judge(&mut self) {
        self.is_right();
        self.steady.goes_on(WARM_UP);
        self.steady.end();
        assert_eq!(self.steady.failed(), 0, "requests failed: {:?}", self.steady.reasons());
        assert_eq!(self.serin.metric("serin_etcd_held_objects"), 0);
        assert!(!is_full() || self.right_after <= self.most_time, "right only after {:?}", self.right_after);
        let resident_kib = self.serin.resident_kib();
        let most = self.resident_before_kib + self.most_growth_kib;
        assert!(resident_kib <= most, "{resident_kib} KiB of memory, at most {most} expected");
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, after) = (self.resident_before_kib, self.serin.resident_kib());
        let (sent, failed, right_after) =
            (self.sent_before + self.steady.sent(), self.steady.failed(), self.right_after);
        write!(f, "{sent} requests, {failed} failed; right {right_after:.2?} after it; ")?;
        write!(f, "{before} KiB before, {after} after{}", self.note)
    }
}

impl Endpoints {
    fn write_all(&self, etcd: &Etcd) {
        let mut all = vec![
            ("/serin/upstreams/fixed".to_owned(), format!("{{endpoints: [\"{}\"]}}", self.fixed)),
            ("/serin/upstreams/other".to_owned(), format!("{{endpoints: [\"{}\"]}}", self.other)),
            ("/serin/upstreams/shop".to_owned(), "{discovery: {etcd: {prefix: /my_shop_PRO/}}}".to_owned()),
            ("/serin/upstreams/cart".to_owned(), "{discovery: {etcd: {prefix: /my_cart_PRO/}}}".to_owned()),
            ("/my_cart_PRO/one".to_owned(), self.cart.to_string()),
            ("/my_shop_PRO/first".to_owned(), self.shop[0].to_string()),
            ("/my_shop_PRO/second".to_owned(), self.shop[1].to_string()),
            ("/serin/routes/moving".to_owned(), moving(0)),
        ];
        all.extend((0..ROUTES).map(|number| (format!("/serin/routes/r{number}"), route(number, 0))));
        for some in all.chunks(100) {
            let some: Vec<_> = some.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect();
            etcd.write(&some);
        }
    }
}

fn start(folder: &TempDir, name: &str, urls: &[String], source: &str) -> Program {
    let config = folder.path().join(format!("{name}.yaml"));
    let rules = format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\"}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n\
         state_dir: state-{name}\nsources: {{etcd: {{endpoints: [{}], {source}}}}}\n",
        urls.join(", ")
    );
    // A process that starts again on purpose knows nothing of the one before it.
    let _ = fs::remove_dir_all(folder.path().join(format!("state-{name}")));
    fs::write(&config, rules).expect("room");
    Program::start(&config)
}

fn header_of(program: &Program, host: &str) -> Option<String> {
    let reply = Client::connect(program.address("web")).request("GET", "/", &[("Host", host)], b"");
    reply.header("x-version").map(ToOwned::to_owned)
}

fn host(number: usize) -> String {
    format!("r{number}.test")
}

pub(super) fn route(number: usize, version: u64) -> String {
    let upstream = ["fixed", "other", "shop", "cart"][number % 4];
    text(&host(number), upstream, version)
}

/// The version says by which upstream it goes, so that an answer shows whether both are of one version.
fn moving(version: u64) -> String {
    text("moving.test", if version.is_multiple_of(2) { "fixed" } else { "other" }, version)
}

fn text(host: &str, upstream: &str, version: u64) -> String {
    format!("hosts: [{host}]\nupstream: {upstream}\nfilters:\n- set_response_header: {{x-version: \"{version}\"}}\n")
}

/// Of every upstream, with routes that never change, and of the one that does.
fn questions() -> Vec<Question> {
    let mut questions: Vec<Question> = Vec::new();
    for number in 0..UNASKED.start {
        let is_right: fn(&Reply) -> bool = match number % 4 {
            0 => |reply| is_of(reply, &["fixed"]),
            1 => |reply| is_of(reply, &["other"]),
            2 => |reply| is_of(reply, &["shop-1", "shop-2", "shop-3"]),
            _ => |reply| is_of(reply, &["cart"]),
        };
        questions.push((host(number), is_right));
    }
    questions.push(("moving.test".into(), has_moved_as_a_whole));
    questions
}

fn is_of(reply: &Reply, names: &[&str]) -> bool {
    reply.status == 200 && reply.header("x-version") == Some("0") && names.contains(&reply.text())
}

fn has_moved_as_a_whole(reply: &Reply) -> bool {
    let version = reply.header("x-version").and_then(|version| version.parse::<u64>().ok());
    let name = version.map(|version| if version.is_multiple_of(2) { "fixed" } else { "other" });
    reply.status == 200 && name == Some(reply.text())
}

/// Routes besides the one that moves.
pub(super) const ROUTES: usize = 300;

/// Those that clients do not ask for, and that changes write.
pub(super) const UNASKED: std::ops::Range<usize> = 8..ROUTES;

/// Requests until workers, pools and the allocator have what they need.
const WARM_UP: u64 = 200;

/// Of each client between two requests.
const PAUSE: Duration = Duration::from_millis(2);

/// The longest pause between two tries is five seconds, and another five have members to answer a call.
const MOST_SECONDS: u64 = 11;

/// What the allocator keeps of the listing, compiling and swapping that a fault brings. All rules of a stage are some hundred
/// KiB: one generation of them that stayed with each of some hundred swaps would be more.
const MOST_GROWTH_KIB: u64 = 24 << 10;
