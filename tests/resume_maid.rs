//! A descent that is killed and resumed ends with the same numbers as one that was never stopped.

mod common;

use common::{Scratch, tables};
use std::process::Stdio;
use std::time::Duration;

const RUN: &str = "results/hpo/maid/r";
const DESCENT: &[&str] = &[
    "hpo",
    "maid",
    "--arm",
    "tv-01",
    "--name",
    "r",
    "-q",
    "method.budget=1500",
    "method.descent_test=estimate",
    "checkpoint.every_steps=5",
];

#[test]
fn a_killed_descent_goes_on_to_the_same_table_and_summary() {
    let numbers = |scratch: &Scratch| {
        let text = std::fs::read_to_string(scratch.path().join(RUN).join("summary.json")).expect("a summary");
        text.lines().filter(|line| !line.contains("\"seconds\"")).collect::<Vec<_>>().join("\n")
    };
    let whole = Scratch::new();
    whole.succeed(DESCENT);
    let expected = tables(&whole.path().join(RUN));
    assert!(expected.iter().any(|(name, text)| name == "maid.csv" && text.lines().count() > 8), "{expected:?}");

    let scratch = Scratch::new();
    let mut child = scratch.command(DESCENT).stderr(Stdio::null()).spawn().expect("reglab starts");
    let last = scratch.path().join(RUN).join("checkpoints/last");
    while !last.exists() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    let caught = !child.wait().expect("it ends").success();
    assert!(caught, "the run was over before it could be killed");
    scratch.succeed(&["resume", RUN, "-q"]);
    assert_eq!(tables(&scratch.path().join(RUN)), expected);
    assert_eq!(numbers(&scratch), numbers(&whole));
}
