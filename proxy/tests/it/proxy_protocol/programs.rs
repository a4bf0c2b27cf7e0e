//! Other programs, and another Serin, as endpoints that are told of clients.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::to_endpoints::both_ends;
use crate::migrate::nginx;
use crate::support::{COMMON, Client, PATIENCE, Running, Serin, eventually, free_address};
use crate::tls::Authority;

/// Asks by two clients in turn, over and over; each answer has to begin with whose the request is.
fn each_client_is_known(serin: &Serin) {
    let connect = |source: &str| Client::from(source, serin.address());
    let mut clients = ["127.0.0.5", "127.0.0.6"].map(connect);
    for _ in 0..3 {
        for client in &mut clients {
            let [from, to] = both_ends(client);
            let expected = format!("{} {} {} {}", from.ip(), from.port(), to.ip(), to.port());
            let reply = client.get("/");
            assert_eq!((reply.status, reply.text().trim_end()), (200, &*expected));
        }
    }
    assert_eq!(serin.metric("serin_endpoint_connections_opened_total"), 2.0);
    eventually(PATIENCE, "checks pass", || {
        serin.admin_json("/api/v1/upstreams")[0]["endpoints"][0]["health"]["state"] == "up"
    });
}

fn rules(endpoint: SocketAddr, more: &str) -> String {
    format!(
        "{COMMON}routes: {{all: {{upstream: app}}}}\nupstreams: {{app: {{endpoints: [\"{endpoint}\"], proxy_protocol: v2, \
         health: {{path: /, interval: 100ms, rise: 1}}{more}}}}}\n"
    )
}

#[test]
fn haproxy_knows_whose_a_request_is() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (config, address) = (folder.path().join("haproxy.cfg"), free_address());
    let text = format!(
        "defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n\
         frontend in\n  bind {address} accept-proxy\n  \
         http-request return status 200 content-type text/plain lf-string \"%[src] %[src_port] %[dst] %[dst_port]\"\n"
    );
    std::fs::write(&config, text).expect("the file is written");
    let mut haproxy = Command::new("haproxy");
    haproxy.args(["-db", "-f"]).arg(&config).stderr(Stdio::null());
    let Some(_haproxy) = Running::listening(haproxy, address) else { return };
    each_client_is_known(&Serin::start(&rules(address, "")));
}

#[test]
fn nginx_knows_whose_a_request_is() {
    let authority = Authority::new("theirs");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (plain, secured, shown) = (free_address(), free_address(), folder.path().display());
    for (name, text) in authority.sign(&["127.0.0.1"]).files("a") {
        std::fs::write(folder.path().join(name), text).expect("room");
    }
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {shown}/{name};\n"))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {shown}/nginx.pid;\nerror_log stderr crit;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}\
         server {{\nlisten {plain} proxy_protocol;\nlisten {secured} ssl proxy_protocol;\nssl_certificate {shown}/a.crt;\n\
         ssl_certificate_key {shown}/a.key;\nlocation / {{ return 200 \"$proxy_protocol_addr $proxy_protocol_port \
         $proxy_protocol_server_addr $proxy_protocol_server_port\"; }}\n}}\n}}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), text).expect("room");
    let mut nginx = nginx::program("-c");
    nginx.arg(folder.path().join("nginx.conf"));
    let Some(_nginx) = Running::listening(nginx, plain) else { return };
    each_client_is_known(&Serin::start(&rules(plain, "")));
    let files = [("ca.pem".to_owned(), authority.pem())];
    let serin = Serin::beside(&files, &rules(secured, ", tls: {ca_file: ca.pem}"), Default::default());
    each_client_is_known(&serin);
}

#[test]
fn another_serin_knows_whose_a_request_is() {
    let origin = super::telling();
    let behind = Serin::start(&super::rules(&origin, "proxy_protocol: {from: [127.0.0.1]}", ""));
    let serin = Serin::start(&rules(behind.address(), ""));
    // What the first says of the client by fields counts for nothing at the second, which does not trust it.
    for source in ["127.0.0.5", "127.0.0.6", "127.0.0.5"] {
        let mut client = Client::from(source, serin.address());
        for _ in 0..2 {
            let told = format!("{source} {} http", serin.address().port());
            assert_eq!(client.get("/").text(), told);
        }
    }
    assert_eq!(behind.metric("serin_proxy_protocol_refused_total"), 0.0);
    eventually(PATIENCE, "checks pass", || {
        serin.admin_json("/api/v1/upstreams")[0]["endpoints"][0]["health"]["state"] == "up"
    });
}
