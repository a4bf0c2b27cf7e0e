//! Takes TLS from the proxy, and passes on what is in it to an endpoint that speaks in clear text. How that ends is passed on, too.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{DEFAULT_VERSIONS, HandshakeKind, RootCertStore, ServerConfig, SupportedProtocolVersion};

use crate::support::{PATIENCE, eventually};
use crate::tls::{Pair, bridge};

/// The other end of TLS.
pub(super) struct Front {
    address: SocketAddr,
    shared: Arc<Shared>,
    _end: oneshot::Sender<()>,
}

/// How it shakes hands.
#[derive(Clone)]
pub(super) struct Shows<'a> {
    pub(super) pair: &'a Pair,
    pub(super) protocols: &'static [&'static str],
    pub(super) versions: &'static [&'static SupportedProtocolVersion],
    /// Who must have signed what it is shown.
    pub(super) asks_for: Option<&'a str>,
}

/// A handshake that was completed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Handshake {
    pub(super) name: Option<String>,
    pub(super) is_resumed: bool,
    pub(super) shown: Option<CertificateDer<'static>>,
}

struct Shared {
    config: Mutex<Arc<ServerConfig>>,
    handshakes: Mutex<Vec<Handshake>>,
    /// Whether connections end without a word.
    cuts: AtomicBool,
    /// Connections that were taken, whatever became of them.
    taken: AtomicUsize,
    /// Whether handshakes wait.
    holds: watch::Sender<bool>,
}

impl<'a> Shows<'a> {
    pub(super) fn new(pair: &'a Pair) -> Self {
        Self { pair, protocols: &["h2", "http/1.1"], versions: DEFAULT_VERSIONS, asks_for: None }
    }

    fn config(&self) -> Arc<ServerConfig> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_protocol_versions(self.versions).expect("there are suites for them");
        let builder = match self.asks_for {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                let authority = CertificateDer::from_pem_slice(authority.as_bytes()).expect("a certificate");
                roots.add(authority).expect("an authority");
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.expect("there is an authority"))
            }
            None => builder.with_no_client_auth(),
        };
        let config = builder.with_single_cert(vec![self.pair.der()], self.pair.key_der());
        let mut config = config.expect("they belong together");
        config.alpn_protocols = self.protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}

impl Front {
    pub(super) fn of(endpoint: SocketAddr, shows: &Shows<'_>) -> Self {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        socket.set_nonblocking(true).expect("it can wait elsewhere");
        let address = socket.local_addr().expect("it is bound");
        let config = Mutex::new(shows.config());
        let shared = Arc::new(Shared {
            config,
            handshakes: Mutex::default(),
            cuts: AtomicBool::new(false),
            taken: AtomicUsize::new(0),
            holds: watch::Sender::new(false),
        });
        let (end, ended) = oneshot::channel();
        let accepting = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let socket = TcpListener::from_std(socket).expect("it does not block");
                let mut connections = JoinSet::new();
                let accept = async {
                    while let Ok((client, _)) = socket.accept().await {
                        connections.spawn(pass(client, endpoint, Arc::clone(&accepting)));
                        while connections.try_join_next().is_some() {}
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, shared, _end: end }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Shakes hands in another way from now on.
    pub(super) fn turn_to(&self, shows: &Shows<'_>) {
        *lock(&self.shared.config) = shows.config();
    }

    /// Handshakes are not answered from now on, or are again, in the way in which they would have been.
    pub(super) fn hold(&self, holds: bool) {
        self.shared.holds.send_replace(holds);
    }

    /// Waits until so many connections have been taken in all.
    pub(super) fn wait_for_taken(&self, count: usize) {
        eventually(PATIENCE, "another connection", || self.shared.taken.load(Ordering::SeqCst) >= count);
    }

    /// Connections end without a word from now on.
    pub(super) fn cut(&self) {
        self.shared.cuts.store(true, Ordering::SeqCst);
    }

    pub(super) fn handshakes(&self) -> Vec<Handshake> {
        lock(&self.shared.handshakes).clone()
    }

    pub(super) fn wait_for_more_than(&self, count: usize) {
        eventually(PATIENCE, "another handshake", || lock(&self.shared.handshakes).len() > count);
    }
}

async fn pass(client: TcpStream, endpoint: SocketAddr, shared: Arc<Shared>) {
    let config = Arc::clone(&*lock(&shared.config));
    shared.taken.fetch_add(1, Ordering::SeqCst);
    if shared.holds.subscribe().wait_for(|holds| !holds).await.is_err() {
        return;
    }
    let Ok(client) = TlsAcceptor::from(config).accept(client).await else { return };
    let session = client.get_ref().1;
    lock(&shared.handshakes).push(Handshake {
        name: session.server_name().map(str::to_owned),
        is_resumed: session.handshake_kind() == Some(HandshakeKind::Resumed),
        shown: session.peer_certificates().and_then(|chain| chain.first()).cloned().map(CertificateDer::into_owned),
    });
    let Ok(endpoint) = TcpStream::connect(endpoint).await else { return };
    let (mut from_client, mut to_client) = split(client);
    let (mut from_endpoint, mut to_endpoint) = endpoint.into_split();
    let mut up = pin!(bridge::copy(&mut from_client, &mut to_endpoint));
    let cuts = || shared.cuts.load(Ordering::SeqCst);
    let mut down = pin!(async {
        bridge::forward(&mut from_endpoint, &mut to_client).await?;
        match cuts() {
            true => Ok(()),
            false => to_client.shutdown().await,
        }
    });
    tokio::select! {
        _ = &mut down => {}
        _ = &mut up => drop(down.await),
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
