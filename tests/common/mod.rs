//! What the tests of the program share.

mod scratch;

pub use scratch::Scratch;
use std::path::Path;

/// A quick run of a second at most: a small net, a few epochs, a checkpoint every 10 steps.
pub const SMALL: &[&str] = &[
    "prune",
    "wgsef",
    "--arm",
    "wgsef",
    "train.epochs=8",
    "finetune.epochs=3",
    "method.latency_runs=0",
    "checkpoint.every_steps=10",
];

/// The CSV tables of a run without their time column, by name.
pub fn tables(run: &Path) -> Vec<(String, String)> {
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(run).expect("a run folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|e| e == "csv") {
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            tables.push((name, without_time(&std::fs::read_to_string(&path).expect("a table"))));
        }
    }
    tables.sort();
    tables
}

fn without_time(csv: &str) -> String {
    let mut lines = csv.lines();
    let header = lines.next().unwrap_or_default();
    let time = header.split(',').position(|c| c == "time_s").expect("a time column");
    let cut = |line: &str| {
        line.split(',').enumerate().filter(|(i, _)| *i != time).map(|(_, c)| c).collect::<Vec<_>>().join(",")
    };
    std::iter::once(header).chain(lines).map(cut).collect::<Vec<_>>().join("\n")
}
