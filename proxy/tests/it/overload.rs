//! Overload with real sockets: an endpoint that serves some requests at a time, clients that do not wait, and three times as
//! many of them as can be served. The long form, with numbers to reach, is `cargo xtask scenario overload`.

use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use crate::support::{Serin, eventually};

/// The endpoint serves so many requests at a time, and each takes so long: 200 a second.
const SLOTS: usize = 8;
const TAKES: Duration = Duration::from_millis(40);
/// Clients go away after this time, before an endpoint with as many requests as the cap of a limit that knows nothing (128)
/// answers.
const DEADLINE: Duration = Duration::from_millis(400);
const NORMAL_PER_S: u32 = 120;
const THREEFOLD_PER_S: u32 = 600;

/// What became of requests, and how many the endpoint worked on.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    worked: u32,
    good: u32,
    /// 503 with Retry-After.
    refused: u32,
    late: u32,
    wrong: u32,
}

#[derive(Default)]
struct World {
    per_s: AtomicU32,
    ended: AtomicBool,
    worked: AtomicU32,
    good: AtomicU32,
    refused: AtomicU32,
    late: AtomicU32,
    wrong: AtomicU32,
}

/// Clients, endpoint and the proxy between.
struct Stage {
    world: Arc<World>,
    thread: Option<JoinHandle<()>>,
    serin: Serin,
}

impl Stage {
    fn start(limits: &str) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").expect("a loopback port is free");
        listener.set_nonblocking(true).expect("a fresh socket");
        let endpoint = listener.local_addr().expect("a bound listener has an address");
        let upstream = format!("{{endpoints: [\"{endpoint}\"], limits: {limits}}}");
        let serin = Serin::serving(&format!("routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {upstream}}}\n"));
        let world = Arc::new(World { per_s: AtomicU32::new(NORMAL_PER_S), ..World::default() });
        let (own, target) = (Arc::clone(&world), serin.address());
        let thread = thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(own.turn(listener, target));
        });
        Self { world, thread: Some(thread), serin }
    }

    fn ask_for(&self, per_s: u32) {
        self.world.per_s.store(per_s, Relaxed);
    }

    /// Half a second.
    fn look(&self) -> Seen {
        let before = self.world.seen();
        thread::sleep(Duration::from_millis(500));
        assert_eq!(self.serin.admin_text("/healthz"), "ok\n");
        let seen = self.world.seen().since(before);
        assert_eq!(seen.wrong, 0, "{seen:?}");
        seen
    }

    /// Looks until it was as wanted so many times in a row.
    #[track_caller]
    fn look_until(&self, what: &str, times: usize, is_so: impl Fn(&Seen) -> bool) {
        let deadline = Instant::now() + LONG;
        let mut all: Vec<Seen> = Vec::new();
        while all.len() < times || !all[all.len() - times..].iter().all(&is_so) {
            assert!(Instant::now() < deadline, "not within {LONG:?}: {what}; {all:#?}");
            all.push(self.look());
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.world.ended.store(true, Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()) || thread::panicking());
    }
}

impl World {
    /// Requests come at the rate of the moment whatever the answers do, until the end.
    async fn turn(self: Arc<Self>, listener: StdListener, target: SocketAddr) {
        let listener = TcpListener::from_std(listener).expect("it is nonblocking");
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&self).serve(listener));
        let mut tick = interval(TICK);
        let mut due = 0.0;
        while !self.ended.load(Relaxed) {
            tick.tick().await;
            due += f64::from(self.per_s.load(Relaxed)) * TICK.as_secs_f64();
            while due >= 1.0 {
                due -= 1.0;
                tasks.spawn(Arc::clone(&self).visit(target));
            }
        }
    }

    async fn visit(self: Arc<Self>, target: SocketAddr) {
        let end = match timeout(DEADLINE, ask(target)).await {
            Err(_) => &self.late,
            Ok(Ok(answer)) if answer.starts_with("http/1.1 200 ") => &self.good,
            Ok(Ok(answer)) if answer.starts_with("http/1.1 503 ") && answer.contains("\r\nretry-after: ") => {
                &self.refused
            }
            Ok(_) => &self.wrong,
        };
        end.fetch_add(1, Relaxed);
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(SLOTS));
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(Arc::clone(&self).converse(stream, Arc::clone(&slots)));
        }
    }

    /// First come first served; who goes away while waiting is forgotten.
    async fn converse(self: Arc<Self>, mut stream: TcpStream, slots: Arc<Semaphore>) {
        let mut head = Vec::new();
        while let Ok(1..) = stream.read_buf(&mut head).await {
            if !head.ends_with(b"\r\n\r\n") {
                continue;
            }
            head.clear();
            let slot = tokio::select! {
                slot = slots.acquire() => slot.expect("nobody closes it"),
                _ = stream.read_u8() => return,
            };
            sleep(TAKES).await;
            drop(slot);
            self.worked.fetch_add(1, Relaxed);
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\napp").await.is_err() {
                return;
            }
        }
    }

    fn seen(&self) -> Seen {
        let [worked, good, refused, late, wrong] =
            [&self.worked, &self.good, &self.refused, &self.late, &self.wrong].map(|count| count.load(Relaxed));
        Seen { worked, good, refused, late, wrong }
    }
}

async fn ask(target: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(target).await?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).to_ascii_lowercase())
}

impl Seen {
    fn since(self, before: Self) -> Self {
        Self {
            worked: self.worked - before.worked,
            good: self.good - before.good,
            refused: self.refused - before.refused,
            late: self.late - before.late,
            wrong: self.wrong - before.wrong,
        }
    }

    /// How much of its work the endpoint does for those who get its answer.
    fn useful(&self) -> f64 {
        f64::from(self.good) / f64::from(self.worked.max(1))
    }
}

/// A machine with more to do stalls clients and endpoint alike, and each time there is something new to find out.
const LONG: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(5);

/// The same overload without a limit and with one that finds itself: only what the endpoint can do on this machine counts.
#[test]
fn under_overload_an_endpoint_works_for_those_who_get_its_answers() {
    let unlimited = Stage::start("{}");
    unlimited.ask_for(THREEFOLD_PER_S);
    unlimited.look_until("overload", 1, |seen| seen.late > 0);
    let collapsed = [unlimited.look(), unlimited.look()][1];
    assert!(collapsed.useful() < 0.5 && collapsed.refused == 0, "{collapsed:?}");
    drop(unlimited);

    let limited = Stage::start("{in_flight: auto}");
    limited.look_until("answers", 1, |seen| seen.good > 0);
    let first_cap = 512.0;
    eventually(LONG, "what is normal", || limited.serin.metric("serin_upstream_in_flight_limit") < first_cap);
    limited.ask_for(THREEFOLD_PER_S);
    let is_busy = |seen: &Seen| seen.worked > collapsed.worked / 2;
    // The first half second of overload fills the queue and looks well.
    limited.look_until("goodput", 3, |seen| seen.useful() >= 0.7 && is_busy(seen) && seen.refused > 0);
    limited.ask_for(NORMAL_PER_S);
    limited.look_until("recovery", 1, |seen| seen.good > 0 && seen.refused + seen.late == 0);
}
