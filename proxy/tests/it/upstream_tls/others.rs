//! Endpoints that others have written: nginx, which checks a certificate and speaks HTTP/2, and OpenSSL's server.

use std::process::{Command, Stdio};

use super::{handshakes, rules, serving};
use crate::migrate::nginx;
use crate::support::{Running, free_address};
use crate::tls::Authority;

#[test]
fn nginx_checks_who_comes_and_speaks_both_protocols() {
    let (authority, ours) = (Authority::new("theirs"), Authority::new("ours"));
    let (pair, own) = (authority.sign(&["app.internal"]), ours.sign(&["serin.internal"]));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [("a.crt", &pair.certificate), ("a.key", &pair.key), ("ca.pem", &ours.pem())] {
        std::fs::write(at(name), text).expect("room");
    }
    let (address, shown) = (free_address(), folder.path().display());
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {shown}/{name};\n"))
        .concat();
    let text = format!(
        "daemon off;\nmaster_process off;\npid {shown}/nginx.pid;\nerror_log stderr crit;\nevents {{}}\nhttp {{\naccess_log off;\n{paths}\
         server {{\nlisten {address} ssl http2;\nserver_name app.internal;\nssl_certificate {shown}/a.crt;\nssl_certificate_key {shown}/a.key;\n\
         ssl_client_certificate {shown}/ca.pem;\nssl_verify_client on;\nlocation / {{ return 200 \"$server_protocol $ssl_client_verify $scheme $ssl_server_name\"; }}\n}}\n}}\n"
    );
    std::fs::write(at("nginx.conf"), text).expect("room");
    let mut command = nginx::program("-c");
    command.arg(at("nginx.conf"));
    let Some(_nginx) = Running::listening(command, address) else { return };
    let files = [("ca.pem", &*authority.pem()), ("own.crt", &own.certificate), ("own.key", &own.key)];
    for (protocol, wanted) in [("http1", "HTTP/1.1"), ("h2", "HTTP/2.0")] {
        let tls = "ca_file: ca.pem, server_name: app.internal, cert_file: own.crt, key_file: own.key";
        let serin = serving(&files, &rules(address, &format!("protocol: {protocol}, tls: {{{tls}}}")));
        let mut client = serin.client();
        for _ in 0..3 {
            let reply = client.get("/");
            assert_eq!(reply.text(), format!("{wanted} SUCCESS https app.internal"));
        }
        assert_eq!(handshakes(&serin, "completed"), 1.0);
    }
}

#[test]
fn openssl_is_spoken_to_in_the_version_that_it_has() {
    let authority = Authority::new("theirs");
    let pair = authority.sign(&["127.0.0.1"]);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let at = |name: &str| folder.path().join(name);
    for (name, text) in pair.files("a") {
        std::fs::write(at(&name), text).expect("room");
    }
    for (version, result) in [("-tls1_3", "completed"), ("-tls1_2", "completed"), ("-tls1_1", "refused_by_endpoint")] {
        let address = free_address();
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-www", "-accept", &address.to_string(), version]);
        command.arg("-cert").arg(at("a.crt")).arg("-key").arg(at("a.key"));
        command.args(["-cipher", "DEFAULT@SECLEVEL=0"]).stderr(Stdio::null());
        let Some(_server) = Running::listening(command, address) else { return };
        let serin = serving(&[("ca.pem", &authority.pem())], &rules(address, "tls: {ca_file: ca.pem}"));
        let status = serin.client().get("/").status;
        assert_eq!(status, if result == "completed" { 200 } else { 502 }, "{version}");
        assert_eq!(handshakes(&serin, result), 1.0, "{version}");
    }
}
