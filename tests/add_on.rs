//! `--with`: a method joins the training of another.

mod common;
#[path = "common/kill.rs"]
mod kill;

use common::{SMALL, Scratch, tables};
use kill::kill_when;

const JOB: &[&str] = &[
    "train",
    "elr",
    "--with",
    "weight-compander",
    "--arm",
    "elr",
    "--name",
    "r",
    "-q",
    "with.weight-compander.l1=1e-5",
    "with.weight-compander.learn=true",
    "model.hidden=[64]",
    "train.epochs=12",
    "checkpoint.every_steps=10",
];
const RUN: &str = "results/train/elr/r";

#[test]
fn killed_and_resumed_it_ends_with_the_same_numbers_and_the_terms_of_both() {
    let undisturbed = Scratch::new();
    undisturbed.succeed(JOB);
    let killed = Scratch::new();
    kill_when(killed.command(JOB).spawn().expect("reglab starts"), &killed.path().join(RUN), |step| step >= 50);
    killed.succeed(&["resume", RUN, "-q"]);
    assert_eq!(tables(&undisturbed.path().join(RUN)), tables(&killed.path().join(RUN)));

    let read = |name: &str| std::fs::read_to_string(killed.path().join(RUN).join(name)).expect(name);
    let header = read("train.csv").lines().next().unwrap_or_default().to_owned();
    for term in ["ce", "elr", "l1"] {
        assert!(header.split(',').any(|column| column == term), "{header}");
    }
    let config = read("config.toml");
    assert!(config.contains("[with.weight-compander]") && config.contains("bound_sigmas = 2.0"), "{config}");
    assert!(read("summary.json").contains("\"weight-compander.max_over_bound\""));
}

#[test]
fn the_recorded_configuration_repeats_the_run_and_what_cannot_be_added_is_refused() {
    let scratch = Scratch::new();
    let short = [JOB, &["train.epochs=1"]].concat();
    scratch.succeed(&short);
    let config = format!("{RUN}/config.toml");
    scratch.succeed(&["run", &config, "--name", "again", "-q"]);
    assert_eq!(tables(&scratch.path().join(RUN)), tables(&scratch.path().join("results/train/elr/again")));
    let prune = [SMALL, &["--with", "weight-compander"]].concat();
    for (args, part) in [
        (&prune[..], "weight-compander cannot be added to wgsef"),
        (&["train", "elr", "--with", "maid"][..], "maid cannot be added to another method"),
        (&["train", "elr", "--with", "weight-compender"][..], "did you mean weight-compander?"),
        (&["hpo", "maid", "--with", "weight-compander"][..], "weight-compander cannot be added to maid"),
        (&["train", "weight-compander", "--with", "weight-compander"][..], "cannot be added to itself"),
        (&["train", "elr", "--with", "weight-compander", "with.weight-compander.bound_sigma=1"][..], "bound_sigmas"),
    ] {
        let output = scratch.reglab(args);
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(part), "{error}");
    }
}
