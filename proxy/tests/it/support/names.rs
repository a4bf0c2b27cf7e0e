//! A DNS server that says what a test tells it, over UDP and TCP, and remembers what it was asked.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::PATIENCE;

/// A server on a loopback port of its own.
pub(crate) struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// What it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// What is in the zone.
    Honest,
    /// The same; addresses of a service's targets come with the service.
    Generous,
    /// This, to every question.
    Fails(ResponseCode),
    /// Yes, and no records.
    Empty,
    /// Nothing.
    Silent,
}

/// A question it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) name: String,
    pub(crate) kind: RecordType,
    pub(crate) by_tcp: bool,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

struct State {
    zone: Vec<Record>,
    moods: HashMap<Option<RecordType>, Mood>,
    asked: Vec<Asked>,
}

impl NameServer {
    /// Starts a server with this zone: lines of name, TTL, type and data, as in `shop.test 1 A 127.0.0.1`.
    pub(crate) fn start(zone: &str) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), zone)
    }

    /// The same at an address, for example that of one that was stopped.
    pub(crate) fn start_at(address: SocketAddr, zone: &str) -> Self {
        let (udp, tcp) = sockets(address);
        let address = udp.local_addr().expect("it is bound");
        let moods = HashMap::from([(None, Mood::Honest)]);
        let state = Mutex::new(State { zone: records(zone), moods, asked: Vec::new() });
        let shared = Arc::new(Shared { state, changed: Condvar::new(), stopping: AtomicBool::new(false) });
        let (of_udp, of_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads =
            vec![thread::spawn(move || of_udp.serve_udp(&udp)), thread::spawn(move || of_tcp.serve_tcp(&tcp))];
        Self { address, shared, threads }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Another zone from now on.
    pub(crate) fn say(&self, zone: &str) {
        self.shared.state.lock().expect("the state").zone = records(zone);
    }

    /// Another mood from now on, for all questions.
    pub(crate) fn is(&self, mood: Mood) {
        self.shared.state.lock().expect("the state").moods = HashMap::from([(None, mood)]);
    }

    /// Another mood for questions of one type.
    pub(crate) fn is_for(&self, kind: RecordType, mood: Mood) {
        self.shared.state.lock().expect("the state").moods.insert(Some(kind), mood);
    }

    /// What it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.state.lock().expect("the state").asked.clone()
    }

    /// Waits until it has been asked more often by so many questions.
    pub(crate) fn wait_for_more(&self, count: usize) {
        let state = self.shared.state.lock().expect("the state");
        let wanted = state.asked.len() + count;
        let waited = self.shared.changed.wait_timeout_while(state, PATIENCE, |state| state.asked.len() < wanted);
        let (state, result) = waited.expect("the state");
        assert!(!result.timed_out(), "only {} of {wanted} questions came", state.asked.len());
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.stopping.store(true, SeqCst);
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let _ = socket.send_to(b"stop", self.address);
        let _ = TcpStream::connect(self.address);
        // The address is free again only when both have ended.
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

/// Both have the same port. One that is free for the one may not be for the other.
fn sockets(address: SocketAddr) -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind(address).expect("the port is free");
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("it is bound")) {
            return (udp, tcp);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

impl Shared {
    fn serve_udp(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4 << 10];
        while let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            if self.stopping.load(SeqCst) {
                return;
            }
            let Some(answer) = self.answer(&buffer[..length], false) else { continue };
            let _ = socket.send_to(&answer, peer);
        }
    }

    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            if self.stopping.load(SeqCst) {
                return;
            }
            let shared = Arc::clone(self);
            thread::spawn(move || while shared.serve_stream(&stream).is_some() {});
        }
    }

    /// One question of a connection (RFC 1035 §4.2.2: a length before each message).
    fn serve_stream(&self, mut stream: &TcpStream) -> Option<()> {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question).ok()?;
        let answer = self.answer(&question, true)?;
        let length = u16::try_from(answer.len()).expect("an answer has at most 64 KiB").to_be_bytes();
        stream.write_all(&[&length, &answer[..]].concat()).ok()
    }

    fn answer(&self, question: &[u8], by_tcp: bool) -> Option<Vec<u8>> {
        let message = Message::from_vec(question).ok()?;
        let query = message.queries.first()?.clone();
        let mut state = self.state.lock().expect("the state");
        let (name, kind) = (query.name().clone(), query.query_type());
        state.asked.push(Asked { name: name.to_string(), kind, by_tcp });
        self.changed.notify_all();
        let mut answer = Message::new(message.metadata.id, MessageType::Response, message.metadata.op_code);
        answer.metadata.recursion_desired = message.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.add_query(query);
        match state.moods.get(&Some(kind)).or_else(|| state.moods.get(&None))? {
            Mood::Silent => return None,
            Mood::Fails(code) => answer.metadata.response_code = *code,
            Mood::Empty => {}
            Mood::Honest => state.fill(&mut answer, &name, kind, false),
            Mood::Generous => state.fill(&mut answer, &name, kind, true),
        }
        let bytes = answer.to_vec().expect("it can be written");
        match !by_tcp && bytes.len() > MOST_UDP {
            true => answer.truncate().to_vec().map(|mut cut| {
                // The question's number, which a message made anew does not have.
                cut[..2].copy_from_slice(&bytes[..2]);
                cut
            }),
            false => Ok(bytes),
        }
        .ok()
    }
}

impl State {
    fn fill(&self, answer: &mut Message, name: &Name, kind: RecordType, is_generous: bool) {
        let of = |name: &Name| self.zone.iter().filter(|record| record.name == *name).cloned().collect::<Vec<_>>();
        let mut all = of(name);
        if let [alias] = &all[..]
            && let RData::CNAME(CNAME(target)) = &alias.data
        {
            all.extend(of(target));
        }
        if all.is_empty() {
            answer.metadata.response_code = ResponseCode::NXDomain;
        }
        all.retain(|record| record.record_type() == kind || record.record_type() == RecordType::CNAME);
        for record in all.iter().filter(|_| is_generous) {
            if let RData::SRV(service) = &record.data {
                answer.add_additionals(of(&service.target));
            }
        }
        answer.add_answers(all);
    }
}

fn records(zone: &str) -> Vec<Record> {
    zone.lines().map(str::trim).filter(|line| !line.is_empty()).map(record).collect()
}

fn record(line: &str) -> Record {
    let words: Vec<&str> = line.split_whitespace().collect();
    let name = |text: &str| Name::from_ascii(format!("{}.", text.trim_end_matches('.'))).expect("a name");
    let number = |text: &str| text.parse::<u16>().expect("a number");
    let data = match words[2..] {
        ["A", ip] => RData::A(A(ip.parse::<Ipv4Addr>().expect("an address"))),
        ["AAAA", ip] => RData::AAAA(AAAA(ip.parse::<Ipv6Addr>().expect("an address"))),
        ["CNAME", target] => RData::CNAME(CNAME(name(target))),
        ["SRV", priority, weight, port, target] => {
            RData::SRV(SRV::new(number(priority), number(weight), number(port), name(target)))
        }
        _ => panic!("`{line}` is no record that this server knows"),
    };
    Record::from_rdata(name(words[0]), words[1].parse().expect("a TTL"), data)
}

/// What an answer over UDP may have (DNS flag day 2020).
const MOST_UDP: usize = 1_232;
