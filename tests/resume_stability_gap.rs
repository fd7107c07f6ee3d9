//! A run that is killed and resumed ends with the numbers of one that was left alone, and evaluation does not change
//! training.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_reglab");

fn reglab(args: &[String]) -> Output {
    Command::new(PROGRAM).args(args).env("OMP_NUM_THREADS", "1").output().unwrap()
}

fn succeed(args: &[String]) {
    let output = reglab(args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Three short tasks of digits.
fn arguments(results: &Path, name: &str, learner: &str, more: &[&str]) -> Vec<String> {
    let fixed = [
        "continual",
        "stability-gap",
        "--arm",
        "er-cil",
        "-q",
        "--results",
        &results.display().to_string(),
        "--name",
        name,
        &format!("method.learner={learner}"),
        "stream.sizes=[4, 3, 3]",
        "stream.tasks=3",
        "train.steps=25",
        "checkpoint.every_steps=10",
    ];
    fixed.iter().chain(more).map(|a| a.to_string()).collect()
}

fn run(results: &Path, name: &str, learner: &str, more: &[&str]) -> PathBuf {
    succeed(&arguments(results, name, learner, more));
    results.join("continual/stability-gap").join(name)
}

/// Kills the run as soon as it has written the checkpoint.
fn kill_after(mut child: Child, checkpoint: &Path) {
    let begun = Instant::now();
    while !checkpoint.exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended before it could be killed");
        assert!(begun.elapsed() < Duration::from_secs(60), "no checkpoint came");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The rows of a table without the column time_s.
fn rows(folder: &Path, table: &str) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_path(folder.join(format!("{table}.csv"))).unwrap();
    let time = reader.headers().unwrap().iter().position(|c| c == "time_s").unwrap();
    let kept = |record: csv::StringRecord| {
        record.iter().enumerate().filter(|(i, _)| *i != time).map(|(_, cell)| cell.to_owned()).collect()
    };
    reader.records().map(|record| kept(record.unwrap())).collect()
}

const TABLES: [&str; 7] = ["train", "continual", "gradients", "gaps", "metrics", "acc_matrix_cil", "acc_matrix_til"];

#[test]
fn a_killed_run_resumes_to_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    for learner in ["er", "gem", "lwf", "si"] {
        let straight = run(folder.path(), &format!("{learner}-straight"), learner, &[]);
        let name = format!("{learner}-killed");
        let killed = folder.path().join("continual/stability-gap").join(&name);
        let child = Command::new(PROGRAM)
            .args(arguments(folder.path(), &name, learner, &[]))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // In the middle of the second task.
        kill_after(child, &killed.join("checkpoints/40"));
        succeed(&["resume".into(), "-q".into(), killed.display().to_string()]);
        for table in TABLES {
            assert_eq!(rows(&killed, table), rows(&straight, table), "{learner}: {table}.csv");
        }
        let summary = |run: &Path| std::fs::read_to_string(run.join("summary.json")).unwrap();
        assert_eq!(summary(&killed), summary(&straight), "{learner}");
    }
}

#[test]
fn evaluation_does_not_change_training() {
    let folder = tempfile::tempdir().unwrap();
    let often = run(folder.path(), "often", "er", &["train.log_every=1"]);
    let seldom = run(folder.path(), "seldom", "er", &["train.log_every=1", "evaluation.rho=10"]);
    assert_eq!(rows(&often, "train"), rows(&seldom, "train"));
    assert_eq!(rows(&often, "acc_matrix_cil"), rows(&seldom, "acc_matrix_cil"));
    let curve = rows(&often, "continual");
    let sparse = rows(&seldom, "continual");
    assert_eq!((curve.len(), sparse.len()), (76, 1 + 9), "every step, or steps 10, 20, 25, 30, ..., and the start");
    assert!(sparse.iter().all(|row| curve.contains(row)), "where both measured, they agree");
}

#[test]
fn bad_input_is_one_sentence() {
    let folder = tempfile::tempdir().unwrap();
    for (change, message) in [
        ("evaluation.rho=0", "evaluation.rho = 0 should be a whole number >= 1"),
        ("stream.tasks=4", "stream.tasks = 4, but stream.sizes has 3 values"),
        ("stream.sizes=[4, 3, 4]", "sum to 11, the data set has 10 classes"),
        ("method.memory=5", "memory size = 5 is too small to hold one sample of each of 10 classes"),
        ("method.alpha=1.0", "method.alpha = 1"),
        ("train.batch=100000", "task 0"),
        ("train.accumulate=2", "train.accumulate = 2"),
    ] {
        let more = ["train.drop_last=true", change];
        let output = reglab(&[arguments(folder.path(), "bad", "er", &more), vec!["--force".into()]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(message), "{change}: {text}");
    }
}
