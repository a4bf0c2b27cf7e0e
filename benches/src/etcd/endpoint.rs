//! Endpoints that say who they are: every answer is the endpoint's own address.
//!
//! A thread a connection: proxies keep theirs, so there are few. They run until the program ends.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpListener, TcpStream};
use std::thread;

use crate::http::Head;
use crate::peers::local;
use crate::process::free_port;

/// Starts one, and says where it is.
///
/// # Errors
/// When no port is free.
pub fn start() -> io::Result<SocketAddrV4> {
    let address = local(free_port()?);
    let listener = TcpListener::bind(address)?;
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{address}", address.to_string().len());
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            // However a connection ends, it is the proxy's to open another.
            thread::spawn(move || drop(serve(stream, answer.as_bytes())));
        }
    });
    Ok(address)
}

/// Requests have no body here.
fn serve(mut stream: TcpStream, answer: &[u8]) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut read, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            bytes => read.extend_from_slice(&buffer[..bytes]),
        }
        while let Some(head) = Head::find(&read) {
            read.drain(..head.len);
            stream.write_all(answer)?;
        }
    }
}
