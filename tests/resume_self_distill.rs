//! Self-distillation that is killed in the middle of a student's training and resumed ends with the same numbers.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Teacher, probe and student of one step, a checkpoint every 10 steps.
const JOB: &[&str] = &[
    "distill",
    "self-distill",
    "--arm",
    "network-weak-penalty",
    "--name",
    "r",
    "-q",
    "method.steps=1",
    "train.epochs=8",
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
    let path = folder.join("results/distill/self-distill/r").join(name);
    let text = std::fs::read_to_string(path).expect("a table");
    let cut = |line: &str| {
        line.split(',').enumerate().filter(|(i, _)| *i != 2).map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
    };
    text.lines().map(cut).collect()
}

#[test]
fn killed_in_a_students_training() {
    let undisturbed = tempfile::tempdir().expect("a folder");
    succeed(reglab(undisturbed.path(), JOB).output().expect("reglab starts"));

    let killed = tempfile::tempdir().expect("a folder");
    let mut child = reglab(killed.path(), JOB).spawn().expect("reglab starts");
    let checkpoints = killed.path().join("results/distill/self-distill/r/checkpoints");
    // 80 steps a phase: 90 is the first checkpoint in the middle of the probe, 170 in that of the student.
    let reached = (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        checkpoints.join("90").exists() || checkpoints.join("170").exists()
    });
    child.kill().expect("it runs or has ended");
    child.wait().expect("it ends");
    assert!(reached, "no checkpoint after 20 seconds");

    succeed(reglab(killed.path(), &["resume", "results/distill/self-distill/r", "-q"]).output().expect("it starts"));
    for name in ["train.csv", "eval.csv", "chain.csv"] {
        assert_eq!(table(undisturbed.path(), name), table(killed.path(), name), "{name}");
    }
    assert!(table(killed.path(), "chain.csv").len() == 4, "labels only, probe, student");
}

/// Four chains of thirty steps in closed form.
const KERNEL: &[&str] = &[
    "distill",
    "self-distill",
    "--arm",
    "kernel-alpha-grid",
    "--name",
    "r",
    "-q",
    "method.steps=30",
    "method.grid=[0.0,0.2,0.4,0.6]",
    "method.spectral=false",
    "data.train=200",
];

#[test]
fn a_kernel_chain_that_is_killed_loses_one_step() {
    let undisturbed = tempfile::tempdir().expect("a folder");
    succeed(reglab(undisturbed.path(), KERNEL).output().expect("reglab starts"));

    let killed = tempfile::tempdir().expect("a folder");
    let mut child = reglab(killed.path(), KERNEL).spawn().expect("reglab starts");
    let run = killed.path().join("results/distill/self-distill/r");
    let newest = || {
        let entries = std::fs::read_dir(run.join("checkpoints")).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok()).max().unwrap_or(0)
    };
    let reached = (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        newest() >= 40
    });
    child.kill().expect("it runs or has ended");
    child.wait().expect("it ends");
    assert!(reached, "no checkpoint after 20 seconds");
    let left = newest();

    succeed(reglab(killed.path(), &["resume", "results/distill/self-distill/r", "-q"]).output().expect("it starts"));
    assert_eq!(table(undisturbed.path(), "chain.csv"), table(killed.path(), "chain.csv"));
    let log = std::fs::read_to_string(run.join("log.txt")).expect("a log");
    assert!(log.contains(&format!("resumed at step {left} ")), "{log}");
}
