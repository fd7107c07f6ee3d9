//! A weight-compander run that is killed in its middle and resumed ends with the numbers of one that was left alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const REGLAB: &str = env!("CARGO_BIN_EXE_reglab");

fn reglab(results: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(REGLAB);
    command.args(arguments).arg("--quiet").env("OMP_NUM_THREADS", "1").stdout(Stdio::null());
    if arguments[0] != "resume" {
        command.arg("--results").arg(results);
    }
    command
}

/// The learned variant with noise, l1 and dropout: everything that has a state or draws numbers.
fn train(results: &Path) -> Command {
    let arguments = [
        "train",
        "weight-compander",
        "--arm",
        "wc-learned",
        "--name",
        "run",
        "train.epochs=25",
        "checkpoint.every_steps=10",
        "method.l1=1e-5",
        "method.dropout=0.2",
    ];
    reglab(results, &arguments)
}

/// All tables of a run without their times, and its summary.
fn numbers(run: &Path) -> BTreeMap<String, String> {
    let mut numbers = BTreeMap::new();
    for entry in std::fs::read_dir(run).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "summary.json" {
            numbers.insert(name, std::fs::read_to_string(&path).unwrap());
        } else if name.ends_with(".csv") {
            let text = std::fs::read_to_string(&path).unwrap();
            let without_time = |line: &str| {
                let cells: Vec<&str> = line.split(',').collect();
                [&cells[..2], &cells[3..]].concat().join(",")
            };
            numbers.insert(name, text.lines().map(without_time).collect::<Vec<_>>().join("\n"));
        }
    }
    numbers
}

#[test]
fn a_killed_run_goes_on_to_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    let place = |results: &Path| results.join("train/weight-compander/run");
    assert!(train(&whole).status().unwrap().success());

    let mut child = train(&broken).spawn().unwrap();
    let middle = place(&broken).join("checkpoints/60");
    let begun = Instant::now();
    while !middle.exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place(&broken).join("summary.json").exists(), "the run was over before it was killed");
    let path = place(&broken).display().to_string();
    assert!(reglab(&broken, &["resume", &path]).status().unwrap().success());

    let (whole, broken) = (numbers(&place(&whole)), numbers(&place(&broken)));
    assert!(whole.contains_key("compander.csv") && whole.contains_key("summary.json"));
    assert_eq!(whole, broken);
}
