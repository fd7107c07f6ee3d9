//! What the tests of the program share.

mod scratch;
mod table;

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
            let text = table::table(run, &name).join("\n");
            tables.push((name, text));
        }
    }
    tables.sort();
    tables
}
