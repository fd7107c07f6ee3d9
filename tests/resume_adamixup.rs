//! AdaMixUp that is killed in the middle of an epoch and resumed ends with the same numbers.

mod common;
#[path = "common/kill.rs"]
mod kill;

use common::{SMALL, Scratch, tables};
use kill::kill_when;

const RUN: &str = "results/train/adamixup/r";

/// Two orders of the data, three networks, a row of train.csv every 3 steps.
const JOB: &[&str] = &[
    "train",
    "adamixup",
    "--arm",
    "adamixup",
    "--name",
    "r",
    "-q",
    "model.hidden=[32]",
    "train.epochs=14",
    "train.batch=20",
    "train.log_every=3",
    "checkpoint.every_steps=7",
];

#[test]
fn killed_and_resumed_it_ends_with_the_same_numbers() {
    let undisturbed = Scratch::new();
    undisturbed.succeed(JOB);
    let killed = Scratch::new();
    kill_when(killed.command(JOB).spawn().expect("reglab starts"), &killed.path().join(RUN), |step| step >= 28);
    killed.succeed(&["resume", RUN, "-q"]);
    assert_eq!(tables(&undisturbed.path().join(RUN)), tables(&killed.path().join(RUN)));

    let read = |scratch: &Scratch, name: &str| {
        std::fs::read_to_string(scratch.path().join(RUN).join(name)).expect("a file of the run")
    };
    assert_eq!(read(&undisturbed, "summary.json"), read(&killed, "summary.json"));
    assert!(read(&killed, "train.csv").lines().next().is_some_and(|header| header.contains(",ce,intrusion,")));
    assert_eq!(read(&killed, "policy.csv").lines().count(), 15);
    // What was done is not done again, and its numbers are still known.
    killed.succeed(&["resume", RUN, "-q"]);
    assert_eq!(read(&undisturbed, "summary.json"), read(&killed, "summary.json"));
}

#[test]
fn it_joins_other_methods_and_refuses_what_makes_no_pairs() {
    let scratch = Scratch::new();
    let both = ["--with", "weight-compander", "train.epochs=2", "model.hidden=[32]", "method.unseen=\"split\""];
    scratch.succeed(&[&["train", "adamixup", "--arm", "adamixup", "--name", "r", "-q"], &both[..]].concat());
    let summary = std::fs::read_to_string(scratch.path().join(RUN).join("summary.json")).expect("a summary");
    assert!(
        summary.contains("\"weight-compander.near_zero.fc1\"") && !summary.contains("near_zero.generator"),
        "{summary}"
    );

    let refused = |args: &[&str]| {
        let output = scratch.reglab(args);
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let odd = refused(&["train", "adamixup", "--arm", "adamixup", "-q", "method.unseen=\"split\"", "train.batch=7"]);
    assert!(odd.contains("train.batch = 7") && odd.contains("halves"), "{odd}");
    let added = refused(&[SMALL, &["--with", "adamixup"]].concat());
    assert!(added.contains("adamixup cannot be added"), "{added}");
}
