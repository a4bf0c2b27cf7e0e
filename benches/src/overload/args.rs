//! The command line of the overload.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::Contestant;

/// Asks Serin, and others, for twice and five times of what the endpoints behind can do.
///
/// Each proxy runs alone on one core with one thread; the endpoints and the load generator have another. Loopback only.
#[derive(Clone, Debug, Parser)]
#[command(name = "scenario overload")]
pub struct Args {
    /// Only these
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Contestant>,
    /// How long each of the five phases lasts, in seconds
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Cores of proxy, endpoints and load generator
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 1])]
    pub cores: Vec<usize>,
    /// A built `serin` binary; without it, the workspace above is built first
    #[arg(long)]
    pub serin: Option<PathBuf>,
    /// Where the report goes
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/results"))]
    pub out: PathBuf,
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| (3.0..=600.0).contains(number)).ok_or("a number from 3 to 600".to_owned())
}

impl Args {
    #[must_use]
    pub fn contestants(&self) -> &[Contestant] {
        if self.only.is_empty() { Contestant::value_variants() } else { &self.only }
    }

    /// The core of the proxy, of the endpoints, of the load generator.
    #[must_use]
    pub fn cores(&self) -> [usize; 3] {
        crate::args::three_cores(&self.cores)
    }
}
