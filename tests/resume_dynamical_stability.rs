//! A sweep of stacked models that is killed in the middle and resumed ends with the same numbers.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const JOB: &[&str] = &[
    "analyze",
    "dynamical-stability",
    "--arm",
    "diagonal-b4-without-replacement",
    "--name",
    "r",
    "-q",
    "method.steps=6000",
    "method.every=250",
    "method.tolerance=0.0",
    "checkpoint.every_steps=100",
];

fn reglab(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reglab"));
    command.args(args).current_dir(folder).env("OMP_NUM_THREADS", "1");
    command
}

fn succeed(output: Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The table without its column time_s, the third.
fn table(folder: &Path, name: &str) -> Vec<String> {
    let path = folder.join("results/analyze/dynamical-stability/r").join(name);
    let text = std::fs::read_to_string(path).expect("a table");
    let cut = |line: &str| {
        line.split(',').enumerate().filter(|(i, _)| *i != 2).map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
    };
    text.lines().map(cut).collect()
}

#[test]
fn killed_in_the_middle_of_a_block_of_batches() {
    let undisturbed = tempfile::tempdir().expect("a folder");
    succeed(reglab(undisturbed.path(), JOB).output().expect("reglab starts"));

    let killed = tempfile::tempdir().expect("a folder");
    let mut child = reglab(killed.path(), JOB).spawn().expect("reglab starts");
    let checkpoints = killed.path().join("results/analyze/dynamical-stability/r/checkpoints");
    // Not a multiple of 250: its block of batches is drawn again on resume.
    let reached = (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        (3..12).any(|k| checkpoints.join((k * 100).to_string()).exists())
    });
    child.kill().expect("it runs or has ended");
    child.wait().expect("it ends");
    assert!(reached, "no checkpoint after 20 seconds");

    let resumed = reglab(killed.path(), &["resume", "results/analyze/dynamical-stability/r", "-q"]).output();
    succeed(resumed.expect("it starts"));
    for name in ["training.csv", "sharpness.csv"] {
        assert_eq!(table(undisturbed.path(), name), table(killed.path(), name), "{name}");
    }
    assert!(table(killed.path(), "training.csv").len() > 20);
}
