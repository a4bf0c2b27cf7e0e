//! What endpoints are told of the connections of clients, and that no connection of one client carries anything of another.

use std::net::{IpAddr, SocketAddr};

use super::told::{Told, shown};
use super::version_two;
use crate::connections::{ended, open};
use crate::support::client::request;
use crate::support::control::serin;
use crate::support::http2::Frames;
use crate::support::{COMMON, Client, Origin, PATIENCE, Serin, eventually};
use crate::tls::Authority;

const TOLD: &str = "proxy_protocol: v2";

/// All requests go to this endpoint.
fn rules(endpoint: SocketAddr, upstream: &str) -> String {
    format!("routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{endpoint}\"], {upstream}}}}}\n")
}

/// The same with listeners of the test's own.
fn listening(listeners: &str, more: &str, endpoint: SocketAddr) -> String {
    let rules = rules(endpoint, TOLD);
    format!("listeners: {{{listeners}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n{more}\n{rules}")
}

/// From where to where a client is connected.
pub(super) fn both_ends(client: &Client) -> [SocketAddr; 2] {
    [client.stream().local_addr(), client.stream().peer_addr()].map(|end| end.expect("it is connected"))
}

/// The same in words.
fn ends(client: &Client) -> String {
    both_ends(client).map(|end| end.to_string()).join(" ")
}

#[test]
fn connections_begin_with_the_ends_of_the_clients_byte_by_byte() {
    let told = Told::start();
    let serin =
        Serin::start(&listening("four: {address: \"127.0.0.1:0\"}, six: {address: \"[::1]:0\"}", "", told.address()));
    for (listener, family) in [("four", &b"\x21\x11\0\x0c"[..]), ("six", b"\x21\x21\0\x24")] {
        let mut client = Client::connect(serin.address_of(listener));
        assert_eq!(client.get("/").text(), format!("{} 0", ends(&client)));
        let [from, to] = both_ends(&client);
        let octets = |end: SocketAddr| match end {
            SocketAddr::V4(end) => end.ip().octets().to_vec(),
            SocketAddr::V6(end) => end.ip().octets().to_vec(),
        };
        let ports = [from.port().to_be_bytes(), to.port().to_be_bytes()].concat();
        let expected = [&b"\r\n\r\n\0\r\nQUIT\n"[..], family, &octets(from), &octets(to), &ports].concat();
        assert_eq!(told.came().last().map(|came| came.header.clone()), Some(expected), "{listener}");
    }
}

#[test]
fn of_a_listener_on_all_addresses_the_one_is_told_that_the_client_turned_to() {
    let told = Told::start();
    for (listener, turned_to) in [("0.0.0.0:0", "127.0.0.7"), ("[::]:0", "::1")] {
        let serin = Serin::start(&listening(&format!("web: {{address: \"{listener}\"}}"), "", told.address()));
        let turned_to: IpAddr = turned_to.parse().expect("an address");
        let mut client = Client::connect((turned_to, serin.address().port()).into());
        assert_eq!(client.get("/").text(), format!("{} 0", ends(&client)), "{listener}");
    }
}

#[test]
fn a_connection_carries_requests_of_one_connection_of_a_client_and_ends_with_it() {
    let told = Told::start();
    let serin = Serin::serving(&rules(told.address(), TOLD));
    let mut clients = [serin.client(), serin.client()];
    for (place, before) in [(0, 0), (0, 1), (1, 0), (0, 2), (1, 1)] {
        let client = &mut clients[place];
        assert_eq!(client.get("/").text(), format!("{} {before}", ends(client)));
    }
    let [first, mut second] = clients;
    assert_eq!((told.came().len(), open(&serin)), (2, 2.0));
    drop(first);
    told.wait_until("the first has gone", |came| !came[0].is_open);
    eventually(PATIENCE, "counted", || ended(&serin, "client") == 1.0);
    assert_eq!(second.get("/").text(), format!("{} 2", ends(&second)));
    assert_eq!((told.came().len(), open(&serin)), (2, 1.0));
}

