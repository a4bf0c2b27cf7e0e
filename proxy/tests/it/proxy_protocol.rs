//! Connections that load balancers pass on with the PROXY protocol: whose they are, and what becomes of those that do not
//! say it; and endpoints that are told whose connections they get.

mod programs;
mod to_endpoints;
mod told;

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serin_proxy::server::ConnectionLimits;

use crate::support::client::request;
use crate::support::http2::Frames;
use crate::support::{Client, Origin, PATIENCE, Running, Serin, Then, eventually, free_address};

/// From 127.0.0.2 on load balancers are, in these tests; 127.0.0.1 is a client of its own.
const BALANCERS: &str = "proxy_protocol: {from: [127.0.0.2, \"127.0.1.0/24\"]}";

/// Answers with what it is told of the client.
fn telling() -> Origin {
    Origin::start(|visit| {
        visit.read_body()?;
        let told = ["x-forwarded-for", "x-forwarded-port", "x-forwarded-proto"].map(|name| visit.request.header(name));
        let told = told.map(|value| value.unwrap_or("nothing").to_owned()).join(" ");
        visit.answer(200, &[], told.as_bytes()).map(|_| Then::Keep)
    })
}

fn rules(origin: &Origin, listener: &str, more: &str) -> String {
    format!(
        "listeners: {{web: {{address: \"127.0.0.1:0\", {listener}}}}}\nadmin: {{address: \"127.0.0.1:0\"}}\nworkers: 2\n{more}\n\
         routes: {{all: {{upstream: app}}, inside: {{paths: [{{prefix: /inside}}], client_ip: [10.0.0.0/8], upstream: app}}}}\n\
         upstreams: {{app: {{endpoints: [\"{}\"]}}}}\n",
        origin.address()
    )
}

fn behind_balancers(origin: &Origin) -> Serin {
    Serin::start(&rules(origin, BALANCERS, ""))
}

fn balancer(serin: &Serin) -> Client {
    Client::from("127.0.0.2", serin.address())
}

/// Version 2, for a client of IPv4 that turned to port 443.
fn version_two(client: [u8; 4]) -> Vec<u8> {
    let address = [&client[..], &[198, 51, 100, 1], &4_711u16.to_be_bytes(), &443u16.to_be_bytes()].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c", &address[..]].concat()
}

fn refused(serin: &Serin, reason: &str) -> f64 {
    serin.metric_of("serin_proxy_protocol_refused_total", reason)
}

