//! A grid of trainings in subspaces that is killed in the middle of one and resumed ends with the same numbers.

#[path = "common/kill.rs"]
mod kill;
#[path = "common/scratch.rs"]
mod scratch;
#[path = "common/table.rs"]
mod table;

use kill::kill_when;
use scratch::Scratch;
use table::table;

const RUN: &str = "results/analyze/intrinsic-dimension/r";

/// Four trainings of 33 steps, a checkpoint every 10 steps.
const JOB: &[&str] = &[
    "analyze",
    "intrinsic-dim",
    "--arm",
    "digits-25",
    "--name",
    "r",
    "-q",
    "method.dims=[20,60]",
    "method.runs=2",
    "method.direct=false",
    "train.epochs=3",
    "checkpoint.every_steps=10",
];

#[test]
fn killed_in_the_middle_of_the_grid() {
    let (undisturbed, killed) = (Scratch::new(), Scratch::new());
    undisturbed.succeed(JOB);
    // 33 steps a training: these lie in the middle of the second and third.
    kill_when(killed.command(JOB).spawn().expect("reglab starts"), &killed.path().join(RUN), |step| {
        (40..=80).contains(&step)
    });
    killed.succeed(&["resume", RUN, "-q"]);
    for name in ["train.csv", "eval.csv", "curve.csv"] {
        assert_eq!(table(&undisturbed.path().join(RUN), name), table(&killed.path().join(RUN), name), "{name}");
    }
    assert_eq!(table(&killed.path().join(RUN), "curve.csv").len(), 5);
}
