//! A run that is killed and resumed ends with the same numbers as one that was never stopped.

mod common;

use common::{SMALL, Scratch, tables};
use std::process::{Child, Stdio};
use std::time::Duration;

/// What is run, and the folder it lands in when it is called r.
struct Job {
    command: &'static [&'static str],
    run: &'static str,
}

const PRUNING: Job = Job { command: SMALL, run: "results/prune/wgsef/r" };

/// Everything of the weight compander that has a state or draws numbers.
const COMPANDING: Job = Job {
    command: &[
        "train",
        "weight-compander",
        "--arm",
        "wc-learned",
        "train.epochs=25",
        "method.l1=1e-5",
        "method.dropout=0.2",
        "checkpoint.every_steps=10",
    ],
    run: "results/train/weight-compander/r",
};

/// Four phases: baseline, global sparsity, masked sparsity, fine-tuning.
const MASKING: Job = Job {
    command: &[
        "prune",
        "mask-sparsity",
        "--arm",
        "mask-sparsity",
        "train.epochs=1",
        "sparse.epochs=2",
        "finetune.epochs=1",
        "method.latency_runs=0",
        "data.train=384",
        "checkpoint.every_steps=4",
    ],
    run: "results/prune/mask-sparsity/r",
};

/// Gates whose openness is summed up over an epoch.
const GATING: Job = Job {
    command: &[
        "prune",
        "polarization",
        "--arm",
        "polarization",
        "train.epochs=3",
        "finetune.epochs=1",
        "method.latency_runs=0",
        "data.train=384",
        "checkpoint.every_steps=4",
    ],
    run: "results/prune/polarization/r",
};

fn undisturbed(job: &Job) -> (Scratch, Vec<(String, String)>) {
    let scratch = Scratch::new();
    scratch.succeed(&[job.command, &["--name", "r", "-q"]].concat());
    let expected = tables(&scratch.path().join(job.run));
    assert!(expected.iter().any(|(name, text)| name == "train.csv" && text.lines().count() > 4), "{expected:?}");
    (scratch, expected)
}

fn start(job: &Job, scratch: &Scratch) -> Child {
    scratch
        .command(&[job.command, &["--name", "r", "-q"]].concat())
        .stderr(Stdio::piped())
        .spawn()
        .expect("reglab starts")
}

