//! One connection of HTTP/2 to an endpoint, and how many requests it may carry at a time.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use hyper::client::conn::http2::{self, Builder, SendRequest};
use hyper::rt::Executor;
use hyper_util::rt::{TokioIo, TokioTimer};
use routing_rules::rules::Connections;
use tokio::time::{Instant, timeout_at};

use crate::data_path::error::RequestError;
use crate::data_path::request::{NewestLent, RequestBody};
use crate::data_path::response::MAX_HEAD;
use crate::data_path::upstream::dial::{Dialed, dial};
use crate::data_path::upstream::io::Wire;
use crate::data_path::upstream::{EndpointIo, Lifetime, LocalEndpoint, NotOpened};
use crate::snapshot::ConnectionEnd;
use crate::worker::Worker;

/// A connection that requests share. It ends when nobody has it any more and the last of its streams is over.
pub(super) struct Connection {
    pub(super) sender: SendRequest<RequestBody>,
    driven: Rc<Driven>,
    /// What comes over it.
    pub(super) wire: Rc<Wire>,
    /// Whether it is secured.
    pub(super) is_secure: bool,
    /// Which body is about to be sent.
    pub(super) newest: NewestLent,
    /// Requests that have a stream here.
    pub(super) taken: Cell<u32>,
    /// Requests that were taken back before their answers were at their end.
    pub(super) resets: Cell<u32>,
    /// The head of an answer has come over it.
    pub(super) has_answered: Cell<bool>,
    /// Why it gets no further requests, if so.
    pub(super) retired: Cell<Option<ConnectionEnd>>,
    /// When it was first seen without any, on the worker's clock.
    idle_since_ms: Cell<Option<u64>>,
    pub(super) lifetime: RefCell<Box<Lifetime>>,
}

/// What hyper wants to be driven, and can be asked what the endpoint allows. Let go of when it is done, because requests that
/// were not sent come back with that.
type Driven = RefCell<Option<http2::Connection<TokioIo<EndpointIo>, RequestBody, Local>>>;

impl Connection {
    /// Opens a connection. It stands when the endpoint has said what it allows, which only one that speaks HTTP/2 does: until
    /// then no request is lost on it.
    pub(super) async fn open(worker: &Worker, endpoint: &LocalEndpoint, timeout: Duration) -> Result<Self, NotOpened> {
        let deadline = Instant::now() + timeout;
        // It looks at the deadline itself, and says what took too long.
        let dialed = dial(endpoint, worker, || None, deadline).await?;
        let opened = timeout_at(deadline, Self::start(worker, endpoint, dialed)).await;
        opened.unwrap_or(Err(NotOpened::Endpoint(RequestError::ConnectTimeout)))
    }

    async fn start(worker: &Worker, endpoint: &LocalEndpoint, dialed: Dialed) -> Result<Self, NotOpened> {
        let Dialed { stream, begun } = dialed;
        let lifetime = RefCell::new(Box::new(Lifetime::begin(worker, endpoint, begun)));
        let is_secure = stream.is_secure();
        let io = EndpointIo::shared(stream, &worker.read_budget);
        let (wire, newest) = (io.wire(), NewestLent::default());
        let refused = |lifetime: &RefCell<Box<Lifetime>>, wire: &Wire| {
            let refusal = wire.refusal();
            let error = refusal.map_or(RequestError::Connect, |failure| lifetime.borrow_mut().refused(&failure));
            NotOpened::Endpoint(error)
        };
        let begun = builder(&endpoint.pool.rules(), &newest).handshake(TokioIo::new(io)).await;
        let (sender, connection) = begun.map_err(|_| refused(&lifetime, &wire))?;
        let driven = Rc::new(RefCell::new(Some(connection)));
        let driver = Rc::clone(&driven);
        let mut driving = tokio::task::spawn_local(poll_fn(move |cx| {
            let mut driven = driver.borrow_mut();
            let polled = driven.as_mut().map_or(Poll::Ready(Ok(())), |connection| Pin::new(connection).poll(cx));
            if polled.is_ready() {
                *driven = None;
            }
            polled.map(drop)
        }));
        let connection = Self {
            sender,
            driven,
            wire,
            is_secure,
            newest,
            taken: Cell::new(0),
            resets: Cell::new(0),
            has_answered: Cell::new(false),
            retired: Cell::new(None),
            idle_since_ms: Cell::new(None),
            lifetime,
        };
        let said = poll_fn(|cx| match connection.most_streams() {
            _ if Pin::new(&mut driving).poll(cx).is_ready() => Poll::Ready(None),
            0 => {
                connection.wire.wake_with_bytes(cx.waker());
                Poll::Pending
            }
            _ => Poll::Ready(Some(())),
        })
        .await;
        match said {
            Some(()) => {
                connection.lifetime.borrow_mut().proved();
                Ok(connection)
            }
            None => Err(refused(&connection.lifetime, &connection.wire)),
        }
    }

