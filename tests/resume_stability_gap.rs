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
const CLASSES: &str = "stream={ scenario = \"class-incremental\", tasks = 3, sizes = [4, 3, 3], columns = \"all\" }";
const HEADS: &str = "stream={ scenario = \"task-incremental\", tasks = 3, sizes = [4, 3, 3] }";
const TURNED: &str = "stream={ scenario = \"domain-incremental\", tasks = 3, rotations = [0, 30, 90] }";
const PERMUTED: &str = "stream={ scenario = \"domain-incremental\", tasks = 3, permuted = true, eval_future = true }";

fn arguments(results: &Path, name: &str, learner: &str, stream: &str, more: &[&str]) -> Vec<String> {
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
        stream,
        "train.steps=25",
        "checkpoint.every_steps=10",
    ];
    fixed.iter().chain(more).map(|a| a.to_string()).collect()
}

fn run(results: &Path, name: &str, learner: &str, stream: &str, more: &[&str]) -> PathBuf {
    succeed(&arguments(results, name, learner, stream, more));
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

/// Starts the run, or goes on with it, and kills it as soon as the checkpoint is there.
fn killed_at(arguments: &[String], checkpoint: &Path) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("OMP_NUM_THREADS", "1").stdout(Stdio::null()).stderr(Stdio::null());
    kill_after(command.spawn().unwrap(), checkpoint);
}

fn resume(folder: &Path) -> Vec<String> {
    vec!["resume".into(), "-q".into(), folder.display().to_string()]
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

/// The tables of a run.
fn tables(folder: &Path) -> Vec<String> {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = files.filter_map(|name| name.strip_suffix(".csv").map(str::to_owned)).collect();
    names.sort();
    names
}

/// Kills the run at each checkpoint in turn and compares what is left with a run that was left alone.
fn survives(learner: &str, stream: &str, kills: &[&str], expected_tables: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let straight = run(folder.path(), "straight", learner, stream, &[]);
    let killed = folder.path().join("continual/stability-gap/killed");
    let mut command = arguments(folder.path(), "killed", learner, stream, &[]);
    for checkpoint in kills {
        killed_at(&command, &killed.join("checkpoints").join(checkpoint));
        command = resume(&killed);
    }
    succeed(&command);
    assert_eq!(tables(&straight), tables(&killed), "{learner}");
    for table in expected_tables {
        assert!(tables(&straight).iter().any(|name| name == table), "{learner}: no {table}.csv");
    }
    for table in tables(&straight) {
        assert_eq!(rows(&killed, &table), rows(&straight, &table), "{learner}: {table}.csv");
    }
    let summary = |run: &Path| std::fs::read_to_string(run.join("summary.json")).unwrap();
    assert_eq!(summary(&killed), summary(&straight), "{learner}");
}

#[test]
fn a_killed_run_resumes_to_the_same_numbers() {
    let tables = ["train", "continual", "gradients", "gaps", "metrics", "acc_matrix_cil", "acc_matrix_til", "memory"];
    // In the first task, at its end, in the second task, at its end.
    survives("er", CLASSES, &["10", "25", "40", "50"], &tables);
    survives("gem", CLASSES, &["25", "50"], &tables);
    survives("agem", CLASSES, &["40"], &tables);
}

#[test]
fn rehearsal_free_learners_resume_to_the_same_numbers() {
    for learner in ["ewc-separate", "si", "lwf", "linear-probe"] {
        survives(learner, CLASSES, if learner == "si" { &["25", "40"] } else { &["50"] }, &["train", "gaps"]);
    }
}

#[test]
fn every_scenario_resumes_to_the_same_numbers() {
    survives("er", PERMUTED, &["25", "40"], &["acc_matrix_dil", "memory", "gradients"]);
    survives("gem", TURNED, &["50"], &["acc_matrix_dil", "memory"]);
    survives("ewc", TURNED, &["40"], &["acc_matrix_dil"]);
    survives("lwf", HEADS, &["40"], &["acc_matrix_til"]);
}

/// The rows of a table by column, without time_s.
fn cells(folder: &Path, table: &str, column: &str) -> Vec<Option<f64>> {
    let mut reader = csv::Reader::from_path(folder.join(format!("{table}.csv"))).unwrap();
    let at = reader.headers().unwrap().iter().position(|c| c == column).unwrap();
    reader.records().map(|record| record.unwrap()[at].parse().ok()).collect()
}

#[test]
fn a_resumed_run_keeps_its_stream() {
    let folder = tempfile::tempdir().unwrap();
    let killed = folder.path().join("continual/stability-gap/killed");
    killed_at(&arguments(folder.path(), "killed", "er", CLASSES, &[]), &killed.join("checkpoints/25"));
    let config = std::fs::read_to_string(killed.join("config.toml")).unwrap();
    for (old, new, message) in [
        ("class_order = \"natural\"", "class_order = \"shuffled\"", "class_order = [0,1,2,3,4,5,6,7,8,9]"),
        ("class-incremental", "task-incremental", "scenario"),
    ] {
        assert!(config.contains(old), "{config}");
        std::fs::write(killed.join("config.toml"), config.replace(old, new)).unwrap();
        let output = reglab(&resume(&killed));
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(message), "{text}");
    }
    std::fs::write(killed.join("config.toml"), config).unwrap();
    succeed(&resume(&killed));
}

