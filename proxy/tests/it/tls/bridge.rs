//! For clients that speak no TLS: takes their bytes, and passes them on encrypted. How the other side ends is passed on, too.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::browser::Browser;

/// Begins to pass connections on. It lasts as long as the process.
pub(crate) fn to(address: SocketAddr) -> SocketAddr {
    begin(address, Browser::new())
}

/// The same, agreeing on one of these protocols.
pub(crate) fn speaking(address: SocketAddr, protocols: &[&str]) -> SocketAddr {
    begin(address, Browser::new().speaking(protocols))
}

fn begin(address: SocketAddr, browser: Browser) -> SocketAddr {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.set_nonblocking(true).expect("it can wait elsewhere");
    let bound = socket.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let socket = TcpListener::from_std(socket).expect("it does not block");
            let connector = TlsConnector::from(browser.silent().config());
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = socket.accept().await {
                connections.spawn(pass(connector.clone(), client, address));
                while connections.try_join_next().is_some() {}
            }
        });
    });
    bound
}

async fn pass(connector: TlsConnector, client: TcpStream, address: SocketAddr) {
    let name = ServerName::try_from("bridge.test").expect("a name");
    let Ok(server) = TcpStream::connect(address).await else { return };
    let Ok(server) = connector.connect(name, server).await else { return };
    let (mut from_server, mut to_server) = split(server);
    let (mut from_client, mut to_client) = client.into_split();
    let down = {
        let mut up = pin!(copy(&mut from_client, &mut to_server));
        let mut down = pin!(copy(&mut from_server, &mut to_client));
        tokio::select! {
            ended = &mut down => ended,
            _ = &mut up => down.await,
        }
    };
    if down.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset) {
        let _ = socket2::SockRef::from(to_client.as_ref()).set_linger(Some(Duration::ZERO));
    }
}

/// Passes bytes on until there are no more, and then says that it was all.
pub(crate) async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    forward(from, to).await?;
    to.shutdown().await
}

/// Passes bytes on until there are no more.
pub(crate) async fn forward(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = match from.read(&mut buffer).await {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => 0,
            read => read?,
        };
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
    }
}
