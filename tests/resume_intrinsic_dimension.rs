//! A grid of trainings in subspaces that is killed in the middle of one and resumed ends with the same numbers.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Four trainings of 33 steps, a checkpoint every 10 steps.
const JOB: &[&str] = &[
    "analyze",
    "intrinsic-dim",
    "--arm",
    "digits-25",
    "--name",
    "r",
    "-q",
    "method.dims=[20,60]",
    "method.runs=2",
    "method.direct=false",
    "train.epochs=3",
    "checkpoint.every_steps=10",
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
    let path = folder.join("results/analyze/intrinsic-dimension/r").join(name);
    let text = std::fs::read_to_string(path).expect("a table");
    let cut = |line: &str| {
        line.split(',').enumerate().filter(|(i, _)| *i != 2).map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
    };
    text.lines().map(cut).collect()
}

#[test]
fn killed_in_the_middle_of_the_grid() {
    let undisturbed = tempfile::tempdir().expect("a folder");
    succeed(reglab(undisturbed.path(), JOB).output().expect("reglab starts"));

    let killed = tempfile::tempdir().expect("a folder");
    let mut child = reglab(killed.path(), JOB).spawn().expect("reglab starts");
    let checkpoints = killed.path().join("results/analyze/intrinsic-dimension/r/checkpoints");
    // 33 steps a training: these lie in the middle of the second and third.
    let reached = (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        ["40", "50", "60", "70", "80"].iter().any(|step| checkpoints.join(step).exists())
    });
    child.kill().expect("it runs or has ended");
    child.wait().expect("it ends");
    assert!(reached, "no checkpoint after 20 seconds");

    let resumed = reglab(killed.path(), &["resume", "results/analyze/intrinsic-dimension/r", "-q"]).output();
    succeed(resumed.expect("it starts"));
    for name in ["train.csv", "eval.csv", "curve.csv"] {
        assert_eq!(table(undisturbed.path(), name), table(killed.path(), name), "{name}");
    }
    assert_eq!(table(killed.path(), "curve.csv").len(), 5);
}
