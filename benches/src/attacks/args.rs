//! The command line of the attacks.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::Attack;

/// Attacks Serin in one way after the other, and measures what its other users notice.
///
/// It runs alone on one core with one thread; endpoint, users and attackers have another. Loopback only.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench attacks")]
pub struct Args {
    /// Only these
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<Attack>,
    /// How long each attack lasts, in seconds; half as long it is quiet before and after
    #[arg(long, default_value_t = 10.0, value_parser = seconds)]
    pub seconds: f64,
    /// Two seconds of each: shows that it works, measures nothing
    #[arg(long)]
    pub quick: bool,
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Cores of proxy, endpoint and everybody else
    #[arg(long, value_delimiter = ',', default_values_t = [0, 1, 1])]
    pub cores: Vec<usize>,
    /// A built `serin` binary; without it, the workspace above is built first
    #[arg(long)]
    pub serin: Option<PathBuf>,
    /// Where the report goes [default: results/, with --quick the build folder]
    #[arg(long)]
    pub out: Option<PathBuf>,
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number| (1.0..=600.0).contains(number)).ok_or("a number from 1 to 600".to_owned())
}

impl Args {
    #[must_use]
    pub fn attacks(&self) -> &[Attack] {
        if self.only.is_empty() { Attack::value_variants() } else { &self.only }
    }

    /// Of an attack.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        if self.quick { 2.0 } else { self.seconds }
    }

    /// The core of the proxy, of the endpoint, of everybody else.
    #[must_use]
    pub fn cores(&self) -> [usize; 3] {
        crate::args::three_cores(&self.cores)
    }

    #[must_use]
    pub fn out(&self) -> PathBuf {
        let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let default = || here.join(if self.quick { "target/attacks" } else { "results" });
        self.out.clone().unwrap_or_else(default)
    }
}
