//! The load over TLS, against a server of the same library: handshakes are full or go on with a session, as it was told.

use std::io::{Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serin_bench::load::{Outcome, Plan, Shape, run};
use serin_bench::process::{Folder, Interrupt};
use serin_bench::tls::{Certificate, Tickets};

/// Answers one request of every connection, until the test is over.
fn serve(folder: &Folder) -> SocketAddrV4 {
    let certificate = CertificateDer::from_pem_file(folder.path().join("bench.crt")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.path().join("bench.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // As the proxies have it: what they keep is in the ticket. The library's own store forgets the oldest of 256 sessions, and the load
    // shows the oldest of more.
    config.ticketer = rustls::crypto::ring::Ticketer::new().unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let SocketAddr::V4(address) = listener.local_addr().unwrap() else {
        panic!("an address of version 4 was asked for")
    };
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
            // Who has gone meanwhile is not missed: the load says what it missed.
            let _request = stream.read(&mut [0; 1_024]);
            let _sent =
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes").and_then(|()| stream.flush());
        }
    });
    address
}

fn load(tickets: Tickets) -> Outcome {
    let folder = Folder::new().unwrap();
    let certificate = Certificate::make(folder.path()).unwrap();
    let plan = Plan {
        target: serve(&folder),
        tls: Some(certificate.client("http/1.1", tickets).unwrap()),
        path: "/".to_owned(),
        body: 3,
        connections: 2,
        shape: Shape::OneEach,
        warm_up: Duration::from_millis(50),
        window: Duration::from_millis(200),
    };
    run(&plan, &Interrupt::on_signals().unwrap(), |_| {}).unwrap()
}

#[test]
fn without_tickets_every_handshake_is_full() {
    let outcome = load(Tickets::Forgotten);
    assert!(outcome.completed > 0 && outcome.failures.total() == 0, "{:?}", outcome.failures);
    assert_eq!(outcome.resumed, 0);
}

#[test]
fn with_tickets_all_handshakes_go_on_with_a_session() {
    let outcome = load(Tickets::Shown);
    assert!(outcome.completed > 0 && outcome.failures.total() == 0, "{:?}", outcome.failures);
    assert!(outcome.resumed * 100 >= outcome.completed * 99, "{} of {}", outcome.resumed, outcome.completed);
}
