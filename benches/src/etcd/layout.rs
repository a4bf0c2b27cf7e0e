//! The keys of each contender: the same routes, written as each of them wants it.
//!
//! Of so many routes one, `moving.test`, leads to the endpoint that changes. The others are `r0.test` and so on; every ten share an
//! upstream with one endpoint, which is the same address for all. The last in the order of keys is the one that tells when all
//! are there.

use std::net::SocketAddrV4;

use super::Contender;

/// A key that is written, or one that goes.
pub type Write = (String, Option<String>);

/// Host of the route whose endpoint changes.
pub const MOVING: &str = "moving.test";
const SHARED_BY: u32 = 10;

impl Contender {
    /// Below these are all keys of a contender.
    #[must_use]
    pub fn prefixes(self) -> &'static [&'static str] {
        match self {
            Self::Serin => &["/serin/", "/bench_PRO/"],
            Self::Traefik0s | Self::Traefik2s => &["traefik/"],
            Self::Template => &["/template/", "/bench_OLD/"],
        }
    }

    /// All there is at the start: so many routes, all to `endpoint`.
    pub fn all(self, routes: u32, endpoint: SocketAddrV4) -> impl Iterator<Item = Write> {
        let others = routes - 1;
        let upstreams = others.div_ceil(SHARED_BY);
        let shared = (0..upstreams).flat_map(move |number| self.upstream(number, endpoint));
        let moving = self
            .moving_upstream()
            .into_iter()
            .chain(self.moves(endpoint))
            .chain(self.route("a-moving", MOVING, "moving"));
        let routes = (0..others).flat_map(move |number| {
            self.route(&route_name(number), &route_host(number), &upstream_name(number / SHARED_BY))
        });
        shared.chain(moving).chain(routes)
    }

    /// The endpoint of `moving.test` is this one from now on.
    #[must_use]
    pub fn moves(self, to: SocketAddrV4) -> Vec<Write> {
        match self {
            Self::Serin => put("/bench_PRO/one", &to.to_string()),
            Self::Traefik0s | Self::Traefik2s => self.server("moving", to),
            Self::Template => put("/bench_OLD/one", &to.to_string()),
        }
    }

    /// One more route, to the upstream of the first.
    #[must_use]
    pub fn adds(self, number: u32) -> (String, Vec<Write>) {
        let host = format!("new{number}.test");
        let writes = self.route(&format!("new-{number}"), &host, &upstream_name(0));
        (host, writes)
    }

    fn route(self, name: &str, host: &str, upstream: &str) -> Vec<Write> {
        match self {
            Self::Serin => put(&format!("/serin/routes/{name}"), &format!("{{hosts: [{host}], upstream: {upstream}}}")),
            Self::Traefik0s | Self::Traefik2s => [
                put(&format!("traefik/http/routers/{name}/rule"), &format!("Host(`{host}`)")),
                put(&format!("traefik/http/routers/{name}/service"), upstream),
            ]
            .concat(),
            Self::Template => put(&format!("/template/routes/{name}"), &format!("{host} {upstream}")),
        }
    }

    fn upstream(self, number: u32, endpoint: SocketAddrV4) -> Vec<Write> {
        let name = upstream_name(number);
        match self {
            Self::Serin => put(&format!("/serin/upstreams/{name}"), &format!("{{endpoints: [\"{endpoint}\"]}}")),
            Self::Traefik0s | Self::Traefik2s => self.server(&name, endpoint),
            Self::Template => put(&format!("/template/upstreams/{name}"), &endpoint.to_string()),
        }
    }

    fn server(self, upstream: &str, endpoint: SocketAddrV4) -> Vec<Write> {
        put(&format!("traefik/http/services/{upstream}/loadbalancer/servers/0/url"), &format!("http://{endpoint}"))
    }

    /// What says where the endpoint that changes is looked for.
    fn moving_upstream(self) -> Vec<Write> {
        match self {
            Self::Serin => put("/serin/upstreams/moving", "{discovery: {etcd: {prefix: /bench_PRO/}}}"),
            Self::Traefik0s | Self::Traefik2s | Self::Template => Vec::new(),
        }
    }
}

/// Host of the last route, in the order of keys.
#[must_use]
pub fn last_host(routes: u32) -> String {
    route_host(routes.saturating_sub(2))
}

/// Host of the first route that is not the moving one.
#[must_use]
pub fn first_host() -> String {
    route_host(0)
}

fn route_name(number: u32) -> String {
    format!("r{number:07}")
}

fn route_host(number: u32) -> String {
    format!("r{number}.test")
}

fn upstream_name(number: u32) -> String {
    format!("u{number:07}")
}

fn put(key: &str, value: &str) -> Vec<Write> {
    vec![(key.to_owned(), Some(value.to_owned()))]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::local;
    use clap::ValueEnum;

    #[test]
    fn everybody_has_as_many_routes_and_the_last_is_last() {
        for contender in Contender::value_variants() {
            let keys: Vec<Write> = contender.all(25, local(1)).collect();
            let text = format!("{keys:?}");
            assert_eq!(text.matches(".test").count(), 25, "{contender:?}: {text}");
            assert!(text.contains(&last_host(25)) && text.contains(MOVING), "{contender:?}: {text}");
            assert!(keys.iter().all(|(key, _)| contender.prefixes().iter().any(|prefix| key.starts_with(prefix))));
            let routes = keys.iter().filter(|(_, value)| value.as_ref().is_some_and(|value| value.contains(".test")));
            let last = routes.max_by(|one, other| one.0.cmp(&other.0)).and_then(|(_, value)| value.clone());
            assert!(last.is_some_and(|value| value.contains(&last_host(25))), "{contender:?}");
        }
    }
}