#[test]
fn a_connection_is_that_of_the_client_whom_the_load_balancer_names() {
    let origin = telling();
    let serin = behind_balancers(&origin);
    let headers = [b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n".to_vec(), version_two([192, 0, 2, 7])];
    for header in headers {
        let mut client = balancer(&serin);
        client.send([&header[..], &request("GET", "/", &[], b"")].concat());
        assert_eq!(client.reply().text(), "192.0.2.7 443 http");
        assert_eq!(client.get("/").text(), "192.0.2.7 443 http", "for as long as the connection lasts");
    }
    let mut client = balancer(&serin);
    for byte in version_two([10, 1, 2, 3]) {
        client.send([byte]);
    }
    assert_eq!(client.get("/inside").text(), "10.1.2.3 443 http");
    assert_eq!(refused(&serin, ""), 0.0);
}

#[test]
fn clients_of_a_load_balancer_that_ends_tls_are_secure_whether_it_says_so_or_not() {
    let origin = telling();
    let serin = Serin::start(&rules(&origin, "proxy_protocol: {from: [127.0.0.2], tls: true}", ""));
    let mut client = balancer(&serin);
    client.send(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 443\r\n");
    assert_eq!(client.get("/").text(), "192.0.2.7 443 https");
    let mut itself = balancer(&serin);
    itself.send(b"PROXY UNKNOWN\r\n");
    assert!(itself.get("/").text().ends_with("http"), "what it asks by itself is in clear text");
}

#[test]
fn a_load_balancer_that_speaks_for_itself_is_a_client() {
    let origin = telling();
    let serin = behind_balancers(&origin);
    for header in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        let mut client = balancer(&serin);
        client.send(header);
        let port = serin.address().port();
        assert_eq!(client.get("/").text(), format!("127.0.0.2 {port} http"));
    }
    // A check that only connects says nothing, and is no reason to worry.
    drop(balancer(&serin));
    eventually(PATIENCE, "all are gone", || serin.metric("serin_connections_open") == 0.0);
    assert_eq!(refused(&serin, ""), 0.0);
    assert_eq!(serin.metric("serin_connections_opened_total"), 3.0);
}

#[test]
fn what_others_say_of_themselves_is_not_believed() {
    let origin = telling();
    let serin = behind_balancers(&origin);
    assert_eq!(serin.client().get("/").text(), format!("127.0.0.1 {} http", serin.address().port()));
    for header in [b"PROXY TCP4 10.0.0.1 198.51.100.1 4711 443\r\n".to_vec(), version_two([10, 0, 0, 1])] {
        let mut client = serin.client();
        client.send([&header[..], &request("GET", "/inside", &[], b"")].concat());
        assert_eq!(client.reply().status, 400, "{}", header.escape_ascii());
        assert!(client.ends_within(PATIENCE));
    }
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_load_balancer_that_does_not_say_whose_a_connection_is_gets_nothing() {
    let origin = telling();
    let limits = ConnectionLimits { head_ms: 300, ..ConnectionLimits::default() };
    let serin = Serin::start_with(&rules(&origin, BALANCERS, ""), limits);
    let cases = [
        (request("GET", "/", &[], b""), "missing"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n".to_vec(), "malformed"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff".to_vec(), "too_long"),
        (b"PROXY TCP4 192.0.2.7 ".to_vec(), "late"),
        (b"".to_vec(), "late"),
    ];
    for (bytes, reason) in cases {
        let before = refused(&serin, reason);
        let mut client = Client::from("127.0.1.9", serin.address());
        client.send(&bytes);
        client.send(b"");
        assert!(client.ends_within(PATIENCE), "{reason}");
        eventually(PATIENCE, reason, || refused(&serin, reason) == before + 1.0);
    }
    assert_eq!(origin.requests().len(), 0);
    serin.wait_until_quiet(PATIENCE);
}

#[test]
fn each_client_behind_a_load_balancer_has_its_own_maximum() {
    let origin = telling();
    let serin = Serin::start(&rules(&origin, BALANCERS, "limits: {connections_per_client: 2}"));
    let connect = |client: [u8; 4]| {
        let mut connection = balancer(&serin);
        connection.send([version_two(client), request("GET", "/", &[], b"")].concat());
        connection
    };
    let mut here = Vec::new();
    for client in [[192, 0, 2, 1], [192, 0, 2, 1], [192, 0, 2, 2], [192, 0, 2, 2]] {
        let mut connection = connect(client);
        assert_eq!(connection.reply().status, 200);
        here.push(connection);
    }
    assert!(connect([192, 0, 2, 1]).ends_within(PATIENCE));
    assert_eq!(serin.metric("serin_client_limit_reached_total"), 1.0);
    eventually(PATIENCE, "it is gone", || serin.metric("serin_connections_open") == 4.0);
}

#[test]
fn a_connection_of_http_two_may_be_announced_and_served_by_another_worker() {
    let origin = telling();
    let serin = behind_balancers(&origin);
    let mut clients: Vec<Frames> = (1..=4)
        .map(|last| {
            let mut stream = balancer(&serin).into_stream();
            stream.write_all(&version_two([192, 0, 2, last])).expect("the proxy takes bytes");
            Frames::of(stream)
        })
        .collect();
    for (client, last) in clients.iter_mut().zip(1..) {
        assert_eq!(client.get_body(1, "/"), format!("192.0.2.{last} 443 http").as_bytes());
    }
    assert_eq!(serin.metric_of("serin_worker_requests_total", "\"0\""), 2.0);
}

#[test]
fn rules_that_change_count_for_new_connections() {
    let origin = telling();
    let serin = Serin::start(&rules(&origin, "", "").replace("0\", }", "0\"}"));
    let port = serin.address().port();
    let mut before = balancer(&serin);
    assert_eq!(before.get("/").text(), format!("127.0.0.2 {port} http"));
    serin.reload(&rules(&origin, BALANCERS, ""));
    let mut after = balancer(&serin);
    after.send(version_two([192, 0, 2, 7]));
    assert_eq!(after.get("/").text(), "192.0.2.7 443 http");
    assert_eq!(before.get("/").text(), format!("127.0.0.2 {port} http"));
}

#[test]
fn haproxy_and_curl_are_understood() {
    let origin = telling();
    let serin = behind_balancers(&origin);
    for option in ["send-proxy", "send-proxy-v2", "send-proxy-v2 proxy-v2-options crc32c,unique-id,authority"] {
        let address = free_address();
        let config = serin.folder.path().join("haproxy.cfg");
        let text = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
             frontend in\n  bind {address}\n  unique-id-format %ci:%cp\n  default_backend out\n\
             backend out\n  source 127.0.0.2\n  server serin {} {option}\n",
            serin.address()
        );
        std::fs::write(&config, text).expect("the file is written");
        let mut haproxy = Command::new("haproxy");
        haproxy.args(["-db", "-f"]).arg(&config).stderr(Stdio::null());
        let _haproxy = Running(haproxy.spawn().expect("haproxy is installed (cargo xtask test does it)"));
        eventually(PATIENCE, "haproxy listens", || std::net::TcpStream::connect(address).is_ok());
        let told = Client::from("127.0.0.77", address).get("/").text().to_owned();
        assert_eq!(told, format!("127.0.0.77 {} http", address.port()), "{option}");
    }
    let url = format!("http://{}/", serin.address());
    let curl = Command::new("curl").args(["-sS", "--interface", "127.0.0.2", "--haproxy-protocol", &url]).output();
    let curl = curl.expect("curl is installed");
    let told = String::from_utf8_lossy(&curl.stdout).into_owned();
    assert_eq!(told, format!("127.0.0.2 {} http", serin.address().port()), "{curl:?}");
    assert_eq!(refused(&serin, ""), 0.0);
}

#[test]
fn a_drain_does_not_wait_for_what_is_never_said() {
    let origin = telling();
    let limits = ConnectionLimits { head_ms: 500, ..ConnectionLimits::default() };
    let serin = Serin::start_with(&rules(&origin, BALANCERS, ""), limits);
    let mut silent = balancer(&serin);
    eventually(PATIENCE, "it is here", || serin.metric("serin_connections_open") == 1.0);
    let began = Instant::now();
    drop(serin);
    assert!(silent.ends_within(PATIENCE));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
