//! Any `X-Forwarded-For` from any peer: the client is who the trusted proxies say, read from the right, and nobody
//! else's word counts. Asked through `explain`, which runs what a request runs.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, LazyLock};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use routing_rules::rules::AddressSet;
use serin_proxy::explain::{Question, explain};
use serin_proxy::snapshot::Snapshot;

#[derive(Arbitrary, Debug)]
struct Input {
    peer: IpAddr,
    is_trusted: bool,
    fields: Vec<Vec<Entry>>,
    raw: String,
}

#[derive(Arbitrary, Debug)]
enum Entry {
    Trusted(u8),
    Any(IpAddr),
    Bracketed(IpAddr),
    WithPort(SocketAddr),
    Raw(String),
}

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let trusted_proxies = Arc::new(AddressSet::parse([PROXIES]).expect("a network"));
    Snapshot { trusted_proxies, ..Snapshot::empty() }
});

const PROXIES: &str = "10.0.0.0/8";

fuzz_target!(|input: Input| {
    let peer = if input.is_trusted { IpAddr::from([10, 0, 0, 1]) } else { input.peer };
    let mut question = Question::get("http://a.example/", peer);
    let fields = input.fields.iter().map(|entries| entries.iter().map(Entry::text).collect::<Vec<_>>().join(", "));
    for field in fields.chain([input.raw.clone()]) {
        question.headers.push(("x-forwarded-for".into(), field));
    }
    let Ok(explanation) = explain(&SNAPSHOT, &question) else { return };
    assert_eq!(explanation.client, expected(peer.to_canonical(), &question), "{question:?}");
});

/// Collects the whole chain first and then walks it, where Serin stops as soon as it knows.
fn expected(peer: IpAddr, question: &Question) -> IpAddr {
    let joined = question.headers.iter().map(|(_, field)| field.as_str()).collect::<Vec<_>>().join(",");
    let mut chain: Vec<Option<IpAddr>> = joined.split(',').map(|entry| address(entry.trim_ascii())).collect();
    chain.push(Some(peer));
    let known: Vec<IpAddr> = chain.into_iter().rev().map_while(|entry| entry).collect();
    let is_proxy = |address: &IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10);
    let stranger = known.iter().find(|address| !is_proxy(address));
    *stranger.or(known.last()).expect("the peer is in it")
}

fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let with_port = entry.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = entry.parse().ok().or(with_port).or_else(|| bare?.parse().ok());
    address.map(|address: IpAddr| address.to_canonical())
}

impl Entry {
    fn text(&self) -> String {
        match self {
            Self::Trusted(last) => format!("10.1.2.{last}"),
            Self::Any(address) => address.to_string(),
            Self::Bracketed(address) => format!("[{address}]"),
            Self::WithPort(address) => address.to_string(),
            Self::Raw(text) => text.clone(),
        }
    }
}
