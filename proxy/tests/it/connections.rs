//! Connections to endpoints: how old they become and how much they serve, why they end, what the kernel does about hosts
//! that are silent, and (below) connections opened ahead of requests.

mod warm;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use socket2::{SockFilter, SockRef};

use crate::support::{Client, Origin, PATIENCE, Serin, Then, eventually};

/// All requests go to these endpoints; `connections` are the upstream's, and more fields of it.
fn rules(endpoints: &[SocketAddr], connections: &str) -> String {
    let endpoints: Vec<String> = endpoints.iter().map(|address| format!("\"{address}\"")).collect();
    format!(
        "routes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [{}], connections: {{{connections}}}}}}}\n",
        endpoints.join(", ")
    )
}

fn serving(origin: &Origin, connections: &str) -> Serin {
    Serin::serving(&rules(&[origin.address()], connections))
}

/// Connections to endpoints that have ended for this reason.
pub(crate) fn ended(serin: &Serin, reason: &str) -> f64 {
    serin.metric_of("serin_endpoint_connections_closed_total", &format!("reason=\"{reason}\""))
}

/// Those that are open.
pub(crate) fn open(serin: &Serin) -> f64 {
    serin.metric("serin_endpoint_connections_open")
}

#[test]
fn a_connection_serves_as_many_requests_as_it_may() {
    let origin = Origin::named("app");
    let serin = serving(&origin, "max_requests: 3");
    let mut client = serin.client();
    (0..10).for_each(|_| assert_eq!(client.get("/").status, 200));
    let connections: Vec<u64> = origin.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]);
    eventually(PATIENCE, "counted", || ended(&serin, "max_requests") == 3.0);
    assert_eq!(open(&serin), 1.0);
}

/// The end of one connection must not be the end of a request, whatever its method.
#[test]
fn many_ends_cost_no_request() {
    let origin = Origin::named("app");
    let serin = serving(&origin, "max_requests: 2");
    std::thread::scope(|scope| {
        for name in 0..4 {
            let address = serin.address();
            scope.spawn(move || {
                let mut client = Client::connect(address);
                for number in 0..100 {
                    let reply = client.request("POST", &format!("/{name}/{number}"), &[], &vec![b'x'; number * 700]);
                    assert_eq!(reply.text(), "app");
                }
            });
        }
    });
    assert_eq!(origin.requests().len(), 400);
    assert!(origin.requests().iter().all(|request| request.complete));
    assert_eq!(serin.metric("serin_endpoint_retries_total") + ended(&serin, "broken") + ended(&serin, "endpoint"), 0.0);
    // Each of four clients may leave one that has served once.
    eventually(PATIENCE, "counted", || (198.0..=200.0).contains(&ended(&serin, "max_requests")));
}

#[test]
fn a_connection_that_is_too_old_ends_behind_its_response() {
    let (finish, finishing) = channel::<()>();
    let finishing = Mutex::new(finishing);
    let origin = Origin::start(move |visit| match visit.request.target.as_str() {
        "/long" => {
            visit.write("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nthe ")?;
            let _ = finishing.lock().unwrap().recv();
            visit.write("end")?;
            Ok(Then::Keep)
        }
        _ => visit.answer(200, &[], b"short"),
    });
    let serin = serving(&origin, "max_age: 1s");
    let mut client = serin.client();
    client.send("GET /long HTTP/1.1\r\nHost: a.test\r\n\r\n");
    origin.wait_until("the long one is first", |log| log.requests.len() == 1);
    // Two ages one after the other are longer than any one.
    for count in [1.0, 2.0] {
        assert_eq!(serin.client().get("/short").text(), "short");
        eventually(PATIENCE, "an idle one is too old", || ended(&serin, "max_age") == count);
    }
    assert_eq!(open(&serin), 1.0);
    finish.send(()).unwrap();
    assert_eq!(client.reply().text(), "the end");
    assert_eq!(client.get("/short").text(), "short");
    eventually(PATIENCE, "the long one was too old, too", || ended(&serin, "max_age") == 3.0);
    let connections: Vec<u64> = origin.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0, 1, 2, 3]);
}

#[test]
fn limits_hold_for_connections_that_are_open_already() {
    let origin = Origin::named("app");
    let serin = serving(&origin, "");
    assert_eq!(serin.client().get("/").status, 200);
    assert_eq!((origin.log().open, open(&serin)), (1, 1.0));
    serin.reload_serving(&rules(&[origin.address()], "idle_timeout: 100ms"));
    origin.wait_until("closed", |log| log.open == 0);
    eventually(PATIENCE, "counted", || ended(&serin, "idle_timeout") == 1.0);
    assert_eq!((serin.client().get("/").status, origin.log().accepted), (200, 2));
}

