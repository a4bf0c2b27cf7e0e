//! The project's chores, one plain function a command: `cargo xtask COMMAND`.
//!
//! It needs nothing but the standard library, because it is compiled first, on machines where nothing is installed yet.
//! What a command does to the machine (packages, tools, downloads) it says in a line before it does it.

mod demo;

mod test;

mod check;

mod fuzz;

mod bench;

mod faults;

mod probe;

mod image;

mod simulate;

mod ci;

mod install;

mod shell;

use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask COMMAND

  demo [ARG…]           build Serin quickly and run `serin demo ARG…`
  test [ARG…]           install what the tests need, then `cargo test --workspace ARG…`, with a summary
  check [PART…]         format, clippy, docs, dependencies; all of them, or the parts named
  fuzz [SECONDS] [TARGET…]   fuzz each target for that long; default 10, all targets
  bench [ARG…]          Serin and other proxies side by side; --help shows its arguments
  bench NAME [ARG…]     etcd: how soon its keys are served; kubernetes: thousands of Ingresses, changes, a storm; attacks: who notices
  scenario [NAME…]      what users see while endpoints are slow, fail or go, behind Serin and others; --help shows more
  scenario overload     what they see while they ask for up to five times of what the endpoints can do
  faults etcd [NAME]    everything that may happen to etcd, one fault after the other, at full length
  rollout [NAME]        releases of good and bad canaries that take their way by themselves, with real users
  probe [ARG…]          testssl.sh and slowhttptest against Serin; --serin PATH for one that is built
  image [--serin PATH]  the container image, made without a registry and tried; --serin for a program that is built
  simulate analysis     how the analysis of canary releases judges hours of traffic, as a table
  ci                    everything a change must pass: .ci/run

Commands that take no arguments of their own may stand in a row: `cargo xtask check test`.
";

/// What went wrong, for the person at the terminal.
type Outcome = Result<(), String>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let outcome = std::env::set_current_dir(shell::root()).map_err(|error| error.to_string()).and_then(|()| run(&args));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            shell::say(&reason);
            ExitCode::FAILURE
        }
    }
}

fn run(args: &[String]) -> Outcome {
    let Some((command, rest)) = args.split_first() else { return Err(USAGE.to_owned()) };
    match command.as_str() {
        "demo" => demo::demo(rest),
        "test" => test::test(rest),
        "fuzz" => fuzz::fuzz(rest),
        "bench" => bench::bench(rest),
        "scenario" => bench::scenario(rest),
        "faults" => faults::faults(rest),
        "rollout" => faults::rollout(rest),
        "probe" => probe::probe(rest),
        "image" => image::image(rest),
        "simulate" => simulate::simulate(rest),
        "check" => {
            let parts = rest.iter().take_while(|arg| check::PARTS.iter().any(|(name, _)| name == arg)).count();
            check::check(&rest[..parts])?;
            more(&rest[parts..])
        }
        "ci" => {
            ci::ci()?;
            more(rest)
        }
        "help" | "--help" | "-h" => {
            shell::say(USAGE);
            Ok(())
        }
        unknown => Err(format!("`{unknown}` is no command\n\n{USAGE}")),
    }
}

fn more(args: &[String]) -> Outcome {
    if args.is_empty() { Ok(()) } else { run(args) }
}
