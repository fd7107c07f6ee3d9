//! A language model whose training is killed and resumed ends with the same numbers, whatever lies in the cache by then.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// A mixture of experts, so that the balance loss is in the tables; a checkpoint every 10 steps.
const JOB: &[&str] = &[
    "train",
    "lm",
    "--arm",
    "olmoe",
    "--name",
    "r",
    "-q",
    "train.steps=30",
    "train.log_every=7",
    "model.hidden_size=16",
    "model.num_hidden_layers=1",
    "text.window=32",
    "checkpoint.every_steps=10",
];

fn reglab(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reglab"));
    command.args(args).current_dir(folder).env("OMP_NUM_THREADS", "1").env_remove("REGLAB_DATA");
    command
}

fn succeed(output: Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The table without its column time_s, the third.
fn table(folder: &Path, name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("results/train/lm/r").join(name)).expect("a table");
    let cut = |line: &str| {
        line.split(',').enumerate().filter(|(i, _)| *i != 2).map(|(_, cell)| cell).collect::<Vec<_>>().join(",")
    };
    text.lines().map(cut).collect()
}

fn read(folder: &Path, name: &str) -> Vec<u8> {
    std::fs::read(folder.join("results/train/lm/r").join(name)).expect("a file of the run")
}

#[test]
fn killed_in_training() {
    let undisturbed = tempfile::tempdir().expect("a folder");
    succeed(reglab(undisturbed.path(), JOB).output().expect("reglab starts"));

    let killed = tempfile::tempdir().expect("a folder");
    let mut child = reglab(killed.path(), JOB).spawn().expect("reglab starts");
    let checkpoints = killed.path().join("results/train/lm/r/checkpoints");
    let reached = (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        checkpoints.join("20").exists()
    });
    child.kill().expect("it runs or has ended");
    child.wait().expect("it ends");
    assert!(reached, "no checkpoint after 20 seconds");

    succeed(reglab(killed.path(), &["resume", "results/train/lm/r", "-q"]).output().expect("it starts"));
    for name in ["train.csv", "eval.csv"] {
        assert_eq!(table(undisturbed.path(), name), table(killed.path(), name), "{name}");
    }
    assert!(table(killed.path(), "train.csv")[0].contains("balance"));
    for name in ["summary.json", "sample.txt", "model/model.safetensors"] {
        assert_eq!(read(undisturbed.path(), name), read(killed.path(), name), "{name}");
    }
}
