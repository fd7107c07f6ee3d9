//! A language model whose training is killed and resumed ends with the same numbers, whatever lies in the cache by then.

#[path = "common/kill.rs"]
mod kill;
#[path = "common/scratch.rs"]
mod scratch;
#[path = "common/table.rs"]
mod table;

use kill::kill_when;
use scratch::Scratch;
use table::table;

const RUN: &str = "results/train/lm/r";

/// A mixture of experts, so that the balance loss is in the tables; a checkpoint every 10 steps.
const JOB: &[&str] = &[
    "train",
    "lm",
    "--arm",
    "olmoe",
    "--name",
    "r",
    "-q",
    "train.steps=30",
    "train.log_every=7",
    "model.hidden_size=16",
    "model.num_hidden_layers=1",
    "text.window=32",
    "checkpoint.every_steps=10",
];

fn read(scratch: &Scratch, name: &str) -> Vec<u8> {
    std::fs::read(scratch.path().join(RUN).join(name)).expect("a file of the run")
}

#[test]
fn killed_in_training() {
    let (undisturbed, killed) = (Scratch::new(), Scratch::new());
    undisturbed.succeed(JOB);
    kill_when(killed.command(JOB).spawn().expect("reglab starts"), &killed.path().join(RUN), |step| step >= 20);
    killed.succeed(&["resume", RUN, "-q"]);
    for name in ["train.csv", "eval.csv"] {
        assert_eq!(table(&undisturbed.path().join(RUN), name), table(&killed.path().join(RUN), name), "{name}");
    }
    assert!(table(&killed.path().join(RUN), "train.csv")[0].contains("balance"));
    for name in ["summary.json", "sample.txt", "model/model.safetensors"] {
        assert_eq!(read(&undisturbed, name), read(&killed, name), "{name}");
    }
}
