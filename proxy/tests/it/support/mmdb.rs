//! Writes small geo databases in MaxMind's format (version 2.0 of its specification): a binary tree over the bits of an
//! IPv6 address, then the data its leaves lead to, then a description. Only what such a file must have.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

/// A database under construction.
pub(crate) struct GeoFile {
    nodes: Vec<[Branch; 2]>,
    data: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(usize),
    /// Where in the data.
    Data(usize),
}

impl GeoFile {
    pub(crate) fn new() -> Self {
        Self { nodes: vec![[Branch::Nothing; 2]], data: Vec::new() }
    }

    /// Addresses of `network/length` are in that city.
    pub(crate) fn with(mut self, network: &str, country: &str, subdivision: &str, city: &str) -> Self {
        let data = Branch::Data(self.data.len());
        place(country, subdivision, city).write(&mut self.data);
        let (bits, length) = bits(network);
        let mut node = 0;
        for depth in 0..length {
            let side = usize::from(bits >> (127 - depth) & 1 == 1);
            if depth + 1 == length {
                self.nodes[node][side] = data;
            } else if let Branch::Node(next) = self.nodes[node][side] {
                node = next;
            } else {
                self.nodes.push([Branch::Nothing; 2]);
                let next = self.nodes.len() - 1;
                self.nodes[node][side] = Branch::Node(next);
                node = next;
            }
        }
        self
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut file: Vec<u8> = self.nodes.iter().flatten().flat_map(|branch| self.record(*branch)).collect();
        file.extend([0; 16]);
        file.extend(&self.data);
        file.extend(b"\xab\xcd\xefMaxMind.com");
        self.description().write(&mut file);
        file
    }

    /// 24 bits; above the count of nodes they lead into the data, past the zeros before it.
    fn record(&self, branch: Branch) -> [u8; 3] {
        let value = match branch {
            Branch::Nothing => self.nodes.len(),
            Branch::Node(node) => node,
            Branch::Data(at) => self.nodes.len() + 16 + at,
        };
        let [high, bytes @ ..] = u32::try_from(value).expect("a small file").to_be_bytes();
        assert_eq!(high, 0, "a small file");
        bytes
    }

    fn description(&self) -> Value {
        let nodes = u32::try_from(self.nodes.len()).expect("a small file");
        map([
            ("binary_format_major_version", Value::Number(5, 2)),
            ("binary_format_minor_version", Value::Number(5, 0)),
            ("build_epoch", Value::Number(9, 1)),
            ("database_type", text("Test-City")),
            ("description", map([("en", text("for a test"))])),
            ("ip_version", Value::Number(5, 6)),
            ("languages", Value::List(vec![text("en")])),
            ("node_count", Value::Number(6, nodes)),
            ("record_size", Value::Number(5, 24)),
        ])
    }
}

/// The bits of an address as IPv6, and how many of them count. IPv4 has the first 96 in common.
fn bits(network: &str) -> (u128, u8) {
    let (address, length) = network.split_once('/').expect("a network");
    let length: u8 = length.parse().expect("a length");
    match address.parse().expect("an address") {
        IpAddr::V4(address) => (u128::from(u32::from(address)), length + 96),
        IpAddr::V6(address) => (Ipv6Addr::to_bits(address), length),
    }
}

fn place(country: &str, subdivision: &str, city: &str) -> Value {
    let named = |name: &str| map([("names", map([("en", text(name))]))]);
    let Value::Map(mut part) = named(subdivision) else { unreachable!("a map is a map") };
    part.insert("iso_code".into(), text(&subdivision[..2].to_uppercase()));
    map([
        ("city", named(city)),
        ("country", map([("iso_code", text(country))])),
        ("subdivisions", Value::List(vec![Value::Map(part)])),
    ])
}

enum Value {
    Text(String),
    /// With the number of its type.
    Number(u8, u32),
    Map(BTreeMap<String, Self>),
    List(Vec<Self>),
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn map<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Map(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                control(2, text.len(), out);
                out.extend(text.as_bytes());
            }
            Self::Number(kind, number) => {
                control(*kind, 4 - number.leading_zeros() as usize / 8, out);
                out.extend(number.to_be_bytes().into_iter().skip(number.leading_zeros() as usize / 8));
            }
            Self::Map(fields) => {
                control(7, fields.len(), out);
                for (name, value) in fields {
                    text(name).write(out);
                    value.write(out);
                }
            }
            Self::List(values) => {
                control(11, values.len(), out);
                values.iter().for_each(|value| value.write(out));
            }
        }
    }
}

/// The type and the size of what follows. Types above 7 take a second byte.
fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let size = u8::try_from(size).ok().filter(|size| *size < 29).expect("what is written here is short");
    match kind {
        1..=7 => out.push(kind << 5 | size),
        _ => out.extend([size, kind - 7]),
    }
}
