//! Writes scattered buffers in the cheapest way.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Writes what fits. A head with a small body is gathered first: one plain write costs the kernel less than a vector
/// of two, by more than the copy does.
pub(crate) fn poll_write_gathered(
    stream: &mut TcpStream,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let total: usize = bufs.iter().map(|buf| buf.len()).sum();
    let mut stream = Pin::new(stream);
    match bufs {
        [one] => stream.poll_write(cx, one),
        many if total <= GATHER => GATHERED.with_borrow_mut(|gathered| {
            gathered.clear();
            many.iter().for_each(|buf| gathered.extend_from_slice(buf));
            stream.as_mut().poll_write(cx, gathered)
        }),
        many => stream.as_mut().poll_write_vectored(cx, many),
    }
}

/// Most bytes that are gathered.
const GATHER: usize = 2 << 10;

thread_local! {
    /// Where they are gathered: kept, because an array on the stack would be filled with zeros every time.
    static GATHERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
