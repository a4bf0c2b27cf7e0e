//! A receiver of webhooks: it verifies each message with the library that receivers use, keeps what it takes, and answers as it is told.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::Value;
use standardwebhooks::Webhook;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::support::{Origin, PATIENCE, Then, Visit, eventually};

pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) fn write_secret(folder: &Path) {
    std::fs::write(folder.join("secret"), format!("{SECRET}\n")).expect("a file");
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Not taken, with this status.
    Status(u16),
    /// The connection ends.
    Close,
    /// Nothing comes until the other side has had enough.
    Nothing,
}

pub(crate) struct Receiver {
    origin: Origin,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    answers: VecDeque<Answer>,
    calls: usize,
    ids: BTreeSet<String>,
    taken: Vec<Value>,
}

impl Receiver {
    /// One that takes everything.
    pub(crate) fn start() -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let origin = Origin::start(move |visit| receive(visit, &shared));
        Self { origin, seen }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.origin.address()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address())
    }

    /// What the next calls get. After that, everything is taken.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        self.seen.lock().expect("nothing panics").answers = answers.into_iter().collect();
    }

    pub(crate) fn messages(&self) -> Vec<Value> {
        self.seen.lock().expect("nothing panics").taken.clone()
    }

    pub(crate) fn calls(&self) -> usize {
        self.seen.lock().expect("nothing panics").calls
    }

    /// All ids of messages, taken or not.
    pub(crate) fn ids(&self) -> BTreeSet<String> {
        self.seen.lock().expect("nothing panics").ids.clone()
    }

    pub(crate) fn wait_for_calls(&self, count: usize) {
        eventually(PATIENCE, &format!("{count} calls"), || self.calls() >= count);
    }

    /// Waits until these actions, and no others, were told.
    pub(crate) fn wait_for(&self, actions: &[&str]) {
        self.wait_within(PATIENCE, actions);
    }

    pub(crate) fn wait_within(&self, patience: Duration, actions: &[&str]) {
        let told = || -> Vec<String> {
            let messages = self.messages();
            messages.iter().map(|message| message["data"]["action"].as_str().unwrap_or_default().to_owned()).collect()
        };
        eventually(patience, &format!("{actions:?}"), || told().len() >= actions.len());
        assert_eq!(told(), actions);
    }
}

fn receive(visit: &mut Visit<'_>, seen: &Mutex<Seen>) -> std::io::Result<Then> {
    visit.read_body()?;
    let request = &visit.request;
    let fields = request.headers.iter().map(|(name, value)| {
        let name = HeaderName::try_from(name.as_str()).expect("a name");
        (name, HeaderValue::try_from(value.as_str()).expect("a value"))
    });
    let headers: HeaderMap = fields.collect();
    let verified = Webhook::new(SECRET).expect("a secret").verify(&request.body, &headers);
    verified.unwrap_or_else(|error| panic!("{error}: {request:?}"));
    assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", Some("application/json")));
    let body = serde_json::from_slice(&request.body).expect("JSON");
    let id = headers["webhook-id"].to_str().expect("text").to_owned();
    let answer = {
        let mut seen = seen.lock().expect("nothing panics");
        seen.calls += 1;
        seen.ids.insert(id);
        let answer = seen.answers.pop_front();
        if answer.is_none() {
            seen.taken.push(body);
        }
        answer
    };
    match answer {
        None => visit.answer(204, &[], b""),
        Some(Answer::Status(status)) => visit.answer(status, &[("Location", "/elsewhere")], b"no"),
        Some(Answer::Close) => Ok(Then::Close),
        Some(Answer::Nothing) => visit.wait_for_end(),
    }
}

/// Somebody who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate"))
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For the loopback address.
    pub(crate) fn sign(&self) -> ServerConfig {
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("an address is a name");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
        config.with_single_cert(chain, key).expect("a certificate and its key")
    }
}

/// Takes TLS connections and passes on what comes. Returns the port. Ends with the process.
pub(crate) fn encrypted(to: SocketAddr, config: ServerConfig) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port is free");
    let port = listener.local_addr().expect("a bound listener has an address").port();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            listener.set_nonblocking(true).expect("a socket");
            let listener = TcpListener::from_std(listener).expect("a socket");
            let acceptor = TlsAcceptor::from(Arc::new(config));
            while let Ok((stream, _)) = listener.accept().await {
                // A client that does not trust us is what some tests are about.
                let Ok(mut inner) = acceptor.accept(stream).await else { continue };
                let mut outer = TcpStream::connect(to).await.expect("the receiver listens");
                let _ = tokio::io::copy_bidirectional(&mut inner, &mut outer).await;
            }
        });
    });
    port
}
