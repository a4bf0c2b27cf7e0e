//! The Pingora peer: the load balancer of its quick start, one thread, upstream connections kept.
//!
//! Usage: `pingora-peer LISTEN ENDPOINT`. Built only with the feature `pingora`.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::prelude::{HttpPeer, LoadBalancer, ProxyHttp, Result, RoundRobin, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;

struct Balancer(Arc<LoadBalancer<RoundRobin>>);

#[async_trait]
impl ProxyHttp for Balancer {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        let endpoint = self.0.select(b"", 16).ok_or_else(|| pingora::Error::new_str("no endpoint"))?;
        Ok(Box::new(HttpPeer::new(endpoint, false, String::new())))
    }
}

fn main() -> std::io::Result<()> {
    serin_bench::process::end_with_parent();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [listen, endpoint] = arguments.as_slice() else {
        return Err(std::io::Error::other("usage: pingora-peer LISTEN ENDPOINT"));
    };
    let settings = ServerConf { threads: 1, upstream_keepalive_pool_size: 1_024, ..ServerConf::default() };
    let mut server = Server::new_with_opt_and_conf(None, settings);
    server.bootstrap();
    let balancer = LoadBalancer::try_from_iter([endpoint.as_str()])?;
    let mut service = http_proxy_service(&server.configuration, Balancer(Arc::new(balancer)));
    service.add_tcp(listen);
    server.add_service(service);
    server.run_forever()
}