/// The loop is running once there is a checkpoint.
fn wait_for_checkpoint(job: &Job, scratch: &Scratch) {
    let last = scratch.path().join(job.run).join("checkpoints/last");
    for _ in 0..20_000 {
        if last.exists() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("no checkpoint after 20 seconds");
}

/// Resumes until the run is done, and compares.
fn assert_same(job: &Job, scratch: &Scratch, expected: &[(String, String)], what: &str) {
    let run = scratch.path().join(job.run);
    // A run killed before its folder was whole starts from its first command.
    if run.join("config.toml").exists() {
        scratch.succeed(&["resume", job.run, "-q"]);
    } else {
        scratch.succeed(&[job.command, &["--name", "r", "-q", "--force"]].concat());
    }
    for ((name, expected), (_, actual)) in expected.iter().zip(tables(&run)) {
        assert_eq!(expected, &actual, "{name} after {what}");
    }
    assert!(run.join("summary.json").exists());
}

/// Kills the job a few milliseconds after its first checkpoint, and resumes it.
fn kill_and_compare(job: &Job, delays: &[u64]) {
    let (_undisturbed, expected) = undisturbed(job);
    let mut caught = 0;
    for &delay in delays {
        let scratch = Scratch::new();
        let mut child = start(job, &scratch);
        wait_for_checkpoint(job, &scratch);
        std::thread::sleep(Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().expect("it ends");
        caught += usize::from(!scratch.path().join(job.run).join("summary.json").exists());
        assert_same(job, &scratch, &expected, &format!("kill -9 {delay} ms after the first checkpoint"));
    }
    assert!(caught > 0, "every run was over before it was killed");
}

#[test]
fn killed_at_three_instants_and_resumed_the_tables_are_byte_equal() {
    kill_and_compare(&PRUNING, &[0, 20, 70]);
}

#[test]
fn a_killed_run_with_learned_numbers_noise_and_dropout_goes_on_to_the_same_tables() {
    kill_and_compare(&COMPANDING, &[10]);
}

#[test]
fn killed_while_masked_scales_shrink_the_same_mask_is_cut() {
    kill_and_compare(&MASKING, &[250, 600]);
}

#[test]
fn killed_while_gates_polarize_the_same_blocks_are_cut() {
    kill_and_compare(&GATING, &[150]);
}

#[test]
fn stopped_by_sigterm_it_says_so_and_resumes() {
    let (_undisturbed, expected) = undisturbed(&PRUNING);
    let scratch = Scratch::new();
    let child = start(&PRUNING, &scratch);
    wait_for_checkpoint(&PRUNING, &scratch);
    let run = scratch.path().join(PRUNING.run);
    // SAFETY: a plain system call on our own child.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.code() != Some(0) {
        assert_eq!(output.status.code(), Some(143), "{said}");
        assert!(said.contains("go on with: reglab resume"), "{said}");
        let record = std::fs::read_to_string(run.join("run.json")).expect("a record");
        assert!(record.contains("\"interrupted\""), "{record}");
        assert_same(&PRUNING, &scratch, &expected, "SIGTERM");
    }
}

#[test]
fn its_own_config_repeats_a_run() {
    let (scratch, expected) = undisturbed(&PRUNING);
    scratch.succeed(&["run", &format!("{}/config.toml", PRUNING.run), "--name", "again", "-q"]);
    assert_eq!(tables(&scratch.path().join("results/prune/wgsef/again")), expected);
}

/// A scratch folder with the run `folder` that `args` begins, killed before its end.
fn killed_at_its_first_checkpoint(args: &[&str], folder: &str) -> Scratch {
    let scratch = Scratch::new();
    let run = scratch.path().join(folder);
    let mut child = scratch.command(args).spawn().expect("reglab starts");
    while !run.join("checkpoints/last").exists() && child.try_wait().expect("a child").is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = child.kill();
    child.wait().expect("it ends");
    assert!(!run.join("summary.json").exists(), "the run was over before it was killed");
    scratch
}

/// Two nets in turn, a target memory and averaged weights of each: all of it must be in the checkpoint.
#[test]
fn what_elr_plus_remembers_of_each_sample_survives_a_kill() {
    let small =
        ["train", "elr", "--arm", "elr-plus", "train.epochs=4", "model.hidden=[32]", "checkpoint.every_steps=10"];
    let small = [&small[..], &["--name", "r", "-q"]].concat();
    let undisturbed = Scratch::new();
    undisturbed.succeed(&small);
    let killed = killed_at_its_first_checkpoint(&small, "results/train/elr/r");
    let run = killed.path().join("results/train/elr/r");
    killed.succeed(&["resume", "results/train/elr/r", "-q"]);
    assert_eq!(tables(&run), tables(&undisturbed.path().join("results/train/elr/r")));
}

/// A method without a network: its whole state is beside the weights.
const DESCENT_RUN: &str = "results/hpo/maid/r";
const DESCENT: &[&str] =
    &["hpo", "maid", "--arm", "tv-01", "--name", "r", "-q", "method.descent_test=estimate", "checkpoint.every_steps=2"];

#[test]
fn a_killed_descent_goes_on_to_the_same_table_and_summary() {
    let numbers = |scratch: &Scratch| {
        let text = std::fs::read_to_string(scratch.path().join(DESCENT_RUN).join("summary.json")).expect("a summary");
        text.lines().filter(|line| !line.contains("\"seconds\"")).collect::<Vec<_>>().join("\n")
    };
    let whole = Scratch::new();
    whole.succeed(DESCENT);
    let expected = tables(&whole.path().join(DESCENT_RUN));
    assert!(expected.iter().any(|(name, text)| name == "maid.csv" && text.lines().count() > 6), "{expected:?}");

    let scratch = killed_at_its_first_checkpoint(DESCENT, DESCENT_RUN);
    scratch.succeed(&["resume", DESCENT_RUN, "-q"]);
    assert_eq!(tables(&scratch.path().join(DESCENT_RUN)), expected);
    assert_eq!(numbers(&scratch), numbers(&whole));
}
