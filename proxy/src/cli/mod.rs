//! Commands and flags.

mod api;
mod check;
mod demo;
mod diff;
mod etcd;
mod etcd_args;
mod explain;
mod health;
mod http_client;
mod import;
mod instances;
mod register;
mod release;
mod run;
mod terminal;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::LazyLock;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use serin_proxy::explain::DEVICE_TABLE_VERSION;

/// An L7 reverse proxy whose canary releases are first class.
#[derive(Parser)]
#[command(name = "serin", version, long_version = VERSIONS.as_str(), about, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve.
    Run(run::RunArgs),
    /// Validate a file and everything it names. Exit code 0: right (there may be warnings), 1: not.
    Check(check::CheckArgs),
    /// Say which route, group and endpoints a request meets, and why.
    Explain(explain::ExplainArgs),
    /// Compare two files: what changes, which users enter or leave a canary. Exit code 0: nothing moves, 1: something.
    Diff(diff::DiffArgs),
    /// Watch a release go from 1 to 100 % and back, with endpoints, users and a proxy of its own. Needs no file.
    Demo(demo::DemoArgs),
    /// Register an endpoint in etcd for as long as a command, or this process, runs.
    Register(Box<register::RegisterArgs>),
    /// Bring a folder of rule files and the keys of etcd together.
    Etcd(Box<etcd::EtcdCommand>),
    /// Say what would become of what another proxy serves.
    Import(import::ImportCommand),
    /// Say which instances follow etcd, what they have applied and which of them leads. Exit code 0: all are well, 1: not.
    Instances(Box<instances::InstancesArgs>),
    /// Move a release, and see how far it is. Asks the admin API of an instance.
    Release(Box<release::ReleaseCommand>),
    /// Say whether an instance is ready for requests. Exit code 0: it is, 1: it is not and says why, 3: it does not answer.
    Health(health::HealthArgs),
    /// Print a completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
}

/// The main file.
#[derive(clap::Args)]
struct ConfigArg {
    /// The main file.
    #[arg(long, short, value_name = "FILE", default_value = "serin.yaml", env = "SERIN_CONFIG")]
    config: PathBuf,
}

/// `serin --version`: also what decides groups and is compiled in. Instances that differ here may disagree about users.
static VERSIONS: LazyLock<String> =
    LazyLock::new(|| format!("{}\ndevice table {DEVICE_TABLE_VERSION}", env!("CARGO_PKG_VERSION")));

/// The answer was no.
const NO: u8 = 1;

/// The command line was wrong.
const USAGE: u8 = 2;

/// What had to be asked did not answer.
const UNREACHED: u8 = 3;

pub(crate) fn run() -> ExitCode {
    match parse() {
        Ok(cli) => run_command(cli.command),
        Err(error) => refuse_line(&error),
    }
}

fn parse() -> Result<Cli, clap::Error> {
    let matches = Cli::command().try_get_matches()?;
    refuse_two_files(&matches)?;
    Cli::from_arg_matches(&matches)
}

fn run_command(command: Command) -> ExitCode {
    match command {
        Command::Run(args) => run::run(args),
        Command::Check(args) => check::check(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Diff(args) => diff::diff(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Register(args) => register::register(*args),
        Command::Etcd(command) => etcd::etcd(*command),
        Command::Import(command) => import::import(command),
        Command::Instances(args) => instances::instances(*args),
        Command::Release(command) => release::release(*command),
        Command::Health(args) => health::health(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "serin", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
    }
}

/// The variable `SERIN_CONFIG` stands aside for a file that is named, which clap's own conflicts do not know.
fn refuse_two_files(matches: &ArgMatches) -> Result<(), clap::Error> {
    let (other, message) = match matches.subcommand_name() {
        Some("check") => {
            ("file", "the main file is given twice: write `serin check FILE` or `serin check --config FILE`")
        }
        Some("explain") => ("admin", "either a file explains (`--config`) or an instance (`--admin`)"),
        _ => return Ok(()),
    };
    let Some((_, given)) = matches.subcommand() else { return Ok(()) };
    if given.contains_id(other) && given.value_source("config") == Some(ValueSource::CommandLine) {
        return Err(Cli::command().error(ErrorKind::ArgumentConflict, message));
    }
    Ok(())
}

/// A wrong command line, or a request for help. Whoever asks for JSON gets JSON.
fn refuse_line(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || !std::env::args_os().any(|argument| argument == "--json") {
        error.exit();
    }
    let text = error.to_string();
    let reason = text.split("\n\n").next().unwrap_or_default();
    refuse(true, USAGE, reason.strip_prefix("error: ").unwrap_or(reason))
}

/// Says why a command cannot be carried out: in JSON where that is asked for, else on standard error.
fn refuse(json: bool, code: u8, reason: impl std::fmt::Display) -> ExitCode {
    match json {
        true => say(serde_json::json!({"error": reason.to_string()})),
        false => complain(reason),
    }
    ExitCode::from(code)
}

/// What a command asks others on.
fn runtime() -> Result<tokio::runtime::Runtime, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("cannot start a runtime: {error}"))
}

/// Whoever may write to etcd must not write to terminals.
fn shown(text: &str) -> String {
    text.escape_debug().to_string()
}

/// Prints to standard output. A reader that has gone (`serin check | head`) is no error.
fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints to standard error.
fn complain(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