#[test]
fn who_comes_from_the_same_address_and_port_is_somebody_else() {
    let told = Told::start();
    let web = format!("web: {{address: \"127.0.0.1:0\", {}}}", super::BALANCERS);
    let serin = Serin::start(&listening(&web, "", told.address()).replace("workers: 2", "workers: 1"));
    let connect = || {
        let mut client = super::balancer(&serin);
        client.send(version_two([192, 0, 2, 7]));
        client
    };
    let mut clients = [connect(), connect()];
    for before in 0..3 {
        for client in &mut clients {
            assert_eq!(client.get("/").text(), format!("192.0.2.7:4711 198.51.100.1:443 {before}"));
        }
    }
    assert_eq!(told.came().len(), 2);
}

#[test]
fn what_a_load_balancer_says_is_passed_on_and_what_headers_say_is_not() {
    let told = Told::start();
    let web = format!("web: {{address: \"127.0.0.1:0\", {}}}", super::BALANCERS);
    let serin = Serin::start(&listening(&web, "trusted_proxies: [127.0.0.1, 192.0.2.0/24]", told.address()));
    let six = b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n";
    let headers: [(&[u8], &str); 4] = [
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n", "192.0.2.7:4711 198.51.100.1:443"),
        (&version_two([192, 0, 2, 7]), "192.0.2.7:4711 198.51.100.1:443"),
        (six, "[2001:db8::7]:4711 [2001:db8::1]:443"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 4711 443\r\n", "[::ffff:192.0.2.7]:4711 [2001:db8::1]:443"),
    ];
    let forwarded = [("X-Forwarded-For", "203.0.113.9"), ("Forwarded", "for=203.0.113.9")];
    for (header, expected) in headers {
        let mut client = super::balancer(&serin);
        client.send(header);
        for before in 0..2 {
            let reply = client.request("GET", "/", &forwarded, b"");
            assert_eq!(reply.text(), format!("{expected} {before}"));
        }
    }
    // What it asks by itself it asks as a client.
    let mut itself = super::balancer(&serin);
    itself.send(b"PROXY UNKNOWN\r\n");
    assert_eq!(itself.get("/").text(), format!("{} 0", ends(&itself)));
    // And a trusted proxy is who is connected, whomever it speaks for.
    let mut trusted = serin.client();
    assert_eq!(trusted.request("GET", "/", &forwarded, b"").text(), format!("{} 0", ends(&trusted)));
}

#[test]
fn requests_of_http_two_share_what_was_opened_for_their_client() {
    let told = Told::start();
    let web = format!("web: {{address: \"127.0.0.1:0\", {}}}", super::BALANCERS);
    let serin = Serin::start(&listening(&web, "", told.address()));
    // Some of them are served by another worker than the one that took them.
    for last in 1..=4 {
        let mut stream = super::balancer(&serin).into_stream();
        std::io::Write::write_all(&mut stream, &version_two([192, 0, 2, last])).expect("the proxy takes bytes");
        let mut client = Frames::of(stream);
        for (id, before) in [(1, 0), (3, 1), (5, 2)] {
            let expected = format!("192.0.2.{last}:4711 198.51.100.1:443 {before}");
            assert_eq!(client.get_body(id, "/"), expected.as_bytes());
        }
    }
    assert_eq!(told.came().len(), 4);
}

#[test]
fn the_header_comes_before_tls() {
    let authority = Authority::new("theirs");
    let told = Told::secured(&authority.sign(&["127.0.0.1"]));
    let upstream =
        rules(told.address(), "proxy_protocol: v2, tls: {ca_file: ca.pem}, health: {path: /well, interval: 100ms}");
    let files = [("ca.pem".to_owned(), authority.pem())];
    let serin = Serin::beside(&files, &format!("{COMMON}{upstream}"), Default::default());
    let mut clients = [serin.client(), serin.client()];
    for (place, before) in [(0, 0), (1, 0), (0, 1)] {
        let client = &mut clients[place];
        assert_eq!(client.get("/").text(), format!("{} {before}", ends(client)));
    }
    told.wait_until("a check", |came| came.iter().any(|came| came.asked == ["/well"]));
    let came = told.came();
    assert!(came.iter().all(|came| came.asked != ["/well"] || shown(&came.header) == "local"), "{came:?}");
}

#[test]
fn checks_are_serins_own() {
    for check in ["path: /well", "tcp: true"] {
        let told = Told::start();
        let health = format!("proxy_protocol: v2, health: {{{check}, interval: 100ms, rise: 1}}");
        let serin = Serin::serving(&rules(told.address(), &health));
        told.wait_until("three checks", |came| came.iter().filter(|came| !came.is_open).count() >= 3);
        assert!(told.came().iter().all(|came| came.header == b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"), "{:?}", told.came());
        let state = serin.admin_json("/api/v1/upstreams")[0]["endpoints"][0]["health"]["state"].clone();
        assert_eq!(state, "up", "{check}");
    }
}

#[test]
fn connections_are_opened_anew_when_the_rules_say_otherwise() {
    let told = Told::start();
    let serin = Serin::serving(&rules(told.address(), "limits: {}"));
    let mut client = serin.client();
    let connected = ends(&client);
    for (upstream, expected) in [("limits: {}", "nothing"), (TOLD, &connected), ("limits: {}", "nothing")] {
        if !told.came().is_empty() {
            serin.reload_serving(&rules(told.address(), upstream));
        }
        for before in 0..2 {
            assert_eq!(client.get("/").text(), format!("{expected} {before}"));
        }
    }
    assert_eq!((told.came().len(), ended(&serin, "removed")), (3, 2.0));
    told.wait_until("what was opened before has ended", |came| came.iter().filter(|came| came.is_open).count() == 1);
}

#[test]
fn a_tunnel_has_a_connection_of_its_own() {
    let told = Told::start();
    let rules = rules(told.address(), TOLD).replace("upstream: app}", "upstream: app, upgrade: [websocket]}");
    let serin = Serin::serving(&rules);
    let mut client = serin.client();
    assert_eq!(client.get("/").text(), format!("{} 0", ends(&client)));
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    client.send(request("GET", "/tunnel", &fields, b""));
    let expected = format!("{} 1", ends(&client));
    assert_eq!(client.reply().status, 101);
    assert_eq!(client.take(expected.len()).as_deref(), Ok(expected.as_bytes()));
    let mut other = serin.client();
    assert_eq!(other.get("/").text(), format!("{} 0", ends(&other)));
    drop(client);
    told.wait_until("the tunnel is over", |came| !came[0].is_open);
    assert_eq!(other.get("/").text(), format!("{} 1", ends(&other)));
}

#[test]
fn a_socket_over_http_two_is_the_clients_too() {
    let told = Told::start();
    let web = "web: {address: \"127.0.0.1:0\", websocket_over_http2: true}";
    let serin = Serin::start(&listening(web, "", told.address()));
    let stream = serin.client().into_stream();
    let expected = format!("{} {}", stream.local_addr().expect("it is connected"), serin.address());
    let mut client = Frames::of(stream);
    let fields = [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":path", "/tunnel")];
    client.head(1, &[&fields[..], &[(":authority", "a.test"), ("sec-websocket-version", "13")]].concat(), false);
    let whole = format!("{expected} 0");
    client.until("the first bytes", |seen| seen.streams.get(&1).is_some_and(|stream| stream.body == whole.as_bytes()));
    assert_eq!(client.get_body(3, "/"), whole.as_bytes(), "not over the tunnel");
}

#[test]
fn retries_and_hedges_are_the_clients_too() {
    let (told, slow) = (Told::start(), Told::start());
    // Nobody listens there any more.
    let away = Told::start().address();
    let upstream = |endpoints: [SocketAddr; 2], hedge: &str| {
        let [one, two] = endpoints;
        format!(
            "routes: {{all: {{upstream: app{hedge}}}}}\nupstreams: {{app: {{endpoints: [\"{one}\", \"{two}\"], \
             {TOLD}, balance: round_robin, breaker: false}}}}\n"
        )
    };
    let serin = Serin::serving(&upstream([away, told.address()], ""));
    let mut clients = [serin.client(), serin.client()];
    for _ in 0..3 {
        for client in &mut clients {
            // A retry opens a connection in any case.
            let reply = client.get("/");
            assert!(reply.text().starts_with(&format!("{} ", ends(client))), "{}", reply.text());
        }
    }
    assert!(serin.metric("serin_endpoint_retries_total") >= 2.0);

    let serin = Serin::serving(&upstream([slow.address(), told.address()], ", hedge: {after: 50ms}"));
    let known = told.came().len();
    let mut client = serin.client();
    client.send(request("GET", "/held", &[], b""));
    let expected = ends(&client);
    let is_told =
        |came: &[super::told::Came]| came.iter().any(|came| shown(&came.header) == expected && came.asked == ["/held"]);
    slow.wait_until("the first", is_told);
    told.wait_until("the second", |came| is_told(&came[known..]));
}

#[test]
fn who_is_asked_and_who_gets_a_copy_are_told_of_the_client() {
    let (auth, mirror) = (Told::start(), Told::start());
    let app = Origin::named("app");
    let serin = Serin::serving(&format!(
        "routes: {{all: {{upstream: app, mirror: {{upstream: next}}, filters: [{{forward_auth: {{upstream: auth}}}}]}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}, next: {{endpoints: [\"{}\"], {TOLD}}}, auth: {{endpoints: [\"{}\"], {TOLD}}}}}\n",
        app.address(),
        mirror.address(),
        auth.address()
    ));
    let mut clients = [serin.client(), serin.client()];
    for round in 1..=3 {
        for client in &mut clients {
            assert_eq!(client.get("/").text(), "app");
        }
        mirror.wait_until("copies", |came| came.iter().map(|came| came.asked.len()).sum::<usize>() == 2 * round);
        eventually(PATIENCE, "they are over", || {
            serin.metric_of("serin_mirrored_requests_total", "\"answered\"") == 2.0 * round as f64
        });
    }
    let expected = clients.each_ref().map(ends);
    for told in [auth, mirror] {
        let came = told.came();
        let headers: Vec<String> = came.iter().map(|came| shown(&came.header)).collect();
        assert!(headers == expected && came.iter().all(|came| came.asked.len() == 3), "{came:?}");
    }
}

#[test]
fn who_is_idle_makes_room_the_oldest_first() {
    const CLIENTS: usize = 1_025;
    let told = Told::start();
    let serin = Serin::serving(&rules(told.address(), TOLD));
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| serin.client()).collect();
    for client in &mut clients {
        assert_eq!(client.get("/").status, 200);
    }
    eventually(PATIENCE, "room is made", || ended(&serin, "room") == 64.0);
    assert_eq!(open(&serin), 961.0);
    let mut before = |place: usize| {
        let client: &mut Client = &mut clients[place];
        client.get("/").text().rsplit(' ').next().map(str::to_owned)
    };
    assert_eq!([0, CLIENTS - 1].map(&mut before), [Some("0".to_owned()), Some("1".to_owned())]);
}

#[test]
fn connections_of_clients_age_like_others() {
    let told = Told::start();
    let serin = Serin::serving(&rules(told.address(), "proxy_protocol: v2, connections: {idle_timeout: 100ms}"));
    let mut client = serin.client();
    assert_eq!(client.get("/").status, 200);
    told.wait_until("it has ended", |came| !came[0].is_open);
    eventually(PATIENCE, "counted", || ended(&serin, "idle_timeout") == 1.0);
    serin.reload_serving(&rules(told.address(), "proxy_protocol: v2, connections: {max_requests: 2}"));
    for before in [0, 1, 0] {
        assert_eq!(client.get("/").text(), format!("{} {before}", ends(&client)));
    }
    assert_eq!(ended(&serin, "max_requests"), 1.0);
}

#[test]
fn what_cannot_be_is_an_error_that_names_the_place() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("serin.yaml");
    let check = |upstream: &str| {
        let text = format!("{COMMON}{}", rules(([127, 0, 0, 1], 1).into(), upstream));
        std::fs::write(&config, text).expect("the rules are written");
        let checked = serin(&["check", "--config", &config.display().to_string()]);
        (checked.status.code(), String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned())
    };
    assert_eq!(check(TOLD).0, Some(0));
    for (upstream, reason) in [
        ("proxy_protocol: v1", "upstreams.app.proxy_protocol: unknown value `v1`, did you mean `v2`?"),
        (
            "proxy_protocol: v2, protocol: h2c",
            "upstreams.app.proxy_protocol: a connection of HTTP/2 carries requests of many",
        ),
        ("proxy_protocol: v2, protocol: h2, tls: {}", "`protocol` has to be `http1`"),
        ("proxy_protocol: v2, connections: {warm: 1}", "upstreams.app.connections.warm: with `proxy_protocol` each"),
    ] {
        let (code, said) = check(upstream);
        assert!(code == Some(1) && said.contains(reason), "{upstream}: {said}");
    }
}