#[test]
fn tasks_to_come_are_tested_only_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let short = ["train.steps=10"];
    let permuted = run(folder.path(), "permuted", "finetune", PERMUTED, &short);
    assert!(cells(&permuted, "acc_matrix_dil", "task2").iter().all(Option::is_some));
    let turned = run(folder.path(), "turned", "finetune", TURNED, &short);
    let last = cells(&turned, "acc_matrix_dil", "task2");
    assert!(last[..2].iter().all(Option::is_none) && last[2].is_some(), "not measured is empty, never 0");
}

#[test]
fn tuning_looks_at_the_first_tasks_only() {
    let folder = tempfile::tempdir().unwrap();
    let whole = run(folder.path(), "whole", "er", CLASSES, &["data.train=1000", "data.val=297"]);
    let more = ["data.train=1000", "data.val=297", "stream.tune_tasks=2"];
    let tuned = run(folder.path(), "tuned", "er", CLASSES, &more);
    let (all, first) = (rows(&whole, "train"), rows(&tuned, "train"));
    assert!(first.len() < all.len() && all[..first.len()] == first, "the same training");
    assert_eq!(rows(&tuned, "metrics").len(), 2);
    assert_ne!(rows(&tuned, "acc_matrix_cil")[1][3..5], rows(&whole, "acc_matrix_cil")[1][3..5], "other samples");
}

#[test]
fn a_joint_run_is_the_reference_of_intransigence() {
    let folder = tempfile::tempdir().unwrap();
    let joint = run(folder.path(), "joint", "joint", TURNED, &["train.steps=10"]);
    let reference = format!("stream.joint_run={}", joint.display());
    let compared = run(folder.path(), "compared", "finetune", TURNED, &["train.steps=10", &reference]);
    let percent = |run: &Path, task: usize| cells(run, "acc_matrix_dil", &format!("task{task}"))[task].unwrap();
    let expected: f64 = (0..3).map(|task| percent(&joint, task) - percent(&compared, task)).sum::<f64>() / 300.0;
    let last = cells(&compared, "metrics", "intransigence")[2].unwrap();
    assert!((last - expected).abs() < 1e-9, "{last} {expected}");
}

#[test]
fn evaluation_does_not_change_training() {
    let folder = tempfile::tempdir().unwrap();
    let often = run(folder.path(), "often", "er", CLASSES, &["train.log_every=1"]);
    let seldom = run(folder.path(), "seldom", "er", CLASSES, &["train.log_every=1", "evaluation.rho=10"]);
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
        ("stream.order=[12, 1, 2, 3, 4, 5, 6, 7, 8, 9]", "class 12 is not in the data set"),
        ("stream.tune_tasks=9", "stream.tune_tasks = 9 is more than the 3 tasks"),
        ("stream.permuted=true", "stream.sizes splits classes"),
        ("stream.joint_run=nowhere", "stream.joint_run must be a finished run"),
        ("stream.sizes=[4, 3, 4]", "sum to 11, the data set has 10 classes"),
        ("method.memory=5", "memory size = 5 is too small to hold one sample of each of 10 classes"),
        ("method.alpha=1.0", "method.alpha = 1"),
        ("train.batch=100000", "task 0"),
        ("train.accumulate=2", "train.accumulate = 2"),
    ] {
        let more = ["train.drop_last=true", change];
        let output = reglab(&[arguments(folder.path(), "bad", "er", CLASSES, &more), vec!["--force".into()]].concat());
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(message), "{change}: {text}");
    }
}
