//! A sweep of stacked models that is killed in the middle and resumed ends with the same numbers.

#[path = "common/kill.rs"]
mod kill;
#[path = "common/scratch.rs"]
mod scratch;
#[path = "common/table.rs"]
mod table;

use kill::kill_when;
use scratch::Scratch;
use table::table;

const RUN: &str = "results/analyze/dynamical-stability/r";

const JOB: &[&str] = &[
    "analyze",
    "dynamical-stability",
    "--arm",
    "diagonal-b4-without-replacement",
    "--name",
    "r",
    "-q",
    "method.steps=6000",
    "method.every=250",
    "method.tolerance=0.0",
    "checkpoint.every_steps=100",
];

#[test]
fn killed_in_the_middle_of_a_block_of_batches() {
    let (undisturbed, killed) = (Scratch::new(), Scratch::new());
    undisturbed.succeed(JOB);
    // Not a multiple of 250: its block of batches is drawn again on resume.
    kill_when(killed.command(JOB).spawn().expect("reglab starts"), &killed.path().join(RUN), |step| {
        (300..1200).contains(&step)
    });
    killed.succeed(&["resume", RUN, "-q"]);
    for name in ["training.csv", "sharpness.csv"] {
        assert_eq!(table(&undisturbed.path().join(RUN), name), table(&killed.path().join(RUN), name), "{name}");
    }
    assert!(table(&killed.path().join(RUN), "training.csv").len() > 20);
}
