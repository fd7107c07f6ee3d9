//! Self-distillation that is killed in the middle of a student's training and resumed ends with the same numbers.

#[path = "common/kill.rs"]
mod kill;
#[path = "common/scratch.rs"]
mod scratch;
#[path = "common/table.rs"]
mod table;

use kill::kill_when;
use scratch::Scratch;
use table::table;

const RUN: &str = "results/distill/self-distill/r";

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

#[test]
fn killed_in_a_students_training() {
    let (undisturbed, killed) = (Scratch::new(), Scratch::new());
    undisturbed.succeed(JOB);
    // 80 steps a phase: from 90 on in the middle of the probe, from 170 on in that of the student.
    kill_when(killed.command(JOB).spawn().expect("reglab starts"), &killed.path().join(RUN), |step| {
        (90..160).contains(&step) || step >= 170
    });
    killed.succeed(&["resume", RUN, "-q"]);
    for name in ["train.csv", "eval.csv", "chain.csv"] {
        assert_eq!(table(&undisturbed.path().join(RUN), name), table(&killed.path().join(RUN), name), "{name}");
    }
    assert!(table(&killed.path().join(RUN), "chain.csv").len() == 4, "labels only, probe, student");
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
    let (undisturbed, killed) = (Scratch::new(), Scratch::new());
    undisturbed.succeed(KERNEL);
    let left =
        kill_when(killed.command(KERNEL).spawn().expect("reglab starts"), &killed.path().join(RUN), |step| step >= 40);
    killed.succeed(&["resume", RUN, "-q"]);
    assert_eq!(table(&undisturbed.path().join(RUN), "chain.csv"), table(&killed.path().join(RUN), "chain.csv"));
    let log = std::fs::read_to_string(killed.path().join(RUN).join("log.txt")).expect("a log");
    assert!(log.contains(&format!("resumed at step {left} ")), "{log}");
}
