//! A study over real runs: its trials, and that a kill changes none of them.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Four random trials of a quarter of a second.
const STUDY: &[&str] = &[
    "hpo",
    "search",
    "--arm",
    "random",
    "--name",
    "r",
    "-q",
    "method.trials=4",
    r#"method.overrides=["train.epochs=8", "finetune.epochs=3", "method.latency_runs=0", "checkpoint.every_steps=10"]"#,
];
const RUN: &str = "results/hpo/search/r";

fn reglab(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_reglab"));
    command.args(args).current_dir(folder).env("OMP_NUM_THREADS", "1");
    command
}

fn succeed(output: Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn trials(folder: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join(RUN).join("trials.csv")).expect("a table of trials");
    text.lines().map(str::to_owned).collect()
}

fn wait_for(path: &Path) {
    let there = (0..20_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        path.exists()
    });
    assert!(there, "{} is not there after 20 seconds", path.display());
}

#[test]
fn a_study_killed_in_the_middle_ends_with_the_same_trials() {
    let undisturbed = tempfile::tempdir().expect("a folder");
    succeed(reglab(undisturbed.path(), STUDY).output().expect("reglab starts"));
    let expected = trials(undisturbed.path());
    assert_eq!(expected.len(), 5);
    assert!(expected[1..].iter().all(|row| row.contains(",done,")), "{expected:?}");
    assert_ne!(expected[1].split(',').next_back(), expected[2].split(',').next_back(), "each trial has its own values");

    // Two at a time: that may not show either.
    let killed = tempfile::tempdir().expect("a folder");
    let mut study = reglab(killed.path(), &[STUDY, &["method.jobs=2"]].concat()).spawn().expect("reglab starts");
    wait_for(&killed.path().join(RUN).join("trials/2/checkpoints"));
    study.kill().expect("it runs");
    study.wait().expect("it ends");
    // The trials under way go on by themselves: the study takes them up as it finds them.
    succeed(reglab(killed.path(), &["resume", RUN, "-q"]).output().expect("reglab starts"));
    assert_eq!(expected, trials(killed.path()));
    let journal = std::fs::read_to_string(killed.path().join(RUN).join("trials.jsonl")).expect("a journal");
    assert!(journal.contains("restarted"), "{journal}");
}

#[test]
fn what_is_wrong_is_said_before_or_at_the_first_trial() {
    let scratch = tempfile::tempdir().expect("a folder");
    let refused = |change: &str, code: i32, needle: &str| {
        let output = reglab(scratch.path(), &[STUDY, &["--force", change]].concat()).output().expect("it starts");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && error.contains(needle), "{change}: {error}");
    };
    refused("method.objective=wgsfe", 2, "did you mean wgsef");
    refused("space.method.lamda={kind='float', low=0.1, high=1.0}", 2, "did you mean method.lambda");
    refused("space.method.lambda.low=-1.0", 2, "space.method.lambda");
    refused("method.arm=''", 2, "choose one");
    refused("method.pruner.name=median", 2, "pruner");
    refused("method.metric=acuracy", 1, "did you mean accuracy");
}
