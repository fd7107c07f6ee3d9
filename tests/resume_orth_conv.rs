//! orth-conv that is killed in the middle and resumed ends with the same numbers: a classifier, an add-on, a study of kernels.

mod common;
#[path = "common/kill.rs"]
mod kill;

use common::{SMALL, Scratch, tables};
use kill::kill_when;

/// Kills the job when a checkpoint of at least `step` exists, resumes it, and compares with an undisturbed run.
fn killed_and_resumed(job: &[&str], run: &str, step: u64) -> Scratch {
    let undisturbed = Scratch::new();
    undisturbed.succeed(job);
    let killed = Scratch::new();
    kill_when(killed.command(job).spawn().expect("reglab starts"), &killed.path().join(run), |newest| newest >= step);
    killed.succeed(&["resume", run, "-q"]);
    assert_eq!(tables(&undisturbed.path().join(run)), tables(&killed.path().join(run)));
    killed
}

fn read(scratch: &Scratch, run: &str, name: &str) -> String {
    std::fs::read_to_string(scratch.path().join(run).join(name)).expect(name)
}

#[test]
fn a_classifier() {
    let small =
        ["model.widths=[4,8]", "model.strides=[1,2]", "data.train=320", "train.epochs=6", "method.attack.eps=[0.6]"];
    let job =
        [&["train", "orth-conv", "--arm", "lambda-1", "--name", "r", "-q", "checkpoint.every_steps=10"], &small[..]]
            .concat();
    let run = "results/train/orth-conv/r";
    let scratch = killed_and_resumed(&job, run, 10);
    let header = read(&scratch, run, "train.csv").lines().next().unwrap_or_default().to_owned();
    assert!(header.contains(",ce,lorth,dense,"), "{header}");
    assert!(read(&scratch, run, "summary.json").contains("\"pgd.0.6\""));
}

#[test]
fn single_kernels() {
    let job = [
        "train",
        "orth-conv",
        "--arm",
        "synthetic",
        "--name",
        "r",
        "-q",
        "train.steps=60",
        "checkpoint.every_steps=60",
    ];
    let scratch = killed_and_resumed(&job, "results/train/orth-conv/r", 60);
    assert_eq!(read(&scratch, "results/train/orth-conv/r", "synthetic.csv").lines().count(), 8);
}

#[test]
fn on_top_of_another_method() {
    let model = "model={name=\"conv-net\",widths=[4,8],strides=[1,2],border=\"circular\"}";
    let small = [model, "data.train=320", "train.epochs=3", "with.orth-conv.lambda=0.1", "checkpoint.every_steps=10"];
    let job = [&["train", "elr", "--with", "orth-conv", "--arm", "elr", "--name", "r", "-q"], &small[..]].concat();
    let run = "results/train/elr/r";
    let scratch = killed_and_resumed(&job, run, 10);
    let header = read(&scratch, run, "train.csv").lines().next().unwrap_or_default().to_owned();
    assert!(header.contains(",ce,elr,lorth,dense,"), "{header}");
    assert!(read(&scratch, run, "summary.json").contains("\"orth-conv.sigma_product\""));
}

#[test]
fn what_cannot_be_orthogonal_or_combined_is_refused_before_training() {
    let scratch = Scratch::new();
    let refused_job = |args: &[&str]| {
        let output = scratch.reglab(args);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let refused = |args: &[&str]| refused_job(&[&["train", "orth-conv", "-q", "--arm"], args].concat());
    let impossible = refused(&["lambda-1", "model.widths=[10]", "model.strides=[4]"]);
    let words = "layer conv1: no orthogonal layer exists for M=10, C=1, k=3, S=4 with circular padding: M > C k^2";
    assert!(impossible.contains(words), "{impossible}");
    let mlp = refused(&["lambda-1", "model={name=\"mlp\"}"]);
    assert!(mlp.contains("the model has none"), "{mlp}");
    let shape = refused(&["synthetic", "method.shapes=[[8,4,3,0]]"]);
    assert!(shape.contains("at least 1"), "{shape}");
    let pruned = refused_job(&[SMALL, &["--with", "orth-conv"]].concat());
    assert!(pruned.contains("orth-conv cannot be added to wgsef"), "{pruned}");
}
