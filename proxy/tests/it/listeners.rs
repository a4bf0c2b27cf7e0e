//! Listeners move while requests are served.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use crate::support::client::request;
use crate::support::control::replace;
use crate::support::{Client, Origin, PATIENCE, Serin, Then, eventually, get, port_at_every_address};

fn rules(listeners: &str, origin: &Origin) -> String {
    format!(
        "listeners: {{{listeners}}}\nworkers: 2\nroutes: {{all: {{upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    )
}

fn at(name: &str, address: &str) -> String {
    format!("{name}: {{address: \"{address}\"}}")
}

fn keeping(name: &'static str) -> Origin {
    Origin::start(move |visit| {
        visit.read_body()?;
        visit.answer(200, &[], name.as_bytes()).map(|_| Then::Keep)
    })
}

/// Writes rules and waits until the listeners are where these want them. Any problem on the way is a failure.
fn edit(serin: &Serin, text: &str, expected: &[(&str, &str)]) {
    replace(&serin.config(), text);
    let expected: Vec<_> = expected.iter().map(|(name, at)| ((*name).to_owned(), at.parse().unwrap())).collect();
    eventually(PATIENCE, text, || serin.server().listeners() == expected);
    assert!(serin.server().problems().is_empty(), "{:?}", serin.server().problems());
}

/// One request on each of very many connections while something happens. None may be lost.
fn under_load(address: SocketAddr, happens: impl FnOnce()) {
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Relaxed) {
                    assert_eq!(get(address, "/").text(), "app");
                    served.fetch_add(1, Relaxed);
                }
            });
        }
        scope.spawn(|| {
            let mut client = Client::connect(address);
            while !over.load(Relaxed) {
                let reply = client.get("/");
                assert_eq!(reply.text(), "app");
                if reply.announces_close() {
                    client = Client::connect(address);
                }
            }
        });
        let over = Over(&over);
        eventually(PATIENCE, "load", || served.load(Relaxed) > 10);
        happens();
        let before = served.load(Relaxed);
        eventually(PATIENCE, "load afterwards", || served.load(Relaxed) > before + 10);
        drop(over);
    });
}

/// Ends the load, also where what happens fails.
pub(crate) struct Over<'a>(pub(crate) &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

#[test]
fn a_listener_moves_to_an_address_that_covers_its_old_one_and_back() {
    let origin = keeping("app");
    let port = port_at_every_address();
    let (narrow, wide) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    let serin = Serin::start(&rules(&at("web", &narrow), &origin));
    let address = serin.address();
    under_load(address, || {
        for _ in 0..3 {
            for place in [&wide, &narrow] {
                edit(&serin, &rules(&at("web", place), &origin), &[("web", place)]);
            }
        }
    });
    assert_eq!(get(address, "/").text(), "app");
}

#[test]
fn a_listener_moves_between_the_internet_protocols_on_one_port() {
    let origin = keeping("app");
    let port = port_at_every_address();
    let serin = Serin::start(&rules(&at("web", &format!("127.0.0.1:{port}")), &origin));
    for place in [format!("[::]:{port}"), format!("[::1]:{port}"), format!("0.0.0.0:{port}")] {
        edit(&serin, &rules(&at("web", &place), &origin), &[("web", &place)]);
        let reachable = if place.starts_with('[') { format!("[::1]:{port}") } else { format!("127.0.0.1:{port}") };
        assert_eq!(get(reachable.parse().unwrap(), "/").text(), "app", "{place}");
    }
}

#[test]
fn connections_of_a_renamed_listener_stay_and_meet_the_routes_of_its_new_name() {
    let origin = keeping("app");
    let rules = |name: &str, address: &str| {
        let text = rules(&at(name, address), &origin);
        text.replace("all: {", &format!("all: {{listeners: [{name}], "))
    };
    let serin = Serin::start(&rules("web", "127.0.0.1:0"));
    let address = serin.address().to_string();
    let mut early = serin.client();
    assert_eq!(early.get("/").text(), "app");
    under_load(serin.address(), || {
        for name in ["web", "edge", "web", "edge"] {
            edit(&serin, &rules(name, &address), &[(name, &address)]);
            let reply = early.get("/");
            assert_eq!((reply.text(), reply.announces_close()), ("app", false), "{name}");
        }
    });
}

#[test]
fn listeners_exchange_their_ports_and_names_without_a_gap() {
    let origin = keeping("app");
    let serin = Serin::start(&rules(&[at("a", "127.0.0.1:0"), at("b", "127.0.0.1:0")].join(", "), &origin));
    let ports: Vec<String> = serin.server().listeners().iter().map(|(_, address)| address.to_string()).collect();
    let (one, two) = (&*ports[0], &*ports[1]);
    under_load(one.parse().unwrap(), || {
        for (a, b) in [(two, one), (one, two), (two, one)] {
            edit(&serin, &rules(&[at("a", a), at("b", b)].join(", "), &origin), &[("a", a), ("b", b)]);
        }
        edit(&serin, &rules(&at("c", one), &origin), &[("c", one)]);
    });
}

