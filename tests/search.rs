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
    r#"method.overrides=["data.train=997", "data.val=300", "train.epochs=8", "finetune.epochs=3", "method.latency_runs=0", "checkpoint.every_steps=10"]"#,
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

/// kill -9 in the middle of three workers, whose trials go on by themselves: that may not show.
#[test]
fn a_study_of_three_workers_killed_in_the_middle_ends_as_that_of_one() {
    for sampler in ["random", "grid"] {
        let sampler = format!("method.sampler={sampler}");
        let study = [STUDY, &[&sampler]].concat();
        let undisturbed = tempfile::tempdir().expect("a folder");
        succeed(reglab(undisturbed.path(), &study).output().expect("reglab starts"));
        let expected = trials(undisturbed.path());
        assert_eq!(expected.len(), 5);
        assert!(expected[1..].iter().all(|row| row.contains(",done,")), "{expected:?}");
        assert_ne!(expected[1].split(',').next_back(), expected[2].split(',').next_back(), "values of its own a trial");

        let killed = tempfile::tempdir().expect("a folder");
        let mut begun =
            reglab(killed.path(), &[&study[..], &["method.jobs=3"]].concat()).spawn().expect("reglab starts");
        wait_for(&killed.path().join(RUN).join("trials/2/checkpoints"));
        begun.kill().expect("it runs");
        begun.wait().expect("it ends");
        succeed(reglab(killed.path(), &["resume", RUN, "-q"]).output().expect("reglab starts"));
        assert_eq!(expected, trials(killed.path()));
        let journal = std::fs::read_to_string(killed.path().join(RUN).join("trials.jsonl")).expect("a journal");
        assert!(journal.contains("restarted"), "{journal}");
    }
}

/// The values of the table, its times apart, and what a pruned trial leaves.
#[test]
fn a_pruned_trial_is_stopped_and_the_same_ones_are_after_a_kill() {
    let pruner = "method.pruner={name='asha', min_steps=16, max_steps=176, eta=3}";
    let study = [STUDY, &[pruner, "method.trials=6"]].concat();
    let undisturbed = tempfile::tempdir().expect("a folder");
    succeed(reglab(undisturbed.path(), &study).output().expect("reglab starts"));
    let expected = trials(undisturbed.path());
    let pruned = expected.iter().position(|row| row.contains(",pruned,")).expect("a pruned trial") - 1;
    let journal = std::fs::read_to_string(undisturbed.path().join(RUN).join("trials.jsonl")).expect("a journal");
    assert!(journal.contains("\"report\"") && journal.contains("\"pruned\""), "{journal}");
    let summary = std::fs::read_to_string(undisturbed.path().join(RUN).join("summary.json")).expect("a summary");
    assert!(summary.contains("\"best.accuracy\"") && summary.contains("\"best_at_50\""), "{summary}");
    for file in ["best_so_far.csv", "plots/best_so_far-time.svg", "plots/best_so_far-units.svg", "plots/parallel.svg"] {
        assert!(undisturbed.path().join(RUN).join(file).exists(), "{file}");
    }

    let killed = tempfile::tempdir().expect("a folder");
    let mut begun = reglab(killed.path(), &study).spawn().expect("reglab starts");
    wait_for(&killed.path().join(RUN).join(format!("trials/{pruned}/config.toml")));
    begun.kill().expect("it runs");
    begun.wait().expect("it ends");
    succeed(reglab(killed.path(), &["resume", RUN, "-q"]).output().expect("reglab starts"));
    assert_eq!(expected, trials(killed.path()));
}

#[test]
fn a_study_takes_more_trials_but_no_other_space() {
    let all = tempfile::tempdir().expect("a folder");
    succeed(reglab(all.path(), STUDY).output().expect("reglab starts"));
    let some = tempfile::tempdir().expect("a folder");
    succeed(reglab(some.path(), &[STUDY, &["method.trials=2"]].concat()).output().expect("reglab starts"));
    succeed(reglab(some.path(), &["resume", RUN, "-q", "--extend", "2"]).output().expect("reglab starts"));
    assert_eq!(trials(all.path()), trials(some.path()));

    let config = some.path().join(RUN).join("config.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, text.replace("high = 0.3", "high = 0.2")).expect("it can be written");
    let refused = reglab(some.path(), &["resume", RUN, "-q", "--extend", "1"]).output().expect("reglab starts");
    let error = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && error.contains("another [space.train.optimizer.lr]"), "{error}");
    assert_eq!(trials(all.path()), trials(some.path()));
    assert!(some.path().join(RUN).join("summary.json").exists(), "a refused study stays as it was");
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
    refused("method.pruner={name='asha', min_steps=9, max_steps=3}", 2, "method.pruner.min_steps = 9");
    refused("method.report=val_accuracy", 2, "TABLE.COLUMN");
    refused("method.metric=val_acuracy", 1, "did you mean val_accuracy");
    refused("method.units=eval.epochs", 1, "did you mean epoch");
    let output = reglab(scratch.path(), &["resume", "nothing", "--extend", "1"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
}