    /// Whether another request may begin a stream, if there may be `max_streams` of them.
    pub(super) fn has_room(&self, max_streams: u32) -> bool {
        self.taken.get() < self.room(max_streams)
    }

    /// How many requests it may carry at a time.
    pub(super) fn room(&self, max_streams: u32) -> u32 {
        max_streams.min(u32::try_from(self.most_streams()).unwrap_or(u32::MAX))
    }

    /// As the endpoint says, and 0 until it does.
    fn most_streams(&self) -> usize {
        // Its task has it only while it runs.
        let Ok(driven) = self.driven.try_borrow() else { return 0 };
        driven.as_ref().map_or(0, http2::Connection::current_max_send_streams)
    }

    /// For how long it has carried nothing, as far as anybody has looked.
    pub(super) fn idle_ms(&self, now_ms: u64) -> u64 {
        let since_ms = self.idle_since_ms.get().unwrap_or(now_ms);
        self.idle_since_ms.set(Some(since_ms));
        now_ms.saturating_sub(since_ms)
    }

    /// A request gets a stream.
    pub(super) fn enter(&self) {
        self.taken.set(self.taken.get() + 1);
        self.idle_since_ms.set(None);
        self.lifetime.borrow_mut().count_request();
    }

    /// Its stream is over.
    pub(super) fn leave(&self) {
        self.taken.set(self.taken.get() - 1);
    }

    /// Whether so many of its requests were taken back that the endpoint may take it for an attack, and end it for all. Any
    /// client can have that done to requests of others.
    pub(super) fn is_worn(&self) -> bool {
        let resets = self.resets.get();
        resets >= MANY_RESETS && resets > self.lifetime.borrow().served() / 2
    }

    pub(super) fn ends(&self, end: ConnectionEnd) {
        self.lifetime.borrow_mut().ends(end);
    }
}

/// Runs what belongs to a connection on the worker's own thread, and tells a body which task sends it.
#[derive(Clone)]
struct Local(NewestLent);

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        let task = tokio::task::spawn_local(future);
        self.0.is_sent_by(&task.abort_handle());
    }
}

/// The client side of hyper's HTTP/2 as Serin uses it.
fn builder(rules: &Connections, newest: &NewestLent) -> Builder<Local> {
    let mut builder = Builder::new(Local(newest.clone()));
    builder
        .timer(TokioTimer::new())
        // Nothing is sent before the endpoint has said how many it takes.
        .initial_max_send_streams(0)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size((rules.max_streams.saturating_mul(WINDOW_PER_STREAM)).min(MAX_WINDOW))
        .max_send_buf_size(SEND_BUFFER)
        .max_local_error_reset_streams(None)
        .keep_alive_interval(rules.ping)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// What hyper lets through of a response's head, in bytes as HTTP/2 counts them: 32 more for each field.
const MAX_HEADER_LIST: u32 = MAX_HEAD as u32 + (8 << 10);

/// How much of a response may wait for its client, in bytes.
const STREAM_WINDOW: u32 = 64 << 10;

/// What each stream adds to the window of its connection, in bytes: more than it can use, so that responses that nobody reads
/// never keep others waiting. h2 ends a connection on which too many small frames wait to be read: it counts what each lacks of
/// 256 bytes, and allows for half of that window. With this, all streams may be full of messages of eight bytes.
const WINDOW_PER_STREAM: u32 = 4 << 20;

/// The largest window there is (RFC 9113 §6.9.1).
const MAX_WINDOW: u32 = (1 << 31) - 1;

/// How much of a request's body is given to a stream ahead of what the endpoint has taken, in bytes.
const SEND_BUFFER: usize = 48 << 10;

/// So many requests of a connection may be taken back before it matters whether they are most of them. Servers that count end
/// connections after some hundreds.
const MANY_RESETS: u32 = 100;

/// How long an endpoint may take to answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(15);
