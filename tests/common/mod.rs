//! The program as a user runs it, in a folder of its own.

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

/// A scratch folder with a results tree in it.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Scratch {
        Scratch(tempfile::tempdir().expect("a temporary folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// `reglab ARGS` with this folder as the working directory: results land in `results/`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reglab"));
        command.args(args).current_dir(self.path()).env("OMP_NUM_THREADS", "1").env_remove("REGLAB_DATA");
        command
    }

    pub fn reglab(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("reglab starts")
    }

    /// The same, and it must succeed; what it printed.
    pub fn succeed(&self, args: &[&str]) -> String {
        let output = self.reglab(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "reglab {} failed: {error}", args.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

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