#[test]
fn every_end_has_its_reason() {
    let (hold, held) = channel::<()>();
    let held = Mutex::new(held);
    let origin = Origin::start(move |visit| match visit.request.target.as_str() {
        "/last" => {
            visit.answer(200, &[("Connection", "close")], b"bye")?;
            Ok(Then::Close)
        }
        "/old" => {
            visit.write("HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold")?;
            visit.wait_for_end()
        }
        "/socket" => {
            visit.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")?;
            visit.wait_for_end()
        }
        "/hang" => {
            let _ = held.lock().unwrap().recv();
            Ok(Then::Close)
        }
        _ => visit.answer(200, &[], b"served"),
    });
    let serin = serving(&origin, "");
    let reasons = || ["endpoint", "broken", "tunnel", "removed"].map(|reason| ended(&serin, reason));
    let mut client = serin.client();
    assert_eq!(client.get("/last").text(), "bye");
    eventually(PATIENCE, "closed by the endpoint", || reasons() == [1.0, 0.0, 0.0, 0.0]);
    assert_eq!(client.get("/old").text(), "old");
    eventually(PATIENCE, "nothing can follow", || reasons() == [1.0, 1.0, 0.0, 0.0]);

    let mut leaving = serin.client();
    leaving.send("GET /hang HTTP/1.1\r\nHost: a.test\r\n\r\n");
    eventually(PATIENCE, "under way", || open(&serin) == 1.0);
    drop(leaving);
    eventually(PATIENCE, "the client left", || reasons() == [1.0, 2.0, 0.0, 0.0]);
    drop(hold);

    let mut socket = serin.client();
    assert_eq!(
        socket.request("GET", "/socket", &[("Connection", "Upgrade"), ("Upgrade", "websocket")], b"").status,
        101
    );
    assert_eq!((open(&serin), serin.metric("serin_tunnels_open")), (1.0, 1.0));
    drop(socket);
    eventually(PATIENCE, "the tunnel is over", || reasons() == [1.0, 2.0, 1.0, 0.0]);

    assert_eq!(client.get("/").text(), "served");
    assert_eq!(open(&serin), 1.0);
    let other = Origin::named("other");
    serin.reload_serving(&rules(&[other.address()], ""));
    origin.wait_until("closed", |log| log.open == 0);
    // Its counts are shown again when it comes back.
    serin.reload_serving(&rules(&[origin.address()], ""));
    assert_eq!(reasons(), [1.0, 2.0, 1.0, 1.0]);
}

/// From now on nothing that comes on the connection is acknowledged, as if the host had lost its power.
fn fall_silent(stream: &std::net::TcpStream) {
    const RETURN: u16 = 0x06;
    SockRef::from(stream).attach_filter(&[SockFilter::new(RETURN, 0, 0, 0)]).expect("Linux filters sockets");
}

#[test]
fn a_host_that_acknowledges_nothing_is_given_up() {
    let origin = Origin::start(|visit| {
        if visit.request.connection == 0 {
            fall_silent(visit.stream());
        }
        visit.answer(200, &[], b"served")
    });
    let serin = serving(&origin, "tcp_user_timeout: 1s");
    let mut client = serin.client();
    assert_eq!(client.get("/").text(), "served");
    // Otherwise `timeouts.request` would end it, after a minute and with a 504.
    assert_eq!(client.get("/").text(), "served");
    assert_eq!((serin.metric("serin_endpoint_retries_total"), origin.log().accepted), (1.0, 2));
}

/// The timers that the kernel shows for connections from or to a port: 2 stands for keep-alive, then hundredths of a second.
fn timers(port: u16) -> Vec<(u32, u32)> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("Linux shows sockets");
    let hex = |text: &str| u32::from_str_radix(text, 16).expect("hexadecimal");
    let established = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let established =
        established.filter(|row| row[3] == "01" && row[1..3].iter().any(|end| end.ends_with(&format!(":{port:04X}"))));
    established.filter_map(|row| row[5].split_once(':')).map(|(kind, left)| (hex(kind), hex(left))).collect()
}

#[test]
fn the_kernel_asks_for_silent_hosts_on_both_sides() {
    let origin = Origin::named("app");
    let serin = serving(&origin, "tcp_keepalive: 1000s");
    let mut client = serin.client();
    assert_eq!(client.get("/").text(), "app");
    let is_asked = |port: u16, seconds: std::ops::RangeInclusive<u32>| {
        timers(port).iter().any(|(kind, left)| *kind == 2 && seconds.contains(&(left / 100)))
    };
    eventually(PATIENCE, "towards the endpoint", || is_asked(origin.address().port(), 900..=1_000));
    eventually(PATIENCE, "towards the client", || is_asked(serin.address().port(), 30..=45));
}
