//! The load: users who come again and again. A user never has two requests at once, so that "first stable, then
//! canary" means something; a browser's pin cookie is kept and sent.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use http::header::{COOKIE, HOST as HOST_HEADER, SET_COOKIE, USER_AGENT};
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::super::http_client::{Connection, Reply};
use super::endpoints::ENDPOINT;
use super::ledger::{Answer, Ledger};
use super::stage::HOST;
use super::users::User;

/// The running load.
pub(super) struct Load {
    tasks: JoinSet<()>,
    stop: Rc<Cell<bool>>,
}

impl Load {
    /// Must be called within a `LocalSet`.
    pub(super) fn start(proxy: SocketAddr, users: Vec<User>, ledger: &Rc<RefCell<Ledger>>, in_a_hurry: bool) -> Self {
        let stop = Rc::new(Cell::new(false));
        let mut tasks = JoinSet::new();
        let mut crowds: Vec<Vec<Visitor>> = (0..CONNECTIONS).map(|_| Vec::new()).collect();
        for (number, user) in users.into_iter().enumerate() {
            crowds[number % CONNECTIONS].push(Visitor { number, user, pin: None });
        }
        for visitors in crowds {
            let pace = if in_a_hurry { HURRY } else { PACE };
            let crowd = Crowd { proxy, visitors, ledger: Rc::clone(ledger), stop: Rc::clone(&stop), connection: None };
            tasks.spawn_local(crowd.come(pace));
        }
        Self { tasks, stop }
    }

    /// Waits for the requests under way and ends.
    pub(super) async fn stop(mut self) {
        self.stop.set(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(Duration::from_secs(2), all).await;
    }
}

/// Users who share a connection, as behind a load balancer, and come one after another.
struct Crowd {
    proxy: SocketAddr,
    visitors: Vec<Visitor>,
    ledger: Rc<RefCell<Ledger>>,
    stop: Rc<Cell<bool>>,
    connection: Option<Connection>,
}

struct Visitor {
    number: usize,
    user: User,
    /// `name=value` of the pin cookie.
    pin: Option<String>,
}

impl Crowd {
    async fn come(mut self, pace: Duration) {
        let mut ticks = interval(pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for index in (0..self.visitors.len()).cycle() {
            ticks.tick().await;
            if self.stop.get() {
                return;
            }
            self.visit(index).await;
        }
    }

    async fn visit(&mut self, index: usize) {
        let number = self.visitors[index].number;
        // Rules of after this moment may decide, but none of before it.
        let round = self.ledger.borrow().round();
        let began = Instant::now();
        match self.request(index).await {
            Ok(reply) => {
                let text = |name: &str| Some(reply.headers.get(name)?.to_str().ok()?.to_owned());
                let answer = Answer {
                    user: number,
                    round,
                    status: reply.status,
                    group: text("x-serin-group"),
                    endpoint: text(ENDPOINT),
                    latency: began.elapsed(),
                };
                self.ledger.borrow_mut().answered(&answer);
                let pin = reply.headers.get(SET_COOKIE).and_then(|cookie| cookie.to_str().ok());
                if let Some(pin) = pin.and_then(|cookie| cookie.split(';').next()) {
                    self.visitors[index].pin = Some(pin.to_owned());
                }
            }
            Err(error) => {
                self.connection = None;
                self.ledger.borrow_mut().failed(&error.to_string());
            }
        }
    }

    async fn request(&mut self, index: usize) -> io::Result<Reply> {
        let Visitor { user, pin, .. } = &self.visitors[index];
        let mut request = Request::get("/")
            .header(HOST_HEADER, HOST)
            .header(USER_AGENT, user.agent)
            .header("x-user-id", &user.id)
            .header("x-forwarded-for", user.address.to_string());
        if let Some(pin) = pin {
            request = request.header(COOKIE, pin);
        }
        let request = request.body(Full::default()).map_err(io::Error::other)?;
        let connection = match &mut self.connection {
            Some(connection) => connection,
            closed => closed.insert(Connection::open(self.proxy).await?),
        };
        connection.send(request).await
    }
}

/// Enough that a slow endpoint does not hold up the others.
const CONNECTIONS: usize = 40;

/// Between two requests of a connection: 300 requests per second in all.
const PACE: Duration = Duration::from_millis(133);

/// The same for `--once`: every user comes twice a second.
const HURRY: Duration = Duration::from_millis(45);
