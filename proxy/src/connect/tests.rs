use std::net::TcpListener;
use std::time::Duration;

use socket2::SockRef;

use super::{Liveness, tcp};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_connection_is_watched_as_it_was_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let stream = tcp(listener.local_addr().unwrap(), 10 * SECOND).await.unwrap();
    let socket = SockRef::from(&stream);
    assert!(!socket.keepalive().unwrap(), "nobody asked for it");
    Liveness { keepalive: 20 * SECOND, user_timeout: None }.apply(&stream).unwrap();
    let times = || [socket.tcp_keepalive_time(), socket.tcp_keepalive_interval()].map(Result::unwrap);
    assert!(socket.keepalive().unwrap());
    assert_eq!((times(), socket.tcp_keepalive_retries().unwrap()), ([20 * SECOND, 5 * SECOND], 3));
    assert_eq!(socket.tcp_user_timeout().unwrap(), None, "the kernel's own");
    Liveness { keepalive: SECOND, user_timeout: Some(7 * SECOND) }.apply(&stream).unwrap();
    assert_eq!((times()[0], socket.tcp_user_timeout().unwrap()), (SECOND, Some(7 * SECOND)));
}