/// The listener's name is a condition of routes, so it has to change with the address.
#[test]
fn requests_of_a_socket_that_changed_hands_meet_the_routes_of_its_new_listener() {
    let (a, b) = (keeping("a"), keeping("b"));
    let serin = Serin::start(&rules(&[at("a", "127.0.0.1:0"), at("b", "127.0.0.1:0")].join(", "), &a));
    let ports: Vec<SocketAddr> = serin.server().listeners().iter().map(|(_, address)| *address).collect();
    let text = |first: SocketAddr, second: SocketAddr| {
        format!(
            "listeners: {{{}, {}}}\nworkers: 2\nroutes:\n  a: {{listeners: [a], upstream: a}}\n  b: {{listeners: [b], upstream: b}}\n\
             upstreams: {{a: {{endpoints: [\"{}\"]}}, b: {{endpoints: [\"{}\"]}}}}\n",
            at("a", &first.to_string()),
            at("b", &second.to_string()),
            a.address(),
            b.address()
        )
    };
    for (first, second) in [(ports[0], ports[1]), (ports[1], ports[0])] {
        edit(&serin, &text(first, second), &[("a", &first.to_string()), ("b", &second.to_string())]);
        eventually(PATIENCE, "a's requests", || get(first, "/").text() == "a");
        eventually(PATIENCE, "b's requests", || get(second, "/").text() == "b");
    }
}

#[test]
fn an_address_that_somebody_else_has_leaves_the_listener_where_it_is() {
    let origin = keeping("app");
    let port = port_at_every_address();
    let serin = Serin::start(&rules(&at("web", &format!("127.0.0.1:{port}")), &origin));
    let address = serin.address();
    // Covers the wildcard, but not the listener's own address.
    let other = TcpListener::bind(("127.0.0.2", port)).expect("nobody else has this port there");
    let wide = format!("0.0.0.0:{port}");
    let text = rules(&at("web", &wide), &origin);
    replace(&serin.config(), &text);
    eventually(PATIENCE, "a problem", || !serin.server().problems().is_empty());
    let problems = serin.server().problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let place = format!("{}:1:28: listeners.web.address: cannot listen on {wide}: ", serin.config().display());
    assert!(problems.starts_with(&place) && problems.ends_with("; the old address stays open"), "{problems}");
    assert_eq!(serin.server().listeners(), [("web".to_owned(), address)]);
    assert_eq!(get(address, "/").text(), "app");
    drop(other);
    replace(&serin.config(), &format!("# tried again\n{text}"));
    eventually(PATIENCE, "the move", || serin.server().listeners()[0].1.to_string() == wide);
    eventually(PATIENCE, "nothing is wrong any longer", || serin.server().problems().is_empty());
    assert_eq!(get(address, "/").text(), "app");
}

/// Requests that are there without end, on a few connections, until dropped.
struct Flood(Vec<std::net::TcpStream>);

impl Flood {
    fn start(address: SocketAddr, connections: usize) -> Self {
        let requests = request("GET", "/", &[("Host", "a")], b"").repeat(100);
        Self(
            (0..connections)
                .map(|_| {
                    let stream = std::net::TcpStream::connect(address).expect("the proxy accepts connections");
                    let (mut out, mut answers) = (stream.try_clone().unwrap(), stream.try_clone().unwrap());
                    let requests = requests.clone();
                    std::thread::spawn(move || while out.write_all(&requests).is_ok() {});
                    std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
                    stream
                })
                .collect(),
        )
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.0.iter().for_each(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
    }
}

/// A worker that always has requests looked at its listening socket so seldom that newcomers waited for seconds.
#[test]
fn a_worker_that_is_never_idle_takes_new_clients() {
    let serin = Serin::serving("routes: {all: {filters: [{redirect: {scheme: https}}]}}\n");
    let _flood = Flood::start(serin.address(), 8);
    let served = || serin.metric("serin_requests_total");
    eventually(PATIENCE, "a flood", || served() > 1_000.0);
    let mut newcomers: Vec<Client> = (0..NEWCOMERS).map(|_| serin.client()).collect();
    let before = served();
    newcomers.iter_mut().for_each(|client| client.send(request("GET", "/", &[("Host", "a")], b"")));
    newcomers.iter_mut().for_each(|client| assert_eq!(client.reply().status, 302));
    let others = (served() - before) / f64::from(NEWCOMERS);
    assert!(others < 300.0, "each newcomer had to wait for {others} requests of others");
}

const NEWCOMERS: u32 = 50;
