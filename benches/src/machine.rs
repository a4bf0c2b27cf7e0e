//! The machine a run was made on, for its report: a number without its machine means nothing.

use std::fs;
use std::process::Command;

/// One line each: what, and which.
#[must_use]
pub fn describe() -> Vec<(&'static str, String)> {
    let name = rustix::system::uname();
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown", |rest| rest.trim_start_matches([':', '\t', ' ']));
    let guest = if info.contains("hypervisor") { ", virtual machine" } else { "" };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        memory.lines().next().and_then(|line| line.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()).unwrap_or(0);
    // The rest of the release names a build.
    let version = name.release().to_string_lossy().split('.').take(2).collect::<Vec<_>>().join(".");
    vec![
        ("processor", format!("{model}, {} cores{guest}", std::thread::available_parallelism().map_or(0, usize::from))),
        ("memory", format!("{} GiB", kib >> 20)),
        ("kernel", format!("{} {version}", name.sysname().to_string_lossy())),
        ("compiler", first_line(Command::new("rustc").arg("--version")).unwrap_or_else(|| "unknown".to_owned())),
        ("load before the run", load()),
    ]
}

/// How busy the machine is: the last minute, five, fifteen; a long run says it again at its end.
#[must_use]
pub fn load() -> String {
    fs::read_to_string("/proc/loadavg").unwrap_or_default().trim().to_owned()
}

/// The first line a program prints, on either of its outputs, if it succeeds.
#[must_use]
pub fn first_line(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// Today, `2026-01-31`.
#[must_use]
pub fn today() -> String {
    first_line(Command::new("date").args(["-u", "+%F"])).unwrap_or_else(|| "undated".to_owned())
}
