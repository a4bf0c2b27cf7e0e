//! What answers of a name service, or registrations, come to: which endpoints, with which weights, and for how long.

mod environments;

mod registrations;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::rules::{Endpoint, Weight};

pub use environments::Environments;
pub use registrations::{Registrations, Step};

/// One SRV record (RFC 2782) and the addresses of its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// The lowest number serves, as long as it has an address.
    pub priority: u16,
    /// Its share among those of the same priority. 0 is a very small one.
    pub weight: u16,
    /// The port of the endpoints.
    pub port: u16,
    /// None, if the target's name is not known.
    pub addresses: Vec<IpAddr>,
}

/// Endpoints that an answer comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In the order of their addresses, whatever the order of the answer: what says the same is the same.
    pub endpoints: Vec<Endpoint>,
    /// Addresses that no endpoint can have.
    pub refused: usize,
    /// Endpoints that were too many.
    pub beyond_limit: usize,
}

/// The endpoints at these addresses, all alike.
pub fn of_addresses(addresses: impl IntoIterator<Item = IpAddr>, port: u16) -> Found {
    let addresses = addresses.into_iter().map(|ip| (SocketAddr::new(ip.to_canonical(), port), 1.0));
    found(addresses.collect())
}

/// The endpoints at these addresses and ports, all alike.
pub fn of_sockets(addresses: impl IntoIterator<Item = SocketAddr>) -> Found {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    found(addresses.into_iter().map(|address| (canonical(address), 1.0)).collect())
}

/// The endpoints of the first priority that has any.
///
/// ```
/// # use routing_rules::discovery::{Service, of_services};
/// let service = |priority, weight, ip: &str| {
///     Service { priority, weight, port: 8080, addresses: vec![ip.parse().unwrap()] }
/// };
/// let found = of_services(&[service(1, 30, "10.0.0.1"), service(1, 10, "10.0.0.2"), service(2, 50, "10.0.0.3")]);
/// let weights: Vec<_> = found.endpoints.iter().map(|one| (one.address.to_string(), one.weight.get())).collect();
/// assert_eq!(weights, [("10.0.0.1:8080".to_owned(), 30), ("10.0.0.2:8080".to_owned(), 10)]);
/// ```
pub fn of_services(services: &[Service]) -> Found {
    let mut by_priority: BTreeMap<u16, Vec<&Service>> = BTreeMap::new();
    for service in services {
        by_priority.entry(service.priority).or_default().push(service);
    }
    let mut refused = 0;
    for services in by_priority.values() {
        let found = found(shares(services));
        refused += found.refused;
        if !found.endpoints.is_empty() {
            return Found { refused, ..found };
        }
    }
    Found { refused, ..Found::default() }
}

/// What each address has of the weight of its target. One that several records name has all of theirs.
fn shares(services: &[&Service]) -> BTreeMap<SocketAddr, f64> {
    let mut shares = BTreeMap::new();
    for service in services {
        let part = f64::from(service.weight) / service.addresses.len() as f64;
        for ip in &service.addresses {
            *shares.entry(SocketAddr::new(ip.to_canonical(), service.port)).or_default() += part;
        }
    }
    shares
}

fn found(shares: BTreeMap<SocketAddr, f64>) -> Found {
    let largest = shares.values().copied().fold(0.0, f64::max);
    let is_weight = |share: f64| (1.0..=f64::from(Weight::MOST)).contains(&share) && share.fract() == 0.0;
    // What is no weight as it stands becomes one in proportion to the others. A share of 0 must not drain (RFC 2782: a very
    // small chance of being selected), and where nobody has another all are alike.
    let scale = match shares.values().all(|share| is_weight(*share)) || largest == 0.0 {
        true => 1.0,
        false => f64::from(Weight::MOST) / largest,
    };
    let (count, mut found) = (shares.len(), Found::default());
    let made = shares.into_iter().map(|(address, share)| Endpoint::at(address, weight(share * scale)));
    found.endpoints.extend(made.flatten());
    found.refused = count - found.endpoints.len();
    found.beyond_limit = found.endpoints.len().saturating_sub(MOST_ENDPOINTS);
    found.endpoints.truncate(MOST_ENDPOINTS);
    found
}

fn weight(share: f64) -> Weight {
    Weight::new(share.round().max(1.0) as u32).expect("no share is larger than the largest weight")
}

/// How long an answer holds: as long as it says, within bounds, and a little less for some than for others. So those that
/// were looked up together are not for ever.
pub fn lifetime(ttl: Duration, (least, most): (Duration, Duration), draw: u64) -> Duration {
    ttl.clamp(least, most).mul_f64(1.0 - 0.1 * unit(draw))
}

/// How long to wait after so many failures in a row, from half a second to ten.
pub fn retry_after(failures: u32, draw: u64) -> Duration {
    let longest = RETRY_FIRST * 2u32.pow(failures.saturating_sub(1).min(5));
    longest.min(RETRY_LONGEST).mul_f64(0.5 + 0.5 * unit(draw))
}

/// From 0 to 1.
fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1u64 << 53) as f64
}

/// Endpoints of one upstream. The largest answer there can be over TCP has four times as many.
pub const MOST_ENDPOINTS: usize = 1_000;

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_LONGEST: Duration = Duration::from_secs(10);
