//! Prints criterion's last estimates as a Markdown table: `cargo run --release -p serin-micro --bin report`.

use std::path::{Path, PathBuf};

use serde_json::Value;

#[expect(clippy::print_stdout, reason = "it is what the person asked for")]
fn main() {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let mut rows = Vec::new();
    collect(&target.join("criterion"), &mut rows);
    rows.sort();
    let groups: std::collections::BTreeSet<&str> = rows.iter().map(|row| row.group.as_str()).collect();
    for group in groups {
        println!("\n## {group}\n\n| case | size | median | 95 % interval |\n|---|--:|--:|---|");
        for row in rows.iter().filter(|row| row.group == group) {
            let size = row.size.map(|size| size.to_string()).unwrap_or_default();
            let [median, low, high] = row.ns.map(|ns| time(f64::from_bits(ns)));
            println!("| {} | {size} | {median} | {low} to {high} |", row.case);
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    group: String,
    case: String,
    size: Option<u64>,
    /// Median and its interval, as bits: positive numbers sort the same way.
    ns: [u64; 3],
}

fn collect(folder: &Path, rows: &mut Vec<Row>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        match path.ends_with("new") {
            true => rows.extend(row(&path)),
            false => collect(&path, rows),
        }
    }
}

fn row(folder: &Path) -> Option<Row> {
    let json = |name: &str| serde_json::from_slice::<Value>(&std::fs::read(folder.join(name)).ok()?).ok();
    let (benchmark, estimates) = (json("benchmark.json")?, json("estimates.json")?);
    let text = |key: &str| benchmark[key].as_str().map(str::to_owned);
    let median = &estimates["median"];
    let interval = &median["confidence_interval"];
    let ns = [&median["point_estimate"], &interval["lower_bound"], &interval["upper_bound"]];
    let group = text("group_id")?;
    Some(Row {
        case: text("function_id").unwrap_or_else(|| group.clone()),
        size: text("value_str").and_then(|size| size.parse().ok()),
        ns: ns.map(|value| value.as_f64().unwrap_or_default().to_bits()),
        group,
    })
}

fn time(ns: f64) -> String {
    match ns {
        ..1_000.0 => format!("{ns:.1} ns"),
        ..1_000_000.0 => format!("{:.2} µs", ns / 1_000.0),
        _ => format!("{:.2} ms", ns / 1_000_000.0),
    }
}
