//! The simulated users: who they are and what their requests show of it.

use std::net::Ipv4Addr;

/// One user, with a sticky key of its own.
#[derive(Clone, Debug)]
pub(super) struct User {
    /// The value of `x-user-id`.
    pub(super) id: String,
    /// Where the user is, as a proxy in front would say it.
    pub(super) address: Ipv4Addr,
    pub(super) agent: &'static str,
}

/// Always the same 400: an office, a campus with iPhones and laptops, and everybody else, iPhones among them.
pub(super) fn population() -> Vec<User> {
    let crowds: [(usize, [u8; 2], &[&'static str]); 4] = [
        (40, [10, 8], &[WINDOWS, MAC, IPHONE]),
        (60, [203, 0], &[IPHONE]),
        (40, [203, 0], &[MAC, ANDROID, WINDOWS]),
        (260, [198, 18], &[WINDOWS, IPHONE, ANDROID, MAC]),
    ];
    let mut users = Vec::new();
    for (size, network, agents) in crowds {
        for agent in agents.iter().cycle().take(size) {
            let number = users.len();
            users.push(User { id: format!("user-{number}"), address: address(network, number), agent });
        }
    }
    users
}

fn address([a, b]: [u8; 2], number: usize) -> Ipv4Addr {
    let [.., high, low] = (number as u32).to_be_bytes();
    match a {
        // The campus has one /24.
        203 => Ipv4Addr::new(203, 0, 113, low),
        _ => Ipv4Addr::new(a, b, high, low),
    }
}

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/18.5 Mobile/15E148 Safari/604.1";
const ANDROID: &str = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/137.0.0.0 Mobile Safari/537.36";
const WINDOWS: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/137.0.0.0 Safari/537.36";
const MAC: &str = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                   Version/18.5 Safari/605.1.15";
